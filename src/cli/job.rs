//! The loop of the main job: source -> pipeline -> whoever watches. `run` and `memory` share it.

use std::time::{Duration, Instant};

use anyhow::Result;
use nformer_edge::camera::{self, Throttle};
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
    let started = Instant::now();
    let mut trouble = Trouble::default();
    while !stop.is_set() {
        let asked = Instant::now();
        match source.next_frame()? {
            Next::End => break,
            Next::Idle(Idle::Waiting) => {}
            Next::Idle(why) => {
                if let Some(line) = trouble.begins(why, started.elapsed()) {
                    warn!("{line}");
                }
            }
            Next::Frame(frame) => {
                if let Some(line) = trouble.ends(frame.sequence(), started.elapsed()) {
                    info!("{line}");
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

/// What the log is told of a source that gives no frames: once per kind of trouble, not once per timeout, and where it comes
/// and goes all the time, not each time.
#[derive(Default)]
struct Trouble {
    now: Option<Idle>,
    timeouts: Throttle,
    damage: Throttle,
    reconnects: Throttle,
    ends: Throttle,
}

impl Trouble {
    /// The line about a call at `time` that gave no frame.
    fn begins(&mut self, why: Idle, time: Duration) -> Option<String> {
        if self.now.replace(why) == Some(why) {
            return None;
        }
        let told = match why {
            Idle::Waiting | Idle::Timeout => &mut self.timeouts,
            Idle::Corrupt => &mut self.damage,
            Idle::Reconnecting => &mut self.reconnects,
        };
        let before = told.tell(time)?;
        Some(format!("{}{before}", explain(why)))
    }

    /// The line about frame `sequence`, which came at `time`.
    fn ends(&mut self, sequence: u64, time: Duration) -> Option<String> {
        self.now.take()?;
        let before = self.ends.tell(time)?;
        Some(format!("frames come again, at frame {sequence}{before}"))
    }
}

fn explain(why: Idle) -> &'static str {
    match why {
        Idle::Waiting | Idle::Timeout => "no frame within the timeout; still waiting",
        Idle::Corrupt => "a damaged frame was dropped",
        Idle::Reconnecting => "the camera is gone; trying to open it again",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_told_once_until_it_ends_or_changes() {
        let mut trouble = Trouble::default();
        let mut story = Vec::new();
        for (second, idle) in
            (0..).zip([None, Some(Idle::Timeout), Some(Idle::Timeout), Some(Idle::Corrupt), None, None])
        {
            let time = Duration::from_secs(second);
            story.extend(match idle {
                Some(why) => trouble.begins(why, time),
                None => trouble.ends(second, time),
            });
        }
        assert_eq!(story, [explain(Idle::Timeout), explain(Idle::Corrupt), "frames come again, at frame 4"]);
    }

    #[test]
    fn a_camera_that_damages_one_frame_in_twenty_does_not_fill_the_disk_of_the_log() {
        let mut trouble = Trouble::default();
        let mut lines = 0;
        // An hour at 30 frames a second.
        for frame in 0..60 * 60 * 30 {
            let time = Duration::from_millis(frame * 1000 / 30);
            let line = if frame % 20 == 7 { trouble.begins(Idle::Corrupt, time) } else { trouble.ends(frame, time) };
            lines += line.iter().count();
        }
        // Twenty of each kind at once, then one of each a minute.
        assert_eq!(lines, 2 * (20 + 59));
    }
}
