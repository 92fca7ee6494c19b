//! What the whole program said about a filmed clip, against its ground truth.
//!
//! Sightings and boxes of one frame are matched so that the overlaps (intersection over union, 0.5 at least) add up to the
//! most; a pair of the frame before stays together while it overlaps. What is found on a box that counts neither way is
//! left out first. Source: Bernardin and Stiefelhagen, "Evaluating Multiple Object Tracking Performance: The CLEAR MOT
//! Metrics", 2008, as the MOT Challenge applies it. IDF1 needs no matching by frame: every overlap counts, and people
//! are paired with numbers over the whole clip (see [`Tally`]).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use super::pairing::agreeing;
use super::tally::{name, percent};
use super::{Answer, ReEntry, Step, Tally};
use crate::detector::BBox;
use crate::eval::mot::Truth;
use crate::gallery::Merge;
use crate::kernels::Assignment;

/// Overlap from which somebody is found.
const OVERLAP: f32 = 0.5;

/// What staying together is worth beside the overlaps of a frame: more than all of them.
const TOGETHER: f32 = 1000.0;

/// Height from which a person is tall, as a share of the picture's: a detector sees the picture in a few hundred lines.
const TALL: f32 = 1.0 / 6.0;

/// A frame of a clip, with its ground truth.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// When.
    pub time: Duration,
    /// Lines of the picture.
    pub height: u32,
    /// Who is in it.
    pub truth: &'a [Truth],
}

/// Somebody the program saw in a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sight {
    /// Where, in pixels.
    pub bbox: BBox,
    /// The track.
    pub track: u32,
    /// Who.
    pub identity: Option<u32>,
    /// Whether the answer was put off in this frame.
    pub unsure: bool,
}

/// How well numbers of one kind, of tracks or of identities, name people.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Naming {
    /// Different numbers given.
    pub numbers: usize,
    /// Sightings with a number.
    pub given: usize,
    /// Of these: overlap with the person that the number is paired with (IDTP).
    pub agreeing: usize,
    /// Times a person that was found had another number than when found before.
    pub switches: usize,
    /// `2 IDTP / (boxes + given)`, percent.
    pub idf1: f64,
    /// `IDTP / given`, percent.
    pub idp: f64,
    /// `IDTP / boxes`, percent.
    pub idr: f64,
    /// `1 - (missed + wrong + switches) / boxes`, percent; may be below 0.
    pub mota: f64,
}

/// Figures of one clip, or of several together.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ClipFigures {
    /// Which.
    pub name: String,
    /// Frames that the detector saw.
    pub frames: usize,
    /// Different people in them.
    pub people: usize,
    /// Boxes to be found.
    pub boxes: usize,
    /// Sightings that are right or wrong.
    pub sightings: usize,
    /// Sightings on boxes that count neither way.
    pub left_out: usize,
    /// Boxes found.
    pub found: usize,
    /// Boxes of a sixth of the picture's height and more.
    pub tall_boxes: usize,
    /// Of these found.
    pub tall_found: usize,
    /// `found / boxes`, percent.
    pub detection_recall: f64,
    /// `tall_found / tall_boxes`, percent.
    pub tall_recall: f64,
    /// `found / sightings`, percent.
    pub detection_precision: f64,
    /// Numbers of tracks.
    pub tracks: Naming,
    /// Numbers of identities; those that the gallery merged count as one.
    pub identities: Naming,
    /// Sightings without an answer, or whose answer was put off, percent.
    pub unsure: f64,
    /// Visits: people found by one track each.
    pub visits: usize,
    /// Visits that ended with somebody else's number, percent.
    pub false_matches: f64,
    /// People who come back, by how long they were not found.
    pub re_entries: Vec<ReEntry>,
}

impl ClipFigures {
    /// Several clips together. People and numbers of one have nothing to do with those of another.
    pub fn total(clips: &[Self]) -> Self {
        let mut total = Self { name: "all".into(), ..Self::default() };
        let (mut unsure, mut false_matches) = (0.0, 0.0);
        for clip in clips {
            total.frames += clip.frames;
            total.people += clip.people;
            total.boxes += clip.boxes;
            total.sightings += clip.sightings;
            total.left_out += clip.left_out;
            total.found += clip.found;
            total.tall_boxes += clip.tall_boxes;
            total.tall_found += clip.tall_found;
            total.visits += clip.visits;
            for (sum, part) in [(&mut total.tracks, &clip.tracks), (&mut total.identities, &clip.identities)] {
                sum.numbers += part.numbers;
                sum.given += part.given;
                sum.agreeing += part.agreeing;
                sum.switches += part.switches;
            }
            unsure += clip.unsure * clip.sightings as f64;
            false_matches += clip.false_matches * clip.visits as f64;
            ReEntry::add_all(&mut total.re_entries, &clip.re_entries);
        }
        total.unsure = unsure / total.sightings.max(1) as f64;
        total.false_matches = false_matches / total.visits.max(1) as f64;
        total.finish();
        total
    }

    /// Shares from counts.
    fn finish(&mut self) {
        self.detection_recall = percent(self.found, self.boxes);
        self.detection_precision = percent(self.found, self.sightings);
        self.tall_recall = percent(self.tall_found, self.tall_boxes);
        let wrong = (self.boxes - self.found) + (self.sightings - self.found);
        for naming in [&mut self.tracks, &mut self.identities] {
            naming.idf1 = percent(2 * naming.agreeing, self.boxes + naming.given);
            naming.idp = percent(naming.agreeing, naming.given);
            naming.idr = percent(naming.agreeing, self.boxes);
            let errors = (wrong + naming.switches) as f64;
            naming.mota = 100.0 - 100.0 * errors / self.boxes.max(1) as f64;
        }
    }
}

/// Numbers of one kind as they were given.
#[derive(Debug, Default)]
struct Given {
    /// How often each number was given.
    numbers: BTreeMap<u32, usize>,
    /// Frames in which a person's box and a sighting with the number overlap.
    overlaps: BTreeMap<(u32, u32), usize>,
    /// Person and number of each box found, in order.
    found: Vec<(u32, u32)>,
}

impl Given {
    /// Notes the numbers of one frame and their boxes.
    fn note(&mut self, shown: impl Iterator<Item = (u32, BBox)>, truth: &[Truth]) {
        // A number that lies on one person twice agrees with them once.
        let mut overlapping = BTreeSet::new();
        for (number, bbox) in shown {
            *self.numbers.entry(number).or_default() += 1;
            let people = truth.iter().filter(|truth| truth.bbox.iou(&bbox) >= OVERLAP);
            overlapping.extend(people.map(|truth| (truth.person, number)));
        }
        for pair in overlapping {
            *self.overlaps.entry(pair).or_default() += 1;
        }
    }

    /// The counts, with every number called `named` of it.
    fn naming(&self, named: impl Fn(u32) -> u32) -> Naming {
        let mut counts: BTreeMap<(i64, i64), usize> = BTreeMap::new();
        for ((person, number), count) in &self.overlaps {
            *counts.entry(((*person).into(), named(*number).into())).or_default() += count;
        }
        let mut last = BTreeMap::new();
        let found = self.found.iter().map(|(person, number)| (*person, named(*number)));
        let changed = |(person, number)| last.insert(person, number).is_some_and(|before| before != number);
        Naming {
            numbers: self.numbers.keys().map(|number| named(*number)).collect::<BTreeSet<_>>().len(),
            given: self.numbers.values().sum(),
            agreeing: agreeing(&counts),
            switches: found.map(changed).filter(|changed| *changed).count(),
            ..Naming::default()
        }
    }
}

/// Counts a clip, frame by frame.
#[derive(Debug, Default)]
pub struct ClipTally {
    figures: ClipFigures,
    people: BTreeSet<u32>,
    unsure: usize,
    tracks: Given,
    identities: Given,
    /// Track of each person found in the frame before.
    together: BTreeMap<u32, u32>,
    /// Number of the visit of each track and person.
    visits: BTreeMap<(u32, u32), u32>,
    steps: Vec<Step>,
    answers: Vec<Answer>,
    merges: Vec<(usize, Merge)>,
}

impl ClipTally {
    /// Nothing seen yet.
    pub fn new(name: &str) -> Self {
        Self { figures: ClipFigures { name: name.into(), ..ClipFigures::default() }, ..Self::default() }
    }

    /// Counts a frame: what is there, what was seen, and what the gallery merged in it.
    pub fn frame(&mut self, shown: &Shown<'_>, seen: &[Sight], merges: impl Iterator<Item = Merge>) {
        let Shown { time, height, truth } = *shown;
        let beside = matched(truth, seen, |_, _| 0.0);
        let beside = beside.iter().zip(truth).filter(|(_, truth)| !truth.counts).filter_map(|(sight, _)| *sight);
        let beside: BTreeSet<usize> = beside.collect();
        let seen: Vec<Sight> =
            seen.iter().enumerate().filter(|(at, _)| !beside.contains(at)).map(|(_, sight)| *sight).collect();
        let truth: Vec<Truth> = truth.iter().copied().filter(|truth| truth.counts).collect();
        // Holds for visits that end from this frame on.
        let before = self.answers.len();
        self.merges.extend(merges.map(|merge| (before + 1, merge)));
        self.figures.frames += 1;
        self.figures.left_out += beside.len();
        self.figures.boxes += truth.len();
        self.figures.sightings += seen.len();
        self.unsure += seen.iter().filter(|sight| sight.unsure || sight.identity.is_none()).count();
        self.people.extend(truth.iter().map(|truth| truth.person));
        self.tracks.note(seen.iter().map(|sight| (sight.track, sight.bbox)), &truth);
        self.identities.note(seen.iter().filter_map(|sight| Some((sight.identity?, sight.bbox))), &truth);
        let stays = |truth: &Truth, sight: &Sight| self.together.get(&truth.person) == Some(&sight.track);
        let pairs = matched(&truth, &seen, |truth, sight| if stays(truth, sight) { TOGETHER } else { 0.0 });
        self.together.clear();
        let is_tall = |truth: &&Truth| truth.bbox.height >= TALL * height as f32;
        self.figures.tall_boxes += truth.iter().filter(is_tall).count();
        let found = truth.iter().zip(&pairs).filter_map(|(truth, at)| at.map(|_| truth));
        self.figures.tall_found += found.filter(is_tall).count();
        for (truth, sight) in truth.iter().zip(pairs).filter_map(|(truth, at)| Some((truth, seen[at?]))) {
            self.meet(time, truth.person, &sight);
        }
    }

    /// Notes that `person` was found.
    fn meet(&mut self, time: Duration, person: u32, sight: &Sight) {
        self.figures.found += 1;
        self.together.insert(person, sight.track);
        self.tracks.found.push((person, sight.track));
        self.identities.found.extend(sight.identity.map(|identity| (person, identity)));
        let visits = self.visits.len() as u32;
        let visit = *self.visits.entry((sight.track, person)).or_insert(visits);
        let row = self.steps.len();
        self.steps.push(Step { row, person: person as i32, track: visit, time, camera: 1, sequence: 1 });
        self.answers.push(Answer { identity: sight.identity, unsure: sight.unsure || sight.identity.is_none() });
    }

    /// The figures.
    pub fn finish(self) -> ClipFigures {
        let Self { mut figures, steps, answers, merges, .. } = self;
        let visits = Tally::count(&steps, &answers, &merges, 1);
        figures.people = self.people.len();
        figures.unsure = percent(self.unsure, figures.sightings);
        figures.tracks = self.tracks.naming(|track| track);
        figures.identities = self.identities.naming(|identity| name(identity, &merges, steps.len()));
        (figures.visits, figures.false_matches) = (visits.tracks, visits.false_matches);
        figures.re_entries = visits.re_entries;
        figures.finish();
        figures
    }
}

/// The sighting of each box, so that overlap and `bonus` add up to the most.
fn matched(truth: &[Truth], seen: &[Sight], bonus: impl Fn(&Truth, &Sight) -> f32) -> Vec<Option<usize>> {
    let worth = |truth: &Truth, sight: &Sight| {
        let overlap = truth.bbox.iou(&sight.bbox);
        if overlap >= OVERLAP { -overlap - bonus(truth, sight) } else { f32::INFINITY }
    };
    let cost: Vec<f32> = truth.iter().flat_map(|truth| seen.iter().map(move |sight| worth(truth, sight))).collect();
    Assignment::new(truth.len(), seen.len()).solve(&cost, truth.len(), seen.len(), 0.0).to_vec()
}

#[cfg(test)]
mod tests;
