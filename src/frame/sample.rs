//! One pass from camera pixels to a resized picture, whatever the format.
//!
//! Bilinear with half-pixel centres and no anti-aliasing (the convention the models are trained
//! with): output pixel `o` of `n` reads source coordinate `start + (o + 0.5) * length / n - 0.5`.
//! Coordinates outside the frame read its border. YUV is BT.601 limited range, as V4L2 cameras and
//! `ffmpeg -pix_fmt yuyv422` give it.

use super::{Frame, PixelFormat};

/// A rectangle of the frame in pixels; it may reach over the border.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Region {
    /// Left edge.
    pub x: f32,
    /// Top edge.
    pub y: f32,
    /// Width, above zero.
    pub width: f32,
    /// Height, above zero.
    pub height: f32,
}

impl Frame<'_> {
    /// The whole frame as a region.
    pub fn region(&self) -> Region {
        Region { x: 0.0, y: 0.0, width: self.width() as f32, height: self.height() as f32 }
    }
}
