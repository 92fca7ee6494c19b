//! `nformer-edge memory`: every fixed buffer with its bytes, and the resident set of a real run beside it.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use nformer_edge::frame::{Frame, SourceHealth};
use nformer_edge::pipeline::{MemoryItem, Pipeline, Seen};
use nformer_edge::report::{log, vitals};
use tracing::info;

use super::job::{self, Observer};
use super::keys::KeyArgs;
use super::out::say;
use super::progress::Progress;
use super::signals::Stop;

/// Arguments of `memory`.
#[derive(Args)]
pub(crate) struct MemoryArgs {
    /// Print the fixed buffers only, without running the main job
    #[arg(long)]
    static_only: bool,
    /// Stop after this many frames of the source
    #[arg(long, value_name = "FRAMES")]
    frames: Option<u64>,
    #[command(flatten)]
    keys: KeyArgs,
}

/// Prints the memory plan, then runs the main job over the source (without reports) and prints what it really took.
pub(crate) fn memory(args: &MemoryArgs) -> Result<ExitCode> {
    let settings = args.keys.settings()?;
    let stop = Stop::listen()?;
    let before = resident_mb()?;
    let (mut pipeline, _) = Pipeline::open(&settings)?;
    let mut items = pipeline.memory();
    items.push(MemoryItem { name: "report queues", bytes: settings.report.queue_bytes() });
    items.push(MemoryItem { name: "log queue", bytes: log::queue_bytes() });
    if settings.state.dir.is_some() {
        items.push(MemoryItem { name: "state", bytes: pipeline.state_bytes() });
    }
    say!("{:<28} {:>12}", "fixed buffers and models", "bytes");
    for item in &items {
        say!("{:<28} {:>12}", item.name, item.bytes);
    }
    say!("{:<28} {:>12}", "sum", items.iter().map(|item| item.bytes).sum::<usize>());
    say!("");
    say!("resident set, MB: {:.1} at start, {:.1} with models loaded", before.0, resident_mb()?.0);
    if args.static_only {
        return Ok(ExitCode::SUCCESS);
    }

    let Some(mut source) = job::open_source(&settings, &stop)? else { return Ok(ExitCode::SUCCESS) };
    let mut watch = Watch {
        frames: 0,
        limit: args.frames.unwrap_or(u64::MAX),
        stop: &stop,
        settled: None,
        progress: Progress::new(),
    };
    job::run(source.as_mut(), &mut pipeline, &stop, &mut watch)?;
    watch.progress.clear();
    let Some(settled) = watch.settled else {
        bail!("{} gave no frame to measure with; name another with --source", source.describe());
    };
    let (now, peak) = resident_mb()?;
    say!(
        "resident set, MB: {settled:.1} after the first {SETTLED_AFTER} frames, {now:.1} after {} frames, growth {:.2} %, peak {peak:.1}",
        watch.frames,
        (now / settled - 1.0) * 100.0,
    );
    Ok(ExitCode::SUCCESS)
}

/// Frames after which every buffer has been used: the models ran, people came and were recognised.
const SETTLED_AFTER: u64 = 100;

struct Watch<'a> {
    frames: u64,
    limit: u64,
    stop: &'a Stop,
    settled: Option<f64>,
    progress: Progress,
}

impl Observer for Watch<'_> {
    fn seen(&mut self, _frame: &Frame<'_>, _seen: &Seen<'_>) -> Result<()> {
        self.frames += 1;
        if self.frames == SETTLED_AFTER || self.settled.is_none() {
            self.settled = Some(resident_mb()?.0);
        }
        if self.frames.is_multiple_of(1000) {
            info!("{} frames, resident set {:.1} MB", self.frames, resident_mb()?.0);
        }
        if self.frames >= self.limit {
            self.stop.set();
        }
        Ok(())
    }

    fn between(&mut self, pipeline: &mut Pipeline, _source: SourceHealth) -> Result<()> {
        self.progress.frame(pipeline.identities());
        Ok(())
    }
}

/// Resident set in MB: now and at its peak.
fn resident_mb() -> Result<(f64, f64)> {
    match vitals::resident() {
        Some(resident) => Ok((resident.now as f64 / 1e6, resident.peak as f64 / 1e6)),
        None => bail!("cannot read /proc/self/status; mount /proc"),
    }
}
