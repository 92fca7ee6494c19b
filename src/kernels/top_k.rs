//! The largest values of a row.

/// Writes the indices of the `best.len()` largest `values` into `best`, the largest first, and returns how many there
/// are (fewer than asked for only where the row is shorter).
///
/// Among equal values the lower index wins. Values are numbers: the place of a NaN is not defined, but it does no harm.
pub fn top_k(values: &[f32], best: &mut [u32]) -> usize {
    let wanted = best.len();
    let mut found = 0;
    // The smallest value that is in the list, once it is full.
    let mut bar = f32::NEG_INFINITY;
    for (index, &value) in values.iter().enumerate() {
        if found == wanted {
            if value <= bar || wanted == 0 {
                continue;
            }
        } else {
            found += 1;
        }
        let others = found - 1;
        let place = best[..others].partition_point(|&other| values[other as usize] >= value);
        best.copy_within(place..others, place + 1);
        best[place] = index as u32;
        bar = values[best[others] as usize];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::{LANES, reference};
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
