//! What a head may be a person: bounded, best first.

use super::BBox;

/// Most candidates kept before suppression. A frame with 32 people gives a few hundred; a network gone
/// wild gives thousands, and suppression is quadratic.
pub(super) const MAX_CANDIDATES: usize = 512;

/// One box before suppression.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    pub(super) bbox: BBox,
    pub(super) score: f32,
    /// Row of the output it comes from; breaks ties.
    pub(super) anchor: usize,
}

impl Candidate {
    /// Higher score first, then lower anchor: a total order, so that results do not depend on how they were sorted.
    fn order(&self, other: &Self) -> std::cmp::Ordering {
        other.score.total_cmp(&self.score).then(self.anchor.cmp(&other.anchor))
    }
}

/// The best [`MAX_CANDIDATES`] boxes of a frame. While filling it is a heap with the worst on top.
#[derive(Debug)]
pub(super) struct Candidates(Vec<Candidate>);

impl Candidates {
    pub(super) fn new() -> Self {
        Self(Vec::with_capacity(MAX_CANDIDATES))
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds a box; where all places are taken, the worst one falls out.
    pub(super) fn push(&mut self, candidate: Candidate) {
        if self.0.len() < MAX_CANDIDATES {
            self.0.push(candidate);
            self.sift_up();
        } else if self.0.first().is_some_and(|worst| candidate.order(worst).is_lt()) {
            self.0[0] = candidate;
            self.sift_down();
        }
    }

    /// All of them, best first.
    pub(super) fn sorted(&mut self) -> &[Candidate] {
        self.0.sort_unstable_by(Candidate::order);
        // Worst-first order is a valid heap, best-first is not: sorting ends the filling.
        &self.0
    }

    fn sift_up(&mut self) {
        let mut at = self.0.len() - 1;
        while at > 0 && self.0[at].order(&self.0[(at - 1) / 2]).is_gt() {
            self.0.swap(at, (at - 1) / 2);
            at = (at - 1) / 2;
        }
    }

    fn sift_down(&mut self) {
        let mut at = 0;
        loop {
            let children = 2 * at + 1..(2 * at + 3).min(self.0.len());
            let Some(worst) = children.max_by(|a, b| self.0[*a].order(&self.0[*b])) else { return };
            if self.0[worst].order(&self.0[at]).is_le() {
                return;
            }
            self.0.swap(at, worst);
            at = worst;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidate(score: f32, anchor: usize) -> Candidate {
        Candidate { bbox: BBox::default(), score, anchor }
    }

    proptest! {
        #[test]
        fn the_best_are_kept_in_order(scores in proptest::collection::vec(0_u8..40, 0..1500)) {
            let mut candidates = Candidates::new();
            let mut expected = Vec::new();
            for (anchor, score) in scores.into_iter().enumerate() {
                candidates.push(candidate(f32::from(score), anchor));
                expected.push(candidate(f32::from(score), anchor));
            }
            // A stable sort by score keeps the lower anchor first among equals.
            expected.sort_by(|a, b| b.score.partial_cmp(&a.score).unwrap());
            expected.truncate(MAX_CANDIDATES);
            prop_assert_eq!(candidates.sorted(), &expected[..]);
        }
    }

    #[test]
    fn clearing_starts_again() {
        let mut candidates = Candidates::new();
        candidates.push(candidate(1.0, 0));
        candidates.clear();
        candidates.push(candidate(0.5, 1));
        assert_eq!(candidates.sorted(), [candidate(0.5, 1)]);
    }
}
