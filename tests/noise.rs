//! Pictures of noise for a while: nothing panics, nothing grows. Alone in its process, whose memory it measures.

use std::path::Path;

use nformer_edge::camera::{self, CameraSettings, ClipSettings, FaultInjector, FaultRules};
use nformer_edge::detector::DetectorKind;
use nformer_edge::frame::{FrameSource, Next};
use nformer_edge::pipeline::Pipeline;
use nformer_edge::report::vitals;
use nformer_edge::settings::Settings;

const CLIP: &str = "tests/clips/pedestrians.avi";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn noise_in_the_place_of_pictures_panics_nobody_and_takes_no_memory() {
    for kind in [DetectorKind::Model, DetectorKind::Motion] {
        let mut settings = Settings::default();
        settings.models.dir = Some(root().join("models"));
        settings.detector.kind = kind;
        // Whatever looks like somebody.
        settings.detector.threshold = Some(0.05);
        settings.detector.min_height = 1.0;
        settings.detector.motion.warm_up = 1;
        let clip = root().join(CLIP).display().to_string();
        let source = camera::open(Some(&clip), &CameraSettings::default(), &ClipSettings::default(), None);
        let rules = FaultRules { garbage: 3, garbage_frames: 2, seed: Some(5), ..FaultRules::default() };
        let mut source = FaultInjector::new(source.expect("the clip").0, rules);
        let (mut pipeline, _) = Pipeline::open(&settings).expect("the shipped models");
        let (mut frames, mut settled) = (0, 0);
        while let Next::Frame(frame) = source.next_frame().expect("a frame") {
            let seen = pipeline.process(&frame).expect("noise is a picture too");
            assert!(seen.sightings.iter().all(|sighting| sighting.score.get().is_finite()));
            frames += 1;
            if frames == 60 {
                settled = vitals::resident().expect("Linux").now;
            }
            if frames == 160 {
                break;
            }
        }
        let grown = vitals::resident().expect("Linux").now.saturating_sub(settled);
        println!("{kind:?}: {frames} frames, {:?}, grown by {grown} bytes", pipeline.counters());
        assert!(frames == 160 && grown < 2_000_000, "{frames} frames, grown by {grown} bytes");
    }
}
