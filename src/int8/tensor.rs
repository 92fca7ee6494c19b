//! What a byte means, where the bytes of a picture lie, and what operators have in common.

use std::ops::Range;

/// How bytes stand for numbers: `scale * (byte - zero_point)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Quantisation {
    /// Above 0 and finite.
    pub(super) scale: f32,
    pub(super) zero_point: u8,
}

impl Quantisation {
    /// The number that `byte` stands for.
    pub(super) fn real(self, byte: u8) -> f32 {
        (i32::from(byte) - i32::from(self.zero_point)) as f32 * self.scale
    }

    /// The byte nearest to `real`, ties to even, saturating; NaN becomes the zero point.
    pub(super) fn byte(self, real: f32) -> u8 {
        // A float that is no number becomes 0 by the cast.
        let steps = (real / self.scale).round_ties_even().clamp(-256.0, 256.0) as i32;
        (steps + i32::from(self.zero_point)).clamp(0, 255) as u8
    }
}

/// What an operator's numbers become: bytes, after the activation that follows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Output {
    pub(super) quantisation: Quantisation,
    /// No byte below it and none above `high`: a `ReLU` or `Clip`, or 0 and 255.
    pub(super) low: u8,
    pub(super) high: u8,
    /// Numbers below 0 are multiplied by it: `LeakyRelu`, or 1.
    pub(super) slope: f32,
}

impl Output {
    /// No activation.
    pub(super) fn plain(quantisation: Quantisation) -> Self {
        Self { quantisation, low: 0, high: 255, slope: 1.0 }
    }
}

/// Which pixels of the input an output pixel sees. An axis is first the rows, then the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) kernel: [usize; 2],
    /// At least 1.
    pub(super) stride: [usize; 2],
    /// Padding at the top and on the left. What lies beyond the bottom and the right is padding too.
    pub(super) before: [usize; 2],
    /// At least 1.
    pub(super) dilation: [usize; 2],
}

/// Bytes behind the last pixel that every buffer has: a kernel may read this far beyond a pixel, never write.
pub(super) const SLACK: usize = 64;

/// Where one picture, `[height, width, channels]`, lies in a buffer of bytes: all of it, or a few channels of a wider one.
///
/// Around it may lie a margin of pixels that hold the zero point, so that a convolution needs no case for its padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
    /// Pixels of the margin, on all four sides.
    pub(super) margin: usize,
    /// Bytes from a pixel to the one right of it: at least `channels`.
    pub(super) pixel: usize,
    /// Bytes from a row to the next.
    pub(super) row: usize,
    /// The byte of the first channel of pixel (0, 0).
    pub(super) start: usize,
}

impl Layout {
    /// A buffer of its own, the pixels without gaps.
    pub(super) fn new(height: usize, width: usize, channels: usize, margin: usize) -> Self {
        let row = (width + 2 * margin) * channels;
        Self { height, width, channels, margin, pixel: channels, row, start: margin * row + margin * channels }
    }

    /// Some of the channels, in the same buffer.
    pub(super) fn channels(&self, range: Range<usize>) -> Self {
        debug_assert!(range.start <= range.end && range.end <= self.channels);
        Self { channels: range.len(), start: self.start + range.start, ..*self }
    }

    /// The first byte of pixel (`y`, `x`), which may lie in the margin.
    pub(super) fn at(&self, y: isize, x: isize) -> usize {
        let offset = y * self.row.cast_signed() + x * self.pixel.cast_signed();
        self.start.wrapping_add_signed(offset)
    }

    /// Bytes of a buffer that holds the picture, its margin and [`SLACK`].
    pub(super) fn bytes(&self) -> usize {
        (self.height + 2 * self.margin) * self.row + SLACK
    }

    /// Values of the picture itself.
    pub(super) fn len(&self) -> usize {
        self.height * self.width * self.channels
    }
}
