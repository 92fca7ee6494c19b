//! The largest values of a row.

use super::LANES;
use super::arch::{Arithmetic, Work, run};

/// Writes the indices of the `best.len()` largest `values` into `best`, the largest first, and returns how many there
/// are (fewer than asked for only where the row is shorter).
///
/// Among equal values the lower index wins. Values are numbers: the place of a NaN is not defined, but it does no harm.
pub fn top_k(values: &[f32], best: &mut [u32]) -> usize {
    run(TopK { values, best, found: 0, bar: f32::NEG_INFINITY })
}

struct TopK<'a> {
    values: &'a [f32],
    best: &'a mut [u32],
    found: usize,
    /// The smallest value that is in the list, once it is full.
    bar: f32,
}

impl Work for TopK<'_> {
    type Output = usize;

    #[inline(always)]
    fn run<A: Arithmetic>(mut self) -> usize {
        let (blocks, rest) = self.values.as_chunks::<LANES>();
        for (number, block) in blocks.iter().enumerate() {
            // Most values are below the bar: sixteen questions at once.
            let mut above = self.found < self.best.len();
            for lane in 0..LANES {
                above |= block[lane] > self.bar;
            }
            if above {
                self.meet(number * LANES, block);
            }
        }
        self.meet(blocks.len() * LANES, rest);
        self.found
    }
}

impl TopK<'_> {
    /// The values from place `first` on.
    #[inline(never)]
    fn meet(&mut self, first: usize, values: &[f32]) {
        let wanted = self.best.len();
        for (index, &value) in (first..).zip(values) {
            if self.found == wanted {
                if value <= self.bar || wanted == 0 {
                    continue;
                }
            } else {
                self.found += 1;
            }
            let others = self.found - 1;
            let place = self.best[..others].partition_point(|&other| self.values[other as usize] >= value);
            self.best.copy_within(place..others, place + 1);
            self.best[place] = index as u32;
            self.bar = self.values[self.best[others] as usize];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::reference;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Few different values, so that ties are the rule.
        #[test]
        fn equals_a_full_sort(
            row in proptest::collection::vec((-4_i8..4).prop_map(|v| f32::from(v) * 0.25), 0..=2 * LANES + 1),
            k in 0..=40_usize,
        ) {
            let mut best = vec![u32::MAX; k];
            let found = top_k(&row, &mut best);
            prop_assert_eq!(&best[..found], reference::top_k(&row, k));
        }
    }

    #[test]
    fn extremes() {
        let row = [f32::MIN, f32::MAX, f32::NEG_INFINITY, f32::INFINITY, 0.0];
        let mut best = [0; 5];
        assert_eq!(top_k(&row, &mut best), 5);
        assert_eq!(best, [3, 1, 4, 0, 2]);
        assert_eq!(top_k(&[], &mut best), 0);
        assert_eq!(top_k(&row, &mut []), 0);
        assert_eq!(top_k(&[f32::NAN; 9], &mut best), 5);
    }
}
