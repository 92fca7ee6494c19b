//! `nformer-edge run`: the main job.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use nformer_edge::detector::BBox;
use nformer_edge::frame::{Frame, SourceHealth};
use nformer_edge::pipeline::{Pipeline, Seen};
use nformer_edge::report::message::{Event, EventKind, Health, Hello, Message, Sighting, WIRE_VERSION, text};
use nformer_edge::report::{Reporter, log, vitals};
use nformer_edge::settings::Settings;
use nformer_edge::size::MAX_PEOPLE;
use nformer_edge::snapshot::{Mark, Snapshot};
use nformer_edge::state::Saves;
use tracing::{info, warn};

use super::health;
use super::job::{self, Observer};
use super::keys::KeyArgs;
use super::progress::Progress;
use super::reload;
use super::sandbox;
use super::signals::{HangUp, Reload, Stop};
use super::state::{self, Kept};
use super::supervisor::Supervisor;
use super::wall::Wall;

/// After that long without a frame, a live source is silent and the clock of the gallery runs on by itself.
const SILENCE: Duration = Duration::from_secs(1);

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
    // From the first line on: a reader of the log that stalled holds up nothing.
    log::hold();
    let keys = args.keys.pinned();
    let settings = keys.settings()?;
    let stop = Stop::listen()?;
    let reload = Reload::listen()?;
    // Before the sandbox, in which no socket can be made.
    let supervisor = Supervisor::find();
    // Before anything slow, so that a folder that cannot be written is told at once.
    let snapshot = args.snapshot.as_deref().map(Snapshot::create).transpose()?;
    if settings.sandbox {
        // Before the first thread: those that come are bound as the one that makes them.
        sandbox::confine_files(&sandbox::Paths::of(&settings, keys.config(), args.snapshot.as_deref()))?;
    }
    log::release()?;
    let Some(mut source) = job::open_source(&settings, &stop)? else { return Ok(ExitCode::SUCCESS) };
    let (mut pipeline, models) = Pipeline::open(&settings)?;
    let kept = state::open(&settings, &mut pipeline)?;
    let live = source.is_live();
    let mut reporter = Reporter::open(&settings.report, live)?;
    reporter.hurry_on(stop.flag());
    if settings.sandbox {
        sandbox::confine_calls()?;
    }
    let hello = Hello {
        v: WIRE_VERSION,
        program: text(env!("CARGO_PKG_VERSION")),
        board: text(option_env!("NFORMER_EDGE_BOARD").unwrap_or("host")),
        models,
        source: text(&source.describe()),
    };
    reporter.send(&Message::Hello(hello.clone()));

    let mut watch = Watch {
        keys,
        settings,
        hello,
        reload,
        reporter,
        snapshot,
        kept,
        progress: Progress::new(),
        wall: Wall::new(live, vitals::clock_synchronised),
        live,
        timed: Instant::now(),
        stop: stop.clone(),
        supervisor,
        started: Instant::now(),
        last_health: Instant::now(),
        frames_at_health: 0,
        stream_time: Duration::ZERO,
        frame: 0,
        frozen: false,
        identities: 0,
    };
    watch.supervisor.ready();
    let outcome = job::run(source.as_mut(), &mut pipeline, &stop, &mut watch);
    watch.supervisor.stopping();
    let summary = watch.finish(&mut pipeline, source.health());
    outcome.and(summary)?;
    Ok(ExitCode::SUCCESS)
}

/// Reports, draws and sums up what the loop brings.
struct Watch {
    keys: KeyArgs,
    /// As at the start.
    settings: Settings,
    /// As it was sent last.
    hello: Hello,
    reload: Reload,
    reporter: Reporter,
    snapshot: Option<Snapshot>,
    kept: Option<Kept>,
    progress: Progress,
    wall: Wall<fn() -> bool>,
    live: bool,
    /// Until when the clock of the gallery ran, by that of the board.
    timed: Instant,
    stop: Stop,
    supervisor: Supervisor,
    started: Instant,
    last_health: Instant,
    frames_at_health: u64,
    stream_time: Duration,
    /// Number of the last frame.
    frame: u64,
    /// Whether the picture was standing still.
    frozen: bool,
    identities: usize,
}

impl Observer for Watch {
    fn seen(&mut self, frame: &Frame<'_>, seen: &Seen<'_>) -> Result<()> {
        (self.stream_time, self.frame) = (frame.time(), frame.sequence());
        self.timed = Instant::now();
        for event in seen.events {
            self.reporter.send(&Message::Event(event.clone()));
        }
        let wall = self.wall.now();
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
        if source.frozen != self.frozen {
            self.freeze(source.frozen);
        }
        match self.reload.take() {
            Some(HangUp::Reload) => self.reload(pipeline),
            Some(HangUp::Stop) => self.stop.set(),
            None => {}
        }
        let silent = self.timed.elapsed();
        if self.live && silent >= SILENCE {
            pipeline.pass(silent);
            self.timed += silent;
        }
        if let Some(kept) = &mut self.kept {
            kept.save_if_due(pipeline);
        }
        // By the clock of the board, not of the frames: a camera that gives none is worth a line.
        let running = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        if self.reporter.health_due(running) {
            let saves = self.kept.as_ref().map(Kept::saves).unwrap_or_default();
            let health = self.health(pipeline, source, saves);
            self.reporter.send(&Message::Health(health));
            self.wall.look();
            self.last_health = Instant::now();
            self.frames_at_health = pipeline.counters().frames;
            pipeline.timing_mut().begin_interval();
        }
        if self.reporter.reader_gone() {
            self.stop.set();
        }
        Ok(())
    }
}

impl Watch {
    /// Says that the picture stands still, or no longer.
    fn freeze(&mut self, frozen: bool) {
        self.frozen = frozen;
        if frozen {
            warn!("the picture stands still; if it is no test picture, the camera hangs (see camera.frozen_reopen)");
            self.tell(EventKind::CameraFrozen);
        } else {
            info!("the picture moves again, at frame {}", self.frame);
            self.tell(EventKind::CameraMoving);
        }
    }

    /// Reads the configuration again.
    fn reload(&mut self, pipeline: &mut Pipeline) {
        let start = Instant::now();
        match reload::reload(&self.keys, &self.settings, pipeline, &mut self.reporter) {
            Ok((models, waiting)) => {
                if self.hello.models != models {
                    self.hello.models = models;
                    self.reporter.send(&Message::Hello(self.hello.clone()));
                }
                info!("configuration read again and in force, after {:.0?}", start.elapsed());
                if !waiting.is_empty() {
                    warn!("not in force before a restart: {}", waiting.join(", "));
                }
                self.tell(EventKind::Reloaded);
            }
            Err(error) => {
                warn!("configuration read again and refused, the one before stays in force: {error:#}");
                self.tell(EventKind::ReloadRefused);
            }
        }
    }

    /// Reports what happened to the program, not to a track.
    fn tell(&mut self, kind: EventKind) {
        let time_ms = u64::try_from(self.stream_time.as_millis()).unwrap_or(u64::MAX);
        let event = Event { kind, time_ms, frame: self.frame, track: 0, identity: None, other: None };
        self.reporter.send(&Message::Event(event));
    }

    fn health(&self, pipeline: &Pipeline, source: SourceHealth, saves: Saves) -> Health {
        let frames = pipeline.counters().frames - self.frames_at_health;
        let fps = frames as f32 / self.last_health.elapsed().as_secs_f32();
        health::health(pipeline, source, self.reporter.dropped(), saves, self.stream_time, fps)
    }

    /// Writes the pictures, drains the reports and prints the closing summary.
    fn finish(mut self, pipeline: &mut Pipeline, source: SourceHealth) -> Result<()> {
        self.progress.clear();
        let fps = pipeline.counters().frames as f32 / self.started.elapsed().as_secs_f32();
        // Before the readers get their time: whoever pulls the plug now has nothing to lose.
        let saves = self.kept.take().map(|kept| kept.close(pipeline));
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
