//! k-reciprocal re-ranking: the strongest control that needs query and gallery together.
//!
//! Source: Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017. The authors' code is
//! followed (`k1 = 20`, `k2 = 6`, `lambda = 0.3`; squared Euclidean distances, each row over its largest), but nothing of size
//! `[n, n]` is kept: encodings are sparse.

use std::collections::BTreeSet;

use super::market::Split;
use super::metrics::{Scores, scores};
use super::rows::Rows;
use crate::kernels::{dot, top_k};

/// Neighbours of a row.
pub(super) const K1: usize = 20;
/// Neighbours whose encodings are averaged.
const K2: usize = 6;
/// Share of the original distance.
const LAMBDA: f32 = 0.3;

/// What re-ranking keeps of all rows.
struct Neighborhood<'a> {
    rows: &'a Rows,
    /// Nearest rows, `[n, places]`, itself first.
    nearest: Vec<u32>,
    places: usize,
    /// Largest squared distance of each row.
    farthest: Vec<f32>,
}

/// An encoding: weights of some rows, by row.
type Encoding = Vec<(u32, f32)>;

/// Figures after re-ranking over all rows of a split, and bytes that it held.
pub fn rerank(rows: &Rows, split: &Split) -> (Scores, usize) {
    let neighborhood = Neighborhood::new(rows);
    let encodings = neighborhood.encodings();
    // Who holds a weight for each row.
    let mut holders: Vec<Encoding> = vec![Vec::new(); rows.len()];
    for (row, encoding) in encodings.iter().enumerate() {
        for (other, weight) in encoding {
            holders[*other as usize].push((row as u32, *weight));
        }
    }
    let (query, gallery) = (split.labels(&split.query), split.labels(&split.gallery));
    let mut common = vec![0.0_f32; rows.len()];
    let found = scores(&query, &gallery, |asked, similarity| {
        let asked = split.query[asked];
        common.fill(0.0);
        for (other, weight) in &encodings[asked] {
            for (row, theirs) in &holders[*other as usize] {
                common[*row as usize] += weight.min(*theirs);
            }
        }
        for (similarity, place) in similarity.iter_mut().zip(&split.gallery) {
            let jaccard = 1.0 - common[*place] / (2.0 - common[*place]);
            *similarity = -(jaccard * (1.0 - LAMBDA) + neighborhood.distance(asked, *place) * LAMBDA);
        }
    });
    let pairs: usize = encodings.iter().chain(&holders).map(|list| size_of_val(list.as_slice())).sum();
    (found, pairs + size_of_val(neighborhood.nearest.as_slice()) + size_of_val(neighborhood.farthest.as_slice()))
}

impl<'a> Neighborhood<'a> {
    fn new(rows: &'a Rows) -> Self {
        let (count, places) = (rows.len(), (K1 + 1).min(rows.len()));
        let mut nearest = vec![0; count * places];
        let mut farthest = Vec::with_capacity(count);
        let mut similarity = vec![0.0; count];
        for (row, list) in nearest.chunks_exact_mut(places.max(1)).enumerate() {
            for (other, similarity) in similarity.iter_mut().enumerate() {
                *similarity = dot(rows.row(row), rows.row(other));
            }
            let least = similarity.iter().copied().fold(f32::INFINITY, f32::min);
            farthest.push((2.0 - 2.0 * least).max(f32::MIN_POSITIVE));
            similarity[row] = f32::INFINITY;
            top_k(&similarity, list);
        }
        Self { rows, nearest, places, farthest }
    }

    /// Squared distance over the largest of `row`, 0 to 1.
    fn distance(&self, row: usize, other: usize) -> f32 {
        (2.0 - 2.0 * dot(self.rows.row(row), self.rows.row(other))).max(0.0) / self.farthest[row]
    }

    /// The first `count` nearest rows.
    fn nearest(&self, row: u32, count: usize) -> &[u32] {
        &self.nearest[row as usize * self.places..][..count.min(self.places)]
    }

    /// `R(row, k)`: those of the `k + 1` nearest that have `row` among theirs.
    fn reciprocal(&self, row: u32, k: usize) -> Vec<u32> {
        let both = |other: &u32| self.nearest(*other, k + 1).contains(&row);
        self.nearest(row, k + 1).iter().copied().filter(both).collect()
    }

    /// The k-reciprocal set of `row`, with those of its members that share most of theirs with it.
    fn expanded(&self, row: u32) -> BTreeSet<u32> {
        let set = self.reciprocal(row, K1);
        let mut all: BTreeSet<u32> = set.iter().copied().collect();
        for candidate in &set {
            let theirs = self.reciprocal(*candidate, K1 / 2);
            let shared = theirs.iter().filter(|other| set.contains(other)).count();
            if 3 * shared > 2 * theirs.len() {
                all.extend(theirs);
            }
        }
        all
    }

    /// Weights `exp(-distance)` over the expanded sets, of sum 1, averaged over the `K2` nearest rows.
    fn encodings(&self) -> Vec<Encoding> {
        let count = self.rows.len();
        let single: Vec<Encoding> = (0..count as u32)
            .map(|row| {
                let weight = |other: u32| (-self.distance(row as usize, other as usize)).exp();
                let mut encoding: Encoding =
                    self.expanded(row).into_iter().map(|other| (other, weight(other))).collect();
                let sum: f32 = encoding.iter().map(|(_, weight)| weight).sum();
                for (_, weight) in &mut encoding {
                    *weight /= sum;
                }
                encoding
            })
            .collect();
        let mut sums = vec![0.0_f32; count];
        (0..count as u32)
            .map(|row| {
                let near = self.nearest(row, K2);
                let mut touched = BTreeSet::new();
                for (other, weight) in near.iter().flat_map(|near| &single[*near as usize]) {
                    sums[*other as usize] += weight;
                    touched.insert(*other);
                }
                let mean = |other: u32| (other, std::mem::take(&mut sums[other as usize]) / near.len() as f32);
                touched.into_iter().map(mean).collect()
            })
            .collect()
    }
}
