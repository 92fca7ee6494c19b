//! One row for many embeddings of a track: their mean.

use std::time::Duration;

use super::{NeighborBuffer, Tag};
use crate::backbone::Embedding;
use crate::error::{Error, Result};
use crate::kernels::{dot, l2_normalise};
use crate::tracks::TrackId;

/// What a row of a track weighs at most beside a new embedding, in embeddings that agree: a person in view for an hour turns
/// round, and the row follows.
pub const MAX_LENGTH: f32 = 16.0;

impl<const N: usize> NeighborBuffer<N> {
    /// The row of `track` that is most similar to `embedding` among the slots that `may` allows, and the cosine; the lower slot of
    /// equals.
    pub fn nearest_of(
        &self,
        track: TrackId,
        embedding: Embedding<'_>,
        may: impl Fn(usize) -> bool,
    ) -> Option<(usize, f32)> {
        let rows = self.rows.chunks_exact(self.width).zip(&self.tags).enumerate();
        let own = rows.filter(|(slot, (_, tag))| tag.track == track && may(*slot));
        own.fold(None, |best: Option<(usize, f32)>, (slot, (row, _))| {
            let similarity = dot(row, embedding.as_slice());
            if best.is_some_and(|(_, found)| found >= similarity) { best } else { Some((slot, similarity)) }
        })
    }

    /// Makes the row in `slot` the direction of the sum of its embeddings and one more, taken at `time`, and the youngest row:
    ///
    /// `row' = L2(length * row + x)`, `length' = min(|length * row + x|, MAX_LENGTH)`, where a new row has length 1.
    ///
    /// Embeddings that cancel out leave the newest one alone.
    ///
    /// # Errors
    /// [`Error::EmbeddingWidth`] if the embedding is not as wide as the buffer's rows, or no row stands there. Nothing
    /// changes then.
    pub fn blend(&mut self, slot: usize, embedding: Embedding<'_>, time: Duration) -> Result<()> {
        let values = embedding.as_slice();
        let filled = slot < self.tags.len();
        if values.len() != self.width || !filled {
            let expected = if filled { self.width } else { 0 };
            return Err(Error::EmbeddingWidth { what: "neighbour buffer", expected, found: values.len() });
        }
        if let Some(redundancy) = &mut self.redundancy {
            redundancy.leave(slot, &self.rows, &self.tags);
        }
        let row = &mut self.rows[slot * self.width..][..self.width];
        let length = self.lengths[slot];
        row.iter_mut().zip(values).for_each(|(sum, value)| *sum = *sum * length + value);
        let sum = dot(row, row).sqrt();
        if l2_normalise(row) {
            self.lengths[slot] = sum.min(MAX_LENGTH);
        } else {
            row.copy_from_slice(values);
            self.lengths[slot] = 1.0;
        }
        self.embeddings[slot] = self.embeddings[slot].saturating_add(1);
        self.tags[slot] = Tag { time, ..self.tags[slot] };
        self.ages[slot] = self.stored;
        self.stored += 1;
        if let Some(redundancy) = &mut self.redundancy {
            redundancy.join(slot, &self.rows, &self.tags);
        }
        Ok(())
    }

    /// The row of `track` that got the last embedding.
    pub fn newest_of(&self, track: TrackId) -> Option<usize> {
        let rows = self.tags.iter().zip(&self.ages).enumerate();
        let own = rows.filter(|(_, (tag, _))| tag.track == track);
        own.max_by_key(|(_, (_, age))| **age).map(|(slot, _)| slot)
    }

    /// Embeddings that the row in `slot` is the mean of; none where no row stands.
    pub fn embeddings(&self, slot: usize) -> u32 {
        if slot < self.len() { self.embeddings[slot] } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Eviction, EvictionPolicy, KEPT_OF_TRACK};
    use super::*;

    const WIDTH: usize = 3;

    fn tag(track: u32, ms: u64) -> Tag {
        Tag { track: TrackId(track), time: Duration::from_millis(ms) }
    }

    /// A row of the plain model: the sum in double precision, and what the buffer says of it.
    #[derive(Clone, Debug)]
    struct Kept {
        slot: usize,
        tag: Tag,
        sum: [f64; WIDTH],
        embeddings: u32,
        last: u64,
    }

    fn norm(values: &[f64; WIDTH]) -> f64 {
        values.iter().map(|value| value * value).sum::<f64>().sqrt()
    }

    impl Kept {
        fn add(&mut self, values: &[f32]) {
            for (sum, value) in self.sum.iter_mut().zip(values) {
                *sum += f64::from(*value);
            }
            let scale = (f64::from(MAX_LENGTH) / norm(&self.sum)).min(1.0);
            self.sum = self.sum.map(|value| value * scale);
            self.embeddings += 1;
        }
    }

    /// The row that makes room, straight from the definitions of the policies.
    fn gone<const N: usize>(rows: &[Kept], policy: EvictionPolicy, buffer: &NeighborBuffer<N>) -> (usize, Eviction) {
        let oldest = (0..rows.len()).min_by_key(|at| rows[*at].last).unwrap();
        let mut best = (oldest, f32::NEG_INFINITY, u64::MAX, Eviction::Oldest);
        if policy == EvictionPolicy::Redundant {
            for (at, row) in rows.iter().enumerate() {
                let track = rows.iter().filter(|other| other.tag.track == row.tag.track);
                if track.clone().count() <= KEPT_OF_TRACK {
                    continue;
                }
                for other in track.filter(|other| other.slot != row.slot) {
                    let similarity = dot(buffer.row(row.slot).unwrap(), buffer.row(other.slot).unwrap());
                    if similarity > best.1 || (similarity >= best.1 && row.last < best.2) {
                        best = (at, similarity, row.last, Eviction::Redundant);
                    }
                }
            }
        }
        (best.0, best.3)
    }

    proptest! {
        /// Rows that are pushed and rows that are blended, of few tracks, until many had to make room.
        #[test]
        fn behaves_like_sums(
            policy in prop_oneof![Just(EvictionPolicy::Fifo), Just(EvictionPolicy::Redundant)],
            steps in proptest::collection::vec((0_u32..3, -9_i8..=9, -9_i8..=9, any::<bool>()), 0..160)
        ) {
            const ROWS: usize = 20;
            let mut buffer = NeighborBuffer::<ROWS>::new(WIDTH, policy).unwrap();
            let mut model: Vec<Kept> = Vec::new();
            for (number, (track, x, y, joins)) in (0_u64..).zip(steps) {
                let mut values = [f32::from(x), f32::from(y), 4.0];
                let embedding = Embedding::normalise(&mut values).unwrap();
                let nearest = buffer.nearest_of(TrackId(track), embedding, |_| true);
                if let Some((slot, similarity)) = nearest.filter(|_| joins) {
                    let own = model.iter().filter(|kept| kept.tag.track == TrackId(track));
                    let best = own.map(|kept| dot(buffer.row(kept.slot).unwrap(), embedding.as_slice()));
                    prop_assert_eq!(best.max_by(f32::total_cmp).map(f32::to_bits), Some(similarity.to_bits()));
                    buffer.blend(slot, embedding, Duration::from_millis(number)).unwrap();
                    let kept = model.iter_mut().find(|kept| kept.slot == slot).unwrap();
                    kept.add(embedding.as_slice());
                    (kept.tag, kept.last) = (tag(track, number), number);
                } else {
                    let mut slot = model.len();
                    let expected = (slot == ROWS).then(|| gone(&model, policy, &buffer));
                    let pushed = buffer.push(embedding, tag(track, number)).unwrap();
                    if let Some((at, reason)) = expected {
                        slot = model.remove(at).slot;
                        prop_assert_eq!(pushed.evicted.map(|gone| (gone.slot, gone.reason)), Some((slot, reason)));
                    }
                    prop_assert_eq!(pushed.slot, slot);
                    let sum = values.map(f64::from);
                    model.push(Kept { slot, tag: tag(track, number), sum, embeddings: 1, last: number });
                }
                for kept in &model {
                    prop_assert_eq!(buffer.tag(kept.slot), Some(kept.tag));
                    prop_assert_eq!(buffer.embeddings(kept.slot), kept.embeddings);
                    for (found, sum) in buffer.row(kept.slot).unwrap().iter().zip(kept.sum) {
                        // Rounding of up to 160 sums of floats.
                        prop_assert!((f64::from(*found) - sum / norm(&kept.sum)).abs() < 1e-4);
                    }
                }
                let newest = model.iter().filter(|kept| kept.tag.track == TrackId(track)).max_by_key(|kept| kept.last);
                prop_assert_eq!(buffer.newest_of(TrackId(track)), newest.map(|kept| kept.slot));
            }
        }
    }

    /// A person seen from the front for an hour turns round: the row follows within a few dozen looks.
    #[test]
    fn a_long_row_follows_a_change() {
        let mut buffer = NeighborBuffer::<2>::new(2, EvictionPolicy::Fifo).unwrap();
        let look = |values: [f32; 2]| values;
        buffer.push(Embedding::normalise(&mut look([1.0, 0.0])).unwrap(), tag(1, 0)).unwrap();
        for ms in 1..3600 {
            buffer.blend(0, Embedding::normalise(&mut look([1.0, 0.0])).unwrap(), Duration::from_millis(ms)).unwrap();
        }
        for ms in 3600..3600 + 2 * MAX_LENGTH as u64 {
            buffer.blend(0, Embedding::normalise(&mut look([0.0, 1.0])).unwrap(), Duration::from_millis(ms)).unwrap();
        }
        let row = buffer.row(0).unwrap();
        assert!(row[1] > 0.8, "{row:?}");
        assert_eq!(buffer.embeddings(0), 3600 + 2 * MAX_LENGTH as u32);
    }

    #[test]
    fn embeddings_that_cancel_out_leave_the_newest_alone() {
        let mut buffer = NeighborBuffer::<2>::new(2, EvictionPolicy::Fifo).unwrap();
        buffer.push(Embedding::normalise(&mut [0.6, 0.8]).unwrap(), tag(1, 0)).unwrap();
        buffer.blend(0, Embedding::normalise(&mut [-0.6, -0.8]).unwrap(), Duration::from_millis(1)).unwrap();
        assert_eq!(buffer.row(0).unwrap(), [-0.6, -0.8]);
    }

    #[test]
    fn other_widths_and_empty_slots_are_refused_and_nothing_changes() {
        let mut buffer = NeighborBuffer::<2>::new(2, EvictionPolicy::Redundant).unwrap();
        buffer.push(Embedding::normalise(&mut [0.6, 0.8]).unwrap(), tag(1, 0)).unwrap();
        let mut wide = [1.0, 0.0, 0.0];
        let wide = Embedding::normalise(&mut wide).unwrap();
        let refused = buffer.blend(0, wide, Duration::from_millis(1));
        assert!(matches!(refused, Err(Error::EmbeddingWidth { expected: 2, found: 3, .. })));
        for slot in [1, 2] {
            let refused = buffer.blend(slot, Embedding::normalise(&mut [1.0, 0.0]).unwrap(), Duration::from_millis(1));
            assert!(matches!(refused, Err(Error::EmbeddingWidth { expected: 0, .. })));
            assert_eq!(buffer.embeddings(slot), 0);
        }
        assert_eq!((buffer.rows(), buffer.tag(0), buffer.embeddings(0)), (&[0.6, 0.8][..], Some(tag(1, 0)), 1));
        assert_eq!((buffer.newest_of(TrackId(1)), buffer.newest_of(TrackId(2))), (Some(0), None));
    }
}
