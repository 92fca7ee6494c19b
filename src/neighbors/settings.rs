//! What a user can set about the buffer.

use serde::{Deserialize, Serialize};

/// Which row of a full buffer makes room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EvictionPolicy {
    /// The oldest.
    Fifo,
    /// Among the rows of tracks with more than [`KEPT_OF_TRACK`](super::KEPT_OF_TRACK), the one that is closest to another row of its own
    /// track (cosine; the oldest of equals); where no track has as many, the oldest of all.
    ///
    /// So a person standing still replaces his own rows and not everybody else's. Tracks with few rows age as with
    /// [`EvictionPolicy::Fifo`]: were they thinned out too, the nearly equal rows of whoever is in view would always
    /// go first, and single rows of people long gone would fill the buffer.
    #[default]
    Redundant,
}

/// How embeddings are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct NeighborSettings {
    /// Which row of a full buffer makes room: `redundant` or `fifo`.
    pub eviction: EvictionPolicy,
}
