//! The frame is one person: for crops, and for cameras that look at one spot.

use super::{BBox, Detection};
use crate::frame::Frame;

/// Gives the whole frame, score 1.
#[derive(Clone, Copy, Debug)]
pub struct WholeDetector {
    found: [Detection; 1],
}

impl Default for WholeDetector {
    fn default() -> Self {
        Self { found: [Detection { bbox: BBox::default(), score: 1.0 }] }
    }
}

impl WholeDetector {
    pub(super) fn detect(&mut self, frame: &Frame) -> &[Detection] {
        self.found[0].bbox = BBox { x: 0.0, y: 0.0, width: frame.width() as f32, height: frame.height() as f32 };
        &self.found
    }
}
