//! `nformer-edge run`: the main job.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::Args;
use nformer_edge::detector::BBox;
use nformer_edge::frame::{Frame, SourceHealth};
use nformer_edge::pipeline::{Pipeline, Seen};
use nformer_edge::report::message::{Health, Hello, Message, Sighting, WIRE_VERSION, text};
use nformer_edge::report::{Reporter, vitals};
use nformer_edge::size::MAX_PEOPLE;
use nformer_edge::snapshot::{Mark, Snapshot};
use nformer_edge::state::{Keeper, Saves};
use tracing::info;

use super::health;
use super::job::{self, Observer};
use super::keys::KeyArgs;
use super::progress::Progress;
use super::signals::Stop;
use super::state;
use super::supervisor::Supervisor;

/// Arguments of `run`.
#[derive(Args)]
pub(crate) struct RunArgs {
    /// Write an annotated frame and a contact sheet of the identities into this folder at the end.
    /// Without it no picture ever touches the disk
    #[arg(long, value_name = "DIR")]
    snapshot: Option<PathBuf>,
    #[command(flatten)]
    keys: KeyArgs,
}

/// Runs the main job until the source ends or a signal comes.
pub(crate) fn run(args: &RunArgs) -> Result<ExitCode> {
    let settings = args.keys.settings()?;
    let stop = Stop::listen()?;
    // Before anything slow, so that a folder that cannot be written is told at once.
    let snapshot = args.snapshot.as_deref().map(Snapshot::create).transpose()?;
    let mut source = job::open_source(&settings)?;
    let (mut pipeline, models) = Pipeline::open(&settings)?;
    let keeper = state::open(&settings, &mut pipeline)?;
    let live = source.is_live();
    let mut reporter = Reporter::open(&settings.report, live)?;
    reporter.hurry_on(stop.flag());
    reporter.send(&Message::Hello(Hello {
        v: WIRE_VERSION,
        program: text(env!("CARGO_PKG_VERSION")),
        board: text(option_env!("NFORMER_EDGE_BOARD").unwrap_or("host")),
        models,
        source: text(&source.describe()),
    }));

    let mut watch = Watch {
        reporter,
        snapshot,
        keeper,
        progress: Progress::new(),
        wall_clock: live && vitals::clock_synchronised(),
        stop: stop.clone(),
        supervisor: Supervisor::find(),
        started: Instant::now(),
        last_health: Instant::now(),
        frames_at_health: 0,
        stream_time: Duration::ZERO,
        identities: 0,
    };
    watch.supervisor.ready();
    let outcome = job::run(source.as_mut(), &mut pipeline, &stop, &mut watch);
    watch.supervisor.stopping();
    let summary = watch.finish(&pipeline, source.health());
    outcome.and(summary)?;
    Ok(ExitCode::SUCCESS)
}

/// Reports, draws and sums up what the loop brings.
struct Watch {
    reporter: Reporter,
    snapshot: Option<Snapshot>,
    keeper: Option<Keeper>,
    progress: Progress,
    wall_clock: bool,
    stop: Stop,
    supervisor: Supervisor,
    started: Instant,
    last_health: Instant,
    frames_at_health: u64,
    stream_time: Duration,
    identities: usize,
}

impl Observer for Watch {
    fn seen(&mut self, frame: &Frame<'_>, seen: &Seen<'_>) -> Result<()> {
        self.stream_time = frame.time();
        for event in seen.events {
            self.reporter.send(&Message::Event(event.clone()));
        }
        let wall = if self.wall_clock { unix_ms() } else { None };
        for sighting in seen.sightings {
            self.reporter.send(&Message::Sighting(Sighting { wall, ..sighting.clone() }));
        }
        if let Some(snapshot) = &mut self.snapshot {
            let marks: heapless::Vec<Mark, MAX_PEOPLE> = seen.sightings.iter().map(mark).collect();
            snapshot.observe(frame, &marks);
        }
        self.progress.frame(self.identities);
        Ok(())
    }

    fn between(&mut self, pipeline: &mut Pipeline, source: SourceHealth) -> Result<()> {
        self.supervisor.alive();
        self.identities = pipeline.identities();
        if let Some(keeper) = &mut self.keeper {
            state::save_if_due(keeper, pipeline);
        }
        // By the clock of the board, not of the frames: a camera that gives none is worth a line.
        let running = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        if self.reporter.health_due(running) {
            let saves = self.keeper.as_ref().map(Keeper::saves).unwrap_or_default();
            let health = self.health(pipeline, source, saves);
            self.reporter.send(&Message::Health(health));
            self.last_health = Instant::now();
            self.frames_at_health = pipeline.counters().frames;
            pipeline.timing_mut().begin_interval();
        }
        if self.reporter.reader_gone() {
            info!("nobody reads standard output any more");
            self.stop.set();
        }
        Ok(())
    }
}

impl Watch {
    fn health(&self, pipeline: &Pipeline, source: SourceHealth, saves: Saves) -> Health {
        let frames = pipeline.counters().frames - self.frames_at_health;
        let fps = frames as f32 / self.last_health.elapsed().as_secs_f32();
        health::health(pipeline, source, self.reporter.dropped(), saves, self.stream_time, fps)
    }

    /// Writes the pictures, drains the reports and prints the closing summary.
    fn finish(mut self, pipeline: &Pipeline, source: SourceHealth) -> Result<()> {
        self.progress.clear();
        let fps = pipeline.counters().frames as f32 / self.started.elapsed().as_secs_f32();
        // Before the readers get their time: whoever pulls the plug now has nothing to lose.
        let saves = self.keeper.take().map(|keeper| state::close(keeper, pipeline));
        let health = self.health(pipeline, source, saves.unwrap_or_default());
        self.reporter.send(&Message::Health(health));
        let dropped = self.reporter.close();
        for line in health::summary(pipeline, source, fps, dropped) {
            info!("{line}");
        }
        if let Some(saves) = saves {
            info!("summary: state saved {} times, {} saves failed", saves.saved, saves.failures);
        }
        if let Some(snapshot) = self.snapshot {
            for picture in snapshot.finish()? {
                info!("wrote {}", picture.display());
            }
        }
        Ok(())
    }
}

fn mark(sighting: &Sighting) -> Mark {
    let [x, y, width, height] = sighting.bbox.map(|pixels| pixels.get() as f32);
    Mark { bbox: BBox { x, y, width, height }, track: sighting.track, identity: sighting.identity }
}

fn unix_ms() -> Option<u64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok()
}
