use proptest::prelude::*;

use super::*;
use crate::gallery::IdentityId;

fn at(x: f32) -> BBox {
    BBox { x, y: 0.0, width: 10.0, height: 20.0 }
}

fn person(person: u32, x: f32) -> Truth {
    Truth { person, bbox: at(x), counts: true }
}

fn sight(track: u32, identity: Option<u32>, x: f32) -> Sight {
    Sight { bbox: at(x), track, identity, unsure: identity.is_none() }
}

/// A frame of a picture of 130 lines: people are 20 high, and tall from 21.67 on.
fn shown(seconds: u64, truth: &[Truth]) -> Shown<'_> {
    Shown { time: Duration::from_secs(seconds), height: 130, truth }
}

#[track_caller]
fn same(pairs: &[(f64, f64)]) {
    for (found, expected) in pairs {
        assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
    }
}

/// Two people and a mannequin in four frames: a track breaks, and its person gets another number after 70 s.
fn clip(merge: Option<Merge>) -> ClipFigures {
    let mut tally = ClipTally::new("made");
    let (one, two) = (|x| person(1, x), |x| person(2, x));
    let seen = [sight(1, None, 1.0), sight(2, None, 100.0), sight(3, None, 500.0)];
    tally.frame(&shown(0, &[one(0.0), two(101.0)]), &seen, std::iter::empty());
    let seen = [sight(1, Some(1), 2.0), sight(2, Some(2), 100.0)];
    tally.frame(&shown(1, &[one(0.0), two(101.0)]), &seen, std::iter::empty());
    tally.frame(&shown(2, &[one(0.0), two(101.0)]), &[sight(2, Some(2), 100.0)], std::iter::empty());
    let mannequin = Truth { counts: false, ..person(9, 300.0) };
    let seen = [sight(5, Some(2), 301.0), sight(2, Some(2), 100.0), sight(4, Some(3), 0.0)];
    tally.frame(&shown(71, &[mannequin, one(0.0), two(101.0)]), &seen, merge.into_iter());
    tally.finish()
}

#[test]
fn a_clip_counted_by_hand() {
    let found = clip(None);
    assert_eq!((found.frames, found.people, found.boxes, found.sightings, found.left_out), (4, 2, 8, 8, 1));
    assert_eq!((found.found, found.visits), (7, 3));
    same(&[(found.detection_recall, 87.5), (found.detection_precision, 87.5), (found.unsure, 37.5)]);
    // Person 1 is with track 1 twice and with track 4 once, person 2 four times with track 2: 2 + 4 agree of 8.
    let tracks = &found.tracks;
    assert_eq!((tracks.numbers, tracks.given, tracks.agreeing, tracks.switches), (4, 8, 6, 1));
    same(&[(tracks.idf1, 75.0), (tracks.idp, 75.0), (tracks.idr, 75.0), (tracks.mota, 62.5)]);
    // Five sightings have a number: person 1 has number 1 once and 3 once, person 2 number 2 three times.
    let identities = &found.identities;
    assert_eq!((identities.numbers, identities.given, identities.agreeing, identities.switches), (3, 5, 4, 1));
    same(&[(identities.idf1, 800.0 / 13.0), (identities.idp, 80.0), (identities.idr, 50.0), (identities.mota, 62.5)]);
    let back = &found.re_entries[1];
    assert_eq!((back.min_gap_s, back.events, back.new, back.recalled), (60, 1, 1, 0));
    same(&[(found.false_matches, 0.0)]);
}

#[test]
fn merged_numbers_are_one_and_the_old_one_is_back() {
    let found = clip(Some(Merge { kept: IdentityId(1), gone: IdentityId(3) }));
    let identities = &found.identities;
    assert_eq!((identities.numbers, identities.given, identities.agreeing, identities.switches), (2, 5, 5, 0));
    assert_eq!((found.re_entries[1].events, found.re_entries[1].recalled), (1, 1));
    assert_eq!(found.tracks.switches, 1, "tracks are not merged");
}

#[test]
fn clips_together_are_the_sum_of_their_counts() {
    let (one, other) = (clip(None), ClipTally::new("empty").finish());
    let total = ClipFigures::total(&[one.clone(), other, one.clone()]);
    assert_eq!((total.frames, total.boxes, total.found, total.visits), (8, 16, 14, 6));
    assert_eq!((total.identities.agreeing, total.re_entries[1].events), (8, 2));
    same(&[
        (total.identities.idf1, one.identities.idf1),
        (total.tracks.mota, one.tracks.mota),
        (total.unsure, one.unsure),
        (total.detection_recall, one.detection_recall),
    ]);
}

#[test]
fn a_pair_stays_together_while_it_overlaps() {
    let mut tally = ClipTally::new("made");
    tally.frame(&shown(0, &[person(1, 0.0)]), &[sight(1, None, 0.0)], std::iter::empty());
    // Track 2 overlaps entirely, track 1 by 8 of 12.
    let seen = [sight(2, None, 2.0), sight(1, None, 0.0)];
    tally.frame(&shown(1, &[person(1, 2.0)]), &seen, std::iter::empty());
    // Now by 6 of 14: no longer.
    let seen = [sight(2, None, 4.0), sight(1, None, 0.0)];
    tally.frame(&shown(2, &[person(1, 4.0)]), &seen, std::iter::empty());
    let found = tally.finish();
    assert_eq!((found.found, found.sightings, found.tracks.switches), (3, 5, 1));
    // Overlaps: with track 1 in frames 1 and 2, with track 2 in frames 2 and 3.
    assert_eq!(found.tracks.agreeing, 2);
}

#[test]
fn who_is_a_sixth_of_the_picture_is_tall() {
    let mut tally = ClipTally::new("made");
    let truth = [person(1, 0.0), person(2, 50.0), person(3, 100.0)];
    let seen = [sight(1, None, 0.0), sight(2, None, 50.0)];
    tally.frame(&Shown { height: 120, ..shown(0, &truth) }, &seen, std::iter::empty());
    tally.frame(&shown(1, &truth), &seen, std::iter::empty());
    let found = tally.finish();
    assert_eq!((found.boxes, found.found, found.tall_boxes, found.tall_found), (6, 4, 3, 2));
    same(&[(found.tall_recall, 200.0 / 3.0)]);
}

#[test]
fn nothing_seen_of_nobody_is_no_number() {
    let found = ClipTally::new("empty").finish();
    assert_eq!((found.boxes, found.visits), (0, 0));
    same(&[(found.detection_recall, 0.0), (found.identities.idf1, 0.0), (found.unsure, 0.0)]);
    let mut tally = ClipTally::new("wrong");
    tally.frame(&shown(0, &[]), &[sight(1, Some(1), 0.0)], std::iter::empty());
    let found = tally.finish();
    assert_eq!((found.found, found.sightings), (0, 1));
    assert!(found.tracks.mota.is_finite());
}

#[test]
fn a_number_that_lies_on_one_person_twice_agrees_once() {
    let mut tally = ClipTally::new("double");
    tally.frame(&shown(0, &[person(1, 0.0)]), &[sight(1, Some(7), 0.0), sight(2, Some(7), 1.0)], std::iter::empty());
    let found = tally.finish();
    assert_eq!((found.identities.given, found.identities.agreeing), (2, 1));
}

prop_compose! {
    fn frames()(frames in prop::collection::vec(
        (
            prop::collection::btree_map(0u32..4, (0.0f32..60.0, any::<bool>()), 0..4),
            prop::collection::btree_map(0u32..6, (0.0f32..60.0, prop::option::of(0u32..5)), 0..5),
        ),
        0..12,
    )) -> Vec<(Vec<Truth>, Vec<Sight>)> {
        let truths = |(who, (x, counts)): (u32, (f32, bool))| Truth { counts, ..person(who, x) };
        let sights = |(track, (x, identity)): (u32, (f32, Option<u32>))| sight(track, identity, x);
        frames.into_iter().map(|(truth, seen)| {
            (truth.into_iter().map(truths).collect(), seen.into_iter().map(sights).collect())
        }).collect()
    }
}

proptest! {
    #[test]
    fn counts_fit_into_each_other(frames in frames()) {
        let mut tally = ClipTally::new("made");
        for (second, (truth, seen)) in frames.iter().enumerate() {
            tally.frame(&shown(second as u64, truth), seen, std::iter::empty());
        }
        let found = tally.finish();
        let given: usize = frames.iter().map(|(_, seen)| seen.len()).sum();
        prop_assert_eq!(found.sightings + found.left_out, given);
        prop_assert_eq!(found.tracks.given, found.sightings);
        prop_assert!(found.found <= found.boxes.min(found.sightings));
        for naming in [&found.tracks, &found.identities] {
            prop_assert!(naming.agreeing <= found.boxes.min(naming.given));
            prop_assert!(naming.mota <= 100.0 && (0.0..=100.0).contains(&naming.idf1));
            prop_assert!(naming.switches < found.found.max(1));
        }
        let whole = ClipFigures::total(std::slice::from_ref(&found));
        prop_assert_eq!(whole.tracks, found.tracks);
    }
}
