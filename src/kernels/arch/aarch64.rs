//! NEON for bytes: with the dot product instructions of `ARMv8.2` and without. For floats the plain loops are enough.

#![allow(unsafe_code, reason = "intrinsics: loads, stores, one instruction, and calls after the processor was asked")]

use std::arch::aarch64::{
    int8x16_t, int32x4_t, vaddq_s32, vdupq_n_s32, vget_low_s8, vld1q_s8, vld1q_s32, vmlal_high_s8, vmlal_s8,
    vmull_high_s8, vmull_s8, vpadalq_s16, vpaddq_s32, vreinterpretq_s8_s32, vst1q_s32,
};
use std::arch::asm;

use super::{BLOCK, Group, Int8Tile, Line, Piece, Shape, Sums};

/// Every 64-bit ARM has these instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Neon(());

/// Proof that the processor has the dot product instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct DotProduct(());

impl Neon {
    pub(in super::super) fn new() -> Self {
        Self(())
    }
}

impl DotProduct {
    pub(in super::super) fn detect() -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("dotprod").then_some(Self(()))
    }
}

impl Int8Tile for Neon {
    const SHAPE: Shape = Shape::Small;
    const OFFSET: i32 = 0;

    fn tile<const ROWS: usize, const PANELS: usize>(
        self,
        x: &[Piece<Group>; ROWS],
        panels: [&[Line<Group>]; PANELS],
        sums: &mut Sums<i32, ROWS, PANELS>,
    ) {
        // SAFETY: the target has NEON, or this file would not be compiled for it.
        unsafe { neon_tile(x, panels, sums) }
    }
}

impl Int8Tile for DotProduct {
    const SHAPE: Shape = Shape::Medium;
    const OFFSET: i32 = 0;

    fn tile<const ROWS: usize, const PANELS: usize>(
        self,
        x: &[Piece<Group>; ROWS],
        panels: [&[Line<Group>]; PANELS],
        sums: &mut Sums<i32, ROWS, PANELS>,
    ) {
        // SAFETY: `self` exists, so the processor has the dot product instructions.
        unsafe { dot_product_tile(x, panels, sums) }
    }
}

/// Two groups at a time: the sum of two products fits 16 bits, as it is at most 2 * 128 * 127 = 32512 (no weight is -128).
/// Then neighbours are added in 32 bits, and the two halves of each output at the end.
#[target_feature(enable = "neon")]
fn neon_tile<const ROWS: usize, const PANELS: usize>(
    x: &[Piece<Group>; ROWS],
    panels: [&[Line<Group>]; PANELS],
    totals: &mut Sums<i32, ROWS, PANELS>,
) {
    let pairs = panels.first().map_or(0, |panel| panel.as_chunks::<2>().0.len());
    let x = x.each_ref().map(|row| &row.as_chunks::<2>().0[..pairs]);
    let panels = panels.map(|panel| &panel.as_chunks::<2>().0[..pairs]);
    for panel in 0..PANELS {
        let mut sums = [[[vdupq_n_s32(0); 2]; 4]; ROWS];
        for at in 0..pairs {
            let weights = panels[panel][at].each_ref().map(|line| load_weights(line));
            for row in 0..ROWS {
                let values = x[row][at].map(|group| spread(group));
                for quarter in 0..4 {
                    let [first, second] = [weights[0][quarter], weights[1][quarter]];
                    let low = vmull_s8(vget_low_s8(first), vget_low_s8(values[0]));
                    let low = vmlal_s8(low, vget_low_s8(second), vget_low_s8(values[1]));
                    let high = vmlal_high_s8(vmull_high_s8(first, values[0]), second, values[1]);
                    let [low_sum, high_sum] = sums[row][quarter];
                    sums[row][quarter] = [vpadalq_s16(low_sum, low), vpadalq_s16(high_sum, high)];
                }
            }
        }
        for row in 0..ROWS {
            let joined = sums[row].map(|[low, high]| vpaddq_s32(low, high));
            add_to(joined, &mut totals[row][panel]);
        }
    }
}

#[target_feature(enable = "neon,dotprod")]
fn dot_product_tile<const ROWS: usize, const PANELS: usize>(
    x: &[Piece<Group>; ROWS],
    panels: [&[Line<Group>]; PANELS],
    totals: &mut Sums<i32, ROWS, PANELS>,
) {
    let groups = panels.first().map_or(0, |panel| panel.len().min(BLOCK));
    let panels = panels.map(|panel| &panel[..groups]);
    let mut sums = [[[vdupq_n_s32(0); 4]; PANELS]; ROWS];
    for at in 0..groups {
        let weights = panels.map(|panel| load_weights(&panel[at]));
        for row in 0..ROWS {
            let values = spread(x[row][at]);
            for panel in 0..PANELS {
                for quarter in 0..4 {
                    sums[row][panel][quarter] = sdot(sums[row][panel][quarter], weights[panel][quarter], values);
                }
            }
        }
    }
    for (total, sums) in totals.as_flattened_mut().iter_mut().zip(sums.as_flattened()) {
        add_to(*sums, total);
    }
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

/// The group in every quarter of a register.
#[inline]
#[target_feature(enable = "neon")]
fn spread(group: Group) -> int8x16_t {
    vreinterpretq_s8_s32(vdupq_n_s32(i32::from_le_bytes(group.map(i8::cast_unsigned))))
}

#[inline]
#[target_feature(enable = "neon")]
fn load_weights(line: &Line<Group>) -> [int8x16_t; 4] {
    let at = line.0.as_ptr().cast::<i8>();
    // SAFETY: a line is 64 bytes.
    unsafe { [vld1q_s8(at), vld1q_s8(at.add(16)), vld1q_s8(at.add(32)), vld1q_s8(at.add(48))] }
}

#[inline]
#[target_feature(enable = "neon")]
fn add_to(sums: [int32x4_t; 4], line: &mut Line<i32>) {
    for (sum, total) in sums.into_iter().zip(line.0.as_chunks_mut::<4>().0) {
        // SAFETY: a chunk is four numbers.
        unsafe { vst1q_s32(total.as_mut_ptr(), vaddq_s32(vld1q_s32(total.as_ptr()), sum)) }
    }
}
