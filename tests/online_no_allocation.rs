//! After construction the incremental network asks for no memory, whatever happens to its rows.
#![expect(unsafe_code, reason = "a global allocator is an unsafe trait; this one only counts and forwards")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where its preparation fails")]

#[path = "../src/nformer/tests/random_weights.rs"]
mod random_weights;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use nformer_edge::backbone::Embedding;
use nformer_edge::neighbors::{EvictionPolicy, NeighborBuffer, Tag};
use nformer_edge::nformer::{Online, Weights};
use nformer_edge::tracks::TrackId;
use random_weights::{Random, Shape, random_tensors, to_bytes};

/// The system's allocator, counting what each thread asks of it.
struct Counting;

thread_local! {
    static REQUESTS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    REQUESTS.set(REQUESTS.get() + 1);
}

// SAFETY: every call is handed on unchanged to `System`, which keeps the contract; counting touches only a
// constant-initialised cell of the thread and asks for no memory itself.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's layout, unchanged.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's layout, unchanged.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's block, layout and size, unchanged.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // Counted too: giving memory back while running means that it was asked for.
        count();
        // SAFETY: the caller's block and layout, unchanged.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Requests of this thread during `bursts` bursts of 1 to 8 rows, with k growing as the buffer fills.
fn requests<const N: usize>(shape: Shape, top_k: usize, policy: EvictionPolicy, bursts: u32) -> u64 {
    let bytes = to_bytes(&random_tensors(shape, 1), &[("heads", &shape.heads.to_string())]);
    let weights = Weights::from_bytes(&bytes, Path::new("random.safetensors")).unwrap();
    let mut online = Online::new(weights, N, top_k).unwrap();
    let memory = online.bytes();
    let mut buffer = NeighborBuffer::<N>::new(shape.width, policy).unwrap();
    let mut random = Random::new(2);
    let mut row = vec![0.0; shape.width];
    let before = REQUESTS.get();
    for burst in 0..bursts {
        for _ in 0..=burst % 8 {
            row.fill_with(|| random.value());
            let embedding = Embedding::normalise(&mut row).unwrap();
            let tag = Tag { track: TrackId(burst / 10), time: Duration::from_millis(burst.into()) };
            let pushed = buffer.push(embedding, tag).unwrap();
            online.replace(pushed.slot, embedding).unwrap();
        }
        online.set_top_k(top_k.min(buffer.len() / 4).max(1)).unwrap();
        black_box(online.stale().count());
        online.fuse((0..buffer.len()).filter(|slot| slot % 3 != burst as usize % 3));
        black_box(online.fused(0).unwrap());
        if burst % 512 == 511 {
            buffer.clear();
            online.clear();
        }
    }
    let requests = REQUESTS.get() - before;
    assert_eq!(online.bytes(), memory);
    requests
}

#[test]
fn the_counter_counts() {
    let before = REQUESTS.get();
    drop(black_box(Box::new(1)));
    assert_eq!(REQUESTS.get() - before, 2);
}

#[test]
fn thousands_of_bursts_through_a_small_network_allocate_nothing() {
    let shape = Shape { width: 16, heads: 2, layers: 3, feed_forward: 32, agents: 3, mean_weight: 0.5 };
    for policy in [EvictionPolicy::Fifo, EvictionPolicy::Redundant] {
        assert_eq!(requests::<24>(shape, 5, policy, 3_000), 0);
    }
}

#[test]
fn a_full_width_network_allocates_nothing() {
    let shape = Shape { width: 256, heads: 2, layers: 2, feed_forward: 1024, agents: 5, mean_weight: 0.5 };
    assert_eq!(requests::<32>(shape, 5, EvictionPolicy::Redundant, 40), 0);
}
