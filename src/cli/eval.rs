//! `nformer-edge eval`: retrieval figures of all methods on crops whose people are known.

mod clip;
mod show;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use nformer_edge::Error;
use nformer_edge::backbone::Backbone;
use nformer_edge::eval::market::{Dataset, Split};
use nformer_edge::eval::mot::Sequence;
use nformer_edge::eval::{
    self, Arrivals, BackboneCost, Bench, BufferSetup, Network, Outcome, Pictures, Rows, Setup, StreamSetup,
};
use nformer_edge::model::{Card, Contract};
use nformer_edge::neighbors::RowKind;
use nformer_edge::pipeline::load_weights;
use nformer_edge::settings::Settings;
use nformer_edge::size::NEIGHBORS;
use tracing::info;

use super::keys::KeyArgs;
use super::out::say;
use super::progress::Bar;

const LAYOUTS: &str = "\
Datasets:
  a folder with `query/` and `gallery/` (or `bounding_box_test/`), or
  a folder with `splits.json` ({\"test\": {\"query\": [names], \"gallery\": [names]}, \"val\": ...}) and `images/`.
  Names as in Market-1501: IDENTITY_cCAMERAsSEQUENCE_FRAME_BOX.jpg or .png; identity -1 is left out, 0 is nobody's match.
Clips (--protocol stream alone):
  a sequence of the MOT Challenge (`seqinfo.ini`, `img1/` with pictures numbered from 1, `gt/gt.txt`), or a folder of such: the whole
  program runs on the pictures, detector and tracks included, and what it says is matched with the ground truth.

Protocols:
  transductive  query and gallery fused in one pool, as in the paper
  online        crops in the order they were filmed, cameras interleaved by frame number; each is fused once, at its
                arrival, in a buffer of N rows, of which the one that got nothing new for longest makes room; those
                fused rows are ranked. A row is a crop, or the mean of a track so far, as the program keeps them
  stream        (when asked for) crops as tracks through buffer, network and gallery with the program's settings: who
                keeps the number when coming back, and thresholds chosen on `val`; for a clip, the whole program

Crops of the query's identity by the query's own camera are not ranked. Where the dataset has a split `val`, k of the mean
over reciprocal neighbours is the best one there. N may be above the NEIGHBORS of this build: here the buffer takes its room
when it starts.";

/// Arguments of `eval`.
#[derive(Args)]
#[command(after_help = LAYOUTS)]
pub(crate) struct EvalArgs {
    /// Folder of crops, a `splits.json`, or a folder of the MOT Challenge
    dataset: PathBuf,
    /// Which split [default: `test`, else the first]
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
    /// Only these protocols [default: transductive and online]
    #[arg(long, value_enum, value_delimiter = ',')]
    protocol: Vec<ProtocolArg>,
    /// Rows N of the online buffer, one part of the table each [default: 64, 256 and NEIGHBORS of this build]
    #[arg(long, value_name = "N,..", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=32768))]
    buffer: Vec<u16>,
    /// k of the mean over reciprocal neighbours [default: the best on `val`, else that of the network]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u16).range(1..=1024))]
    mean_k: Option<u16>,
    /// Measure N from 64 to 1024, k from 3 to 20, floats and int8
    #[arg(long)]
    sweep: bool,
    /// Another fusion card in the sweep, for example with more layers (may be given several times)
    #[arg(long, value_name = "CARD", requires = "sweep")]
    sweep_fusion: Vec<PathBuf>,
    /// Write one self-contained HTML page into this folder, with the sweep, the stream, and crops of the dataset in it
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// One JSON object on the last line of standard output
    #[arg(long)]
    json: bool,
    /// Frames a second of the recordings: what frame numbers mean in time [default: 25, of a clip what its `seqinfo.ini` says]
    #[arg(long, value_name = "FPS", value_parser = frames_per_second)]
    fps: Option<f64>,
    /// Longest gap within a track of crops, in seconds [default: 5]
    #[arg(long, value_name = "S")]
    track_gap_s: Option<u32>,
    /// Only the first identities of each split, by number: to try something quickly
    #[arg(long, value_name = "IDENTITIES")]
    limit: Option<usize>,
    #[command(flatten)]
    keys: KeyArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ProtocolArg {
    Transductive,
    Online,
    Stream,
}

/// A split and its embeddings.
struct Embedded {
    split: Split,
    rows: Rows,
}

/// Evaluates and prints.
pub(crate) fn eval(args: &EvalArgs) -> Result<ExitCode> {
    let settings = args.keys.settings()?;
    if Sequence::is_at(&args.dataset) {
        return clip::clips(args, &settings);
    }
    let dataset = Dataset::open(&args.dataset)?;
    let name = args.split.as_deref().unwrap_or(dataset.default_split());
    let split = dataset.split(name, args.limit)?;
    let tuning = match dataset.tuning_split(name) {
        Some(tuning) => Some(dataset.split(tuning, args.limit)?),
        None => None,
    };
    let card = Card::read(&settings.card_path(&settings.models.backbone)?)?;
    let mut backbone = Backbone::load(&card)?;
    let network = network(&settings, &settings.models.fusion)?;
    let mut embedded = |split: Split| -> Result<Embedded> {
        let mut bar = Bar::new();
        let (what, total) = (format!("embedding {}", split.name), split.crops.len());
        let rows = eval::embed(&mut backbone, &split.crops, |done| bar.draw(&what, done, total))?;
        bar.clear();
        info!("{total} crops of `{}` embedded", split.name);
        Ok(Embedded { split, rows })
    };
    let tuning = match tuning.filter(|_| args.mean_k.is_none() || args.streams()) {
        Some(tuning) => Some(embedded(tuning)?),
        None => None,
    };
    let reported = embedded(split)?;
    let cost = BackboneCost {
        name: card.name.clone(),
        mmac: eval::backbone_multiply_adds(&card)?.unwrap_or(0.0) / 1e6,
        bytes: backbone.bytes(),
    };
    let setup = setup(args, &settings, network, cost, tuning.as_ref())?;
    let outcome = measure(args, &settings, &setup, &reported, tuning.as_ref())?;
    show::table(&outcome);
    if let Some(folder) = &args.report {
        let path = report(folder, &outcome, &setup, &reported)?;
        info!("report: {}", path.display());
    }
    if args.json {
        say!("{}", serde_json::to_string(&outcome)?);
    }
    Ok(ExitCode::SUCCESS)
}

impl EvalArgs {
    /// Whether the stream is asked for.
    fn streams(&self) -> bool {
        self.protocol.contains(&ProtocolArg::Stream) || self.report.is_some()
    }

    /// Frames a second of crops.
    fn crop_fps(&self) -> f64 {
        self.fps.unwrap_or(25.0)
    }

    /// Longest gap within a track of crops.
    fn track_gap(&self) -> Duration {
        Duration::from_secs(self.track_gap_s.unwrap_or(5).into())
    }
}

/// Writes the page, with rows fused online in a buffer as the program's.
fn report(folder: &Path, outcome: &Outcome, setup: &Setup, on: &Embedded) -> Result<PathBuf> {
    let Network { top_k, .. } = setup.network;
    let (rows, buffer) = (setup.swept_rows, NEIGHBORS);
    let arrivals = Arrivals::new(rows, buffer, &on.split, &on.rows, setup.fps, setup.track_gap)?;
    let fused = setup.network.fuse(&on.rows, Some(&arrivals))?.rows;
    let how = format!("fused online, one row {}, N {buffer}, k {top_k}", show::row_of(rows));
    let page = eval::page(outcome, &Pictures { split: &on.split, before: &on.rows, after: &fused, how: &how })?;
    let path = folder.join("index.html");
    let failed = |source| Error::Write { what: "report", path: path.clone(), source };
    fs::create_dir_all(folder).map_err(failed)?;
    fs::write(&path, page).map_err(failed)?;
    Ok(path)
}

/// Chooses what the table is made with; k of the mean on `tuning`.
fn setup(
    args: &EvalArgs,
    settings: &Settings,
    network: Network,
    backbone: BackboneCost,
    tuning: Option<&Embedded>,
) -> Result<Setup> {
    let mut sizes: Vec<usize> = args.buffer.iter().map(|n| usize::from(*n)).collect();
    if sizes.is_empty() {
        sizes = vec![64, 256, NEIGHBORS];
    }
    sizes.sort_unstable();
    sizes.dedup();
    let (fps, track_gap) = (args.crop_fps(), args.track_gap());
    let mean_k = |online: Option<(RowKind, usize)>| match (args.mean_k, tuning) {
        (Some(k), _) => Ok(usize::from(k)),
        (None, Some(Embedded { split, rows })) => {
            let arrivals = |(kind, size)| Arrivals::new(kind, size, split, rows, fps, track_gap);
            Bench::best_mean_k(split, rows, online.map(arrivals).transpose()?.as_ref())
        }
        (None, None) => Ok(network.top_k),
    };
    let mut buffers = Vec::new();
    for capacity in sizes {
        for rows in [RowKind::Embedding, RowKind::Track] {
            buffers.push(BufferSetup { capacity, rows, mean_k: mean_k(Some((rows, capacity)))? });
        }
    }
    let (pool_k, swept_rows) = (mean_k(None)?, settings.neighbors.rows);
    Ok(Setup { pool_k, buffers, swept_rows, network, track_gap, fps, backbone })
}

fn measure(
    args: &EvalArgs,
    settings: &Settings,
    setup: &Setup,
    on: &Embedded,
    tuning: Option<&Embedded>,
) -> Result<Outcome> {
    let Embedded { split, rows } = on;
    let bench = Bench::new(split, rows, setup);
    let wanted = |protocol| args.protocol.is_empty() || args.protocol.contains(&protocol);
    let mut methods = Vec::new();
    if wanted(ProtocolArg::Transductive) {
        methods.extend(bench.transductive()?);
    }
    if wanted(ProtocolArg::Online) {
        methods.extend(bench.online()?);
    }
    let mut sweep = Vec::new();
    if args.sweep || args.report.is_some() {
        let mut networks = vec![setup.network.clone()];
        for card in &args.sweep_fusion {
            networks.push(network(settings, &card.display().to_string())?);
        }
        let mut bar = Bar::new();
        sweep = bench.sweep(&networks, &mut |what, done, total| bar.draw(what, done, total))?;
        bar.clear();
    }
    let stream = if args.streams() {
        let tuning = tuning.map(|tuning| (&tuning.split, &tuning.rows));
        Some(eval::re_entry(split, rows, tuning, &stream_setup(args, settings, &setup.network))?)
    } else {
        None
    };
    let answerable = methods.first().map_or(1, |method| method.scores.queries);
    ensure!(answerable > 0, "no query has a crop of its identity by another camera in the gallery: nothing to rank");
    Ok(Outcome {
        dataset: args.dataset.clone(),
        split: split.name.clone(),
        queries: split.query.len(),
        gallery: split.gallery.len(),
        identities: split.identities(),
        tuned_on: tuning.map(|tuning| tuning.split.name.clone()),
        backbone: setup.backbone.clone(),
        methods,
        sweep,
        stream,
        notes: show::notes(setup, tuning.is_some() && args.mean_k.is_none()),
    })
}

/// The stream with the program's own settings.
fn stream_setup(args: &EvalArgs, settings: &Settings, network: &Network) -> StreamSetup {
    StreamSetup {
        weights: network.weights.clone().with_precision(network.precision),
        top_k: network.top_k,
        neighbors: settings.neighbors.clone(),
        gallery: settings.gallery.clone(),
        fps: args.crop_fps(),
        track_gap: args.track_gap(),
    }
}

/// The fusion network of a card.
fn network(settings: &Settings, card: &str) -> Result<Network> {
    let card = Card::read(&settings.card_path(card)?)?;
    let said = match &card.contract {
        Contract::Fusion(fusion) => fusion.top_k,
        _ => 1,
    };
    let weights = load_weights(&card).with_context(|| format!("fusion weights of {}", card.name))?;
    let top_k = settings.nformer.top_k.unwrap_or(said);
    Ok(Network { name: card.name, weights, top_k, precision: settings.nformer.precision })
}

fn frames_per_second(text: &str) -> Result<f64, String> {
    let fps: f64 = text.parse().map_err(|_| format!("{text} is no number"))?;
    if fps > 0.0 && fps <= 1000.0 {
        Ok(fps)
    } else {
        Err(format!("expected a number above 0 and up to 1000, found {text}"))
    }
}
