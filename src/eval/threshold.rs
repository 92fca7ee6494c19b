//! Where a similarity says "the same person": false matches against true ones that are kept.

use std::collections::BTreeMap;

use serde::Serialize;

use super::market::Crop;
use super::rows::Rows;
use crate::error::Result;
use crate::kernels::{dot, l2_normalise};

/// The ends and the step of the curve, in hundredths.
const CURVE: std::ops::RangeInclusive<u8> = 40..=98;
const STEP: usize = 2;

/// What a threshold lets through.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ThresholdPoint {
    /// Cosine similarity to a prototype.
    pub threshold: f32,
    /// Rows whose best *other* identity reaches it, in percent.
    pub false_matches: f64,
    /// Rows whose own identity reaches it, in percent.
    pub recall: f64,
}

/// Similarities of rows that come one after the other to the prototypes of who came before.
#[derive(Clone, Debug, PartialEq)]
pub struct PrototypeSimilarities {
    /// To the own prototype, ascending.
    own: Vec<f32>,
    /// To the best other prototype, ascending.
    other: Vec<f32>,
}

impl PrototypeSimilarities {
    /// Of `rows [n, D]`, one for each of `crops`, in order of capture.
    ///
    /// A prototype is the mean direction of the rows of an identity so far, all identities are in the gallery, and
    /// no answer changes it: these are the similarities alone, without what the gallery makes of them. Crops of identity 0 have no prototype.
    ///
    /// # Errors
    /// None for rows of one width.
    pub fn new(rows: &Rows, crops: &[Crop]) -> Result<Self> {
        let mut sums: BTreeMap<i32, Vec<f32>> = BTreeMap::new();
        let (mut own, mut other) = (Vec::new(), Vec::new());
        let mut prototype = vec![0.0; rows.width()];
        for (index, crop) in crops.iter().enumerate() {
            let row = rows.row(index);
            let mut best = f32::NEG_INFINITY;
            for (identity, sum) in &sums {
                prototype.copy_from_slice(sum);
                let _ = l2_normalise(&mut prototype);
                let similarity = dot(&prototype, row);
                if *identity == crop.identity {
                    own.push(similarity);
                } else {
                    best = best.max(similarity);
                }
            }
            if best.is_finite() {
                other.push(best);
            }
            if crop.identity > 0 {
                let sum = sums.entry(crop.identity).or_insert_with(|| vec![0.0; rows.width()]);
                sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
        }
        own.sort_by(f32::total_cmp);
        other.sort_by(f32::total_cmp);
        Ok(Self { own, other })
    }

    /// What `threshold` lets through.
    pub fn at(&self, threshold: f32) -> ThresholdPoint {
        let share = |sorted: &[f32]| {
            let below = sorted.partition_point(|value| *value < threshold);
            100.0 * (sorted.len() - below) as f64 / sorted.len().max(1) as f64
        };
        ThresholdPoint { threshold, false_matches: share(&self.other), recall: share(&self.own) }
    }

    /// The threshold that lets `rate` (0 to 1) of the false matches through: that quantile, linear between two of them.
    pub fn at_false_matches(&self, rate: f64) -> ThresholdPoint {
        let place = (1.0 - rate).clamp(0.0, 1.0) * self.other.len().saturating_sub(1) as f64;
        let value = |place: f64| self.other.get(place as usize).copied().map_or(1.0, f64::from);
        let (low, high) = (value(place.floor()), value(place.ceil()));
        self.at((low + (high - low) * place.fract()) as f32)
    }

    /// Thresholds from 0.40 to 0.98.
    pub fn curve(&self) -> Vec<ThresholdPoint> {
        CURVE.step_by(STEP).map(|hundredth| self.at(f32::from(hundredth) / 100.0)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_stream_counted_by_hand() {
        // Two people in the plane: 1 at 0 and 20 degrees, 2 at 60, then 1 again at 10.
        let degrees: [f32; 4] = [0.0, 20.0, 60.0, 10.0];
        let rows = degrees.iter().flat_map(|angle| [angle.to_radians().cos(), angle.to_radians().sin()]).collect();
        let rows = Rows::normalised(2, rows).unwrap();
        let crop = |identity| Crop { path: PathBuf::new(), identity, camera: 1, sequence: 1, frame: 0 };
        let found = PrototypeSimilarities::new(&rows, &[crop(1), crop(1), crop(2), crop(1)]).unwrap();
        let cosine = |degrees: f32| degrees.to_radians().cos();
        // Own: 20 to 0, and 10 to the middle of 0 and 20. Other: 60 to that middle, and 10 to 60.
        for (found, expected) in found.own.iter().zip([cosine(20.0), 1.0]) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
        assert_eq!(found.other.len(), 2);
        for found in &found.other {
            assert!((found - cosine(50.0)).abs() < 1e-6, "{found}");
        }
        let point = found.at(0.9);
        assert!((point.recall - 100.0).abs() < 1e-9 && point.false_matches.abs() < 1e-9, "{point:?}");
        assert!((found.at_false_matches(0.01).threshold - cosine(50.0)).abs() < 1e-6);
    }

    #[test]
    fn quantiles_lie_between_their_neighbours() {
        let other: Vec<f32> = (0..101_u8).map(|at| f32::from(at) / 100.0).collect();
        let found = PrototypeSimilarities { own: vec![0.2, 0.995, 1.0], other };
        let point = found.at_false_matches(0.015);
        assert!((point.threshold - 0.985).abs() < 1e-6, "{point:?}");
        assert!((point.recall - 200.0 / 3.0).abs() < 1e-9, "{point:?}");
        assert_eq!(found.curve().len(), 30);
        let empty = PrototypeSimilarities { own: vec![], other: vec![] };
        assert!(empty.at_false_matches(0.01).recall.abs() < 1e-9);
    }
}
