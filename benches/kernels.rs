//! Time of the affine map: plain and hand-written, floats and bytes, in the shapes of the fusion network, and for as many
//! rows as change at once: `cargo bench --bench kernels`.
//!
//! One thread. Before anything is timed, the versions must agree: to the bit within a precision, and bytes with floats as
//! closely as their steps allow.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use nformer_edge::kernels::{Linear, dot, length};

/// Outputs and inputs: values and output projection, folded agents, the two feed-forward parts.
const SHAPES: [(usize, usize); 4] = [(256, 256), (20, 256), (1024, 256), (256, 1024)];

const ROWS: [usize; 4] = [1, 4, 16, 256];

/// Values in `-1.0..1.0`.
fn matrix(rows: usize, width: usize, seed: u64) -> Vec<f32> {
    let mut state = seed | 1;
    (0..rows * width)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1_u32 << 23) as f32 - 1.0
        })
        .collect()
}

fn apply(linear: &Linear, x: &[f32]) -> Vec<f32> {
    let mut y = vec![0.0; x.len() / linear.inputs() * linear.outputs()];
    linear.apply(x, &mut y);
    y
}

fn assert_same(versions: &[(&str, Linear); 4], x: &[f32]) {
    let [plain, chosen, int8_plain, int8_chosen] = versions.each_ref().map(|(_, linear)| apply(linear, x));
    assert_eq!(plain, chosen, "floats");
    assert_eq!(int8_plain, int8_chosen, "bytes");
    let cosine = dot(&plain, &int8_plain) / (length(&plain) * length(&int8_plain)) as f32;
    assert!(cosine > 0.9998, "bytes and floats: cosine {cosine}");
}

fn linear(criterion: &mut Criterion) {
    for (outputs, inputs) in SHAPES {
        let (weight, bias) = (matrix(outputs, inputs, 1), matrix(1, outputs, 2));
        let (float, int8) = (Linear::new(&weight, &bias, inputs), Linear::int8(&weight, &bias, inputs));
        let versions = [
            ("f32 plain", float.clone().plain()),
            ("f32", float),
            ("int8 plain", int8.clone().plain()),
            ("int8", int8),
        ];
        let mut group = criterion.benchmark_group(format!("linear {inputs} to {outputs}"));
        for rows in ROWS {
            let x = matrix(rows, inputs, 3);
            assert_same(&versions, &x);
            let mut y = vec![0.0; rows * outputs];
            // Multiply-adds.
            group.throughput(Throughput::Elements((rows * inputs * outputs) as u64));
            for (name, linear) in &versions {
                group.bench_function(BenchmarkId::new(*name, rows), |bencher| {
                    bencher.iter(|| linear.apply(black_box(&x), black_box(&mut y)));
                });
            }
        }
        group.finish();
    }
}

fn settings() -> Criterion {
    Criterion::default().warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(800))
}

criterion_group! { name = benches; config = settings(); targets = linear }
criterion_main!(benches);
