//! The operators beside the convolutions: bytes in, bytes out.
//!
//! Each is a struct: `new` computes all that the model decides, `run` takes slices and [`Layout`]s, allocates nothing and
//! writes the pixels and channels of the output's layout, no other byte. A buffer too short for its layout, or
//! shapes that do not fit each other, are a mistake of the caller and panic.
//!
//! Each gives the same bits on every processor.

#![expect(clippy::inline_always, reason = "only what is inlined is compiled for the wider registers")]

mod add;
mod edges;
mod max_pool;
mod mean_pool;
mod mul;
mod pair;
mod resize;
mod table;
#[cfg(test)]
mod testing;

use super::arch::{LookUp, Wide, Work};
use super::tensor::{Layout, Output, Quantisation, Window};

pub(super) use add::Add;
pub(super) use edges::{Dequantise, Order, Quantise, fill_margin, load, load_signed, store, store_signed};
pub(super) use max_pool::MaxPool;
pub(super) use mean_pool::MeanPool;
pub(super) use mul::Mul;
pub(super) use resize::{Coordinates, Nearest, Resize, Sizes};
pub(super) use table::Table;

impl Window {
    /// All of a picture.
    pub(super) fn global(height: usize, width: usize) -> Self {
        Self { kernel: [height, width], stride: [1, 1], before: [0, 0], dilation: [1, 1] }
    }

    /// The positions that the window of output `at` has on `axis` of an input of `length`: the first, and how many, a
    /// dilation apart. What lies in the padding is left out.
    #[inline(always)]
    fn taps(&self, axis: usize, at: usize, length: usize) -> (usize, usize) {
        let (start, before, dilation) = (at * self.stride[axis], self.before[axis], self.dilation[axis]);
        if dilation == 1 {
            // Without the divisions, which cost more than a small window.
            let skipped = before.saturating_sub(start);
            let first = (start + skipped) - before;
            return (first, self.kernel[axis].saturating_sub(skipped).min(length.saturating_sub(first)));
        }
        let skipped = before.saturating_sub(start).div_ceil(dilation);
        let first = (start + skipped * dilation).saturating_sub(before);
        let fitting = length.saturating_sub(first).div_ceil(dilation);
        (first, self.kernel[axis].saturating_sub(skipped).min(fitting))
    }
}

/// From a number in steps of the output to its byte: the activation, the bounds, then the nearest, ties to even.
#[derive(Clone, Copy, Debug)]
struct Rounding {
    slope: f32,
    low: f32,
    high: f32,
    zero_point: u32,
}

impl Rounding {
    fn new(output: &Output) -> Self {
        let zero_point = output.quantisation.zero_point;
        Self {
            slope: output.slope,
            low: f32::from(output.low) - f32::from(zero_point),
            high: f32::from(output.high) - f32::from(zero_point),
            zero_point: zero_point.into(),
        }
    }

    /// Whether there is a slope.
    #[expect(clippy::float_cmp, reason = "exactly 1 is what changes nothing")]
    fn is_leaky(self) -> bool {
        self.slope != 1.0
    }

    /// No number becomes the lower bound. `LEAKY` has to be `true` where there is a slope.
    #[inline(always)]
    fn byte<const LEAKY: bool>(self, steps: f32) -> u8 {
        let steps = if LEAKY && steps < 0.0 { steps * self.slope } else { steps };
        // As instructions have it, not as `clamp` has it: one each.
        let steps = if steps > self.low { steps } else { self.low };
        let steps = if steps < self.high { steps } else { self.high };
        nearest(steps).wrapping_add(self.zero_point) as u8
    }
}

/// The nearest whole number, ties to even, in the low bits (below 0 as two's complement). For `|x|` up to 2^21.
///
/// Adding this constant leaves no room for a fraction: the addition itself rounds.
#[inline(always)]
fn nearest(x: f32) -> u32 {
    const ROUND: f32 = 12_582_912.0;
    (x + ROUND).to_bits().wrapping_sub(ROUND.to_bits())
}

/// The first byte of pixel (`y`, `x`).
#[inline(always)]
fn pixel(layout: &Layout, y: usize, x: usize) -> usize {
    layout.start + y * layout.row + x * layout.pixel
}

/// Holds a buffer against its layout.
fn check(length: usize, layout: &Layout) {
    if layout.len() > 0 {
        let end = pixel(layout, layout.height - 1, layout.width - 1) + layout.channels;
        assert!(end <= length, "a buffer of {length} bytes for a picture that ends at {end}");
    }
}

/// Whether two pictures have the same sizes.
fn same_shape(a: &Layout, b: &Layout) -> bool {
    [a.height, a.width, a.channels] == [b.height, b.width, b.channels]
}

/// Pictures of one shape as runs of bytes that lie side by side in all of them: rows, or pixels where channels of a wider
/// buffer lie between.
#[derive(Clone, Copy)]
struct Runs {
    rows: usize,
    /// Runs in a row.
    columns: usize,
    length: usize,
}

impl Runs {
    #[inline(always)]
    fn new<const N: usize>(layouts: [&Layout; N]) -> Self {
        let Layout { height, width, channels, .. } = *layouts[0];
        if layouts.iter().all(|layout| layout.pixel == channels) {
            if layouts.iter().all(|layout| layout.row == width * channels) {
                return Self { rows: 1, columns: 1, length: height * width * channels };
            }
            return Self { rows: height, columns: 1, length: width * channels };
        }
        Self { rows: height, columns: width, length: channels }
    }
}
