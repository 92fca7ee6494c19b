//! Depthwise with AVX2: the bytes of two taps are interleaved and widened to 16 bits, so that `madd` multiplies and adds
//! both taps of a channel.

#![allow(unsafe_code, reason = "intrinsics: loads, stores, and calls after the processor was asked")]
#![allow(clippy::needless_range_loop, reason = "one index for all registers, and loops that are unrolled whole")]

use std::arch::x86_64::{
    __m256i, _mm_loadu_si128, _mm_unpackhi_epi8, _mm_unpacklo_epi8, _mm256_add_epi32, _mm256_castsi256_si128,
    _mm256_cvtepu8_epi16, _mm256_extracti128_si256, _mm256_madd_epi16,
};

use super::super::super::requantise::Requantise;
use super::super::channelwise::Bank;
use super::super::{Geometry, LANES, Line};
use super::avx2::{Avx2, load_line, store_bytes};
use super::rounding::Narrow;

/// Pairs of taps that there may be: the places of their taps stand in an array of fixed length.
const MOST_PAIRS: usize = 32;

/// Weights in pairs of taps.
#[derive(Clone, Debug)]
pub(in super::super::super) struct Pairs {
    /// Proof that the processor has the instructions.
    _version: Avx2,
    /// `[block, pair]`; where there is no second tap, its weights are 0.
    lines: Vec<Line<[i16; 2]>>,
    /// Pairs of a block.
    count: usize,
}

/// Sixteen channels in one row of outputs.
struct Row<'a> {
    /// The first tap and the first output of the row.
    x: *const u8,
    y: *mut u8,
    geometry: &'a Geometry,
    /// Where the taps of each pair lie.
    places: &'a [[usize; 2]],
    lines: &'a [Line<[i16; 2]>],
    bias: &'a Line<i32>,
    multipliers: &'a Line<f32>,
    /// Channels that exist.
    channels: usize,
}

impl Pairs {
    /// None where this processor or this kernel is not for it.
    pub(in super::super) fn new(bank: &Bank) -> Option<Self> {
        let version = Avx2::detect()?;
        let taps = bank.kernel[0] * bank.kernel[1];
        let pairs = taps.div_ceil(2);
        let line = |first: usize, pair: usize| {
            let weight = |channel, tap| if tap < taps { i16::from(bank.weight(channel, tap)) } else { 0 };
            Line(std::array::from_fn(|lane| [2 * pair, 2 * pair + 1].map(|tap| weight(first + lane, tap))))
        };
        let blocks = (0..bank.channels).step_by(LANES);
        let lines = blocks.flat_map(|first| (0..pairs).map(move |pair| (first, pair)));
        let lines = lines.map(|(first, pair)| line(first, pair)).collect();
        (pairs <= MOST_PAIRS).then_some(Self { _version: version, lines, count: pairs })
    }

    pub(in super::super) fn bytes(&self) -> usize {
        size_of_val(&*self.lines)
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
        let mut places = [[0; 2]; MOST_PAIRS];
        for (pair, places) in places[..self.count].iter_mut().enumerate() {
            // Where there is no second tap, the first is read again.
            let tap = [2 * pair, if 2 * pair + 1 < taps { 2 * pair + 1 } else { 2 * pair }];
            *places =
                tap.map(|tap| tap / bank.kernel[1] * geometry.tap_row + tap % bank.kernel[1] * geometry.tap_column);
        }
        for row in 0..geometry.height {
            for (block, first) in (0..bank.channels).step_by(LANES).enumerate() {
                let row = Row {
                    x: x[geometry.start + row * geometry.row + first..].as_ptr(),
                    y: y[geometry.to_start + row * geometry.to_row + first..].as_mut_ptr(),
                    geometry,
                    places: &places[..self.count],
                    lines: &self.lines[block * self.count..][..self.count],
                    bias: &bank.bias[block],
                    multipliers: &bank.multipliers[block],
                    channels: LANES.min(bank.channels - first),
                };
                // SAFETY: the version exists, so the processor has AVX2; all reads and writes were asserted above.
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
#[target_feature(enable = "avx2")]
unsafe fn channels(row: &Row, requantise: Requantise) {
    let rounding = Narrow::new(requantise);
    for first in (0..row.geometry.width).step_by(2) {
        let outputs = [first, (first + 1).min(row.geometry.width - 1)];
        let bias = load_line(row.bias);
        let mut sums = [bias; 2];
        for (places, line) in row.places.iter().zip(row.lines) {
            let weights = load_line(line);
            for output in 0..2 {
                // SAFETY: the caller's promise.
                let taps = unsafe { taps(row.x.add(outputs[output] * row.geometry.pixel), places) };
                for half in 0..2 {
                    let products = _mm256_madd_epi16(taps[half], weights[half]);
                    sums[output][half] = _mm256_add_epi32(sums[output][half], products);
                }
            }
        }
        let rounded = [rounding.rounded(sums[0], row.multipliers), rounding.rounded(sums[1], row.multipliers)];
        let bytes = rounding.bytes(rounded);
        let lanes = [_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes)];
        for output in 0..2 {
            // SAFETY: the caller's promise.
            unsafe {
                let at = row.y.add(outputs[output] * row.geometry.to_pixel);
                store_bytes(lanes[output], at, row.channels);
            }
        }
    }
}

/// Both taps of each channel as 16 bits side by side: channels 0-7 and 8-15.
///
/// # Safety
///
/// Sixteen bytes can be read at both places from `x` on.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn taps(x: *const u8, places: &[usize; 2]) -> [__m256i; 2] {
    // SAFETY: the caller's promise.
    let [first, second] =
        unsafe { [_mm_loadu_si128(x.add(places[0]).cast()), _mm_loadu_si128(x.add(places[1]).cast())] };
    [_mm256_cvtepu8_epi16(_mm_unpacklo_epi8(first, second)), _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(first, second))]
}
