#![expect(clippy::float_cmp, reason = "the values compared exactly are exact in f32")]

use proptest::prelude::*;

use super::*;
use crate::frame::PixelFormat;

fn input(width: usize, height: usize, resize: Resize, align: Align) -> Input {
    Input {
        width,
        height,
        colour: Colour::Bgr,
        mean: [10.0, 20.0, 30.0],
        std: [2.0, 4.0, 5.0],
        resize,
        pad: 114.0,
        align,
    }
}

fn region(x: f32, y: f32, width: f32, height: f32) -> Region {
    Region { x, y, width, height }
}

/// Computed apart from this code, in Python:
/// `s = min(W / w, H / h); n = (round(w * s), round(h * s)); off = ((W - n[0]) // 2, (H - n[1]) // 2)`.
#[test]
fn letterboxes_match_values_computed_apart() {
    for (sides, (w, h), expected) in [
        ((416, 416), (1920.0, 1080.0), [0, 91, 416, 234]),
        ((416, 416), (640.0, 480.0), [0, 52, 416, 312]),
        ((416, 320), (640.0, 480.0), [0, 4, 416, 312]),
        ((416, 320), (480.0, 640.0), [88, 0, 240, 320]),
        ((416, 320), (768.0, 432.0), [0, 43, 416, 234]),
        ((416, 320), (31.0, 7.0), [0, 113, 416, 94]),
        ((128, 256), (4000.0, 1.0), [0, 127, 128, 1]),
    ] {
        let place = input(sides.0, sides.1, Resize::Letterbox, Align::Centre).letterbox(region(0.0, 0.0, w, h));
        assert_eq!([place.left, place.top, place.width, place.height], expected, "{w}x{h} in {sides:?}");
    }
    let corner = input(416, 320, Resize::Letterbox, Align::TopLeft).letterbox(region(0.0, 0.0, 768.0, 432.0));
    assert_eq!([corner.left, corner.top, corner.width, corner.height], [0, 0, 416, 234]);
    let stretched = input(416, 320, Resize::Stretch, Align::Centre).letterbox(region(0.0, 0.0, 768.0, 432.0));
    assert_eq!([stretched.left, stretched.top, stretched.width, stretched.height], [0, 0, 416, 320]);
}

#[test]
fn a_box_of_the_network_is_found_again_in_the_frame() {
    let place = input(416, 416, Resize::Letterbox, Align::Centre).letterbox(region(0.0, 0.0, 1920.0, 1080.0));
    // 416 / 1920 = 234 / 1080 = 0.21667: input (208, 208) is the middle of the frame, (0, 91) its corner.
    for (at, expected) in
        [((208.0, 208.0), (960.0, 540.0)), ((0.0, 91.0), (0.0, 0.0)), ((416.0, 325.0), (1920.0, 1080.0))]
    {
        let found = place.to_frame(at.0, at.1);
        assert!((found.0 - expected.0).abs() < 0.01 && (found.1 - expected.1).abs() < 0.01, "{at:?} {found:?}");
    }
}

#[test]
fn pixels_are_ordered_normalised_and_padded() {
    let bytes = [100, 110, 120, 100, 110, 120];
    let frame = Frame::new(&bytes, PixelFormat::Rgb, (2, 1), 6).unwrap();
    let mut out = vec![f32::NAN; 12];
    let place =
        input(2, 2, Resize::Letterbox, Align::TopLeft).fill(&mut Sampler::default(), &frame, frame.region(), &mut out);
    assert_eq!((place.width, place.height), (2, 1));
    // B (120 - 10) / 2, G (110 - 20) / 4, R (100 - 30) / 5, and below each the padding (114 - mean) / std.
    let expected = [55.0, 55.0, 52.0, 52.0, 22.5, 22.5, 23.5, 23.5, 14.0, 14.0, 16.8, 16.8];
    for (value, expected) in out.iter().zip(expected) {
        assert!((value - expected).abs() < 1e-5, "{out:?}");
    }
}

#[test]
fn a_buffer_of_another_size_is_left_alone() {
    let frame = Frame::new(&[9; 4], PixelFormat::Grey, (2, 2), 2).unwrap();
    let mut out = [7.0; 11];
    input(2, 2, Resize::Stretch, Align::Centre).fill(&mut Sampler::default(), &frame, frame.region(), &mut out);
    assert_eq!(out, [7.0; 11]);
}

fn number() -> impl Strategy<Value = f32> {
    prop_oneof![-3000.0_f32..5000.0, proptest::num::f32::ANY]
}

proptest! {
    #[test]
    fn mapping_there_and_back_is_the_same_point(
        (w, h) in (8_usize..640, 8_usize..640), (rx, ry) in (-50.0_f32..2000.0, -50.0_f32..2000.0),
        (rw, rh) in (8.0_f32..2000.0, 8.0_f32..2000.0), (u, v) in (0.0_f32..1.0, 0.0_f32..1.0), stretch: bool,
    ) {
        let resize = if stretch { Resize::Stretch } else { Resize::Letterbox };
        let place = input(w, h, resize, Align::Centre).letterbox(region(rx, ry, rw, rh));
        let (x, y) = (rx + u * rw, ry + v * rh);
        let (ix, iy) = place.to_input(x, y);
        let (left, top) = (place.left as f32, place.top as f32);
        prop_assert!(ix >= left - 0.01 && ix <= left + place.width as f32 + 0.01);
        prop_assert!(iy >= top - 0.01 && iy <= top + place.height as f32 + 0.01);
        let (bx, by) = place.to_frame(ix, iy);
        // A side squeezed to 1 pixel magnifies the rounding of f32 by the scale.
        let (sx, sy) = place.scale();
        prop_assert!((bx - x).abs() <= 0.01 + 1e-4 / sx && (by - y).abs() <= 0.01 + 1e-4 / sy, "{bx} {x} {by} {y}");
    }

    #[test]
    fn no_region_panics_and_every_number_is_written(x in number(), y in number(), w in number(), h in number()) {
        let bytes: Vec<u8> = (0..64).collect();
        let frame = Frame::new(&bytes, PixelFormat::Grey, (8, 8), 8).unwrap();
        for resize in [Resize::Letterbox, Resize::Stretch] {
            let mut out = vec![f32::NAN; 3 * 16 * 12];
            input(16, 12, resize, Align::Centre).fill(&mut Sampler::default(), &frame, region(x, y, w, h), &mut out);
            prop_assert!(out.iter().all(|value| value.is_finite()));
        }
    }
}
