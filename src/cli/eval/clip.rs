//! The whole program on filmed clips whose people are known.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use nformer_edge::camera::Clip;
use nformer_edge::detector::BBox;
use nformer_edge::eval::mot::Sequence;
use nformer_edge::eval::{ClipFigures, ClipTally, Naming, Shown, Sight};
use nformer_edge::frame::{FrameSource, Next};
use nformer_edge::gallery::{IdentityId, Merge};
use nformer_edge::pipeline::{Pipeline, Seen};
use nformer_edge::recognition::State;
use nformer_edge::report::message::{Event, EventKind, Sighting};
use nformer_edge::settings::Settings;
use nformer_edge::size::MAX_PEOPLE;
use serde::Serialize;
use tracing::{info, warn};

use super::super::progress::Bar;
use super::{EvalArgs, ProtocolArg};
use crate::cli::out::say;

/// What `--json` prints.
#[derive(Serialize)]
struct ClipOutcome<'a> {
    dataset: &'a Path,
    clips: Vec<ClipFigures>,
    /// All of them together.
    total: ClipFigures,
    notes: Vec<String>,
}

/// Runs every sequence of the folder from an empty gallery, and prints.
pub(super) fn clips(args: &EvalArgs, settings: &Settings) -> Result<ExitCode> {
    refuse_what_needs_crops(args)?;
    let mut found = Vec::new();
    for sequence in Sequence::open_all(&args.dataset)? {
        found.push(run(&sequence, args.fps.unwrap_or(sequence.fps), settings)?);
    }
    let outcome =
        ClipOutcome { dataset: &args.dataset, total: ClipFigures::total(&found), clips: found, notes: notes(settings) };
    let total = (outcome.clips.len() > 1).then_some(&outcome.total);
    for figures in outcome.clips.iter().chain(total) {
        show(figures);
    }
    say!("");
    for note in &outcome.notes {
        say!("- {note}");
    }
    if args.json {
        say!("{}", serde_json::to_string(&outcome)?);
    }
    Ok(ExitCode::SUCCESS)
}

/// A clip has neither queries nor splits.
fn refuse_what_needs_crops(args: &EvalArgs) -> Result<()> {
    let only_stream = args.protocol.iter().all(|protocol| *protocol == ProtocolArg::Stream);
    ensure!(only_stream, "a clip has no queries to rank: --protocol stream is the only one for it");
    let given = [
        ("--split", args.split.is_some()),
        ("--buffer", !args.buffer.is_empty()),
        ("--mean-k", args.mean_k.is_some()),
        ("--sweep", args.sweep),
        ("--report", args.report.is_some()),
        ("--track-gap-s", args.track_gap_s.is_some()),
        ("--limit", args.limit.is_some()),
    ];
    let wrong = given.iter().find(|(_, given)| *given).map(|(flag, _)| *flag);
    ensure!(wrong.is_none(), "{} is for crops, and this is a clip: leave it out", wrong.unwrap_or_default());
    Ok(())
}

/// Leads the pictures of a sequence through the pipeline.
fn run(sequence: &Sequence, fps: f64, settings: &Settings) -> Result<ClipFigures> {
    let mut settings = settings.clone();
    (settings.clip.fps, settings.clip.loops, settings.clip.realtime) = (fps, 0, false);
    settings.validate()?;
    let mut clip = Clip::open(&sequence.pictures, &settings.clip)?;
    let (mut pipeline, _) = Pipeline::open(&settings)?;
    let mut tally = ClipTally::new(&sequence.name);
    let (mut bar, mut done) = (Bar::new(), 0);
    loop {
        match clip.next_frame()? {
            Next::End => break,
            // The picture was named in the log; its people are not asked for.
            Next::Idle(_) => {}
            Next::Frame(frame) => {
                let passed_over = !pipeline.counters().frames.is_multiple_of(settings.detector.every);
                let seen = pipeline.process(&frame)?;
                if !passed_over {
                    let truth = sequence.truth(frame.sequence() + 1);
                    let shown = Shown { time: frame.time(), height: frame.height(), truth };
                    tally.frame(&shown, &sights(&seen), seen.events.iter().filter_map(merge));
                }
            }
        }
        done += 1;
        bar.draw(&sequence.name, done, sequence.frames as usize);
    }
    bar.clear();
    let ignored = pipeline.counters().ignored;
    if ignored > 0 {
        warn!("{}: {ignored} people found no place: this build follows {MAX_PEOPLE} at once", sequence.name);
    }
    info!("{}: {} pictures", sequence.name, clip.health().delivered);
    Ok(tally.finish())
}

fn sights(seen: &Seen<'_>) -> Vec<Sight> {
    let sight = |sighting: &Sighting| {
        let [x, y, width, height] = sighting.bbox.map(|pixels| pixels.get() as f32);
        Sight {
            bbox: BBox { x, y, width, height },
            track: sighting.track,
            identity: sighting.identity,
            unsure: sighting.state == State::Unsure,
        }
    };
    seen.sightings.iter().map(sight).collect()
}

fn merge(event: &Event) -> Option<Merge> {
    let (kept, gone) = (IdentityId(event.identity?), IdentityId(event.other?));
    (event.kind == EventKind::Merged).then_some(Merge { kept, gone })
}

fn show(figures: &ClipFigures) {
    let ClipFigures { name, frames, people, boxes, sightings, left_out, found, .. } = figures;
    say!("\n{name}: {frames} frames, {people} people, {boxes} boxes");
    say!(
        "  found: recall {:.1} % ({found} of {boxes}), precision {:.1} % (of {sightings} sightings; {left_out} more on what counts neither way)",
        figures.detection_recall,
        figures.detection_precision
    );
    say!(
        "  of the {} boxes of a sixth of the picture's height and more: recall {:.1} %",
        figures.tall_boxes,
        figures.tall_recall
    );
    say!("  {:<11} {:>7} {:>8} {:>6} {:>6} {:>6} {:>6}", "", "numbers", "switches", "IDF1", "IDP", "IDR", "MOTA");
    for (what, naming) in [("tracks", &figures.tracks), ("identities", &figures.identities)] {
        let Naming { numbers, switches, idf1, idp, idr, mota, .. } = naming;
        say!("  {what:<11} {numbers:>7} {switches:>8} {idf1:>6.1} {idp:>6.1} {idr:>6.1} {mota:>6.1}");
    }
    say!(
        "  unsure or not answered yet {:.1} % of the sightings; {} visits, {:.1} % ended with somebody else's number",
        figures.unsure,
        figures.visits,
        figures.false_matches
    );
    for entry in figures.re_entries.iter().filter(|entry| entry.events > 0) {
        super::show::returned(entry);
    }
}

/// What a reader must know to read the figures right.
fn notes(settings: &Settings) -> Vec<String> {
    vec![
        "the whole program with its settings: detector, tracks, backbone, fusion, gallery; each clip starts with an empty gallery".into(),
        "found: overlap (intersection over union) of 0.5 and more with a person of the ground truth; people on vehicles, standing \
         figures, reflections and whoever is not marked count neither way".into(),
        "IDF1, IDP, IDR: people and numbers paired over the whole clip (Ristani et al. 2016); identities that were merged are one number"
            .into(),
        format!("who is found shows from the frame tracks.confirm = {} of the track on", settings.tracks.confirm),
        format!(
            "a track may become an identity after gallery.min_embeddings = {} embeddings: in a clip of few frames most are not answered for",
            settings.gallery.min_embeddings
        ),
    ]
}
