//! Dense tiles. The bytes become signed ones by their highest bit.

#![allow(unsafe_code, reason = "intrinsics: loads, stores, one instruction, and calls after the processor was asked")]
#![allow(clippy::needless_range_loop, reason = "one index for all registers, and loops that are unrolled whole")]

use std::arch::aarch64::{
    int8x16_t, int32x4_t, vaddq_s32, vdupq_n_s8, vdupq_n_s32, vget_low_s8, vld1q_s8, vmull_high_s8, vmull_s8,
    vpadalq_s16, vpaddq_s32, vreinterpretq_s8_s32,
};
use std::arch::asm;

use super::super::dense::{Sink, Strip, Tiles};
use super::super::{Group, Line};
use super::rounding::{Rounding, load_line, store_bytes, store_line};
use super::{DotProduct, Neon};

/// Sums of some pixels for sixteen outputs.
type Sums<const ROWS: usize> = [[int32x4_t; 4]; ROWS];

impl Tiles for Neon {
    // SAFETY: what the trait says.
    unsafe fn strip(self, strip: &Strip, sink: &mut Sink) {
        let mut first = 0;
        while first < strip.from.len() {
            let left = strip.from.len() - first;
            // SAFETY: `self` exists, so the processor has NEON; the rest is the caller's promise, as `first` is a pixel,
            // and as many follow.
            unsafe {
                match left {
                    1 => store(&products::<1>(strip, first, 1), strip, sink, first, 1),
                    _ => store(&products::<2>(strip, first, 2), strip, sink, first, 2),
                }
            }
            first += left.min(2);
        }
    }
}

impl Tiles for DotProduct {
    // SAFETY: what the trait says.
    unsafe fn strip(self, strip: &Strip, sink: &mut Sink) {
        const ROWS: usize = 6;
        let mut first = 0;
        while first < strip.from.len() {
            let left = strip.from.len() - first;
            // SAFETY: `self` exists, so the processor has the instructions; the rest is the caller's promise, as `first`
            // is a pixel, and as many follow.
            unsafe {
                match left {
                    1 => store(&dot_products::<1>(strip, first, 1), strip, sink, first, 1),
                    2 => store(&dot_products::<2>(strip, first, 2), strip, sink, first, 2),
                    3 | 4 => store(&dot_products::<4>(strip, first, left), strip, sink, first, left),
                    _ => {
                        let pixels = left.min(ROWS);
                        store(&dot_products::<ROWS>(strip, first, pixels), strip, sink, first, pixels);
                    }
                }
            }
            first += match left {
                1..=4 => left,
                _ => left.min(ROWS),
            };
        }
    }
}

/// What becomes of the sums of `pixels` pixels from `first` on.
///
/// # Safety
///
/// As [`Tiles::strip`].
#[inline]
#[target_feature(enable = "neon")]
unsafe fn store<const ROWS: usize>(sums: &Sums<ROWS>, strip: &Strip, sink: &mut Sink, first: usize, pixels: usize) {
    match sink {
        Sink::Sums(lines) => {
            for (line, sums) in lines[first..][..pixels].iter_mut().zip(sums) {
                store_line(*sums, line);
            }
        }
        Sink::Bytes { requantise, y, to } => {
            let rounding = Rounding::new(*requantise);
            let (to, y) = (&to[first..][..pixels], y.as_mut_ptr());
            for row in 0..ROWS {
                let Some(to) = to.get(row) else { break };
                let bytes = rounding.bytes(sums[row], &strip.multipliers[0]);
                // SAFETY: the bytes of the outputs from `to` on lie in `y`, by the caller's promise.
                unsafe { store_bytes(bytes, y.add(*to), strip.outputs) }
            }
        }
    }
}

/// The first taps of `pixels` pixels from `first` on; where they are fewer than `ROWS`, the last one again.
#[inline]
fn places<const ROWS: usize>(strip: &Strip, first: usize, pixels: usize) -> [*const u8; ROWS] {
    let mut from = [strip.x.as_ptr(); ROWS];
    for row in 0..ROWS {
        from[row] = from[row].wrapping_add(strip.from[first + row.min(pixels - 1)]);
    }
    from
}

/// Products in 16 bits, neighbours added in 32, and the two halves of each output at the end.
///
/// # Safety
///
/// As [`Tiles::strip`]; `1 <= pixels <= ROWS`, and the strip has pixels up to `first + pixels`.
#[target_feature(enable = "neon")]
unsafe fn products<const ROWS: usize>(strip: &Strip, first: usize, pixels: usize) -> Sums<ROWS> {
    let from = places::<ROWS>(strip, first, pixels);
    let mut halves = [[[vdupq_n_s32(0); 2]; 4]; ROWS];
    let mut lines = strip.lines.as_ptr();
    for run in 0..strip.runs[0] {
        for column in 0..strip.runs[1] {
            let offset = run * strip.steps[0] + column * strip.steps[1];
            let run = from.map(|from| from.wrapping_add(offset));
            for group in 0..strip.groups {
                // SAFETY: the strip has a line for each group of each run.
                let weights = unsafe { load_weights(&*lines) };
                lines = lines.wrapping_add(1);
                for row in 0..ROWS {
                    // SAFETY: all groups of the run lie in `x`, by the caller's promise.
                    let x = unsafe { load_signed(run[row].add(4 * group)) };
                    for quarter in 0..4 {
                        let low = vmull_s8(vget_low_s8(weights[quarter]), vget_low_s8(x));
                        let high = vmull_high_s8(weights[quarter], x);
                        let [low_sum, high_sum] = halves[row][quarter];
                        halves[row][quarter] = [vpadalq_s16(low_sum, low), vpadalq_s16(high_sum, high)];
                    }
                }
            }
        }
    }
    let mut sums = [load_line(&strip.starts[0]); ROWS];
    for row in 0..ROWS {
        for quarter in 0..4 {
            let [low, high] = halves[row][quarter];
            sums[row][quarter] = vaddq_s32(sums[row][quarter], vpaddq_s32(low, high));
        }
    }
    sums
}

/// # Safety
///
/// As [`products`].
#[target_feature(enable = "neon,dotprod")]
unsafe fn dot_products<const ROWS: usize>(strip: &Strip, first: usize, pixels: usize) -> Sums<ROWS> {
    let from = places::<ROWS>(strip, first, pixels);
    let mut sums = [load_line(&strip.starts[0]); ROWS];
    let mut lines = strip.lines.as_ptr();
    for run in 0..strip.runs[0] {
        for column in 0..strip.runs[1] {
            let offset = run * strip.steps[0] + column * strip.steps[1];
            let run = from.map(|from| from.wrapping_add(offset));
            for group in 0..strip.groups {
                // SAFETY: the strip has a line for each group of each run.
                let weights = unsafe { load_weights(&*lines) };
                lines = lines.wrapping_add(1);
                for row in 0..ROWS {
                    // SAFETY: all groups of the run lie in `x`, by the caller's promise.
                    let x = unsafe { load_signed(run[row].add(4 * group)) };
                    for quarter in 0..4 {
                        sums[row][quarter] = sdot(sums[row][quarter], weights[quarter], x);
                    }
                }
            }
        }
    }
    sums
}

/// `sum[i] + sum_j a[4 i + j] b[4 i + j]`, exactly. The intrinsic is not in stable Rust yet.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sdot(mut sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the processor has this instruction where this function may be called; it touches registers only.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {a:v}.16b, {b:v}.16b",
            sum = inout(vreg) sum, a = in(vreg) a, b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}

/// Four bytes, less by 128 each, in every quarter of a register.
///
/// # Safety
///
/// They can be read.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn load_signed(at: *const u8) -> int8x16_t {
    // SAFETY: the caller's promise.
    let word = unsafe { at.cast::<i32>().read_unaligned() };
    vreinterpretq_s8_s32(vdupq_n_s32(word ^ 0x8080_8080_u32.cast_signed()))
}

#[inline]
#[target_feature(enable = "neon")]
fn load_weights(line: &Line<Group>) -> [int8x16_t; 4] {
    let mut weights = [vdupq_n_s8(0); 4];
    for quarter in 0..4 {
        // SAFETY: a line is four times sixteen bytes.
        weights[quarter] = unsafe { vld1q_s8(line.0.as_ptr().cast::<i8>().add(16 * quarter)) };
    }
    weights
}
