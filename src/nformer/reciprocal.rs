//! Reciprocal neighbours: who is among the nearest of whom, both ways.

use crate::kernels::{dots, top_k};
use crate::size::MAX_TOP_K;

/// Rows whose scores are computed together.
const TOGETHER: usize = 4;

/// For each row i the set `R(i) = { j : j in T(i) and i in T(j) }`, where `T(i)` are the k rows with the largest
/// `S[i, .]`, `S = X X^T` (cosine for rows of length 1; the lower index wins a tie). i itself is always in `T(i)`, also
/// where k or more other rows equal it, so no set is empty.
///
/// Fixed lists `[rows, k]`: the dense `[rows, rows]` scores are never kept, but those of a few rows at a time.
#[derive(Clone, Debug)]
pub(super) struct ReciprocalNeighbors {
    /// Places of a list: the largest possible k.
    places: usize,
    /// `[TOGETHER, rows]`.
    scores: Vec<f32>,
    nearest: Vec<u32>,
    mutual: Vec<u32>,
    counts: Vec<u32>,
}

impl ReciprocalNeighbors {
    /// Room for `max_rows` rows.
    pub(super) fn new(max_rows: usize) -> Self {
        let places = max_rows.min(MAX_TOP_K);
        Self {
            places,
            scores: vec![0.0; TOGETHER.min(max_rows) * max_rows],
            nearest: vec![0; max_rows * places],
            mutual: vec![0; max_rows * places],
            counts: vec![0; max_rows],
        }
    }

    /// Finds the sets of `rows [n, width]`; `k` is at most n and at most the places of a list.
    pub(super) fn find(&mut self, rows: &[f32], width: usize, k: usize) {
        let count = rows.len() / width;
        let mut lists = self.nearest.chunks_exact_mut(self.places.max(1)).take(count).enumerate();
        for some in rows.chunks(TOGETHER * width) {
            let scores = &mut self.scores[..some.len() / width * count];
            dots(some, rows, width, scores);
            for (scores, (index, list)) in scores.chunks_exact_mut(count).zip(lists.by_ref()) {
                scores[index] = f32::INFINITY;
                top_k(scores, &mut list[..k]);
            }
        }
        let (nearest, places) = (&self.nearest, self.places);
        let nearest = |row: u32| &nearest[row as usize * places..][..k];
        for (row, mutual) in self.mutual.chunks_exact_mut(places.max(1)).take(count).enumerate() {
            self.counts[row] = both_ways(row as u32, nearest, mutual) as u32;
        }
    }

    /// `R(row)`, the most similar first.
    pub(super) fn of(&self, row: u32) -> &[u32] {
        let row = row as usize;
        &self.mutual[row * self.places..][..self.counts[row] as usize]
    }

    /// Most neighbours a row can have.
    pub(super) fn places(&self) -> usize {
        self.places
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.scores.as_slice())
            + size_of_val(self.nearest.as_slice())
            + size_of_val(self.mutual.as_slice())
            + size_of_val(self.counts.as_slice())
    }
}

/// Writes `R(row)` into `mutual`, in the order of `nearest(row)`, and returns how many they are.
pub(super) fn both_ways<'a>(row: u32, nearest: impl Fn(u32) -> &'a [u32], mutual: &mut [u32]) -> usize {
    let mut found = 0;
    for other in nearest(row) {
        if nearest(*other).contains(&row) {
            mutual[found] = *other;
            found += 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets(rows: &[f32], width: usize, k: usize) -> Vec<Vec<u32>> {
        let mut neighbors = ReciprocalNeighbors::new(rows.len() / width);
        neighbors.find(rows, width, k);
        (0..rows.len() / width).map(|row| neighbors.of(row as u32).to_vec()).collect()
    }

    #[test]
    fn only_mutual_neighbours_count() {
        // On a circle: 0 and 1 are close, 2 looks at 1 without being looked at.
        let angle = |degrees: f32| [degrees.to_radians().cos(), degrees.to_radians().sin()];
        let rows = [angle(0.0), angle(10.0), angle(40.0)].concat();
        assert_eq!(sets(&rows, 2, 1), [vec![0], vec![1], vec![2]]);
        assert_eq!(sets(&rows, 2, 2), [vec![0, 1], vec![1, 0], vec![2]]);
        assert_eq!(sets(&rows, 2, 3), [vec![0, 1, 2], vec![1, 0, 2], vec![2, 1, 0]]);
    }

    #[test]
    fn among_duplicates_the_lower_index_wins_and_nobody_is_left_alone() {
        let rows = [0.6, 0.8].repeat(4);
        assert_eq!(sets(&rows, 2, 1), [[0], [1], [2], [3]]);
        assert_eq!(sets(&rows, 2, 2), [vec![0, 1], vec![1, 0], vec![2], vec![3]]);
        assert_eq!(sets(&rows, 2, 3), [vec![0, 1, 2], vec![1, 0, 2], vec![2, 0, 1], vec![3]]);
    }

    #[test]
    fn one_row_and_none() {
        assert_eq!(sets(&[1.0, 0.0], 2, 1), [[0]]);
        assert!(sets(&[], 2, 0).is_empty());
    }
}
