//! The `FastestDet` head (`dog-qiuqiu/FastestDet`, `example/onnx-runtime/runtime.py`).

use super::network::Found;
use crate::model::{DetectionOutput, Input};

/// Reads `[5 + classes, rows, columns]`, one plane after the other: objectness, offset x, offset y,
/// width, height, class shares (after the softmax).
///
/// Centre `(cell + tanh(p)) * stride`, sides `sigmoid(p) * side of the input`, score
/// `objectness^0.6 * class^0.4`.
pub(super) fn decode(values: &[f32], output: &DetectionOutput, input: &Input, found: Found<'_>) {
    for (columns, lines, stride) in output.grids(input).take(1) {
        let cells = columns * lines;
        let plane = |index: usize| values.get(index * cells..(index + 1) * cells).unwrap_or_default();
        let (objects, classes) = (plane(0), plane(5 + output.class));
        for (cell, (object, class)) in objects.iter().zip(classes).enumerate() {
            let score = object.powf(0.6) * class.powf(0.4);
            let at_cell = |index: usize| plane(index).get(cell).copied().unwrap_or(f32::NAN);
            if score >= output.threshold {
                let centre = |index: usize, at: usize| (at as f32 + at_cell(index).tanh()) * stride;
                let half = |index: usize, side: usize| side as f32 / (1.0 + (-at_cell(index)).exp()) / 2.0;
                let (x, y) = (centre(1, cell % columns), centre(2, cell / columns));
                let (w, h) = (half(3, input.width), half(4, input.height));
                found(cell, score, [x - w, y - h, x + w, y + h]);
            }
        }
    }
}
