//! What of recognition is kept across restarts: the neighbour buffer and the gallery.
//!
//! Tracks are not, except while the program runs on: after a restart nobody stands where they stood. Whoever is in view then is a new track, is embedded
//! anew and recognised.

use std::mem;
use std::time::Duration;

use super::Recognition;
use crate::error::Result;
use crate::gallery::IdentityId;
use crate::neighbors::Tag;
use crate::size::NEIGHBORS;
use crate::state::{self, Contents, Head};

impl Recognition {
    /// Writes the state behind the header in `buffer`. Rows older than `gallery.ttl_s` are left out, and those from before
    /// the track numbers began anew.
    pub fn save(&self, head: &Head, buffer: &mut Vec<u8>) {
        let oldest = head.clock.saturating_sub(self.gallery.ttl());
        let stays = |tag: &Tag| tag.time >= oldest && tag.track < head.next_track;
        let rows = self.fusion.saved().filter(|row| stays(&row.row.tag));
        state::encode(buffer, head, rows, self.gallery.saved(), |one, other| self.gallery.met(one, other));
    }

    /// Takes back what was saved, before the first frame. What expired by `now` is left out; of what is too much for
    /// the sizes of this build, the oldest. New identities get numbers from `next_identity` on. Returns the rows taken
    /// and the identities that expired.
    ///
    /// # Errors
    /// [`Error::EmbeddingWidth`](crate::Error::EmbeddingWidth) and [`Error::BadEmbedding`](crate::Error::BadEmbedding)
    /// if these are not the embeddings of the models at hand.
    pub fn restore(&mut self, contents: &Contents, now: Duration, next_identity: IdentityId) -> Result<(usize, usize)> {
        let Contents { rows, identities, met, .. } = contents;
        self.gallery.restore(identities, |one, other| met.met(one, other), next_identity)?;
        let all = self.gallery.len();
        self.expire(now);

        let oldest = now.saturating_sub(self.gallery.ttl());
        let mut ages: Vec<u64> = rows.iter().map(|row| row.row.age).collect();
        ages.sort_unstable_by(|one, other| other.cmp(one));
        let youngest = ages.get(NEIGHBORS - 1).copied().unwrap_or(0);
        let fresh = rows.iter().filter(|row| row.row.tag.time >= oldest && row.row.age >= youngest);
        self.fusion.restore(fresh.map(state::Row::as_slice))?;
        self.gallery.follow(self.fusion.owned());
        Ok((self.fusion.len(), all - self.gallery.len()))
    }

    /// Forgets who expired by `now`, when nobody is looked at.
    pub fn expire(&mut self, now: Duration) {
        self.gallery.see(now, std::iter::empty());
    }

    /// Moves what was seen after `since` by `time` towards the end: a time away before that became known late.
    pub fn postpone(&mut self, since: Duration, time: Duration) {
        self.gallery.postpone(since, time);
        self.fusion.postpone(since, time);
    }

    /// Takes over what `old` knows of the tracks, which run on: other settings, not another start.
    pub fn take_people(&mut self, old: &mut Self) {
        self.people = mem::take(&mut old.people);
        self.fusion.count_on(&old.fusion);
    }

    /// Numbers new identities from `next_identity` on: what was kept cannot be used, but its numbers are taken.
    pub fn number_from(&mut self, next_identity: IdentityId) {
        self.gallery.number_from(next_identity);
    }
}
