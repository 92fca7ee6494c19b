//! Convolutions of bytes, plain and hand-written for processors that have better instructions.
//!
//! The plain versions are the definition, and the only ones where nothing better is known. Every other version gives the
//! same bytes and is chosen when weights are packed, never later. A value of a hand-written version's type exists only
//! where the processor has its instructions: that is what makes calling it safe. Sums are exact in 32 bits (what does not
//! fit wraps around, everywhere alike).

#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
mod aarch64;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "parts for hand-written versions"))]
mod channelwise;
#[cfg_attr(
    not(any(target_arch = "x86_64", all(target_arch = "aarch64", target_endian = "little"))),
    allow(dead_code, reason = "parts for hand-written versions")
)]
mod dense;
mod plain;
mod wide;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub(super) use channelwise::Bank;
pub(super) use dense::{Filter, Shape};
pub(super) use wide::{LookUp, Wide, Work};

use super::requantise::Requantise;

/// Outputs or channels of one line.
pub(super) const LANES: usize = 16;

/// Sixteen values on a cache line of their own.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
pub(super) struct Line<T>(pub(super) [T; LANES]);

/// Four neighbouring inputs' weights.
pub(super) type Group = [i8; 4];

/// Where inputs and outputs lie, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    /// What an output reads: runs below each other and side by side, so many groups of four bytes each.
    pub(super) runs: [usize; 2],
    pub(super) groups: usize,
    /// Outputs.
    pub(super) height: usize,
    pub(super) width: usize,
    /// The first tap of output (0, 0), and the steps to the outputs below and right.
    pub(super) start: usize,
    pub(super) row: usize,
    pub(super) pixel: usize,
    /// The first channel of output (0, 0), and the steps to the outputs below and right.
    pub(super) to_start: usize,
    pub(super) to_row: usize,
    pub(super) to_pixel: usize,
    /// From a run to the ones below and right.
    pub(super) tap_row: usize,
    pub(super) tap_column: usize,
}

impl Geometry {
    /// The byte behind the last one read, if `bytes` are read of each run; none where it is no number.
    fn end_of_reads(&self, bytes: usize) -> Option<usize> {
        let steps = [(self.height, self.row), (self.width, self.pixel)];
        let taps = [(self.runs[0], self.tap_row), (self.runs[1], self.tap_column)];
        end(self.start, steps.into_iter().chain(taps), bytes)
    }

    /// The byte behind the last one written, if `bytes` are written for each output; none where it is no number.
    fn end_of_writes(&self, bytes: usize) -> Option<usize> {
        end(self.to_start, [(self.height, self.to_row), (self.width, self.to_pixel)].into_iter(), bytes)
    }
}

/// `start + sum (count - 1) * step + bytes`.
fn end(start: usize, steps: impl Iterator<Item = (usize, usize)>, bytes: usize) -> Option<usize> {
    let mut end = start.checked_add(bytes)?;
    for (count, step) in steps {
        end = end.checked_add(count.saturating_sub(1).checked_mul(step)?)?;
    }
    Some(end)
}

/// The versions of the dense convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dense {
    Plain,
    #[cfg(target_arch = "x86_64")]
    Avx2(x86_64::Avx2),
    #[cfg(target_arch = "x86_64")]
    Vnni(x86_64::Vnni),
    #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
    Neon(aarch64::Neon),
    #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
    DotProduct(aarch64::DotProduct),
}

impl Dense {
    /// The best version that this processor runs.
    pub(super) fn detect() -> Self {
        Self::all().pop().unwrap_or(Self::Plain)
    }

    /// All versions that this processor runs, the best last.
    pub(super) fn all() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        let found = [x86_64::Avx2::detect().map(Self::Avx2), x86_64::Vnni::detect().map(Self::Vnni)];
        #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
        let found = [aarch64::Neon::detect().map(Self::Neon), aarch64::DotProduct::detect().map(Self::DotProduct)];
        #[cfg(not(any(target_arch = "x86_64", all(target_arch = "aarch64", target_endian = "little"))))]
        let found: [Option<Self>; 0] = [];
        std::iter::once(Self::Plain).chain(found.into_iter().flatten()).collect()
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Vnni(_) => "avx512-vnni",
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Self::Neon(_) => "neon",
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Self::DotProduct(_) => "neon-dotprod",
        }
    }

    /// Added to each input byte on the way, for instructions that take signed ones only.
    fn offset(self) -> i32 {
        match self {
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Self::Neon(_) | Self::DotProduct(_) => -128,
            _ => 0,
        }
    }

    /// The widest block of panels that a tile takes.
    fn widest(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Vnni(_) => 4,
            _ => 1,
        }
    }

    /// Bytes to bytes.
    pub(super) fn bytes(self, filter: &Filter, geometry: &Geometry, requantise: Requantise, x: &[u8], y: &mut [u8]) {
        match self {
            Self::Plain => plain::bytes(filter, geometry, requantise, x, y),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(version) => dense::bytes(version, filter, geometry, requantise, x, y),
            #[cfg(target_arch = "x86_64")]
            Self::Vnni(version) => dense::bytes(version, filter, geometry, requantise, x, y),
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Self::Neon(version) => dense::bytes(version, filter, geometry, requantise, x, y),
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Self::DotProduct(version) => dense::bytes(version, filter, geometry, requantise, x, y),
        }
    }

    /// Bytes to floats `[outputs, height, width]`: `sum * multiplier`.
    pub(super) fn floats(self, filter: &Filter, geometry: &Geometry, multipliers: &[f32], x: &[u8], y: &mut [f32]) {
        match self {
            Self::Plain => plain::floats(filter, geometry, multipliers, x, y),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(version) => dense::floats(version, filter, geometry, multipliers, x, y),
            #[cfg(target_arch = "x86_64")]
            Self::Vnni(version) => dense::floats(version, filter, geometry, multipliers, x, y),
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Self::Neon(version) => dense::floats(version, filter, geometry, multipliers, x, y),
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Self::DotProduct(version) => dense::floats(version, filter, geometry, multipliers, x, y),
        }
    }
}

/// The versions of the depthwise convolution, with the weights as each wants them.
#[derive(Clone, Debug)]
pub(super) enum Channelwise {
    Plain,
    #[cfg(target_arch = "x86_64")]
    Avx2(x86_64::Pairs),
    #[cfg(target_arch = "x86_64")]
    Vnni(x86_64::Quads),
    #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
    Neon(aarch64::SignedTaps),
}

impl Channelwise {
    /// The best version that this processor runs.
    pub(super) fn detect(bank: &Bank) -> Self {
        Self::all(bank).pop().unwrap_or(Self::Plain)
    }

    /// All versions that this processor runs, the best last.
    #[cfg_attr(
        not(any(target_arch = "x86_64", all(target_arch = "aarch64", target_endian = "little"))),
        expect(unused_variables, reason = "the plain loops are the one version")
    )]
    pub(super) fn all(bank: &Bank) -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        let found = [x86_64::Pairs::new(bank).map(Self::Avx2), x86_64::Quads::new(bank).map(Self::Vnni)];
        #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
        let found = [aarch64::SignedTaps::new(bank).map(Self::Neon)];
        #[cfg(not(any(target_arch = "x86_64", all(target_arch = "aarch64", target_endian = "little"))))]
        let found: [Option<Self>; 0] = [];
        std::iter::once(Self::Plain).chain(found.into_iter().flatten()).collect()
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Plain => "plain",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Vnni(_) => "avx512-vnni",
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Self::Neon(_) => "neon",
        }
    }

    /// Bytes of the weights beyond those of the bank.
    pub(super) fn packed_bytes(&self) -> usize {
        match self {
            Self::Plain => 0,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(packed) => packed.bytes(),
            #[cfg(target_arch = "x86_64")]
            Self::Vnni(packed) => packed.bytes(),
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Self::Neon(packed) => packed.bytes(),
        }
    }

    /// Bytes to bytes.
    pub(super) fn bytes(&self, bank: &Bank, geometry: &Geometry, requantise: Requantise, x: &[u8], y: &mut [u8]) {
        match self {
            Self::Plain => plain::channelwise(bank, geometry, requantise, x, y),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(packed) => packed.run(bank, geometry, requantise, x, y),
            #[cfg(target_arch = "x86_64")]
            Self::Vnni(packed) => packed.run(bank, geometry, requantise, x, y),
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Self::Neon(packed) => packed.run(bank, geometry, requantise, x, y),
        }
    }
}
