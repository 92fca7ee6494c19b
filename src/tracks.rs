//! Detections -> tracks: the same person from frame to frame, and who needs an embedding now.
//!
//! Association follows ByteTrack (Zhang et al., ECCV 2022): sure detections are matched first to all
//! tracks, weak ones then only continue tracks that found nothing. The overlap is measured on boxes
//! grown on all sides (C-BIoU, Yang et al., WACV 2023), because at 5 frames a second a walker's boxes
//! may hardly touch. Motion is a constant velocity, smoothed.
//!
//! An embedding costs far more than everything else here, so a track asks for one only when it is new,
//! when nobody could say yet who it is, and at every [`TrackSettings::refresh`]-th frame; never while
//! another person hides it.

mod motion;

use std::mem;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::detector::{BBox, Detection};
use crate::error::{Result, in_range};
use crate::kernels::Assignment;
use crate::size::MAX_PEOPLE;
use motion::Motion;

/// Number of a track: one uninterrupted appearance of one person. Counts from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackId(pub u32);

/// How detections become tracks.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrackSettings {
    /// Score from which a detection may start a track, 0 to 1.
    pub start_score: f32,
    /// Least overlap (IoU of grown boxes) of a track with its detection, 0 to 1.
    pub min_overlap: f32,
    /// Growth of boxes before their overlap is measured, as a share of their size on each side.
    pub grow: f32,
    /// Detections in a row before a track is believed.
    pub confirm: u32,
    /// How long a track that is not seen is kept, in milliseconds.
    pub keep_lost_ms: u64,
    /// Embeddings asked for at the start of a track.
    pub settle: u32,
    /// Frames between two embeddings while a track is new or unsure.
    pub spacing: u32,
    /// Frames between two embeddings of a track whose identity is known.
    pub refresh: u32,
    /// Embeddings computed for one frame at most; who waited longest goes first.
    pub embeddings_per_frame: usize,
    /// Share of a box that others may cover before no embedding is taken of it, 0 to 1.
    pub max_covered: f32,
}

impl Default for TrackSettings {
    fn default() -> Self {
        Self {
            start_score: 0.45,
            min_overlap: 0.15,
            grow: 0.3,
            confirm: 2,
            keep_lost_ms: 1200,
            settle: 4,
            spacing: 2,
            refresh: 15,
            embeddings_per_frame: 4,
            max_covered: 0.4,
        }
    }
}

impl TrackSettings {
    /// Checks every range.
    ///
    /// # Errors
    /// [`Error::BadSetting`](crate::Error::BadSetting) naming the first key out of range.
    pub fn validate(&self) -> Result<()> {
        in_range("tracks.start_score", self.start_score, 0.0, 1.0)?;
        in_range("tracks.min_overlap", self.min_overlap, 0.0, 1.0)?;
        in_range("tracks.max_covered", self.max_covered, 0.0, 1.0)?;
        in_range("tracks.grow", self.grow, 0.0, 2.0)?;
        in_range("tracks.confirm", self.confirm, 1, 1000)?;
        in_range("tracks.keep_lost_ms", self.keep_lost_ms, 0, 600_000)?;
        in_range("tracks.settle", self.settle, 1, 1000)?;
        in_range("tracks.spacing", self.spacing, 1, 1_000_000)?;
        in_range("tracks.refresh", self.refresh, 1, 1_000_000)?;
        in_range("tracks.embeddings_per_frame", self.embeddings_per_frame, 1, MAX_PEOPLE)
    }
}

/// How far a track has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrackState {
    /// Seen too few times to be believed.
    Tentative,
    /// Seen in this frame.
    Visible,
    /// Believed, but not seen in this frame.
    Lost,
}

/// One person followed from frame to frame.
#[derive(Clone, Debug)]
pub struct Track {
    /// Its number.
    pub id: TrackId,
    /// Where it was last seen, in frame pixels.
    pub bbox: BBox,
    /// Score of that detection.
    pub score: f32,
    /// How far it has come.
    pub state: TrackState,
    /// Time of the frame it was last seen in.
    pub last_seen: Duration,
    /// Embeddings taken of it.
    pub embeddings: u32,
    motion: Motion,
    hits: u32,
    frames_since_embedding: u32,
    certain: bool,
    covered: f32,
}

/// All tracks of a camera, in fixed memory.
pub struct Tracks {
    settings: TrackSettings,
    table: heapless::Vec<Track, MAX_PEOPLE>,
    ended: heapless::Vec<Track, MAX_PEOPLE>,
    assignment: Assignment,
    cost: Box<[f32]>,
    next_id: u32,
    ignored: u64,
}

impl Tracks {
    /// No tracks yet.
    pub fn new(settings: TrackSettings) -> Self {
        Self {
            settings,
            table: heapless::Vec::new(),
            ended: heapless::Vec::new(),
            assignment: Assignment::new(MAX_PEOPLE, MAX_PEOPLE),
            cost: vec![0.0; MAX_PEOPLE * MAX_PEOPLE].into(),
            next_id: 1,
            ignored: 0,
        }
    }

    /// Takes the detections of the frame at `time` (later than the last one).
    ///
    /// Detections past [`MAX_PEOPLE`] and new people while all places are taken are ignored and counted.
    pub fn update(&mut self, detections: &[Detection], time: Duration) {
        self.end_stale(time);
        for track in &mut self.table {
            track.frames_since_embedding = track.frames_since_embedding.saturating_add(1);
        }
        let taken = detections.len().min(MAX_PEOPLE);
        self.ignored += (detections.len() - taken) as u64;
        let detections = &detections[..taken];

        let start_score = self.settings.start_score;
        let mut free = [true; MAX_PEOPLE];
        let mut seen = [false; MAX_PEOPLE];
        self.associate(detections, time, &mut free, &mut seen, |score| score >= start_score);
        self.associate(detections, time, &mut free, &mut seen, |score| score < start_score);

        self.mark_missed(&seen);
        for (at, detection) in detections.iter().enumerate() {
            if free[at] && detection.score >= start_score {
                self.start(detection, time);
            }
        }
        self.measure_cover();
    }

    /// The tracks, oldest first.
    pub fn all(&self) -> &[Track] {
        &self.table
    }

    /// The believed tracks seen in this frame.
    pub fn visible(&self) -> impl Iterator<Item = &Track> {
        self.table.iter().filter(|track| track.state == TrackState::Visible)
    }

    /// The believed tracks that the last [`Tracks::update`] gave up.
    pub fn ended(&self) -> &[Track] {
        &self.ended
    }

    /// People that found no place since the start.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// Who needs an embedding of this frame, most urgent first: new tracks, then unsure ones, then those
    /// due for a refresh; among equals, who waited longest.
    pub fn due(&self) -> heapless::Vec<TrackId, MAX_PEOPLE> {
        let mut due: heapless::Vec<&Track, MAX_PEOPLE> = self.visible().filter(|track| self.needs(track)).collect();
        due.sort_unstable_by_key(|track| {
            (track.embeddings >= self.settings.settle, track.certain, u32::MAX - track.frames_since_embedding, track.id)
        });
        due.iter().take(self.settings.embeddings_per_frame).map(|track| track.id).collect()
    }

    /// Notes that `id` got its embedding.
    pub fn embedded(&mut self, id: TrackId) {
        if let Some(track) = self.table.iter_mut().find(|track| track.id == id) {
            track.embeddings = track.embeddings.saturating_add(1);
            track.frames_since_embedding = 0;
        }
    }

    /// Notes whether the identity of `id` is settled now.
    pub fn settle(&mut self, id: TrackId, certain: bool) {
        if let Some(track) = self.table.iter_mut().find(|track| track.id == id) {
            track.certain = certain;
        }
    }

    /// Notes that no embedding could be had of `id` now; it asks again after the usual spacing.
    pub fn refused(&mut self, id: TrackId) {
        if let Some(track) = self.table.iter_mut().find(|track| track.id == id) {
            track.frames_since_embedding = 0;
        }
    }

    /// The number that the next track gets.
    pub fn next_id(&self) -> TrackId {
        TrackId(self.next_id)
    }

    /// Numbers the next tracks from `next` on: after a restart, so that none has the number of one before it.
    pub fn number_from(&mut self, next: TrackId) {
        self.next_id = next.0.max(1);
    }

    /// Goes on with the tracks of `other`, under the settings of its own.
    pub fn take_over(&mut self, other: &mut Self) {
        self.table = mem::take(&mut other.table);
        self.next_id = other.next_id;
    }

    /// Bytes of all fixed buffers.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.cost) + self.assignment.bytes()
    }

    fn needs(&self, track: &Track) -> bool {
        if track.covered > self.settings.max_covered {
            return false;
        }
        let waited = track.frames_since_embedding;
        let settled = track.certain && track.embeddings >= self.settings.settle;
        waited >= if settled { self.settings.refresh } else { self.settings.spacing }
    }

    fn end_stale(&mut self, time: Duration) {
        self.ended.clear();
        let keep = Duration::from_millis(self.settings.keep_lost_ms);
        let (table, ended) = (&mut self.table, &mut self.ended);
        table.retain(|track| {
            let stay = time.saturating_sub(track.last_seen) <= keep;
            if !stay && track.state != TrackState::Tentative {
                // Cannot fail: `ended` is as large as `table`.
                let _ = ended.push(track.clone());
            }
            stay
        });
    }

    /// Matches the free detections whose score `wanted` accepts to the tracks not seen yet.
    fn associate(
        &mut self,
        detections: &[Detection],
        time: Duration,
        free: &mut [bool; MAX_PEOPLE],
        seen: &mut [bool; MAX_PEOPLE],
        wanted: impl Fn(f32) -> bool,
    ) {
        let rows: heapless::Vec<usize, MAX_PEOPLE> = (0..self.table.len()).filter(|&at| !seen[at]).collect();
        let columns: heapless::Vec<usize, MAX_PEOPLE> =
            (0..detections.len()).filter(|&at| free[at] && wanted(detections[at].score)).collect();
        if rows.is_empty() || columns.is_empty() {
            return;
        }
        let grow = self.settings.grow;
        for (row, &track) in rows.iter().enumerate() {
            let predicted = grown(&self.table[track].motion.predict(time), grow);
            for (column, &detection) in columns.iter().enumerate() {
                let overlap = predicted.iou(&grown(&detections[detection].bbox, grow));
                self.cost[row * columns.len() + column] = 1.0 - overlap;
            }
        }
        let max_cost = 1.0 - self.settings.min_overlap;
        let cost = &self.cost[..rows.len() * columns.len()];
        let matches = self.assignment.solve(cost, rows.len(), columns.len(), max_cost);
        for (row, column) in matches.iter().enumerate() {
            let Some(column) = *column else { continue };
            let (track, detection) = (rows[row], columns[column]);
            seen[track] = true;
            free[detection] = false;
            self.table[track].see(&detections[detection], time, self.settings.confirm);
        }
    }

    fn mark_missed(&mut self, seen: &[bool; MAX_PEOPLE]) {
        let mut at = 0;
        self.table.retain_mut(|track| {
            let missed = !seen[at];
            at += 1;
            // A tentative track that is missed once was noise.
            if missed && track.state == TrackState::Tentative {
                return false;
            }
            if missed {
                track.state = TrackState::Lost;
            }
            true
        });
    }

    fn start(&mut self, detection: &Detection, time: Duration) {
        let track = Track {
            id: TrackId(self.next_id),
            bbox: detection.bbox,
            score: detection.score,
            state: if self.settings.confirm <= 1 { TrackState::Visible } else { TrackState::Tentative },
            last_seen: time,
            embeddings: 0,
            motion: Motion::start(&detection.bbox, time),
            hits: 1,
            // Never: the first one is due at once.
            frames_since_embedding: u32::MAX,
            certain: false,
            covered: 0.0,
        };
        if self.table.push(track).is_ok() {
            self.next_id = self.next_id.wrapping_add(1).max(1);
        } else {
            self.ignored += 1;
        }
    }

    /// Notes which share of each visible box lies under boxes that stand nearer to the camera (lower bottom edge).
    fn measure_cover(&mut self) {
        for at in 0..self.table.len() {
            let own = self.table[at].bbox;
            let covered = self
                .table
                .iter()
                .enumerate()
                .filter(|(other, track)| *other != at && track.state != TrackState::Lost)
                .filter(|(_, track)| track.bbox.y + track.bbox.height > own.y + own.height)
                .map(|(_, track)| own.intersection(&track.bbox) / own.area().max(1.0))
                .fold(0.0, f32::max);
            self.table[at].covered = covered;
        }
    }
}

impl Track {
    fn see(&mut self, detection: &Detection, time: Duration, confirm: u32) {
        self.motion.observe(&detection.bbox, time);
        self.bbox = detection.bbox;
        self.score = detection.score;
        self.last_seen = time;
        self.hits = self.hits.saturating_add(1);
        if self.state != TrackState::Tentative || self.hits >= confirm {
            self.state = TrackState::Visible;
        }
    }
}

/// `bbox` made larger by `share` of its size on each side.
fn grown(bbox: &BBox, share: f32) -> BBox {
    let (dx, dy) = (bbox.width * share, bbox.height * share);
    BBox { x: bbox.x - dx, y: bbox.y - dy, width: bbox.width + 2.0 * dx, height: bbox.height + 2.0 * dy }
}

#[cfg(test)]
mod tests;
