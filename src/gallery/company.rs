//! Who was seen together with whom: such two are never one person.

use crate::size::MAX_IDENTITIES;

const WORDS: usize = MAX_IDENTITIES.div_ceil(64);

/// One bit a pair of gallery places, in fixed memory.
pub(super) struct Company {
    /// `[MAX_IDENTITIES, WORDS]`; symmetric.
    bits: Box<[[u64; WORDS]]>,
}

impl Company {
    pub(super) fn new() -> Self {
        Self { bits: vec![[0; WORDS]; MAX_IDENTITIES].into() }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.bits)
    }

    /// Notes that the identities at two different places were in one frame.
    pub(super) fn note(&mut self, one: usize, other: usize) {
        self.bits[one][other / 64] |= 1 << (other % 64);
        self.bits[other][one / 64] |= 1 << (one % 64);
    }

    /// Whether they ever were.
    pub(super) fn met(&self, one: usize, other: usize) -> bool {
        self.bits[one][other / 64] >> (other % 64) & 1 == 1
    }

    /// Everybody whom `gone` met has met `kept`.
    pub(super) fn inherit(&mut self, kept: usize, gone: usize) {
        for other in 0..MAX_IDENTITIES {
            if other != kept && self.met(gone, other) {
                self.note(kept, other);
            }
        }
    }

    /// Forgets the place `gone` and moves what stands at `last` there (which may be the same place).
    pub(super) fn swap_remove(&mut self, gone: usize, last: usize) {
        self.clear(gone);
        if gone != last {
            self.inherit(gone, last);
            self.clear(last);
        }
    }

    fn clear(&mut self, place: usize) {
        self.bits[place] = [0; WORDS];
        for row in &mut self.bits {
            row[place / 64] &= !(1 << (place % 64));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nobody_meets_themselves() {
        let mut company = Company::new();
        company.note(0, 2);
        // 0 met 2, so 2 inherits having met itself, unless that is left out; 1 would then inherit having met 2.
        company.inherit(2, 0);
        company.inherit(1, 2);
        assert!(!company.met(2, 2));
        assert!(!company.met(1, 2));
        assert!(company.met(1, 0));
    }

    proptest! {
        #[test]
        fn it_is_a_set_of_pairs(steps in prop::collection::vec((0u8..3, 0usize..12, 0usize..12), 0..60)) {
            let mut company = Company::new();
            let mut pairs: BTreeSet<(usize, usize)> = BTreeSet::new();
            let mut people: Vec<usize> = (100..112).collect();
            for (kind, one, other) in steps {
                let (one, other) = (one % people.len(), other % people.len());
                if one == other || people.len() < 3 {
                    continue;
                }
                let pair = |a: usize, b: usize| (a.min(b), a.max(b));
                match kind {
                    0 => {
                        company.note(one, other);
                        pairs.insert(pair(people[one], people[other]));
                    }
                    1 => {
                        company.inherit(one, other);
                        let met: Vec<usize> =
                            people.iter().copied().filter(|p| pairs.contains(&pair(people[other], *p))).collect();
                        pairs.extend(met.into_iter().filter(|p| *p != people[one]).map(|p| pair(people[one], p)));
                    }
                    _ => {
                        company.swap_remove(one, people.len() - 1);
                        let gone = people.swap_remove(one);
                        pairs.retain(|(a, b)| *a != gone && *b != gone);
                    }
                }
                for a in 0..people.len() {
                    for b in 0..people.len() {
                        if a != b {
                            prop_assert_eq!(company.met(a, b), pairs.contains(&pair(people[a], people[b])));
                        }
                    }
                }
            }
        }
    }
}
