//! Fused embeddings -> who it is.
//!
//! The *appearance* of a row is the fused row and the row itself, side by side, `[2 D]`: fusion brings the rows of one person
//! together, and those of strangers dressed alike too; what they were before tells these apart.
//!
//! An *identity* is a number and a *prototype*: the L2-normalised sum of the appearances that belong to
//! it. Fusion changes rows long after they were taken, so a prototype is not frozen: after each forward
//! pass [`Gallery::follow`] rebuilds it from the *current* appearances of the neighbour buffer, and adds
//! what [`Gallery::retire`] kept of rows that have left the buffer.
//!
//! The answer has three ways ([`Assignment`]): known, new, or unsure with the candidates. All people
//! of one frame are answered together: no two of them share an identity. Known is whose *score* reaches
//! `gallery.similarity`:
//!
//! `score = best + lead * max(0, best - max(next, crowd))`
//!
//! with the cosine similarities to the nearest prototype and to the next one. Far below is new. Between is unsure, and makes
//! no identity: one made in doubt would be a second number of the same person, and take the lead from the first.

mod company;
mod saved;
mod settings;

use std::time::Duration;

use crate::kernels::{Assignment as Matching, dot, l2_normalise};
use crate::size::{MAX_IDENTITIES, MAX_PEOPLE};

pub use saved::SavedIdentity;
pub use settings::GallerySettings;

use company::Company;

/// Number of an identity: one person as far as this device can tell. Counts from 1, is never used twice,
/// and stands for nobody by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdentityId(pub u32);

/// Vectors of an appearance, each `[D]`.
pub const APPEARANCE: usize = 2;

/// Candidates named in an unsure answer at most.
pub const MAX_CANDIDATES: usize = 3;

/// Rows that have left the buffer weigh in a prototype as this many at most, so that it can follow a change of clothes.
const MAX_RETIRED_WEIGHT: f32 = 8.0;

/// A person of this frame, to be recognised.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// Mean of the person's appearances, L2-normalised, `[2 D]`.
    pub embedding: &'a [f32],
    /// Embeddings that the mean is of.
    pub embeddings: u32,
}

/// An identity an unsure person may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Which identity.
    pub id: IdentityId,
    /// Cosine similarity to its prototype.
    pub similarity: f32,
}

/// Who a person is.
#[derive(Clone, Debug, PartialEq)]
pub enum Assignment {
    /// Seen before.
    Known {
        /// Which identity.
        id: IdentityId,
        /// Cosine similarity to its prototype.
        similarity: f32,
    },
    /// Not seen before; `id` was made for this person.
    New {
        /// The identity made.
        id: IdentityId,
    },
    /// Cannot be said yet.
    Unsure {
        /// Who it may be, the most similar first.
        candidates: heapless::Vec<Candidate, MAX_CANDIDATES>,
    },
}

/// Two identities that turned out to be one person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merge {
    /// The older one, which stays.
    pub kept: IdentityId,
    /// The younger one, which is given up for it.
    pub gone: IdentityId,
}

/// One identity without its vectors, which lie in [`Gallery`]'s arrays at the same index.
#[derive(Clone, Copy, Debug)]
struct Entry {
    id: IdentityId,
    last_seen: Duration,
    /// How many rows the retired sum stands for.
    retired_weight: f32,
}

/// All identities, in fixed memory: `MAX_IDENTITIES` prototypes of `2 D` floats.
pub struct Gallery {
    settings: GallerySettings,
    width: usize,
    entries: heapless::Vec<Entry, MAX_IDENTITIES>,
    /// Mean of the appearances that have left the buffer, `[MAX_IDENTITIES, 2 D]`.
    retired: Box<[f32]>,
    /// Prototypes, `[MAX_IDENTITIES, 2 D]`.
    prototypes: Box<[f32]>,
    company: Company,
    matching: Matching,
    /// Similarity of each query to each identity, `[MAX_PEOPLE, MAX_IDENTITIES]`.
    similarity: Box<[f32]>,
    /// One less the score, as a cost for the matching.
    cost: Box<[f32]>,
    next_id: u32,
    forgotten: u64,
}

impl Gallery {
    /// An empty gallery for appearances of `width` floats, `2 D`.
    pub fn new(settings: GallerySettings, width: usize) -> Self {
        Self {
            settings,
            width,
            entries: heapless::Vec::new(),
            retired: vec![0.0; MAX_IDENTITIES * width].into(),
            prototypes: vec![0.0; MAX_IDENTITIES * width].into(),
            company: Company::new(),
            matching: Matching::new(MAX_PEOPLE, MAX_IDENTITIES),
            similarity: vec![0.0; MAX_PEOPLE * MAX_IDENTITIES].into(),
            cost: vec![0.0; MAX_PEOPLE * MAX_IDENTITIES].into(),
            next_id: 1,
            forgotten: 0,
        }
    }

    /// Identities held.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nobody is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether `id` is held.
    pub fn knows(&self, id: IdentityId) -> bool {
        self.find(id).is_some()
    }

    /// Identities forgotten since the start, by age or for lack of room.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Bytes of all fixed buffers.
    pub fn bytes(&self) -> usize {
        let floats = self.retired.len() + self.prototypes.len() + self.similarity.len() + self.cost.len();
        size_of::<Self>() + floats * size_of::<f32>() + self.company.bytes() + self.matching.bytes()
    }

    /// Notes who is in view, and forgets who was not seen for longer than `ttl_s`.
    pub fn see(&mut self, now: Duration, in_view: impl Iterator<Item = IdentityId>) {
        let places: heapless::Vec<usize, MAX_PEOPLE> =
            in_view.take(MAX_PEOPLE).filter_map(|id| self.find(id)).collect();
        for (at, &place) in places.iter().enumerate() {
            self.entries[place].last_seen = now;
            for &other in &places[..at] {
                if other != place {
                    self.company.note(place, other);
                }
            }
        }
        let ttl = Duration::from_secs(self.settings.ttl_s);
        // Backwards, because removing moves the last entry into the gap.
        for at in (0..self.entries.len()).rev() {
            if now.saturating_sub(self.entries[at].last_seen) > ttl {
                self.remove(at);
                self.forgotten += 1;
            }
        }
    }

    /// Makes one of two identities whose prototypes came to agree, if there are such two and at least one is among
    /// `changed`. The older number stays. Two that were ever seen together stay two.
    ///
    /// One merge a call: the caller renames the rows of the one that is gone before the next.
    pub fn merge(&mut self, changed: impl Iterator<Item = IdentityId>) -> Option<Merge> {
        for id in changed {
            let Some(one) = self.find(id) else { continue };
            let twin = (0..self.entries.len()).find(|&other| {
                other != one
                    && !self.company.met(one, other)
                    && dot(self.prototype(one), self.prototype(other)) >= self.settings.merge
            });
            let Some(other) = twin else { continue };
            let (kept, gone) = if self.entries[one].id < self.entries[other].id { (one, other) } else { (other, one) };
            let merge = Merge { kept: self.entries[kept].id, gone: self.entries[gone].id };
            self.absorb(kept, gone);
            return Some(merge);
        }
        None
    }

    /// Rebuilds the prototypes from the current appearances, each `[2 D]` with its identity.
    ///
    /// Rows of identities that were forgotten are passed over.
    pub fn follow<'a>(&mut self, rows: impl Iterator<Item = (IdentityId, &'a [f32])>) {
        let width = self.width;
        for (at, entry) in self.entries.iter().enumerate() {
            let span = at * width..(at + 1) * width;
            for (value, retired) in self.prototypes[span.clone()].iter_mut().zip(&self.retired[span]) {
                *value = retired * entry.retired_weight;
            }
        }
        for (id, row) in rows {
            let Some(at) = self.find(id) else { continue };
            for (value, new) in self.prototypes[at * width..(at + 1) * width].iter_mut().zip(row) {
                *value += new;
            }
        }
        for at in 0..self.entries.len() {
            // An identity without rows stays zero and is similar to nobody.
            let _ = l2_normalise(&mut self.prototypes[at * width..(at + 1) * width]);
        }
    }

    /// Cosine similarity of an appearance `[2 D]` of length 1 to the prototype of `id`; none if it was forgotten.
    pub fn similarity(&self, id: IdentityId, embedding: &[f32]) -> Option<f32> {
        Some(dot(embedding, self.prototype(self.find(id)?)))
    }

    /// Whether an embedding this similar to the identity of its own track contradicts it.
    pub fn contradicts(&self, similarity: f32) -> bool {
        similarity < self.settings.contradiction
    }

    /// Keeps what an appearance `[2 D]` of `id` that leaves the buffer says, as a running mean.
    pub fn retire(&mut self, id: IdentityId, row: &[f32]) {
        let Some(at) = self.find(id) else { return };
        let entry = &mut self.entries[at];
        entry.retired_weight = (entry.retired_weight + 1.0).min(MAX_RETIRED_WEIGHT);
        let share = 1.0 / entry.retired_weight;
        for (mean, new) in self.retired[at * self.width..(at + 1) * self.width].iter_mut().zip(row) {
            *mean += share * (new - *mean);
        }
    }

    /// Answers for all `queries` of one frame together; `taken` names the identities of people in view
    /// who are not asked about: nobody else can be them.
    ///
    /// Queries past [`MAX_PEOPLE`] get no answer.
    pub fn assign(
        &mut self,
        queries: &[Query<'_>],
        taken: &[IdentityId],
        now: Duration,
    ) -> heapless::Vec<Assignment, MAX_PEOPLE> {
        let queries = &queries[..queries.len().min(MAX_PEOPLE)];
        let columns = self.entries.len();
        self.compare(queries, taken);
        // Whose score is below all doubt is nobody's match: two people who both look like one identity must not be
        // spread over it and a worse one.
        let max_cost = 1.0 - (self.settings.similarity - self.settings.doubt);
        let matches: heapless::Vec<Option<usize>, MAX_PEOPLE> = if columns == 0 {
            queries.iter().map(|_| None).collect()
        } else {
            let cost = &self.cost[..queries.len() * columns];
            self.matching.solve(cost, queries.len(), columns, max_cost).iter().copied().collect()
        };
        let verdicts: heapless::Vec<Verdict, MAX_PEOPLE> = queries
            .iter()
            .enumerate()
            .map(|(row, query)| {
                let span = row * columns..(row + 1) * columns;
                let candidate = matches.get(row).copied().flatten().map(|at| (at, 1.0 - self.cost[span.start + at]));
                self.judge(query, &self.similarity[span], candidate)
            })
            .collect();
        // Before anybody new moves into the table, who is known gets the time that keeps the place from being taken.
        for verdict in &verdicts {
            if let Verdict::Known(candidate) = verdict
                && let Some(at) = self.find(candidate.id)
            {
                self.entries[at].last_seen = now;
            }
        }
        verdicts
            .into_iter()
            .zip(queries)
            .map(|(verdict, query)| match verdict {
                Verdict::Known(candidate) => Assignment::Known { id: candidate.id, similarity: candidate.similarity },
                Verdict::Unsure(candidates) => Assignment::Unsure { candidates },
                Verdict::New => match self.enrol(query.embedding, now) {
                    Some(id) => Assignment::New { id },
                    None => Assignment::Unsure { candidates: heapless::Vec::new() },
                },
            })
            .collect()
    }

    /// Fills `similarity` and `cost`, `[queries, identities]`; a cost is one less the score.
    ///
    /// The score of an identity is the similarity to it; that of the most similar one is raised by `lead` times what it
    /// is ahead of the next one, or of `crowd` where the next one is further off. The more people are known, the more
    /// similar is the best of all the wrong ones: how far the right one stands out changes less.
    fn compare(&mut self, queries: &[Query<'_>], taken: &[IdentityId]) {
        let columns = self.entries.len();
        for (row, query) in queries.iter().enumerate() {
            let (mut best, mut next) = ((f32::NEG_INFINITY, None), self.settings.crowd);
            for (column, entry) in self.entries.iter().enumerate() {
                let at = row * columns + column;
                if taken.contains(&entry.id) {
                    self.similarity[at] = f32::NEG_INFINITY;
                    self.cost[at] = f32::INFINITY;
                    continue;
                }
                let similarity = dot(query.embedding, self.prototype(column));
                self.similarity[at] = similarity;
                self.cost[at] = 1.0 - similarity;
                if similarity > best.0 {
                    next = next.max(best.0);
                    best = (similarity, Some(at));
                } else {
                    next = next.max(similarity);
                }
            }
            if let (similarity, Some(at)) = best {
                self.cost[at] -= self.settings.lead * (similarity - next).max(0.0);
            }
        }
    }

    /// What the similarities `[identities]` of one query say, given the identity it was matched to, and its score.
    fn judge(&self, query: &Query<'_>, similarity: &[f32], matched: Option<(usize, f32)>) -> Verdict {
        let settings = &self.settings;
        let enough = query.embeddings >= settings.min_embeddings;
        let needed = settings.similarity + if enough { 0.0 } else { settings.first };
        match matched {
            Some((at, score)) if score >= needed => {
                Verdict::Known(Candidate { id: self.entries[at].id, similarity: similarity[at] })
            }
            None if enough => Verdict::New,
            Some(_) if enough && query.embeddings >= settings.patience => Verdict::New,
            _ => Verdict::Unsure(self.nearest(similarity)),
        }
    }

    /// The most similar identities, best first.
    fn nearest(&self, similarity: &[f32]) -> heapless::Vec<Candidate, MAX_CANDIDATES> {
        let mut nearest: heapless::Vec<Candidate, MAX_CANDIDATES> = heapless::Vec::new();
        for (entry, &similarity) in self.entries.iter().zip(similarity) {
            if !similarity.is_finite() {
                continue;
            }
            let at = nearest.iter().position(|other| other.similarity < similarity).unwrap_or(nearest.len());
            if at == MAX_CANDIDATES {
                continue;
            }
            if nearest.is_full() {
                nearest.pop();
            }
            // Cannot fail: there is room now, and `at` is at most the length.
            let _ = nearest.insert(at, Candidate { id: entry.id, similarity });
        }
        nearest
    }

    /// Makes a new identity; a full gallery forgets who was seen least recently, but nobody seen right now.
    fn enrol(&mut self, embedding: &[f32], now: Duration) -> Option<IdentityId> {
        if self.entries.is_full() {
            let oldest = (0..self.entries.len()).min_by_key(|&at| (self.entries[at].last_seen, self.entries[at].id))?;
            if self.entries[oldest].last_seen >= now {
                return None;
            }
            self.remove(oldest);
            self.forgotten += 1;
        }
        let id = IdentityId(self.next_id);
        let at = self.entries.len();
        self.entries.push(Entry { id, last_seen: now, retired_weight: 0.0 }).ok()?;
        self.next_id = self.next_id.saturating_add(1);
        let span = at * self.width..(at + 1) * self.width;
        self.retired[span.clone()].fill(0.0);
        self.prototypes[span].copy_from_slice(embedding);
        Some(id)
    }

    /// Adds what is known of `gone` to `kept` and removes `gone`.
    fn absorb(&mut self, kept: usize, gone: usize) {
        let width = self.width;
        let (kept_weight, gone_weight) = (self.entries[kept].retired_weight, self.entries[gone].retired_weight);
        let weight = kept_weight + gone_weight;
        for at in 0..width {
            let (one, other) = (kept * width + at, gone * width + at);
            if weight > 0.0 {
                self.retired[one] = (self.retired[one] * kept_weight + self.retired[other] * gone_weight) / weight;
            }
            // Until the next `follow`: the mean of two unit vectors that nearly agree.
            self.prototypes[one] += self.prototypes[other];
        }
        let _ = l2_normalise(&mut self.prototypes[kept * width..(kept + 1) * width]);
        self.entries[kept].retired_weight = weight.min(MAX_RETIRED_WEIGHT);
        self.entries[kept].last_seen = self.entries[kept].last_seen.max(self.entries[gone].last_seen);
        self.company.inherit(kept, gone);
        self.remove(gone);
    }

    fn prototype(&self, at: usize) -> &[f32] {
        &self.prototypes[at * self.width..(at + 1) * self.width]
    }

    fn remove(&mut self, at: usize) {
        let last = self.entries.len() - 1;
        self.entries.swap_remove(at);
        let width = self.width;
        for vectors in [&mut self.retired, &mut self.prototypes] {
            vectors.copy_within(last * width..(last + 1) * width, at * width);
        }
        self.company.swap_remove(at, last);
    }

    fn find(&self, id: IdentityId) -> Option<usize> {
        self.entries.iter().position(|entry| entry.id == id)
    }
}

/// What [`Gallery::judge`] found, before a new identity is made.
enum Verdict {
    Known(Candidate),
    New,
    Unsure(heapless::Vec<Candidate, MAX_CANDIDATES>),
}

#[cfg(test)]
mod tests;
