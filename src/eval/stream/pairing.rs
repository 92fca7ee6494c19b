//! People and the numbers they were given -> how far these agree at best.

use std::collections::{BTreeMap, BTreeSet};

use crate::kernels::Assignment;

/// Agreement under the pairing of people with numbers, one to one, that makes it largest (IDTP); `counts` says how often each
/// person had each number.
///
/// Source: Ristani et al., "Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking", ECCVW 2016.
pub(super) fn agreeing(counts: &BTreeMap<(i64, i64), usize>) -> usize {
    let place = |names: BTreeSet<i64>| names.into_iter().zip(0..).collect::<BTreeMap<i64, usize>>();
    let people = place(counts.keys().map(|(person, _)| *person).collect());
    let numbers = place(counts.keys().map(|(_, number)| *number).collect());
    let mut cost = vec![0.0; people.len() * numbers.len()];
    for ((person, number), count) in counts {
        // Whole numbers below 2^24 are exact as f32: at 30 frames a second that is six days of one person.
        cost[people[person] * numbers.len() + numbers[number]] = -(*count as f32);
    }
    let mut matching = Assignment::new(people.len(), numbers.len());
    let pairs = matching.solve(&cost, people.len(), numbers.len(), 0.0).iter().enumerate();
    pairs.filter_map(|(row, column)| Some(-cost[row * numbers.len() + (*column)?] as usize)).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every pairing there is, one person after the other.
    fn brute_force(counts: &BTreeMap<(i64, i64), usize>, person: i64, people: i64, used: &mut Vec<i64>) -> usize {
        if person == people {
            return 0;
        }
        let mut best = brute_force(counts, person + 1, people, used);
        for number in 0..5 {
            if !used.contains(&number) {
                used.push(number);
                let here = counts.get(&(person, number)).copied().unwrap_or(0);
                best = best.max(here + brute_force(counts, person + 1, people, used));
                used.pop();
            }
        }
        best
    }

    #[test]
    fn nobody_agrees_with_nothing() {
        assert_eq!(agreeing(&BTreeMap::new()), 0);
    }

    proptest! {
        #[test]
        fn the_best_of_all_pairings_is_found(
            counts in prop::collection::btree_map((0i64..5, 0i64..5), 1usize..40, 0..16),
        ) {
            prop_assert_eq!(agreeing(&counts), brute_force(&counts, 0, 5, &mut Vec::new()));
        }
    }
}
