//! Retrieval figures from rankings: mAP, CMC, mINP.

use serde::Serialize;

/// Who a crop shows, and by which camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Who; below 1 for people whom nobody looks for.
    pub identity: i32,
    /// Which camera.
    pub camera: u32,
}

/// Means over all queries that can be answered, in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Scores {
    /// Queries counted: those with a crop of the same identity by another camera in the gallery.
    pub queries: usize,
    /// Mean average precision.
    pub map: f64,
    /// Queries whose best answer is right (CMC at rank 1).
    pub rank1: f64,
    /// Queries with a right answer among the best 5.
    pub rank5: f64,
    /// Queries with a right answer among the best 10.
    pub rank10: f64,
    /// Mean inverse negative penalty: right answers over the rank of the worst one of them.
    pub minp: f64,
}

/// Figures of rankings by descending similarity; the earlier gallery crop wins a tie.
///
/// `similarity` writes those of one query to all gallery crops, `[gallery]`. Crops of the query's identity by the query's own
/// camera are taken out of its ranking, as is usual for Market-1501. With `m` right answers at ranks
/// `r_1 < ... < r_m` (from 1), average precision is `mean_i(i / r_i)` and INP is `m / r_m`. A query without a right answer
/// is not counted; without any query all figures are 0. Sources: Zheng et al., ICCV 2015 (mAP, CMC); Ye et al.,
/// "Deep Learning for Person Re-identification", TPAMI 2021 (mINP).
pub fn scores(query: &[Label], gallery: &[Label], mut similarity: impl FnMut(usize, &mut [f32])) -> Scores {
    let mut found = vec![0.0; gallery.len()];
    let mut order: Vec<usize> = Vec::with_capacity(gallery.len());
    let (mut queries, mut sums) = (0, [0.0; 5]);
    for (at, asked) in query.iter().enumerate() {
        similarity(at, &mut found);
        ranking(*asked, gallery, &found, &mut order);
        let Some(figures) = of_ranking(order.iter().map(|place| gallery[*place].identity == asked.identity)) else {
            continue;
        };
        queries += 1;
        sums.iter_mut().zip(figures).for_each(|(sum, figure)| *sum += figure);
    }
    let [map, rank1, rank5, rank10, minp] = sums.map(|sum| 100.0 * sum / f64::from(queries.max(1)));
    Scores { queries: queries as usize, map, rank1, rank5, rank10, minp }
}

/// Writes the gallery places that are ranked for `asked` into `order`, the most similar first.
pub(super) fn ranking(asked: Label, gallery: &[Label], similarity: &[f32], order: &mut Vec<usize>) {
    order.clear();
    order.extend((0..gallery.len()).filter(|place| gallery[*place] != asked));
    // A stable order: the earlier place wins a tie.
    order.sort_by(|one, other| similarity[*other].total_cmp(&similarity[*one]));
}

/// Average precision of one ranking, 0 to 1; none without a right answer.
pub(super) fn average_precision(right: impl Iterator<Item = bool>) -> Option<f64> {
    of_ranking(right).map(|[precision, ..]| precision)
}

/// AP, hit at 1, 5, 10, and INP of one ranking, 0 to 1; none without a right answer.
fn of_ranking(right: impl Iterator<Item = bool>) -> Option<[f64; 5]> {
    let (mut count, mut precisions, mut first, mut last) = (0.0, 0.0, None, 0.0);
    for (place, _) in right.enumerate().filter(|(_, right)| *right) {
        last = (place + 1) as f64;
        count += 1.0;
        precisions += count / last;
        first.get_or_insert(place);
    }
    let first = first?;
    let within = |rank: usize| if first < rank { 1.0 } else { 0.0 };
    Some([precisions / count, within(1), within(5), within(10), count / last])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn label((identity, camera): (i32, u32)) -> Label {
        Label { identity, camera }
    }

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
    }

    #[test]
    fn a_ranking_counted_by_hand() {
        // Ranks by similarity: right, wrong, right; the own camera's crop (the most similar) is taken out.
        let gallery = [(1, 0), (1, 1), (2, 1), (1, 2)].map(label);
        let row = [0.99, 0.9, 0.8, 0.7];
        let found = scores(&[label((1, 0))], &gallery, |_, out| out.copy_from_slice(&row));
        assert_eq!(found.queries, 1);
        close(found.map, 100.0 * (1.0 + 2.0 / 3.0) / 2.0);
        close(found.rank1, 100.0);
        close(found.minp, 100.0 * 2.0 / 3.0);
    }

    #[test]
    fn a_query_nobody_can_answer_is_not_counted() {
        let gallery = [(1, 0), (2, 1)].map(label);
        let found = scores(&[label((1, 0)), label((7, 0))], &gallery, |_, out| out.fill(0.0));
        assert_eq!(found, Scores::default());
        assert_eq!(scores(&[], &[], |_, _| {}), Scores::default());
    }

    #[test]
    fn ranks_end_where_they_say() {
        let query = [label((1, 0))];
        for (place, expected) in
            [(0, [1, 1, 1]), (1, [0, 1, 1]), (4, [0, 1, 1]), (5, [0, 0, 1]), (9, [0, 0, 1]), (10, [0; 3])]
        {
            let gallery: Vec<Label> = (0..12).map(|at| label((if at == place { 1 } else { 2 }, 1))).collect();
            // All alike: the order of the gallery decides.
            let found = scores(&query, &gallery, |_, out| out.fill(0.5));
            for (found, expected) in [found.rank1, found.rank5, found.rank10].into_iter().zip(expected) {
                close(found, 100.0 * f64::from(expected));
            }
            close(found.map, 100.0 / f64::from(place + 1));
            close(found.minp, found.map);
        }
    }

    proptest! {
        /// Against the definitions, taken literally: precision at each right answer counts who stands before it.
        #[test]
        fn equals_the_definitions(
            people in proptest::collection::vec((1..4_i32, 0..3_u32), 1..24),
            asked in (1..4_i32, 0..3_u32),
            seed in any::<u64>(),
        ) {
            let gallery: Vec<Label> = people.into_iter().map(label).collect();
            let query = label(asked);
            // Few different values, so that ties are the rule.
            let row: Vec<f32> = (0..gallery.len()).map(|at| ((seed >> (at * 2 % 60)) & 3) as f32).collect();
            let found = scores(&[query], &gallery, |_, out| out.copy_from_slice(&row));

            let before = |one: usize, other: usize| row[one] > row[other] || (row[one].to_bits() == row[other].to_bits() && one <= other);
            let kept: Vec<usize> = (0..gallery.len()).filter(|at| gallery[*at] != query).collect();
            let right: Vec<usize> = kept.iter().copied().filter(|at| gallery[*at].identity == query.identity).collect();
            let rank = |at: usize, among: &[usize]| among.iter().filter(|other| before(**other, at)).count() as f64;
            if right.is_empty() {
                prop_assert_eq!(found.queries, 0);
            } else {
                let precision: f64 = right.iter().map(|at| rank(*at, &right) / rank(*at, &kept)).sum();
                let worst = right.iter().map(|at| rank(*at, &kept)).fold(0.0, f64::max);
                let best = right.iter().map(|at| rank(*at, &kept)).fold(f64::INFINITY, f64::min);
                prop_assert!((found.map - 100.0 * precision / right.len() as f64).abs() < 1e-9);
                prop_assert!((found.minp - 100.0 * right.len() as f64 / worst).abs() < 1e-9);
                prop_assert_eq!(found.rank5 > 50.0, best <= 5.0);
            }
        }
    }
}
