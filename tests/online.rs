//! The incremental network against the full one: the same bits after every change.

#[path = "../src/nformer/tests/random_weights.rs"]
mod random_weights;

use std::path::Path;
use std::time::Duration;

use nformer_edge::Error;
use nformer_edge::backbone::Embedding;
use nformer_edge::neighbors::{EvictionPolicy, NeighborBuffer, Tag};
use nformer_edge::nformer::{Landmarks, NFormer, Online, Weights};
use nformer_edge::tracks::TrackId;
use random_weights::{Random, Shape, random_tensors, to_bytes};

fn weights(shape: Shape, seed: u64) -> Weights {
    let bytes = to_bytes(&random_tensors(shape, seed), &[("heads", &shape.heads.to_string())]);
    Weights::from_bytes(&bytes, Path::new("random.safetensors")).unwrap()
}

/// A whole number below `end`.
fn below(random: &mut Random, end: usize) -> usize {
    (((random.value() + 1.0) / 2.0 * end as f32) as usize).min(end - 1)
}

/// What embeddings look like.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rows {
    /// Noise of this size around one of some centres.
    Clusters(f32),
    /// Four coordinates of 1/2 or -1/2 each: similarities are exact, and most of them are tied.
    Grid,
}

/// Embeddings in the order of their arrival.
struct Arrivals {
    rows: Rows,
    width: usize,
    centres: Vec<f32>,
    random: Random,
    last: Vec<f32>,
}

impl Arrivals {
    fn new(rows: Rows, width: usize, people: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let centres = (0..people * width).map(|_| random.value()).collect();
        Self { rows, width, centres, random, last: Vec::new() }
    }

    /// The next embedding of `person`; every tenth is a copy of the one before.
    fn next(&mut self, person: usize) -> Vec<f32> {
        if !self.last.is_empty() && below(&mut self.random, 10) == 0 {
            return self.last.clone();
        }
        let centre = &self.centres[person * self.width..][..self.width];
        self.last = match self.rows {
            Rows::Clusters(noise) => centre.iter().map(|value| value + noise * self.random.value()).collect(),
            Rows::Grid => {
                let mut row = vec![0.0; self.width];
                while row.iter().filter(|value| **value != 0.0).count() < 4 {
                    row[below(&mut self.random, 6)] = self.random.value().signum() * 0.5;
                }
                row
            }
        };
        Embedding::normalise(&mut self.last).unwrap();
        self.last.clone()
    }
}

#[derive(Clone, Copy, Debug)]
struct Case {
    shape: Shape,
    k: usize,
    rows: Rows,
    policy: EvictionPolicy,
    pushes: usize,
    /// Whether k grows with the buffer, as in the product.
    warm_up: bool,
    seed: u64,
}

/// The full network's final row, zeros where it has none.
fn full_row(fused: &nformer_edge::nformer::Fused<'_>, row: usize, width: usize) -> Vec<f32> {
    let mut out = vec![0.0; width];
    let usable = fused.final_row(row, &mut out).is_ok();
    if usable { out } else { vec![0.0; width] }
}

/// Pushes in bursts of 1 to 8 and compares after each, for some rows or for all; returns the number of rows compared.
fn compare<const N: usize>(case: Case) -> usize {
    let Case { shape, k, .. } = case;
    let mut online = Online::new(weights(shape, case.seed), N, k).unwrap();
    let mut full = NFormer::new(weights(shape, case.seed), N).unwrap();
    let mut buffer = NeighborBuffer::<N>::new(shape.width, case.policy).unwrap();
    let mut arrivals = Arrivals::new(case.rows, shape.width, 7, case.seed);
    let mut random = Random::new(!case.seed);
    let (mut pushes, mut compared) = (0, 0);
    while pushes < case.pushes {
        for _ in 0..=below(&mut random, 8) {
            // One person in view for a while, others now and then.
            let person = if below(&mut random, 3) == 0 { below(&mut random, 7) } else { pushes / 30 % 7 };
            let mut row = arrivals.next(person);
            let embedding = Embedding::normalise(&mut row).unwrap();
            let tag = Tag { track: TrackId(person as u32), time: Duration::ZERO };
            let slot = buffer.push(embedding, tag).unwrap().slot;
            online.replace(slot, embedding).unwrap();
            pushes += 1;
            if below(&mut random, 400) == 0 {
                buffer.clear();
                online.clear();
            }
        }
        let k = match (case.warm_up, below(&mut random, 20)) {
            (true, 0) => k.div_ceil(2),
            (true, _) => k.min(buffer.len() / 4).max(1),
            (false, _) => k,
        };
        online.set_top_k(k).unwrap();

        let fused = full.forward(buffer.rows(), k, Landmarks::Agents).unwrap();
        assert_eq!(online.len(), fused.len());
        // Mostly some rows, so that the others wait for several bursts; sometimes none, sometimes all.
        let asked: Vec<usize> = match below(&mut random, 6) {
            0 => (0..buffer.len()).collect(),
            1 => Vec::new(),
            _ => (0..buffer.len()).filter(|_| below(&mut random, 4) == 0).collect(),
        };
        online.fuse(asked.iter().copied());
        for row in asked {
            assert_eq!(online.neighbors(row), fused.neighbors(row), "neighbours of row {row} after {pushes} pushes");
            let expected = full_row(&fused, row, shape.width);
            assert_eq!(online.last_fused(row), Some(&expected[..]), "row {row} after {pushes} pushes, {case:?}");
            compared += 1;
        }
        let not_stale: Vec<usize> = {
            let stale: Vec<usize> = online.stale().collect();
            (0..buffer.len()).filter(|row| !stale.contains(row)).collect()
        };
        for row in not_stale {
            let expected = full_row(&fused, row, shape.width);
            assert_eq!(online.last_fused(row), Some(&expected[..]), "row {row} is not stale but old");
        }
    }
    compared
}

/// Over 20,000 pushes in all.
#[test]
fn every_change_equals_the_full_pass() {
    let policies = [EvictionPolicy::Fifo, EvictionPolicy::Redundant];
    let (mut seed, mut pushes, mut compared) = (0, 0, 0);
    for (layers, heads, agents, mean_weight) in
        [(1, 1, 5, 0.0), (1, 2, 3, 0.7), (2, 2, 1, 0.0), (3, 4, 4, 1.3), (4, 2, 5, 0.0)]
    {
        let shape = Shape { width: 16 * (1 + layers % 2), heads, layers, feed_forward: 24, agents, mean_weight };
        for rows in [Rows::Clusters(0.3), Rows::Clusters(3.0), Rows::Grid] {
            for policy in policies {
                for warm_up in [false, true] {
                    seed += 1;
                    let case = Case { shape, k: 5, rows, policy, pushes: 110, warm_up, seed };
                    compared += compare::<1>(Case { k: 2, pushes: 20, ..case });
                    compared += compare::<5>(Case { k: 9, ..case });
                    compared += compare::<16>(Case { k: 1 + seed as usize % 7, ..case });
                    compared += compare::<33>(case);
                    pushes += 20 + 3 * 110;
                }
            }
            compared +=
                compare::<70>(Case { shape, k: 12, rows, policy: policies[0], pushes: 200, warm_up: true, seed });
            pushes += 200;
        }
    }
    println!("{pushes} pushes, {compared} rows compared");
    assert!(pushes >= 20_000 && compared >= 20_000, "{pushes} pushes, {compared} rows");
}
