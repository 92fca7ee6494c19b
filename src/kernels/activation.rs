//! Exponential, softmax and GELU.

use super::LANES;
use super::arch::{Arithmetic, Work, run};

/// `e^x`, relative error below 3e-7: the same bits on every call and no table or library function behind it.
///
/// Below -87 it stays at `e^-87` (about 1.6e-38, never 0); from 88.4 on it is infinite. NaN stays NaN.
/// Range reduction by `ln 2` in two parts and a polynomial of degree five after Cephes' `expf`.
#[inline(always)]
fn exp<A: Arithmetic>(x: f32) -> f32 {
    /// Adding it rounds to a whole number, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    const POLYNOMIAL: [f32; 6] = [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_6e-1, 5e-1];
    let x = x.clamp(-87.0, 89.0);
    let rounded = A::mul_add(x, std::f32::consts::LOG2_E, ROUND);
    let whole = rounded - ROUND;
    let rest = A::mul_add(whole, -LN_2_LOW, A::mul_add(whole, -LN_2_HIGH, x));
    let mut series = POLYNOMIAL[0];
    for term in 1..POLYNOMIAL.len() {
        series = A::mul_add(series, rest, POLYNOMIAL[term]);
    }
    let mantissa = A::mul_add(series, rest * rest, rest) + 1.0;
    let exponent = rounded.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127);
    mantissa * f32::from_bits(exponent << 23)
}

/// GELU in its tanh form, in place: `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`.
///
/// Computed as `x / (1 + e^(-2 u))`, which is the same function. Any finite `x` is allowed.
pub fn gelu(x: &mut [f32]) {
    run(Gelu(x));
}

struct Gelu<'a>(&'a mut [f32]);

impl Work for Gelu<'_> {
    type Output = ();

    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let (blocks, rest) = self.0.as_chunks_mut::<LANES>();
        for block in blocks {
            for lane in 0..LANES {
                block[lane] = gelu_of::<A>(block[lane]);
            }
        }
        for value in rest {
            *value = gelu_of::<A>(*value);
        }
    }
}

#[inline(always)]
fn gelu_of<A: Arithmetic>(x: f32) -> f32 {
    /// `-2 sqrt(2 / pi)`, and the same times 0.044715.
    const LINEAR: f32 = -1.595_769;
    const CUBIC: f32 = -0.071_354_814;
    x / (1.0 + exp::<A>(x * A::mul_add(CUBIC, x * x, LINEAR)))
}

/// Softmax in place: `e^(x_i - m) / sum_j e^(x_j - m)` with `m` the largest value, so nothing overflows.
///
/// The slice holds the scores of the allowed partners only. An empty slice stays empty.
#[inline(always)]
pub(super) fn softmax<A: Arithmetic>(x: &mut [f32]) {
    let largest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for value in x.iter_mut() {
        *value = exp::<A>(*value - largest);
        sum += *value;
    }
    let scale = 1.0 / sum;
    for value in x.iter_mut() {
        *value *= scale;
    }
}

#[cfg(test)]
mod tests {
    use super::super::arch::{Fused, Separate, each_version};
    use super::super::reference::{self, values};
    use super::*;
    use proptest::prelude::*;

    /// GELU and softmax of a copy, as bits.
    struct Copied<'a>(&'a [f32]);

    impl Work for Copied<'_> {
        type Output = [Vec<u32>; 2];

        #[inline(always)]
        fn run<A: Arithmetic>(self) -> Self::Output {
            let mut copies = [self.0.to_vec(), self.0.to_vec()];
            Gelu(&mut copies[0]).run::<A>();
            softmax::<A>(&mut copies[1]);
            copies.map(|copy| copy.iter().map(|value| value.to_bits()).collect())
        }
    }

    proptest! {
        #[test]
        fn exp_is_exact_to_its_promise(x in -87.0_f32..88.0) {
            let expected = f64::from(x).exp();
            for found in [exp::<Fused>(x), exp::<Separate>(x)] {
                prop_assert!((f64::from(found) - expected).abs() <= 3e-7 * expected, "{x}");
            }
        }

        /// Tolerance: a rounding of the value itself (it is of the size of x), and of the exponent's argument.
        #[test]
        fn gelu_equals_its_plain_twin(x in values(1..=2 * LANES + 1, 12.0)) {
            let mut found = x.clone();
            gelu(&mut found);
            for (found, x) in found.iter().zip(&x) {
                prop_assert!((f64::from(*found) - reference::gelu(*x)).abs() <= 1e-6 * f64::from(x.abs().max(1.0)));
            }
        }

        #[test]
        fn every_version_gives_the_same_bits(x in values(1..=2 * LANES + 1, 12.0)) {
            let results = each_version(|| Copied(&x));
            prop_assert!(results.iter().all(|result| *result == results[0]));
        }

        /// Tolerance: scores up to 200 are themselves exact to 1e-5 only after the subtraction.
        #[test]
        fn softmax_equals_its_plain_twin(x in values(1..=2 * LANES + 1, 200.0)) {
            let mut found = x.clone();
            softmax::<Fused>(&mut found);
            for (found, expected) in found.iter().zip(reference::softmax(&x)) {
                prop_assert!((f64::from(*found) - expected).abs() <= 2e-5 * expected + 1e-30);
            }
            prop_assert!((found.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "exact at the ends of the range")]
    fn extremes() {
        assert!((exp::<Fused>(0.0) - 1.0).abs() < f32::EPSILON);
        assert!(exp::<Fused>(-1e30) > 0.0 && exp::<Fused>(-1e30) < 2e-38);
        assert_eq!(exp::<Fused>(f32::MAX), f32::INFINITY);
        assert!(exp::<Fused>(f32::NAN).is_nan());

        let mut far = [f32::MAX, -f32::MAX, 1e20, -1e20, 0.0];
        gelu(&mut far);
        assert_eq!(far, [f32::MAX, 0.0, 1e20, 0.0, 0.0]);

        softmax::<Fused>(&mut []);
        let mut one = [-3e38];
        softmax::<Fused>(&mut one);
        assert_eq!(one, [1.0]);
        let mut wide = [f32::MAX, f32::MIN, f32::MAX];
        softmax::<Fused>(&mut wide);
        assert!((wide[0] - 0.5).abs() < 1e-6 && wide[1] < 1e-30 && (wide[2] - 0.5).abs() < 1e-6);
    }
}
