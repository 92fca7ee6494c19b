//! The buffer across restarts: its rows out, and back into the same slots.

use std::time::Duration;

use super::{NeighborBuffer, Tag};
use crate::backbone::Embedding;
use crate::error::{Error, Result};

/// A row as it is kept; `V` holds its embedding, `[D]`.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedRow<V> {
    /// Who and when it was.
    pub tag: Tag,
    /// How many rows came before it: which of two is the older one.
    pub age: u64,
    /// The embedding, as it was stored.
    pub embedding: V,
}

impl<const N: usize> NeighborBuffer<N> {
    /// All rows by slot.
    pub fn saved(&self) -> impl Iterator<Item = SavedRow<&[f32]>> {
        let rows = self.rows().chunks_exact(self.width());
        rows.zip(self.tags()).zip(&self.ages).map(|((embedding, tag), age)| SavedRow {
            tag: *tag,
            age: *age,
            embedding,
        })
    }

    /// Puts a row that was kept into the next free slot and says which that is; none if the buffer is full.
    ///
    /// A buffer that gets back what [`NeighborBuffer::saved`] gave, in that order, goes on as the first one would.
    ///
    /// # Errors
    /// [`Error::EmbeddingWidth`] if the embedding is not as wide as the buffer's rows. Nothing changes then.
    pub fn restore(&mut self, row: &SavedRow<Embedding<'_>>) -> Result<Option<usize>> {
        let values = row.embedding.as_slice();
        if values.len() != self.width {
            return Err(Error::EmbeddingWidth { what: "neighbour buffer", expected: self.width, found: values.len() });
        }
        let slot = self.tags.len();
        if self.tags.push(row.tag).is_err() {
            return Ok(None);
        }
        self.rows[slot * self.width..][..self.width].copy_from_slice(values);
        self.ages[slot] = row.age;
        self.stored = self.stored.max(row.age.saturating_add(1));
        if let Some(redundancy) = &mut self.redundancy {
            redundancy.join(slot, &self.rows, &self.tags);
        }
        Ok(Some(slot))
    }

    /// Moves the times of rows after `since` by `time`: what was before lies that much further back.
    pub fn postpone(&mut self, since: Duration, time: Duration) {
        for tag in self.tags.iter_mut().filter(|tag| tag.time > since) {
            tag.time = tag.time.saturating_add(time);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::neighbors::EvictionPolicy;
    use crate::tracks::TrackId;

    const ROWS: usize = 24;
    const WIDTH: usize = 3;

    fn push(buffer: &mut NeighborBuffer<ROWS>, number: u64, (track, x, y): (u32, i8, i8)) -> Option<usize> {
        let mut values = [f32::from(x), f32::from(y), 1.0];
        let embedding = Embedding::normalise(&mut values).unwrap();
        let tag = Tag { track: TrackId(track), time: Duration::from_millis(number) };
        buffer.push(embedding, tag).unwrap().evicted.map(|evicted| evicted.slot)
    }

    proptest! {
        /// Few tracks and few different values: ties are the rule.
        #[test]
        fn a_restored_buffer_goes_on_as_the_first_one(
            before in prop::collection::vec((0_u32..4, -2_i8..=2, -2_i8..=2), 0..60),
            after in prop::collection::vec((0_u32..4, -2_i8..=2, -2_i8..=2), 1..60),
            fifo: bool,
        ) {
            let policy = if fifo { EvictionPolicy::Fifo } else { EvictionPolicy::Redundant };
            let mut first = NeighborBuffer::<ROWS>::new(WIDTH, policy).unwrap();
            for (number, step) in (0..).zip(&before) {
                push(&mut first, number, *step);
            }
            let mut second = NeighborBuffer::<ROWS>::new(WIDTH, policy).unwrap();
            for (slot, row) in first.saved().enumerate() {
                let SavedRow { tag, age, embedding } = row;
                let row = SavedRow { tag, age, embedding: Embedding::kept(embedding).unwrap() };
                prop_assert_eq!(second.restore(&row).unwrap(), Some(slot));
            }
            for (number, step) in (before.len() as u64..).zip(&after) {
                prop_assert_eq!(push(&mut first, number, *step), push(&mut second, number, *step));
                prop_assert_eq!(first.rows(), second.rows());
                prop_assert_eq!(first.tags(), second.tags());
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut buffer = NeighborBuffer::<2>::new(2, EvictionPolicy::default()).unwrap();
        let row = |embedding| SavedRow {
            tag: Tag { track: TrackId(1), time: Duration::ZERO },
            age: u64::MAX,
            embedding: Embedding::kept(embedding).unwrap(),
        };
        assert!(matches!(buffer.restore(&row(&[1.0])), Err(Error::EmbeddingWidth { .. })));
        assert_eq!(buffer.len(), 0);
        let slots = [0, 1, 2].map(|_| buffer.restore(&row(&[0.6, 0.8])).unwrap());
        assert_eq!(slots, [Some(0), Some(1), None]);
    }
}
