//! The stream with the product's settings, with a threshold chosen on another split, and for every threshold.

use serde::Serialize;

use super::market::Split;
use super::rows::Rows;
use super::stream::{StreamFigures, StreamSetup, replay};
use crate::error::Result;
use crate::gallery::GallerySettings;

/// False matches at which a threshold is chosen, as a share of all visits.
const FALSE_MATCHES: f64 = 0.01;

/// Ends and step of the curve, in hundredths.
const CURVE: std::ops::RangeInclusive<u16> = 60..=120;
const STEP: usize = 2;

/// A split at each of many thresholds `gallery.similarity`, from low to high, all else as set.
#[derive(Clone, Debug, Serialize)]
pub struct Curve {
    /// The split.
    pub split: String,
    /// People in it: the best of many others is more similar than the best of few.
    pub identities: usize,
    /// The lowest threshold with false matches of 1 % of all visits, to the nearest visit, or below; the highest tried if
    /// there is none.
    pub at_1_percent: StreamFigures,
    /// Every threshold.
    pub points: Vec<StreamFigures>,
}

/// What the stream showed.
#[derive(Clone, Debug, Serialize)]
pub struct ReEntryFigures {
    /// With the settings given.
    pub product: StreamFigures,
    /// With the threshold that is chosen on `calibration`.
    pub calibrated: Option<StreamFigures>,
    /// The split to choose on; none where there is no other.
    pub calibration: Option<Curve>,
    /// The split itself.
    pub curve: Curve,
}

/// Replays `split`, and chooses a threshold on `tuning`.
///
/// # Errors
/// What the fusion network and the buffer refuse.
pub fn re_entry(
    split: &Split,
    rows: &Rows,
    tuning: Option<(&Split, &Rows)>,
    setup: &StreamSetup,
) -> Result<ReEntryFigures> {
    let product = replay(split, rows, setup)?;
    let calibration = tuning.map(|(split, rows)| curve(split, rows, setup)).transpose()?;
    let calibrated = match &calibration {
        Some(chosen) => Some(replay_at(split, rows, setup, chosen.at_1_percent.similarity)?),
        None => None,
    };
    Ok(ReEntryFigures { product, calibrated, calibration, curve: curve(split, rows, setup)? })
}

fn curve(split: &Split, rows: &Rows, setup: &StreamSetup) -> Result<Curve> {
    let at = |hundredth: u16| replay_at(split, rows, setup, f32::from(hundredth) / 100.0);
    let points = CURVE.step_by(STEP).map(at).collect::<Result<Vec<_>>>()?;
    let strict = points.iter().position(|point| {
        let visits = point.tally.tracks as f64;
        // Half a visit is room for rounding.
        point.tally.false_matches / 100.0 * visits < (FALSE_MATCHES * visits).round() + 0.5
    });
    let chosen = points[strict.unwrap_or(points.len() - 1)].clone();
    Ok(Curve { split: split.name.clone(), identities: split.identities(), at_1_percent: chosen, points })
}

fn replay_at(split: &Split, rows: &Rows, setup: &StreamSetup, similarity: f32) -> Result<StreamFigures> {
    let gallery = GallerySettings { similarity, ..setup.gallery.clone() };
    replay(split, rows, &StreamSetup { gallery, ..setup.clone() })
}
