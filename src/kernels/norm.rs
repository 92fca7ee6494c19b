//! Layer norm, folded batch norm and length.

use super::arch::{Arithmetic, Work, run};
use super::{LANES, add_lanes};

/// Layer norm of each row in place: `(x - mean) / sqrt(variance + eps) * weight + bias`, with the population variance.
///
/// `x [rows, width]`, `weight` and `bias [width]`. No row is allowed; a constant row becomes `bias`.
pub fn layer_norm(x: &mut [f32], weight: &[f32], bias: &[f32], eps: f32) {
    run(LayerNorm { x, weight, bias, eps });
}

struct LayerNorm<'a> {
    x: &'a mut [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    eps: f32,
}

impl Work for LayerNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let count = self.weight.len() as f32;
        for row in self.x.chunks_exact_mut(self.weight.len().max(1)) {
            let mean = sum_of(row, |value| value) / count;
            let variance = sum_of(row, |value| (value - mean) * (value - mean)) / count;
            let scale = 1.0 / (variance + self.eps).sqrt();
            for ((value, weight), bias) in row.iter_mut().zip(self.weight).zip(self.bias) {
                *value = A::mul_add(*value - mean, scale * *weight, *bias);
            }
        }
    }
}

/// `sum_i term(x[i])` in lanes.
#[inline(always)]
fn sum_of(x: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let (blocks, rest) = x.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for block in blocks {
        for lane in 0..LANES {
            sums[lane] += term(block[lane]);
        }
    }
    let mut sum = 0.0;
    for value in rest {
        sum += term(*value);
    }
    add_lanes(sums) + sum
}

/// Batch norm in evaluation, folded into one scale and one shift per column.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    scale: Vec<f32>,
    shift: Vec<f32>,
}

impl BatchNorm {
    /// Folds `(x - mean) / sqrt(variance + eps) * weight + bias` into `x * scale + shift`, in `f64`.
    ///
    /// All slices have one length. A negative variance gives values that are not finite: see [`BatchNorm::is_finite`].
    pub fn fold(weight: &[f32], bias: &[f32], mean: &[f32], variance: &[f32], eps: f32) -> Self {
        let scale = |at: usize| f64::from(weight[at]) / (f64::from(variance[at]) + f64::from(eps)).sqrt();
        let shift = |at: usize| f64::from(bias[at]) - f64::from(mean[at]) * scale(at);
        Self {
            scale: (0..weight.len()).map(|at| scale(at) as f32).collect(),
            shift: (0..weight.len()).map(|at| shift(at) as f32).collect(),
        }
    }

    /// Whether every folded value is a number.
    pub fn is_finite(&self) -> bool {
        self.scale.iter().chain(&self.shift).all(|value| value.is_finite())
    }

    /// Bytes of scale and shift.
    pub fn bytes(&self) -> usize {
        size_of_val(self.scale.as_slice()) + size_of_val(self.shift.as_slice())
    }

    /// One row in place.
    pub fn apply(&self, row: &mut [f32]) {
        run(ScaleAndShift { row, norm: self });
    }
}

struct ScaleAndShift<'a> {
    row: &'a mut [f32],
    norm: &'a BatchNorm,
}

impl Work for ScaleAndShift<'_> {
    type Output = ();

    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        for ((value, scale), shift) in self.row.iter_mut().zip(&self.norm.scale).zip(&self.norm.shift) {
            *value = A::mul_add(*value, *scale, *shift);
        }
    }
}

/// Euclidean length, summed in `f64`: no overflow and no underflow on the way.
pub fn length(x: &[f32]) -> f64 {
    x.iter().map(|value| f64::from(*value) * f64::from(*value)).sum::<f64>().sqrt()
}

/// Scales `x` to length 1 in place and says whether it could: a row that is (nearly) zero or not finite stays as it is.
#[must_use]
pub fn l2_normalise(x: &mut [f32]) -> bool {
    let length = length(x);
    let possible = length.is_finite() && length >= 1e-12;
    if possible {
        for value in x {
            *value = (f64::from(*value) / length) as f32;
        }
    }
    possible
}

#[cfg(test)]
mod tests {
    use super::super::arch::each_version;
    use super::super::reference::{self, values};
    use super::*;
    use proptest::prelude::*;

    /// Layer norm of a copy, as bits.
    struct Copied<'a>(&'a [f32]);

    impl Work for Copied<'_> {
        type Output = Vec<u32>;

        #[inline(always)]
        fn run<A: Arithmetic>(self) -> Vec<u32> {
            let mut x = self.0.to_vec();
            LayerNorm { x: &mut x, weight: self.0, bias: self.0, eps: 1e-5 }.run::<A>();
            x.iter().map(|value| value.to_bits()).collect()
        }
    }

    proptest! {
        #[test]
        fn every_version_gives_the_same_bits(x in values(1..=5 * LANES + 1, 8.0)) {
            let results = each_version(|| Copied(&x));
            prop_assert!(results.iter().all(|result| *result == results[0]));
        }

        /// Tolerance: a normalised value is at most sqrt(33) and exact to a few roundings of the largest value,
        /// which the division by a small deviation enlarges; eps 1e-5 bounds that at 1 / sqrt(1e-5).
        #[test]
        fn layer_norm_equals_its_plain_twin(x in values(1..=2 * LANES + 1, 8.0)) {
            let weight: Vec<f32> = x.iter().map(|v| 1.0 + v * 0.1).collect();
            let bias: Vec<f32> = x.iter().map(|v| v * 0.3 - 1.0).collect();
            let expected = reference::layer_norm(&x, &weight, &bias, 1e-5_f32.into());
            // Twice, below each other: rows do not see each other.
            let mut found = [x.clone(), x].concat();
            layer_norm(&mut found, &weight, &bias, 1e-5);
            for (found, expected) in found.iter().zip(expected.iter().chain(&expected)) {
                prop_assert!((f64::from(*found) - expected).abs() < 2e-4, "{found} {expected}");
            }
        }

        #[test]
        fn a_folded_batch_norm_equals_the_formula(x in values(1..=2 * LANES + 1, 10.0), spread in 0.01_f32..4.0) {
            let weight: Vec<f32> = x.iter().map(|v| v * 0.1 + 0.5).collect();
            let mean: Vec<f32> = x.iter().map(|v| v * 0.7 - 0.2).collect();
            let norm = BatchNorm::fold(&weight, &x, &mean, &vec![spread; x.len()], 1e-5);
            let mut found = x.clone();
            norm.apply(&mut found);
            for (at, found) in found.iter().enumerate() {
                let [x, weight, mean] = [x[at], weight[at], mean[at]].map(f64::from);
                let expected = (x - mean) / (f64::from(spread) + 1e-5).sqrt() * weight + x;
                prop_assert!((f64::from(*found) - expected).abs() < 1e-4, "{found} {expected}");
            }
        }

        #[test]
        fn a_normalised_row_has_length_one(x in values(1..=2 * LANES + 1, 1e30)) {
            let mut unit = x.clone();
            prop_assume!(l2_normalise(&mut unit));
            prop_assert!((length(&unit) - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "a constant row gives the bias itself")]
    fn extremes() {
        let mut constant = [7.0; 20];
        layer_norm(&mut constant, &[3.0; 20], &[-0.5; 20], 1e-5);
        assert_eq!(constant, [-0.5; 20]);
        layer_norm(&mut [], &[], &[], 1e-5);

        assert!(!BatchNorm::fold(&[1.0], &[0.0], &[0.0], &[-1.0], 1e-5).is_finite());

        for bad in [[0.0, 0.0], [f32::NAN, 1.0], [f32::INFINITY, 1.0], [1e-20, 0.0]] {
            let mut row = bad;
            assert!(!l2_normalise(&mut row));
            assert_eq!(row.map(f32::to_bits), bad.map(f32::to_bits));
        }
        let mut huge = [f32::MAX, f32::MAX];
        assert!(l2_normalise(&mut huge));
        assert!((huge[0] - std::f32::consts::FRAC_1_SQRT_2).abs() < 1e-6);
    }
}
