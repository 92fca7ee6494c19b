//! Fusion with weights as bytes against fusion with weights as they are.
//!
//! The shipped weights, and rows as a backbone gives them: unit length, a few people each seen several times.
#![allow(clippy::unwrap_used, reason = "a test ends where its files are not what they should be")]

use std::path::Path;

use nformer_edge::backbone::Embedding;
use nformer_edge::kernels::{dot, l2_normalise};
use nformer_edge::nformer::{Landmarks, NFormer, Online, Precision, Weights};

const ROWS: usize = 256;

/// A generator with a seed: Knuth's MMIX constants.
struct Random(u64);

impl Random {
    /// The sum of four values in `-0.5..0.5`: near enough to a normal distribution.
    fn value(&mut self) -> f32 {
        (0..4)
            .map(|_| {
                self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (self.0 >> 40) as f32 / (1_u32 << 24) as f32 - 0.5
            })
            .sum()
    }
}

/// Unit rows `[ROWS, width]` around `people` centres. With a spread of 1 two rows of one person have a cosine of about 0.5.
fn people(width: usize, people: usize, spread: f32, seed: u64) -> Vec<f32> {
    let mut random = Random(seed);
    let centres: Vec<f32> = (0..people * width).map(|_| random.value()).collect();
    let mut rows: Vec<f32> = (0..ROWS)
        .flat_map(|row| {
            let centre = row * 7 % people;
            centres[centre * width..][..width].iter().map(|c| c + spread * random.value()).collect::<Vec<_>>()
        })
        .collect();
    for row in rows.chunks_mut(width) {
        assert!(l2_normalise(row));
    }
    rows
}

fn shipped() -> Option<Weights> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/nformer/nformer.safetensors");
    if path.is_file() {
        return Some(Weights::read(&path).unwrap());
    }
    eprintln!("SKIPPED: no {}", path.display());
    None
}

/// Cosines of each row's output, and of each row as retrieval uses it: means and least.
fn cosines(float: &mut NFormer, int8: &mut NFormer, rows: &[f32], k: usize) -> [(f32, f32); 2] {
    let width = float.width();
    let float = float.forward(rows, k, Landmarks::Agents).unwrap();
    let int8 = int8.forward(rows, k, Landmarks::Agents).unwrap();
    let mut found = [Vec::new(), Vec::new()];
    let (mut a, mut b) = (vec![0.0; width], vec![0.0; width]);
    for row in 0..float.len() {
        a.copy_from_slice(float.row(row).unwrap());
        b.copy_from_slice(int8.row(row).unwrap());
        assert!(l2_normalise(&mut a) && l2_normalise(&mut b));
        found[0].push(dot(&a, &b));
        float.final_row(row, &mut a).unwrap();
        int8.final_row(row, &mut b).unwrap();
        found[1].push(dot(&a, &b));
    }
    found.map(|found| {
        (found.iter().sum::<f32>() / found.len() as f32, found.iter().copied().fold(f32::INFINITY, f32::min))
    })
}

#[test]
fn int8_fuses_like_floats() {
    let Some(weights) = shipped() else { return };
    let k = weights.top_k().unwrap();
    let mut float = NFormer::new(weights.clone(), ROWS).unwrap();
    let mut int8 = NFormer::new(weights.with_precision(Precision::Int8), ROWS).unwrap();
    println!("bytes of weights: {} as floats, {} as bytes", float.bytes().weights, int8.bytes().weights);
    for (count, spread) in [(8, 0.5), (20, 1.0), (64, 1.0), (256, 1.0)] {
        let rows = people(float.width(), count, spread, 5 + count as u64);
        let [output, last] = cosines(&mut float, &mut int8, &rows, k);
        println!(
            "{count} people, spread {spread}: (mean, least) cosine of the output {output:?}, of the final row {last:?}"
        );
        for (mean, least) in [output, last] {
            assert!(least >= 0.999 && mean >= 0.9995, "{count} people: mean {mean}, least {least}");
        }
    }
}

/// All but the folded agents, the norms and three numbers an output are a quarter.
#[test]
fn int8_takes_a_quarter_of_the_memory() {
    let Some(weights) = shipped() else { return };
    // Q' and K' of each agent: a row of D and a bias, floats in both.
    let agents =
        weights.layers() * 2 * weights.heads() * weights.landmarks() * (weights.width() + 1) * size_of::<f32>();
    let float = NFormer::new(weights.clone(), 1).unwrap().bytes();
    let int8 = NFormer::new(weights.with_precision(Precision::Int8), 1).unwrap().bytes();
    assert_eq!(float.scratch, int8.scratch);
    assert!((int8.weights - agents) * 7 < (float.weights - agents) * 2, "{int8:?} {float:?}");
}

/// Each row has a scale of its own, so that a row alone is the same bits as among others: the incremental way stays exact.
#[test]
fn int8_online_equals_the_full_pass() {
    const SLOTS: usize = 24;
    let Some(weights) = shipped() else { return };
    let weights = weights.with_precision(Precision::Int8);
    let mut full = NFormer::new(weights.clone(), SLOTS).unwrap();
    let mut online = Online::new(weights, SLOTS, 5).unwrap();
    let mut rows = people(full.width(), 6, 0.7, 3);
    let mut expected = vec![0.0; full.width()];
    let mut held = Vec::new();
    let width = full.width();
    for (at, row) in rows.chunks_exact_mut(width).take(3 * SLOTS).enumerate() {
        let embedding = Embedding::normalise(row).unwrap();
        let slot = if at < SLOTS { at } else { at * 5 % SLOTS };
        if at < SLOTS {
            held.extend_from_slice(embedding.as_slice());
        } else {
            held[slot * width..][..width].copy_from_slice(embedding.as_slice());
        }
        online.replace(slot, &held).unwrap();
        let stale: Vec<usize> = online.stale(&held).collect();
        online.fuse(&held, stale);
        let fused = full.forward(&held, 5, Landmarks::Agents).unwrap();
        for row in 0..fused.len() {
            fused.final_row(row, &mut expected).unwrap();
            assert_eq!(online.fused(&held, row).unwrap(), expected, "row {row} after {at} changes");
        }
    }
}
