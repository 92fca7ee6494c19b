//! Lane loops compiled for wider registers than every processor of the target has.
//!
//! A version is the same code with other instructions. No float instruction of it rounds otherwise (FMA is left out, so
//! none are joined), so every version gives the same bits.

#![allow(unsafe_code, reason = "calls of functions for better processors, after the processor was asked")]

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
