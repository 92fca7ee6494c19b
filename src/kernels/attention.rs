//! Weighted means of rows, the weights from inner products of short vectors.

use super::activation::softmax;
use super::arch::{Arithmetic, Work, run};
use super::dot::{add_scaled_with, dot_with};

/// What attention goes by: of each row a query and a key for each head, and the values.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// Parts in which attention is told separately.
    pub heads: usize,
    /// Queries of all heads, then keys of all heads, `[rows, 2, heads, l]`.
    pub queries_keys: &'a [f32],
    /// `2 * heads * l`.
    pub stride: usize,
    /// `[rows, width]`.
    pub values: &'a [f32],
    /// Width of a row of values.
    pub width: usize,
}

impl Attention<'_> {
    /// For each head h `sum_j softmax_j(<query[row, h], key[j, h]>) values[j]` over `others`, one head after the other into
    /// `out [heads, width]`; zeros if there are no others. `scores` has a place for each of them.
    ///
    /// # Panics
    /// If there are no heads, for a row beyond the last one, and without room in `scores`.
    pub fn attend(self, row: usize, others: &[u32], scores: &mut [f32], out: &mut [f32]) {
        run(Attend { given: self, row, others, scores: &mut scores[..others.len()], out });
    }
}

struct Attend<'a> {
    given: Attention<'a>,
    row: usize,
    others: &'a [u32],
    scores: &'a mut [f32],
    out: &'a mut [f32],
}

impl Work for Attend<'_> {
    type Output = ();

    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let Attention { heads, queries_keys, stride, values, width } = self.given;
        let length = stride / (2 * heads);
        self.out.fill(0.0);
        for (head, out) in self.out.chunks_exact_mut(width.max(1)).enumerate() {
            let query = &queries_keys[self.row * stride + head * length..][..length];
            for (score, other) in self.scores.iter_mut().zip(self.others) {
                let key = &queries_keys[*other as usize * stride + (heads + head) * length..][..length];
                *score = dot_with::<A>(query, key);
            }
            softmax::<A>(self.scores);
            for (score, other) in self.scores.iter().zip(self.others) {
                add_scaled_with::<A>(out, *score, &values[*other as usize * width..][..width]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::LANES;
    use super::super::reference::{self, matrix};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Tolerance: weights sum to 1, values are below 1, and scores of at most `length` products below 1.
        #[test]
        fn attend_equals_its_plain_twin(
            heads in 1..=3_usize, length in 1..=LANES + 1, width in 1..=2 * LANES + 1, count in 0..=6_usize,
            seed in any::<u64>()
        ) {
            const ROWS: usize = 7;
            let stride = 2 * heads * length;
            let (queries_keys, values) = (matrix(ROWS, stride, seed), matrix(ROWS, width, !seed));
            let others: Vec<u32> = (0..count).map(|at| ((at as u64 + seed) % ROWS as u64) as u32).collect();
            let row = (seed >> 8) as usize % ROWS;
            let mut out = vec![f32::NAN; heads * width];
            Attention { heads, queries_keys: &queries_keys, stride, values: &values, width }
                .attend(row, &others, &mut [0.0; ROWS], &mut out);
            for head in 0..heads {
                let query = &queries_keys[row * stride + head * length..][..length];
                let key = |other: u32| &queries_keys[other as usize * stride + (heads + head) * length..][..length];
                let scores: Vec<f32> = others.iter().map(|other| reference::dot(query, key(*other)) as f32).collect();
                let weights = reference::softmax(&scores);
                for (at, found) in out[head * width..][..width].iter().enumerate() {
                    let value = |other: &u32| f64::from(values[*other as usize * width + at]);
                    let expected: f64 = others.iter().zip(&weights).map(|(other, weight)| weight * value(other)).sum();
                    prop_assert!((f64::from(*found) - expected).abs() < 1e-5, "{found} {expected}");
                }
            }
        }
    }
}
