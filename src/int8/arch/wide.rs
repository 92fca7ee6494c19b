//! Lane loops compiled for wider registers than every processor of the target has, and look-ups of 64 bytes at once.
//!
//! A version is the same code with other instructions. No float instruction of it rounds otherwise (FMA is left out, so
//! none are joined), so every version gives the same bits.

#![allow(unsafe_code, reason = "loads, stores, and calls after the processor was asked")]

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{
    __m512i, _mm512_loadu_si512, _mm512_mask_blend_epi8, _mm512_movepi8_mask, _mm512_permutex2var_epi8,
    _mm512_storeu_si512,
};

/// Loops that can be compiled once more. What `run` calls has to be `#[inline(always)]` too, or it stays as it is.
pub(in crate::int8) trait Work {
    fn run(self);
}

/// Which registers to use. A version beyond `Plain` exists only where the processor has its instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::int8) enum Wide {
    /// What every processor of the target has: SSE2, NEON.
    Plain,
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

/// Proof that the processor has AVX2.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::int8) struct Avx2(());

/// Proof that the processor has AVX-512 with its instructions for bytes and for shorter registers.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::int8) struct Avx512(());

impl Wide {
    /// The widest that this processor has.
    pub(in crate::int8) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
            {
                return Self::Avx512(Avx512(()));
            }
            if is_x86_feature_detected!("avx2") {
                return Self::Avx2(Avx2(()));
            }
        }
        Self::Plain
    }

    /// All that this processor has.
    #[cfg(test)]
    pub(in crate::int8) fn all() -> Vec<Self> {
        let mut all = vec![Self::Plain];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            all.push(Self::Avx2(Avx2(())));
        }
        if !all.contains(&Self::detect()) {
            all.push(Self::detect());
        }
        all
    }

    pub(in crate::int8) fn run(self, work: impl Work) {
        match self {
            Self::Plain => work.run(),
            // SAFETY: the proof exists, so the processor has AVX2.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(Avx2(())) => unsafe { avx2(work) },
            // SAFETY: the proof exists, so the processor has these parts of AVX-512.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(Avx512(())) => unsafe { avx512(work) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2(work: impl Work) {
    work.run();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn avx512(work: impl Work) {
    work.run();
}

/// How bytes are looked up in a table of 256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::int8) enum LookUp {
    /// One by one: as fast as the table instructions of NEON, which see 64 entries.
    Plain,
    #[cfg(target_arch = "x86_64")]
    Vbmi(Vbmi),
}

/// Proof that the processor has AVX-512 with its permutations of bytes.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::int8) struct Vbmi(());

impl LookUp {
    /// The best that this processor has.
    pub(in crate::int8) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vbmi")
        {
            return Self::Vbmi(Vbmi(()));
        }
        Self::Plain
    }

    /// `y = table[x]`, for slices of one length.
    pub(in crate::int8) fn run(self, table: &[u8; 256], x: &[u8], y: &mut [u8]) {
        let done = match self {
            Self::Plain => 0,
            #[cfg(target_arch = "x86_64")]
            Self::Vbmi(Vbmi(())) => {
                let (x, y) = (x.as_chunks().0, y.as_chunks_mut().0);
                // SAFETY: the proof exists, so the processor has these parts of AVX-512.
                unsafe { look_up_lines(table, x, y) };
                64 * y.len()
            }
        };
        let (blocks, rest) = y[done..].as_chunks_mut::<8>();
        let (x_blocks, x_rest) = x[done..].as_chunks::<8>();
        for (y, x) in blocks.iter_mut().zip(x_blocks) {
            // Eight in one load and one store: the look-ups themselves keep these units busy.
            let bytes = u64::from_le_bytes(*x);
            *y = std::array::from_fn(|at| table[usize::from((bytes >> (8 * at)) as u8)]);
        }
        for (y, x) in rest.iter_mut().zip(x_rest) {
            *y = table[usize::from(*x)];
        }
    }
}

/// A permutation sees half of the table; the highest bit of a byte says which half is meant.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn look_up_lines(table: &[u8; 256], x: &[[u8; 64]], y: &mut [[u8; 64]]) {
    let [a, b, c, d] = [0, 1, 2, 3].map(|quarter| load(&table.as_chunks().0[quarter]));
    for (y, x) in y.iter_mut().zip(x) {
        let x = load(x);
        let low = _mm512_permutex2var_epi8(a, x, b);
        let high = _mm512_permutex2var_epi8(c, x, d);
        let found = _mm512_mask_blend_epi8(_mm512_movepi8_mask(x), low, high);
        // SAFETY: 64 bytes that may be written; the instruction asks for no alignment.
        unsafe { _mm512_storeu_si512(y.as_mut_ptr().cast(), found) };
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn load(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: 64 bytes that may be read; the instruction asks for no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_ups_of_every_byte_and_length() {
        let table: [u8; 256] = std::array::from_fn(|at| (at * at + 3 * at) as u8 ^ (at >> 3) as u8);
        for version in [LookUp::Plain, LookUp::detect()] {
            for length in (0..=200).chain([256, 1000]) {
                for start in [0, 100, 190] {
                    let x: Vec<u8> = (start..start + length).map(|at| (at % 256) as u8).collect();
                    let mut y = vec![0; length];
                    version.run(&table, &x, &mut y);
                    let expected: Vec<u8> = x.iter().map(|x| table[usize::from(*x)]).collect();
                    assert_eq!(y, expected, "{version:?}, {length} bytes");
                }
            }
        }
    }
}
