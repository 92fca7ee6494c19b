//! Embeddings with their tracks in, answers out: the flow of `pipeline` from the neighbour buffer on.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Answer, Step, StreamSetup};
use crate::backbone::Embedding;
use crate::error::Result;
use crate::eval::rows::Rows;
use crate::gallery::{Assignment, Gallery, IdentityId, Merge, Query};
use crate::neighbors::{NeighborBuffer, Tag};
use crate::nformer::Online;
use crate::size::NEIGHBORS;
use crate::tracks::TrackId;

/// As in `pipeline`: rows that the buffer must hold for each neighbour of a row.
const ROWS_PER_NEIGHBOR: usize = 4;

/// As in `pipeline`: embeddings in a row that must contradict a track's identity before it is taken away.
const CONTRADICTIONS: u32 = 2;

/// Buffer, network, gallery, and who each track is.
pub(super) struct Recogniser {
    buffer: NeighborBuffer,
    online: Online,
    top_k: usize,
    gallery: Gallery,
    /// Whose row each slot is, once that is known.
    owners: Vec<Option<IdentityId>>,
    people: BTreeMap<u32, Answer>,
    merges: Vec<Merge>,
}

impl Recogniser {
    pub(super) fn new(setup: &StreamSetup, width: usize) -> Result<Self> {
        Ok(Self {
            buffer: NeighborBuffer::new(width, setup.eviction)?,
            online: Online::new(setup.weights.clone(), NEIGHBORS, setup.top_k)?,
            top_k: setup.top_k,
            gallery: Gallery::new(setup.gallery.clone(), width),
            owners: vec![None; NEIGHBORS],
            people: BTreeMap::new(),
            merges: Vec::new(),
        })
    }

    /// Identities that became one, in order.
    pub(super) fn merges(&self) -> &[Merge] {
        &self.merges
    }

    pub(super) fn forgotten(&self) -> u64 {
        self.gallery.forgotten()
    }

    /// Leads the crops of one frame through, and adds one answer for each.
    pub(super) fn frame(&mut self, frame: &[Step], rows: &Rows, answers: &mut Vec<Answer>) -> Result<()> {
        let Some(now) = frame.first().map(|step| step.time) else { return Ok(()) };
        let mut asked: Vec<u32> = frame.iter().map(|step| step.track).collect();
        asked.sort_unstable();
        asked.dedup();
        self.part_doubles(&asked);
        let visible = self.identities(&asked);
        self.gallery.see(now, visible.iter().copied());
        for step in frame {
            self.push(rows.row(step.row), step.track, now)?;
        }
        self.fuse(&asked)?;
        self.recognise(&asked, now);
        answers.extend(frame.iter().map(|step| self.answer(step.track)));
        Ok(())
    }

    fn answer(&self, track: u32) -> Answer {
        self.people.get(&track).copied().unwrap_or(Answer { identity: None, unsure: true })
    }

    fn identity(&self, track: u32) -> Option<IdentityId> {
        self.answer(track).identity.map(IdentityId)
    }

    fn identities(&self, tracks: &[u32]) -> Vec<IdentityId> {
        tracks.iter().filter_map(|track| self.identity(*track)).collect()
    }

    /// Of two tracks of a frame with one identity the later one keeps it: it was compared last.
    fn part_doubles(&mut self, asked: &[u32]) {
        let mut held = Vec::new();
        for track in asked.iter().rev() {
            let Some(identity) = self.identity(*track) else { continue };
            if held.contains(&identity) {
                self.people.insert(*track, Answer { identity: None, unsure: true });
            } else {
                held.push(identity);
            }
        }
    }

    fn push(&mut self, row: &[f32], track: u32, time: Duration) -> Result<()> {
        let mut copy = row.to_vec();
        let embedding = Embedding::normalise(&mut copy)?;
        let pushed = self.buffer.push(embedding, Tag { track: TrackId(track), time })?;
        if pushed.evicted.is_some()
            && let (Some(previous), Some(fused)) = (self.owners[pushed.slot], self.online.last_fused(pushed.slot))
        {
            self.gallery.retire(previous, fused);
        }
        self.owners[pushed.slot] = None;
        self.online.replace(pushed.slot, self.buffer.rows())
    }

    fn fuse(&mut self, asked: &[u32]) -> Result<()> {
        self.online.set_top_k(self.top_k.min(self.buffer.len() / ROWS_PER_NEIGHBOR).max(1))?;
        let rows = self.buffer.tags().iter().zip(&self.owners).enumerate();
        let used = rows.filter(|(_, (tag, owner))| owner.is_some() || asked.contains(&tag.track.0));
        self.online.fuse(self.buffer.rows(), used.map(|(slot, _)| slot));
        Ok(())
    }

    fn recognise(&mut self, asked: &[u32], now: Duration) {
        let rows = self.owners.iter().enumerate();
        let owned = rows.filter_map(|(slot, owner)| Some(((*owner)?, self.online.last_fused(slot)?)));
        self.gallery.follow(owned);
        for track in asked {
            self.confirm(*track);
        }
        let taken = self.identities(asked);
        let open: Vec<(u32, Vec<f32>, u32)> = asked
            .iter()
            .filter(|track| self.identity(**track).is_none())
            .filter_map(|track| self.open_mean(*track).map(|(mean, count)| (*track, mean, count)))
            .collect();
        let queries: Vec<Query<'_>> =
            open.iter().map(|(_, embedding, count)| Query { embedding, embeddings: *count }).collect();
        let answers = self.gallery.assign(&queries, &taken, now);
        for ((track, ..), answer) in open.iter().zip(answers) {
            let identity = match answer {
                Assignment::Known { id, .. } | Assignment::New { id } => Some(id),
                Assignment::Unsure { .. } => None,
            };
            self.people.insert(*track, Answer { identity: identity.map(|id| id.0), unsure: identity.is_none() });
            if let Some(identity) = identity {
                self.claim(*track, identity);
            }
        }
        self.merge(asked);
    }

    /// Compares the newest rows of a track with the identity it has.
    fn confirm(&mut self, track: u32) {
        let Some(identity) = self.identity(track) else { return };
        let Some((mean, count)) = self.open_mean(track) else { return };
        let answer = match self.gallery.similarity(identity, &mean) {
            None => Answer { identity: None, unsure: true },
            Some(similarity) if !self.gallery.contradicts(similarity) => {
                self.claim(track, identity);
                Answer { identity: Some(identity.0), unsure: false }
            }
            Some(_) => Answer { identity: (count < CONTRADICTIONS).then_some(identity.0), unsure: true },
        };
        self.people.insert(track, answer);
    }

    fn merge(&mut self, asked: &[u32]) {
        let changed = self.identities(asked);
        let Some(merge) = self.gallery.merge(changed.into_iter()) else { return };
        for owner in self.owners.iter_mut().filter(|owner| **owner == Some(merge.gone)) {
            *owner = Some(merge.kept);
        }
        for person in self.people.values_mut().filter(|person| person.identity == Some(merge.gone.0)) {
            person.identity = Some(merge.kept.0);
        }
        self.merges.push(merge);
    }

    /// The unit mean of the fused rows of a track that nobody owns yet, and how many there are.
    fn open_mean(&self, track: u32) -> Option<(Vec<f32>, u32)> {
        let mut mean = vec![0.0; self.buffer.width()];
        let mut count = 0;
        for slot in self.open_slots(track) {
            if let Some(row) = self.online.last_fused(slot) {
                mean.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
                count += 1;
            }
        }
        Embedding::normalise(&mut mean).ok()?;
        Some((mean, count))
    }

    fn claim(&mut self, track: u32, owner: IdentityId) {
        for slot in self.open_slots(track).collect::<Vec<_>>() {
            self.owners[slot] = Some(owner);
        }
    }

    fn open_slots(&self, track: u32) -> impl Iterator<Item = usize> {
        let slots = self.buffer.tags().iter().zip(&self.owners).enumerate();
        slots.filter(move |(_, (tag, owner))| owner.is_none() && tag.track.0 == track).map(|(slot, _)| slot)
    }
}
