//! Our side of `fusion.sh`: takes commands on standard input, times one thing a command, prints one line each.
//!
//! | command | answer |
//! |---|---|
//! | `embed CROPS OUT` | number of crops of a folder (Market-1501 names), embedded in time order into `OUT` |
//! | `load WEIGHTS ROWS` | number of rows; both are safetensors files, the rows stand in `input [rows, D]` |
//! | `full N K` | microseconds of a full pass over the first N rows |
//! | `full_int8 N K` | the same with weights and activations as bytes |
//! | `output N K FILE` | fuses the first N rows into `FILE` (`output`, `final`) for the equality check |
//! | `online N NEW K` | microseconds to store the next NEW rows into a full buffer of N and to fuse those, then the rows computed in each layer |
//! | `online_int8 N NEW K` | the same in bytes |
//! | `check` | largest difference between the incremental rows and a full pass over the same buffer |
//!
//! Nothing but the named work is timed; one thread. Without input it ends at once, so `cargo bench` passes by.

#![expect(clippy::expect_used, reason = "a measurement that cannot be set up has nothing to report")]

use std::fs;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nformer_edge::backbone::Backbone;
use nformer_edge::camera::StillDecoder;
use nformer_edge::model::Card;
use nformer_edge::nformer::{Landmarks, NFormer, Online, Precision, Weights, fuse};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};

/// Rows and network of the last `load`.
struct Bench {
    weights: PathBuf,
    rows: Vec<f32>,
    width: usize,
    full: Option<(usize, Precision, NFormer)>,
    /// In floats and in bytes.
    online: [Option<Stream>; 2],
}

/// A buffer of fixed size that the rows pass through, oldest out first.
struct Stream {
    online: Online,
    /// The buffer, `[size, D]`.
    buffer: Vec<f32>,
    size: usize,
    top_k: usize,
    /// Next row of the input.
    next: usize,
    /// What stands in each slot, as an index into the input.
    held: Vec<usize>,
}

fn main() {
    let mut bench: Option<Bench> = None;
    for line in io::stdin().lock().lines() {
        let line = line.expect("a line of text");
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words[at].parse::<usize>().expect("a number");
        let answer = match (words.first().copied(), &mut bench) {
            (Some("embed"), _) => embed(Path::new(words[1]), Path::new(words[2])).to_string(),
            (Some("load"), bench) => {
                let loaded = Bench::load(Path::new(words[1]), Path::new(words[2]));
                let rows = loaded.rows.len() / loaded.width;
                *bench = Some(loaded);
                rows.to_string()
            }
            (Some("full"), Some(bench)) => micros(bench.full(number(1), number(2), Precision::F32)),
            (Some("full_int8"), Some(bench)) => micros(bench.full(number(1), number(2), Precision::Int8)),
            (Some("output"), Some(bench)) => bench.output(number(1), number(2), Path::new(words[3])),
            (Some("online"), Some(bench)) => bench.online(number(1), number(2), number(3), Precision::F32),
            (Some("online_int8"), Some(bench)) => bench.online(number(1), number(2), number(3), Precision::Int8),
            (Some("check"), Some(bench)) => format!("{:e}", bench.check()),
            _ => panic!("cannot do `{line}`"),
        };
        println!("{answer}");
        io::stdout().flush().expect("a reader");
    }
}

fn micros(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1e6)
}

impl Bench {
    fn load(weights: &Path, rows: &Path) -> Self {
        let width = Weights::read(weights).expect("weights").width();
        let bytes = fs::read(rows).expect("rows");
        let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
        let input = tensors.tensor("input").expect("input");
        let (numbers, _) = input.data().as_chunks::<4>();
        let rows = numbers.iter().map(|number| f32::from_le_bytes(*number)).collect();
        Self { weights: weights.to_path_buf(), rows, width, full: None, online: [None, None] }
    }

    fn full(&mut self, size: usize, top_k: usize, precision: Precision) -> Duration {
        if self.full.as_ref().is_none_or(|(held, kind, _)| (*held, *kind) != (size, precision)) {
            let weights = Weights::read(&self.weights).expect("weights").with_precision(precision);
            let nformer = NFormer::new(weights, size).expect("a network");
            self.full = Some((size, precision, nformer));
        }
        let (_, _, nformer) = self.full.as_mut().expect("it was just made");
        let start = Instant::now();
        nformer.forward(&self.rows[..size * self.width], top_k, Landmarks::Agents).expect("a pass");
        start.elapsed()
    }

    fn output(&self, size: usize, top_k: usize, file: &Path) -> String {
        let case = file.with_extension("case.safetensors");
        let bytes: Vec<u8> = self.rows[..size * self.width].iter().flat_map(|value| value.to_le_bytes()).collect();
        let view = TensorView::new(Dtype::F32, vec![size, self.width], &bytes).expect("a tensor");
        serialize_to_file([("input", view)], None, &case).expect("a case");
        fuse(&self.weights, &case, file, Some(top_k)).expect("a fused case");
        "done".to_owned()
    }

    fn online(&mut self, size: usize, new: usize, top_k: usize, precision: Precision) -> String {
        let place = &mut self.online[usize::from(precision == Precision::Int8)];
        if place.as_ref().is_none_or(|stream| (stream.size, stream.top_k) != (size, top_k)) {
            let weights = Weights::read(&self.weights).expect("weights").with_precision(precision);
            *place = Some(Stream::fill(weights, &self.rows, size, top_k));
        }
        let stream = place.as_mut().expect("it was just made");
        let before: Vec<u64> = stream.online.recomputed().iter().map(|layer| layer.total).collect();
        let duration = stream.step(&self.rows, new);
        let after = stream.online.recomputed().iter().map(|layer| layer.total);
        let counts: Vec<String> = after.zip(before).map(|(after, before)| (after - before).to_string()).collect();
        format!("{} {}", micros(duration), counts.join(" "))
    }

    fn check(&mut self) -> f32 {
        let stream = self.online[0].as_mut().expect("`online` first");
        let rows: Vec<f32> =
            stream.held.iter().flat_map(|&at| self.rows[at * self.width..][..self.width].to_vec()).collect();
        let weights = Weights::read(&self.weights).expect("weights");
        let mut nformer = NFormer::new(weights, stream.size).expect("a network");
        let fused = nformer.forward(&rows, stream.top_k, Landmarks::Agents).expect("a pass");
        let mut expected = vec![0.0; self.width];
        let mut largest = 0.0_f32;
        for slot in 0..stream.size {
            fused.final_row(slot, &mut expected).expect("a row");
            let found = stream.online.fused(&stream.buffer, slot).expect("a row");
            largest = expected.iter().zip(found).fold(largest, |most, (one, other)| most.max((one - other).abs()));
        }
        largest
    }
}

impl Stream {
    fn fill(weights: Weights, rows: &[f32], size: usize, top_k: usize) -> Self {
        let mut online = Online::new(weights, size, top_k).expect("a network");
        let buffer = rows[..size * online.width()].to_vec();
        for slot in 0..size {
            online.replace(slot, &buffer[..(slot + 1) * online.width()]).expect("room");
        }
        online.fuse(&buffer, 0..size);
        Self { online, buffer, size, top_k, next: size, held: (0..size).collect() }
    }

    /// The next rows of the input take the place of the oldest; it starts again at its end.
    fn step(&mut self, rows: &[f32], new: usize) -> Duration {
        let width = self.online.width();
        let count = rows.len() / width;
        let mut duration = Duration::ZERO;
        let first = self.next;
        for number in first..first + new {
            let (at, slot) = (number % count, number % self.size);
            self.held[slot] = at;
            let start = Instant::now();
            self.buffer[slot * width..][..width].copy_from_slice(&rows[at * width..][..width]);
            self.online.replace(slot, &self.buffer).expect("room");
            duration += start.elapsed();
        }
        self.next += new;
        let start = Instant::now();
        self.online.fuse(&self.buffer, (first..first + new).map(|number| number % self.size));
        duration + start.elapsed()
    }
}

/// Embeds the crops of `folder` with the shipped backbone, in the order they were filmed; returns how many there are.
fn embed(folder: &Path, out: &Path) -> usize {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let card = Card::read(&models.join("reid_backbone/card.toml")).expect("the shipped backbone");
    let mut backbone = Backbone::load(&card).expect("the shipped backbone");
    let mut decoder = StillDecoder::new();
    let mut crops: Vec<(Vec<u32>, PathBuf)> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter_map(|path| Some((filmed(path.file_stem()?.to_str()?)?, path)))
        .collect();
    crops.sort();
    let mut rows: Vec<u8> = Vec::new();
    for (_, path) in &crops {
        let frame = decoder.decode(&fs::read(path).expect("a crop")).expect("a picture");
        let embedding = backbone.embed(&frame, frame.region()).expect("an embedding");
        rows.extend(embedding.as_slice().iter().flat_map(|value| value.to_le_bytes()));
    }
    let view = TensorView::new(Dtype::F32, vec![crops.len(), backbone.width()], &rows).expect("a tensor");
    serialize_to_file([("input", view)], None, out).expect("a file");
    crops.len()
}

/// Sequence, frame and camera of a crop named `IDENTITY_cCAMERAsSEQUENCE_FRAME_BOX`, of test identities only: those
/// whose number leaves 0 when divided by four, which is a quarter of all.
fn filmed(name: &str) -> Option<Vec<u32>> {
    let mut parts = name.split('_');
    let identity: u32 = parts.next()?.parse().ok()?;
    let (camera, sequence) = parts.next()?.strip_prefix('c')?.split_once('s')?;
    let frame = parts.next()?.parse().ok()?;
    identity.is_multiple_of(4).then_some(vec![sequence.parse().ok()?, frame, camera.parse().ok()?, identity])
}
