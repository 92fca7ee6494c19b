//! The pipeline across restarts: its clock, its numbers, and what [`recognition`](crate::recognition) keeps.

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
        self.recognition.gallery().next_id()
    }

    /// Another number than before if there is something new to save.
    pub fn changes(&self) -> u64 {
        self.peopled.wrapping_add(self.recognition.gallery().forgotten())
    }

    /// Writes the state behind the header in `buffer`. Rows older than `gallery.ttl_s` are left out.
    pub fn save(&self, clocks: Clocks, buffer: &mut Vec<u8>) {
        let head = Head {
            width: self.backbone.width(),
            clock: self.clock,
            clocks,
            next_identity: self.next_identity(),
            next_track: self.tracks.next_id(),
        };
        self.recognition.save(&head, buffer);
    }

    /// Takes back a state that was saved, before the first frame. What expired since then is left out; of what is too
    /// much for the sizes of this build, the oldest. New identities get numbers from `next_identity` on.
    ///
    /// # Errors
    /// [`Error::EmbeddingWidth`](crate::Error::EmbeddingWidth) and
    /// [`Error::BadEmbedding`](crate::Error::BadEmbedding) if these are not the embeddings of this pipeline's models.
    pub fn restore(&mut self, contents: &Contents, clocks: &Clocks, next_identity: IdentityId) -> Result<Restored> {
        let head = &contents.head;
        let away = clocks.since(&head.clocks);
        self.epoch = head.clock.saturating_add(away);
        self.clock = self.epoch;
        self.restored = self.epoch;
        self.tracks.number_from(head.next_track);
        let (rows, expired) = self.recognition.restore(contents, self.clock, next_identity)?;
        Ok(Restored { identities: self.identities(), rows, expired, away })
    }

    /// Numbers new identities from `next_identity` on: what was kept cannot be used, but its numbers are taken.
    pub fn number_from(&mut self, next_identity: IdentityId) {
        self.recognition.number_from(next_identity);
    }

    /// Lets time pass in which a live source gives no frame: people expire all the same. A clip's time is that of its
    /// frames alone.
    pub fn pass(&mut self, time: Duration) {
        self.clock = self.clock.saturating_add(time);
        self.passed = true;
        self.recognition.expire(self.clock);
    }

    /// Counts a time away that became known after [`Pipeline::restore`]: whoever was not seen since is that much closer to
    /// their end.
    pub fn count_away(&mut self, time: Duration) {
        self.recognition.postpone(self.restored, time);
        self.epoch = self.epoch.saturating_add(time);
        self.clock = self.clock.saturating_add(time);
        self.recognition.expire(self.clock);
    }

    /// The clock at a frame with this time of its source. It never goes back, and goes on from where it stood.
    pub(super) fn tick(&mut self, time: Duration) {
        let now = self.epoch.saturating_add(time);
        if self.passed {
            // A source that starts at 0 after a long silence did not see it.
            self.epoch = self.epoch.saturating_add(self.clock.saturating_sub(now));
            self.passed = false;
        }
        self.clock = self.clock.max(now);
    }
}
