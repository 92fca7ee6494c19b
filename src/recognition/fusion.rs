//! Neighbour buffer and NFormer together: rows in, current fused rows out.

use std::time::Duration;

use crate::backbone::Embedding;
use crate::error::Result;
use crate::gallery::{APPEARANCE, IdentityId};
use crate::neighbors::{NeighborBuffer, NeighborSettings, RowKind, Tag};
use crate::nformer::{Online, Recomputed};
use crate::size::NEIGHBORS;
use crate::state::Row;
use crate::tracks::TrackId;

/// Rows that the buffer must hold for each neighbour of a row. In a nearly empty buffer the k most similar rows of
/// anybody are everybody: fused with them, two strangers would look alike.
const ROWS_PER_NEIGHBOR: usize = 4;

/// The buffer, the network over its slots, and whose rows they are, in fixed memory.
pub(super) struct Fusion {
    buffer: NeighborBuffer,
    online: Online,
    /// Neighbours of a row in a buffer that is full enough.
    top_k: usize,
    /// Cosine from which an embedding joins a row of its track; none where each is a row of its own.
    agreement: Option<f32>,
    /// Whose row each slot is, once that is known.
    owners: Box<[Option<IdentityId>]>,
    /// Fused row and row of each slot as of the last fusion that asked for it, `[NEIGHBORS, 2 D]`.
    appearances: Box<[f32]>,
    evictions: u64,
}

impl Fusion {
    /// An empty buffer before `online`, which is empty too and has room for as many rows; its k now is the largest. Rows
    /// older than `ttl` are the first to make room.
    pub(super) fn new(online: Online, settings: &NeighborSettings, ttl: Duration) -> Result<Self> {
        Ok(Self {
            buffer: NeighborBuffer::new(online.width(), settings.eviction)?.with_ttl(ttl),
            top_k: online.top_k(),
            agreement: (settings.rows == RowKind::Track).then_some(settings.agreement),
            owners: vec![None; NEIGHBORS].into(),
            appearances: vec![0.0; NEIGHBORS * APPEARANCE * online.width()].into(),
            online,
            evictions: 0,
        })
    }

    /// Stores one embedding of `track`, who is `person` as far as is known: in a row of the track that it agrees with and that is
    /// the same person's, else in a new row, whose owner [`Fusion::claim`] says later.
    ///
    /// Tells `evicted` whose row had to make room, with its last appearance `[2 D]`.
    pub(super) fn push(
        &mut self,
        embedding: Embedding<'_>,
        track: TrackId,
        person: Option<IdentityId>,
        time: Duration,
        evicted: impl FnOnce(IdentityId, &[f32]),
    ) -> Result<()> {
        if let Some(slot) = self.row_to_join(embedding, track, person) {
            self.buffer.blend(slot, embedding, time)?;
            return self.online.replace(slot, self.buffer.rows());
        }
        let pushed = self.buffer.push(embedding, Tag { track, time })?;
        let slot = pushed.slot;
        if pushed.evicted.is_some() {
            self.evictions += 1;
            if let (Some(previous), Some(appearance)) = (self.owners[slot], self.appearance(slot)) {
                evicted(previous, appearance);
            }
        }
        self.owners[slot] = None;
        self.online.replace(slot, self.buffer.rows())
    }

    /// The row that an embedding of `track` joins. One that belongs to somebody else is out of the question: the track was
    /// taken for that one before.
    fn row_to_join(&self, embedding: Embedding<'_>, track: TrackId, person: Option<IdentityId>) -> Option<usize> {
        let agreement = self.agreement?;
        let theirs = |slot: usize| self.owners[slot].is_none_or(|owner| Some(owner) == person);
        let (slot, similarity) = self.buffer.nearest_of(track, embedding, theirs)?;
        (similarity >= agreement).then_some(slot)
    }

    /// Brings the fused rows up to date of everybody known and of the tracks `asked`: only what the new rows changed.
    pub(super) fn fuse(&mut self, asked: &[TrackId]) -> Result<()> {
        self.online.set_top_k(self.top_k.min(self.buffer.len() / ROWS_PER_NEIGHBOR).max(1))?;
        let rows = self.buffer.tags().iter().zip(&self.owners).enumerate();
        let used = rows.filter(|(_, (tag, owner))| owner.is_some() || asked.contains(&tag.track));
        self.online.fuse(self.buffer.rows(), used.clone().map(|(slot, _)| slot));
        let width = self.buffer.width();
        for (slot, _) in used {
            let (fused, plain) =
                self.appearances[slot * APPEARANCE * width..][..APPEARANCE * width].split_at_mut(width);
            if let (Some(row), Some(same)) = (self.online.last_fused(slot), self.buffer.row(slot)) {
                fused.copy_from_slice(row);
                plain.copy_from_slice(same);
            }
        }
        Ok(())
    }

    /// The appearances whose person is known, as of the last [`Fusion::fuse`].
    pub(super) fn owned(&self) -> impl Iterator<Item = (IdentityId, &[f32])> {
        let rows = self.owners.iter().enumerate();
        rows.filter_map(|(slot, owner)| Some(((*owner)?, self.appearance(slot)?)))
    }

    /// The appearance of the row in `slot`, `[2 D]`, if the last [`Fusion::fuse`] asked for it.
    fn appearance(&self, slot: usize) -> Option<&[f32]> {
        let width = APPEARANCE * self.buffer.width();
        self.online.last_fused(slot).map(|_| &self.appearances[slot * width..][..width])
    }

    /// Notes that the rows of `track` that nobody owns yet are of `owner`.
    pub(super) fn claim(&mut self, track: TrackId, owner: IdentityId) {
        for slot in 0..self.buffer.len() {
            if self.is_open(slot, track) {
                self.owners[slot] = Some(owner);
            }
        }
    }

    /// Gives the rows of `gone` to `kept`.
    pub(super) fn rename(&mut self, gone: IdentityId, kept: IdentityId) {
        for owner in self.owners.iter_mut().filter(|owner| **owner == Some(gone)) {
            *owner = Some(kept);
        }
    }

    /// Notes that the rows of whom `known` denies are nobody's: they are no longer fused for their own sake.
    pub(super) fn release(&mut self, known: impl Fn(IdentityId) -> bool) {
        for owner in &mut self.owners {
            *owner = owner.filter(|id| known(*id));
        }
    }

    /// Writes the L2-normalised mean of the appearances of `track` that nobody owns yet into `mean`, `[2 D]`, each by its
    /// embeddings; returns how many these are. The track is one of those that were asked for last.
    pub(super) fn open_mean(&self, track: TrackId, mean: &mut [f32]) -> u32 {
        mean.fill(0.0);
        let mut count = 0_u32;
        for slot in 0..self.buffer.len() {
            if self.is_open(slot, track)
                && let Some(row) = self.appearance(slot)
            {
                let embeddings = self.buffer.embeddings(slot);
                mean.iter_mut().zip(row).for_each(|(sum, value)| *sum += embeddings as f32 * value);
                count = count.saturating_add(embeddings);
            }
        }
        if Embedding::normalise(mean).is_ok() { count } else { 0 }
    }

    /// Whether the last embedding of `track` stands in a row of `owner`'s, because it agreed with what was there. Writes the
    /// L2-normalised appearance of that row into `appearance`, `[2 D]`.
    pub(super) fn joined(&self, track: TrackId, owner: IdentityId, appearance: &mut [f32]) -> bool {
        let slot = self.buffer.newest_of(track).filter(|slot| self.owners[*slot] == Some(owner));
        let Some(row) = slot.and_then(|slot| self.appearance(slot)) else { return false };
        appearance.copy_from_slice(row);
        Embedding::normalise(appearance).is_ok()
    }

    /// Whether the row in `slot` is of `track` and nobody's yet.
    fn is_open(&self, slot: usize, track: TrackId) -> bool {
        self.owners[slot].is_none() && self.buffer.tag(slot).is_some_and(|tag| tag.track == track)
    }

    /// Rows held now.
    pub(super) fn len(&self) -> usize {
        self.buffer.len()
    }

    /// All rows by slot, as they are kept across restarts.
    pub(super) fn saved(&self) -> impl Iterator<Item = Row<&[f32]>> {
        self.buffer.saved().zip(&self.owners).map(|(row, owner)| Row { owner: *owner, row })
    }

    /// Puts back rows that were kept into the empty buffer, and fuses those whose person is known.
    ///
    /// The result of fusion depends on the rows and their slots alone, so that it is the same bits as before.
    pub(super) fn restore<'a>(&mut self, rows: impl Iterator<Item = Row<&'a [f32]>>) -> Result<()> {
        for Row { owner, row } in rows {
            let row = row.map(Embedding::kept)?;
            let Some(slot) = self.buffer.restore(&row)? else { break };
            self.online.replace(slot, self.buffer.rows())?;
            self.owners[slot] = owner;
        }
        if self.buffer.is_empty() { Ok(()) } else { self.fuse(&[]) }
    }

    /// Moves the times of rows after `since` by `time`.
    pub(super) fn postpone(&mut self, since: Duration, time: Duration) {
        self.buffer.postpone(since, time);
    }

    /// Rows that had to make room since the start.
    pub(super) fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Goes on with the network's counts of `old`.
    pub(super) fn count_on(&mut self, old: &Self) {
        self.online.count_on(old.online.recomputed());
    }

    /// Rows that the network computed, by layer.
    pub(super) fn recomputed(&self) -> &[Recomputed] {
        self.online.recomputed()
    }

    /// Bytes of the buffer, and of the network with all that it keeps of the rows.
    pub(super) fn bytes(&self) -> (usize, usize) {
        let online = self.online.bytes();
        let beside = size_of_val(&*self.owners) + size_of_val(&*self.appearances);
        (self.buffer.bytes() + beside, online.weights + online.scratch)
    }
}

#[cfg(test)]
mod tests;
