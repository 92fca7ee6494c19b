//! The `NanoDet` head: generalised focal loss (Li et al., "Generalized Focal Loss", 2020).

use super::network::Found;
use crate::model::{DetectionOutput, Input};

/// Reads scores `[A, classes]` (after the sigmoid) and boxes `[A, 4 * (reg_max + 1)]`, grids in the
/// order of the strides, each row by row.
///
/// A position lies at `(cell + centre_offset) * stride`. Its distances to the left, top, right and
/// bottom side are each the mean of a distribution over bins `0 ..= reg_max`, times the stride:
/// `sum(i * softmax(logits)[i]) * stride`.
pub(super) fn decode(scores: &[f32], boxes: &[f32], output: &DetectionOutput, input: &Input, found: Found<'_>) {
    let bins = output.reg_max + 1;
    let boxes = boxes.chunks_exact(4 * bins);
    let mut rows = scores.chunks_exact(output.classes).zip(boxes).enumerate();
    for (columns, lines, stride) in output.grids(input) {
        // The cells come first: the other way round, `zip` would swallow a row at the end of each grid.
        for (cell, (anchor, (scores, sides))) in (0..columns * lines).zip(rows.by_ref()) {
            let score = scores[output.class];
            if score >= output.threshold {
                let x = ((cell % columns) as f32 + output.centre_offset) * stride;
                let y = ((cell / columns) as f32 + output.centre_offset) * stride;
                let side = |index: usize| mean_bin(&sides[index * bins..(index + 1) * bins]) * stride;
                found(anchor, score, [x - side(0), y - side(1), x + side(2), y + side(3)]);
            }
        }
    }
}

/// The mean of `0, 1, ...` weighted by the softmax of `logits`; not a number if a logit is not.
fn mean_bin(logits: &[f32]) -> f32 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let (mut sum, mut weighted) = (0.0, 0.0);
    for (bin, logit) in logits.iter().enumerate() {
        let weight = (logit - largest).exp();
        sum += weight;
        weighted += weight * bin as f32;
    }
    weighted / sum
}

#[cfg(test)]
mod tests {
    use super::mean_bin;

    #[test]
    fn the_mean_bin_matches_values_computed_elsewhere() {
        assert!((mean_bin(&[3.0; 11]) - 5.0).abs() < 1e-6);
        // Weights 1, 2, 4: (0 + 2 + 8) / 7.
        assert!((mean_bin(&[0.0, 2.0_f32.ln(), 4.0_f32.ln()]) - 10.0 / 7.0).abs() < 1e-6);
        assert!((mean_bin(&[-900.0, 900.0, -900.0]) - 1.0).abs() < 1e-6, "no overflow");
        assert!(mean_bin(&[0.0, f32::NAN, 0.0]).is_nan());
        assert!(mean_bin(&[f32::INFINITY, 0.0]).is_nan());
    }
}
