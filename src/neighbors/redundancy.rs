//! How close each row is to another row of its own track.

use super::Tag;
use crate::kernels::dot;

/// Rows of a track that are never called redundant. More than the neighbours of a row in use (5), so that a track can
/// fill the neighbourhood of its own rows.
pub const KEPT_OF_TRACK: usize = 8;

/// What is known of each row of the buffer besides its tag, `[N]`; kept up to date row by row.
///
/// A new row costs one scalar product with each row of its track; a row that goes, one with each row of the track for
/// every row that it was the closest to.
#[derive(Clone, Debug)]
pub(super) struct Redundancy {
    closest: Vec<Closest>,
    /// Rows filled.
    len: usize,
}

/// The closest other row of the same track.
#[derive(Clone, Copy, Debug)]
struct Closest {
    slot: usize,
    /// Cosine.
    similarity: f32,
    /// Rows of the track, this one included.
    rows_of_track: usize,
}

/// A row that is alone in its track.
const ALONE: Closest = Closest { slot: usize::MAX, similarity: f32::NEG_INFINITY, rows_of_track: 1 };

impl Redundancy {
    /// Room for `max_rows` rows.
    pub(super) fn new(max_rows: usize) -> Self {
        Self { closest: vec![ALONE; max_rows], len: 0 }
    }

    /// The row that is closest to another one of its track, among tracks with more than [`KEPT_OF_TRACK`] rows; the one
    /// that came first among equals.
    pub(super) fn closest(&self, ages: &[u64]) -> Option<usize> {
        let mut best: Option<usize> = None;
        for (slot, row) in self.closest[..self.len].iter().enumerate() {
            if row.rows_of_track <= KEPT_OF_TRACK {
                continue;
            }
            let better = best.is_none_or(|best| {
                let similarity = self.closest[best].similarity;
                row.similarity > similarity || (row.similarity >= similarity && ages[slot] < ages[best])
            });
            if better {
                best = Some(slot);
            }
        }
        best
    }

    /// The row in `slot` is about to go; `rows [N, D]` and `tags` still hold it.
    pub(super) fn leave(&mut self, slot: usize, rows: &[f32], tags: &[Tag]) {
        for other in (0..tags.len()).filter(|other| *other != slot && tags[*other].track == tags[slot].track) {
            self.closest[other].rows_of_track -= 1;
            if self.closest[other].slot == slot {
                self.closest[other] = self.find(other, Some(slot), rows, tags);
            }
        }
    }

    /// The row in `slot` of `rows [N, D]` is new.
    pub(super) fn join(&mut self, slot: usize, rows: &[f32], tags: &[Tag]) {
        self.len = tags.len();
        let own = self.find(slot, None, rows, tags);
        self.closest[slot] = own;
        let width = rows.len() / self.closest.len();
        let row = &rows[slot * width..][..width];
        for other in (0..tags.len()).filter(|other| *other != slot && tags[*other].track == tags[slot].track) {
            let similarity = dot(&rows[other * width..][..width], row);
            let closest = &mut self.closest[other];
            closest.rows_of_track = own.rows_of_track;
            if similarity > closest.similarity {
                (closest.slot, closest.similarity) = (slot, similarity);
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.closest.as_slice())
    }

    /// The row of the same track that is closest to that in `slot`, as if `without` were gone.
    fn find(&self, slot: usize, without: Option<usize>, rows: &[f32], tags: &[Tag]) -> Closest {
        let width = rows.len() / self.closest.len();
        let row = &rows[slot * width..][..width];
        let mut closest = ALONE;
        for (other, tag) in tags.iter().enumerate() {
            if other == slot || Some(other) == without || tag.track != tags[slot].track {
                continue;
            }
            closest.rows_of_track += 1;
            let similarity = dot(&rows[other * width..][..width], row);
            if similarity > closest.similarity {
                (closest.slot, closest.similarity) = (other, similarity);
            }
        }
        closest
    }
}
