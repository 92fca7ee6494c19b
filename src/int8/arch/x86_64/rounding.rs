//! Requantisation: sums to rounded steps in 32 bits, four registers of these to one of bytes.
//!
//! Limits on the byte give the same as limits before rounding, as they are whole numbers; 16 bits that saturate change
//! nothing that the limits let through.

#![allow(unsafe_code, reason = "intrinsics: loads")]

use std::arch::x86_64::{
    __m256, __m256i, __m512, __m512i, _CMP_LT_OQ, _mm256_adds_epi16, _mm256_blendv_ps, _mm256_cvtepi32_ps,
    _mm256_cvtps_epi32, _mm256_load_ps, _mm256_max_epu8, _mm256_max_ps, _mm256_min_epu8, _mm256_min_ps, _mm256_mul_ps,
    _mm256_packs_epi32, _mm256_packus_epi16, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_ps, _mm512_adds_epi16,
    _mm512_castps512_ps256, _mm512_castsi512_si256, _mm512_cmp_ps_mask, _mm512_cvtepi32_ps, _mm512_cvtps_epi32,
    _mm512_load_ps, _mm512_mask_mul_ps, _mm512_max_epu8, _mm512_max_ps, _mm512_min_epu8, _mm512_min_ps, _mm512_mul_ps,
    _mm512_packs_epi32, _mm512_packus_epi16, _mm512_set1_epi8, _mm512_set1_epi16, _mm512_set1_ps, _mm512_setzero_ps,
};

use super::super::super::requantise::Requantise;
use super::super::Line;

/// With registers of 64 bytes.
pub(super) struct Wide {
    zero_point: __m512i,
    low: __m512i,
    high: __m512i,
    simple: bool,
    slope: __m512,
    limits: [__m512; 2],
}

impl Wide {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub(super) fn new(requantise: Requantise) -> Self {
        let [low, high] = requantise.limits();
        Self {
            zero_point: _mm512_set1_epi16(i16::from(requantise.zero_point)),
            low: _mm512_set1_epi8(requantise.low.cast_signed()),
            high: _mm512_set1_epi8(requantise.high.cast_signed()),
            simple: requantise.simple,
            slope: _mm512_set1_ps(requantise.slope),
            limits: [_mm512_set1_ps(low), _mm512_set1_ps(high)],
        }
    }

    /// Steps from the zero point.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub(super) fn rounded(&self, sums: __m512i, multipliers: __m512) -> __m512i {
        let mut t = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), multipliers);
        if !self.simple {
            let negative = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(t, _mm512_setzero_ps());
            t = _mm512_mask_mul_ps(t, negative, t, self.slope);
            t = _mm512_min_ps(_mm512_max_ps(t, self.limits[0]), self.limits[1]);
        }
        // To nearest, halves to even: the mode that every program starts in.
        _mm512_cvtps_epi32(t)
    }

    /// In each quarter of the register: four bytes of each, one after the other.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub(super) fn bytes(&self, rounded: [__m512i; 4]) -> __m512i {
        let first = _mm512_adds_epi16(_mm512_packs_epi32(rounded[0], rounded[1]), self.zero_point);
        let second = _mm512_adds_epi16(_mm512_packs_epi32(rounded[2], rounded[3]), self.zero_point);
        let bytes = _mm512_packus_epi16(first, second);
        _mm512_min_epu8(_mm512_max_epu8(bytes, self.low), self.high)
    }

    /// [`Self::rounded`] of half as many.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub(super) fn half_rounded(&self, sums: __m256i, multipliers: __m256) -> __m256i {
        let mut t = _mm256_mul_ps(_mm256_cvtepi32_ps(sums), multipliers);
        if !self.simple {
            t = _mm256_blendv_ps(t, _mm256_mul_ps(t, _mm512_castps512_ps256(self.slope)), t);
            let [low, high] = self.limits;
            t = _mm256_min_ps(_mm256_max_ps(t, _mm512_castps512_ps256(low)), _mm512_castps512_ps256(high));
        }
        _mm256_cvtps_epi32(t)
    }

    /// [`Self::bytes`] in both halves of the smaller register.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub(super) fn half_bytes(&self, rounded: [__m256i; 4]) -> __m256i {
        let zero_point = _mm512_castsi512_si256(self.zero_point);
        let first = _mm256_adds_epi16(_mm256_packs_epi32(rounded[0], rounded[1]), zero_point);
        let second = _mm256_adds_epi16(_mm256_packs_epi32(rounded[2], rounded[3]), zero_point);
        let bytes = _mm256_packus_epi16(first, second);
        let (low, high) = (_mm512_castsi512_si256(self.low), _mm512_castsi512_si256(self.high));
        _mm256_min_epu8(_mm256_max_epu8(bytes, low), high)
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load_floats(line: &Line<f32>) -> __m512 {
    // SAFETY: a line is 64 bytes, aligned to 64.
    unsafe { _mm512_load_ps(line.0.as_ptr()) }
}

/// With registers of 32 bytes.
pub(super) struct Narrow {
    zero_point: __m256i,
    low: __m256i,
    high: __m256i,
    simple: bool,
    slope: __m256,
    limits: [__m256; 2],
}

impl Narrow {
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn new(requantise: Requantise) -> Self {
        let [low, high] = requantise.limits();
        Self {
            zero_point: _mm256_set1_epi16(i16::from(requantise.zero_point)),
            low: _mm256_set1_epi8(requantise.low.cast_signed()),
            high: _mm256_set1_epi8(requantise.high.cast_signed()),
            simple: requantise.simple,
            slope: _mm256_set1_ps(requantise.slope),
            limits: [_mm256_set1_ps(low), _mm256_set1_ps(high)],
        }
    }

    /// Steps from the zero point, of both halves of a line.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn rounded(&self, sums: [__m256i; 2], multipliers: &Line<f32>) -> [__m256i; 2] {
        let at = multipliers.0.as_ptr();
        // SAFETY: a line is 64 bytes, aligned to 64.
        let multipliers = unsafe { [_mm256_load_ps(at), _mm256_load_ps(at.add(8))] };
        [self.rounded_half(sums[0], multipliers[0]), self.rounded_half(sums[1], multipliers[1])]
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn rounded_half(&self, sums: __m256i, multipliers: __m256) -> __m256i {
        let mut t = _mm256_mul_ps(_mm256_cvtepi32_ps(sums), multipliers);
        if !self.simple {
            // The sign bit chooses; that of -0 changes nothing.
            t = _mm256_blendv_ps(t, _mm256_mul_ps(t, self.slope), t);
            t = _mm256_min_ps(_mm256_max_ps(t, self.limits[0]), self.limits[1]);
        }
        _mm256_cvtps_epi32(t)
    }

    /// The sixteen bytes of each of two lines, one after the other.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn bytes(&self, rounded: [[__m256i; 2]; 2]) -> __m256i {
        let [first, second] = rounded;
        let first = _mm256_adds_epi16(_mm256_packs_epi32(first[0], first[1]), self.zero_point);
        let second = _mm256_adds_epi16(_mm256_packs_epi32(second[0], second[1]), self.zero_point);
        // Each 128 bits hold outputs 0-3 and 8-11, or 4-7 and 12-15, of both lines.
        let bytes = _mm256_packus_epi16(first, second);
        let bytes = _mm256_min_epu8(_mm256_max_epu8(bytes, self.low), self.high);
        let order = std::arch::x86_64::_mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        std::arch::x86_64::_mm256_permutevar8x32_epi32(bytes, order)
    }
}
