//! The stream with the product's thresholds, and with thresholds chosen on another split.

use serde::Serialize;

use super::fuse_online;
use super::market::Split;
use super::rows::Rows;
use super::stream::{StreamFigures, StreamSetup, replay};
use super::threshold::{PrototypeSimilarities, ThresholdPoint};
use crate::error::Result;
use crate::gallery::GallerySettings;
use crate::size::NEIGHBORS;

/// Share of false matches from which on a person is known at once.
const SURE: f64 = 0.01;

/// Share of false matches from which on a person is known when patience ends.
const IMPATIENT: f64 = 0.05;

/// Thresholds of fused rows, online in the buffer of this build.
#[derive(Clone, Debug, Serialize)]
pub struct Calibration {
    /// The split they were chosen on.
    pub split: String,
    /// People in it: the best of many others is more similar than the best of few.
    pub identities: usize,
    /// Rows of the buffer.
    pub neighbors: usize,
    /// The threshold at 1 % false matches.
    pub at_1_percent: ThresholdPoint,
    /// The threshold at 5 % false matches.
    pub at_5_percent: ThresholdPoint,
    /// Thresholds in small steps.
    pub curve: Vec<ThresholdPoint>,
}

/// What the stream showed.
#[derive(Clone, Debug, Serialize)]
pub struct ReEntryFigures {
    /// With the settings given.
    pub product: StreamFigures,
    /// With `gallery.similarity` at 5 % false matches and `gallery.band` reaching to 1 %, both of `calibration`.
    pub calibrated: Option<StreamFigures>,
    /// None where there is no split to choose on.
    pub calibration: Option<Calibration>,
}

/// Replays `split`, and chooses thresholds on `tuning`.
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
    let calibration = tuning.map(|(split, rows)| calibrate(split, rows, setup)).transpose()?;
    let calibrated = match &calibration {
        Some(Calibration { at_1_percent, at_5_percent, .. }) => {
            let similarity = at_5_percent.threshold;
            let gallery =
                GallerySettings { similarity, band: at_1_percent.threshold - similarity, ..setup.gallery.clone() };
            Some(replay(split, rows, &StreamSetup { gallery, ..setup.clone() })?)
        }
        None => None,
    };
    Ok(ReEntryFigures { product, calibrated, calibration })
}

fn calibrate(split: &Split, rows: &Rows, setup: &StreamSetup) -> Result<Calibration> {
    let fused = fuse_online(&setup.weights, NEIGHBORS, setup.top_k, rows)?.rows;
    let similarities = PrototypeSimilarities::new(&fused, &split.crops)?;
    Ok(Calibration {
        split: split.name.clone(),
        identities: split.identities(),
        neighbors: NEIGHBORS,
        at_1_percent: similarities.at_false_matches(SURE),
        at_5_percent: similarities.at_false_matches(IMPATIENT),
        curve: similarities.curve(),
    })
}
