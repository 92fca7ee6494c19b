//! Loops for several kinds of processor, and one tile of a matrix product by hand for those that have better instructions.
//!
//! Two things are decided here, once a process, and hold for every kernel:
//!
//! - *Arithmetic*: whether `a * b + c` is rounded once ([`Fused`]) or twice ([`Separate`]). One kind everywhere: the
//!   roundings of all kernels belong together.
//! - *Instructions*: [`run`] compiles plain loops once for each kind of processor ([`Work`]).
//!
//! The plain versions of a tile are the definition, and the only ones where nothing better is known. Every other version gives the
//! same bits (`tests.rs` holds them against each other). A value of a hand-written version's type exists only where the
//! processor has its instructions: that is what makes calling it safe.
//!
//! Sums of floats: the inputs are summed by [`SHORT`], and these sums by the bias. Sums of bytes are exact.

#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
mod aarch64;
mod plain;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "x86_64")]
use std::sync::OnceLock;

use super::{LANES, add_lanes};

pub(super) use plain::{Plain, PlainInt8};

/// Inputs summed on their own before they join the whole: two levels of sums lose less to rounding than one long one.
const SHORT: usize = 64;

/// Inputs (floats, or groups of bytes) of a row that are worked on together; a longer row is taken block after block.
pub(super) const BLOCK: usize = 256;
const _: () = assert!(BLOCK.is_multiple_of(SHORT), "blocks must not show in the sums");

/// A block of one row. The cache line more keeps the rows of a tile from contending for the same places of the cache.
pub(super) type Piece<T> = [T; BLOCK + LANES];

/// What a row of bytes is filled up to, a multiple of: two groups of four.
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
    /// Up to twelve rows of two panels, or one row of eight panels.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "for registers as wide as a panel"))]
    Large,
}

/// How `a * b + c` is rounded, and what holds [`LANES`] sums side by side.
pub(super) trait Arithmetic {
    type Lanes: Copy;

    fn mul_add(a: f32, b: f32, c: f32) -> f32;

    fn zeros() -> Self::Lanes;

    /// `sums[i] + a[i] * b[i]`, rounded as [`Arithmetic::mul_add`].
    fn mul_add_lanes(a: &[f32; LANES], b: &[f32; LANES], sums: Self::Lanes) -> Self::Lanes;

    /// The sum of the lanes: the upper half is added to the lower one until one is left.
    fn sum(lanes: Self::Lanes) -> f32;
}

/// In one rounding: for processors that have the instruction.
#[cfg_attr(
    all(not(any(target_feature = "fma", target_arch = "aarch64")), not(test)),
    allow(dead_code, reason = "the definition of what the processor's own lanes do here")
)]
pub(super) struct Fused;

/// In two roundings: for the others, where one would be a call of a function.
#[cfg_attr(
    all(any(target_feature = "fma", target_arch = "aarch64"), not(test)),
    allow(dead_code, reason = "this target rounds once")
)]
pub(super) struct Separate;

/// Lanes as an array, for both roundings.
macro_rules! plain_lanes {
    () => {
        type Lanes = [f32; LANES];

        #[inline(always)]
        fn zeros() -> Self::Lanes {
            [0.0; LANES]
        }

        #[inline(always)]
        fn mul_add_lanes(a: &[f32; LANES], b: &[f32; LANES], mut sums: Self::Lanes) -> Self::Lanes {
            for lane in 0..LANES {
                sums[lane] = Self::mul_add(a[lane], b[lane], sums[lane]);
            }
            sums
        }

        #[inline(always)]
        fn sum(lanes: Self::Lanes) -> f32 {
            add_lanes(lanes)
        }
    };
}

impl Arithmetic for Fused {
    plain_lanes!();

    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
}

impl Arithmetic for Separate {
    plain_lanes!();

    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }
}

/// What the target's baseline has.
#[cfg(any(target_feature = "fma", target_arch = "aarch64"))]
type Baseline = Fused;
#[cfg(not(any(target_feature = "fma", target_arch = "aarch64")))]
type Baseline = Separate;

/// Loops that [`run`] compiles for each kind of processor: everything in it is `inline(always)`, or it would be compiled
/// for the baseline.
pub(super) trait Work {
    type Output;

    fn run<A: Arithmetic>(self) -> Self::Output;
}

/// Does the work with the best instructions that this processor has.
#[inline]
pub(super) fn run<W: Work>(work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    match FloatKernel::detect() {
        FloatKernel::Plain => {}
        FloatKernel::Avx2(proof) => return proof.run(work),
        FloatKernel::Avx512(proof) => return proof.run(work),
    }
    work.run::<Baseline>()
}

/// The work as every kind of processor that this one is does it, and first as the definition with fused arithmetic does.
#[cfg(test)]
pub(super) fn each_version<W: Work>(mut work: impl FnMut() -> W) -> Vec<W::Output> {
    #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut, reason = "there is one version only"))]
    let mut outputs = vec![work().run::<Fused>()];
    #[cfg(target_arch = "x86_64")]
    {
        outputs.extend(x86_64::Avx2::detect().map(|proof| proof.run(work())));
        outputs.extend(x86_64::Avx512::detect().map(|proof| proof.run(work())));
    }
    outputs
}

/// A tile of floats.
pub(super) trait FloatTile: Copy {
    const SHAPE: Shape;

    /// Adds `sum_i x[r][i] panels[p][i]` to `totals[r][p]`, i over the panels, which have one length up to [`BLOCK`].
    fn tile<const ROWS: usize, const PANELS: usize>(
        self,
        x: &[Piece<f32>; ROWS],
        panels: [&[Line<f32>]; PANELS],
        totals: &mut Sums<f32, ROWS, PANELS>,
    );
}

/// A tile of bytes.
pub(super) trait Int8Tile: Copy {
    const SHAPE: Shape;
    /// Added to each byte of a row on the way, for instructions that take no negative ones.
    const OFFSET: i32;

    /// Adds `sum_i (x[r][i] + OFFSET) panels[p][i]` to `sums[r][p]`, exactly: in `panels` there is no -128. i is over
    /// the panels, which have one length up to [`BLOCK`], an even number of groups.
    fn tile<const ROWS: usize, const PANELS: usize>(
        self,
        x: &[Piece<Group>; ROWS],
        panels: [&[Line<Group>]; PANELS],
        sums: &mut Sums<i32, ROWS, PANELS>,
    );
}

/// The versions for floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FloatKernel {
    /// Lane loops through [`run`]. On aarch64 they become the vector instructions that one would write by hand.
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
    #[inline]
    pub(super) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            static FOUND: OnceLock<FloatKernel> = OnceLock::new();
            *FOUND.get_or_init(|| {
                let narrower = || x86_64::Avx2::detect().map_or(Self::Plain, Self::Avx2);
                x86_64::Avx512::detect().map_or_else(narrower, Self::Avx512)
            })
        }
        #[cfg(not(target_arch = "x86_64"))]
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
