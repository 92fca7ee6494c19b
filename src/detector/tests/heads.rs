//! The heads on small outputs worked out by hand.

use crate::detector::{fastestdet, nanodet, yolox};
use crate::model::{Align, Colour, DetectionOutput, Head, Input, Resize};

fn input(width: usize, height: usize) -> Input {
    let (mean, std) = ([0.0; 3], [1.0; 3]);
    let (resize, align) = (Resize::Stretch, Align::Centre);
    Input { width, height, colour: Colour::Rgb, mean, std, resize, pad: 0.0, align }
}

fn output(head: Head, classes: usize, strides: &[u32]) -> DetectionOutput {
    DetectionOutput {
        head,
        classes,
        class: classes - 1,
        strides: strides.to_vec(),
        reg_max: 2,
        centre_offset: 0.5,
        threshold: 0.4,
        nms_iou: 0.5,
    }
}

type Row = (usize, f32, [f32; 4]);

fn gathered(decode: impl FnOnce(&mut dyn FnMut(usize, f32, [f32; 4]))) -> Vec<Row> {
    let mut rows = Vec::new();
    decode(&mut |anchor, score, corners| rows.push((anchor, score, corners)));
    rows
}

fn check(found: &[Row], expected: &[Row]) {
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for ((anchor, score, corners), (a, s, c)) in found.iter().zip(expected) {
        let near = corners.iter().zip(c).all(|(x, y)| (x - y).abs() < 1e-4) && (score - s).abs() < 1e-5;
        assert!(anchor == a && near, "{found:?}, expected {expected:?}");
    }
}

#[test]
fn yolox_boxes_lie_where_computed_by_hand() {
    // Grids of 2 x 2 and 1 x 1 over 16 x 16: five rows of x, y, w, h, objectness, two classes.
    let mut values = vec![0.0; 5 * 7];
    let (two, half) = (2.0_f32.ln(), 0.5_f32.ln());
    // Row 3 is column 1, row 1 of stride 8: centre (1.5, 0.75) * 8, sides (2, 1) * 8, score 0.8 * 0.9.
    values[21..28].copy_from_slice(&[0.5, -0.25, two, 0.0, 0.8, 0.1, 0.9]);
    // Row 4 is the only one of stride 16: centre (0.25, 0.5) * 16, sides (1, 0.5) * 16, score 0.9 * 0.5.
    values[28..35].copy_from_slice(&[0.25, 0.5, 0.0, half, 0.9, 0.0, 0.5]);
    // Row 0 is sure of the other class only.
    values[4..7].copy_from_slice(&[0.9, 0.9, 0.1]);
    let output = output(Head::Yolox, 2, &[8, 16]);
    let found = gathered(|found| yolox::decode(&values, &output, &input(16, 16), found));
    check(&found, &[(3, 0.72, [4.0, 2.0, 20.0, 10.0]), (4, 0.45, [-4.0, 4.0, 12.0, 12.0])]);
}

#[test]
fn nanodet_boxes_lie_where_computed_by_hand() {
    // One grid of 2 x 1 over 16 x 8, three bins a side.
    let scores = [0.1, 0.6];
    let mut boxes = [0.0; 24];
    // Weights 1, 2, 4 -> bin 10/7; equal -> 1; all on the last -> 2; all on the first -> 0.
    boxes[12..15].copy_from_slice(&[0.0, 2.0_f32.ln(), 4.0_f32.ln()]);
    boxes[18..21].copy_from_slice(&[-50.0, -50.0, 50.0]);
    boxes[21..24].copy_from_slice(&[50.0, -50.0, -50.0]);
    let mut output = output(Head::NanoDet, 1, &[8]);
    let found = gathered(|found| nanodet::decode(&scores, &boxes, &output, &input(16, 8), found));
    // The position is (1.5, 0.5) * 8 = (12, 4).
    check(&found, &[(1, 0.6, [12.0 - 80.0 / 7.0, -4.0, 28.0, 4.0])]);
    output.centre_offset = 0.0;
    let found = gathered(|found| nanodet::decode(&scores, &boxes, &output, &input(16, 8), found));
    check(&found, &[(1, 0.6, [8.0 - 80.0 / 7.0, -8.0, 24.0, 0.0])]);
}

#[test]
fn nanodet_rows_go_on_from_grid_to_grid() {
    // 4 x 1 cells of stride 8, then 2 x 1 of stride 16 over 32 x 16 would be 4 x 2 and 2 x 1: ten rows.
    let boxes = [0.0; 10 * 12];
    let output = output(Head::NanoDet, 1, &[8, 16]);
    let found = gathered(|found| nanodet::decode(&[0.9; 10], &boxes, &output, &input(32, 16), found));
    let middle = |row: usize| {
        let [left, top, right, bottom] = found[row].2;
        (left.midpoint(right), top.midpoint(bottom))
    };
    assert_eq!(found.len(), 10);
    assert_eq!([middle(0), middle(3), middle(4)], [(4.0, 4.0), (28.0, 4.0), (4.0, 12.0)]);
    assert_eq!([middle(7), middle(8), middle(9)], [(28.0, 12.0), (8.0, 8.0), (24.0, 8.0)]);
}

#[test]
fn fastestdet_boxes_lie_where_computed_by_hand() {
    // One grid of 2 x 1 over 32 x 16: planes of objectness, x, y, w, h, one class.
    let values = [0.1, 0.5, 0.0, 0.5_f32.atanh(), 0.0, (-0.25_f32).atanh(), 0.0, 0.0, 0.0, 3.0_f32.ln(), 0.9, 0.8];
    let output = output(Head::FastestDet, 1, &[16]);
    let found = gathered(|found| fastestdet::decode(&values, &output, &input(32, 16), found));
    // Centre (1 + 0.5, 0 - 0.25) * 16, sides (0.5 * 32, 0.75 * 16), score 0.5^0.6 * 0.8^0.4.
    check(&found, &[(1, 0.603_418, [16.0, -10.0, 32.0, 2.0])]);
}

#[test]
fn damaged_outputs_give_no_boxes_and_no_panic() {
    let nan = [f32::NAN; 70];
    for values in [&nan[..], &nan[..3], &[]] {
        let yolox_output = output(Head::Yolox, 2, &[8, 16]);
        check(&gathered(|found| yolox::decode(values, &yolox_output, &input(16, 16), found)), &[]);
        let output = output(Head::FastestDet, 1, &[16]);
        check(&gathered(|found| fastestdet::decode(values, &output, &input(32, 16), found)), &[]);
        check(&gathered(|found| nanodet::decode(values, values, &output, &input(16, 16), found)), &[]);
    }
}
