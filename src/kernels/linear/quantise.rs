//! Floats to bytes. Plain additions and multiplications in a fixed order: the same bytes on every processor.

use super::super::LANES;
use super::super::arch::{Arithmetic, Group, Work, run};

/// Values below this are zeros: the quotient by a smaller one would overflow.
const TINY: f32 = 1e-30;

/// Adding it rounds to a whole number, ties to the even one, which then stands in the low bits.
const ROUND: f32 = 12_582_912.0;

/// Writes the bytes of a row, from -127 to 127, into places of whole lines one after the other, and returns their scale:
/// the largest size divided by 127. Places beyond the row keep what they hold. NaN and infinity give a scale of NaN.
///
/// No zero point: spanning the least and the largest value instead gave fused embeddings no nearer to those in floats.
pub(super) fn quantise<'a>(row: &[f32], places: impl Iterator<Item = &'a mut [Group]>) -> f32 {
    run(Quantise { row, places })
}

struct Quantise<'a, P> {
    row: &'a [f32],
    places: P,
}

impl<'a, P: Iterator<Item = &'a mut [Group]>> Work for Quantise<'_, P> {
    type Output = f32;

    #[inline(always)]
    fn run<A: Arithmetic>(self) -> f32 {
        let (largest, poison) = largest(self.row);
        let (scale, inverse) = if largest < TINY { (0.0, 0.0) } else { (largest / 127.0, 127.0 / largest) };
        let mut row = self.row;
        for places in self.places {
            let places = places.as_flattened_mut();
            let (here, rest) = row.split_at(places.len().min(row.len()));
            row = rest;
            let (blocks, rest) = here.as_chunks::<LANES>();
            let (filled, unfilled) = places.split_at_mut(blocks.len() * LANES);
            for (block, bytes) in blocks.iter().zip(filled.as_chunks_mut::<LANES>().0) {
                for lane in 0..LANES {
                    bytes[lane] = byte(block[lane] * inverse);
                }
            }
            for (value, place) in rest.iter().zip(unfilled) {
                *place = byte(*value * inverse);
            }
        }
        scale + poison
    }
}

/// The nearest whole number.
#[inline(always)]
fn byte(value: f32) -> i8 {
    (value + ROUND).to_bits().wrapping_sub(ROUND.to_bits()) as i8
}

/// The largest size, and a number that is 0 if all are finite and NaN if not.
#[inline(always)]
fn largest(row: &[f32]) -> (f32, f32) {
    let (blocks, rest) = row.as_chunks::<LANES>();
    let (mut largest, mut poison) = ([0.0_f32; LANES], [0.0_f32; LANES]);
    for block in blocks {
        for lane in 0..LANES {
            let size = block[lane].abs();
            largest[lane] = if size > largest[lane] { size } else { largest[lane] };
            poison[lane] += size * 0.0;
        }
    }
    for (lane, value) in rest.iter().enumerate() {
        largest[lane] = largest[lane].max(value.abs());
        poison[lane] += value * 0.0;
    }
    (largest.into_iter().fold(0.0, f32::max), poison.into_iter().sum())
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
    use super::super::super::arch::each_version;
    use super::super::super::reference::values;
    use super::*;
    use proptest::prelude::*;

    /// Bytes and scale of a row.
    struct Copied<'a>(&'a [f32]);

    impl Work for Copied<'_> {
        type Output = (Vec<Group>, u32);

        #[inline(always)]
        fn run<A: Arithmetic>(self) -> Self::Output {
            let mut bytes = vec![[0; 4]; 4 * LANES];
            let places = bytes.chunks_mut(LANES / 2);
            let scale = Quantise { row: self.0, places }.run::<A>();
            (bytes, scale.to_bits())
        }
    }

    proptest! {
        /// Over several places too.
        #[test]
        fn every_version_gives_the_same_bytes(row in values(1..=5 * LANES + 1, 9.0)) {
            let results = each_version(|| Copied(&row));
            prop_assert!(results.iter().all(|result| *result == results[0]));
        }

        /// Half a step away from the value at most, and what rounding adds.
        #[test]
        fn bytes_stand_for_their_values(row in values(1..=2 * LANES + 1, 9.0)) {
            let mut bytes = [[i8::MIN; 4]; LANES];
            let scale = quantise(&row, [&mut bytes[..]].into_iter());
            for (value, byte) in row.iter().zip(bytes.as_flattened()) {
                prop_assert!(*byte != i8::MIN);
                prop_assert!((scale * f32::from(*byte) - value).abs() <= 0.501 * scale + 1e-20, "{value} {byte} {scale}");
            }
            prop_assert!(bytes.as_flattened()[row.len()..].iter().all(|byte| *byte == i8::MIN));
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
        let mut bytes = [[9; 4]; 2];
        for small in [0.0, 1e-31, -1e-38, f32::from_bits(1)] {
            assert_eq!(quantise(&[small; 5], [&mut bytes[..]].into_iter()).to_bits(), 0);
            assert_eq!(bytes.as_flattened()[..5], [0; 5]);
        }
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, 15, 16, 19] {
                let mut row = [1.0; 20];
                row[at] = bad;
                assert!(quantise(&row, [&mut [[0; 4]; 5][..]].into_iter()).is_nan(), "{bad} at {at}");
            }
        }
        assert!(quantise(&[f32::MAX, f32::MIN, 0.0, 1e-38], [&mut bytes[..]].into_iter()).is_finite());
        assert_eq!(bytes[0], [127, -127, 0, 0]);

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
