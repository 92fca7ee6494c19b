//! The incremental network against the full one: the same bits after every change.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where its preparation fails")]

#[path = "../src/nformer/tests/random_weights.rs"]
mod random_weights;

use std::path::Path;
use std::time::Duration;

use nformer_edge::Error;
use nformer_edge::backbone::Embedding;
use nformer_edge::neighbors::{EvictionPolicy, NeighborBuffer, Tag};
use nformer_edge::nformer::{Landmarks, NFormer, Online, Precision, Weights};
use nformer_edge::tracks::TrackId;
use random_weights::{Random, Shape, random_tensors, to_bytes};

fn weights(shape: Shape, seed: u64) -> Weights {
    let bytes = to_bytes(&random_tensors(shape, seed), &[("heads", &shape.heads.to_string())]);
    Weights::from_bytes(&bytes, Path::new("random.safetensors")).unwrap()
}

/// A whole number below `end`.
fn below(random: &mut Random, end: usize) -> usize {
    ((f32::midpoint(random.value(), 1.0) * end as f32) as usize).min(end - 1)
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
            online.replace(slot, buffer.rows()).unwrap();
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
        online.fuse(buffer.rows(), asked.iter().copied());
        for row in asked {
            assert_eq!(
                online.neighbors(buffer.rows(), row),
                fused.neighbors(row),
                "neighbours of row {row} after {pushes} pushes"
            );
            let expected = full_row(&fused, row, shape.width);
            assert_eq!(online.last_fused(row), Some(&expected[..]), "row {row} after {pushes} pushes, {case:?}");
            compared += 1;
        }
        let not_stale: Vec<usize> = {
            let stale: Vec<usize> = online.stale(buffer.rows()).collect();
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

/// The rows that a burst reaches in each layer, from the definition: `neighbors` before and after, and the new slots.
fn reached(before: &[Vec<u32>], after: &[Vec<u32>], new: &[usize], layers: usize) -> Vec<u64> {
    let mut changed: Vec<bool> = (0..after.len()).map(|row| new.contains(&row)).collect();
    let relinked: Vec<bool> = (0..after.len()).map(|row| before.get(row) != Some(&after[row])).collect();
    let mut counts = Vec::new();
    for _ in 0..layers {
        let sees = |row: usize| after[row].iter().any(|neighbor| changed[*neighbor as usize]);
        changed = (0..after.len()).map(|row| changed[row] || relinked[row] || sees(row)).collect();
        counts.push(changed.iter().filter(|changed| **changed).count() as u64);
    }
    counts
}

/// Three rows arrive and three leave, again and again: prints and checks how many rows are computed in each layer.
fn recomputed<const N: usize>(k: usize, policy: EvictionPolicy, bursts: usize) -> Vec<f64> {
    const LAYERS: usize = 4;
    let shape = Shape { width: 32, heads: 2, layers: LAYERS, feed_forward: 16, agents: 3, mean_weight: 0.0 };
    let mut online = Online::new(weights(shape, 1), N, k).unwrap();
    let mut buffer = NeighborBuffer::<N>::new(shape.width, policy).unwrap();
    // A corridor: three people at a time, twelve embeddings each, of 150 who come again in another order.
    let mut arrivals = Arrivals::new(Rows::Clusters(0.5), shape.width, 150, 3);
    let mut random = Random::new(4);
    let mut view = [0, 1, 2].map(|person| (person, person as u32));
    let mut neighbors: Vec<Vec<u32>> = Vec::new();
    let mut sums = [0.0; LAYERS];
    for burst in 0..bursts + N / 3 {
        let mut new = Vec::new();
        for (at, in_view) in view.iter_mut().enumerate() {
            if burst % 12 == 4 * at {
                *in_view = (below(&mut random, 150), (3 + 3 * burst + at) as u32);
            }
            let mut row = arrivals.next(in_view.0);
            let embedding = Embedding::normalise(&mut row).unwrap();
            let tag = Tag { track: TrackId(in_view.1), time: Duration::ZERO };
            let slot = buffer.push(embedding, tag).unwrap().slot;
            online.replace(slot, buffer.rows()).unwrap();
            new.push(slot);
        }
        online.fuse(buffer.rows(), 0..buffer.len());
        let after: Vec<Vec<u32>> = (0..buffer.len()).map(|row| online.neighbors(buffer.rows(), row).to_vec()).collect();
        let found: Vec<u64> = online.recomputed().iter().map(|layer| layer.last).collect();
        assert_eq!(found, reached(&neighbors, &after, &new, LAYERS), "burst {burst}: no row more and none less");
        neighbors = after;
        if burst >= N / 3 {
            sums.iter_mut().zip(found).for_each(|(sum, rows)| *sum += rows as f64);
        }
    }
    let means: Vec<f64> = sums.iter().map(|sum| (sum / bursts as f64 * 10.0).round() / 10.0).collect();
    let pushes = 3 * (bursts + N / 3);
    println!(
        "N {N} k {k} {policy:?}: rows a burst {means:?}; lists rebuilt {} in {pushes} pushes",
        online.lists_rebuilt()
    );
    means
}

#[test]
fn only_what_a_change_reaches_is_computed() {
    for policy in [EvictionPolicy::Fifo, EvictionPolicy::Redundant] {
        recomputed::<64>(5, policy, 150);
        recomputed::<256>(10, policy, 100);
        let means = recomputed::<256>(5, policy, 150);
        assert!(means[0] < 40.0 && means[3] < 100.0, "a change stays in its neighbourhood: {means:?}");
    }
}

#[test]
fn with_one_layer_only_the_rows_asked_for_are_computed() {
    let shape = Shape { width: 16, heads: 2, layers: 1, feed_forward: 16, agents: 3, mean_weight: 0.0 };
    let mut online = Online::new(weights(shape, 1), 64, 5).unwrap();
    let mut arrivals = Arrivals::new(Rows::Clusters(0.5), 16, 10, 3);
    let mut held = Vec::new();
    for at in 0..64 {
        held.extend(arrivals.next(at % 10));
        online.replace(at, &held).unwrap();
    }
    assert_eq!(online.stale(&held).count(), 64);
    online.fuse(&held, [3, 5, 3]);
    online.fused(&held, 5).unwrap();
    assert_eq!(online.recomputed().iter().map(|layer| (layer.last, layer.total)).collect::<Vec<_>>(), [(2, 2)]);
    assert!(!online.stale(&held).any(|row| row == 3 || row == 5));
    assert_eq!(online.last_fused(4), None);

    // The counts of the last change start anew with the next one.
    held[9 * 16..][..16].copy_from_slice(&arrivals.next(9));
    online.replace(9, &held).unwrap();
    online.fused(&held, 9).unwrap();
    assert_eq!((online.recomputed()[0].last, online.recomputed()[0].total), (1, 3));
}

/// With more layers too: the rows that the answer is made of, as far as they are stale.
#[test]
fn nothing_is_computed_that_nobody_asked_for() {
    const LAYERS: usize = 3;
    let shape = Shape { width: 16, heads: 2, layers: LAYERS, feed_forward: 16, agents: 3, mean_weight: 0.0 };
    let mut online = Online::new(weights(shape, 1), 64, 5).unwrap();
    let mut arrivals = Arrivals::new(Rows::Clusters(0.5), 16, 10, 3);
    let mut held = Vec::new();
    for at in 0..64 {
        held.extend(arrivals.next(at % 10));
        online.replace(at, &held).unwrap();
    }
    assert_eq!(online.stale(&held).count(), 64);
    assert!(online.recomputed().iter().all(|layer| layer.total == 0));

    // What row 7 is made of, layer by layer from the last one.
    let mut needed = vec![7];
    let mut counts = vec![1];
    for _ in 1..LAYERS {
        needed = needed.iter().flat_map(|row| online.neighbors(&held, *row).to_vec()).map(|row| row as usize).collect();
        needed.sort_unstable();
        needed.dedup();
        counts.insert(0, needed.len() as u64);
    }
    online.fused(&held, 7).unwrap();
    assert_eq!(online.recomputed().iter().map(|layer| layer.last).collect::<Vec<_>>(), counts);
    assert!(counts[0] < 64, "{counts:?}");

    // Of the same cluster: most of it is known now.
    online.fused(&held, 17).unwrap();
    assert!(online.recomputed()[0].total < 2 * counts[0]);
    // All rows: each once.
    online.fuse(&held, 0..64);
    assert!(online.recomputed().iter().all(|layer| layer.total == 64), "{:?}", online.recomputed());
}

#[test]
fn a_large_buffer_works() {
    const ROWS: usize = 2048;
    let shape = Shape { width: 16, heads: 2, layers: 2, feed_forward: 16, agents: 3, mean_weight: 0.3 };
    let mut online = Online::new(weights(shape, 1), ROWS, 20).unwrap();
    let mut buffer = NeighborBuffer::<ROWS>::new(16, EvictionPolicy::Redundant).unwrap();
    let mut arrivals = Arrivals::new(Rows::Clusters(0.5), 16, 100, 3);
    for at in 0..ROWS + 100 {
        let mut row = arrivals.next(at / 15 % 100);
        let embedding = Embedding::normalise(&mut row).unwrap();
        let tag = Tag { track: TrackId(at as u32 / 15), time: Duration::ZERO };
        let slot = buffer.push(embedding, tag).unwrap().slot;
        online.replace(slot, buffer.rows()).unwrap();
    }
    online.fuse(buffer.rows(), (0..ROWS).step_by(3));
    let mut full = NFormer::new(weights(shape, 1), ROWS).unwrap();
    let fused = full.forward(buffer.rows(), 20, Landmarks::Agents).unwrap();
    for row in (0..ROWS).step_by(3) {
        assert_eq!(online.last_fused(row), Some(&full_row(&fused, row, 16)[..]), "row {row}");
    }
}

#[test]
fn the_memory_is_linear_in_the_rows() {
    for layers in [1, 4] {
        let shape = Shape { width: 256, heads: 2, layers, feed_forward: 1024, agents: 5, mean_weight: 0.5 };
        let bytes = |rows| Online::new(weights(shape, 1), rows, 5).unwrap().bytes();
        let (small, large) = (bytes(256), bytes(2048));
        println!("{layers} layers, 256 rows: {small:?}; 2048 rows: {large:?}");
        // Inputs of each layer but the first, which are lent, and the final rows; a block of hidden values and three of rows.
        let rows = 256 * 256 * size_of::<f32>() * layers;
        let block = 64 * (1024 + 3 * 256) * size_of::<f32>();
        assert!((rows..rows + block + (64 << 10) * layers).contains(&small.scratch), "{small:?}");
        assert!(large.scratch < 8 * small.scratch);
        assert_eq!(small.weights, large.weights);
        assert_eq!(small.weights, NFormer::new(weights(shape, 1), 1).unwrap().bytes().weights);
    }
}

/// Weights, what is kept of the rows, and the buffer that lends them: prints the parts.
#[test]
fn four_layers_in_bytes_take_less_than_five_megabytes() {
    let buffer = NeighborBuffer::<256>::new(256, EvictionPolicy::Redundant).unwrap().bytes();
    for (layers, precision, most) in
        [(1, Precision::F32, 3_700_000), (1, Precision::Int8, 1_800_000), (4, Precision::Int8, 5_000_000)]
    {
        let shape = Shape { width: 256, heads: 2, layers, feed_forward: 1024, agents: 5, mean_weight: 0.5 };
        let bytes = Online::new(weights(shape, 1).with_precision(precision), 256, 5).unwrap().bytes();
        let sum = bytes.weights + bytes.scratch + buffer;
        println!("{layers} layers, {precision:?}: {bytes:?}, buffer {buffer}, sum {sum}");
        assert!(sum < most, "{layers} layers, {precision:?}: {sum}");
    }
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let shape = Shape { width: 8, heads: 2, layers: 2, feed_forward: 12, agents: 3, mean_weight: 0.0 };
    let new = |rows, k| Online::new(weights(shape, 1), rows, k);
    assert!(matches!(new(0, 1), Err(Error::FusionInput { .. })));
    assert!(matches!(new(usize::MAX, 1), Err(Error::FusionInput { .. })));
    assert!(matches!(new(4, 0), Err(Error::FusionInput { .. })));
    assert!(matches!(new(1000, 1000), Err(Error::TooLarge { constant: "MAX_TOP_K", .. })));
    let without = Online::new(weights(shape, 1).without_agents(), 4, 1);
    assert!(matches!(without, Err(Error::FusionInput { .. })));

    let mut online = new(3, 1000).unwrap();
    let rows = [1.0; 32];
    for wrong in [&rows[..7], &rows[..9], &rows[..16], &[]] {
        assert!(matches!(online.replace(0, wrong), Err(Error::FusionInput { .. })), "{} floats", wrong.len());
    }
    for wrong in [[0.0; 8], [f32::NAN; 8], [f32::INFINITY; 8]] {
        assert!(matches!(online.replace(0, &wrong), Err(Error::FusionInput { .. })), "{wrong:?}");
    }
    assert!(matches!(online.replace(1, &rows[..16]), Err(Error::FusionInput { .. })));
    assert!(online.is_empty() && online.fused(&[], 0).is_err() && online.stale(&[]).next().is_none());
    for slot in 0..3 {
        online.replace(slot, &rows[..(slot + 1) * 8]).unwrap();
    }
    assert!(matches!(online.replace(3, &rows), Err(Error::TooLarge { found: 4, max: 3, .. })));
    assert!(matches!(online.set_top_k(0), Err(Error::FusionInput { .. })));
    assert!(matches!(online.set_top_k(1001), Err(Error::FusionInput { .. })));
    online.set_top_k(2).unwrap();
    let rows = &rows[..24];
    online.fuse(rows, [7, 2]);
    assert!(matches!(online.fused(rows, 3), Err(Error::FusionInput { .. })));
    assert!(online.neighbors(rows, 3).is_empty() && online.last_fused(3).is_none());
    assert_eq!(online.neighbors(rows, 1), [1, 0]);
    assert_eq!((online.len(), online.max_rows(), online.layers(), online.width()), (3, 3, 2, 8));
}

/// Finite weights can still overflow: the row is refused and kept as zeros, and nothing panics on the way.
#[test]
fn weights_that_overflow_give_a_refused_row() {
    let shape = Shape { width: 8, heads: 2, layers: 2, feed_forward: 12, agents: 3, mean_weight: 0.0 };
    let mut tensors = random_tensors(shape, 9);
    for (_, values) in tensors.values_mut() {
        for value in values {
            *value *= 1e17;
        }
    }
    for name in ["bn.running_var", "bn.weight"] {
        tensors.get_mut(name).unwrap().1.fill(1.0);
    }
    let weights = Weights::from_bytes(&to_bytes(&tensors, &[("heads", "2")]), Path::new("huge.safetensors")).unwrap();
    let mut online = Online::new(weights, 5, 3).unwrap();
    let row = [1.0, 2.0, 0.0, 1.0, 0.5, 0.0, 0.0, 1.0];
    online.replace(0, &row).unwrap();
    assert!(matches!(online.fused(&row, 0), Err(Error::BadEmbedding { .. })));
    assert_eq!(online.last_fused(0), Some(&[0.0; 8][..]));
    assert!(matches!(online.fused(&row, 0), Err(Error::BadEmbedding { .. })), "and stays so");
}

/// Rows are computed from stored inputs, so a million changes leave no trace.
#[test]
#[ignore = "a million pushes are too many for each run: cargo test --test online a_million -- --ignored"]
fn a_million_changes_do_not_drift() {
    const ROWS: usize = 24;
    for (layers, rows) in [(1, Rows::Grid), (3, Rows::Clusters(0.5))] {
        let shape = Shape { width: 8, heads: 2, layers, feed_forward: 12, agents: 2, mean_weight: 0.5 };
        let mut online = Online::new(weights(shape, 1), ROWS, 4).unwrap();
        let mut buffer = NeighborBuffer::<ROWS>::new(8, EvictionPolicy::Redundant).unwrap();
        let mut arrivals = Arrivals::new(rows, 8, 9, 3);
        for at in 0..500_000 {
            let mut row = arrivals.next(at / 12 % 9);
            let embedding = Embedding::normalise(&mut row).unwrap();
            let tag = Tag { track: TrackId(at as u32 / 12), time: Duration::ZERO };
            let slot = buffer.push(embedding, tag).unwrap().slot;
            online.replace(slot, buffer.rows()).unwrap();
            if at % 3 == 0 {
                online.fuse(buffer.rows(), [at % ROWS]);
            }
        }
        online.fuse(buffer.rows(), 0..ROWS);
        let mut full = NFormer::new(weights(shape, 1), ROWS).unwrap();
        let fused = full.forward(buffer.rows(), 4, Landmarks::Agents).unwrap();
        for row in 0..ROWS {
            assert_eq!(online.last_fused(row), Some(&full_row(&fused, row, 8)[..]), "row {row}");
        }
    }
}
