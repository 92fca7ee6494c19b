//! After construction the incremental network asks for no memory, whatever happens to its rows.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where its preparation fails")]

#[path = "support/counting.rs"]
mod counting;
#[path = "../src/nformer/tests/random_weights.rs"]
mod random_weights;

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use counting::{Counting, requests};
use nformer_edge::backbone::Embedding;
use nformer_edge::neighbors::{EvictionPolicy, NeighborBuffer, Tag};
use nformer_edge::nformer::{Online, Weights};
use nformer_edge::tracks::TrackId;
use random_weights::{Random, Shape, random_tensors, to_bytes};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Requests of this thread during `bursts` bursts of 1 to 8 rows, with k growing as the buffer fills.
fn pass_through<const N: usize>(shape: Shape, top_k: usize, policy: EvictionPolicy, bursts: u32) -> u64 {
    let bytes = to_bytes(&random_tensors(shape, 1), &[("heads", &shape.heads.to_string())]);
    let weights = Weights::from_bytes(&bytes, Path::new("random.safetensors")).unwrap();
    let mut online = Online::new(weights, N, top_k).unwrap();
    let memory = online.bytes();
    let mut buffer = NeighborBuffer::<N>::new(shape.width, policy).unwrap();
    let mut random = Random::new(2);
    let mut row = vec![0.0; shape.width];
    let count = requests(|| {
        for burst in 0..bursts {
            for _ in 0..=burst % 8 {
                row.fill_with(|| random.value());
                let embedding = Embedding::normalise(&mut row).unwrap();
                let tag = Tag { track: TrackId(burst / 10), time: Duration::from_millis(burst.into()) };
                let pushed = buffer.push(embedding, tag).unwrap();
                online.replace(pushed.slot, buffer.rows()).unwrap();
            }
            online.set_top_k(top_k.min(buffer.len() / 4).max(1)).unwrap();
            black_box(online.stale(buffer.rows()).count());
            online.fuse(buffer.rows(), (0..buffer.len()).filter(|slot| slot % 3 != burst as usize % 3));
            black_box(online.fused(buffer.rows(), 0).unwrap());
            if burst % 512 == 511 {
                buffer.clear();
                online.clear();
            }
        }
    });
    assert_eq!(online.bytes(), memory);
    count
}

#[test]
fn the_counter_counts() {
    assert_eq!(requests(|| drop(black_box(Box::new(1)))), 2);
}

#[test]
fn thousands_of_bursts_through_a_small_network_allocate_nothing() {
    let shape = Shape { width: 16, heads: 2, layers: 3, feed_forward: 32, agents: 3, mean_weight: 0.5 };
    for policy in [EvictionPolicy::Fifo, EvictionPolicy::Redundant] {
        assert_eq!(pass_through::<24>(shape, 5, policy, 3_000), 0);
    }
}

#[test]
fn a_full_width_network_allocates_nothing() {
    let shape = Shape { width: 256, heads: 2, layers: 2, feed_forward: 1024, agents: 5, mean_weight: 0.5 };
    assert_eq!(pass_through::<32>(shape, 5, EvictionPolicy::Redundant, 40), 0);
}
