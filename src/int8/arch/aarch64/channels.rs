//! Depthwise: products of two taps are added in 16 bits, then in 32. The bytes become signed ones by their highest bit.

#![allow(unsafe_code, reason = "intrinsics: loads, stores, and calls after the processor was asked")]
#![allow(clippy::needless_range_loop, reason = "one index for all registers, and loops that are unrolled whole")]

use std::arch::aarch64::{
    int8x16_t, vaddw_high_s16, vaddw_s16, vdupq_n_s8, vdupq_n_u8, veorq_u8, vget_low_s8, vget_low_s16, vld1q_s8,
    vld1q_u8, vmlal_high_s8, vmlal_s8, vmull_high_s8, vmull_s8, vreinterpretq_s8_u8,
};

use super::super::super::requantise::Requantise;
use super::super::channelwise::Bank;
use super::super::{Geometry, LANES, Line};
use super::Neon;
use super::rounding::{Rounding, load_line, store_bytes};

/// Taps that there may be: their places stand in an array of fixed length.
const MOST_TAPS: usize = 64;

/// What the bank's weights need beside them.
#[derive(Clone, Debug)]
pub(in super::super::super) struct SignedTaps {
    /// Proof that the processor has the instructions.
    _version: Neon,
    /// The bias, with 128 times the sum of the weights for bytes that are less by 128.
    starts: Vec<Line<i32>>,
}

/// Sixteen channels in one row of outputs.
struct Row<'a> {
    /// The first tap and the first output of the row.
    x: *const u8,
    y: *mut u8,
    geometry: &'a Geometry,
    /// Where the taps lie.
    places: &'a [usize],
    taps: &'a [[i8; LANES]],
    start: &'a Line<i32>,
    multipliers: &'a Line<f32>,
    /// Channels that exist.
    channels: usize,
}

impl SignedTaps {
    /// None where this kernel is not for it: it has too many taps, or two neighbours of -128, whose products with -128
    /// do not fit 16 bits when added. All others do: at most `128 * 128 + 128 * 127`.
    pub(in super::super) fn new(bank: &Bank) -> Option<Self> {
        let version = Neon::detect()?;
        let taps = bank.kernel[0] * bank.kernel[1];
        let fits = |pair: &[[i8; LANES]]| {
            pair.len() < 2 || pair[0].iter().zip(&pair[1]).all(|weights| weights != (&i8::MIN, &i8::MIN))
        };
        let blocks = || bank.taps.chunks_exact(taps.max(1));
        if taps > MOST_TAPS || !blocks().all(|block| block.chunks(2).all(fits)) {
            return None;
        }
        let mut starts = bank.bias.clone();
        for (start, block) in starts.iter_mut().zip(blocks()) {
            for (lane, start) in start.0.iter_mut().enumerate() {
                let sum: i32 = block.iter().map(|weights| i32::from(weights[lane])).sum();
                *start = start.wrapping_add(128 * sum);
            }
        }
        Some(Self { _version: version, starts })
    }

    pub(in super::super) fn bytes(&self) -> usize {
        size_of_val(&*self.starts)
    }

    pub(in super::super) fn run(
        &self,
        bank: &Bank,
        geometry: &Geometry,
        requantise: Requantise,
        x: &[u8],
        y: &mut [u8],
    ) {
        if geometry.height * geometry.width == 0 {
            return;
        }
        bank.assert_inside(geometry, LANES, x, y);
        let taps = bank.kernel[0] * bank.kernel[1];
        let mut places = [0; MOST_TAPS];
        for (tap, place) in places[..taps].iter_mut().enumerate() {
            *place = tap / bank.kernel[1] * geometry.tap_row + tap % bank.kernel[1] * geometry.tap_column;
        }
        for row in 0..geometry.height {
            for (block, first) in (0..bank.channels).step_by(LANES).enumerate() {
                let row = Row {
                    x: x[geometry.start + row * geometry.row + first..].as_ptr(),
                    y: y[geometry.to_start + row * geometry.to_row + first..].as_mut_ptr(),
                    geometry,
                    places: &places[..taps],
                    taps: &bank.taps[block * taps..][..taps],
                    start: &self.starts[block],
                    multipliers: &bank.multipliers[block],
                    channels: LANES.min(bank.channels - first),
                };
                // SAFETY: the version exists, so the processor has NEON; all reads and writes were asserted above.
                unsafe { channels(&row, requantise) }
            }
        }
    }
}

/// Two outputs at a time; the last one twice where their number is odd.
///
/// # Safety
///
/// All taps of the row's outputs can be read, sixteen bytes from each on; all outputs can be written.
#[target_feature(enable = "neon")]
unsafe fn channels(row: &Row, requantise: Requantise) {
    let rounding = Rounding::new(requantise);
    for first in (0..row.geometry.width).step_by(2) {
        let outputs = [first, (first + 1).min(row.geometry.width - 1)];
        let mut sums = [load_line(row.start); 2];
        for (places, weights) in row.places.chunks(2).zip(row.taps.chunks(2)) {
            let weights = [load_weights(&weights[0]), weights.get(1).map_or(vdupq_n_s8(0), |tap| load_weights(tap))];
            let places = [places[0], places[places.len() - 1]];
            for output in 0..2 {
                let x = row.x.wrapping_add(outputs[output] * row.geometry.pixel);
                // SAFETY: the caller's promise.
                let (a, b) = unsafe { (load_signed(x.add(places[0])), load_signed(x.add(places[1]))) };
                let low = vmull_s8(vget_low_s8(a), vget_low_s8(weights[0]));
                let low = vmlal_s8(low, vget_low_s8(b), vget_low_s8(weights[1]));
                let high = vmlal_high_s8(vmull_high_s8(a, weights[0]), b, weights[1]);
                let [s0, s1, s2, s3] = sums[output];
                sums[output] = [
                    vaddw_s16(s0, vget_low_s16(low)),
                    vaddw_high_s16(s1, low),
                    vaddw_s16(s2, vget_low_s16(high)),
                    vaddw_high_s16(s3, high),
                ];
            }
        }
        for output in 0..2 {
            let bytes = rounding.bytes(sums[output], row.multipliers);
            // SAFETY: the caller's promise.
            unsafe {
                store_bytes(bytes, row.y.add(outputs[output] * row.geometry.to_pixel), row.channels);
            }
        }
    }
}

/// # Safety
///
/// Sixteen bytes can be read from `at` on.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn load_signed(at: *const u8) -> int8x16_t {
    // SAFETY: the caller's promise.
    let bytes = unsafe { vld1q_u8(at) };
    vreinterpretq_s8_u8(veorq_u8(bytes, vdupq_n_u8(0x80)))
}

#[inline]
#[target_feature(enable = "neon")]
fn load_weights(weights: &[i8; LANES]) -> int8x16_t {
    // SAFETY: sixteen bytes.
    unsafe { vld1q_s8(weights.as_ptr()) }
}
