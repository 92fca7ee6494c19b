//! The raw YOLOX head (Ge et al., "YOLOX: Exceeding YOLO Series in 2021").

use super::network::Found;
use crate::model::{DetectionOutput, Input};

/// Reads `[A, 5 + classes]`, grids in the order of the strides, each row by row: centre x, centre y,
/// width, height, objectness, class scores.
///
/// Centre `(p + cell) * stride`, side `exp(p) * stride`, score `objectness * class`. The exporter puts
/// the sigmoids of objectness and classes into the graph, so they are not applied here.
pub(super) fn decode(values: &[f32], output: &DetectionOutput, input: &Input, found: Found<'_>) {
    let mut rows = values.chunks_exact(5 + output.classes).enumerate();
    for (columns, lines, stride) in output.grids(input) {
        // The cells come first: the other way round, `zip` would swallow a row at the end of each grid.
        for (cell, (anchor, row)) in (0..columns * lines).zip(rows.by_ref()) {
            let score = row[4] * row[5 + output.class];
            if score >= output.threshold {
                let (x, y) = ((cell % columns) as f32, (cell / columns) as f32);
                let (x, y) = ((row[0] + x) * stride, (row[1] + y) * stride);
                let (w, h) = (row[2].exp() * stride / 2.0, row[3].exp() * stride / 2.0);
                found(anchor, score, [x - w, y - h, x + w, y + h]);
            }
        }
    }
}
