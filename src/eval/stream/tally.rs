//! Answers of a stream -> figures.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use super::pairing::agreeing;
use super::{Answer, Step};
use crate::gallery::Merge;

/// From which gap on a return counts, in seconds.
const GAPS: [u64; 3] = [10, MINUTE, 600];

/// From here on [`Tally::recall`] counts, in seconds.
const MINUTE: u64 = 60;

/// Counts of a stream. Numbers that the gallery merged count as one: for crops, also before it did; for visits, from then on.
///
/// A *visit* is a track. Each is decided once, by its number when it ended. It is a *false match* if that is somebody
/// else's number and not the one this person had before: an error counts where it is made, not each time it is repeated.
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
    /// Visits that got somebody else's number, percent of all visits.
    pub false_matches: f64,
    /// The same of the first visits of people alone, percent of these.
    pub false_newcomers: f64,
    /// Returns after a minute or more that got the old number, percent; of [`Tally::re_entries`].
    pub recall: f64,
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

impl ReEntry {
    /// Adds those of another stream, gap by gap; an empty `sum` takes over the gaps.
    pub(super) fn add_all(sum: &mut Vec<Self>, other: &[Self]) {
        if sum.is_empty() {
            sum.extend_from_slice(other);
            return;
        }
        for (sum, other) in sum.iter_mut().zip(other) {
            sum.events += other.events;
            sum.recalled += other.recalled;
            sum.new += other.new;
            sum.confused += other.confused;
            sum.unsure += other.unsure;
            sum.finish();
        }
    }

    /// Shares from counts.
    fn finish(&mut self) {
        self.recall = percent(self.recalled, self.events);
        self.recall_of_answered = percent(self.recalled, self.events - self.unsure);
    }
}

impl Tally {
    /// `merges` stand with the crops answered before them.
    pub(super) fn count(steps: &[Step], answers: &[Answer], merges: &[(usize, Merge)], min_embeddings: u32) -> Self {
        let mut lengths: BTreeMap<u32, u32> = BTreeMap::new();
        for step in steps {
            *lengths.entry(step.track).or_default() += 1;
        }
        let numbers: Vec<Option<u32>> =
            answers.iter().map(|answer| answer.identity.map(|number| name(number, merges, steps.len()))).collect();
        let given = numbers.iter().flatten().count();
        let mut counts: BTreeMap<(i64, i64), usize> = BTreeMap::new();
        for (step, number) in steps.iter().zip(&numbers) {
            if let Some(number) = number {
                *counts.entry((step.person.into(), (*number).into())).or_default() += 1;
            }
        }
        let agreeing = agreeing(&counts);
        let visits = visits(steps, answers, merges);
        let of = |kind: fn(&Visit) -> bool| visits.iter().filter(|visit| kind(visit)).count();
        let re_entries = re_entries(&visits);
        let longer = re_entries.iter().filter(|entry| entry.min_gap_s >= MINUTE);
        let (recalled, events) = longer.fold((0, 0), |sum, entry| (sum.0 + entry.recalled, sum.1 + entry.events));
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
            false_matches: percent(of(|visit| visit.end == End::SomebodyElses), visits.len()),
            false_newcomers: percent(
                of(|visit| visit.first && visit.end == End::SomebodyElses),
                of(|visit| visit.first),
            ),
            recall: percent(recalled, events),
            re_entries,
        }
    }
}

pub(super) fn percent(part: usize, of: usize) -> f64 {
    100.0 * part as f64 / of.max(1) as f64
}

/// What `number` is called when so many crops have been answered.
pub(super) fn name(number: u32, merges: &[(usize, Merge)], crops: usize) -> u32 {
    let before = merges.iter().take_while(|(after, _)| *after <= crops);
    before.fold(number, |name, (_, merge)| if name == merge.gone.0 { merge.kept.0 } else { name })
}

fn switches(steps: &[Step], numbers: &[Option<u32>]) -> usize {
    let mut last = BTreeMap::new();
    let given = steps.iter().zip(numbers).filter_map(|(step, number)| Some((step.person, (*number)?)));
    given.filter(|(person, number)| last.insert(*person, *number).is_some_and(|before| before != *number)).count()
}

/// How a visit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// With the number that this person had before.
    Old,
    /// With a number that nobody else had before.
    New,
    /// With a number that somebody else had before, and not this person.
    SomebodyElses,
    /// Without one.
    Unsure,
}

struct Visit {
    /// Whether this person was never seen before.
    first: bool,
    /// Since this person was last seen in this sequence; none for somebody without a number, too.
    gap: Option<Duration>,
    end: End,
}

/// What is known of somebody from earlier visits.
#[derive(Clone, Copy)]
struct Before {
    time: Duration,
    sequence: u32,
    /// The last number.
    number: Option<u32>,
}

/// Judges each track when it ends, in this order.
fn visits(steps: &[Step], answers: &[Answer], merges: &[(usize, Merge)]) -> Vec<Visit> {
    let mut spans: BTreeMap<u32, (usize, usize)> = BTreeMap::new();
    for (at, step) in steps.iter().enumerate() {
        spans.entry(step.track).or_insert((at, at)).1 = at;
    }
    let mut ends: Vec<(usize, usize)> = spans.into_values().map(|(start, end)| (end, start)).collect();
    ends.sort_unstable();
    let mut people: BTreeMap<i32, Before> = BTreeMap::new();
    // Who had each number at the end of a visit.
    let mut holders: Vec<(u32, i32)> = Vec::new();
    let mut visits = Vec::with_capacity(ends.len());
    for (end, start) in ends {
        let Step { person, time, sequence, .. } = steps[end];
        let now = |number: u32| name(number, merges, end + 1);
        let number = answers[end].identity.map(now);
        let before = people.get(&person).copied();
        let old = before.and_then(|before| before.number).map(now);
        let others = |number| holders.iter().any(|(held, who)| *who != person && now(*held) == number);
        let judged = match number {
            None => End::Unsure,
            Some(_) if number == old => End::Old,
            Some(number) if others(number) => End::SomebodyElses,
            Some(_) => End::New,
        };
        let gap = before
            .filter(|before| old.is_some() && before.sequence == sequence)
            .map(|before| steps[start].time.saturating_sub(before.time));
        visits.push(Visit { first: before.is_none(), gap, end: judged });
        holders.extend(number.map(|number| (number, person)));
        people.insert(person, Before { time, sequence, number: number.or(old) });
    }
    visits
}

fn re_entries(visits: &[Visit]) -> Vec<ReEntry> {
    let mut found: Vec<ReEntry> = GAPS
        .iter()
        .enumerate()
        .map(|(at, gap)| ReEntry { min_gap_s: *gap, max_gap_s: GAPS.get(at + 1).copied(), ..ReEntry::default() })
        .collect();
    for visit in visits {
        let Some(gap) = visit.gap else { continue };
        let Some(entry) = found.iter_mut().rev().find(|entry| gap.as_secs() >= entry.min_gap_s) else { continue };
        entry.events += 1;
        match visit.end {
            End::Old => entry.recalled += 1,
            End::New => entry.new += 1,
            End::SomebodyElses => entry.confused += 1,
            End::Unsure => entry.unsure += 1,
        }
    }
    found.iter_mut().for_each(ReEntry::finish);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gallery::IdentityId;

    /// Person, track, seconds, number.
    type Line = (i32, u32, u64, Option<u32>);

    fn tally(lines: &[Line], merges: &[(usize, Merge)]) -> Tally {
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
                (2, 6, 90, None),     // 20 s away, unsure
                (1, 5, 700, Some(3)), // 688 s away, a new number
                (3, 7, 701, Some(2)), // never seen, taken for person 2
                (3, 8, 800, Some(2)), // 99 s away, and so again
            ],
            &[],
        );
        let counts: Vec<[usize; 5]> = found
            .re_entries
            .iter()
            .map(|entry| [entry.events, entry.recalled, entry.new, entry.confused, entry.unsure])
            .collect();
        assert_eq!(counts, [[2, 1, 0, 0, 1], [2, 1, 0, 1, 0], [1, 0, 1, 0, 0]]);
        assert!((found.re_entries[0].recall - 50.0).abs() < 1e-9);
        assert!((found.re_entries[0].recall_of_answered - 100.0).abs() < 1e-9);
        assert_eq!((found.crops, found.tracks, found.too_short, found.numbers, found.switches), (9, 8, 7, 3, 2));
        // Best pairing: person 1 with number 1 (two crops), person 3 with number 2 (two). Two of eight visits are false
        // matches, one of three newcomers is; one of three returns after a minute is recalled.
        let expected = [
            (found.idp, 400.0 / 7.0),
            (found.idr, 400.0 / 9.0),
            (found.idf1, 50.0),
            (found.unsure, 200.0 / 9.0),
            (found.false_matches, 25.0),
            (found.false_newcomers, 100.0 / 3.0),
            (found.recall, 100.0 / 3.0),
        ];
        for (found, expected) in expected {
            assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
        }
    }

    #[test]
    fn merged_numbers_are_one() {
        let merge = |kept, gone| Merge { kept: IdentityId(kept), gone: IdentityId(gone) };
        let lines = [(1, 1, 0, Some(1)), (1, 2, 20, Some(3)), (1, 3, 40, Some(2))];
        let found = tally(&lines, &[(2, merge(2, 3)), (2, merge(1, 2))]);
        assert_eq!((found.numbers, found.switches, found.re_entries[0].recalled), (1, 0, 2));
        assert!((found.idf1 - 100.0).abs() < 1e-9);
        let late = tally(&lines, &[(3, merge(2, 3)), (3, merge(1, 2))]);
        assert_eq!((late.numbers, late.re_entries[0].recalled, late.re_entries[0].new), (1, 1, 1));
    }

    #[test]
    fn nothing_seen_is_nothing_wrong() {
        let found = tally(&[], &[]);
        assert_eq!((found.crops, found.switches), (0, 0));
        assert!(found.idf1.abs() < 1e-9 && found.re_entries.iter().all(|entry| entry.events == 0));
    }
}
