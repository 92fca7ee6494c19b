//! The corridor: owns the rooms, leads each frame through them, and times each.
//!
//! One call of [`Pipeline::process`] is one frame. It does no I/O, and apart from the measured
//! durations its result depends on the frames alone. Its only threads are those of `backbone.threads`, which share the
//! crops of one frame and end with it.

mod assembly;
mod fusion;
mod kept;
mod reload;
pub mod timing;

use std::time::{Duration, Instant};

use crate::backbone::Backbone;
use crate::crop::CropSettings;
use crate::detector::Detector;
use crate::error::{Error, Result};
use crate::frame::{Frame, Region};
use crate::gallery::{Assignment, Gallery, IdentityId, Merge, Query};
use crate::nformer::{Online, Recomputed};
use crate::report::message::{Event, EventKind, Room, Sighting, State, pixels};
use crate::settings::Settings;
use crate::size::{MAX_PEOPLE, NEIGHBORS};
use crate::state::Fingerprint;
use crate::tracks::{TrackId, Tracks};
use fusion::Fusion;
use timing::Timing;

pub use assembly::{Models, load_weights};
pub use kept::Restored;

/// Events of one frame at most: everybody leaves, everybody enters, everybody is identified, and two are merged.
const MAX_EVENTS: usize = 3 * MAX_PEOPLE + 1;

/// Embeddings in a row that must contradict a track's identity before it is taken away.
const CONTRADICTIONS: u32 = 2;

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

/// What the pipeline knows of one track.
struct Person {
    track: TrackId,
    identity: Option<IdentityId>,
    state: State,
    similarity: Option<f32>,
}

/// All rooms of one camera.
pub struct Pipeline {
    detector: Detector,
    every: u64,
    tracks: Tracks,
    crop: CropSettings,
    backbone: Backbone,
    fusion: Fusion,
    gallery: Gallery,
    people: heapless::Vec<Person, MAX_PEOPLE>,
    /// Query vectors of one frame, `[MAX_PEOPLE, D]`.
    queries: Box<[f32]>,
    sightings: heapless::Vec<Sighting, MAX_PEOPLE>,
    events: heapless::Vec<Event, MAX_EVENTS>,
    counters: Counters,
    timing: Timing,
    /// The gallery's clock when the first frame came: what passed before this start.
    epoch: Duration,
    /// The gallery's clock at the last frame.
    clock: Duration,
    /// Frames that showed somebody.
    peopled: u64,
    /// The models that make and read embeddings.
    fingerprint: Fingerprint,
}

impl Pipeline {
    /// The rooms, ready to run. `online` is still empty, and has room for [`NEIGHBORS`] rows.
    ///
    /// # Errors
    /// [`Error::EmbeddingWidth`] if the backbone's embeddings do not fit the fusion weights, [`Error::TooLarge`] if
    /// `online` has less room than that.
    pub fn new(settings: &Settings, detector: Detector, backbone: Backbone, online: Online) -> Result<Self> {
        let width = backbone.width();
        if online.width() != width {
            return Err(Error::EmbeddingWidth { what: "fusion weights", expected: online.width(), found: width });
        }
        if online.max_rows() < NEIGHBORS {
            let (what, constant) = ("rows of the neighbour buffer", "NEIGHBORS");
            return Err(Error::TooLarge { what, found: NEIGHBORS, max: online.max_rows(), constant });
        }
        Ok(Self {
            detector,
            every: settings.detector.every,
            tracks: Tracks::new(settings.tracks.clone()),
            crop: settings.crop.clone(),
            backbone,
            fusion: Fusion::new(online, settings.neighbors.eviction)?,
            gallery: Gallery::new(settings.gallery.clone(), width),
            people: heapless::Vec::new(),
            queries: vec![0.0; MAX_PEOPLE * width].into(),
            sightings: heapless::Vec::new(),
            events: heapless::Vec::new(),
            counters: Counters::default(),
            timing: Timing::default(),
            epoch: Duration::ZERO,
            clock: Duration::ZERO,
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
        self.clock = self.clock.max(self.epoch.saturating_add(frame.time()));
        if !(self.counters.frames - 1).is_multiple_of(self.every) {
            return Ok(Seen { sightings: &[], events: &[] });
        }
        let time = frame.time();
        let detections = self.timing.time(Room::Detector, || self.detector.detect(frame))?;
        self.timing.time(Room::Tracks, || self.tracks.update(detections, time));
        self.meet_and_part(frame);
        let asked = self.embed(frame)?;
        if !asked.is_empty() {
            self.timing.time(Room::Nformer, || self.fusion.fuse(&asked))?;
            self.recognise(&asked, frame);
        }
        self.tell(frame);
        self.peopled += u64::from(!self.sightings.is_empty());
        Ok(Seen { sightings: &self.sightings, events: &self.events })
    }

    /// Counters since the start.
    pub fn counters(&self) -> Counters {
        Counters {
            evictions: self.counters.evictions + self.fusion.evictions(),
            ignored: self.counters.ignored + self.tracks.ignored() + self.detector.left_out(),
            forgotten: self.counters.forgotten + self.gallery.forgotten(),
            ..self.counters
        }
    }

    /// Rows that the fusion network computed, by layer: all rows would be the rows held, each time.
    pub fn recomputed(&self) -> &[Recomputed] {
        self.fusion.recomputed()
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
        self.gallery.len()
    }

    /// Every fixed buffer and model with its bytes.
    pub fn memory(&self) -> Vec<MemoryItem> {
        let (neighbors, nformer) = self.fusion.bytes();
        [
            ("detector", self.detector.bytes()),
            ("tracks", self.tracks.bytes()),
            ("backbone", self.backbone.bytes()),
            ("neighbors", neighbors),
            ("nformer", nformer),
            ("gallery", self.gallery.bytes()),
            ("pipeline", size_of::<Self>() + size_of_val(&*self.queries) + self.timing.bytes()),
        ]
        .map(|(name, bytes)| MemoryItem { name, bytes })
        .into()
    }

    /// Says who left and who entered, and keeps one [`Person`] for each believed track.
    fn meet_and_part(&mut self, frame: &Frame<'_>) {
        for person in &mut self.people {
            (person.state, person.similarity) = (State::Tracked, None);
        }
        for track in self.tracks.ended() {
            let Some(at) = self.people.iter().position(|person| person.track == track.id) else { continue };
            let person = self.people.swap_remove(at);
            // Cannot fail here and below: MAX_EVENTS holds all that one frame can bring.
            let _ = self.events.push(event(EventKind::Left, track.id, person.identity, frame));
        }
        for track in self.tracks.visible() {
            if self.people.iter().any(|person| person.track == track.id) {
                continue;
            }
            let person = Person { track: track.id, identity: None, state: State::Tracked, similarity: None };
            let _ = self.people.push(person);
            let _ = self.events.push(event(EventKind::Entered, track.id, None, frame));
        }
        self.part_doubles();
        let seen = visible_identities(&self.tracks, &self.people);
        self.gallery.see(self.clock, seen);
    }

    /// Takes the identity from a track that was lost, if a later track got it meanwhile and both are in view now: no
    /// two people of a frame share an identity, and the later track was compared last.
    fn part_doubles(&mut self) {
        let mut held: heapless::Vec<IdentityId, MAX_PEOPLE> = heapless::Vec::new();
        // Tracks stand oldest first.
        let visible: heapless::Vec<TrackId, MAX_PEOPLE> = self.tracks.visible().map(|track| track.id).collect();
        for track in visible.iter().rev() {
            let Some(person) = self.people.iter_mut().find(|person| person.track == *track) else { continue };
            let Some(identity) = person.identity else { continue };
            if held.contains(&identity) {
                person.identity = None;
                self.tracks.settle(*track, false);
            } else {
                // Cannot fail: there are no more tracks than places.
                let _ = held.push(identity);
            }
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
                let gallery = &mut self.gallery;
                self.timing.time(Room::Neighbors, || {
                    self.fusion.push(embedding, id, self.clock, |previous, row| gallery.retire(previous, row))
                })?;
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

    /// Checks the people just embedded whose identity is settled, and asks the gallery who the others are.
    fn recognise(&mut self, asked: &[TrackId], frame: &Frame<'_>) {
        let start = Instant::now();
        self.gallery.follow(self.fusion.owned());
        for track in asked {
            self.confirm(*track);
        }
        let taken: heapless::Vec<IdentityId, MAX_PEOPLE> = visible_identities(&self.tracks, &self.people).collect();
        let (whose, answers) = {
            let open = asked.iter().filter(|track| identity_of(&self.people, **track).is_none());
            let (whose, queries) = queries(open, &self.fusion, self.queries.chunks_exact_mut(self.backbone.width()));
            (whose, self.gallery.assign(&queries, &taken, self.clock))
        };
        for (track, answer) in whose.iter().zip(answers) {
            self.settle(*track, &answer, frame);
        }
        self.merge(asked, frame);
        self.timing.add(Room::Gallery, start.elapsed());
    }

    /// Makes one of two identities that turned out to be one person, everywhere.
    fn merge(&mut self, asked: &[TrackId], frame: &Frame<'_>) {
        let changed = asked.iter().filter_map(|track| identity_of(&self.people, *track));
        let Some(Merge { kept, gone }) = self.gallery.merge(changed) else { return };
        self.fusion.rename(gone, kept);
        for person in &mut self.people {
            if person.identity == Some(gone) {
                person.identity = Some(kept);
            }
        }
        let Some(track) = asked.iter().find(|track| identity_of(&self.people, **track) == Some(kept)) else { return };
        let merged = event(EventKind::Merged, *track, Some(kept), frame);
        // Cannot fail: MAX_EVENTS holds it.
        let _ = self.events.push(Event { other: Some(gone.0), ..merged });
    }

    /// Compares the newest rows of `track` with the identity it has. Rows that agree become the identity's. Two in a
    /// row that contradict it take the identity away: the track has gone over to somebody else where two people met.
    fn confirm(&mut self, track: TrackId) {
        let Some(person) = self.people.iter_mut().find(|person| person.track == track) else { return };
        let Some(identity) = person.identity else { return };
        let vector = &mut self.queries[..self.backbone.width()];
        let rows = self.fusion.open_mean(track, vector);
        if rows == 0 {
            return;
        }
        let Some(similarity) = self.gallery.similarity(identity, vector) else {
            // The gallery forgot it while the person was out of sight.
            person.identity = None;
            self.tracks.settle(track, false);
            return;
        };
        if !self.gallery.contradicts(similarity) {
            (person.state, person.similarity) = (State::Known, Some(similarity));
            self.fusion.claim(track, identity);
            self.tracks.settle(track, true);
            return;
        }
        (person.state, person.similarity) = (State::Unsure, Some(similarity));
        if rows >= CONTRADICTIONS {
            person.identity = None;
        }
        self.tracks.settle(track, false);
    }

    /// Writes the gallery's answer about `track` into everything that keeps it.
    fn settle(&mut self, track: TrackId, answer: &Assignment, frame: &Frame<'_>) {
        let Some(person) = self.people.iter_mut().find(|person| person.track == track) else { return };
        let (identity, state, similarity) = match answer {
            Assignment::Known { id, similarity } => (Some(*id), State::Known, Some(*similarity)),
            Assignment::New { id } => (Some(*id), State::New, None),
            Assignment::Unsure { candidates } => {
                (None, State::Unsure, candidates.first().map(|candidate| candidate.similarity))
            }
        };
        *person = Person { track, identity, state, similarity };
        if let Some(identity) = identity {
            self.fusion.claim(track, identity);
            self.tracks.settle(track, true);
            let _ = self.events.push(event(EventKind::Identified, track, Some(identity), frame));
        }
    }

    /// Writes one sighting for each person in view.
    fn tell(&mut self, frame: &Frame<'_>) {
        for track in self.tracks.visible() {
            let Some(person) = self.people.iter().find(|person| person.track == track.id) else { continue };
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

/// What to ask the gallery about the tracks in `open`: for each that has fused rows, their mean in one of `vectors`.
fn queries<'a, 'v>(
    open: impl Iterator<Item = &'a TrackId>,
    fusion: &Fusion,
    vectors: impl Iterator<Item = &'v mut [f32]>,
) -> (heapless::Vec<TrackId, MAX_PEOPLE>, heapless::Vec<Query<'v>, MAX_PEOPLE>) {
    let (mut whose, mut queries) = (heapless::Vec::new(), heapless::Vec::new());
    for (track, embedding) in open.zip(vectors) {
        let embeddings = fusion.open_mean(*track, embedding);
        if embeddings > 0 {
            // Cannot fail: there are no more tracks than places.
            let _ = whose.push(*track);
            let _ = queries.push(Query { embedding, embeddings });
        }
    }
    (whose, queries)
}

fn identity_of(people: &[Person], track: TrackId) -> Option<IdentityId> {
    people.iter().find(|person| person.track == track).and_then(|person| person.identity)
}

fn visible_identities<'a>(tracks: &'a Tracks, people: &'a [Person]) -> impl Iterator<Item = IdentityId> + 'a {
    tracks
        .visible()
        .filter_map(|track| people.iter().find(|person| person.track == track.id).and_then(|person| person.identity))
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
