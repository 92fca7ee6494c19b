//! Embedding -> row of a fixed buffer: the last `N` embeddings seen, with whom and when.
//!
//! Glossary: a *slot* is a place of the buffer; a slot keeps its place for as long as its row lives, and the
//! filled slots are always `0..len`, so the rows are one matrix `[len, D]` without a gap.

use std::time::Duration;

use crate::backbone::Embedding;
use crate::error::{Error, Result};
use crate::size::{MAX_EMBEDDING, NEIGHBORS};
use crate::tracks::TrackId;

/// What is known of a row besides its embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The track it was taken from.
    pub track: TrackId,
    /// Time of its frame.
    pub time: Duration,
}

/// Why a row had to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Eviction {
    /// It was the oldest one of a full buffer.
    Oldest,
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

/// The last `N` embeddings, `[N, D]`, in memory that never grows.
///
/// A full buffer overwrites its oldest row in place.
#[derive(Clone, Debug)]
pub struct NeighborBuffer<const N: usize = NEIGHBORS> {
    width: usize,
    rows: Vec<f32>,
    tags: heapless::Vec<Tag, N>,
    /// The slot that the next row overwrites once the buffer is full: that of the oldest row.
    oldest: usize,
}

impl<const N: usize> NeighborBuffer<N> {
    /// An empty buffer for embeddings of `width` floats. The only allocation is made here.
    ///
    /// # Errors
    /// [`Error::EmbeddingWidth`] if `width` is zero, [`Error::TooLarge`] if it is above [`MAX_EMBEDDING`].
    pub fn new(width: usize) -> Result<Self> {
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
        Ok(Self { width, rows: vec![0.0; N * width], tags: heapless::Vec::new(), oldest: 0 })
    }

    /// Stores a row; a full buffer gives up its oldest one and says so.
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
                let slot = self.oldest;
                self.oldest = (slot + 1) % N;
                let gone = std::mem::replace(&mut self.tags[slot], tag);
                (slot, Some(Evicted { slot, tag: gone, reason: Eviction::Oldest }))
            }
        };
        self.rows[slot * self.width..][..self.width].copy_from_slice(values);
        Ok(Pushed { slot, evicted })
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
        self.oldest = 0;
    }

    /// Bytes held from start to end: the rows and this struct with its tags.
    pub fn bytes(&self) -> usize {
        size_of_val(self.rows.as_slice()) + size_of::<Self>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    const WIDTH: usize = 3;

    fn tag(number: u32) -> Tag {
        Tag { track: TrackId(number), time: Duration::from_millis(number.into()) }
    }

    fn unit(number: u32) -> [f32; WIDTH] {
        let mut values = [number as f32 + 1.0, 1.0, -0.5];
        Embedding::normalise(&mut values).unwrap();
        values
    }

    fn push<const N: usize>(buffer: &mut NeighborBuffer<N>, number: u32) -> Pushed {
        let mut values = unit(number);
        buffer.push(Embedding::normalise(&mut values).unwrap(), tag(number)).unwrap()
    }

    proptest! {
        /// Against a queue of (number, slot): what is held, what goes, and that a row never moves.
        #[test]
        fn behaves_like_a_queue(steps in proptest::collection::vec(0_u8..12, 0..200)) {
            let mut buffer = NeighborBuffer::<7>::new(WIDTH).unwrap();
            let mut model: VecDeque<(u32, usize)> = VecDeque::new();
            for (number, step) in (0_u32..).zip(steps) {
                if step == 0 {
                    buffer.clear();
                    model.clear();
                }
                let pushed = push(&mut buffer, number);
                let gone = if model.len() == 7 { model.pop_front() } else { None };
                let expected = gone.map(|(gone, slot)| Evicted { slot, tag: tag(gone), reason: Eviction::Oldest });
                prop_assert_eq!(pushed.evicted, expected);
                prop_assert_eq!(pushed.slot, gone.map_or(model.len(), |(_, slot)| slot));
                model.push_back((number, pushed.slot));

                prop_assert_eq!(buffer.len(), model.len());
                prop_assert_eq!(buffer.rows().len(), model.len() * WIDTH);
                for (number, slot) in &model {
                    prop_assert_eq!(buffer.tag(*slot), Some(tag(*number)));
                    let mut expected = unit(*number);
                    let expected = Embedding::normalise(&mut expected).unwrap();
                    prop_assert_eq!(buffer.row(*slot), Some(expected.as_slice()));
                }
                prop_assert_eq!(buffer.tag(model.len()), None);
                prop_assert_eq!(buffer.row(model.len()), None);
            }
        }
    }

    #[test]
    fn another_width_is_refused_and_nothing_changes() {
        let mut buffer = NeighborBuffer::<2>::new(WIDTH).unwrap();
        push(&mut buffer, 1);
        let mut wide = [1.0; WIDTH + 1];
        let refused = buffer.push(Embedding::normalise(&mut wide).unwrap(), tag(2));
        assert!(matches!(refused, Err(Error::EmbeddingWidth { expected: 3, found: 4, .. })));
        assert_eq!((buffer.len(), buffer.tags()), (1, &[tag(1)][..]));
    }

    #[test]
    fn impossible_widths_are_refused() {
        assert!(matches!(NeighborBuffer::<2>::new(0), Err(Error::EmbeddingWidth { .. })));
        assert!(matches!(NeighborBuffer::<2>::new(MAX_EMBEDDING + 1), Err(Error::TooLarge { .. })));
    }

    #[test]
    fn the_bytes_do_not_change() {
        let mut buffer = NeighborBuffer::<4>::new(WIDTH).unwrap();
        let bytes = buffer.bytes();
        for number in 0..9 {
            push(&mut buffer, number);
        }
        assert_eq!(buffer.bytes(), bytes);
        assert!(bytes >= 4 * (WIDTH * size_of::<f32>() + size_of::<Tag>()));
        assert_eq!(NeighborBuffer::<NEIGHBORS>::new(WIDTH).unwrap().capacity(), NEIGHBORS);
    }
}
