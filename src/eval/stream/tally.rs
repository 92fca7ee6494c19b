//! Answers of a stream -> figures.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use super::{Answer, Step};
use crate::gallery::Merge;
use crate::kernels::Assignment;

/// From which gap on a return counts, in seconds.
const GAPS: [u64; 3] = [10, 60, 600];

/// Counts of a stream. Numbers that the gallery merged count as one, also before it did.
///
/// IDF1, IDP and IDR: Ristani et al., "Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking", ECCVW 2016:
/// numbers are paired with people so that most crops agree.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tally {
    /// Crops replayed.
    pub crops: usize,
    /// Tracks they made.
    pub tracks: usize,
    /// Tracks with fewer crops than `gallery.min_embeddings`: nobody can be answered for in them.
    pub too_short: usize,
    /// People in them.
    pub people: usize,
    /// Numbers given to them.
    pub numbers: usize,
    /// Times a person got another number than before.
    pub switches: usize,
    /// `2 IDTP / (crops + crops with a number)`, percent.
    pub idf1: f64,
    /// `IDTP / crops with a number`, percent.
    pub idp: f64,
    /// `IDTP / crops`, percent.
    pub idr: f64,
    /// Crops whose answer was put off, percent.
    pub unsure: f64,
    /// People who come back, by how long they were gone.
    pub re_entries: Vec<ReEntry>,
}

/// Returns after gaps of one length: the first track after it, in any camera of the same sequence, of somebody who had a number.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ReEntry {
    /// Shortest gap, in seconds.
    pub min_gap_s: u64,
    /// Gaps are shorter than this, in seconds; none for the longest.
    pub max_gap_s: Option<u64>,
    /// How many there were.
    pub events: usize,
    /// Of these: the old number when the track ended.
    pub recalled: usize,
    /// Another number that was made for this track.
    pub new: usize,
    /// A number that somebody else had before.
    pub confused: usize,
    /// No number by the end of the track.
    pub unsure: usize,
    /// `recalled / events`, percent.
    pub recall: f64,
    /// `recalled` over those that got a number in the track, percent.
    pub recall_of_answered: f64,
}

impl Tally {
    pub(super) fn count(steps: &[Step], answers: &[Answer], merges: &[Merge], min_embeddings: u32) -> Self {
        let mut lengths: BTreeMap<u32, u32> = BTreeMap::new();
        for step in steps {
            *lengths.entry(step.track).or_default() += 1;
        }
        let numbers: Vec<Option<u32>> =
            answers.iter().map(|answer| answer.identity.map(|number| last_name(number, merges))).collect();
        let given = numbers.iter().flatten().count();
        let agreeing = agreeing(steps, &numbers);
        let percent = |part: usize, of: usize| 100.0 * part as f64 / of.max(1) as f64;
        Self {
            crops: steps.len(),
            tracks: lengths.len(),
            too_short: lengths.values().filter(|length| **length < min_embeddings).count(),
            people: steps.iter().map(|step| step.person).collect::<BTreeSet<_>>().len(),
            numbers: numbers.iter().flatten().collect::<BTreeSet<_>>().len(),
            switches: switches(steps, &numbers),
            idf1: percent(2 * agreeing, steps.len() + given),
            idp: percent(agreeing, given),
            idr: percent(agreeing, steps.len()),
            unsure: percent(answers.iter().filter(|answer| answer.unsure).count(), answers.len()),
            re_entries: re_entries(steps, &numbers),
        }
    }
}

/// What `number` is called after all merges.
fn last_name(number: u32, merges: &[Merge]) -> u32 {
    merges.iter().fold(number, |name, merge| if name == merge.gone.0 { merge.kept.0 } else { name })
}

/// Crops whose number is the one paired with their person, in the best pairing.
fn agreeing(steps: &[Step], numbers: &[Option<u32>]) -> usize {
    let place = |names: BTreeSet<i64>| names.into_iter().zip(0..).collect::<BTreeMap<i64, usize>>();
    let people = place(steps.iter().map(|step| i64::from(step.person)).collect());
    let given = place(numbers.iter().flatten().map(|number| i64::from(*number)).collect());
    let mut cost = vec![0.0; people.len() * given.len()];
    for (step, number) in steps.iter().zip(numbers) {
        if let Some(number) = number {
            cost[people[&i64::from(step.person)] * given.len() + given[&i64::from(*number)]] -= 1.0;
        }
    }
    let mut matching = Assignment::new(people.len(), given.len());
    let pairs = matching.solve(&cost, people.len(), given.len(), 0.0).iter().enumerate();
    let agreeing: f32 = pairs.filter_map(|(row, column)| Some(-cost[row * given.len() + (*column)?])).sum();
    agreeing as usize
}

fn switches(steps: &[Step], numbers: &[Option<u32>]) -> usize {
    let mut last = BTreeMap::new();
    let given = steps.iter().zip(numbers).filter_map(|(step, number)| Some((step.person, (*number)?)));
    given.filter(|(person, number)| last.insert(*person, *number).is_some_and(|before| before != *number)).count()
}

/// The last crop of a person.
#[derive(Clone, Copy)]
struct LastSeen {
    time: Duration,
    sequence: u32,
    track: u32,
    number: Option<u32>,
}

fn re_entries(steps: &[Step], numbers: &[Option<u32>]) -> Vec<ReEntry> {
    let mut found: Vec<ReEntry> = GAPS
        .iter()
        .enumerate()
        .map(|(at, gap)| ReEntry { min_gap_s: *gap, max_gap_s: GAPS.get(at + 1).copied(), ..ReEntry::default() })
        .collect();
    // The number of each track when it ended, if it has one.
    let ends: BTreeMap<u32, Option<u32>> =
        steps.iter().zip(numbers).map(|(step, number)| (step.track, *number)).collect();
    let mut seen: BTreeMap<i32, LastSeen> = BTreeMap::new();
    // Who was given each number before.
    let mut holders: BTreeMap<u32, BTreeSet<i32>> = BTreeMap::new();
    for (step, number) in steps.iter().zip(numbers) {
        let before = seen.get(&step.person).copied();
        if let Some(LastSeen { time, sequence, track, number: Some(old) }) = before
            && track != step.track
            && sequence == step.sequence
        {
            let gap = step.time.saturating_sub(time).as_secs();
            let of = found.iter_mut().rev().find(|entry| gap >= entry.min_gap_s);
            if let Some(entry) = of {
                let others =
                    |number: &u32| holders.get(number).is_some_and(|held| held.iter().any(|who| *who != step.person));
                entry.events += 1;
                match ends[&step.track] {
                    Some(end) if end == old => entry.recalled += 1,
                    Some(end) if others(&end) => entry.confused += 1,
                    Some(_) => entry.new += 1,
                    None => entry.unsure += 1,
                }
            }
        }
        let number = number.or(before.and_then(|before| before.number));
        if let Some(number) = number {
            holders.entry(number).or_default().insert(step.person);
        }
        seen.insert(step.person, LastSeen { time: step.time, sequence: step.sequence, track: step.track, number });
    }
    for entry in &mut found {
        let percent = |of: usize| 100.0 * entry.recalled as f64 / of.max(1) as f64;
        (entry.recall, entry.recall_of_answered) = (percent(entry.events), percent(entry.events - entry.unsure));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gallery::IdentityId;

    /// Person, track, seconds, number.
    type Line = (i32, u32, u64, Option<u32>);

    fn tally(lines: &[Line], merges: &[Merge]) -> Tally {
        let step = |(row, (person, track, time, _)): (usize, &Line)| Step {
            row,
            person: *person,
            track: *track,
            time: Duration::from_secs(*time),
            camera: 1,
            sequence: 1,
        };
        let steps: Vec<Step> = lines.iter().enumerate().map(step).collect();
        let answers: Vec<Answer> =
            lines.iter().map(|line| Answer { identity: line.3, unsure: line.3.is_none() }).collect();
        Tally::count(&steps, &answers, merges, 2)
    }

    #[test]
    fn a_stream_counted_by_hand() {
        let found = tally(
            &[
                (1, 1, 0, None),
                (1, 1, 1, Some(1)),
                (2, 2, 2, Some(2)),
                (1, 3, 12, Some(1)),  // 11 s away, recalled
                (2, 4, 70, Some(1)),  // 68 s away, taken for person 1
                (1, 5, 700, Some(3)), // 688 s away, a new number
                (2, 6, 90, None),     // 20 s away, unsure
            ],
            &[],
        );
        let counts: Vec<[usize; 5]> = found
            .re_entries
            .iter()
            .map(|entry| [entry.events, entry.recalled, entry.new, entry.confused, entry.unsure])
            .collect();
        assert_eq!(counts, [[2, 1, 0, 0, 1], [1, 0, 0, 1, 0], [1, 0, 1, 0, 0]]);
        assert!((found.re_entries[0].recall - 50.0).abs() < 1e-9);
        assert!((found.re_entries[0].recall_of_answered - 100.0).abs() < 1e-9);
        assert_eq!((found.crops, found.tracks, found.too_short, found.numbers, found.switches), (7, 6, 5, 3, 2));
        // Best pairing: person 1 with number 1 (two crops), person 2 with number 2 (one).
        for (found, expected) in
            [(found.idp, 60.0), (found.idr, 300.0 / 7.0), (found.idf1, 50.0), (found.unsure, 200.0 / 7.0)]
        {
            assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
        }
    }

    #[test]
    fn merged_numbers_are_one() {
        let merges =
            [Merge { kept: IdentityId(2), gone: IdentityId(3) }, Merge { kept: IdentityId(1), gone: IdentityId(2) }];
        let found = tally(&[(1, 1, 0, Some(1)), (1, 2, 20, Some(3)), (1, 3, 40, Some(2))], &merges);
        assert_eq!((found.numbers, found.switches, found.re_entries[0].recalled), (1, 0, 2));
        assert!((found.idf1 - 100.0).abs() < 1e-9);
    }

    #[test]
    fn nothing_seen_is_nothing_wrong() {
        let found = tally(&[], &[]);
        assert_eq!((found.crops, found.switches), (0, 0));
        assert!(found.idf1.abs() < 1e-9 && found.re_entries.iter().all(|entry| entry.events == 0));
    }
}
