//! What of the pipeline is kept across restarts: the neighbour buffer and the gallery.
//!
//! Tracks are not: after a restart nobody stands where they stood. Whoever is in view then is a new track, is embedded
//! anew and recognised.

use std::time::Duration;

use super::Pipeline;
use crate::error::Result;
use crate::gallery::IdentityId;
use crate::size::{MAX_IDENTITIES, NEIGHBORS};
use crate::state::{self, Clocks, Contents, Head, Maker};

/// What came back from the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Identities known again.
    pub identities: usize,
    /// Rows of the buffer.
    pub rows: usize,
    /// Identities that expired meanwhile.
    pub expired: usize,
    /// How long the program was away, as far as its clocks can tell.
    pub away: Duration,
}

impl Pipeline {
    /// What can use a state of this pipeline: the same backbone and fusion weights.
    pub fn maker(&self) -> Maker {
        Maker { fingerprint: self.fingerprint, width: self.backbone.width() }
    }

    /// Bytes of the largest state that [`Pipeline::save`] writes.
    pub fn state_bytes(&self) -> usize {
        state::max_bytes(NEIGHBORS, MAX_IDENTITIES, self.backbone.width())
    }

    /// The number that the next new identity gets.
    pub fn next_identity(&self) -> IdentityId {
        self.gallery.next_id()
    }

    /// Another number than before if there is something new to save.
    pub fn changes(&self) -> u64 {
        self.peopled.wrapping_add(self.gallery.forgotten())
    }

    /// Writes the state behind the header in `buffer`. Rows older than `gallery.ttl_s` are left out.
    pub fn save(&self, clocks: Clocks, buffer: &mut Vec<u8>) {
        let head = Head {
            width: self.backbone.width(),
            clock: self.clock,
            clocks,
            next_identity: self.gallery.next_id(),
            next_track: self.tracks.next_id(),
        };
        let oldest = self.clock.saturating_sub(self.gallery.ttl());
        let rows = self.fusion.saved().filter(|row| row.row.tag.time >= oldest);
        state::encode(buffer, &head, rows, self.gallery.saved(), |one, other| self.gallery.met(one, other));
    }

    /// Takes back a state that was saved, before the first frame. What expired since then is left out; of what is too
    /// much for the sizes of this build, the oldest. New identities get numbers from `next_identity` on.
    ///
    /// # Errors
    /// [`Error::EmbeddingWidth`](crate::Error::EmbeddingWidth) and
    /// [`Error::BadEmbedding`](crate::Error::BadEmbedding) if these are not the embeddings of this pipeline's models.
    pub fn restore(&mut self, contents: &Contents, clocks: &Clocks, next_identity: IdentityId) -> Result<Restored> {
        let Contents { head, rows, identities, met } = contents;
        let away = clocks.since(&head.clocks);
        self.epoch = head.clock.saturating_add(away);
        self.clock = self.epoch;
        self.tracks.number_from(head.next_track);
        self.gallery.restore(identities, |one, other| met.met(one, other), next_identity)?;
        let all = self.gallery.len();
        self.gallery.see(self.clock, std::iter::empty());

        let oldest = self.clock.saturating_sub(self.gallery.ttl());
        let mut ages: Vec<u64> = rows.iter().map(|row| row.row.age).collect();
        ages.sort_unstable_by(|one, other| other.cmp(one));
        let youngest = ages.get(NEIGHBORS - 1).copied().unwrap_or(0);
        let fresh = rows.iter().filter(|row| row.row.tag.time >= oldest && row.row.age >= youngest);
        self.fusion.restore(fresh.map(state::Row::as_slice))?;
        self.gallery.follow(self.fusion.owned());
        let known = self.gallery.len();
        Ok(Restored { identities: known, rows: self.fusion.len(), expired: all - known, away })
    }

    /// Numbers new identities from `next_identity` on: what was kept cannot be used, but its numbers are taken.
    pub fn number_from(&mut self, next_identity: IdentityId) {
        self.gallery.number_from(next_identity);
    }
}
