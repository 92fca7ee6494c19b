//! After start, the rooms between embedding and identity ask for no memory.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where its preparation fails")]

#[path = "support/counting.rs"]
mod counting;
#[path = "../src/nformer/tests/random_weights.rs"]
mod random_weights;

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use counting::{Counting, requests};
use nformer_edge::backbone::Embedding;
use nformer_edge::detector::{BBox, Detection};
use nformer_edge::gallery::{APPEARANCE, Assignment, Gallery, GallerySettings, IdentityId, Query};
use nformer_edge::neighbors::{EvictionPolicy, NeighborBuffer, NeighborSettings, RowKind, Tag};
use nformer_edge::nformer::{Landmarks, NFormer, Online, Precision, Weights};
use nformer_edge::recognition::{Change, Recognition};
use nformer_edge::size::{MAX_PEOPLE, NEIGHBORS};
use nformer_edge::state;
use nformer_edge::tracks::{TrackId, TrackSettings, Tracks};
use random_weights::{Random, Shape, random_tensors, to_bytes};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Pushes an embedding and fuses the whole buffer, `steps` times; requests on the way.
fn push_and_fuse<const N: usize>(shape: Shape, top_k: usize, given: bool, precision: Precision, steps: u32) -> u64 {
    let bytes = to_bytes(&random_tensors(shape, 1), &[("heads", &shape.heads.to_string())]);
    let weights = Weights::from_bytes(&bytes, Path::new("random.safetensors")).unwrap();
    let weights = if given { weights.without_agents() } else { weights };
    let mut nformer = NFormer::new(weights.with_precision(precision), N).unwrap();
    let mut buffer = NeighborBuffer::<N>::new(shape.width, EvictionPolicy::Redundant).unwrap();
    let mut random = Random::new(2);
    let mut row = vec![0.0; shape.width];
    let landmark_rows = vec![0; shape.layers * 4];
    let landmarks = if given { Landmarks::Rows(&landmark_rows) } else { Landmarks::Agents };
    requests(|| {
        for step in 0..steps {
            row.fill_with(|| random.value());
            let tag = Tag { track: TrackId(step / 5), time: Duration::from_millis(step.into()) };
            let pushed = buffer.push(Embedding::normalise(&mut row).unwrap(), tag).unwrap();
            let fused = nformer.forward(buffer.rows(), top_k, landmarks).unwrap();
            black_box(fused.final_row(pushed.slot, &mut row).unwrap());
            if step % 4096 == 4095 {
                buffer.clear();
            }
        }
    })
}

#[test]
fn the_counter_counts() {
    assert_eq!(requests(|| drop(black_box(Box::new(1)))), 2);
    assert!(requests(|| black_box(&mut vec![1_u8; 4]).extend([0; 400])) >= 3);
}

#[test]
fn ten_thousand_steps_of_a_small_network_allocate_nothing() {
    let shape = Shape { width: 32, heads: 2, layers: 2, feed_forward: 64, agents: 3, mean_weight: 0.5 };
    assert_eq!(push_and_fuse::<16>(shape, 5, false, Precision::F32, 10_000), 0);
    assert_eq!(push_and_fuse::<16>(shape, 5, true, Precision::F32, 1_000), 0);
}

#[test]
fn hundreds_of_steps_of_a_full_width_network_allocate_nothing() {
    let shape = Shape { width: 256, heads: 2, layers: 4, feed_forward: 1024, agents: 5, mean_weight: 0.5 };
    assert_eq!(push_and_fuse::<16>(shape, 5, false, Precision::F32, 300), 0);
    assert_eq!(push_and_fuse::<16>(shape, 5, false, Precision::Int8, 300), 0);
}

#[test]
fn ten_thousand_frames_in_the_gallery_allocate_nothing() {
    const WIDTH: usize = 32;
    let mut gallery = Gallery::new(GallerySettings { ttl_s: 60, ..GallerySettings::default() }, WIDTH);
    let mut random = Random::new(3);
    let mut row = vec![0.0; WIDTH];
    let mut last: Option<IdentityId> = None;
    let mut made = 0;
    let count = requests(|| {
        for frame in 0..10_000_u64 {
            let now = Duration::from_millis(frame * 100);
            row.fill_with(|| random.value());
            let embedding = Embedding::normalise(&mut row).unwrap().as_slice();
            gallery.see(now, last.into_iter());
            gallery.follow(last.into_iter().map(|id| (id, embedding)));
            gallery.merge(last.into_iter());
            let answers = gallery.assign(&[Query { embedding, embeddings: 5 }; 3], &[], now);
            for answer in &answers {
                if let Assignment::New { id } = answer {
                    made += 1;
                    last = Some(*id);
                }
            }
            if let Some(id) = last {
                gallery.retire(id, embedding);
            }
        }
    });
    assert_eq!(count, 0);
    assert!(made > 1_000, "the test really fills the gallery: {made}");
    assert!(gallery.forgotten() > 0, "and empties it");
}

#[test]
fn ten_times_more_people_than_places_for_a_thousand_frames_allocate_nothing() {
    const BURST: usize = 10 * MAX_PEOPLE;
    let person = |number: usize| Detection {
        bbox: BBox { x: number as f32 * 40.0, y: 0.0, width: 20.0, height: 60.0 },
        score: 1.0 - number as f32 / (2 * BURST) as f32,
    };
    let mut detections: Vec<Detection> = (0..BURST).map(person).collect();
    let mut tracks = Tracks::new(TrackSettings::default());
    let count = requests(|| {
        for frame in 0..1000_u64 {
            // Now a burst, now somebody alone, and everybody has moved on.
            let taken = if frame % 50 < 25 { BURST } else { 1 };
            for detection in &mut detections {
                detection.bbox.x += 0.5;
            }
            tracks.update(&detections[..taken], Duration::from_millis(frame * 100));
            black_box(tracks.due());
        }
    });
    assert_eq!(count, 0);
    assert!(tracks.ignored() >= 500 * (BURST - MAX_PEOPLE) as u64, "{}", tracks.ignored());
    tracks.update(&detections, Duration::from_hours(1));
    tracks.update(&detections, Duration::from_millis(3_600_100));
    let mut scores: Vec<f32> = tracks.visible().map(|track| track.score).collect();
    scores.sort_unstable_by(f32::total_cmp);
    let mut best: Vec<f32> = detections[..MAX_PEOPLE].iter().map(|detection| detection.score).collect();
    best.sort_unstable_by(f32::total_cmp);
    assert_eq!(scores, best, "the surest people are kept");
}

#[test]
fn a_state_is_written_without_a_request_for_memory() {
    const WIDTH: usize = 32;
    let mut gallery = Gallery::new(GallerySettings::default(), APPEARANCE * WIDTH);
    let mut buffer = NeighborBuffer::<16>::new(WIDTH, EvictionPolicy::Redundant).unwrap();
    let mut random = Random::new(4);
    for number in 0..12 {
        let mut row = vec![0.0; APPEARANCE * WIDTH];
        row.fill_with(|| random.value());
        let appearance = Embedding::normalise(&mut row).unwrap();
        gallery.assign(&[Query { embedding: appearance.as_slice(), embeddings: 5 }], &[], Duration::from_secs(number));
        let embedding = Embedding::normalise(&mut row[..WIDTH]).unwrap();
        buffer.push(embedding, Tag { track: TrackId(1), time: Duration::from_secs(number) }).unwrap();
    }
    let head = state::Head {
        width: WIDTH,
        clock: Duration::from_secs(20),
        clocks: state::Clocks::default(),
        next_identity: gallery.next_id(),
        next_track: TrackId(2),
    };
    let mut bytes = Vec::with_capacity(state::max_bytes(12, gallery.len(), WIDTH));
    let count = requests(|| {
        state::draft(&mut bytes);
        let rows = buffer.saved().map(|row| state::Row { owner: None, row });
        state::encode(&mut bytes, &head, rows, gallery.saved(), |one, other| gallery.met(one, other));
    });
    assert_eq!((count, bytes.len()), (0, bytes.capacity()));
    assert!(gallery.len() > 5);
}

#[test]
fn two_thousand_frames_of_recognition_allocate_nothing() {
    // 400 tracks of ten embeddings each.
    for (rows, evictions) in [(RowKind::Track, 300), (RowKind::Embedding, 1_000)] {
        frames_of_recognition(rows, evictions);
    }
}

fn frames_of_recognition(rows: RowKind, evictions: u64) {
    const WIDTH: usize = 32;
    let shape = Shape { width: WIDTH, heads: 2, layers: 1, feed_forward: 64, agents: 3, mean_weight: 0.5 };
    let bytes = to_bytes(&random_tensors(shape, 1), &[("heads", "2")]);
    let weights = Weights::from_bytes(&bytes, Path::new("random.safetensors")).unwrap();
    let online = Online::new(weights, NEIGHBORS, 5).unwrap();
    let neighbors = NeighborSettings { rows, ..NeighborSettings::default() };
    let mut recognition = Recognition::new(online, &neighbors, GallerySettings::default()).unwrap();
    let mut random = Random::new(5);
    let mut row = vec![0.0; WIDTH];
    let (mut identified, mut left) = (0, 0);
    let count = requests(|| {
        for frame in 0..2_000_u32 {
            // Two at a time, for ten frames; the same twenty people come back again and again.
            let tracks = [1, 2].map(|at| TrackId(frame / 10 * 2 + at));
            let now = Duration::from_millis(u64::from(frame) * 200);
            if frame % 10 == 0 && frame > 0 {
                let ended = tracks.map(|track| recognition.part(TrackId(track.0 - 2)));
                left += ended.iter().flatten().filter(|person| person.identity.is_some()).count();
            }
            recognition.see(tracks.into_iter(), now);
            for track in tracks {
                let person = track.0 % 20 * 7;
                for (at, value) in (0_u32..).zip(&mut row) {
                    *value = ((person * 31 + at * person) as f32).sin() + 0.1 * random.value();
                }
                recognition.push(Embedding::normalise(&mut row).unwrap(), track, now).unwrap();
            }
            recognition.fuse(&tracks).unwrap();
            let changes = recognition.recognise(&tracks, now).iter();
            identified += changes.filter(|change| matches!(change, Change::Identified { .. })).count();
        }
    });
    assert_eq!(count, 0);
    assert!(identified > 50 && left > 50, "somebody is recognised: {identified} {left}");
    assert!(recognition.evictions() > evictions, "and the buffer was full: {}", recognition.evictions());
}
