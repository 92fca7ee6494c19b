//! Requantisation: sums to rounded steps in 32 bits, four registers of these to one of bytes.
//!
//! Limits on the byte give the same as limits before rounding, as they are whole numbers; 16 bits that saturate change
//! nothing that the limits let through.

#![allow(unsafe_code, reason = "intrinsics: loads and stores")]
#![allow(clippy::needless_range_loop, reason = "one index for all registers, and loops that are unrolled whole")]

use std::arch::aarch64::{
    float32x4_t, int16x8_t, int32x4_t, uint8x16_t, vbslq_f32, vcltzq_f32, vcombine_s16, vcombine_u8, vcvtnq_s32_f32,
    vcvtq_f32_s32, vdupq_n_f32, vdupq_n_s16, vdupq_n_s32, vdupq_n_u8, vld1q_f32, vld1q_s32, vmaxq_f32, vmaxq_u8,
    vminq_f32, vminq_u8, vmulq_f32, vqaddq_s16, vqmovn_s32, vqmovun_s16, vst1q_s32, vst1q_u8,
};

use super::super::super::requantise::Requantise;
use super::super::{LANES, Line};

/// With registers of 16 bytes.
pub(super) struct Rounding {
    zero_point: int16x8_t,
    low: uint8x16_t,
    high: uint8x16_t,
    simple: bool,
    slope: float32x4_t,
    limits: [float32x4_t; 2],
}

impl Rounding {
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn new(requantise: Requantise) -> Self {
        let [low, high] = requantise.limits();
        Self {
            zero_point: vdupq_n_s16(i16::from(requantise.zero_point)),
            low: vdupq_n_u8(requantise.low),
            high: vdupq_n_u8(requantise.high),
            simple: requantise.simple,
            slope: vdupq_n_f32(requantise.slope),
            limits: [vdupq_n_f32(low), vdupq_n_f32(high)],
        }
    }

    /// The bytes of a line of sums.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn bytes(&self, sums: [int32x4_t; 4], multipliers: &Line<f32>) -> uint8x16_t {
        let mut rounded = sums;
        for quarter in 0..4 {
            // SAFETY: a line is four times four floats.
            let factors = unsafe { vld1q_f32(multipliers.0.as_ptr().add(4 * quarter)) };
            let mut t = vmulq_f32(vcvtq_f32_s32(sums[quarter]), factors);
            if !self.simple {
                t = vbslq_f32(vcltzq_f32(t), vmulq_f32(t, self.slope), t);
                t = vminq_f32(vmaxq_f32(t, self.limits[0]), self.limits[1]);
            }
            rounded[quarter] = vcvtnq_s32_f32(t);
        }
        let first = vcombine_s16(vqmovn_s32(rounded[0]), vqmovn_s32(rounded[1]));
        let second = vcombine_s16(vqmovn_s32(rounded[2]), vqmovn_s32(rounded[3]));
        let first = vqmovun_s16(vqaddq_s16(first, self.zero_point));
        let second = vqmovun_s16(vqaddq_s16(second, self.zero_point));
        vminq_u8(vmaxq_u8(vcombine_u8(first, second), self.low), self.high)
    }
}

/// The first `count` of sixteen bytes.
///
/// # Safety
///
/// They can be written from `at` on.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn store_bytes(bytes: uint8x16_t, at: *mut u8, count: usize) {
    // SAFETY: the caller's promise; fewer than sixteen are copied from a buffer of sixteen.
    unsafe {
        if count == LANES {
            vst1q_u8(at, bytes);
        } else {
            let mut buffer = [0_u8; LANES];
            vst1q_u8(buffer.as_mut_ptr(), bytes);
            at.copy_from_nonoverlapping(buffer.as_ptr(), count);
        }
    }
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load_line(line: &Line<i32>) -> [int32x4_t; 4] {
    let mut values = [vdupq_n_s32(0); 4];
    for quarter in 0..4 {
        // SAFETY: a line is four times four numbers.
        values[quarter] = unsafe { vld1q_s32(line.0.as_ptr().add(4 * quarter)) };
    }
    values
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn store_line(values: [int32x4_t; 4], line: &mut Line<i32>) {
    for quarter in 0..4 {
        // SAFETY: a line is four times four numbers.
        unsafe { vst1q_s32(line.0.as_mut_ptr().add(4 * quarter), values[quarter]) }
    }
}
