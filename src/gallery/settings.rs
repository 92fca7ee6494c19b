//! What a user can set about recognising people.

use serde::{Deserialize, Serialize};

use crate::error::{Result, in_range};

/// When a person counts as known, and how long the gallery remembers.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct GallerySettings {
    /// Cosine similarity to a prototype from which a person is known, -1 to 1.
    pub similarity: f32,
    /// Least lead over the next best identity, 0 to 2.
    pub margin: f32,
    /// Half width of the band around `similarity` in which an answer is put off, 0 to 1.
    pub band: f32,
    /// Cosine similarity to the identity of its own track below which an embedding contradicts it, -1 to 1. Two in a
    /// row take the identity away. People turn round and pass through shadow: keep it far below `similarity`.
    pub contradiction: f32,
    /// Cosine similarity of two prototypes from which two identities that were never seen together are one, -1 to 1.
    pub merge: f32,
    /// Embeddings of a track after which an answer is put off no longer.
    pub patience: u32,
    /// Embeddings of a track before it may be known or become a new identity: the first one often shows half a person.
    pub min_embeddings: u32,
    /// Identities not seen for this long are forgotten, in seconds.
    pub ttl_s: u64,
}

impl Default for GallerySettings {
    fn default() -> Self {
        Self {
            similarity: 0.7,
            margin: 0.03,
            band: 0.09,
            contradiction: 0.45,
            merge: 0.9,
            patience: 5,
            min_embeddings: 2,
            ttl_s: 24 * 3600,
        }
    }
}

impl GallerySettings {
    /// Checks every range.
    ///
    /// # Errors
    /// [`Error::BadSetting`](crate::Error::BadSetting) naming the first key out of range.
    pub fn validate(&self) -> Result<()> {
        in_range("gallery.similarity", self.similarity, -1.0, 1.0)?;
        in_range("gallery.margin", self.margin, 0.0, 2.0)?;
        in_range("gallery.band", self.band, 0.0, 1.0)?;
        in_range("gallery.contradiction", self.contradiction, -1.0, 1.0)?;
        in_range("gallery.merge", self.merge, -1.0, 1.0)?;
        in_range("gallery.patience", self.patience, 1, 1_000_000)?;
        in_range("gallery.min_embeddings", self.min_embeddings, 1, 1_000_000)?;
        in_range("gallery.ttl_s", self.ttl_s, 1, u64::from(u32::MAX))
    }
}
