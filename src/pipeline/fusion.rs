//! Neighbour buffer and NFormer together: rows in, current fused rows out.

use std::time::Duration;

use crate::backbone::Embedding;
use crate::error::Result;
use crate::gallery::IdentityId;
use crate::neighbors::{NeighborBuffer, Tag};
use crate::nformer::{Landmarks, NFormer};
use crate::size::NEIGHBORS;
use crate::tracks::TrackId;

/// Rows that the buffer must hold for each neighbour of a row. In a nearly empty buffer the k most similar rows of
/// anybody are everybody: fused with them, two strangers would look alike.
const ROWS_PER_NEIGHBOR: usize = 4;

/// The buffer, the network, and the fused value of every row, in fixed memory.
pub(super) struct Fusion {
    buffer: NeighborBuffer,
    nformer: NFormer,
    top_k: usize,
    width: usize,
    /// Fused rows as of the last [`Fusion::fuse`], `[NEIGHBORS, D]`.
    fused: Box<[f32]>,
    /// Rows of `fused` that are up to date.
    fused_rows: usize,
    /// Whose row each slot is, once that is known.
    owners: Box<[Option<IdentityId>]>,
    evictions: u64,
}

impl Fusion {
    /// An empty buffer before `nformer`.
    pub(super) fn new(nformer: NFormer, top_k: usize) -> Result<Self> {
        let width = nformer.width();
        Ok(Self {
            buffer: NeighborBuffer::new(width)?,
            nformer,
            top_k,
            width,
            fused: vec![0.0; NEIGHBORS * width].into(),
            fused_rows: 0,
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
            if let Some(previous) = self.owners[slot]
                && slot < self.fused_rows
            {
                evicted(previous, &self.fused[slot * self.width..(slot + 1) * self.width]);
            }
        }
        self.owners[slot] = None;
        Ok(())
    }

    /// Fuses all rows anew.
    pub(super) fn fuse(&mut self) -> Result<()> {
        let top_k = self.top_k.min(self.buffer.len() / ROWS_PER_NEIGHBOR).max(1);
        let fused = self.nformer.forward(self.buffer.rows(), top_k, Landmarks::Agents)?;
        for (slot, row) in self.fused.chunks_exact_mut(self.width).take(self.buffer.len()).enumerate() {
            // A row that fusion cancels out to nothing is similar to nobody; the others are not its fault.
            if fused.final_row(slot, row).is_err() {
                row.fill(0.0);
            }
        }
        self.fused_rows = self.buffer.len();
        Ok(())
    }

    /// The fused rows whose person is known.
    pub(super) fn owned(&self) -> impl Iterator<Item = (IdentityId, &[f32])> {
        let rows = self.fused.chunks_exact(self.width).take(self.fused_rows);
        rows.zip(&self.owners).filter_map(|(row, owner)| owner.map(|owner| (owner, row)))
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

    /// Writes the L2-normalised mean of the fused rows of `track` that nobody owns yet into `mean`, `[D]`; returns how
    /// many there are.
    pub(super) fn open_mean(&self, track: TrackId, mean: &mut [f32]) -> u32 {
        mean.fill(0.0);
        let mut count = 0;
        for slot in 0..self.fused_rows {
            if self.is_open(slot, track) {
                let row = &self.fused[slot * self.width..(slot + 1) * self.width];
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

    /// Rows that had to make room since the start.
    pub(super) fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Bytes of the buffer with its fused rows, and of the network with its scratch.
    pub(super) fn bytes(&self) -> (usize, usize) {
        let fused = size_of_val(&*self.fused) + size_of_val(&*self.owners);
        let nformer = self.nformer.bytes();
        (self.buffer.bytes() + fused, nformer.weights + nformer.scratch)
    }
}
