//! The loop of the main job: source -> pipeline -> whoever watches. `run` and `memory` share it.

use std::time::Instant;

use anyhow::Result;
use nformer_edge::camera;
use nformer_edge::frame::{Frame, FrameSource, Idle, Next, SourceHealth};
use nformer_edge::pipeline::{Pipeline, Seen};
use nformer_edge::report::message::Room;
use nformer_edge::settings::Settings;
use tracing::{info, warn};

use super::signals::Stop;

/// Who is told what the loop brings.
pub(crate) trait Observer {
    /// A frame was processed.
    fn seen(&mut self, frame: &Frame<'_>, seen: &Seen<'_>) -> Result<()>;

    /// Between two frames, and while none comes.
    fn between(&mut self, pipeline: &mut Pipeline, source: SourceHealth) -> Result<()>;
}

/// Opens the source that the settings name and says which it is and why; none if it was told to stop while it waited.
pub(crate) fn open_source(settings: &Settings, stop: &Stop) -> Result<Option<Box<dyn FrameSource + Send>>> {
    let bundled = settings.bundled_clip();
    let Settings { source, camera, clip, .. } = settings;
    match camera::open_until(source.as_deref(), camera, clip, bundled.as_deref(), stop.flag()) {
        Err(error) if stop.is_set() => {
            info!("stopped before the source was open: {error}");
            Ok(None)
        }
        opened => {
            let (source, why) = opened?;
            info!("source: {} ({why})", source.describe());
            Ok(Some(source))
        }
    }
}

/// Runs until the source ends or the process is told to stop.
pub(crate) fn run(
    source: &mut dyn FrameSource,
    pipeline: &mut Pipeline,
    stop: &Stop,
    observer: &mut impl Observer,
) -> Result<()> {
    let mut trouble: Option<Idle> = None;
    while !stop.is_set() {
        let asked = Instant::now();
        match source.next_frame()? {
            Next::End => break,
            Next::Idle(Idle::Waiting) => {}
            Next::Idle(why) => {
                // Once per kind of trouble, not once per timeout.
                if trouble != Some(why) {
                    warn!("{}", explain(why));
                }
                trouble = Some(why);
            }
            Next::Frame(frame) => {
                if trouble.take().is_some() {
                    info!("frames come again, at frame {}", frame.sequence());
                }
                let came = Instant::now();
                pipeline.timing_mut().add(Room::Camera, came - asked);
                let seen = pipeline.process(&frame)?;
                let processed = Instant::now();
                observer.seen(&frame, &seen)?;
                pipeline.timing_mut().add(Room::Report, processed.elapsed());
                pipeline.timing_mut().add(Room::Frame, came.elapsed());
            }
        }
        observer.between(pipeline, source.health())?;
    }
    Ok(())
}

fn explain(why: Idle) -> &'static str {
    match why {
        Idle::Waiting | Idle::Timeout => "no frame within the timeout; still waiting",
        Idle::Corrupt => "a damaged frame was dropped",
        Idle::Reconnecting => "the camera is gone; trying to open it again",
    }
}
