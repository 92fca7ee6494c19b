use super::super::{Detector, DetectorKind};
use super::*;
use crate::frame::PixelFormat;

const WIDTH: usize = 320;
const HEIGHT: usize = 240;

/// A scene of faint noise, different in each frame, with grey rectangles `(x, y, width, height, level)` in it.
fn scene(number: u32, rectangles: &[(usize, usize, usize, usize, u8)]) -> Vec<u8> {
    let mut state = number.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut pixels: Vec<u8> = (0..WIDTH * HEIGHT)
        .map(|at| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            90 + (at % WIDTH / 8) as u8 + (state >> 30) as u8
        })
        .collect();
    for (x, y, width, height, level) in rectangles {
        for row in pixels.chunks_exact_mut(WIDTH).skip(*y).take(*height) {
            row[*x..x + width].fill(*level);
        }
    }
    pixels
}

fn detector(change: impl FnOnce(&mut DetectorSettings)) -> Detector {
    let mut settings = DetectorSettings { kind: DetectorKind::Motion, ..DetectorSettings::default() };
    change(&mut settings);
    Detector::new(&settings, None).unwrap()
}

fn detect(detector: &mut Detector, pixels: &[u8]) -> Vec<Detection> {
    let size = (WIDTH as u32, HEIGHT as u32);
    detector.detect(&Frame::new(pixels, PixelFormat::Grey, size, WIDTH).unwrap()).unwrap().to_vec()
}

/// A detector that knows the empty scene.
fn warm(change: impl FnOnce(&mut DetectorSettings)) -> Detector {
    let mut detector = detector(change);
    for number in 0..20 {
        assert_eq!(detect(&mut detector, &scene(number, &[])), [], "nothing moves");
    }
    detector
}

#[test]
fn a_person_who_walks_by_is_boxed_in_each_frame() {
    let mut detector = warm(|_| ());
    for step in 0..20 {
        let (x, y, width, height) = (20 + step * 12, 80, 30, 100);
        let found = detect(&mut detector, &scene(100 + step as u32, &[(x, y, width, height, 220)]));
        assert_eq!(found.len(), 1, "step {step}: {found:?}");
        let truth = BBox { x: x as f32, y: y as f32, width: width as f32, height: height as f32 };
        // A cell is 3.3 pixels: a box can be too large by one on each side, (30 * 100) / (36.7 * 106.7) = 0.77.
        assert!(found[0].bbox.iou(&truth) > 0.75, "step {step}: {found:?}");
        assert!(found[0].score > 0.9 && found[0].score <= 1.0, "a rectangle fills its box: {found:?}");
    }
}

#[test]
fn a_torso_like_the_wall_does_not_cut_a_person_in_two() {
    let mut detector = warm(|_| ());
    // Head 24 high, 18 of nothing, legs 50: the gap is a fifth of the whole.
    let found = detect(&mut detector, &scene(50, &[(100, 80, 20, 24, 220), (98, 122, 24, 50, 220)]));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].bbox.height > 85.0, "{found:?}");
}

#[test]
fn what_is_not_shaped_like_a_person_is_left_out() {
    let mut detector = warm(|_| ());
    let found =
        detect(&mut detector, &scene(50, &[(20, 20, 120, 40, 220), (200, 100, 10, 20, 220), (250, 100, 30, 90, 20)]));
    assert_eq!(found.len(), 1, "neither the wide nor the small one: {found:?}");
    assert!(found[0].bbox.x > 240.0);
}

#[test]
fn when_the_light_changes_nobody_is_found_and_the_scene_is_learnt_anew() {
    let mut detector = warm(|_| ());
    let brighter = |number| scene(number, &[]).into_iter().map(|level| level + 60).collect::<Vec<_>>();
    for number in 20..40 {
        assert_eq!(detect(&mut detector, &brighter(number)), []);
    }
    let mut with_person = brighter(41);
    for row in with_person.chunks_exact_mut(WIDTH).skip(80).take(100) {
        row[100..130].fill(20);
    }
    assert_eq!(detect(&mut detector, &with_person).len(), 1);
}

#[test]
fn who_stands_still_long_enough_becomes_background() {
    let mut detector = warm(|settings| settings.motion.learning_rate = 0.1);
    let found = |detector: &mut Detector, number| detect(detector, &scene(number, &[(100, 80, 30, 100, 140)])).len();
    assert_eq!(found(&mut detector, 100), 1);
    for number in 101..400 {
        found(&mut detector, number);
    }
    assert_eq!(found(&mut detector, 400), 0);
}

#[test]
fn another_size_of_frame_starts_again() {
    let mut detector = warm(|_| ());
    let small = Frame::new(&[9; 64 * 128], PixelFormat::Grey, (64, 128), 64).unwrap();
    assert!(detector.detect(&small).unwrap().is_empty());
    assert_eq!(detect(&mut detector, &scene(1, &[(100, 80, 30, 100, 220)])), [], "learning");
}

#[test]
fn the_same_frames_give_the_same_boxes() {
    let run = || {
        let mut detector = warm(|_| ());
        (0..10).map(|n| detect(&mut detector, &scene(n, &[(n as usize * 9, 50, 30, 90, 200)]))).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}

#[test]
fn settings_out_of_range_are_named() {
    for (key, change) in [
        ("width", (|motion| motion.width = 31) as fn(&mut MotionSettings)),
        ("learning_rate", |motion| motion.learning_rate = f32::NAN),
        ("sensitivity", |motion| motion.sensitivity = 0.0),
        ("min_difference", |motion| motion.min_difference = 0.5),
        ("warm_up", |motion| motion.warm_up = 0),
        ("max_share", |motion| motion.max_share = 1.5),
    ] {
        let mut settings = DetectorSettings::default();
        change(&mut settings.motion);
        let text = settings.validate().unwrap_err().to_string();
        assert!(text.contains(&format!("detector.motion.{key}`")), "{text}");
    }
}
