//! AVX2, and AVX-512 with VNNI.

mod avx2;
mod avx2_channels;
mod rounding;
mod vnni;
mod vnni_channels;

pub(in super::super) use avx2::Avx2;
pub(in super::super) use avx2_channels::Pairs;
pub(in super::super) use vnni::Vnni;
pub(in super::super) use vnni_channels::Quads;
