//! What share of the processor's peak each convolution of bytes reaches: `cargo bench --bench int8_peak`.
//!
//! The peak is multiply-adds a cycle, by the instructions of the version, times the clock that was found while measuring.
//! One thread; of each layer the fastest of many passes, so caches are warm.

#[path = "int8/layers.rs"]
mod layers;

use std::hint::black_box;
use std::time::{Duration, Instant};

use layers::{LAYERS, Shape, mobilenet, resnet};
use nformer_edge::int8::bench::Layer;

/// Time spent on each layer.
const PATIENCE: Duration = Duration::from_millis(60);

/// Multiply-adds a cycle of a version, if it is known.
///
/// VNNI: one `vpdpbusd` of 64 products a cycle (Zen 4, and Intel cores with one wide unit; some Intel servers have two).
/// AVX2: `vpmaddubsw` and `vpmaddwd` for 32 products on two ports that multiply.
fn products_a_cycle(version: &str) -> Option<f64> {
    if version.contains("vnni") {
        return Some(64.0);
    }
    version.contains("avx2").then_some(32.0)
}

/// Cycles a second: a chain of `xor` (one cycle) and multiplication (three, on every x86-64 of the last ten years).
fn clock() -> f64 {
    const CHAIN: u32 = 1_000_000;
    let mut best = Duration::MAX;
    for _ in 0..40 {
        let start = Instant::now();
        let mut value = black_box(3_u64);
        for _ in 0..CHAIN {
            value = (value ^ 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        black_box(value);
        best = best.min(start.elapsed());
    }
    f64::from(CHAIN) * 4.0 / best.as_secs_f64()
}

/// Seconds of the fastest pass.
fn fastest(layer: &mut Layer) -> f64 {
    let (begin, mut best) = (Instant::now(), Duration::MAX);
    while begin.elapsed() < PATIENCE {
        let start = Instant::now();
        black_box(layer.run());
        best = best.min(start.elapsed());
    }
    best.as_secs_f64()
}

/// The versions worth comparing with a peak, the one normally chosen last.
fn versions((picture, inputs, outputs, kernel, stride): Shape) -> Vec<(&'static str, Layer)> {
    let versions = Layer::versions(picture, inputs, outputs, kernel, stride);
    versions.into_iter().filter(|(version, _)| products_a_cycle(version).is_some()).collect()
}

fn line(name: &str, version: &str, macs: f64, seconds: f64, clock: f64) {
    let rate = macs / seconds / 1e9;
    let share = products_a_cycle(version).map_or(0.0, |products| 100.0 * rate / (products * clock / 1e9));
    println!("{name:<28} {version:<14} {:>9.1} {rate:>9.1} {share:>6.0} %", seconds * 1e6);
}

fn main() {
    let clock = clock();
    println!("clock {:.2} GHz", clock / 1e9);
    println!("{:<28} {:<14} {:>9} {:>9} {:>8}", "layer", "version", "us", "GMAC/s", "of peak");
    for (name, shape) in LAYERS {
        for (version, mut layer) in versions(shape) {
            let seconds = fastest(&mut layer);
            line(name, version, layer.macs() as f64, seconds, clock);
        }
    }
    for (name, shapes) in [("MobileNetV2, 52 layers", mobilenet()), ("ResNet-18, 20 layers", resnet())] {
        let mut sums: Vec<(&str, f64, f64)> = Vec::new();
        for shape in shapes {
            for (at, (version, mut layer)) in versions(shape).into_iter().enumerate() {
                if sums.len() == at {
                    sums.push((version, 0.0, 0.0));
                }
                sums[at].1 += layer.macs() as f64;
                sums[at].2 += fastest(&mut layer);
            }
        }
        for (version, macs, seconds) in sums {
            line(name, version, macs, seconds, clock);
        }
    }
}
