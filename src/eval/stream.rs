//! Re-entry: crops in order of capture through buffer, network and gallery, as the pipeline leads embeddings through them.
//!
//! Boxes are given, and tracks too (a tracker without a mistake, see [`track_means`](super::track_means)); everything behind is the product's: the rooms
//! [`neighbors`](crate::neighbors), [`nformer`](crate::nformer), [`gallery`](crate::gallery) with their settings. Crops of one camera and frame are
//! answered together, all cameras share one gallery, and every crop is embedded.

mod recogniser;
mod tally;

use std::time::Duration;

use serde::Serialize;

use super::market::Split;
use super::mean;
use super::rows::Rows;
use crate::error::Result;
use crate::gallery::GallerySettings;
use crate::neighbors::EvictionPolicy;
use crate::nformer::Weights;
use recogniser::Recogniser;

pub use tally::{ReEntry, Tally};

/// What the stream is run with.
#[derive(Clone, Debug)]
pub struct StreamSetup {
    /// The fusion network, in the precision it is to be packed in.
    pub weights: Weights,
    /// Neighbours k in a buffer that is full enough.
    pub top_k: usize,
    /// Which row makes room.
    pub eviction: EvictionPolicy,
    /// When a person counts as known.
    pub gallery: GallerySettings,
    /// Frames a second of the recordings.
    pub fps: f64,
    /// Longest gap within a track.
    pub track_gap: Duration,
}

/// Figures of one stream.
#[derive(Clone, Debug, Serialize)]
pub struct StreamFigures {
    /// Similarity from which a person was known.
    pub similarity: f32,
    /// Half width of the band in which an answer was put off.
    pub band: f32,
    /// What was counted.
    #[serde(flatten)]
    pub tally: Tally,
    /// Identities that a full gallery forgot.
    pub forgotten: u64,
}

/// One crop of the stream.
#[derive(Clone, Copy, Debug)]
struct Step {
    /// Row of its embedding.
    row: usize,
    /// Who it really is.
    person: i32,
    track: u32,
    time: Duration,
    camera: u32,
    sequence: u32,
}

/// What was said about a crop when its frame had been worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Answer {
    /// The number it was given.
    identity: Option<u32>,
    /// Whether that was put off.
    unsure: bool,
}

/// Replays the crops of `split` with the embeddings `rows`. Crops of identity 0 are left out: nobody knows who they are.
///
/// # Errors
/// What the fusion network and the buffer refuse.
pub fn replay(split: &Split, rows: &Rows, setup: &StreamSetup) -> Result<StreamFigures> {
    let times = split.times(setup.fps);
    let tracks = mean::tracks(&split.crops, &times, setup.track_gap);
    let crops = split.crops.iter().enumerate().zip(times).zip(tracks);
    let steps: Vec<Step> = crops
        .filter(|(((_, crop), _), _)| crop.identity > 0)
        .map(|(((row, crop), time), track)| Step {
            row,
            person: crop.identity,
            track,
            time,
            camera: crop.camera,
            sequence: crop.sequence,
        })
        .collect();
    let mut recogniser = Recogniser::new(setup, rows.width())?;
    let mut answers = Vec::with_capacity(steps.len());
    for frame in steps.chunk_by(|one, next| (one.time, one.camera) == (next.time, next.camera)) {
        recogniser.frame(frame, rows, &mut answers)?;
    }
    let tally = Tally::count(&steps, &answers, recogniser.merges(), setup.gallery.min_embeddings);
    let GallerySettings { similarity, band, .. } = setup.gallery;
    Ok(StreamFigures { similarity, band, tally, forgotten: recogniser.forgotten() })
}
