#![expect(clippy::float_cmp, reason = "the values compared exactly are exact in f32")]

mod heads;

use proptest::prelude::*;

use super::*;
use crate::frame::PixelFormat;

fn bbox(x: f32, y: f32, width: f32, height: f32) -> BBox {
    BBox { x, y, width, height }
}

#[test]
fn overlap_matches_values_computed_by_hand() {
    let (a, b) = (bbox(0.0, 0.0, 10.0, 10.0), bbox(5.0, 0.0, 10.0, 10.0));
    // 50 shared of 150 together.
    assert!((a.iou(&b) - 1.0 / 3.0).abs() < 1e-6);
    assert_eq!(a.iou(&a), 1.0);
    assert_eq!(a.iou(&bbox(10.0, 0.0, 10.0, 10.0)), 0.0, "touching is not overlapping");
    assert_eq!(a.iou(&bbox(2.0, 2.0, 0.0, 5.0)), 0.0);
    assert_eq!(a.iou(&bbox(8.0, 8.0, -5.0, -5.0)), 0.0);
}

#[test]
fn boxes_are_cut_at_the_border_and_empty_ones_dropped() {
    let sides = (100.0, 50.0);
    assert_eq!(BBox::inside([-5.0, 10.0, 20.0, 70.0], sides), Some(bbox(0.0, 10.0, 20.0, 40.0)));
    for corners in [
        [20.0, 10.0, 20.0, 30.0],
        [30.0, 10.0, 20.0, 30.0],
        [120.0, 10.0, 150.0, 30.0],
        [f32::NAN, 10.0, 20.0, 30.0],
        [0.0, 10.0, f32::INFINITY, 30.0],
    ] {
        assert_eq!(BBox::inside(corners, sides), None, "{corners:?}");
    }
}

#[test]
fn the_whole_frame_is_one_person() {
    let settings = DetectorSettings { kind: DetectorKind::Whole, ..DetectorSettings::default() };
    let mut detector = Detector::new(&settings, None).unwrap();
    let frame = Frame::new(&[0; 64 * 128], PixelFormat::Grey, (64, 128), 64).unwrap();
    let expected = Detection { bbox: bbox(0.0, 0.0, 64.0, 128.0), score: 1.0 };
    assert_eq!(detector.detect(&frame).unwrap(), [expected]);
    assert!(detector.network().is_none());
}

#[test]
fn a_network_without_a_card_is_refused() {
    let text = Detector::new(&DetectorSettings::default(), None).unwrap_err().to_string();
    assert!(text.contains("detector.kind"), "{text}");
}

#[test]
fn settings_out_of_range_are_named() {
    assert!(DetectorSettings::default().validate().is_ok());
    for (key, change) in [
        ("every", (|settings| settings.every = 0) as fn(&mut DetectorSettings)),
        ("threshold", |settings| settings.threshold = Some(0.0)),
        ("nms_iou", |settings| settings.nms_iou = Some(1.1)),
        ("min_height", |settings| settings.min_height = f32::NAN),
        ("max_aspect", |settings| settings.max_aspect = 0.0),
    ] {
        let mut settings = DetectorSettings::default();
        change(&mut settings);
        let text = settings.validate().unwrap_err().to_string();
        assert!(text.contains(&format!("detector.{key}`")), "{text}");
    }
}

#[test]
fn settings_survive_their_file_and_unknown_keys_do_not() {
    let settings: DetectorSettings =
        toml::from_str("kind = \"motion\"\nthreshold = 0.6\n[motion]\nwidth = 64").unwrap();
    assert_eq!((settings.kind, settings.threshold, settings.motion.width), (DetectorKind::Motion, Some(0.6), 64));
    let again: DetectorSettings = toml::from_str(&toml::to_string(&settings).unwrap()).unwrap();
    assert_eq!(again, settings);
    assert!(toml::from_str::<DetectorSettings>("treshold = 0.6").is_err());
}

proptest! {
    #[test]
    fn a_cut_box_lies_inside(corners in proptest::array::uniform4(proptest::num::f32::ANY)) {
        if let Some(cut) = BBox::inside(corners, (640.0, 480.0)) {
            prop_assert!(cut.x >= 0.0 && cut.y >= 0.0 && cut.width > 0.0 && cut.height > 0.0);
            prop_assert!(cut.x + cut.width <= 640.0 && cut.y + cut.height <= 480.0);
        }
    }

    #[test]
    fn overlap_is_symmetric_and_between_0_and_1(
        a in proptest::array::uniform4(-50.0_f32..50.0), b in proptest::array::uniform4(-50.0_f32..50.0),
    ) {
        let (a, b) = (bbox(a[0], a[1], a[2], a[3]), bbox(b[0], b[1], b[2], b[3]));
        prop_assert_eq!(a.iou(&b), b.iou(&a));
        prop_assert!((0.0..=1.0 + 1e-5).contains(&a.iou(&b)));
    }
}
