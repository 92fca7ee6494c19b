//! The gallery across restarts: its identities out, and back in the same order.

use std::time::Duration;

use super::company::Company;
use super::{Entry, Gallery, IdentityId, MAX_RETIRED_WEIGHT};
use crate::error::{Error, Result};
use crate::size::MAX_IDENTITIES;

/// An identity as it is kept; `V` holds its mean of the rows that left the buffer, `[2 D]`.
///
/// The prototype is not kept: it is made of this mean and the rows in the buffer ([`Gallery::follow`]).
#[derive(Clone, Debug, PartialEq)]
pub struct SavedIdentity<V> {
    /// Which identity.
    pub id: IdentityId,
    /// When it was seen last.
    pub last_seen: Duration,
    /// How many rows the mean stands for, 0 to 8.
    pub retired_weight: f32,
    /// Mean of the appearances that have left the buffer.
    pub retired: V,
}

impl<V: AsRef<[f32]>> SavedIdentity<V> {
    /// The same, with the mean lent.
    pub fn as_slice(&self) -> SavedIdentity<&[f32]> {
        let Self { id, last_seen, retired_weight, ref retired } = *self;
        SavedIdentity { id, last_seen, retired_weight, retired: retired.as_ref() }
    }
}

impl SavedIdentity<()> {
    /// The largest weight that an identity can have.
    pub const MAX_WEIGHT: f32 = MAX_RETIRED_WEIGHT;
}

impl Gallery {
    /// All identities by place.
    pub fn saved(&self) -> impl Iterator<Item = SavedIdentity<&[f32]>> {
        self.entries.iter().zip(self.retired.chunks_exact(self.width)).map(|(entry, retired)| SavedIdentity {
            id: entry.id,
            last_seen: entry.last_seen,
            retired_weight: entry.retired_weight,
            retired,
        })
    }

    /// Whether the identities at two places of [`Gallery::saved`] were ever seen together.
    pub fn met(&self, one: usize, other: usize) -> bool {
        self.company.met(one, other)
    }

    /// The number that the next new identity gets. Later ones get higher ones.
    pub fn next_id(&self) -> IdentityId {
        IdentityId(self.next_id)
    }

    /// Numbers new identities from `next` on, if that is further than now.
    pub fn number_from(&mut self, next: IdentityId) {
        self.next_id = self.next_id.max(next.0);
    }

    /// Moves the times of those seen after `since` by `time`: who was seen before was seen that much longer ago.
    pub fn postpone(&mut self, since: Duration, time: Duration) {
        for entry in self.entries.iter_mut().filter(|entry| entry.last_seen > since) {
            entry.last_seen = entry.last_seen.saturating_add(time);
        }
    }

    /// How long an identity is remembered that is not seen.
    pub fn ttl(&self) -> Duration {
        Duration::from_secs(self.settings.ttl_s)
    }

    /// Takes back what was kept in place of what is there, and numbers new identities from `next_id` on. `met` says of
    /// two places in `saved` whether these two were seen together.
    ///
    /// Of more than [`MAX_IDENTITIES`] the ones seen most recently are taken. Prototypes are zero until the next
    /// [`Gallery::follow`].
    ///
    /// # Errors
    /// [`Error::EmbeddingWidth`] if a mean is not as wide as the gallery's. Nothing changes then.
    pub fn restore<V: AsRef<[f32]>>(
        &mut self,
        saved: &[SavedIdentity<V>],
        met: impl Fn(usize, usize) -> bool,
        next_id: IdentityId,
    ) -> Result<()> {
        let width = self.width;
        if let Some(wrong) = saved.iter().map(|identity| identity.retired.as_ref().len()).find(|found| *found != width)
        {
            return Err(Error::EmbeddingWidth { what: "gallery", expected: width, found: wrong });
        }
        let mut places: Vec<usize> = (0..saved.len()).collect();
        places.sort_by_key(|place| std::cmp::Reverse(saved[*place].last_seen));
        places.truncate(MAX_IDENTITIES);
        places.sort_unstable();

        self.entries.clear();
        self.company = Company::new();
        self.prototypes.fill(0.0);
        self.next_id = next_id.0.max(1);
        for (at, &place) in places.iter().enumerate() {
            let SavedIdentity { id, last_seen, retired_weight, ref retired } = saved[place];
            // Cannot fail: there are no more places than entries.
            let _ = self.entries.push(Entry { id, last_seen, retired_weight });
            self.retired[at * width..(at + 1) * width].copy_from_slice(retired.as_ref());
            self.next_id = self.next_id.max(id.0.saturating_add(1));
            for (other, &elsewhere) in places[..at].iter().enumerate() {
                if met(place, elsewhere) {
                    self.company.note(at, other);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gallery::{Assignment, GallerySettings, Query};
    use crate::kernels::l2_normalise;

    const WIDTH: usize = 8;

    fn gallery() -> Gallery {
        Gallery::new(GallerySettings { min_embeddings: 1, ..GallerySettings::default() }, WIDTH)
    }

    fn vector(axis: usize, lean: f32) -> Vec<f32> {
        let mut values = vec![0.0; WIDTH];
        values[axis % WIDTH] = 1.0;
        values[(axis + 1) % WIDTH] = lean;
        assert!(l2_normalise(&mut values));
        values
    }

    /// Three people; the first two met, the first has a row that left the buffer, the second is forgotten.
    fn lived_in() -> Gallery {
        let mut gallery = gallery();
        for axis in 0..3 {
            let embedding = vector(2 * axis, 0.0);
            let query = Query { embedding: &embedding, embeddings: 1 };
            let answer = gallery.assign(&[query], &[], Duration::from_secs(axis as u64));
            assert_eq!(answer[0], Assignment::New { id: IdentityId(axis as u32 + 1) });
        }
        gallery.see(Duration::from_secs(3), [1, 3].into_iter().map(IdentityId));
        gallery.retire(IdentityId(1), &vector(0, 0.3));
        gallery
    }

    fn copy(of: &Gallery) -> Gallery {
        let saved: Vec<_> = of.saved().collect();
        let mut copy = gallery();
        copy.restore(&saved, |one, other| of.met(one, other), of.next_id()).unwrap();
        copy
    }

    #[test]
    fn a_restored_gallery_gives_the_same_answers() {
        let mut first = lived_in();
        let mut second = copy(&first);
        let rows = [(IdentityId(3), vector(4, 0.2)), (IdentityId(2), vector(2, 0.4))];
        let asked = vector(0, 0.5);
        let answers = [&mut first, &mut second].map(|gallery| {
            gallery.follow(rows.iter().map(|(id, row)| (*id, row.as_slice())));
            let known = gallery.assign(&[Query { embedding: &asked, embeddings: 1 }], &[], Duration::from_secs(9));
            let stranger = vector(6, 0.0);
            let new = gallery.assign(&[Query { embedding: &stranger, embeddings: 1 }], &[], Duration::from_secs(9));
            (known, new, gallery.met(0, 2), gallery.met(0, 1), gallery.prototypes.clone())
        });
        assert_eq!(answers[0], answers[1]);
        assert!(matches!(answers[0].0[0], Assignment::Known { id: IdentityId(1), .. }), "{:?}", answers[0].0);
        assert_eq!((answers[0].2, answers[0].3), (true, false));
    }

    #[test]
    fn numbers_go_on_behind_all_that_were_given() {
        let first = lived_in();
        let saved: Vec<_> = first.saved().collect();
        let mut second = gallery();
        second.restore(&saved, |_, _| false, IdentityId(40)).unwrap();
        assert_eq!(second.next_id(), IdentityId(40));
        second.restore(&saved, |_, _| false, IdentityId(0)).unwrap();
        assert_eq!((second.next_id(), second.len()), (IdentityId(4), 3));
    }

    #[test]
    fn of_too_many_the_ones_seen_last_are_taken() {
        let saved: Vec<_> = (0..MAX_IDENTITIES as u32 + 2)
            .map(|number| SavedIdentity {
                id: IdentityId(number + 1),
                last_seen: Duration::from_secs(u64::from(number % 2) * 100 + u64::from(number)),
                retired_weight: 0.0,
                retired: [0.0; WIDTH],
            })
            .collect();
        let mut gallery = gallery();
        gallery.restore(&saved, |one, other| one + other == 3, IdentityId(1)).unwrap();
        assert_eq!(gallery.len(), MAX_IDENTITIES);
        let ids: Vec<u32> = gallery.saved().map(|identity| identity.id.0).collect();
        assert!(!ids.contains(&1) && !ids.contains(&3), "the two seen longest ago");
        assert!(ids.is_sorted());
        assert!(!gallery.met(0, 1), "1 met 4 and 2 met 3: those left have met nobody");

        assert!(matches!(
            gallery.restore(&[SavedIdentity { retired: vec![0.0], ..blank() }], |_, _| false, IdentityId(1)),
            Err(Error::EmbeddingWidth { .. })
        ));
        assert_eq!(gallery.len(), MAX_IDENTITIES, "nothing changed");
    }

    fn blank() -> SavedIdentity<Vec<f32>> {
        SavedIdentity { id: IdentityId(1), last_seen: Duration::ZERO, retired_weight: 0.0, retired: Vec::new() }
    }
}
