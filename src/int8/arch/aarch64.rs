//! NEON: with the dot product instructions of `ARMv8.2` and without.

mod channels;
mod dense;
mod rounding;

pub(in super::super) use channels::SignedTaps;

/// Proof that the processor has NEON, as every 64-bit ARM does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Neon(());

/// Proof that the processor has the dot product instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct DotProduct(());

impl Neon {
    pub(in super::super) fn detect() -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Self(()))
    }
}

impl DotProduct {
    pub(in super::super) fn detect() -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("dotprod").then_some(Self(()))
    }
}
