//! What a user can set about recognising people.

use serde::{Deserialize, Serialize};

use crate::error::{Result, in_range};

/// When a person counts as known, and how long the gallery remembers.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct GallerySettings {
    /// Score from which a person is known, -1 to 2. The score is the cosine similarity to a prototype, and `lead` times
    /// how far the most similar one is ahead of the next; find it with `nformer-edge eval --protocol stream`.
    pub similarity: f32,
    /// What being ahead of the next identity counts beside similarity itself, 0 to 4.
    pub lead: f32,
    /// Cosine similarity that strangers have at least: nobody is further ahead than over this, -1 to 1. Counts where
    /// few identities are known.
    pub crowd: f32,
    /// How far below `similarity` a score must be for a new identity, 0 to 2. What lies between is unsure.
    pub doubt: f32,
    /// How much more than `similarity` is asked of a track with fewer than `min_embeddings`, 0 to 2.
    pub first: f32,
    /// Cosine similarity to the identity of its own track below which an embedding contradicts it, -1 to 1. Two in a
    /// row take the identity away. People turn round and pass through shadow: keep it far below `similarity`.
    pub contradiction: f32,
    /// Cosine similarity of two prototypes from which two identities that were never seen together are one, -1 to 1.
    pub merge: f32,
    /// Embeddings of a track after which an answer is put off no longer: who is not known then is new.
    pub patience: u32,
    /// Embeddings of a track before it may become a new identity: the first one often shows half a person.
    pub min_embeddings: u32,
    /// Identities not seen for this long are forgotten, in seconds.
    pub ttl_s: u64,
}

impl Default for GallerySettings {
    fn default() -> Self {
        Self {
            similarity: 0.86,
            lead: 1.5,
            crowd: 0.5,
            doubt: 0.2,
            first: 0.1,
            contradiction: 0.45,
            merge: 0.9,
            patience: 8,
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
        in_range("gallery.similarity", self.similarity, -1.0, 2.0)?;
        in_range("gallery.lead", self.lead, 0.0, 4.0)?;
        in_range("gallery.crowd", self.crowd, -1.0, 1.0)?;
        in_range("gallery.doubt", self.doubt, 0.0, 2.0)?;
        in_range("gallery.first", self.first, 0.0, 2.0)?;
        in_range("gallery.contradiction", self.contradiction, -1.0, 1.0)?;
        in_range("gallery.merge", self.merge, -1.0, 1.0)?;
        in_range("gallery.patience", self.patience, 1, 1_000_000)?;
        in_range("gallery.min_embeddings", self.min_embeddings, 1, 1_000_000)?;
        in_range("gallery.ttl_s", self.ttl_s, 1, u64::from(u32::MAX))
    }
}
