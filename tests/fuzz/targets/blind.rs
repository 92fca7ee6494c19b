//! All targets without libFuzzer: random inputs, no coverage.
//! `blind onnx|graph|clip|jpeg|wire|settings|state SECONDS SEED LAST SEEDS...`
//! With 0 seconds each of the SEEDS is tried once as it is.
//! LAST is the file that holds the input at work, so that it is there when the process ends.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use arbitrary::Unstructured;
use nformer_edge_fuzz::{PICTURE_REQUEST, RECORD_REQUEST, graph, mutate, pictures, records, strict, try_file};

/// As libFuzzer's `-timeout=10`.
const LONGEST: u64 = 10;

static DONE: AtomicU64 = AtomicU64::new(0);

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        self.next() as usize % limit.max(1)
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| (self.next() >> 32) as u8).collect()
    }
}

/// Ends the process when one input takes too long.
fn watch() {
    let (mut last, mut since) = (u64::MAX, Instant::now());
    loop {
        thread::sleep(Duration::from_millis(250));
        let done = DONE.load(Ordering::Relaxed);
        if done != last {
            (last, since) = (done, Instant::now());
        } else if since.elapsed().as_secs() >= LONGEST {
            eprintln!("finding: more than {LONGEST} s after {done} executions");
            process::abort();
        }
    }
}

/// A fresh input of a target; none if it has no seeds and needs them.
fn input(target: &str, bytes: &[u8], seeds: &[Vec<u8>]) -> Option<Vec<u8>> {
    let u = &mut Unstructured::new(bytes);
    let made = match target {
        "graph" => return graph::file(bytes),
        "clip" => pictures::clip(u, seeds),
        "jpeg" => pictures::still(u, seeds),
        "wire" => records::wire(u),
        "settings" => records::settings(u),
        "state" => records::saved(u),
        _ => {
            let (seed, other) = (u.choose(seeds).ok()?.clone(), u.choose(seeds).ok()?);
            mutate::bytes(u, seed, other, 6)
        }
    };
    made.ok()
}

/// Does with the input, which lies at `path` too, what the product would; whether it was good for something.
fn work(target: &str, file: &[u8], path: &Path) -> bool {
    match target {
        "clip" => pictures::try_clip(path),
        "jpeg" => pictures::try_still(file),
        "wire" => records::try_wire(file),
        "settings" => records::try_settings(path),
        "state" => records::try_saved(file),
        _ => try_file(file),
    }
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [target, seconds, seed, last, seeds @ ..] = arguments.as_slice() else {
        eprintln!("usage: blind onnx|graph|clip|jpeg|wire|settings|state SECONDS SEED LAST SEEDS...");
        process::exit(2);
    };
    let seconds = seconds.parse().expect("seconds");
    let mut random = Random(seed.parse::<u64>().expect("a seed").wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let seeds: Vec<_> = seeds.iter().map(|path| fs::read(path).expect("a seed file")).collect();
    match target.as_str() {
        "clip" | "jpeg" => strict(PICTURE_REQUEST),
        "wire" | "settings" | "state" => strict(RECORD_REQUEST),
        _ => {}
    }
    let last = Path::new(last);
    thread::spawn(watch);
    let (start, mut ran) = (Instant::now(), 0_u64);
    let mut one = |file: &[u8]| {
        fs::write(last, file).expect("the input at work");
        ran += u64::from(work(target, file, last));
        let done = DONE.fetch_add(1, Ordering::Relaxed) + 1;
        if done % 10_000 == 0 {
            eprintln!("{target} seed {seed}: {done} executions, {ran} ran, {} s", start.elapsed().as_secs());
        }
    };
    if seconds == 0 {
        seeds.iter().for_each(|file| one(file));
    }
    while start.elapsed() < Duration::from_secs(seconds) {
        let count = 64 + random.below(4000);
        one(&input(target, &random.bytes(count), &seeds).unwrap_or_default());
    }
    println!("{target} seed {seed}: {} executions, {ran} ran to the end", DONE.load(Ordering::Relaxed));
}
