//! The buffer across restarts: its rows out, and back into the same slots.

use std::time::Duration;

use super::{NeighborBuffer, Tag};
use crate::backbone::Embedding;
use crate::error::Error;

/// A row as it is kept; `V` holds its embedding, `[D]`.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedRow<V> {
    /// Who and when it was.
    pub tag: Tag,
    /// How many embeddings came before its last one: which of two is the older one.
    pub age: u64,
    /// Length of the sum of its embeddings, above 0 and up to [`MAX_LENGTH`](super::MAX_LENGTH).
    pub length: f32,
    /// How many these were.
    pub embeddings: u32,
    /// The embedding or the mean, as it was stored.
    pub embedding: V,
}

impl<V> SavedRow<V> {
    /// The same with another form of the embedding.
    ///
    /// # Errors
    /// Those of `change`.
    pub fn map<W, E>(self, change: impl FnOnce(V) -> Result<W, E>) -> Result<SavedRow<W>, E> {
        let Self { tag, age, length, embeddings, embedding } = self;
        Ok(SavedRow { tag, age, length, embeddings, embedding: change(embedding)? })
    }
}

impl<const N: usize> NeighborBuffer<N> {
    /// All rows by slot.
    pub fn saved(&self) -> impl Iterator<Item = SavedRow<&[f32]>> {
        let rows = self.rows().chunks_exact(self.width());
        rows.zip(self.tags()).enumerate().map(|(slot, (embedding, tag))| SavedRow {
            tag: *tag,
            age: self.ages[slot],
            length: self.lengths[slot],
            embeddings: self.embeddings[slot],
            embedding,
        })
    }

    /// Puts a row that was kept into the next free slot and says which that is; none if the buffer is full.
    ///
    /// A buffer that gets back what [`NeighborBuffer::saved`] gave, in that order, goes on as the first one would.
    ///
    /// # Errors
    /// [`Error::EmbeddingWidth`] if the embedding is not as wide as the buffer's rows. Nothing changes then.
    pub fn restore(&mut self, row: &SavedRow<Embedding<'_>>) -> Result<Option<usize>, Error> {
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
        (self.lengths[slot], self.embeddings[slot]) = (row.length, row.embeddings);
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

    /// Adds an embedding to the row of its track that is most similar, if it `joins` and there is one, else a row; says
    /// which one went.
    fn push(
        buffer: &mut NeighborBuffer<ROWS>,
        number: u64,
        (track, x, y, joins): (u32, i8, i8, bool),
    ) -> Option<usize> {
        let mut values = [f32::from(x), f32::from(y), 1.0];
        let embedding = Embedding::normalise(&mut values).unwrap();
        if let Some((slot, _)) = buffer.nearest_of(TrackId(track), embedding, |_| joins) {
            buffer.blend(slot, embedding, Duration::from_millis(number)).unwrap();
            return None;
        }
        let tag = Tag { track: TrackId(track), time: Duration::from_millis(number) };
        buffer.push(embedding, tag).unwrap().evicted.map(|evicted| evicted.slot)
    }

    proptest! {
        /// Few tracks and few different values: ties are the rule.
        #[test]
        fn a_restored_buffer_goes_on_as_the_first_one(
            before in prop::collection::vec((0_u32..4, -2_i8..=2, -2_i8..=2, any::<bool>()), 0..90),
            after in prop::collection::vec((0_u32..4, -2_i8..=2, -2_i8..=2, any::<bool>()), 1..90),
            fifo: bool,
        ) {
            let policy = if fifo { EvictionPolicy::Fifo } else { EvictionPolicy::Redundant };
            let mut first = NeighborBuffer::<ROWS>::new(WIDTH, policy).unwrap();
            for (number, step) in (0..).zip(&before) {
                push(&mut first, number, *step);
            }
            let mut second = NeighborBuffer::<ROWS>::new(WIDTH, policy).unwrap();
            for (slot, row) in first.saved().enumerate() {
                let row = row.map(Embedding::kept).unwrap();
                prop_assert_eq!(second.restore(&row).unwrap(), Some(slot));
            }
            prop_assert!(first.saved().eq(second.saved()));
            for (number, step) in (before.len() as u64..).zip(&after) {
                prop_assert_eq!(push(&mut first, number, *step), push(&mut second, number, *step));
                prop_assert_eq!(first.rows(), second.rows());
                prop_assert_eq!(first.tags(), second.tags());
                prop_assert!(first.saved().eq(second.saved()));
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut buffer = NeighborBuffer::<2>::new(2, EvictionPolicy::default()).unwrap();
        let row = |embedding| SavedRow {
            tag: Tag { track: TrackId(1), time: Duration::ZERO },
            age: u64::MAX,
            length: 1.0,
            embeddings: 1,
            embedding: Embedding::kept(embedding).unwrap(),
        };
        assert!(matches!(buffer.restore(&row(&[1.0])), Err(Error::EmbeddingWidth { .. })));
        assert_eq!(buffer.len(), 0);
        let slots = [0, 1, 2].map(|_| buffer.restore(&row(&[0.6, 0.8])).unwrap());
        assert_eq!(slots, [Some(0), Some(1), None]);
    }
}
