//! Embeddings with their tracks in, who they are out: neighbour buffer, fusion, gallery, and what is known of each track.
//!
//! A frame goes through in this order: [`Recognition::part`] for each track that ended, [`Recognition::see`] with
//! those in view, [`Recognition::push`] for each embedding made, [`Recognition::fuse`] and [`Recognition::recognise`]
//! with the tracks that got one. `pipeline` does this with frames of a camera, `eval` with crops whose people are known.

mod fusion;
mod kept;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::backbone::Embedding;
use crate::error::{Error, Result};
use crate::gallery::{APPEARANCE, Assignment, Gallery, GallerySettings, IdentityId, Merge, Query};
use crate::neighbors::NeighborSettings;
use crate::nformer::{Online, Recomputed};
use crate::size::{MAX_PEOPLE, NEIGHBORS};
use crate::tracks::TrackId;
use fusion::Fusion;

/// Embeddings in a row that must contradict a track's identity before it is taken away.
const CONTRADICTIONS: u32 = 2;

/// Changes of one frame at most: everybody is identified, and two are merged.
const MAX_CHANGES: usize = MAX_PEOPLE + 1;

/// What is known about a person of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Recognised in this frame.
    Known,
    /// Made a new identity in this frame.
    New,
    /// Compared in this frame, and too close to call.
    Unsure,
    /// Not compared in this frame: the identity, if any, is that of the track.
    Tracked,
}

/// What is known of one track.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Person {
    /// The track.
    pub track: TrackId,
    /// Who it is, once that is known.
    pub identity: Option<IdentityId>,
    /// How that came about in this frame.
    pub state: State,
    /// Cosine similarity to the identity, or to the nearest one; none where nothing was compared in this frame.
    pub similarity: Option<f32>,
    /// Whether the identity is settled: it was given, and the last embedding did not contradict it.
    pub certain: bool,
}

/// What a frame changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A track got an identity.
    Identified {
        /// The track.
        track: TrackId,
        /// Its identity.
        identity: IdentityId,
    },
    /// Two identities became one.
    Merged {
        /// A track of it.
        track: TrackId,
        /// Which two.
        merge: Merge,
    },
}

/// Bytes of the fixed buffers, by room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecognitionBytes {
    /// Rows and whose they are.
    pub neighbors: usize,
    /// The network with all that it keeps of the rows.
    pub nformer: usize,
    /// Identities.
    pub gallery: usize,
    /// What one frame asks.
    pub queries: usize,
}

/// Everything between an embedding and an identity, in fixed memory.
pub struct Recognition {
    width: usize,
    fusion: Fusion,
    gallery: Gallery,
    /// Identities forgotten when their rows were last released.
    released: u64,
    people: heapless::Vec<Person, MAX_PEOPLE>,
    /// The tracks in view, oldest first.
    visible: heapless::Vec<TrackId, MAX_PEOPLE>,
    /// Query vectors of one frame, `[MAX_PEOPLE, 2 D]`.
    queries: Box<[f32]>,
    changes: heapless::Vec<Change, MAX_CHANGES>,
}

impl Recognition {
    /// Nobody is known yet. `online` is still empty, and has room for [`NEIGHBORS`] rows; its k is that of a buffer
    /// that is full enough.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if `online` has less room than that, or wider rows than this build can hold.
    pub fn new(online: Online, neighbors: &NeighborSettings, gallery: GallerySettings) -> Result<Self> {
        if online.max_rows() < NEIGHBORS {
            let (what, constant) = ("rows of the neighbour buffer", "NEIGHBORS");
            return Err(Error::TooLarge { what, found: NEIGHBORS, max: online.max_rows(), constant });
        }
        let width = online.width();
        Ok(Self {
            width,
            fusion: Fusion::new(online, neighbors, Duration::from_secs(gallery.ttl_s))?,
            gallery: Gallery::new(gallery, APPEARANCE * width),
            released: 0,
            people: heapless::Vec::new(),
            visible: heapless::Vec::new(),
            queries: vec![0.0; MAX_PEOPLE * APPEARANCE * width].into(),
            changes: heapless::Vec::new(),
        })
    }

    /// Floats of an embedding.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Identities and when they were forgotten.
    pub fn gallery(&self) -> &Gallery {
        &self.gallery
    }

    /// Rows that left the buffer since the start.
    pub fn evictions(&self) -> u64 {
        self.fusion.evictions()
    }

    /// Rows that the fusion network computed, by layer.
    pub fn recomputed(&self) -> &[Recomputed] {
        self.fusion.recomputed()
    }

    /// Bytes of all fixed buffers.
    pub fn bytes(&self) -> RecognitionBytes {
        let (neighbors, nformer) = self.fusion.bytes();
        RecognitionBytes { neighbors, nformer, gallery: self.gallery.bytes(), queries: size_of_val(&*self.queries) }
    }

    /// What is known of `track`; nothing before the first [`Recognition::see`] with it.
    pub fn person(&self, track: TrackId) -> Option<&Person> {
        self.people.iter().find(|person| person.track == track)
    }

    /// Forgets a track that ended, and says what was known of it. Its identity stays.
    pub fn part(&mut self, track: TrackId) -> Option<Person> {
        let at = self.people.iter().position(|person| person.track == track)?;
        Some(self.people.swap_remove(at))
    }

    /// Begins the frame at `now` with these tracks in view, oldest first; a new one is nobody yet.
    ///
    /// New tracks past [`MAX_PEOPLE`] that have not ended are passed over: of them nothing is known, now or later.
    pub fn see(&mut self, visible: impl Iterator<Item = TrackId>, now: Duration) {
        for person in &mut self.people {
            (person.state, person.similarity) = (State::Tracked, None);
        }
        self.visible.clear();
        for track in visible.take(MAX_PEOPLE) {
            let nobody = Person { track, identity: None, state: State::Tracked, similarity: None, certain: false };
            if self.person(track).is_some() || self.people.push(nobody).is_ok() {
                // Cannot fail: no more are taken than there are places.
                let _ = self.visible.push(track);
            }
        }
        self.part_doubles();
        let in_view = visible_identities(&self.visible, &self.people);
        self.gallery.see(now, in_view);
        if self.released != self.gallery.forgotten() {
            self.released = self.gallery.forgotten();
            self.fusion.release(|id| self.gallery.knows(id));
        }
    }

    /// Takes the identity from a track that was lost, if a later track got it meanwhile and both are in view now: no
    /// two people of a frame share an identity, and the later track was compared last.
    fn part_doubles(&mut self) {
        let mut held: heapless::Vec<IdentityId, MAX_PEOPLE> = heapless::Vec::new();
        for track in self.visible.iter().rev() {
            let Some(person) = self.people.iter_mut().find(|person| person.track == *track) else { continue };
            let Some(identity) = person.identity else { continue };
            if held.contains(&identity) {
                (person.identity, person.certain) = (None, false);
            } else {
                // Cannot fail: there are no more tracks than places.
                let _ = held.push(identity);
            }
        }
    }

    /// Stores an embedding of `track`, taken at `now`.
    ///
    /// # Errors
    /// [`Error::EmbeddingWidth`] if it is not as wide as the network's rows.
    pub fn push(&mut self, embedding: Embedding<'_>, track: TrackId, now: Duration) -> Result<()> {
        let (gallery, person) = (&mut self.gallery, identity_of(&self.people, track));
        self.fusion.push(embedding, track, person, now, |previous, row| gallery.retire(previous, row))
    }

    /// Fuses the rows with those that came since the last call: of everybody known, and of the tracks `asked`.
    ///
    /// # Errors
    /// As [`Online::set_top_k`].
    pub fn fuse(&mut self, asked: &[TrackId]) -> Result<()> {
        self.fusion.fuse(asked)
    }

    /// Checks the tracks `asked` whose identity is known, and asks the gallery who the others are. Says what changed;
    /// the rest stands with each [`Recognition::person`].
    ///
    /// `asked` are in view and got an embedding in this frame.
    pub fn recognise(&mut self, asked: &[TrackId], now: Duration) -> &[Change] {
        self.changes.clear();
        self.gallery.follow(self.fusion.owned());
        for track in asked {
            self.confirm(*track);
        }
        let taken: heapless::Vec<IdentityId, MAX_PEOPLE> = visible_identities(&self.visible, &self.people).collect();
        let (whose, answers) = {
            let people = &self.people;
            let nobody =
                |track: &&TrackId| people.iter().any(|person| person.track == **track && person.identity.is_none());
            let open = asked.iter().filter(nobody);
            let (whose, queries) = queries(open, &self.fusion, self.queries.chunks_exact_mut(APPEARANCE * self.width));
            (whose, self.gallery.assign(&queries, &taken, now))
        };
        for (track, answer) in whose.iter().zip(answers) {
            self.settle(*track, &answer);
        }
        if !self.changes.is_empty() {
            // Who was identified just now is seen together with the others too: such two must not be merged.
            self.gallery.see(now, visible_identities(&self.visible, &self.people));
        }
        self.merge(asked);
        &self.changes
    }

    /// Compares what is new of `track` with the identity it has. An embedding that joined a row of the identity agrees. A new row
    /// that agrees becomes the identity's. Two embeddings that contradict it take the identity away: the track has
    /// gone over to somebody else where two people met.
    fn confirm(&mut self, track: TrackId) {
        let Some(person) = self.people.iter_mut().find(|person| person.track == track) else { return };
        let Some(identity) = person.identity else { return };
        let vector = &mut self.queries[..APPEARANCE * self.width];
        if self.fusion.joined(track, identity, vector)
            && let Some(similarity) = self.gallery.similarity(identity, vector)
        {
            (person.similarity, person.certain, person.state) = (Some(similarity), true, State::Known);
            return;
        }
        let rows = self.fusion.open_mean(track, vector);
        if rows == 0 {
            return;
        }
        let Some(similarity) = self.gallery.similarity(identity, vector) else {
            // The gallery forgot it while the person was out of sight.
            (person.identity, person.certain) = (None, false);
            return;
        };
        person.similarity = Some(similarity);
        person.certain = !self.gallery.contradicts(similarity);
        if person.certain {
            person.state = State::Known;
            self.fusion.claim(track, identity);
            return;
        }
        person.state = State::Unsure;
        if rows >= CONTRADICTIONS {
            person.identity = None;
        }
    }

    /// Writes the gallery's answer about `track` into everything that keeps it.
    fn settle(&mut self, track: TrackId, answer: &Assignment) {
        let Some(person) = self.people.iter_mut().find(|person| person.track == track) else { return };
        let (identity, state, similarity) = match answer {
            Assignment::Known { id, similarity } => (Some(*id), State::Known, Some(*similarity)),
            Assignment::New { id } => (Some(*id), State::New, None),
            Assignment::Unsure { candidates } => {
                (None, State::Unsure, candidates.first().map(|candidate| candidate.similarity))
            }
        };
        *person = Person { track, identity, state, similarity, certain: identity.is_some() };
        if let Some(identity) = identity {
            self.fusion.claim(track, identity);
            // Cannot fail here and below: MAX_CHANGES holds all that one frame can bring.
            let _ = self.changes.push(Change::Identified { track, identity });
        }
    }

    /// Makes one of two identities that turned out to be one person, everywhere.
    fn merge(&mut self, asked: &[TrackId]) {
        let changed = asked.iter().filter_map(|track| identity_of(&self.people, *track));
        let Some(merge) = self.gallery.merge(changed) else { return };
        self.fusion.rename(merge.gone, merge.kept);
        for person in &mut self.people {
            if person.identity == Some(merge.gone) {
                person.identity = Some(merge.kept);
            }
        }
        let one = asked.iter().find(|track| identity_of(&self.people, **track) == Some(merge.kept));
        if let Some(&track) = one {
            let _ = self.changes.push(Change::Merged { track, merge });
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

fn visible_identities<'a>(visible: &'a [TrackId], people: &'a [Person]) -> impl Iterator<Item = IdentityId> + 'a {
    visible.iter().filter_map(|track| identity_of(people, *track))
}

#[cfg(test)]
mod tests;
