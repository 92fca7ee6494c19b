//! The corridor: owns the rooms, leads each frame through them, and times each.
//!
//! One call of [`Pipeline::process`] is one frame. It does no I/O, and apart from the measured
//! durations its result depends on the frames alone, and with a live source on the silence between
//! them ([`Pipeline::pass`]). Its only threads are those of `backbone.threads`, which share the
//! crops of one frame and end with it.

mod assembly;
mod kept;
mod reload;
pub mod timing;

use std::time::{Duration, Instant};

use crate::backbone::Backbone;
use crate::crop::CropSettings;
use crate::detector::Detector;
use crate::error::{Error, Result};
use crate::frame::{Frame, Region};
use crate::gallery::IdentityId;
use crate::nformer::{Online, Recomputed};
use crate::recognition::{Change, Recognition, RecognitionBytes};
use crate::report::message::{Event, EventKind, Room, Sighting, pixels};
use crate::settings::Settings;
use crate::size::MAX_PEOPLE;
use crate::state::Fingerprint;
use crate::tracks::{TrackId, Tracks};
use timing::Timing;

pub use assembly::{Models, load_weights};
pub use kept::Restored;

/// Events of one frame at most: everybody leaves, everybody enters, everybody is identified, and two are merged.
const MAX_EVENTS: usize = 3 * MAX_PEOPLE + 1;

/// What one frame showed.
#[derive(Debug)]
pub struct Seen<'a> {
    /// One for each person in view.
    pub sightings: &'a [Sighting],
    /// Who entered, was identified or left.
    pub events: &'a [Event],
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames processed.
    pub frames: u64,
    /// Embeddings computed.
    pub embeddings: u64,
    /// Embeddings refused because they were zero or not finite.
    pub refused: u64,
    /// Rows that left the neighbour buffer.
    pub evictions: u64,
    /// People that found no place among the tracks.
    pub ignored: u64,
    /// Identities forgotten by the gallery.
    pub forgotten: u64,
}

/// Name and bytes of one fixed buffer or model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryItem {
    /// What it is.
    pub name: &'static str,
    /// Its size.
    pub bytes: usize,
}

/// All rooms of one camera.
pub struct Pipeline {
    detector: Detector,
    every: u64,
    tracks: Tracks,
    crop: CropSettings,
    backbone: Backbone,
    recognition: Recognition,
    sightings: heapless::Vec<Sighting, MAX_PEOPLE>,
    events: heapless::Vec<Event, MAX_EVENTS>,
    counters: Counters,
    timing: Timing,
    /// The gallery's clock when the first frame came: what passed before this start.
    epoch: Duration,
    /// The gallery's clock: at the last frame, or after what passed since without one.
    clock: Duration,
    /// Whether the clock ran on without a frame.
    passed: bool,
    /// The gallery's clock when a state was taken back: what was seen until then was seen before the time away.
    restored: Duration,
    /// Frames that showed somebody.
    peopled: u64,
    /// The models that make and read embeddings.
    fingerprint: Fingerprint,
}

impl Pipeline {
    /// The rooms, ready to run. `online` is as for [`Recognition::new`].
    ///
    /// # Errors
    /// [`Error::EmbeddingWidth`] if the backbone's embeddings do not fit the fusion weights, [`Error::TooLarge`] if
    /// `online` has less room than that.
    pub fn new(settings: &Settings, detector: Detector, backbone: Backbone, online: Online) -> Result<Self> {
        let width = backbone.width();
        if online.width() != width {
            return Err(Error::EmbeddingWidth { what: "fusion weights", expected: online.width(), found: width });
        }
        Ok(Self {
            detector,
            every: settings.detector.every,
            tracks: Tracks::new(settings.tracks.clone()),
            crop: settings.crop.clone(),
            backbone,
            recognition: Recognition::new(online, &settings.neighbors, settings.gallery.clone())?,
            sightings: heapless::Vec::new(),
            events: heapless::Vec::new(),
            counters: Counters::default(),
            timing: Timing::default(),
            epoch: Duration::ZERO,
            clock: Duration::ZERO,
            passed: false,
            restored: Duration::ZERO,
            peopled: 0,
            fingerprint: Fingerprint::default(),
        })
    }

    /// Leads one frame through all rooms.
    ///
    /// A frame passed over by `detector.every` shows nobody.
    ///
    /// # Errors
    /// [`Error::ModelRun`] if a model fails; a bad embedding is only counted.
    pub fn process(&mut self, frame: &Frame<'_>) -> Result<Seen<'_>> {
        self.sightings.clear();
        self.events.clear();
        self.counters.frames += 1;
        self.tick(frame.time());
        if !(self.counters.frames - 1).is_multiple_of(self.every) {
            return Ok(Seen { sightings: &[], events: &[] });
        }
        let time = frame.time();
        let detections = self.timing.time(Room::Detector, || self.detector.detect(frame))?;
        self.timing.time(Room::Tracks, || self.tracks.update(detections, time));
        self.meet_and_part(frame);
        let asked = self.embed(frame)?;
        if !asked.is_empty() {
            self.timing.time(Room::Nformer, || self.recognition.fuse(&asked))?;
            self.recognise(&asked, frame);
        }
        self.tell(frame);
        self.peopled += u64::from(!self.sightings.is_empty());
        Ok(Seen { sightings: &self.sightings, events: &self.events })
    }

    /// Counters since the start.
    pub fn counters(&self) -> Counters {
        Counters {
            evictions: self.counters.evictions + self.recognition.evictions(),
            ignored: self.counters.ignored + self.tracks.ignored() + self.detector.left_out(),
            forgotten: self.counters.forgotten + self.recognition.gallery().forgotten(),
            ..self.counters
        }
    }

    /// Rows that the fusion network computed, by layer: all rows would be the rows held, each time.
    pub fn recomputed(&self) -> &[Recomputed] {
        self.recognition.recomputed()
    }

    /// How long the rooms take.
    pub fn timing(&self) -> &Timing {
        &self.timing
    }

    /// The same, to count what happens outside the pipeline.
    pub fn timing_mut(&mut self) -> &mut Timing {
        &mut self.timing
    }

    /// Identities known now.
    pub fn identities(&self) -> usize {
        self.recognition.gallery().len()
    }

    /// Every fixed buffer and model with its bytes.
    pub fn memory(&self) -> Vec<MemoryItem> {
        let RecognitionBytes { neighbors, nformer, gallery, queries } = self.recognition.bytes();
        [
            ("detector", self.detector.bytes()),
            ("tracks", self.tracks.bytes()),
            ("backbone", self.backbone.bytes()),
            ("neighbors", neighbors),
            ("nformer", nformer),
            ("gallery", gallery),
            ("pipeline", size_of::<Self>() + queries + self.timing.bytes()),
        ]
        .map(|(name, bytes)| MemoryItem { name, bytes })
        .into()
    }

    /// Says who left and who entered.
    fn meet_and_part(&mut self, frame: &Frame<'_>) {
        for track in self.tracks.ended() {
            let Some(person) = self.recognition.part(track.id) else { continue };
            // Cannot fail here and below: MAX_EVENTS holds all that one frame can bring.
            let _ = self.events.push(event(EventKind::Left, track.id, person.identity, frame));
        }
        for track in self.tracks.visible() {
            if self.recognition.person(track.id).is_none() {
                let _ = self.events.push(event(EventKind::Entered, track.id, None, frame));
            }
        }
        self.recognition.see(self.tracks.visible().map(|track| track.id), self.clock);
        self.settle();
    }

    /// Tells the tracks whose identity is settled: the others ask again sooner.
    fn settle(&mut self) {
        let visible: heapless::Vec<TrackId, MAX_PEOPLE> = self.tracks.visible().map(|track| track.id).collect();
        for track in visible {
            let certain = self.recognition.person(track).is_some_and(|person| person.certain);
            self.tracks.settle(track, certain);
        }
    }

    /// Takes the embeddings that are due and stores them; returns whose they are.
    fn embed(&mut self, frame: &Frame<'_>) -> Result<heapless::Vec<TrackId, MAX_PEOPLE>> {
        let mut asked = heapless::Vec::new();
        let (whose, regions) = self.regions(frame);
        let batch = self.backbone.batch();
        for (whose, regions) in whose.chunks(batch).zip(regions.chunks(batch)) {
            let start = Instant::now();
            let embeddings = self.backbone.embed_all(frame, regions);
            self.timing.add_shared(Room::Backbone, start.elapsed(), regions.len() as u32);
            for (&id, embedding) in whose.iter().zip(embeddings) {
                let embedding = match embedding {
                    Ok(embedding) => embedding,
                    Err(Error::BadEmbedding { .. }) => {
                        self.counters.refused += 1;
                        self.tracks.refused(id);
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                self.counters.embeddings += 1;
                self.timing.time(Room::Neighbors, || self.recognition.push(embedding, id, self.clock))?;
                self.tracks.embedded(id);
                // Cannot fail: nobody is due twice.
                let _ = asked.push(id);
            }
        }
        Ok(asked)
    }

    /// Who is due, and where to look at them. Who shows too little asks again later.
    fn regions(
        &mut self,
        frame: &Frame<'_>,
    ) -> (heapless::Vec<TrackId, MAX_PEOPLE>, heapless::Vec<Region, MAX_PEOPLE>) {
        let (mut whose, mut regions) = (heapless::Vec::new(), heapless::Vec::new());
        for id in self.tracks.due() {
            let Some(track) = self.tracks.visible().find(|track| track.id == id) else { continue };
            let Some(region) = self.crop.region(&track.bbox, frame) else {
                self.tracks.refused(id);
                continue;
            };
            // Cannot fail: no more are due than there are places.
            let _ = whose.push(id);
            let _ = regions.push(region);
        }
        (whose, regions)
    }

    /// Asks who the people just embedded are, and tells what changed.
    fn recognise(&mut self, asked: &[TrackId], frame: &Frame<'_>) {
        let changes = self.timing.time(Room::Gallery, || self.recognition.recognise(asked, self.clock));
        for change in changes {
            let event = match *change {
                Change::Identified { track, identity } => event(EventKind::Identified, track, Some(identity), frame),
                Change::Merged { track, merge } => {
                    let merged = event(EventKind::Merged, track, Some(merge.kept), frame);
                    Event { other: Some(merge.gone.0), ..merged }
                }
            };
            let _ = self.events.push(event);
        }
        self.settle();
    }

    /// Writes one sighting for each person in view.
    fn tell(&mut self, frame: &Frame<'_>) {
        for track in self.tracks.visible() {
            let Some(person) = self.recognition.person(track.id) else { continue };
            // Cannot fail: there are no more tracks than places.
            let _ = self.sightings.push(Sighting {
                frame: frame.sequence(),
                time_ms: millis(frame.time()),
                wall: None,
                track: track.id.0,
                identity: person.identity.map(|id| id.0),
                state: person.state,
                similarity: person.similarity.map(Into::into),
                bbox: pixels(&track.bbox),
                score: track.score.into(),
            });
        }
    }
}

fn event(kind: EventKind, track: TrackId, identity: Option<IdentityId>, frame: &Frame<'_>) -> Event {
    Event {
        kind,
        time_ms: millis(frame.time()),
        frame: frame.sequence(),
        track: track.0,
        identity: identity.map(|id| id.0),
        other: None,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
