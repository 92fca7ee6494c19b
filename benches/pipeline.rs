//! Time of each room and of the whole main job on the bundled clip: `cargo bench --bench pipeline`.
//!
//! One thread. Before anything is timed, two pipelines over the same frames must give the same sightings.

#![expect(clippy::expect_used, reason = "a benchmark that cannot open its own models has nothing to measure")]

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use nformer_edge::backbone::{Backbone, Embedding};
use nformer_edge::camera;
use nformer_edge::detector::{Detection, Detector};
use nformer_edge::frame::{Frame, FrameSource, Next, PixelFormat};
use nformer_edge::gallery::{Gallery, Query};
use nformer_edge::model::Card;
use nformer_edge::nformer::{Landmarks, NFormer, Weights};
use nformer_edge::pipeline::Pipeline;
use nformer_edge::report::message::Sighting;
use nformer_edge::settings::Settings;
use nformer_edge::size::NEIGHBORS;
use nformer_edge::tracks::Tracks;

/// Frames of the clip that are timed: people are in view in all of them.
const FRAMES: usize = 20;

/// A frame that outlives its source.
struct Kept {
    pixels: Vec<u8>,
    format: PixelFormat,
    size: (u32, u32),
    stride: usize,
    sequence: u64,
    time: Duration,
}

impl Kept {
    fn frame(&self) -> Frame<'_> {
        Frame::new(&self.pixels, self.format, self.size, self.stride)
            .expect("it was a frame before")
            .at(self.sequence, self.time)
    }
}

fn settings() -> Settings {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut settings = Settings::default();
    settings.models.dir = Some(root.join("models"));
    settings.source = Some(root.join("tests/clips/pedestrians.avi").display().to_string());
    settings
}

fn open_clip(settings: &Settings) -> Box<dyn FrameSource + Send> {
    let source = settings.source.as_deref();
    camera::open(source, &settings.camera, &settings.clip, None).expect("the bundled clip").0
}

fn frames(settings: &Settings) -> Vec<Kept> {
    let mut source = open_clip(settings);
    let mut frames = Vec::new();
    while frames.len() < FRAMES {
        let Next::Frame(frame) = source.next_frame().expect("the bundled clip") else { panic!("the clip is longer") };
        frames.push(Kept {
            pixels: frame.pixels().to_vec(),
            format: frame.format(),
            size: (frame.width(), frame.height()),
            stride: frame.stride(),
            sequence: frame.sequence(),
            time: frame.time(),
        });
    }
    frames
}

fn card(settings: &Settings, model: &str) -> Card {
    Card::read(&settings.card_path(model).expect("models")).expect("a shipped card")
}

/// Sightings of a new pipeline over `frames`.
fn play(settings: &Settings, frames: &[Kept]) -> Vec<Sighting> {
    let (mut pipeline, _) = Pipeline::open(settings).expect("the shipped models");
    let mut sightings = Vec::new();
    for kept in frames {
        sightings.extend_from_slice(pipeline.process(&kept.frame()).expect("a frame").sightings);
    }
    sightings
}

fn rooms(criterion: &mut Criterion) {
    let settings = settings();
    let frames = frames(&settings);
    let first = play(&settings, &frames);
    assert!(!first.is_empty(), "somebody is in view");
    assert_eq!(first, play(&settings, &frames), "the same frames, the same sightings");

    let mut group = criterion.benchmark_group("rooms");
    group.sample_size(10);

    let mut source = open_clip(&settings);
    group.bench_function("camera: decode a frame", |bencher| {
        bencher.iter(|| {
            if matches!(source.next_frame(), Ok(Next::End)) {
                source = open_clip(&settings);
            }
        });
    });

    let detector_card = card(&settings, &settings.models.detector);
    let mut detector = Detector::new(&settings.detector, Some(&detector_card)).expect("the shipped detector");
    let frame = frames[FRAMES - 1].frame();
    group.bench_function("detector: a frame", |bencher| {
        bencher.iter(|| black_box(detector.detect(&frame).expect("a frame").len()));
    });

    let detections: Vec<Vec<Detection>> =
        frames.iter().map(|kept| detector.detect(&kept.frame()).expect("a frame").to_vec()).collect();
    group.bench_function("tracks: all frames", |bencher| {
        bencher.iter_batched(
            || Tracks::new(settings.tracks.clone()),
            |mut tracks| {
                for (kept, detections) in frames.iter().zip(&detections) {
                    tracks.update(detections, kept.time);
                }
                tracks
            },
            BatchSize::SmallInput,
        );
    });

    let mut backbone = Backbone::load(&card(&settings, &settings.models.backbone)).expect("the shipped backbone");
    let bbox = detections[FRAMES - 1].first().expect("somebody is in view").bbox;
    let region = settings.crop.region(&bbox, &frame).expect("large enough");
    group.bench_function("backbone: a crop", |bencher| {
        bencher.iter(|| black_box(backbone.embed(&frame, region).expect("an embedding").as_slice()[0]));
    });

    fusion(&mut group, &settings, backbone.width());
    group.finish();

    let mut group = criterion.benchmark_group("whole");
    group.sample_size(10);
    let (mut pipeline, _) = Pipeline::open(&settings).expect("the shipped models");
    let mut round = 0;
    group.bench_function(format!("{FRAMES} frames"), |bencher| {
        bencher.iter(|| {
            for kept in &frames {
                // Time goes on from round to round, as it would in a longer clip.
                let time = kept.time + round * (frames[FRAMES - 1].time + frames[1].time);
                let frame = kept.frame().at(kept.sequence, time);
                black_box(pipeline.process(&frame).expect("a frame").sightings.len());
            }
            round += 1;
        });
    });
    group.finish();
}

/// A full buffer fused, and eight people looked up among a hundred identities.
fn fusion(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    settings: &Settings,
    width: usize,
) {
    let rows = unit_rows(NEIGHBORS, width);
    let fusion_card = card(settings, &settings.models.fusion);
    let weights = Weights::read(fusion_card.file_path()).expect("the shipped weights");
    let top_k = weights.top_k().expect("the shipped weights say it");
    let mut nformer = NFormer::new(weights, NEIGHBORS).expect("the shipped weights");
    group.bench_function(format!("nformer: {NEIGHBORS} rows"), |bencher| {
        bencher.iter(|| black_box(nformer.forward(&rows, top_k, Landmarks::Agents).expect("rows").rows()[0]));
    });

    let mut gallery = Gallery::new(settings.gallery.clone(), width);
    let people: Vec<&[f32]> = rows.chunks_exact(width).collect();
    for (time, person) in people.iter().take(100).enumerate() {
        let query = Query { embedding: person, embeddings: settings.gallery.patience };
        gallery.assign(&[query], &[], Duration::from_secs(time as u64));
    }
    let queries: Vec<Query<'_>> = people[..8].iter().map(|embedding| Query { embedding, embeddings: 1 }).collect();
    group.bench_function("gallery: 8 people", |bencher| {
        bencher.iter(|| black_box(gallery.assign(&queries, &[], Duration::from_secs(200)).len()));
    });
}

/// `rows` unit vectors `[rows, width]` from a linear congruential generator: the same ones every time.
fn unit_rows(rows: usize, width: usize) -> Vec<f32> {
    let mut state = 7_u32;
    let mut values: Vec<f32> = (0..rows * width)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect();
    for row in values.chunks_exact_mut(width) {
        Embedding::normalise(row).expect("not zero");
    }
    values
}

criterion_group!(benches, rooms);
criterion_main!(benches);
