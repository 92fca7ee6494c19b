//! Inner products and scaled addition.

use super::LANES;
use super::arch::{Arithmetic, Work, run};

/// Inner product `sum_i a[i] * b[i]` of two slices of one length; 0 where they are empty.
///
/// Sixteen partial sums, added pairwise, then the rest in order. `dot(a, b)` and `dot(b, a)` are the same number.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    debug_assert_eq!(a.len(), b.len(), "dot: two lengths");
    run(Dot(a, b))
}

/// [`dot`] of each row of `left [n, width]` with each of `right [m, width]`, the same bits, into `scores [n, m]`.
///
/// # Panics
/// If `scores` does not hold n times m values, or for a width of zero.
pub fn dots(left: &[f32], right: &[f32], width: usize, scores: &mut [f32]) {
    assert_eq!(scores.len(), left.len() / width * (right.len() / width), "dots: scores are not [n, m]");
    run(Dots { left, right, width, scores });
}

/// `sum[i] += scale * x[i]` over the shorter of the two.
pub fn add_scaled(sum: &mut [f32], scale: f32, x: &[f32]) {
    run(AddScaled { sum, scale, x });
}

struct Dot<'a>(&'a [f32], &'a [f32]);

impl Work for Dot<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<A: Arithmetic>(self) -> f32 {
        dot_with::<A>(self.0, self.1)
    }
}

#[inline(always)]
pub(super) fn dot_with<A: Arithmetic>(a: &[f32], b: &[f32]) -> f32 {
    let [[sum]] = tile::<A, 1, 1>([a], [b]);
    sum
}

struct Dots<'a> {
    left: &'a [f32],
    right: &'a [f32],
    width: usize,
    scores: &'a mut [f32],
}

impl Work for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let right = self.right.len() / self.width;
        let mut pairs = self.left.chunks_exact(2 * self.width);
        let mut scores = self.scores.chunks_exact_mut((2 * right).max(1));
        for (left, scores) in pairs.by_ref().zip(scores.by_ref()) {
            let (first, second) = left.split_at(self.width);
            let (first_scores, second_scores) = scores.split_at_mut(right);
            against_all::<A, 2>([first, second], self.right, [first_scores, second_scores]);
        }
        if !pairs.remainder().is_empty() {
            against_all::<A, 1>([pairs.remainder()], self.right, [scores.into_remainder()]);
        }
    }
}

/// A few rows with all of `right`, two at a time: enough sums side by side to hide the latency of an addition.
#[inline(always)]
fn against_all<A: Arithmetic, const ROWS: usize>(left: [&[f32]; ROWS], right: &[f32], mut scores: [&mut [f32]; ROWS]) {
    let width = left.first().map_or(1, |row| row.len());
    let mut pairs = right.chunks_exact(2 * width);
    let mut at = 0;
    for pair in pairs.by_ref() {
        let (first, second) = pair.split_at(width);
        let sums = tile::<A, ROWS, 2>(left, [first, second]);
        for (scores, sums) in scores.iter_mut().zip(&sums) {
            scores[at..at + 2].copy_from_slice(sums);
        }
        at += 2;
    }
    if !pairs.remainder().is_empty() {
        let sums = tile::<A, ROWS, 1>(left, [pairs.remainder()]);
        for (scores, [sum]) in scores.into_iter().zip(sums) {
            scores[at] = sum;
        }
    }
}

/// The inner products of a few rows of one length with a few others.
#[inline(always)]
fn tile<A: Arithmetic, const LEFT: usize, const RIGHT: usize>(
    left: [&[f32]; LEFT],
    right: [&[f32]; RIGHT],
) -> [[f32; RIGHT]; LEFT] {
    let width = left.first().map_or(0, |row| row.len());
    let (left, right) = (cut(left, width), cut(right, width));
    let (left_blocks, right_blocks) = (blocks(left), blocks(right));
    let mut sums = [[A::zeros(); RIGHT]; LEFT];
    for block in 0..width / LANES {
        for row in 0..LEFT {
            for at in 0..RIGHT {
                sums[row][at] = A::mul_add_lanes(&left_blocks[row][block], &right_blocks[at][block], sums[row][at]);
            }
        }
    }
    let mut products = [[0.0; RIGHT]; LEFT];
    for row in 0..LEFT {
        for at in 0..RIGHT {
            let mut rest = 0.0;
            for place in width / LANES * LANES..width {
                rest = A::mul_add(left[row][place], right[at][place], rest);
            }
            products[row][at] = A::sum(sums[row][at]) + rest;
        }
    }
    products
}

/// Rows of one length, which the compiler knows from here on.
#[inline(always)]
fn cut<const ROWS: usize>(mut rows: [&[f32]; ROWS], width: usize) -> [&[f32]; ROWS] {
    for row in &mut rows {
        *row = &row[..width];
    }
    rows
}

/// Whole blocks of some rows of one length.
#[inline(always)]
fn blocks<const ROWS: usize>(rows: [&[f32]; ROWS]) -> [&[[f32; LANES]]; ROWS] {
    let mut blocks: [&[[f32; LANES]]; ROWS] = [&[]; ROWS];
    for row in 0..ROWS {
        blocks[row] = rows[row].as_chunks().0;
    }
    blocks
}

struct AddScaled<'a> {
    sum: &'a mut [f32],
    scale: f32,
    x: &'a [f32],
}

impl Work for AddScaled<'_> {
    type Output = ();

    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        add_scaled_with::<A>(self.sum, self.scale, self.x);
    }
}

#[inline(always)]
pub(super) fn add_scaled_with<A: Arithmetic>(sum: &mut [f32], scale: f32, x: &[f32]) {
    for (sum, x) in sum.iter_mut().zip(x) {
        *sum = A::mul_add(scale, *x, *sum);
    }
}

#[cfg(test)]
mod tests {
    use super::super::reference::{self, values};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Lengths on both sides of one and two blocks. Tolerance: 2 n eps of the sum of magnitudes.
        #[test]
        fn dot_equals_its_plain_twin(a in values(1..=2 * LANES + 1, 1e3), seed in any::<u32>()) {
            let b: Vec<f32> = a.iter().map(|v| (v * 0.37 + seed as f32 * 1e-9).sin() * 50.0).collect();
            let magnitude: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(a * b).abs()).sum();
            let tolerance = 2.0 * a.len() as f64 * f64::from(f32::EPSILON) * magnitude;
            prop_assert!((f64::from(dot(&a, &b)) - reference::dot(&a, &b)).abs() <= tolerance);
            prop_assert_eq!(dot(&a, &b).to_bits(), dot(&b, &a).to_bits());
        }

        /// Odd and even numbers of rows on both sides, whole blocks and not.
        #[test]
        fn many_products_are_the_same_bits_as_one(
            n in 0..=5_usize, m in 0..=5_usize, width in 1..=2 * LANES + 1, seed in any::<u64>()
        ) {
            let (left, right) = (reference::matrix(n, width, seed), reference::matrix(m, width, !seed));
            let mut scores = vec![f32::NAN; n * m];
            dots(&left, &right, width, &mut scores);
            for (at, score) in scores.iter().enumerate() {
                let [a, b] = [&left[at / m * width..][..width], &right[at % m * width..][..width]];
                prop_assert_eq!(score.to_bits(), dot(a, b).to_bits());
            }
        }

        #[test]
        fn add_scaled_equals_its_plain_twin(x in values(0..=2 * LANES + 1, 1e3), scale in -10.0_f32..10.0) {
            let mut sum: Vec<f32> = x.iter().map(|v| v * 0.5 - 1.0).collect();
            let before = sum.clone();
            add_scaled(&mut sum, scale, &x);
            for ((found, before), x) in sum.iter().zip(before).zip(&x) {
                let (before, step) = (f64::from(before), f64::from(scale) * f64::from(*x));
                prop_assert!((f64::from(*found) - before - step).abs() <= 2e-7 * (before.abs() + step.abs()));
            }
        }
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "exact at the ends of the range")]
    fn extremes() {
        assert_eq!(dot(&[], &[]).to_bits(), 0);
        assert_eq!(dot(&[1e20; 33], &[1e20; 33]), f32::INFINITY);
        assert_eq!(dot(&[1e-30; 40], &[1e-30; 40]), 0.0);
        assert!(dot(&[f32::NAN; 17], &[1.0; 17]).is_nan());
    }
}
