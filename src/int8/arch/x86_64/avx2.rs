//! AVX2: bytes become 16 bits, of which `madd` multiplies pairs and adds the products to 32 bits, exactly.

#![allow(unsafe_code, reason = "intrinsics: loads, stores, and calls after the processor was asked")]
#![allow(clippy::needless_range_loop, reason = "one index for all registers, and loops that are unrolled whole")]

use std::arch::x86_64::{
    __m128i, __m256i, _mm_storeu_si128, _mm256_add_epi32, _mm256_and_si256, _mm256_castsi256_si128,
    _mm256_extracti128_si256, _mm256_load_si256, _mm256_madd_epi16, _mm256_set1_epi16, _mm256_set1_epi32,
    _mm256_setzero_si256, _mm256_slli_epi16, _mm256_srai_epi16, _mm256_srli_epi16, _mm256_store_si256,
};

use super::super::dense::{Sink, Strip, Tiles};
use super::super::{Group, LANES, Line};
use super::rounding::Narrow;

/// Proof that the processor has AVX2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super::super) struct Avx2(());

impl Avx2 {
    pub(in super::super::super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }
}

/// Pixels of a tile.
const ROWS: usize = 4;

impl Tiles for Avx2 {
    // SAFETY: what the trait says.
    unsafe fn strip(self, strip: &Strip, sink: &mut Sink) {
        // SAFETY: `self` exists, so the processor has AVX2; the rest is the caller's promise.
        unsafe { pixels(strip, sink) }
    }
}

/// Cuts the strip into tiles of [`ROWS`] pixels, and what is left into smaller ones.
///
/// # Safety
///
/// As [`Tiles::strip`].
#[target_feature(enable = "avx2")]
unsafe fn pixels(strip: &Strip, sink: &mut Sink) {
    for first in (0..strip.from.len()).step_by(ROWS) {
        // SAFETY: the caller's promise; `first` is a pixel, and as many follow.
        unsafe {
            match strip.from.len() - first {
                1 => tile::<1>(strip, sink, first, 1),
                2 => tile::<2>(strip, sink, first, 2),
                left => tile::<ROWS>(strip, sink, first, left.min(ROWS)),
            }
        }
    }
}

/// `pixels` pixels from `first` on; where they are fewer than `N`, the last one is computed again and thrown away.
///
/// # Safety
///
/// As [`Tiles::strip`]; `1 <= pixels <= N`, and the strip has pixels up to `first + pixels`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn tile<const N: usize>(strip: &Strip, sink: &mut Sink, first: usize, pixels: usize) {
    // SAFETY: the caller's promises are the same.
    let sums = unsafe { accumulate::<N>(strip, first, pixels) };
    match sink {
        Sink::Sums(lines) => {
            for (line, sum) in lines[first..][..pixels].iter_mut().zip(sums) {
                store_line(sum, line);
            }
        }
        Sink::Bytes { requantise, y, to } => {
            let narrow = Narrow::new(*requantise);
            let (to, y) = (&to[first..][..pixels], y.as_mut_ptr());
            for pair in 0..N.div_ceil(2) {
                let rows = [2 * pair, (2 * pair + 1).min(N - 1)];
                let rounded = [
                    narrow.rounded(sums[rows[0]], &strip.multipliers[0]),
                    narrow.rounded(sums[rows[1]], &strip.multipliers[0]),
                ];
                let bytes = narrow.bytes(rounded);
                // SAFETY: the bytes of the outputs from `to` on lie in `y`, by the caller's promise.
                unsafe {
                    if let Some(to) = to.get(2 * pair) {
                        store_bytes(_mm256_castsi256_si128(bytes), y.add(*to), strip.outputs);
                    }
                    if let Some(to) = to.get(2 * pair + 1) {
                        store_bytes(_mm256_extracti128_si256::<1>(bytes), y.add(*to), strip.outputs);
                    }
                }
            }
        }
    }
}

/// The first `count` of sixteen bytes.
///
/// # Safety
///
/// They can be written from `at` on.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn store_bytes(bytes: __m128i, at: *mut u8, count: usize) {
    // SAFETY: the caller's promise; fewer than sixteen are copied from a buffer of sixteen.
    unsafe {
        if count == LANES {
            _mm_storeu_si128(at.cast(), bytes);
        } else {
            let mut buffer = [0_u8; LANES];
            _mm_storeu_si128(buffer.as_mut_ptr().cast(), bytes);
            at.copy_from_nonoverlapping(buffer.as_ptr(), count);
        }
    }
}

/// # Safety
///
/// As [`tile`].
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn accumulate<const N: usize>(strip: &Strip, first: usize, pixels: usize) -> [[__m256i; 2]; N] {
    let mut from = [strip.x.as_ptr(); N];
    for row in 0..N {
        from[row] = from[row].wrapping_add(strip.from[first + row.min(pixels - 1)]);
    }
    let low_bytes = _mm256_set1_epi16(0xff);
    let mut sums = [load_line(&strip.starts[0]); N];
    let mut lines = strip.lines.as_ptr();
    for run in 0..strip.runs[0] {
        for column in 0..strip.runs[1] {
            let offset = run * strip.steps[0] + column * strip.steps[1];
            let mut run = from;
            for row in 0..N {
                run[row] = run[row].wrapping_add(offset);
            }
            for group in 0..strip.groups {
                // SAFETY: the strip has a line for each group of each run.
                let line = unsafe { &*lines };
                lines = lines.wrapping_add(1);
                let weights = load_line(line);
                // Bytes 0 and 2 of each four, and bytes 1 and 3, as 16 bits.
                let mut pairs = [[_mm256_setzero_si256(); 2]; 2];
                for half in 0..2 {
                    let even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(weights[half]));
                    pairs[half] = [even, _mm256_srai_epi16::<8>(weights[half])];
                }
                for row in 0..N {
                    // SAFETY: all groups of the run lie in `x`, by the caller's promise.
                    let x = unsafe { run[row].add(4 * group).cast::<i32>().read_unaligned() };
                    let values = _mm256_set1_epi32(x);
                    let (even, odd) = (_mm256_and_si256(values, low_bytes), _mm256_srli_epi16::<8>(values));
                    for half in 0..2 {
                        let [even_weights, odd_weights] = pairs[half];
                        let sum = _mm256_add_epi32(sums[row][half], _mm256_madd_epi16(even, even_weights));
                        sums[row][half] = _mm256_add_epi32(sum, _mm256_madd_epi16(odd, odd_weights));
                    }
                }
            }
        }
    }
    sums
}

/// What a line of whole numbers consists of: four bytes each, all patterns allowed.
pub(super) trait Integer {}
impl Integer for i32 {}
impl Integer for [i16; 2] {}
impl Integer for Group {}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load_line<T: Integer>(line: &Line<T>) -> [__m256i; 2] {
    let at = std::ptr::from_ref(line).cast::<__m256i>();
    // SAFETY: a line is 64 bytes, aligned to 64.
    unsafe { [_mm256_load_si256(at), _mm256_load_si256(at.add(1))] }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store_line(values: [__m256i; 2], line: &mut Line<i32>) {
    let at = std::ptr::from_mut(line).cast::<__m256i>();
    // SAFETY: a line is 64 bytes, aligned to 64.
    unsafe {
        _mm256_store_si256(at, values[0]);
        _mm256_store_si256(at.add(1), values[1]);
    }
}
