//! AVX-512 with VNNI: `dpbusd` multiplies four unsigned by four signed bytes and adds the products to 32 bits, exactly.

#![allow(unsafe_code, reason = "intrinsics: loads, stores, and calls after the processor was asked")]
#![allow(clippy::needless_range_loop, reason = "one index for all registers, and loops that are unrolled whole")]

use std::arch::x86_64::{
    __m128i, __m256i, __m512i, _mm_mask_storeu_epi8, _mm_storeu_si128, _mm256_dpbusd_epi32, _mm256_extract_epi64,
    _mm256_load_si256, _mm256_permutevar8x32_epi32, _mm256_setr_epi32, _mm256_setzero_si256, _mm256_storeu_si256,
    _mm512_castps512_ps256, _mm512_castsi512_si256, _mm512_dpbusd_epi32, _mm512_extracti32x4_epi32,
    _mm512_extracti64x4_epi64, _mm512_load_si512, _mm512_mask_storeu_epi8, _mm512_permutexvar_epi32, _mm512_set1_epi32,
    _mm512_setr_epi32, _mm512_setzero_si512, _mm512_store_si512, _mm512_storeu_si512, _mm512_zextsi256_si512,
};

use super::super::dense::{Sink, Strip, Tiles};
use super::super::{LANES, Line};
use super::rounding::{Wide, load_floats};

/// Proof that the processor has AVX-512 with VNNI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super::super) struct Vnni(());

impl Vnni {
    pub(in super::super::super) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni");
        found.then_some(Self(()))
    }
}

impl Tiles for Vnni {
    // SAFETY: what the trait says.
    unsafe fn strip(self, strip: &Strip, sink: &mut Sink) {
        // SAFETY: `self` exists, so the processor has the instructions; the rest is the caller's promise.
        unsafe {
            match (strip.block.panels, strip.block.half) {
                (0, true) => pixels::<8, 0, true>(strip, sink),
                (1, false) => pixels::<8, 1, false>(strip, sink),
                (1, true) => pixels::<8, 1, true>(strip, sink),
                (2, false) => pixels::<8, 2, false>(strip, sink),
                (2, true) => pixels::<8, 2, true>(strip, sink),
                (3, false) => pixels::<8, 3, false>(strip, sink),
                (4, false) => pixels::<6, 4, false>(strip, sink),
                block => unreachable!("no block is {block:?}"),
            }
        }
    }
}

/// Cuts the strip into tiles of `ROWS` pixels, and what is left into smaller ones.
///
/// # Safety
///
/// As [`Tiles::strip`], and the strip's block has `PANELS` panels and a half one if `HALF`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn pixels<const ROWS: usize, const PANELS: usize, const HALF: bool>(strip: &Strip, sink: &mut Sink) {
    let mut first = 0;
    while first < strip.from.len() {
        let left = strip.from.len() - first;
        // SAFETY: the caller's promise; `first` is a pixel, and as many follow.
        unsafe {
            match left {
                1 => tile::<1, PANELS, HALF>(strip, sink, first, 1),
                2 => tile::<2, PANELS, HALF>(strip, sink, first, 2),
                3 | 4 => tile::<4, PANELS, HALF>(strip, sink, first, left),
                _ => tile::<ROWS, PANELS, HALF>(strip, sink, first, left.min(ROWS)),
            }
        }
        first += match left {
            1..=4 => left,
            _ => left.min(ROWS),
        };
    }
}

/// The sums of some pixels, kept in registers through all runs.
struct Sums<const ROWS: usize, const PANELS: usize> {
    panels: [[__m512i; PANELS]; ROWS],
    half: [__m256i; ROWS],
}

/// `pixels` pixels from `first` on; where they are fewer than `ROWS`, the last one is computed again and thrown away.
///
/// # Safety
///
/// As [`pixels`]; `1 <= pixels <= ROWS`, and the strip has pixels up to `first + pixels`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn tile<const ROWS: usize, const PANELS: usize, const HALF: bool>(
    strip: &Strip,
    sink: &mut Sink,
    first: usize,
    pixels: usize,
) {
    // SAFETY: the caller's promises are the same.
    let sums = unsafe { accumulate::<ROWS, PANELS, HALF>(strip, first, pixels) };
    match sink {
        Sink::Sums(lines) => {
            let width = strip.block.width();
            for (row, lines) in lines[first * width..][..pixels * width].chunks_exact_mut(width).enumerate() {
                for (line, sum) in lines.iter_mut().zip(sums.panels[row]) {
                    store_line(sum, line);
                }
                if HALF {
                    store_line(_mm512_zextsi256_si512(sums.half[row]), &mut lines[PANELS]);
                }
            }
        }
        Sink::Bytes { requantise, y, to } => {
            let wide = Wide::new(*requantise);
            let to = &to[first..][..pixels];
            // SAFETY: the caller's promise: the bytes of the outputs from `to` on lie in `y`.
            unsafe {
                store_panels::<ROWS, PANELS, HALF>(strip, &wide, &sums, y.as_mut_ptr(), to);
                if HALF {
                    store_half::<ROWS, PANELS>(strip, &wide, &sums, y.as_mut_ptr(), to);
                }
            }
        }
    }
}

/// # Safety
///
/// As [`tile`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn accumulate<const ROWS: usize, const PANELS: usize, const HALF: bool>(
    strip: &Strip,
    first: usize,
    pixels: usize,
) -> Sums<ROWS, PANELS> {
    let mut from = [strip.x.as_ptr(); ROWS];
    for row in 0..ROWS {
        from[row] = from[row].wrapping_add(strip.from[first + row.min(pixels - 1)]);
    }
    let mut sums = Sums { panels: [[_mm512_setzero_si512(); PANELS]; ROWS], half: [_mm256_setzero_si256(); ROWS] };
    for row in 0..ROWS {
        for panel in 0..PANELS {
            sums.panels[row][panel] = load_line(&strip.starts[panel]);
        }
        if HALF {
            sums.half[row] = _mm512_castsi512_si256(load_line(&strip.starts[PANELS]));
        }
    }
    let mut lines = strip.lines.as_ptr();
    for run in 0..strip.runs[0] {
        for column in 0..strip.runs[1] {
            let offset = run * strip.steps[0] + column * strip.steps[1];
            let mut run = from;
            for row in 0..ROWS {
                run[row] = run[row].wrapping_add(offset);
            }
            for group in 0..strip.groups {
                // SAFETY: the strip has `PANELS` lines, and one for the half panel, for each group of each run.
                let weights = unsafe {
                    let mut weights = [_mm512_setzero_si512(); PANELS];
                    for panel in 0..PANELS {
                        weights[panel] = _mm512_load_si512(lines.add(panel).cast());
                    }
                    weights
                };
                let half = if HALF {
                    // SAFETY: as above.
                    unsafe { _mm256_load_si256(lines.add(PANELS).cast()) }
                } else {
                    _mm256_setzero_si256()
                };
                lines = lines.wrapping_add(PANELS + usize::from(HALF));
                for row in 0..ROWS {
                    // SAFETY: all groups of the run lie in `x`, by the caller's promise.
                    let x = unsafe { run[row].add(4 * group).cast::<i32>().read_unaligned() };
                    let values = _mm512_set1_epi32(x);
                    for panel in 0..PANELS {
                        let sum = &mut sums.panels[row][panel];
                        *sum = _mm512_dpbusd_epi32(*sum, values, weights[panel]);
                    }
                    if HALF {
                        sums.half[row] = _mm256_dpbusd_epi32(sums.half[row], _mm512_castsi512_si256(values), half);
                    }
                }
            }
        }
    }
    sums
}

/// Bytes of the whole panels: four lines of sums become one register.
///
/// # Safety
///
/// The bytes of the outputs from each `to` on lie in `y`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn store_panels<const ROWS: usize, const PANELS: usize, const HALF: bool>(
    strip: &Strip,
    wide: &Wide,
    sums: &Sums<ROWS, PANELS>,
    y: *mut u8,
    to: &[usize],
) {
    // What belongs to one panel is side by side after the permutation, not before.
    let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    let whole = strip.outputs >= PANELS * LANES;
    for quad in 0..(ROWS * PANELS).div_ceil(4) {
        let mut rounded = [_mm512_setzero_si512(); 4];
        for lane in 0..4 {
            let at = 4 * quad + lane;
            if at < ROWS * PANELS {
                let multipliers = load_floats(&strip.multipliers[at % PANELS]);
                rounded[lane] = wide.rounded(sums.panels[at / PANELS][at % PANELS], multipliers);
            }
        }
        let bytes = _mm512_permutexvar_epi32(order, wide.bytes(rounded));
        if PANELS == 4 {
            let Some(to) = to.get(quad) else { break };
            // SAFETY: 64 outputs, or as many as there are.
            unsafe {
                if whole {
                    _mm512_storeu_si512(y.add(*to).cast(), bytes);
                } else {
                    _mm512_mask_storeu_epi8(y.add(*to).cast(), (1 << strip.outputs) - 1, bytes);
                }
            }
            continue;
        }
        if PANELS == 2 && whole {
            let halves = [_mm512_castsi512_si256(bytes), _mm512_extracti64x4_epi64::<1>(bytes)];
            for (to, half) in to.iter().skip(2 * quad).zip(halves) {
                // SAFETY: 32 outputs.
                unsafe { _mm256_storeu_si256(y.add(*to).cast(), half) }
            }
            continue;
        }
        let lanes = quarters(bytes);
        for lane in 0..4 {
            let at = 4 * quad + lane;
            let Some(to) = to.get(at / PANELS.max(1)) else { break };
            let panel = at % PANELS.max(1);
            // SAFETY: 16 outputs of this panel, or as many as there are.
            unsafe {
                let at = y.add(to + panel * LANES);
                if whole || panel + 1 < PANELS {
                    _mm_storeu_si128(at.cast(), lanes[lane]);
                } else {
                    _mm_mask_storeu_epi8(at.cast(), (1 << (strip.outputs - panel * LANES)) - 1, lanes[lane]);
                }
            }
        }
    }
}

/// Bytes of the half panel.
///
/// # Safety
///
/// The bytes of the outputs from each `to` on lie in `y`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn store_half<const ROWS: usize, const PANELS: usize>(
    strip: &Strip,
    wide: &Wide,
    sums: &Sums<ROWS, PANELS>,
    y: *mut u8,
    to: &[usize],
) {
    let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    let outputs = strip.outputs - PANELS * LANES;
    let multipliers = _mm512_castps512_ps256(load_floats(&strip.multipliers[PANELS]));
    for quad in 0..ROWS.div_ceil(4) {
        let mut rounded = [_mm256_setzero_si256(); 4];
        for lane in 0..4 {
            if 4 * quad + lane < ROWS {
                rounded[lane] = wide.half_rounded(sums.half[4 * quad + lane], multipliers);
            }
        }
        let bytes = _mm256_permutevar8x32_epi32(wide.half_bytes(rounded), order);
        let lanes = [
            _mm256_extract_epi64::<0>(bytes),
            _mm256_extract_epi64::<1>(bytes),
            _mm256_extract_epi64::<2>(bytes),
            _mm256_extract_epi64::<3>(bytes),
        ];
        for (to, lane) in to.iter().skip(4 * quad).zip(lanes) {
            // SAFETY: 8 outputs, or as many as there are.
            unsafe {
                let at = y.add(to + PANELS * LANES);
                if outputs == 8 {
                    at.cast::<i64>().write_unaligned(lane);
                } else {
                    at.copy_from_nonoverlapping(lane.to_le_bytes().as_ptr(), outputs);
                }
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn quarters(bytes: __m512i) -> [__m128i; 4] {
    [
        _mm512_extracti32x4_epi32::<0>(bytes),
        _mm512_extracti32x4_epi32::<1>(bytes),
        _mm512_extracti32x4_epi32::<2>(bytes),
        _mm512_extracti32x4_epi32::<3>(bytes),
    ]
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_line(line: &Line<i32>) -> __m512i {
    // SAFETY: a line is 64 bytes, aligned to 64.
    unsafe { _mm512_load_si512(line.0.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store_line(values: __m512i, line: &mut Line<i32>) {
    // SAFETY: a line is 64 bytes, aligned to 64.
    unsafe { _mm512_store_si512(line.0.as_mut_ptr().cast(), values) }
}
