//! Time of convolutions of bytes in every version that this processor has: layers alone, and all convolutions of a network
//! one after the other at 256x128: `cargo bench --bench int8`.
//!
//! One thread. Throughput is multiply-adds. Before anything is timed, every version must give the bytes of the plain one.

#[path = "int8/layers.rs"]
mod layers;

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use layers::{LAYERS, Shape, mobilenet, resnet};
use nformer_edge::int8::bench::Layer;

fn versions((picture, inputs, outputs, kernel, stride): Shape) -> Vec<(&'static str, Layer)> {
    let mut versions = Layer::versions(picture, inputs, outputs, kernel, stride);
    let expected = versions[0].1.run().to_vec();
    for (name, layer) in &mut versions {
        assert!(layer.run() == expected, "{name} differs from plain: {inputs} to {outputs:?}, {kernel}x{kernel}");
    }
    versions
}

fn layers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("layer");
    for (name, shape) in LAYERS {
        for (version, mut layer) in versions(shape) {
            group.throughput(Throughput::Elements(layer.macs() as u64));
            group.bench_function(BenchmarkId::new(name, version), |bencher| bencher.iter(|| layer.run()[0]));
        }
    }
    group.finish();
}

fn networks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("network");
    for (name, shapes) in [("MobileNetV2", mobilenet()), ("ResNet-18", resnet())] {
        let mut layers: Vec<_> = shapes.into_iter().map(versions).collect();
        while let Some(version) = layers[0].last().map(|(version, _)| *version) {
            let mut layers: Vec<Layer> = layers.iter_mut().filter_map(Vec::pop).map(|(_, layer)| layer).collect();
            group.throughput(Throughput::Elements(layers.iter().map(|layer| layer.macs() as u64).sum()));
            group.bench_function(BenchmarkId::new(name, version), |bencher| {
                bencher.iter(|| {
                    for layer in &mut layers {
                        layer.run();
                    }
                });
            });
        }
    }
    group.finish();
}

fn settings() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400))
        .sample_size(20)
}

criterion_group! { name = benches; config = settings(); targets = layers, networks }
criterion_main!(benches);
