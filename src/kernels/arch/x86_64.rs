//! SSE2, AVX2, AVX-512, and its VNNI.

#![allow(unsafe_code, reason = "intrinsics: loads, stores, and calls after the processor was asked")]

use std::arch::x86_64::{
    __m128i, __m256, __m256i, __m512, __m512i, _mm_add_epi32, _mm_add_ps, _mm_add_ss, _mm_cvtsi128_si32, _mm_cvtss_f32,
    _mm_load_si128, _mm_madd_epi16, _mm_movehl_ps, _mm_set1_epi32, _mm_setzero_si128, _mm_shuffle_epi32,
    _mm_shuffle_ps, _mm_srai_epi16, _mm_unpackhi_epi8, _mm_unpacklo_epi8, _mm256_abs_epi8, _mm256_add_epi32,
    _mm256_add_ps, _mm256_castps256_ps128, _mm256_extractf128_ps, _mm256_fmadd_ps, _mm256_load_ps, _mm256_load_si256,
    _mm256_loadu_ps, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps,
    _mm256_setzero_ps, _mm256_setzero_si256, _mm256_sign_epi8, _mm256_store_ps, _mm256_store_si256, _mm512_add_ps,
    _mm512_castps512_ps256, _mm512_dpbusd_epi32, _mm512_extractf32x8_ps, _mm512_fmadd_ps, _mm512_load_ps,
    _mm512_load_si512, _mm512_loadu_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512,
    _mm512_store_ps, _mm512_store_si512,
};

use super::super::LANES;
use super::{Arithmetic, BLOCK, FloatTile, Group, Int8Tile, Line, Piece, SHORT, Shape, Sums, Work};

/// Every 64-bit x86 has SSE2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Sse2;

/// Proof that the processor has AVX2 and FMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Avx2(());

/// Proof that the processor has AVX-512, and AVX2 and FMA with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Avx512(());

/// Proof that the processor has AVX-512 with VNNI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Avx512Vnni(());

impl Avx2 {
    pub(in super::super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
    }

    /// The work, compiled for this processor.
    #[expect(clippy::unused_self, reason = "it is the proof")]
    #[inline]
    pub(super) fn run<W: Work>(self, work: W) -> W::Output {
        #[target_feature(enable = "avx2,fma")]
        fn compiled<W: Work>(work: W) -> W::Output {
            work.run::<Narrow>()
        }
        // SAFETY: `self` exists, so the processor has AVX2 and FMA.
        unsafe { compiled(work) }
    }
}

impl Avx512 {
    pub(in super::super) fn detect() -> Option<Self> {
        let narrower = Avx2::detect().is_some();
        let all = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        (narrower && all).then_some(Self(()))
    }

    /// The work, compiled for this processor.
    #[expect(clippy::unused_self, reason = "it is the proof")]
    #[inline]
    pub(super) fn run<W: Work>(self, work: W) -> W::Output {
        #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
        fn compiled<W: Work>(work: W) -> W::Output {
            work.run::<Wide>()
        }
        // SAFETY: `self` exists, so the processor has these instructions.
        unsafe { compiled(work) }
    }
}

impl Avx512Vnni {
    pub(in super::super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni")).then_some(Self(()))
    }
}

/// [`Fused`](super::Fused) within [`Avx2::run`].
struct Narrow;

/// [`Fused`](super::Fused) within [`Avx512::run`].
struct Wide;

impl Arithmetic for Narrow {
    type Lanes = [__m256; 2];

    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }

    #[inline(always)]
    fn zeros() -> Self::Lanes {
        // SAFETY: only within `Avx2::run`, where the processor has AVX2.
        unsafe { [_mm256_setzero_ps(); 2] }
    }

    #[inline(always)]
    fn mul_add_lanes(a: &[f32; LANES], b: &[f32; LANES], sums: Self::Lanes) -> Self::Lanes {
        let (a, b) = (a.as_ptr(), b.as_ptr());
        // SAFETY: only within `Avx2::run`, where the processor has FMA; sixteen floats are twice eight.
        unsafe {
            [
                _mm256_fmadd_ps(_mm256_loadu_ps(a), _mm256_loadu_ps(b), sums[0]),
                _mm256_fmadd_ps(_mm256_loadu_ps(a.add(8)), _mm256_loadu_ps(b.add(8)), sums[1]),
            ]
        }
    }

    #[inline(always)]
    fn sum(lanes: Self::Lanes) -> f32 {
        // SAFETY: only within `Avx2::run`, where the processor has AVX2.
        unsafe { sum_of_eight(_mm256_add_ps(lanes[0], lanes[1])) }
    }
}

impl Arithmetic for Wide {
    type Lanes = __m512;

    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }

    #[inline(always)]
    fn zeros() -> Self::Lanes {
        // SAFETY: only within `Avx512::run`, where the processor has AVX-512.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    fn mul_add_lanes(a: &[f32; LANES], b: &[f32; LANES], sums: Self::Lanes) -> Self::Lanes {
        // SAFETY: only within `Avx512::run`, where the processor has AVX-512; a register is sixteen floats.
        unsafe { _mm512_fmadd_ps(_mm512_loadu_ps(a.as_ptr()), _mm512_loadu_ps(b.as_ptr()), sums) }
    }

    #[inline(always)]
    fn sum(lanes: Self::Lanes) -> f32 {
        // SAFETY: only within `Avx512::run`, where the processor has AVX-512.
        unsafe { sum_of_eight(_mm256_add_ps(_mm512_castps512_ps256(lanes), _mm512_extractf32x8_ps::<1>(lanes))) }
    }
}

/// As [`Arithmetic::sum`], from eight on.
#[inline]
#[target_feature(enable = "avx2")]
fn sum_of_eight(lanes: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps::<1>(lanes));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
}

impl FloatTile for Avx2 {
    const SHAPE: Shape = Shape::Medium;

    fn tile<const ROWS: usize, const PANELS: usize>(
        self,
        x: &[Piece<f32>; ROWS],
        panels: [&[Line<f32>]; PANELS],
        totals: &mut Sums<f32, ROWS, PANELS>,
    ) {
        // SAFETY: `self` exists, so the processor has AVX2 and FMA.
        unsafe { float_tile(x, panels, totals) }
    }
}

impl FloatTile for Avx512 {
    const SHAPE: Shape = Shape::Large;

    fn tile<const ROWS: usize, const PANELS: usize>(
        self,
        x: &[Piece<f32>; ROWS],
        panels: [&[Line<f32>]; PANELS],
        totals: &mut Sums<f32, ROWS, PANELS>,
    ) {
        // SAFETY: `self` exists, so the processor has AVX-512.
        unsafe { wide_float_tile(x, panels, totals) }
    }
}

impl Int8Tile for Sse2 {
    const SHAPE: Shape = Shape::Small;
    const OFFSET: i32 = 0;

    fn tile<const ROWS: usize, const PANELS: usize>(
        self,
        x: &[Piece<Group>; ROWS],
        panels: [&[Line<Group>]; PANELS],
        sums: &mut Sums<i32, ROWS, PANELS>,
    ) {
        for (x, sums) in x.iter().zip(sums) {
            for (panel, total) in panels.into_iter().zip(sums) {
                // SAFETY: the target has SSE2.
                unsafe { sse2_row(x, panel, total) }
            }
        }
    }
}

impl Int8Tile for Avx2 {
    const SHAPE: Shape = Shape::Medium;
    const OFFSET: i32 = 0;

    fn tile<const ROWS: usize, const PANELS: usize>(
        self,
        x: &[Piece<Group>; ROWS],
        panels: [&[Line<Group>]; PANELS],
        sums: &mut Sums<i32, ROWS, PANELS>,
    ) {
        // SAFETY: `self` exists, so the processor has AVX2.
        unsafe { avx2_tile(x, panels, sums) }
    }
}

impl Int8Tile for Avx512Vnni {
    const SHAPE: Shape = Shape::Large;
    const OFFSET: i32 = 128;

    fn tile<const ROWS: usize, const PANELS: usize>(
        self,
        x: &[Piece<Group>; ROWS],
        panels: [&[Line<Group>]; PANELS],
        sums: &mut Sums<i32, ROWS, PANELS>,
    ) {
        // SAFETY: `self` exists, so the processor has AVX-512 with VNNI.
        unsafe { vnni_tile(x, panels, sums) }
    }
}

#[target_feature(enable = "avx2,fma")]
fn float_tile<const ROWS: usize, const PANELS: usize>(
    x: &[Piece<f32>; ROWS],
    panels: [&[Line<f32>]; PANELS],
    totals: &mut Sums<f32, ROWS, PANELS>,
) {
    let inputs = panels.first().map_or(0, |panel| panel.len().min(BLOCK));
    let panels = cut(panels, inputs);
    for short in (0..inputs).step_by(SHORT) {
        let mut sums = [[[_mm256_setzero_ps(); 2]; PANELS]; ROWS];
        for at in short..inputs.min(short + SHORT) {
            for panel in 0..PANELS {
                let weights = load_floats(&panels[panel][at]);
                for row in 0..ROWS {
                    let value = _mm256_set1_ps(x[row][at]);
                    for half in 0..2 {
                        sums[row][panel][half] = _mm256_fmadd_ps(value, weights[half], sums[row][panel][half]);
                    }
                }
            }
        }
        for (total, sums) in totals.as_flattened_mut().iter_mut().zip(sums.as_flattened()) {
            let before = load_floats(total);
            store_floats([_mm256_add_ps(before[0], sums[0]), _mm256_add_ps(before[1], sums[1])], total);
        }
    }
}

/// [`float_tile`] with a whole line in one register.
#[target_feature(enable = "avx512f")]
fn wide_float_tile<const ROWS: usize, const PANELS: usize>(
    x: &[Piece<f32>; ROWS],
    panels: [&[Line<f32>]; PANELS],
    totals: &mut Sums<f32, ROWS, PANELS>,
) {
    let inputs = panels.first().map_or(0, |panel| panel.len().min(BLOCK));
    let panels = cut(panels, inputs);
    for short in (0..inputs).step_by(SHORT) {
        let mut sums = [[_mm512_setzero_ps(); PANELS]; ROWS];
        for at in short..inputs.min(short + SHORT) {
            let mut weights = [_mm512_setzero_ps(); PANELS];
            for panel in 0..PANELS {
                weights[panel] = load_wide(&panels[panel][at]);
            }
            for row in 0..ROWS {
                let value = _mm512_set1_ps(x[row][at]);
                for panel in 0..PANELS {
                    sums[row][panel] = _mm512_fmadd_ps(value, weights[panel], sums[row][panel]);
                }
            }
        }
        for (total, sums) in totals.as_flattened_mut().iter_mut().zip(sums.as_flattened()) {
            store_wide(_mm512_add_ps(load_wide(total), *sums), total);
        }
    }
}

/// One row and one panel: bytes become 16 bits, `madd` adds two products to 32.
#[target_feature(enable = "sse2")]
fn sse2_row(x: &[Group], panel: &[Line<Group>], total: &mut Line<i32>) {
    // Bytes to 16 bits: each twice side by side, then the upper one moves down with its sign.
    let low = |bytes| _mm_srai_epi16::<8>(_mm_unpacklo_epi8(bytes, bytes));
    let high = |bytes| _mm_srai_epi16::<8>(_mm_unpackhi_epi8(bytes, bytes));
    let mut sums = [_mm_setzero_si128(); 8];
    for (x, line) in x.iter().zip(panel) {
        let value = low(_mm_set1_epi32(word(*x)));
        let at = std::ptr::from_ref(line).cast::<__m128i>();
        for quarter in 0..4 {
            // SAFETY: a line is four times 16 bytes, aligned to 64.
            let weights = unsafe { _mm_load_si128(at.add(quarter)) };
            sums[2 * quarter] = _mm_add_epi32(sums[2 * quarter], _mm_madd_epi16(low(weights), value));
            sums[2 * quarter + 1] = _mm_add_epi32(sums[2 * quarter + 1], _mm_madd_epi16(high(weights), value));
        }
    }
    // Two sums an output, side by side.
    for (sums, totals) in sums.into_iter().zip(total.0.as_chunks_mut::<2>().0) {
        let other = _mm_shuffle_epi32::<0b10_11_00_01>(sums);
        let sums = _mm_add_epi32(sums, other);
        totals[0] += _mm_cvtsi128_si32(sums);
        totals[1] += _mm_cvtsi128_si32(_mm_shuffle_epi32::<0b10>(sums));
    }
}

/// `maddubs` multiplies unsigned by signed bytes and adds neighbours in 16 bits, saturating. Here it is exact: with `|x|` and
/// `sign(x) w` the sum of two products is at most 2 * 128 * 127 = 32512, as no weight is -128.
#[target_feature(enable = "avx2")]
fn avx2_tile<const ROWS: usize, const PANELS: usize>(
    x: &[Piece<Group>; ROWS],
    panels: [&[Line<Group>]; PANELS],
    totals: &mut Sums<i32, ROWS, PANELS>,
) {
    let groups = panels.first().map_or(0, |panel| panel.len().min(BLOCK));
    let panels = cut(panels, groups);
    let ones = _mm256_set1_epi16(1);
    let mut sums = [[[_mm256_setzero_si256(); 2]; PANELS]; ROWS];
    for (sums, total) in sums.as_flattened_mut().iter_mut().zip(totals.as_flattened()) {
        *sums = load_integers(total);
    }
    for at in 0..groups {
        for panel in 0..PANELS {
            let weights = load_integers(&panels[panel][at]);
            for row in 0..ROWS {
                let value = _mm256_set1_epi32(word(x[row][at]));
                let size = _mm256_abs_epi8(value);
                for half in 0..2 {
                    let pairs = _mm256_maddubs_epi16(size, _mm256_sign_epi8(weights[half], value));
                    let products = _mm256_madd_epi16(pairs, ones);
                    sums[row][panel][half] = _mm256_add_epi32(sums[row][panel][half], products);
                }
            }
        }
    }
    for (total, sums) in totals.as_flattened_mut().iter_mut().zip(sums.as_flattened()) {
        store_integers(*sums, total);
    }
}

/// `dpbusd` multiplies unsigned by signed bytes and adds four products to 32 bits; nothing saturates. Bytes from -128 become
/// bytes from 0 by their highest bit.
#[target_feature(enable = "avx512f,avx512vnni")]
fn vnni_tile<const ROWS: usize, const PANELS: usize>(
    x: &[Piece<Group>; ROWS],
    panels: [&[Line<Group>]; PANELS],
    totals: &mut Sums<i32, ROWS, PANELS>,
) {
    let groups = panels.first().map_or(0, |panel| panel.len().min(BLOCK));
    let panels = cut(panels, groups);
    let mut sums = [[_mm512_setzero_si512(); PANELS]; ROWS];
    for (sums, total) in sums.as_flattened_mut().iter_mut().zip(totals.as_flattened()) {
        *sums = load_line(total);
    }
    for at in 0..groups {
        let mut weights = [_mm512_setzero_si512(); PANELS];
        for panel in 0..PANELS {
            weights[panel] = load_line(&panels[panel][at]);
        }
        for row in 0..ROWS {
            let value = _mm512_set1_epi32(word(x[row][at]) ^ 0x8080_8080_u32.cast_signed());
            for panel in 0..PANELS {
                sums[row][panel] = _mm512_dpbusd_epi32(sums[row][panel], value, weights[panel]);
            }
        }
    }
    for (total, sums) in totals.as_flattened_mut().iter_mut().zip(sums.as_flattened()) {
        store_line(*sums, total);
    }
}

/// Panels of one length, which the compiler knows from here on.
#[inline(always)]
fn cut<T, const PANELS: usize>(mut panels: [&[T]; PANELS], length: usize) -> [&[T]; PANELS] {
    for panel in &mut panels {
        *panel = &panel[..length];
    }
    panels
}

/// The four bytes of a group in one number.
#[inline]
fn word(group: Group) -> i32 {
    i32::from_le_bytes(group.map(i8::cast_unsigned))
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_floats(line: &Line<f32>) -> [__m256; 2] {
    let at = line.0.as_ptr();
    // SAFETY: a line is 64 bytes, aligned to 64.
    unsafe { [_mm256_load_ps(at), _mm256_load_ps(at.add(8))] }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store_floats(values: [__m256; 2], line: &mut Line<f32>) {
    let at = line.0.as_mut_ptr();
    // SAFETY: a line is 64 bytes, aligned to 64.
    unsafe {
        _mm256_store_ps(at, values[0]);
        _mm256_store_ps(at.add(8), values[1]);
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_wide(line: &Line<f32>) -> __m512 {
    // SAFETY: a line is 64 bytes, aligned to 64.
    unsafe { _mm512_load_ps(line.0.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store_wide(values: __m512, line: &mut Line<f32>) {
    // SAFETY: a line is 64 bytes, aligned to 64.
    unsafe { _mm512_store_ps(line.0.as_mut_ptr(), values) }
}

/// What a line of whole numbers consists of: four bytes each, all patterns allowed.
trait Integer {}
impl Integer for i32 {}
impl Integer for Group {}

#[inline]
#[target_feature(enable = "avx2")]
fn load_integers<T: Integer>(line: &Line<T>) -> [__m256i; 2] {
    let at = std::ptr::from_ref(line).cast::<__m256i>();
    // SAFETY: a line is 64 bytes, aligned to 64.
    unsafe { [_mm256_load_si256(at), _mm256_load_si256(at.add(1))] }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store_integers(values: [__m256i; 2], line: &mut Line<i32>) {
    let at = std::ptr::from_mut(line).cast::<__m256i>();
    // SAFETY: a line is 64 bytes, aligned to 64.
    unsafe {
        _mm256_store_si256(at, values[0]);
        _mm256_store_si256(at.add(1), values[1]);
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_line<T: Integer>(line: &Line<T>) -> __m512i {
    // SAFETY: a line is 64 bytes, aligned to 64.
    unsafe { _mm512_load_si512(line.0.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store_line(values: __m512i, line: &mut Line<i32>) {
    // SAFETY: a line is 64 bytes, aligned to 64.
    unsafe { _mm512_store_si512(line.0.as_mut_ptr().cast(), values) }
}
