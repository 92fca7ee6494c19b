//! What a user can set about the buffer.

use serde::{Deserialize, Serialize};

use crate::error::{Result, in_range};

/// What a row of the buffer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RowKind {
    /// The mean of the embeddings of one track that agree with each other.
    ///
    /// A mean is more reliable than a single look, and a neighbourhood of such rows is of several visits instead of
    /// several frames of one; the buffer reaches back over as many tracks as it has rows.
    #[default]
    Track,
    /// One embedding.
    Embedding,
}

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
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct NeighborSettings {
    /// What a row is: `track`, the mean of a track's embeddings, or `embedding`.
    pub rows: RowKind,
    /// Cosine similarity to a row of its own track below which an embedding begins another row, -1 to 1: the person
    /// turned round, or the track went over to somebody else.
    pub agreement: f32,
    /// Which row of a full buffer makes room: `redundant` or `fifo`.
    pub eviction: EvictionPolicy,
}

impl Default for NeighborSettings {
    fn default() -> Self {
        Self { rows: RowKind::default(), agreement: 0.6, eviction: EvictionPolicy::default() }
    }
}

impl NeighborSettings {
    /// Checks every range.
    ///
    /// # Errors
    /// [`Error::BadSetting`](crate::Error::BadSetting) naming the first key out of range.
    pub fn validate(&self) -> Result<()> {
        in_range("neighbors.agreement", self.agreement, -1.0, 1.0)
    }
}
