//! Both targets without libFuzzer: random inputs, no coverage. `blind onnx|graph SECONDS SEED LAST SEEDS...`
//! LAST is the file that holds the input at work, so that it is there when the process ends.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use nformer_edge_fuzz::{graph, try_file};

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

/// A seed with some bytes changed, left out, or taken from another one.
fn mutated(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut file = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(6) {
        let at = random.below(file.len());
        match random.below(5) {
            0 => file.truncate(at),
            1 => drop(file.drain(at..(at + 1 + random.below(8)).min(file.len()))),
            2 => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len());
                let part = other[from..(from + 1 + random.below(64)).min(other.len())].to_vec();
                drop(file.splice(at..at, part));
            }
            _ => {
                if let Some(byte) = file.get_mut(at) {
                    *byte = [0, 1, 2, 127, 128, 255, random.next() as u8][random.below(7)];
                }
            }
        }
    }
    file
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [target, seconds, seed, last, seeds @ ..] = arguments.as_slice() else {
        eprintln!("usage: blind onnx|graph SECONDS SEED LAST SEEDS...");
        process::exit(2);
    };
    let seconds = seconds.parse().expect("seconds");
    let mut random = Random(seed.parse::<u64>().expect("a seed").wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let seeds: Vec<_> = seeds.iter().map(|path| fs::read(path).expect("a seed file")).collect();
    let last = PathBuf::from(last);
    thread::spawn(watch);
    let (start, mut ran) = (Instant::now(), 0_u64);
    while start.elapsed() < Duration::from_secs(seconds) {
        let file = if target == "graph" {
            let count = 64 + random.below(4000);
            graph::file(&random.bytes(count)).unwrap_or_default()
        } else {
            mutated(&mut random, &seeds)
        };
        fs::write(&last, &file).expect("the input at work");
        ran += u64::from(try_file(&file));
        let done = DONE.fetch_add(1, Ordering::Relaxed) + 1;
        if done % 100 == 0 {
            eprintln!("{target} seed {seed}: {done} executions, {ran} ran");
        }
    }
    println!("{target} seed {seed}: {} executions, {ran} ran to the end", DONE.load(Ordering::Relaxed));
}
