//! Frame + box -> the region that goes into the backbone.
//!
//! Nothing is copied here: the region says which pixels, and [`crate::model::Input::fill`] samples,
//! converts and normalises them in one pass.

use serde::{Deserialize, Serialize};

use crate::detector::BBox;
use crate::error::{Result, in_range};
use crate::frame::{Frame, Region};

/// A box that ends nearer to the border of the frame than this share of its side may be cut off there: a detector is
/// not exact to the pixel.
const AT_BORDER: f32 = 0.01;

/// Settings of cutting people out.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct CropSettings {
    /// Added on each side, as a share of the box's width and height, 0 to 0.5. It stops at the frame's border.
    pub margin: f32,
    /// Least height of a box, in pixels of the frame, before the margin.
    pub min_height: f32,
    /// Least width of a box, in pixels of the frame, before the margin.
    pub min_width: f32,
    /// Least width of a box that ends at the left or right side of the frame, as a share of its height, 0 to 1. A
    /// narrower one shows half a person.
    pub min_aspect_at_side: f32,
    /// Largest width of a box that ends at the top or bottom of the frame, as a share of its height, 0.2 to 10. A wider
    /// one shows a head and shoulders, or legs.
    pub max_aspect_at_end: f32,
}

impl Default for CropSettings {
    fn default() -> Self {
        Self { margin: 0.0, min_height: 40.0, min_width: 12.0, min_aspect_at_side: 0.3, max_aspect_at_end: 0.65 }
    }
}

impl CropSettings {
    /// Checks every value.
    ///
    /// # Errors
    /// [`Error::BadSetting`](crate::Error::BadSetting) for the first one out of range.
    pub fn validate(&self) -> Result<()> {
        in_range("crop.margin", self.margin, 0.0, 0.5)?;
        in_range("crop.min_height", self.min_height, 0.0, 4096.0)?;
        in_range("crop.min_width", self.min_width, 0.0, 4096.0)?;
        in_range("crop.min_aspect_at_side", self.min_aspect_at_side, 0.0, 1.0)?;
        in_range("crop.max_aspect_at_end", self.max_aspect_at_end, 0.2, 10.0)
    }

    /// The part of `frame` that shows the person in `bbox`, with the margin. None if the box, as far as it lies
    /// inside the frame, is empty, smaller than allowed, or cut off by the border: an embedding of so little would say nothing.
    pub fn region(&self, bbox: &BBox, frame: &Frame) -> Option<Region> {
        let sides = (frame.width() as f32, frame.height() as f32);
        let BBox { x, y, width, height } = *bbox;
        let seen = BBox::inside([x, y, x + width, y + height], sides)?;
        if seen.width < self.min_width || seen.height < self.min_height {
            return None;
        }
        if self.is_cut_off(&seen, sides) {
            return None;
        }
        let (dx, dy) = (seen.width * self.margin, seen.height * self.margin);
        let corners = [seen.x - dx, seen.y - dy, seen.x + seen.width + dx, seen.y + seen.height + dy];
        let BBox { x, y, width, height } = BBox::inside(corners, sides)?;
        Some(Region { x, y, width, height })
    }

    /// Whether `seen`, inside a frame of the given sides, ends at the border in a shape that no whole person has. What
    /// fills the frame from side to side or from top to bottom is not cut off.
    fn is_cut_off(&self, seen: &BBox, sides: (f32, f32)) -> bool {
        let touches = |start: f32, length: f32, side: f32| {
            let near = AT_BORDER * side;
            (start < near) != (side - (start + length) < near)
        };
        let half = touches(seen.x, seen.width, sides.0) && seen.width < self.min_aspect_at_side * seen.height;
        let bust = touches(seen.y, seen.height, sides.1) && seen.width > self.max_aspect_at_end * seen.height;
        half || bust
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::PixelFormat;

    /// Cuts nothing off.
    const LOOSE: CropSettings =
        CropSettings { margin: 0.0, min_height: 0.0, min_width: 0.0, min_aspect_at_side: 0.0, max_aspect_at_end: 10.0 };

    static PIXELS: [u8; 100 * 200] = [0; 100 * 200];

    fn frame() -> Frame<'static> {
        Frame::new(&PIXELS, PixelFormat::Grey, (100, 200), 100).unwrap()
    }

    fn bbox(x: f32, y: f32, width: f32, height: f32) -> BBox {
        BBox { x, y, width, height }
    }

    #[test]
    fn the_margin_grows_the_box_up_to_the_border() {
        let settings = CropSettings { margin: 0.1, min_height: 10.0, min_width: 5.0, ..CropSettings::default() };
        let region = settings.region(&bbox(20.0, 50.0, 40.0, 100.0), &frame());
        assert_eq!(region, Some(Region { x: 16.0, y: 40.0, width: 48.0, height: 120.0 }));
        let region = settings.region(&bbox(0.0, 0.0, 100.0, 200.0), &frame());
        assert_eq!(region, Some(frame().region()));
    }

    #[test]
    fn what_is_too_small_or_outside_is_refused() {
        let settings = CropSettings { margin: 0.0, min_height: 40.0, min_width: 12.0, ..LOOSE };
        assert!(settings.region(&bbox(0.0, 0.0, 12.0, 40.0), &frame()).is_some());
        assert_eq!(settings.region(&bbox(0.0, 0.0, 11.9, 40.0), &frame()), None);
        assert_eq!(settings.region(&bbox(0.0, 0.0, 12.0, 39.9), &frame()), None);
        // 60 pixels high, but only 30 of them in the picture.
        assert_eq!(settings.region(&bbox(0.0, 170.0, 30.0, 60.0), &frame()), None);
        let none = CropSettings { margin: 0.5, min_height: 0.0, min_width: 0.0, ..LOOSE };
        assert_eq!(none.region(&bbox(300.0, 0.0, 30.0, 60.0), &frame()), None);
        assert_eq!(none.region(&bbox(f32::NAN, 0.0, 30.0, 60.0), &frame()), None);
        assert_eq!(none.region(&bbox(10.0, 10.0, -5.0, 60.0), &frame()), None);
    }

    #[test]
    fn half_a_person_at_a_side_of_the_frame_is_refused() {
        let settings = CropSettings::default();
        let narrow = 16.0;
        assert!(settings.region(&bbox(40.0, 50.0, narrow, 80.0), &frame()).is_some(), "narrow, but all of it in view");
        assert_eq!(settings.region(&bbox(0.0, 50.0, narrow, 80.0), &frame()), None);
        assert_eq!(settings.region(&bbox(100.0 - narrow, 50.0, narrow, 80.0), &frame()), None);
        assert!(settings.region(&bbox(0.0, 50.0, 30.0, 80.0), &frame()).is_some());
    }

    #[test]
    fn a_head_and_shoulders_at_the_bottom_of_the_frame_are_refused() {
        let settings = CropSettings::default();
        let bust = (60.0, 80.0);
        assert!(settings.region(&bbox(20.0, 50.0, bust.0, bust.1), &frame()).is_some(), "stout, but all of it in view");
        assert_eq!(settings.region(&bbox(20.0, 200.0 - bust.1, bust.0, bust.1), &frame()), None);
        assert_eq!(settings.region(&bbox(20.0, 0.0, bust.0, bust.1), &frame()), None);
        assert!(settings.region(&bbox(20.0, 100.0, 40.0, 100.0), &frame()).is_some(), "a whole person at the bottom");
        assert!(settings.region(&bbox(0.0, 0.0, 100.0, 200.0), &frame()).is_some(), "the frame is the person");
    }

    #[test]
    fn settings_out_of_range_are_named() {
        assert!(CropSettings::default().validate().is_ok());
        for (key, settings) in [
            ("crop.margin", CropSettings { margin: 0.6, ..CropSettings::default() }),
            ("crop.min_height", CropSettings { min_height: -1.0, ..CropSettings::default() }),
            ("crop.min_width", CropSettings { min_width: f32::NAN, ..CropSettings::default() }),
            ("crop.min_aspect_at_side", CropSettings { min_aspect_at_side: 2.0, ..CropSettings::default() }),
            ("crop.max_aspect_at_end", CropSettings { max_aspect_at_end: 0.0, ..CropSettings::default() }),
        ] {
            let text = settings.validate().unwrap_err().to_string();
            assert!(text.contains(key), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_region_lies_inside_the_frame(
            x in proptest::num::f32::ANY, y in proptest::num::f32::ANY,
            w in proptest::num::f32::ANY, h in proptest::num::f32::ANY, margin in 0.0_f32..0.5,
        ) {
            let settings = CropSettings { margin, min_height: 0.0, min_width: 0.0, ..LOOSE };
            if let Some(region) = settings.region(&bbox(x, y, w, h), &frame()) {
                prop_assert!(region.x >= 0.0 && region.y >= 0.0 && region.width > 0.0 && region.height > 0.0);
                // Rounding of the sum only.
                prop_assert!(region.x + region.width <= 100.001 && region.y + region.height <= 200.001);
            }
        }
    }
}
