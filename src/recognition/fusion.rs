//! Neighbour buffer and NFormer together: rows in, current fused rows out.

use std::time::Duration;

use crate::backbone::Embedding;
use crate::error::Result;
use crate::gallery::IdentityId;
use crate::neighbors::{EvictionPolicy, NeighborBuffer, SavedRow, Tag};
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
    /// Whose row each slot is, once that is known.
    owners: Box<[Option<IdentityId>]>,
    evictions: u64,
}

impl Fusion {
    /// An empty buffer before `online`, which is empty too and has room for as many rows; its k now is the largest. Rows
    /// older than `ttl` are the first to make room.
    pub(super) fn new(online: Online, policy: EvictionPolicy, ttl: Duration) -> Result<Self> {
        Ok(Self {
            buffer: NeighborBuffer::new(online.width(), policy)?.with_ttl(ttl),
            top_k: online.top_k(),
            online,
            owners: vec![None; NEIGHBORS].into(),
            evictions: 0,
        })
    }

    /// Stores one embedding of `track`; whose it is, [`Fusion::claim`] says later.
    ///
    /// Tells `evicted` whose row had to make room, with its last fused value `[D]`.
    pub(super) fn push(
        &mut self,
        embedding: Embedding<'_>,
        track: TrackId,
        time: Duration,
        evicted: impl FnOnce(IdentityId, &[f32]),
    ) -> Result<()> {
        let pushed = self.buffer.push(embedding, Tag { track, time })?;
        let slot = pushed.slot;
        if pushed.evicted.is_some() {
            self.evictions += 1;
            if let (Some(previous), Some(fused)) = (self.owners[slot], self.online.last_fused(slot)) {
                evicted(previous, fused);
            }
        }
        self.owners[slot] = None;
        self.online.replace(slot, self.buffer.rows())
    }

    /// Brings the fused rows up to date of everybody known and of the tracks `asked`: only what the new rows changed.
    pub(super) fn fuse(&mut self, asked: &[TrackId]) -> Result<()> {
        self.online.set_top_k(self.top_k.min(self.buffer.len() / ROWS_PER_NEIGHBOR).max(1))?;
        let rows = self.buffer.tags().iter().zip(&self.owners).enumerate();
        let used = rows.filter(|(_, (tag, owner))| owner.is_some() || asked.contains(&tag.track));
        self.online.fuse(self.buffer.rows(), used.map(|(slot, _)| slot));
        Ok(())
    }

    /// The fused rows whose person is known, as of the last [`Fusion::fuse`].
    ///
    /// A row that fusion cancels out to nothing is all zeros, similar to nobody.
    pub(super) fn owned(&self) -> impl Iterator<Item = (IdentityId, &[f32])> {
        let rows = self.owners.iter().enumerate();
        rows.filter_map(|(slot, owner)| Some(((*owner)?, self.online.last_fused(slot)?)))
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

    /// Writes the L2-normalised mean of the fused rows of `track` that nobody owns yet into `mean`, `[D]`; returns how
    /// many there are. The track is one of those that were asked for last.
    pub(super) fn open_mean(&self, track: TrackId, mean: &mut [f32]) -> u32 {
        mean.fill(0.0);
        let mut count = 0;
        for slot in 0..self.buffer.len() {
            if self.is_open(slot, track)
                && let Some(row) = self.online.last_fused(slot)
            {
                mean.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
                count += 1;
            }
        }
        if Embedding::normalise(mean).is_ok() { count } else { 0 }
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
        for Row { owner, row: SavedRow { tag, age, embedding } } in rows {
            let embedding = Embedding::kept(embedding)?;
            let Some(slot) = self.buffer.restore(&SavedRow { tag, age, embedding })? else { break };
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
        (self.buffer.bytes() + size_of_val(&*self.owners), online.weights + online.scratch)
    }
}

#[cfg(test)]
mod tests;
