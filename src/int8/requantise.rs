//! From a sum of products to a byte: the same rounding in every operator and every version.

use super::conv::Weights;
use super::tensor::{Output, Quantisation};

/// Factors are kept below this, so that a product of a sum, a multiplier and a slope is always a finite number.
const LARGEST_MULTIPLIER: f32 = 1e18;
const LARGEST_SLOPE: f32 = 1e9;

/// Half as much again as the smallest float whose neighbours are whole numbers.
const ROUNDING: f32 = 12_582_912.0;

/// What happens to `t = sum as f32 * multiplier`: the slope where it is negative, limits, rounding (half to even), and the
/// zero point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Requantise {
    pub(super) low: u8,
    pub(super) high: u8,
    pub(super) zero_point: u8,
    pub(super) slope: f32,
    /// Whether `t` needs neither slope nor limits as a float: it always fits 32 bits, so that limits on the byte give the same.
    pub(super) simple: bool,
}

impl Requantise {
    /// `largest` is an upper limit of `|t|`.
    pub(super) fn new(output: &Output, largest: f64) -> Self {
        let slope = finite(output.slope, LARGEST_SLOPE);
        Self {
            low: output.low,
            high: output.high.max(output.low),
            zero_point: output.quantisation.zero_point,
            slope,
            // Exactly 1 means that there is no slope. The limit leaves room for the rounding of `t`.
            simple: slope.to_bits() == 1.0_f32.to_bits() && largest < 2.0e9,
        }
    }

    /// The limits as steps from the zero point.
    pub(super) fn limits(self) -> [f32; 2] {
        [self.low, self.high].map(|byte| f32::from(byte) - f32::from(self.zero_point))
    }

    /// The definition.
    #[inline]
    pub(super) fn byte(self, sum: i32, multiplier: f32) -> u8 {
        let [low, high] = self.limits();
        let t = sum as f32 * multiplier;
        let t = if t < 0.0 { t * self.slope } else { t };
        // Beside so large a number a float has no place for fractions: the addition rounds, halves to even, and the lowest
        // bits hold the result. That is a vector instruction everywhere; `round_ties_even` often is a call.
        let steps = (t.clamp(low, high) + ROUNDING).to_bits().wrapping_sub(ROUNDING.to_bits()) as i32;
        (steps + i32::from(self.zero_point)) as u8
    }
}

/// One factor an output: `input scale * weight scale / output scale`, each step rounded to `f32`.
pub(super) fn multipliers(weights: &Weights, input: Quantisation, output_scale: f32) -> Vec<f32> {
    (0..weights.outputs)
        .map(|output| {
            let scale = if weights.scales.len() == 1 { weights.scales[0] } else { weights.scales[output] };
            finite(input.scale * scale / output_scale, LARGEST_MULTIPLIER)
        })
        .collect()
}

/// Within the limit on both sides; what is no number becomes 0.
fn finite(value: f32, limit: f32) -> f32 {
    if value.is_nan() { 0.0 } else { value.clamp(-limit, limit) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(zero_point: u8, low: u8, high: u8, slope: f32) -> Output {
        Output { quantisation: Quantisation { scale: 1.0, zero_point }, low, high, slope }
    }

    #[test]
    fn halves_go_to_the_even_neighbour_and_limits_hold() {
        let plain = Requantise::new(&output(10, 0, 255, 1.0), 1e3);
        let bytes = [-25, -3, -1, 0, 1, 3, 5, 600].map(|sum| plain.byte(sum, 0.5));
        assert_eq!(bytes, [0, 8, 10, 10, 10, 12, 12, 255]);
        let narrow = Requantise::new(&output(10, 10, 12, 1.0), 1e3);
        assert_eq!([-5, 0, 1, 2, 3].map(|sum| narrow.byte(sum, 1.0)), [10, 10, 11, 12, 12]);
    }

    #[test]
    fn the_slope_is_for_negative_sums_only() {
        let leaky = Requantise::new(&output(100, 0, 255, 0.1), 1e3);
        assert_eq!([-100, -26, 0, 26].map(|sum| leaky.byte(sum, 1.0)), [90, 97, 100, 126]);
        assert!(!leaky.simple);
    }

    #[test]
    fn factors_without_bounds_give_bytes_within_limits() {
        let weights = Weights { values: &[], outputs: 3, scales: &[f32::MAX, f32::NAN, 0.0], bias: None };
        let factors = multipliers(&weights, Quantisation { scale: f32::MAX, zero_point: 0 }, f32::MIN_POSITIVE);
        for slope in [f32::NAN, f32::INFINITY, -f32::INFINITY, 0.0] {
            let requantise = Requantise::new(&output(7, 5, 9, slope), f64::INFINITY);
            for sum in [i32::MIN, -1, 0, 1, i32::MAX] {
                for factor in &factors {
                    assert!((5..=9).contains(&requantise.byte(sum, *factor)));
                }
            }
        }
    }
}
