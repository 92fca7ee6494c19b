//! Depthwise with VNNI: bytes of four taps are interleaved, so that each 32 bits hold four taps of one channel, as `dpbusd`
//! wants them. In a 3x3 kernel the four are a column and nothing; neighbouring outputs share their columns.

#![allow(unsafe_code, reason = "intrinsics: loads, stores, and calls after the processor was asked")]
#![allow(clippy::needless_range_loop, reason = "one index for all registers, and loops that are unrolled whole")]

use std::arch::x86_64::{
    __m256i, __m512i, _mm256_dpbusd_epi32, _mm256_load_ps, _mm256_load_si256, _mm256_loadu_si256,
    _mm256_mask_storeu_epi8, _mm256_setzero_si256, _mm256_storeu_si256, _mm256_unpackhi_epi8, _mm256_unpackhi_epi16,
    _mm256_unpacklo_epi8, _mm256_unpacklo_epi16, _mm512_dpbusd_epi32, _mm512_load_ps, _mm512_load_si512,
    _mm512_loadu_si512, _mm512_mask_storeu_epi8, _mm512_setzero_si512, _mm512_storeu_si512, _mm512_unpackhi_epi8,
    _mm512_unpackhi_epi16, _mm512_unpacklo_epi8, _mm512_unpacklo_epi16,
};

use super::super::super::requantise::Requantise;
use super::super::channelwise::Bank;
use super::super::{Geometry, Group, LANES, Line};
use super::rounding::Wide;
use super::vnni::Vnni;

/// Groups of four taps that there may be: the places of their taps stand in an array of fixed length.
const MOST_GROUPS: usize = 16;

/// Channels that are worked on together, and those that a rest of so many or fewer takes.
const WIDE: usize = 64;
const NARROW: usize = 32;

/// Weights in groups of four taps, in the order of channels that interleaving gives.
#[derive(Clone, Debug)]
pub(in super::super::super) struct Quads {
    /// Proof that the processor has the instructions.
    _version: Vnni,
    /// The taps of each group; where there are fewer than four, the last weights are 0.
    groups: Vec<[usize; 4]>,
    /// A group is a column of a 3x3 kernel.
    columns: bool,
    /// `[block, group, vector]`: four vectors a block, whole lines or halves of them.
    lines: Vec<Line<Group>>,
    /// `[block, vector]`.
    bias: Vec<Line<i32>>,
    multipliers: Vec<Line<f32>>,
}

/// A block of channels in one row of outputs.
struct Row<'a> {
    /// The first tap and the first output of the row.
    x: *const u8,
    y: *mut u8,
    geometry: &'a Geometry,
    /// Where the taps of each group lie.
    places: &'a [[usize; 4]],
    lines: &'a [Line<Group>],
    bias: &'a [Line<i32>],
    multipliers: &'a [Line<f32>],
    /// Channels that exist.
    channels: usize,
}

impl Quads {
    /// None where this processor or this kernel is not for it.
    pub(in super::super) fn new(bank: &Bank) -> Option<Self> {
        let version = Vnni::detect()?;
        let columns = bank.kernel == [3, 3];
        let groups: Vec<[usize; 4]> = if columns {
            (0..3).map(|column| [column, column + 3, column + 6, usize::MAX]).collect()
        } else {
            (0..(bank.kernel[0] * bank.kernel[1]).div_ceil(4)).map(|at| [0, 1, 2, 3].map(|tap| 4 * at + tap)).collect()
        };
        let taps = bank.kernel[0] * bank.kernel[1];
        let mut quads = Self {
            _version: version,
            groups: groups.iter().map(|group| group.map(|tap| if tap < taps { tap } else { 0 })).collect(),
            columns,
            lines: Vec::new(),
            bias: Vec::new(),
            multipliers: Vec::new(),
        };
        if groups.len() > MOST_GROUPS {
            return None;
        }
        for (first, width) in blocks(bank.channels) {
            // Lanes of the block's four vectors, one after the other.
            let channel = |at: usize| {
                let (vector, lane) = (at / (width / 4), at % (width / 4));
                first + LANES * (lane / 4) + 4 * vector + lane % 4
            };
            let line = |number: usize| std::array::from_fn(|lane| channel(number * LANES + lane));
            for group in &groups {
                for number in 0..width / LANES {
                    let channels: [usize; LANES] = line(number);
                    let weight = |channel, tap| if tap < taps { bank.weight(channel, tap) } else { 0 };
                    quads.lines.push(Line(channels.map(|channel| group.map(|tap| weight(channel, tap)))));
                }
            }
            for number in 0..width / LANES {
                let channels: [usize; LANES] = line(number);
                let place = |channel: usize| (channel < bank.channels).then_some((channel / LANES, channel % LANES));
                let bias = |channel| place(channel).map_or(0, |(block, lane)| bank.bias[block].0[lane]);
                let factor = |channel| place(channel).map_or(0.0, |(block, lane)| bank.multipliers[block].0[lane]);
                quads.bias.push(Line(channels.map(bias)));
                quads.multipliers.push(Line(channels.map(factor)));
            }
        }
        Some(quads)
    }

    pub(in super::super) fn bytes(&self) -> usize {
        size_of_val(&*self.lines) + size_of_val(&*self.bias) + size_of_val(&*self.multipliers)
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
        // A rest of more than 32 channels reads 64.
        bank.assert_inside(geometry, WIDE, x, y);
        let mut places = [[0; 4]; MOST_GROUPS];
        for (places, taps) in places.iter_mut().zip(&self.groups) {
            let place =
                |tap: usize| tap / bank.kernel[1] * geometry.tap_row + tap % bank.kernel[1] * geometry.tap_column;
            *places = taps.map(place);
        }
        let places = &places[..self.groups.len()];
        let shared = if self.columns && geometry.tap_column > 0 { geometry.pixel / geometry.tap_column } else { 0 };
        let shared = if shared * geometry.tap_column == geometry.pixel { shared } else { 0 };
        for row in 0..geometry.height {
            let (mut lines, mut vectors) = (0, 0);
            for (first, width) in blocks(bank.channels) {
                let count = width / LANES;
                let row = Row {
                    x: x[geometry.start + row * geometry.row + first..].as_ptr(),
                    y: y[geometry.to_start + row * geometry.to_row + first..].as_mut_ptr(),
                    geometry,
                    places,
                    lines: &self.lines[lines..][..count * self.groups.len()],
                    bias: &self.bias[vectors..][..count],
                    multipliers: &self.multipliers[vectors..][..count],
                    channels: width.min(bank.channels - first),
                };
                lines += row.lines.len();
                vectors += count;
                // SAFETY: the version exists, so the processor has the instructions; all reads and writes were asserted
                // above; columns are shared only where outputs are one or two taps apart.
                unsafe {
                    match (width, shared) {
                        (WIDE, 1) => wide::columns::<1>(&row, requantise),
                        (WIDE, 2) => wide::columns::<2>(&row, requantise),
                        (WIDE, _) => wide::any(&row, requantise),
                        (_, 1) => narrow::columns::<1>(&row, requantise),
                        (_, 2) => narrow::columns::<2>(&row, requantise),
                        _ => narrow::any(&row, requantise),
                    }
                }
            }
        }
    }
}

/// The first channel of each block, and channels that it has room for.
fn blocks(channels: usize) -> impl Iterator<Item = (usize, usize)> {
    let width = move |first| if channels - first <= NARROW { NARROW } else { WIDE };
    (0..channels).step_by(WIDE).map(move |first| (first, width(first)))
}

/// The same for registers of 64 and of 32 bytes.
macro_rules! for_registers {
    (
        $name:ident, $vector:ty, $mask:ty, $load:ident, $load_weights:ident, $load_floats:ident, $zero:ident,
        $low_bytes:ident, $high_bytes:ident, $low_pairs:ident, $high_pairs:ident, $dot:ident,
        $rounded:ident, $bytes:ident, $store:ident, $store_some:ident
    ) => {
        mod $name {
            use super::*;

            const BYTES: usize = size_of::<$vector>();

            /// Four taps of each channel together: channels 0-3 of each 16, 4-7, 8-11, and 12-15.
            #[inline]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
            fn interleave(taps: [$vector; 4]) -> [$vector; 4] {
                let (low, high) = ($low_bytes(taps[0], taps[1]), $high_bytes(taps[0], taps[1]));
                let (low_2, high_2) = ($low_bytes(taps[2], taps[3]), $high_bytes(taps[2], taps[3]));
                [$low_pairs(low, low_2), $high_pairs(low, low_2), $low_pairs(high, high_2), $high_pairs(high, high_2)]
            }

            /// # Safety
            ///
            /// A register of bytes can be read at each place from `x` on.
            #[inline]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
            unsafe fn taps(x: *const u8, places: &[usize; 4]) -> [$vector; 4] {
                // SAFETY: the caller's promise.
                unsafe {
                    [
                        $load(x.add(places[0]).cast()),
                        $load(x.add(places[1]).cast()),
                        $load(x.add(places[2]).cast()),
                        $load(x.add(places[3]).cast()),
                    ]
                }
            }

            /// A column of a 3x3 kernel, `below` being the step from a tap to the next.
            ///
            /// # Safety
            ///
            /// A register of bytes can be read at each of the three taps.
            #[inline]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
            unsafe fn column(x: *const u8, below: usize) -> [$vector; 4] {
                // SAFETY: the caller's promise.
                unsafe {
                    let (first, second) = ($load(x.cast()), $load(x.add(below).cast()));
                    interleave([first, second, $load(x.add(2 * below).cast()), $zero()])
                }
            }

            /// Adds a group's products.
            #[inline]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
            fn add(sums: &mut [$vector; 4], values: [$vector; 4], row: &Row, group: usize) {
                let lines = &row.lines[group * BYTES / LANES..][..BYTES / LANES];
                for vector in 0..4 {
                    // SAFETY: the four vectors of a group fill its lines, which are aligned to 64.
                    let weights = unsafe { $load_weights(lines.as_ptr().cast::<$vector>().add(vector).cast()) };
                    sums[vector] = $dot(sums[vector], values[vector], weights);
                }
            }

            #[inline]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
            fn bias(row: &Row) -> [$vector; 4] {
                let lines = &row.bias[..BYTES / LANES];
                let mut sums = [$zero(); 4];
                for vector in 0..4 {
                    // SAFETY: as for the weights.
                    sums[vector] = unsafe { $load_weights(lines.as_ptr().cast::<$vector>().add(vector).cast()) };
                }
                sums
            }

            /// # Safety
            ///
            /// `row.channels` bytes can be written to `y`.
            #[inline]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
            unsafe fn store(row: &Row, rounding: &Wide, sums: [$vector; 4], y: *mut u8) {
                let lines = &row.multipliers[..BYTES / LANES];
                let mut rounded = sums;
                for vector in 0..4 {
                    // SAFETY: as for the weights.
                    let multipliers = unsafe { $load_floats(lines.as_ptr().cast::<$vector>().add(vector).cast()) };
                    rounded[vector] = rounding.$rounded(sums[vector], multipliers);
                }
                let bytes = rounding.$bytes(rounded);
                // SAFETY: the caller's promise.
                unsafe {
                    if row.channels == BYTES {
                        $store(y.cast(), bytes);
                    } else {
                        let mask: $mask = (1 << row.channels) - 1;
                        $store_some(y.cast(), mask, bytes);
                    }
                }
            }

            /// Any kernel.
            ///
            /// # Safety
            ///
            /// All taps of the row's outputs can be read, a register from each on; all outputs can be written.
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
            pub(super) unsafe fn any(row: &Row, requantise: Requantise) {
                let rounding = Wide::new(requantise);
                for at in 0..row.geometry.width {
                    let mut sums = bias(row);
                    for (group, places) in row.places.iter().enumerate() {
                        // SAFETY: the caller's promise.
                        let taps = unsafe { taps(row.x.add(at * row.geometry.pixel), places) };
                        add(&mut sums, interleave(taps), row, group);
                    }
                    // SAFETY: the caller's promise.
                    unsafe { store(row, &rounding, sums, row.y.add(at * row.geometry.to_pixel)) }
                }
            }

            /// A 3x3 kernel, the outputs `STRIDE` taps apart.
            ///
            /// # Safety
            ///
            /// As [`any`].
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
            pub(super) unsafe fn columns<const STRIDE: usize>(row: &Row, requantise: Requantise) {
                let rounding = Wide::new(requantise);
                let (below, right) = (row.geometry.tap_row, row.geometry.tap_column);
                // SAFETY: the caller's promise: an output's columns are those at 0, 1 and 2 steps from its first tap.
                unsafe {
                    let mut first = column(row.x, below);
                    let mut second = if STRIDE == 1 { column(row.x.add(right), below) } else { first };
                    for at in 0..row.geometry.width {
                        let x = row.x.add(at * row.geometry.pixel);
                        if STRIDE > 1 {
                            second = column(x.add(right), below);
                        }
                        let third = column(x.add(2 * right), below);
                        let mut sums = bias(row);
                        add(&mut sums, first, row, 0);
                        add(&mut sums, second, row, 1);
                        add(&mut sums, third, row, 2);
                        store(row, &rounding, sums, row.y.add(at * row.geometry.to_pixel));
                        (first, second) = if STRIDE == 1 { (second, third) } else { (third, third) };
                    }
                }
            }
        }
    };
}

for_registers!(
    wide,
    __m512i,
    u64,
    _mm512_loadu_si512,
    _mm512_load_si512,
    _mm512_load_ps,
    _mm512_setzero_si512,
    _mm512_unpacklo_epi8,
    _mm512_unpackhi_epi8,
    _mm512_unpacklo_epi16,
    _mm512_unpackhi_epi16,
    _mm512_dpbusd_epi32,
    rounded,
    bytes,
    _mm512_storeu_si512,
    _mm512_mask_storeu_epi8
);
for_registers!(
    narrow,
    __m256i,
    u32,
    _mm256_loadu_si256,
    _mm256_load_si256,
    _mm256_load_ps,
    _mm256_setzero_si256,
    _mm256_unpacklo_epi8,
    _mm256_unpackhi_epi8,
    _mm256_unpacklo_epi16,
    _mm256_unpackhi_epi16,
    _mm256_dpbusd_epi32,
    half_rounded,
    half_bytes,
    _mm256_storeu_si256,
    _mm256_mask_storeu_epi8
);
