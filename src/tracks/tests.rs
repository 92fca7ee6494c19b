//! Tests of the tracks room on made-up walks.

use proptest::prelude::*;

use super::*;

fn person(x: f32, y: f32, score: f32) -> Detection {
    Detection { bbox: BBox { x, y, width: 20.0, height: 60.0 }, score }
}

fn at(frame: u64) -> Duration {
    Duration::from_millis(frame * 200)
}

fn ids(tracks: &Tracks) -> Vec<u32> {
    tracks.visible().map(|track| track.id.0).collect()
}

#[test]
fn a_walker_keeps_one_track() {
    let mut tracks = Tracks::new(TrackSettings::default());
    for frame in 0..30 {
        tracks.update(&[person(10.0 + 15.0 * frame as f32, 40.0, 0.8)], at(frame));
    }
    assert_eq!(ids(&tracks), [1]);
}

#[test]
fn two_people_who_cross_keep_their_tracks() {
    let mut tracks = Tracks::new(TrackSettings::default());
    for frame in 0..40 {
        let x = 8.0 * frame as f32;
        tracks.update(&[person(x, 40.0, 0.8), person(312.0 - x, 46.0, 0.8)], at(frame));
    }
    let right = tracks.all().iter().find(|track| track.bbox.x > 200.0).map(|track| track.id.0);
    let left = tracks.all().iter().find(|track| track.bbox.x < 100.0).map(|track| track.id.0);
    assert_eq!((right, left), (Some(1), Some(2)), "the walkers were swapped where they met");
}

#[test]
fn one_detection_alone_is_not_believed() {
    let mut tracks = Tracks::new(TrackSettings::default());
    tracks.update(&[person(10.0, 10.0, 0.9)], at(0));
    assert!(ids(&tracks).is_empty());
    tracks.update(&[], at(1));
    assert!(tracks.all().is_empty(), "a tentative track that is missed is noise");
    assert!(tracks.ended().is_empty(), "and it never entered, so it does not leave");
}

#[test]
fn a_weak_detection_continues_a_track_but_starts_none() {
    let mut tracks = Tracks::new(TrackSettings::default());
    for frame in 0..3 {
        tracks.update(&[person(10.0, 10.0, 0.8)], at(frame));
    }
    tracks.update(&[person(11.0, 10.0, 0.2), person(200.0, 10.0, 0.2)], at(3));
    assert_eq!(ids(&tracks), [1]);
    assert_eq!(tracks.all().len(), 1);
}

#[test]
fn a_short_gap_is_bridged_and_a_long_one_ends_the_track() {
    let mut tracks = Tracks::new(TrackSettings::default());
    for frame in 0..4 {
        tracks.update(&[person(10.0 + 10.0 * frame as f32, 10.0, 0.8)], at(frame));
    }
    for frame in 4..7 {
        tracks.update(&[], at(frame));
    }
    tracks.update(&[person(80.0, 10.0, 0.8)], at(7));
    assert_eq!(ids(&tracks), [1], "600 ms without a detection");

    tracks.update(&[], at(20));
    assert_eq!(tracks.ended().len(), 1);
    assert_eq!(tracks.ended()[0].id, TrackId(1));
    tracks.update(&[], at(21));
    assert!(tracks.ended().is_empty(), "a track ends once");
}

#[test]
fn embeddings_are_asked_for_when_new_then_spaced_then_refreshed() {
    let settings = TrackSettings { settle: 2, spacing: 3, refresh: 10, confirm: 1, ..TrackSettings::default() };
    let mut tracks = Tracks::new(settings);
    let mut asked = Vec::new();
    for frame in 0..30 {
        tracks.update(&[person(10.0, 10.0, 0.8)], at(frame));
        for id in tracks.due() {
            asked.push(frame);
            tracks.embedded(id);
            tracks.settle(id, asked.len() >= 2);
        }
    }
    assert_eq!(asked, [0, 3, 13, 23]);
}

#[test]
fn an_unsure_track_keeps_asking() {
    let settings = TrackSettings { settle: 1, spacing: 2, refresh: 100, confirm: 1, ..TrackSettings::default() };
    let mut tracks = Tracks::new(settings);
    let mut asked = 0;
    for frame in 0..10 {
        tracks.update(&[person(10.0, 10.0, 0.8)], at(frame));
        for id in tracks.due() {
            asked += 1;
            tracks.embedded(id);
        }
    }
    assert_eq!(asked, 5);
}

#[test]
fn nobody_hidden_behind_another_is_embedded() {
    let settings = TrackSettings { confirm: 1, ..TrackSettings::default() };
    let mut tracks = Tracks::new(settings);
    let behind = person(12.0, 30.0, 0.8);
    let front = person(10.0, 40.0, 0.8);
    tracks.update(&[behind, front], at(0));
    let due = tracks.due();
    assert_eq!(due.as_slice(), [TrackId(2)], "only the one in front, whose feet are lower");
}

#[test]
fn the_budget_of_a_frame_goes_to_who_waited_longest() {
    let settings = TrackSettings { confirm: 1, embeddings_per_frame: 2, ..TrackSettings::default() };
    let mut tracks = Tracks::new(settings);
    let crowd: Vec<Detection> = (0..5).map(|at| person(100.0 * at as f32, 10.0, 0.8)).collect();
    let mut order = Vec::new();
    for frame in 0..3 {
        tracks.update(&crowd, at(frame));
        let due = tracks.due();
        assert!(due.len() <= 2);
        for id in due {
            order.push(id.0);
            tracks.embedded(id);
            tracks.settle(id, true);
        }
    }
    assert_eq!(order[..4], [1, 2, 3, 4]);
    assert!(order[4..].contains(&5));
}

#[test]
fn a_crowd_beyond_the_table_is_ignored_and_counted() {
    let settings = TrackSettings { confirm: 1, ..TrackSettings::default() };
    let mut tracks = Tracks::new(settings);
    let crowd: Vec<Detection> = (0..MAX_PEOPLE * 10).map(|at| person(100.0 * at as f32, 10.0, 0.8)).collect();
    tracks.update(&crowd, at(0));
    assert_eq!(tracks.all().len(), MAX_PEOPLE);
    assert_eq!(tracks.ignored(), (MAX_PEOPLE * 9) as u64);
}

#[test]
fn settings_out_of_range_are_named() {
    let settings = TrackSettings { min_overlap: f32::NAN, ..TrackSettings::default() };
    let message = settings.validate().expect_err("NaN is no share").to_string();
    assert!(message.contains("tracks.min_overlap"), "{message}");
    let settings = TrackSettings { refresh: 0, ..TrackSettings::default() };
    let message = settings.validate().expect_err("zero frames").to_string();
    assert!(message.contains("tracks.refresh"), "{message}");
}

proptest! {
    #[test]
    fn any_detections_leave_the_table_consistent(
        frames in prop::collection::vec(
            prop::collection::vec((-50.0f32..400.0, -50.0f32..300.0, 0.0f32..1.0), 0..40), 1..30),
    ) {
        let mut tracks = Tracks::new(TrackSettings::default());
        for (frame, people) in frames.iter().enumerate() {
            let detections: Vec<Detection> = people.iter().map(|&(x, y, score)| person(x, y, score)).collect();
            tracks.update(&detections, at(frame as u64));
            let mut ids: Vec<u32> = tracks.all().iter().map(|track| track.id.0).collect();
            prop_assert!(ids.len() <= MAX_PEOPLE);
            ids.dedup();
            prop_assert_eq!(ids.len(), tracks.all().len(), "a number is given once");
            prop_assert!(tracks.due().len() <= TrackSettings::default().embeddings_per_frame);
            prop_assert!(tracks.visible().count() <= detections.len());
        }
    }
}
