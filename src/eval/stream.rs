//! Re-entry: crops in order of capture through buffer, network and gallery, as the pipeline leads embeddings through them.
//!
//! Boxes are given, and tracks too (a tracker without a mistake, see [`track_means`](super::track_means)); everything behind is the
//! product's [`Recognition`] with its settings. Crops of one camera and frame are answered together, all cameras share
//! one gallery, and every crop is embedded.

mod clip;
mod pairing;
mod tally;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::market::Split;
use super::mean;
use super::rows::Rows;
use crate::backbone::Embedding;
use crate::error::Result;
use crate::gallery::{GallerySettings, Merge};
use crate::neighbors::NeighborSettings;
use crate::nformer::{Online, Weights};
use crate::recognition::{Change, Recognition, State};
use crate::size::NEIGHBORS;
use crate::tracks::TrackId;

pub use clip::{ClipFigures, ClipTally, Naming, Shown, Sight};
pub use tally::{ReEntry, Tally};

/// What the stream is run with.
#[derive(Clone, Debug)]
pub struct StreamSetup {
    /// The fusion network, in the precision it is to be packed in.
    pub weights: Weights,
    /// Neighbours k in a buffer that is full enough.
    pub top_k: usize,
    /// What a row is, and which one makes room.
    pub neighbors: NeighborSettings,
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
    /// Score from which a person was known.
    pub similarity: f32,
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
    let online = Online::new(setup.weights.clone(), NEIGHBORS, setup.top_k)?;
    let mut recognition = Recognition::new(online, &setup.neighbors, setup.gallery.clone())?;
    let ends: BTreeMap<u32, usize> = steps.iter().enumerate().map(|(at, step)| (step.track, at)).collect();
    let (mut answers, mut merges) = (Vec::with_capacity(steps.len()), Vec::new());
    for frame in steps.chunk_by(|one, next| (one.time, one.camera) == (next.time, next.camera)) {
        lead(&mut recognition, frame, rows, &mut answers, &mut merges)?;
        for step in frame.iter().filter(|step| ends[&step.track] < answers.len()) {
            recognition.part(TrackId(step.track));
        }
    }
    let tally = Tally::count(&steps, &answers, &merges, setup.gallery.min_embeddings);
    Ok(StreamFigures { similarity: setup.gallery.similarity, tally, forgotten: recognition.gallery().forgotten() })
}

/// Leads the crops of one frame through, and adds one answer for each.
fn lead(
    recognition: &mut Recognition,
    frame: &[Step],
    rows: &Rows,
    answers: &mut Vec<Answer>,
    merges: &mut Vec<(usize, Merge)>,
) -> Result<()> {
    let Some(now) = frame.first().map(|step| step.time) else { return Ok(()) };
    let mut asked: Vec<TrackId> = frame.iter().map(|step| TrackId(step.track)).collect();
    asked.sort_unstable();
    asked.dedup();
    recognition.see(asked.iter().copied(), now);
    for step in frame {
        let mut row = rows.row(step.row).to_vec();
        recognition.push(Embedding::normalise(&mut row)?, TrackId(step.track), now)?;
    }
    recognition.fuse(&asked)?;
    let after = answers.len() + frame.len();
    merges.extend(recognition.recognise(&asked, now).iter().filter_map(|change| match change {
        Change::Merged { merge, .. } => Some((after, *merge)),
        Change::Identified { .. } => None,
    }));
    answers.extend(frame.iter().map(|step| {
        let person = recognition.person(TrackId(step.track));
        let identity = person.and_then(|person| person.identity).map(|identity| identity.0);
        let unsure = identity.is_none() || person.is_some_and(|person| person.state == State::Unsure);
        Answer { identity, unsure }
    }));
    Ok(())
}
