//! What holds of the people of one frame, whatever the rows say.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::neighbors::RowKind;
use crate::nformer::Weights;
use crate::nformer::tests::random_weights::{Random, Shape, random_tensors, to_bytes};

const WIDTH: usize = 16;

fn recognition(rows: RowKind) -> Recognition {
    with_ttl(rows, GallerySettings::default().ttl_s)
}

/// Forgets people who were not seen for so many seconds.
fn with_ttl(rows: RowKind, ttl_s: u64) -> Recognition {
    let shape = Shape { width: WIDTH, heads: 2, layers: 1, feed_forward: 16, agents: 3, mean_weight: 0.5 };
    let bytes = to_bytes(&random_tensors(shape, 1), &[("heads", "2")]);
    let weights = Weights::from_bytes(&bytes, Path::new("random.safetensors")).unwrap();
    let online = Online::new(weights, NEIGHBORS, 5).unwrap();
    let gallery = GallerySettings { min_embeddings: 1, ttl_s, ..GallerySettings::default() };
    Recognition::new(online, &NeighborSettings { rows, ..NeighborSettings::default() }, gallery).unwrap()
}

/// Leads one frame through, each track with its look; returns the merges.
fn lead(recognition: &mut Recognition, frame: &[(u32, Vec<f32>)], second: u64) -> Vec<Merge> {
    let now = Duration::from_secs(second);
    let tracks: Vec<TrackId> = frame.iter().map(|(track, _)| TrackId(*track)).collect();
    recognition.see(tracks.iter().copied(), now);
    for (track, look) in frame {
        let mut row = look.clone();
        recognition.push(Embedding::normalise(&mut row).unwrap(), TrackId(*track), now).unwrap();
    }
    recognition.fuse(&tracks).unwrap();
    let changes = recognition.recognise(&tracks, now).iter();
    changes.filter_map(|change| if let Change::Merged { merge, .. } = change { Some(*merge) } else { None }).collect()
}

fn identity(recognition: &Recognition, track: u32) -> Option<u32> {
    recognition.person(TrackId(track)).and_then(|person| person.identity).map(|identity| identity.0)
}

#[test]
fn two_who_look_alike_in_one_frame_are_two_from_the_start() {
    for rows in [RowKind::Track, RowKind::Embedding] {
        two_who_look_alike(recognition(rows));
    }
}

fn two_who_look_alike(mut recognition: Recognition) {
    let look: Vec<f32> = (0..WIDTH as u32).map(|at| ((at * at) as f32).sin()).collect();
    // Nobody is known yet, so both are new, and their prototypes are the same.
    assert_eq!(lead(&mut recognition, &[(1, look.clone()), (2, look.clone())], 0), []);
    assert_eq!((identity(&recognition, 1), identity(&recognition, 2)), (Some(1), Some(2)));
    assert_eq!(lead(&mut recognition, &[(1, look.clone()), (2, look)], 1), []);
    assert_eq!((identity(&recognition, 1), identity(&recognition, 2)), (Some(1), Some(2)));
}

#[test]
fn people_of_a_frame_never_share_an_identity() {
    for rows in [RowKind::Track, RowKind::Embedding] {
        never_shared(recognition(rows));
    }
}

fn never_shared(mut recognition: Recognition) {
    let mut random = Random::new(3);
    let mut known = 0;
    for frame in 0..400_u32 {
        // Three in view of three looks at most, each for five frames: strangers dressed alike meet all the time.
        let people: Vec<(u32, Vec<f32>)> = (0..3)
            .map(|place| {
                let track = 3 * (frame / 5) + place;
                let kind = (track * 7 + frame / 50) % 3;
                let look = (0..WIDTH as u32).map(|at| ((kind * 40 + at * at) as f32).sin() + 0.3 * random.value());
                (track, look.collect())
            })
            .collect();
        lead(&mut recognition, &people, u64::from(frame));
        let given: Vec<u32> = people.iter().filter_map(|(track, _)| identity(&recognition, *track)).collect();
        assert_eq!(given.iter().collect::<BTreeSet<_>>().len(), given.len(), "frame {frame}: {given:?}");
        known += given.len();
        if frame % 5 == 4 {
            for (track, _) in &people {
                recognition.part(TrackId(*track));
            }
        }
    }
    assert!(known > 400, "{known} answers of 1200");
}

#[test]
fn rows_of_the_forgotten_are_nobodys_and_the_first_to_go() {
    let mut recognition = with_ttl(RowKind::Embedding, 100);
    let look = |kind: u32| -> Vec<f32> { (0..WIDTH as u32).map(|at| ((kind * 40 + at * at) as f32).sin()).collect() };
    for second in 0..4 {
        lead(&mut recognition, &[(1, look(1))], second);
    }
    let owners = |recognition: &Recognition| -> Vec<u32> { recognition.fusion.owned().map(|(id, _)| id.0).collect() };
    assert_eq!(owners(&recognition), [1; 4]);
    // Somebody else, who fills the buffer with many rows of one track: those are the redundant ones, the first has few.
    recognition.part(TrackId(1));
    for second in 0..NEIGHBORS as u64 + 10 {
        lead(&mut recognition, &[(2, look(2))], 200 + second);
        assert!(!owners(&recognition).contains(&1));
    }
    let times: Vec<Duration> = recognition.fusion.saved().map(|row| row.row.tag.time).collect();
    assert_eq!(times.len(), NEIGHBORS);
    // The newest is of second 465, and where all are of one track and the same look, the oldest go.
    assert!(times.iter().all(|time| time.as_secs() >= 200), "{times:?}");
}
