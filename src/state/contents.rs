//! What a state holds, in memory.

use std::time::Duration;

use super::Clocks;
use crate::gallery::{IdentityId, SavedIdentity};
use crate::neighbors::SavedRow;
use crate::tracks::TrackId;

/// What concerns the whole state. All times are of the gallery's clock, which runs on from restart to restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Floats of an embedding.
    pub width: usize,
    /// The gallery's clock when it was saved.
    pub clock: Duration,
    /// The board's clocks then.
    pub clocks: Clocks,
    /// The number that the next new identity gets.
    pub next_identity: IdentityId,
    /// The number that the next track gets.
    pub next_track: TrackId,
}

/// A row of the neighbour buffer and whose it is, if that is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Row<V> {
    /// Whose.
    pub owner: Option<IdentityId>,
    /// The row.
    pub row: SavedRow<V>,
}

impl Row<Vec<f32>> {
    /// The same, with the embedding lent.
    pub fn as_slice(&self) -> Row<&[f32]> {
        let SavedRow { tag, age, length, embeddings, ref embedding } = self.row;
        Row { owner: self.owner, row: SavedRow { tag, age, length, embeddings, embedding } }
    }
}

/// Which places of a gallery were seen together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Met {
    /// One bit a pair `(i, j)`, `j < i`, at `i (i - 1) / 2 + j`.
    bits: Vec<u8>,
}

impl Met {
    /// Bytes for the pairs of `places`.
    pub(super) const fn bytes(places: usize) -> usize {
        (places * places.saturating_sub(1) / 2).div_ceil(8)
    }

    /// The pairs in these bytes.
    pub(super) fn from_bytes(bits: &[u8]) -> Self {
        Self { bits: bits.into() }
    }

    /// Whether the two places were; nobody meets themselves.
    pub fn met(&self, one: usize, other: usize) -> bool {
        let (low, high) = (one.min(other), one.max(other));
        let at = high * high.saturating_sub(1) / 2 + low;
        low != high && self.bits.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1)
    }

    /// The same among the places `kept`, which count from 0 then.
    fn among(&self, kept: &[usize]) -> Self {
        let mut bits = vec![0; Self::bytes(kept.len())];
        let pairs = (0..kept.len()).flat_map(|high| (0..high).map(move |low| (low, high)));
        for (at, (low, high)) in pairs.enumerate() {
            bits[at / 8] |= u8::from(self.met(kept[low], kept[high])) << (at % 8);
        }
        Self { bits }
    }
}

/// A whole state.
#[derive(Clone, Debug, PartialEq)]
pub struct Contents {
    /// What concerns all of it.
    pub head: Head,
    /// Rows of the buffer by slot.
    pub rows: Vec<Row<Vec<f32>>>,
    /// Identities by place.
    pub identities: Vec<SavedIdentity<Vec<f32>>>,
    /// Who was seen with whom.
    pub met: Met,
}

impl Contents {
    /// Takes out everything about the identities that `gone` names, also rows of their tracks that are nobody's yet; says
    /// how many identities and rows that were.
    pub fn remove(&mut self, gone: impl Fn(IdentityId) -> bool) -> (usize, usize) {
        let rows = self.rows.len();
        let theirs = self.rows.iter().filter(|row| row.owner.is_some_and(&gone));
        let tracks: Vec<TrackId> = theirs.map(|row| row.row.tag.track).collect();
        self.rows.retain(|row| row.owner.map_or(!tracks.contains(&row.row.tag.track), |owner| !gone(owner)));
        let places: Vec<usize> = (0..self.identities.len()).filter(|at| !gone(self.identities[*at].id)).collect();
        let identities = self.identities.len() - places.len();
        if identities > 0 {
            self.met = self.met.among(&places);
            self.identities.retain(|identity| !gone(identity.id));
        }
        (identities, rows - self.rows.len())
    }

    /// Takes out everything, and keeps the numbering.
    pub fn clear(&mut self) -> (usize, usize) {
        let gone = (self.identities.len(), self.rows.len());
        self.rows.clear();
        self.identities.clear();
        self.met = Met::default();
        gone
    }
}
