//! Greedy non-maximum suppression.

use super::candidates::{Candidate, MAX_CANDIDATES};
use super::{BBox, Detection, Detections};

/// Keeps each candidate that overlaps none of the better ones already kept by more than `limit`
/// (intersection over union), until `found` is full. `sorted` is best first. Says how many more there were.
pub(super) fn suppress(sorted: &[Candidate], limit: f32, found: &mut Detections) -> u64 {
    found.clear();
    let mut left_out = heapless::Vec::<&Candidate, MAX_CANDIDATES>::new();
    for candidate in sorted {
        let apart = |bbox: &BBox| bbox.iou(&candidate.bbox) <= limit;
        if !found.iter().all(|kept| apart(&kept.bbox)) || !left_out.iter().all(|other| apart(&other.bbox)) {
            continue;
        }
        if found.push(Detection { bbox: candidate.bbox, score: candidate.score }).is_err() {
            // Cannot fail: there are no more candidates than places.
            let _ = left_out.push(candidate);
        }
    }
    left_out.len() as u64
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "scores are handed through, not computed")]
mod tests {
    use super::*;
    use crate::size::MAX_PEOPLE;

    fn candidate(anchor: usize, score: f32, [x, y, width, height]: [f32; 4]) -> Candidate {
        Candidate { bbox: BBox { x, y, width, height }, score, anchor }
    }

    const BOXES: [(f32, [u8; 4]); 24] = [
        (0.25, [47, 0, 23, 72]),
        (0.21875, [4, 11, 23, 61]),
        (0.0625, [25, 55, 28, 76]),
        (0.28125, [54, 58, 39, 75]),
        (0.625, [3, 6, 36, 73]),
        (0.09375, [19, 19, 21, 43]),
        (0.5625, [23, 44, 20, 67]),
        (0.34375, [39, 5, 36, 73]),
        (0.4375, [28, 56, 42, 59]),
        (0.03125, [57, 24, 49, 67]),
        (0.71875, [14, 55, 32, 44]),
        (0.1875, [23, 53, 48, 59]),
        (0.15625, [8, 48, 48, 73]),
        (0.6875, [25, 59, 27, 70]),
        (0.46875, [46, 0, 43, 77]),
        (0.125, [42, 34, 30, 49]),
        (0.65625, [26, 56, 29, 69]),
        (0.59375, [8, 9, 23, 57]),
        (0.3125, [39, 14, 20, 71]),
        (0.75, [38, 38, 49, 42]),
        (0.40625, [4, 4, 27, 59]),
        (0.53125, [48, 46, 43, 58]),
        (0.5, [7, 9, 48, 61]),
        (0.375, [44, 23, 43, 43]),
    ];
    const KEPT: [usize; 9] = [19, 10, 13, 4, 18, 3, 0, 5, 9];

    /// Boxes and result from numpy's `RandomState(7)` and a plain double loop over sorted boxes:
    /// x, y = randint(0, 60), w = randint(20, 50), h = randint(40, 90), limit 0.4;
    /// scores (permutation(24) + 1) / 32. No overlap lies within 0.001 of the limit.
    #[test]
    fn kept_boxes_match_a_plain_computation_elsewhere() {
        let boxes = BOXES.map(|(score, corners)| (score, corners.map(|side: u8| f32::from(side))));
        let mut candidates: Vec<_> =
            boxes.iter().enumerate().map(|(anchor, (score, sides))| candidate(anchor, *score, *sides)).collect();
        candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
        let mut found = Detections::new();
        suppress(&candidates, 0.4, &mut found);
        let kept: Vec<_> = found.iter().map(|kept| boxes.iter().position(|b| b.0 == kept.score).unwrap()).collect();
        assert_eq!(kept, KEPT);
    }

    #[test]
    fn equal_boxes_leave_one_and_distant_ones_stay() {
        let same = [5.0, 5.0, 20.0, 40.0];
        let sorted = [candidate(0, 0.9, same), candidate(1, 0.8, same), candidate(2, 0.7, [90.0, 5.0, 20.0, 40.0])];
        let mut found = Detections::new();
        suppress(&sorted, 0.5, &mut found);
        assert_eq!(found.iter().map(|d| d.score).collect::<Vec<_>>(), [0.9, 0.7]);
        suppress(&sorted, 1.0, &mut found);
        assert_eq!(found.len(), 3, "a limit of 1 suppresses nothing");
    }

    #[test]
    fn beyond_the_most_people_the_worst_are_left_out() {
        let people = 10 * MAX_PEOPLE;
        // Each of them twice, nearly in the same place.
        let place = |i: usize| [(i % people) as f32 * 50.0 + (i / people) as f32, 0.0, 20.0, 40.0];
        let all = MAX_CANDIDATES.min(2 * people);
        let sorted: Vec<_> = (0..all).map(|i| candidate(i, 1.0 - i as f32 / 1000.0, place(i))).collect();
        let mut found = Detections::new();
        let left_out = suppress(&sorted, 0.5, &mut found);
        assert_eq!(found.len(), MAX_PEOPLE);
        assert_eq!(found.last().unwrap().score, sorted[MAX_PEOPLE - 1].score);
        assert_eq!(left_out, (people.min(all) - MAX_PEOPLE) as u64, "nobody is counted twice");
    }
}
