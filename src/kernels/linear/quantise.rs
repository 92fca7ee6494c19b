//! Floats to bytes. Plain additions and multiplications in a fixed order: the same bytes on every processor.

use super::super::LANES;
use super::super::arch::Group;

/// Values below this are zeros: the quotient by a smaller one would overflow.
const TINY: f32 = 1e-30;

/// Adding it rounds to a whole number, ties to the even one, which then stands in the low bits.
const ROUND: f32 = 12_582_912.0;

/// How the bytes of a row are read: `x = scale (q - zero)`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Span {
    pub(super) scale: f32,
    pub(super) zero: f32,
}

/// Writes the bytes of a row; `bytes` beyond it keep what they hold.
///
/// They span the least and the largest value and 0, which is exact. NaN, infinity and a span beyond all numbers give a scale
/// of NaN.
pub(super) fn quantise(row: &[f32], bytes: &mut [Group]) -> Span {
    let (low, high, poison) = range(row);
    let width = high - low;
    let (scale, inverse) = if width < TINY { (0.0, 0.0) } else { (width / 255.0, 255.0 / width) };
    let zero = (ROUND - low * inverse) - ROUND - 128.0;
    // No value falls below -128, as `low` is rounded in the same way; the largest one may come to 128.
    let (offset, most) = (ROUND + zero, ROUND + 127.0);
    let byte = |value: f32| {
        let moved = value * inverse + offset;
        let moved = if moved > most { most } else { moved };
        moved.to_bits().wrapping_sub(ROUND.to_bits()) as i8
    };
    let (blocks, rest) = row.as_chunks::<LANES>();
    let (filled, unfilled) = bytes.as_flattened_mut().split_at_mut(blocks.len() * LANES);
    for (block, bytes) in blocks.iter().zip(filled.as_chunks_mut::<LANES>().0) {
        *bytes = block.map(byte);
    }
    for (value, place) in rest.iter().zip(unfilled) {
        *place = byte(*value);
    }
    Span { scale: scale + (poison + width * 0.0), zero }
}

/// The least and the largest of the values and 0, and a number that is 0 if all are finite and NaN if not.
fn range(row: &[f32]) -> (f32, f32, f32) {
    let (blocks, rest) = row.as_chunks::<LANES>();
    let (mut low, mut high, mut poison) = ([0.0_f32; LANES], [0.0_f32; LANES], [0.0_f32; LANES]);
    for block in blocks {
        for lane in 0..LANES {
            let value = block[lane];
            low[lane] = if value < low[lane] { value } else { low[lane] };
            high[lane] = if value > high[lane] { value } else { high[lane] };
            poison[lane] += value * 0.0;
        }
    }
    for (lane, value) in rest.iter().enumerate() {
        low[lane] = low[lane].min(*value);
        high[lane] = high[lane].max(*value);
        poison[lane] += value * 0.0;
    }
    let low = low.into_iter().fold(0.0, f32::min);
    let high = high.into_iter().fold(0.0, f32::max);
    (low, high, poison.into_iter().sum())
}

/// Writes the weights of one output as bytes from -127 to 127 and returns their scale: the largest size divided by 127.
pub(super) fn quantise_weights(row: &[f32], bytes: &mut [i8]) -> f32 {
    let largest = row.iter().fold(0.0_f32, |largest, weight| largest.max(weight.abs()));
    if largest < TINY {
        bytes.fill(0);
        return 0.0;
    }
    let inverse = 127.0 / largest;
    for (weight, byte) in row.iter().zip(bytes) {
        *byte = (weight * inverse).round_ties_even().clamp(-127.0, 127.0) as i8;
    }
    largest / 127.0
}

#[cfg(test)]
mod tests {
    use super::super::super::reference::values;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Half a step away from the value at most, and what rounding adds. At the upper end a value may fall between the
        /// last byte and the next, hence a step there.
        #[test]
        fn bytes_stand_for_their_values(row in values(1..=2 * LANES + 1, 9.0)) {
            let mut bytes = [[i8::MAX; 4]; LANES];
            let span = quantise(&row, &mut bytes);
            for (value, byte) in row.iter().zip(bytes.as_flattened()) {
                let found = span.scale * (f32::from(*byte) - span.zero);
                prop_assert!((found - value).abs() <= 0.501 * span.scale + 1e-20, "{value} {found} {span:?}");
                prop_assert!(*value != 0.0 || found == 0.0);
            }
            prop_assert!(bytes.as_flattened()[row.len()..].iter().all(|byte| *byte == i8::MAX));
        }

        #[test]
        fn weights_are_bytes_without_the_lowest(row in values(1..=2 * LANES + 1, 1e3)) {
            let mut bytes = vec![0; row.len()];
            let scale = quantise_weights(&row, &mut bytes);
            for (weight, byte) in row.iter().zip(&bytes) {
                prop_assert!(*byte != i8::MIN);
                prop_assert!((scale * f32::from(*byte) - weight).abs() <= 0.501 * scale + 1e-20);
            }
        }
    }

    #[test]
    fn extremes() {
        let mut bytes = [[0; 4]; 2];
        for small in [0.0, 1e-31, -1e-38, f32::from_bits(1)] {
            assert_eq!(quantise(&[small; 5], &mut bytes), Span { scale: 0.0, zero: -128.0 });
        }
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, 15, 16, 19] {
                let mut row = [1.0; 20];
                row[at] = bad;
                assert!(quantise(&row, &mut [[0; 4]; 5]).scale.is_nan(), "{bad} at {at}");
            }
        }
        assert!(quantise(&[f32::MAX, f32::MIN], &mut bytes).scale.is_nan());
        assert!(quantise(&[f32::MAX, 0.0], &mut bytes).scale.is_finite());
        assert_eq!(bytes[0][..2], [127, -128]);
        quantise(&[-1.0, -0.5, 0.0], &mut bytes);
        assert_eq!(bytes[0][..3], [-128, 0, 127]);

        let mut weights = [0; 4];
        assert_eq!(
            quantise_weights(&[f32::MAX, f32::MIN, 1e-38, 0.0], &mut weights).to_bits(),
            (f32::MAX / 127.0).to_bits()
        );
        assert_eq!(weights, [127, -127, 0, 0]);
        assert_eq!(quantise_weights(&[1e-38, -1e-38], &mut weights[..2]).to_bits(), 0);
        assert_eq!(weights, [0; 4]);
    }
}
