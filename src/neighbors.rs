//! Embedding -> row of a fixed buffer: `N` of the tracks or embeddings seen, with whom and when.
//!
//! Glossary: a *slot* is a place of the buffer; a slot keeps its place for as long as its row lives, and the
//! filled slots are always `0..len`, so the rows are one matrix `[len, D]` without a gap.

mod redundancy;
mod saved;
mod settings;
mod track_rows;

use std::time::Duration;

use crate::backbone::Embedding;
use crate::error::{Error, Result};
use crate::size::{MAX_EMBEDDING, NEIGHBORS};
use crate::tracks::TrackId;
use redundancy::Redundancy;

pub use redundancy::KEPT_OF_TRACK;
pub use saved::SavedRow;
pub use settings::{EvictionPolicy, NeighborSettings, RowKind};
pub use track_rows::MAX_LENGTH;

/// What is known of a row besides its embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The track it was taken from.
    pub track: TrackId,
    /// Time of its frame; of a row of many embeddings, the last of them.
    pub time: Duration,
}

/// Why a row had to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Eviction {
    /// It was older than any row is to be kept, and the oldest of these.
    Expired,
    /// It was the oldest one of a full buffer.
    Oldest,
    /// Among the rows of tracks that have many, it was the one closest to another row of its own track.
    Redundant,
}

/// A row that had to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evicted {
    /// Where it stood.
    pub slot: usize,
    /// Who and when it was.
    pub tag: Tag,
    /// Why it went.
    pub reason: Eviction,
}

/// What [`NeighborBuffer::push`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Where the new row stands.
    pub slot: usize,
    /// The row that stood in the way, if the buffer was full.
    pub evicted: Option<Evicted>,
}

/// Up to `N` rows, `[N, D]`, in memory that never grows. A row is an embedding ([`NeighborBuffer::push`]) or the mean of many
/// of one track ([`NeighborBuffer::blend`]).
///
/// A full buffer overwrites one row in place: one that expired, or else the one that its [`EvictionPolicy`] says.
#[derive(Clone, Debug)]
pub struct NeighborBuffer<const N: usize = NEIGHBORS> {
    width: usize,
    /// Age at which a row expires.
    ttl: Duration,
    rows: Vec<f32>,
    tags: heapless::Vec<Tag, N>,
    /// How many embeddings came before the last one of each row, `[N]`.
    ages: Vec<u64>,
    /// Length of the sum of embeddings that each row is the direction of, `[N]`, up to [`MAX_LENGTH`].
    lengths: Vec<f32>,
    /// Embeddings in each row, `[N]`.
    embeddings: Vec<u32>,
    /// Embeddings stored so far.
    stored: u64,
    /// Kept only where the policy asks for it.
    redundancy: Option<Redundancy>,
}

impl<const N: usize> NeighborBuffer<N> {
    /// An empty buffer for embeddings of `width` floats. The only allocation is made here.
    ///
    /// # Errors
    /// [`Error::EmbeddingWidth`] if `width` is zero, [`Error::TooLarge`] if it is above [`MAX_EMBEDDING`].
    pub fn new(width: usize, policy: EvictionPolicy) -> Result<Self> {
        const { assert!(N > 0, "a neighbour buffer without rows") };
        if width == 0 {
            return Err(Error::EmbeddingWidth { what: "neighbour buffer", expected: 1, found: 0 });
        }
        if width > MAX_EMBEDDING {
            return Err(Error::TooLarge {
                what: "embedding width",
                found: width,
                max: MAX_EMBEDDING,
                constant: "MAX_EMBEDDING",
            });
        }
        let redundancy = match policy {
            EvictionPolicy::Fifo => None,
            EvictionPolicy::Redundant => Some(Redundancy::new(N)),
        };
        let rows = vec![0.0; N * width];
        Ok(Self {
            width,
            ttl: Duration::MAX,
            rows,
            tags: heapless::Vec::new(),
            ages: vec![0; N],
            lengths: vec![1.0; N],
            embeddings: vec![1; N],
            stored: 0,
            redundancy,
        })
    }

    /// The same with rows that expire when they are older than `ttl`, by the times of their tags: a full buffer gives these up
    /// first, also where a policy would keep them because their track has few.
    #[must_use]
    pub fn with_ttl(self, ttl: Duration) -> Self {
        Self { ttl, ..self }
    }

    /// Stores a row; a full buffer gives up one of its rows and says which and why.
    ///
    /// # Errors
    /// [`Error::EmbeddingWidth`] if the embedding is not as wide as the buffer's rows. Nothing changes then.
    pub fn push(&mut self, embedding: Embedding<'_>, tag: Tag) -> Result<Pushed> {
        let values = embedding.as_slice();
        if values.len() != self.width {
            return Err(Error::EmbeddingWidth { what: "neighbour buffer", expected: self.width, found: values.len() });
        }
        let free = self.tags.len();
        let (slot, evicted) = match self.tags.push(tag) {
            Ok(()) => (free, None),
            Err(tag) => {
                let (slot, reason) = self.choose(tag.time);
                if let Some(redundancy) = &mut self.redundancy {
                    redundancy.leave(slot, &self.rows, &self.tags);
                }
                let gone = std::mem::replace(&mut self.tags[slot], tag);
                (slot, Some(Evicted { slot, tag: gone, reason }))
            }
        };
        self.rows[slot * self.width..][..self.width].copy_from_slice(values);
        (self.lengths[slot], self.embeddings[slot]) = (1.0, 1);
        self.ages[slot] = self.stored;
        self.stored += 1;
        if let Some(redundancy) = &mut self.redundancy {
            redundancy.join(slot, &self.rows, &self.tags);
        }
        Ok(Pushed { slot, evicted })
    }

    /// The row of a full buffer that goes next, at `now`.
    fn choose(&self, now: Duration) -> (usize, Eviction) {
        let kept_from = now.saturating_sub(self.ttl);
        let expired = self.tags.iter().zip(&self.ages).enumerate().filter(|(_, (tag, _))| tag.time < kept_from);
        if let Some((slot, _)) = expired.min_by_key(|(_, (_, age))| **age) {
            return (slot, Eviction::Expired);
        }
        if let Some(slot) = self.redundancy.as_ref().and_then(|redundancy| redundancy.closest(&self.ages)) {
            return (slot, Eviction::Redundant);
        }
        let oldest = self.ages.iter().enumerate().min_by_key(|(_, age)| **age);
        (oldest.map_or(0, |(slot, _)| slot), Eviction::Oldest)
    }

    /// All rows, `[len, D]`, by slot.
    pub fn rows(&self) -> &[f32] {
        &self.rows[..self.len() * self.width]
    }

    /// The row in `slot`, `[D]`; nothing if it is not filled.
    pub fn row(&self, slot: usize) -> Option<&[f32]> {
        self.rows().chunks_exact(self.width).nth(slot)
    }

    /// All tags, `[len]`, by slot.
    pub fn tags(&self) -> &[Tag] {
        &self.tags
    }

    /// Who and when the row in `slot` was; nothing if it is not filled.
    pub fn tag(&self, slot: usize) -> Option<Tag> {
        self.tags.get(slot).copied()
    }

    /// Rows held now.
    pub fn len(&self) -> usize {
        self.tags.len()
    }

    /// Whether no row is held.
    pub fn is_empty(&self) -> bool {
        self.tags.is_empty()
    }

    /// Most rows that can be held: `N`.
    pub const fn capacity(&self) -> usize {
        N
    }

    /// Width of a row in floats.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Forgets every row and keeps the memory.
    pub fn clear(&mut self) {
        self.tags.clear();
    }

    /// Bytes held from start to end: the rows, what is known of each, and this struct with its tags.
    pub fn bytes(&self) -> usize {
        let redundancy = self.redundancy.as_ref().map_or(0, Redundancy::bytes);
        let rows = size_of_val(self.rows.as_slice()) + size_of_val(self.ages.as_slice());
        let means = size_of_val(self.lengths.as_slice()) + size_of_val(self.embeddings.as_slice());
        rows + means + redundancy + size_of::<Self>()
    }
}

#[cfg(test)]
mod tests;
