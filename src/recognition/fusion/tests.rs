//! Buffer, owners and incremental network against the full network over the same rows.

use std::path::Path;

use super::*;
use crate::neighbors::EvictionPolicy;
use crate::nformer::tests::random_weights::{Random, Shape, random_tensors, to_bytes};
use crate::nformer::{Landmarks, NFormer, Weights};

const WIDTH: usize = 16;
const BOTH: usize = APPEARANCE * WIDTH;
const TOP_K: usize = 5;

fn weights(layers: usize) -> Weights {
    let shape = Shape { width: WIDTH, heads: 2, layers, feed_forward: 16, agents: 3, mean_weight: 0.5 };
    let bytes = to_bytes(&random_tensors(shape, 1), &[("heads", "2")]);
    Weights::from_bytes(&bytes, Path::new("random.safetensors")).unwrap()
}

/// Tracks of ten rows, three at a time; each is claimed halfway, every fourth never. From a nearly empty buffer to one
/// that was overwritten several times.
#[test]
fn what_is_kept_equals_what_is_fused_anew() {
    for (layers, kind, eviction) in [
        (1, RowKind::Embedding, EvictionPolicy::Redundant),
        (2, RowKind::Embedding, EvictionPolicy::Fifo),
        (1, RowKind::Track, EvictionPolicy::Redundant),
        (2, RowKind::Track, EvictionPolicy::Fifo),
    ] {
        let online = Online::new(weights(layers), NEIGHBORS, TOP_K).unwrap();
        // About half of the embeddings agree as well as this with a row of their track.
        let settings = NeighborSettings { rows: kind, agreement: 0.9, eviction };
        let mut fusion = Fusion::new(online, &settings, Duration::MAX).unwrap();
        let mut full = NFormer::new(weights(layers), NEIGHBORS).unwrap();
        let mut random = Random::new(7);
        let (mut retired, mut joined) = (0, 0);
        for frame in 0..2 * NEIGHBORS as u32 {
            let asked = [0, 1, 2].map(|at| TrackId(3 * (frame / 10) + at));
            for track in asked {
                let mut row: Vec<f32> =
                    (0..WIDTH as u32).map(|at| ((track.0 % 40 * 7 + at) as f32).sin() + 0.4 * random.value()).collect();
                let embedding = Embedding::normalise(&mut row).unwrap();
                let held = fusion.buffer.len() as u64 + fusion.evictions();
                fusion.push(embedding, track, None, Duration::ZERO, |_, _| retired += 1).unwrap();
                joined += u64::from(held == fusion.buffer.len() as u64 + fusion.evictions());
            }
            fusion.fuse(&asked).unwrap();

            let rows = fusion.buffer.len();
            let top_k = TOP_K.min(rows / ROWS_PER_NEIGHBOR).max(1);
            let fused = full.forward(fusion.buffer.rows(), top_k, Landmarks::Agents).unwrap();
            // Fused row and row of each slot.
            let mut expected = vec![0.0; rows * BOTH];
            for (slot, row) in expected.chunks_exact_mut(BOTH).enumerate() {
                fused.final_row(slot, &mut row[..WIDTH]).unwrap();
                row[WIDTH..].copy_from_slice(fusion.buffer.row(slot).unwrap());
            }
            let owners = fusion.owners.iter().zip(expected.chunks_exact(BOTH));
            let owned: Vec<(IdentityId, &[f32])> = owners.filter_map(|(owner, row)| Some(((*owner)?, row))).collect();
            assert_eq!(fusion.owned().collect::<Vec<_>>(), owned, "frame {frame}");

            for track in asked {
                let open = |slot: &usize| {
                    fusion.owners[*slot].is_none() && fusion.buffer.tag(*slot).is_some_and(|tag| tag.track == track)
                };
                let slots: Vec<usize> = (0..rows).filter(open).collect();
                let mut mean = [0.0; BOTH];
                for slot in &slots {
                    let weight = fusion.buffer.embeddings(*slot) as f32;
                    mean.iter_mut().zip(&expected[slot * BOTH..]).for_each(|(sum, value)| *sum += weight * value);
                }
                let embeddings: u32 = slots.iter().map(|slot| fusion.buffer.embeddings(*slot)).sum();
                let mut found = [0.0; BOTH];
                assert_eq!(fusion.open_mean(track, &mut found), embeddings);
                if embeddings > 0 {
                    Embedding::normalise(&mut mean).unwrap();
                    assert_eq!(found.as_slice(), mean, "frame {frame}");
                }
            }
            if frame % 10 == 5 {
                for track in asked.into_iter().filter(|track| track.0 % 4 != 0) {
                    fusion.claim(track, IdentityId(track.0 % 40));
                }
            }
        }
        let evictions = fusion.evictions();
        assert!(retired > NEIGHBORS / 4 && evictions > retired as u64, "{kind:?}: {retired} of {evictions}");
        let pushed = 6 * NEIGHBORS as u64;
        let expected = if kind == RowKind::Track { pushed / 5..pushed * 4 / 5 } else { 0..1 };
        assert!(expected.contains(&joined), "{kind:?}: {joined} of {pushed}");
        let last = fusion.recomputed().last().unwrap();
        assert!(last.total < 512 * NEIGHBORS as u64 / 2, "far less than all rows each time: {last:?}");
    }
}
