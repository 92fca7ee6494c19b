//! Inner product and scaled addition.

use super::{LANES, add_lanes, mul_add};

/// Inner product `sum_i a[i] * b[i]` of two slices of one length; 0 where they are empty.
///
/// Sixteen partial sums, added pairwise, then the rest in order. `dot(a, b)` and `dot(b, a)` are the same number.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    debug_assert_eq!(a.len(), b.len(), "dot: two lengths");
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            sums[lane] = mul_add(a[lane], b[lane], sums[lane]);
        }
    }
    let rest = a_rest.iter().zip(b_rest).fold(0.0, |sum, (a, b)| mul_add(*a, *b, sum));
    add_lanes(sums) + rest
}

/// `sum[i] += scale * x[i]` over the shorter of the two.
pub fn add_scaled(sum: &mut [f32], scale: f32, x: &[f32]) {
    for (sum, x) in sum.iter_mut().zip(x) {
        *sum = mul_add(scale, *x, *sum);
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
