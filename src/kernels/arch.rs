//! One tile of a matrix product, plain and hand-written for processors that have better instructions.
//!
//! The plain versions are the definition, and the only ones where nothing better is known. Every other version gives the
//! same bits (`tests.rs` holds them against each other) and is chosen when a matrix is packed, never later. A value of a
//! hand-written version's type exists only where the processor has its instructions: that is what makes calling it safe.
//!
//! Sums of floats: the inputs are summed by 16, these sums by 8, and those by the bias. Sums of bytes are exact.

#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
mod aarch64;
mod plain;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86_64;

use super::LANES;

pub(super) use plain::{Plain, PlainInt8};

/// Inputs summed on their own before they join the next larger sum: three levels of short sums lose less to rounding than
/// one long one.
const SHORT: usize = 16;
const LONG: usize = 8 * SHORT;

/// What a row of bytes is filled up to a multiple of: two groups of four.
pub(super) const FILLED: usize = 8;

/// Sixteen values of four bytes, on a cache line of their own.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
pub(super) struct Line<T>(pub(super) [T; LANES]);

/// Four neighbouring inputs as bytes.
pub(super) type Group = [i8; 4];

/// Sums of one tile: of each row for each panel.
pub(super) type Sums<T, const ROWS: usize, const PANELS: usize> = [[Line<T>; PANELS]; ROWS];

/// Which tiles suit a version: as many sums as its registers hold, and enough to hide the latency of an addition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Two rows of one panel.
    Small,
    /// Four rows of one panel, or one row of four panels.
    Medium,
    /// Four rows of two panels, or one row of eight panels.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "for registers as wide as a panel"))]
    Large,
}

/// A tile of floats.
pub(super) trait FloatTile: Copy {
    const SHAPE: Shape;

    /// Adds `sum_i x[r][i] panels[p][i]` to `totals[r][p]`. Rows and panels have one length, the number of inputs.
    fn tile<const ROWS: usize, const PANELS: usize>(
        self,
        x: [&[f32]; ROWS],
        panels: [&[Line<f32>]; PANELS],
        totals: &mut Sums<f32, ROWS, PANELS>,
    );
}

/// A tile of bytes.
pub(super) trait Int8Tile: Copy {
    const SHAPE: Shape;
    /// Added to each byte of a row on the way, for instructions that take no negative ones.
    const OFFSET: i32;

    /// Adds `sum_i (x[r][i] + OFFSET) panels[p][i]` to `sums[r][p]`, exactly: in `panels` there is no -128. Rows and panels
    /// have one length, an even number of groups.
    fn tile<const ROWS: usize, const PANELS: usize>(
        self,
        x: [&[Group]; ROWS],
        panels: [&[Line<Group>]; PANELS],
        sums: &mut Sums<i32, ROWS, PANELS>,
    );
}

/// The versions for floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FloatKernel {
    /// Lane loops. On aarch64 they become the vector instructions that one would write by hand.
    Plain,
    #[cfg(target_arch = "x86_64")]
    Avx2(x86_64::Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(x86_64::Avx512),
}

/// The versions for bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Int8Kernel {
    Plain,
    #[cfg(target_arch = "x86_64")]
    Sse2(x86_64::Sse2),
    #[cfg(target_arch = "x86_64")]
    Avx2(x86_64::Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni(x86_64::Avx512Vnni),
    #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
    Neon(aarch64::Neon),
    #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
    DotProduct(aarch64::DotProduct),
}

impl FloatKernel {
    /// The best version that this processor runs.
    pub(super) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if let Some(found) = x86_64::Avx512::detect() {
                return Self::Avx512(found);
            }
            if let Some(found) = x86_64::Avx2::detect() {
                return Self::Avx2(found);
            }
        }
        Self::Plain
    }
}

impl Int8Kernel {
    /// The best version that this processor runs.
    pub(super) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if let Some(found) = x86_64::Avx512Vnni::detect() {
                return Self::Avx512Vnni(found);
            }
            x86_64::Avx2::detect().map_or(Self::Sse2(x86_64::Sse2), Self::Avx2)
        }
        #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
        {
            aarch64::DotProduct::detect().map_or(Self::Neon(aarch64::Neon::new()), Self::DotProduct)
        }
        #[cfg(not(any(target_arch = "x86_64", all(target_arch = "aarch64", target_endian = "little"))))]
        Self::Plain
    }
}
