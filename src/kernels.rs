//! Arithmetic only: slices in, slices out, no word of the model.
//!
//! Every kernel is a safe loop over fixed lanes that the compiler turns into vector instructions, once for each kind of
//! processor; which of them runs, and whether `a * b + c` is rounded once or twice, is found out when the program starts
//! (`arch`). Only the one that costs, [`Linear`], has hand-written versions beside it, which give the same bits.
//! The order of additions is part of each kernel, so a result depends
//! neither on how many rows are worked on together nor on the time of day. Each kernel has a plain `f64`
//! twin in its tests.

#![allow(
    clippy::inline_always,
    reason = "a loop is compiled for a processor only where it is inlined: see `arch::Work`"
)]
#![allow(
    clippy::needless_range_loop,
    reason = "loops over lanes become vector instructions only in their simplest form"
)]

mod activation;
mod arch;
mod assignment;
mod attention;
mod dot;
mod linear;
mod norm;
#[cfg(test)]
mod reference;
mod top_k;

pub use activation::gelu;
pub use assignment::Assignment;
pub use attention::Attention;
pub use dot::{add_scaled, dot, dots};
pub use linear::Linear;
pub use norm::{BatchNorm, l2_normalise, layer_norm, length};
pub use top_k::top_k;

/// Values worked on side by side: two AVX, four NEON or four SSE registers.
const LANES: usize = 16;

/// The sum of the lanes, pairwise.
#[inline(always)]
fn add_lanes(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for at in 0..half {
            lanes[at] += lanes[at + half];
        }
        half /= 2;
    }
    lanes[0]
}
