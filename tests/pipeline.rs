//! The whole corridor in the library, on made-up frames that each are one person (detector `whole`).

#![expect(clippy::expect_used, reason = "helpers of tests: what cannot be set up has failed")]

use std::path::Path;
use std::time::Duration;

use nformer_edge::backbone::{Backbone, BackboneSettings};
use nformer_edge::camera;
use nformer_edge::detector::DetectorKind;
use nformer_edge::frame::{Frame, Next, PixelFormat, Region};
use nformer_edge::model::Card;
use nformer_edge::pipeline::Pipeline;
use nformer_edge::report::message::{EventKind, Room, Sighting, State};
use nformer_edge::settings::Settings;

const WIDTH: u32 = 64;
const HEIGHT: u32 = 128;

fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.models.dir = Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("models"));
    settings.detector.kind = DetectorKind::Whole;
    settings.tracks.embeddings_per_frame = 1;
    // To a network trained on people two painted figures are much alike, while a figure is always the same: what is
    // far apart for people is near here.
    settings.gallery.similarity = 0.95;
    settings.gallery.doubt = 0.02;
    settings.gallery.lead = 0.0;
    settings.gallery.contradiction = 0.93;
    settings.neighbors.agreement = 0.93;
    settings
}

const GREEN: [u8; 3] = [20, 160, 60];
const WHITE: [u8; 3] = [230, 230, 230];

/// A figure in a jacket of the given colour before a grey wall, as RGB bytes.
fn person(jacket: [u8; 3]) -> Vec<u8> {
    let mut pixels = Vec::new();
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            let inside = (16..48).contains(&x) && y > 8;
            let colour = match y {
                _ if !inside => [120, 120, 120],
                0..28 => [200, 160, 140],
                28..76 => jacket,
                _ => [20, 20, 20],
            };
            pixels.extend_from_slice(&colour);
        }
    }
    pixels
}

fn frame(pixels: &[u8], number: u64) -> Frame<'_> {
    Frame::new(pixels, PixelFormat::Rgb, (WIDTH, HEIGHT), WIDTH as usize * 3)
        .expect("a whole picture")
        .at(number, Duration::from_millis(200 * number))
}

#[test]
fn one_person_enters_is_identified_and_keeps_the_number() {
    let (mut pipeline, models) = Pipeline::open(&settings()).expect("the shipped models");
    assert_eq!(models.len(), 2, "the detector `whole` has no model");
    let pixels = person(GREEN);
    let mut story = Vec::new();
    let mut states = Vec::new();
    for number in 0..12 {
        let seen = pipeline.process(&frame(&pixels, number)).expect("a frame");
        story.extend(seen.events.iter().map(|event| (number, event.kind, event.identity)));
        states.extend(seen.sightings.iter().map(|sighting| (sighting.frame, sighting.state, sighting.identity)));
    }
    assert_eq!(story, [(1, EventKind::Entered, None), (3, EventKind::Identified, Some(1))]);
    assert_eq!(states[0], (1, State::Unsure, None), "one embedding is not enough for a new identity");
    assert_eq!(states[1], (2, State::Tracked, None));
    assert_eq!(states[2], (3, State::New, Some(1)));
    assert_eq!(states[4], (5, State::Known, Some(1)), "the next embedding agrees");
    assert!(states[3..].iter().all(|(_, _, identity)| *identity == Some(1)), "{states:?}");
    let counters = pipeline.counters();
    assert_eq!((counters.frames, counters.refused, pipeline.identities()), (12, 0, 1));
}

#[test]
fn who_was_away_comes_back_as_the_same_and_somebody_else_does_not() {
    let (mut pipeline, _) = Pipeline::open(&settings()).expect("the shipped models");
    let (green, white) = (person(GREEN), person(WHITE));
    // Three visits, minutes apart: longer than any track is kept.
    let visits = [(&green, 0), (&white, 1_000), (&green, 2_000)];
    let mut identities = Vec::new();
    let mut left = 0;
    for (pixels, start) in visits {
        let mut identity = None;
        for number in start..start + 14 {
            let seen = pipeline.process(&frame(pixels, number)).expect("a frame");
            identity = seen.sightings.iter().find_map(|sighting| sighting.identity).or(identity);
            left += seen.events.iter().filter(|event| event.kind == EventKind::Left).count();
        }
        identities.push(identity);
    }
    assert_eq!(identities, [Some(1), Some(2), Some(1)]);
    assert_eq!(left, 2, "each visit but the last has ended");
}

#[test]
fn a_track_that_goes_over_to_somebody_else_gets_another_identity() {
    let mut settings = settings();
    settings.tracks.refresh = 4;
    let (mut pipeline, _) = Pipeline::open(&settings).expect("the shipped models");
    let (green, white) = (person(GREEN), person(WHITE));
    let mut story = Vec::new();
    for number in 0..40 {
        let pixels = if number < 16 { &green } else { &white };
        let seen = pipeline.process(&frame(pixels, number)).expect("a frame");
        let identified = seen.events.iter().filter(|event| event.kind == EventKind::Identified);
        story.extend(identified.map(|event| (event.track, event.identity)));
        assert!(seen.events.iter().all(|event| event.kind != EventKind::Left), "one track all the time");
    }
    assert_eq!(story, [(1, Some(1)), (1, Some(2))]);
}

#[test]
fn frames_passed_over_show_nobody() {
    let mut settings = settings();
    settings.detector.every = 3;
    let (mut pipeline, _) = Pipeline::open(&settings).expect("the shipped models");
    let pixels = person(GREEN);
    for number in 0..9 {
        let seen = pipeline.process(&frame(&pixels, number)).expect("a frame");
        assert_eq!(!seen.sightings.is_empty(), number > 0 && number % 3 == 0, "frame {number}");
    }
    assert_eq!(pipeline.timing().total().room(Room::Detector).len(), 3);
}

#[test]
fn the_memory_plan_names_every_room() {
    let (pipeline, _) = Pipeline::open(&settings()).expect("the shipped models");
    let plan = pipeline.memory();
    for room in ["detector", "tracks", "backbone", "neighbors", "nformer", "gallery", "pipeline"] {
        assert!(plan.iter().any(|item| item.name == room && item.bytes > 0), "{room}: {plan:?}");
    }
}

/// Sightings of the bundled clip, and embeddings made.
fn play(threads: usize) -> (Vec<Sighting>, u64) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let clip = root.join("tests/clips/pedestrians.avi").display().to_string();
    let mut settings = Settings::default();
    settings.models.dir = Some(root.join("models"));
    settings.backbone.threads = threads;
    let mut source = camera::open(Some(&clip), &settings.camera, &settings.clip, None).expect("the bundled clip").0;
    let (mut pipeline, _) = Pipeline::open(&settings).expect("the shipped models");
    let mut sightings = Vec::new();
    while let Next::Frame(frame) = source.next_frame().expect("the bundled clip") {
        sightings.extend_from_slice(pipeline.process(&frame).expect("a frame").sightings);
    }
    let embeddings = pipeline.timing().total().room(Room::Backbone).len();
    assert_eq!(embeddings, pipeline.counters().embeddings);
    (sightings, embeddings)
}

#[test]
fn two_threads_see_what_one_sees() {
    let one = play(1);
    assert!(one.0.iter().any(|sighting| sighting.identity.is_some()), "somebody is recognised");
    assert_eq!(one, play(2));
}

#[test]
fn embeddings_are_the_same_bits_in_any_number_of_threads() {
    let card = settings().card_path("reid_backbone").expect("models");
    let load = || Backbone::load(&Card::read(&card).expect("a card")).expect("the shipped backbone");
    let pixels: Vec<u8> = (0..WIDTH * HEIGHT * 3).map(|at| (at * at / 97 % 251) as u8).collect();
    let frame = frame(&pixels, 0);
    let at = |step: u16| Region { x: 0.0, y: 3.0 * f32::from(step), width: 40.0 + f32::from(step), height: 80.0 };
    let regions: Vec<Region> = (0..9).map(at).collect();
    let mut alone = load();
    let expected: Vec<Vec<f32>> =
        regions.iter().map(|region| alone.embed(&frame, *region).expect("a crop").as_slice().to_vec()).collect();
    assert!(expected.windows(2).all(|pair| pair[0] != pair[1]), "the order shows");
    for threads in [2, 3, 8] {
        let mut shared = load().with_settings(&BackboneSettings { threads }).expect("in range");
        // The further states count, and nothing grows.
        let bytes = shared.bytes();
        let states = (threads - 1) * alone.network().state_bytes();
        assert!(bytes >= alone.bytes() + states && alone.network().state_bytes() > 3 * 96 * 192 * 4, "{bytes}");
        for _ in 0..3 {
            let embeddings = shared.embed_all(&frame, &regions);
            let found: Vec<&[f32]> =
                embeddings.iter().map(|outcome| outcome.as_ref().expect("a crop").as_slice()).collect();
            assert_eq!(found, expected, "{threads} threads");
        }
        assert_eq!(shared.bytes(), bytes);
    }
}

#[test]
fn a_backbone_and_fusion_weights_that_do_not_fit_are_refused() {
    let mut wrong = settings();
    wrong.models.fusion = wrong.models.backbone.clone();
    let Err(error) = Pipeline::open(&wrong) else { panic!("a backbone is no fusion network") };
    assert!(error.to_string().contains("fusion"), "{error}");

    let mut wrong = settings();
    wrong.models.backbone = wrong.models.fusion.clone();
    let Err(error) = Pipeline::open(&wrong) else { panic!("fusion weights are no backbone") };
    assert!(!error.to_string().is_empty());
}
