//! The fusion network: full pass and incremental, floats and bytes: `cargo bench --bench fusion`.
//!
//! Shipped weights (one layer), made-up people who come and go, one thread. Before anything is timed, the incremental
//! rows must equal a full pass over the same buffer. `benches/peers/fusion.sh` compares with PyTorch on four layers.

#![expect(clippy::expect_used, reason = "a benchmark that cannot open its own weights has nothing to measure")]

use std::hint::black_box;
use std::path::PathBuf;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use nformer_edge::backbone::Embedding;
use nformer_edge::nformer::{Landmarks, NFormer, Online, Precision, Weights};

/// Neighbours of a row, as on the card.
const TOP_K: usize = 5;

/// Rows that one person gives before the next one comes.
const ROWS_OF_ONE: usize = 8;

fn weights() -> Weights {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models/nformer/nformer.safetensors");
    Weights::read(&path).expect("the shipped weights")
}

/// `count` unit rows `[count, width]`: people one after the other, each around a direction of its own. The same every
/// time: a linear congruential generator.
fn stream(count: usize, width: usize) -> Vec<f32> {
    let mut state = 11_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let mut rows = Vec::with_capacity(count * width);
    let mut person = vec![0.0; width];
    for row in 0..count {
        if row % ROWS_OF_ONE == 0 {
            person.fill_with(&mut noise);
        }
        rows.extend(person.iter().map(|value| value + 0.7 * noise()));
    }
    for row in rows.chunks_exact_mut(width) {
        Embedding::normalise(row).expect("not zero");
    }
    rows
}

/// A full buffer that the rows of a stream pass through, oldest out first.
struct Passing<'a> {
    online: Online,
    /// What stands in the slots, `[N, D]`.
    buffer: Vec<f32>,
    rows: &'a [f32],
    next: usize,
}

impl<'a> Passing<'a> {
    fn new(rows: &'a [f32], size: usize) -> Self {
        let online = Online::new(weights(), size, TOP_K).expect("the shipped weights");
        let mut passing = Self { online, buffer: Vec::new(), rows, next: 0 };
        for _ in 0..size {
            passing.step(1);
        }
        passing
    }

    /// Stores the next `count` rows and fuses them.
    fn step(&mut self, count: usize) {
        let (size, width) = (self.online.max_rows(), self.online.width());
        let start = self.next;
        for at in start..start + count {
            let row = &self.rows[at * width % self.rows.len()..][..width];
            if at < size {
                self.buffer.extend_from_slice(row);
            } else {
                self.buffer[at % size * width..][..width].copy_from_slice(row);
            }
            self.online.replace(at % size, &self.buffer).expect("room");
        }
        self.next += count;
        self.online.fuse(&self.buffer, (start..start + count).map(|at| at % size));
    }

    /// Whether every row equals that of a full pass over the buffer as it is.
    fn check(&mut self) {
        let (size, width) = (self.online.max_rows(), self.online.width());
        let mut nformer = NFormer::new(weights(), size).expect("the shipped weights");
        let fused = nformer.forward(&self.buffer, TOP_K, Landmarks::Agents).expect("a pass");
        let mut expected = vec![0.0; width];
        for slot in 0..size {
            fused.final_row(slot, &mut expected).expect("a row");
            let found = self.online.fused(&self.buffer, slot).expect("a row");
            let far = expected.iter().zip(found).any(|(one, other)| (one - other).abs() > 1e-4);
            assert!(!far, "row {slot} of {size} differs from the full pass");
        }
    }
}

fn fusion(criterion: &mut Criterion) {
    let width = weights().width();
    let rows = stream(4096, width);
    let mut group = criterion.benchmark_group("fusion");
    group.sample_size(20);
    for size in [64, 256, 512] {
        for precision in [Precision::F32, Precision::Int8] {
            let mut nformer = NFormer::new(weights().with_precision(precision), size).expect("the shipped weights");
            let id = BenchmarkId::new(format!("full pass, {precision:?}"), size);
            group.bench_with_input(id, &rows[..size * width], |bencher, rows| {
                bencher.iter(|| black_box(nformer.forward(rows, TOP_K, Landmarks::Agents).expect("a pass").rows()[0]));
            });
        }
        for count in [1, 3, 8] {
            let mut passing = Passing::new(&rows, size);
            for _ in 0..50 {
                passing.step(count);
            }
            passing.check();
            group.bench_function(BenchmarkId::new(format!("{count} new rows"), size), |bencher| {
                bencher.iter(|| passing.step(count));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, fusion);
criterion_main!(benches);
