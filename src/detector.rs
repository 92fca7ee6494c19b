//! Frame -> detections: where people are.

use crate::size::MAX_PEOPLE;

/// An upright box in frame pixels; the origin is the top left corner of the frame.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BBox {
    /// Left edge.
    pub x: f32,
    /// Top edge.
    pub y: f32,
    /// Width.
    pub width: f32,
    /// Height.
    pub height: f32,
}

/// One person found in a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// Where, inside the frame.
    pub bbox: BBox,
    /// How sure the detector is, 0 to 1.
    pub score: f32,
}

/// The people of one frame, best score first; those beyond [`MAX_PEOPLE`] are left out.
pub type Detections = heapless::Vec<Detection, MAX_PEOPLE>;

impl BBox {
    /// Area in square pixels; 0 for an empty box.
    pub fn area(&self) -> f32 {
        self.width.max(0.0) * self.height.max(0.0)
    }

    /// Intersection over union, 0 to 1; 0 where either box is empty.
    pub fn iou(&self, other: &Self) -> f32 {
        let width = (self.x + self.width).min(other.x + other.width) - self.x.max(other.x);
        let height = (self.y + self.height).min(other.y + other.height) - self.y.max(other.y);
        let shared = width.max(0.0) * height.max(0.0);
        let union = self.area() + other.area() - shared;
        if union > 0.0 { shared / union } else { 0.0 }
    }
}
