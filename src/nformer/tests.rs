//! The network against the formulas, and its edges.

mod dense;
mod files;
pub(crate) mod random_weights;

use std::path::Path;

use proptest::prelude::*;

use super::*;
use dense::Chosen;
use random_weights::{Random, Shape, Tensors, random_tensors, to_bytes};

const SMALL: Shape = Shape { width: 8, heads: 2, layers: 2, feed_forward: 12, agents: 3, mean_weight: 0.0 };

fn weights(shape: Shape, seed: u64) -> Weights {
    let bytes = to_bytes(&random_tensors(shape, seed), &[("heads", &shape.heads.to_string())]);
    Weights::from_bytes(&bytes, Path::new("random.safetensors")).unwrap()
}

fn network(shape: Shape, max_rows: usize) -> NFormer {
    NFormer::new(weights(shape, 7), max_rows).unwrap()
}

/// Rows of eighths: all scalar products are exact in `f32`, so both implementations see the same ties, and there are
/// many of them. No row is zero.
fn grid_rows(count: usize, width: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed);
    let mut rows: Vec<f32> = (0..count * width).map(|_| (random.value() * 4.0).round() / 8.0).collect();
    for row in rows.chunks_mut(width) {
        row[0] = 0.625;
    }
    rows
}

/// Every second row is a copy of the one before it.
fn double_rows(rows: &mut [f32], width: usize) {
    for pair in rows.chunks_exact_mut(2 * width) {
        let (first, second) = pair.split_at_mut(width);
        second.copy_from_slice(first);
    }
}

fn largest_difference(found: &[f32], expected: &[Vec<f64>]) -> f64 {
    assert_eq!(found.len(), expected.iter().map(Vec::len).sum::<usize>());
    found.iter().zip(expected.iter().flatten()).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max)
}

#[derive(Clone, Debug)]
struct Case {
    shape: Shape,
    rows: usize,
    k: usize,
    landmarks: usize,
    doubled: bool,
    seed: u64,
}

fn case() -> impl Strategy<Value = Case> {
    let sizes = (1..=4_usize, 1..=9_usize, 1..=3_usize, 1..=40_usize, 1..=7_usize);
    let rest = (prop_oneof![Just(0.0_f32), 0.1_f32..2.0], 0..=24_usize, 1..=30_usize, any::<bool>(), any::<u64>());
    (sizes, rest).prop_map(
        |((heads, head_width, layers, feed_forward, agents), (mean_weight, rows, k, doubled, seed))| Case {
            shape: Shape { width: heads * head_width, heads, layers, feed_forward, agents, mean_weight },
            rows,
            k,
            landmarks: agents,
            doubled,
            seed,
        },
    )
}

/// The same weights, each a rounding of `f32` away.
fn shaken(tensors: &Tensors, seed: u64) -> Tensors {
    let mut random = Random::new(seed);
    let mut shaken = tensors.clone();
    for value in shaken.values_mut().flat_map(|(_, values)| values) {
        *value *= 1.0 + f32::EPSILON * random.value().signum();
    }
    shaken
}

/// The largest difference to the formulas anywhere: layers, output and final rows. Nothing where the formulas
/// themselves move too much with the last bit of their weights (a layer norm of nearly equal values, say): no
/// implementation in `f32` can be held to them there.
fn compare(case: &Case, given: bool) -> Option<f64> {
    let shape = if given { Shape { agents: 0, ..case.shape } } else { case.shape };
    let tensors = random_tensors(shape, case.seed);
    let bytes = to_bytes(&tensors, &[("heads", &shape.heads.to_string())]);
    let weights = Weights::from_bytes(&bytes, Path::new("random.safetensors")).unwrap();
    let mut rows = grid_rows(case.rows, shape.width, case.seed);
    if case.doubled {
        double_rows(&mut rows, shape.width);
    }
    // The first l rows of a random order; those beyond the number of rows do not count.
    let chosen: Vec<Vec<usize>> = (0..shape.layers)
        .map(|layer| {
            let turn = (case.seed >> (8 * layer)) as usize % case.rows.max(1);
            (0..case.landmarks.min(case.rows)).map(|at| (at + turn) % case.rows).collect()
        })
        .collect();
    let indices: Vec<u32> = chosen
        .iter()
        .flat_map(|layer| (0..case.landmarks).map(|at| layer.get(at).map_or(u32::MAX, |row| *row as u32)))
        .collect();
    let (landmarks, reference) =
        if given { (Landmarks::Rows(&indices), Chosen::Rows(&chosen)) } else { (Landmarks::Agents, Chosen::Agents) };
    let expected = dense::forward(&tensors, shape, &rows, case.k, &reference);
    let moved = dense::forward(&shaken(&tensors, case.seed), shape, &rows, case.k, &reference);
    if expected.largest_difference(&moved) > 5e-6 {
        return None;
    }

    let mut worst = 0.0_f64;
    let mut nformer = NFormer::new(weights, case.rows + 2).unwrap();
    let fused = nformer
        .forward_observed(&rows, case.k, landmarks, |layer, found| {
            worst = worst.max(largest_difference(found, &expected.layers[layer]));
        })
        .unwrap();
    worst = worst.max(largest_difference(fused.rows(), &expected.output));
    let mut last = vec![0.0; shape.width];
    for row in 0..case.rows {
        let mutual = (0..case.rows as u32).filter(|other| expected.mutual[row][*other as usize]);
        let mut found = fused.neighbors(row).to_vec();
        found.sort_unstable();
        assert_eq!(found, mutual.collect::<Vec<_>>(), "neighbours of row {row}");
        let last = fused.final_row(row, &mut last).unwrap();
        worst = worst.max(largest_difference(last.as_slice(), std::slice::from_ref(&expected.last[row])));
    }
    Some(worst)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Tolerance: values are of order 1, three layers of f32.
    #[test]
    fn given_rows_equal_the_dense_formulas(case in case()) {
        let difference = compare(&case, true);
        prop_assume!(difference.is_some());
        prop_assert!(difference < Some(1e-4), "{difference:?}");
    }

    /// The formulas do not fold the agents into the projections: this proves that folding is exact.
    #[test]
    fn folded_agents_equal_the_dense_formulas(case in case()) {
        let difference = compare(&case, false);
        prop_assume!(difference.is_some());
        prop_assert!(difference < Some(1e-4), "{difference:?}");
    }
}

#[test]
fn no_row_one_row_and_a_used_network() {
    let mut nformer = network(SMALL, 6);
    let many = grid_rows(6, 8, 1);
    let one = grid_rows(1, 8, 2);
    let fresh = network(SMALL, 6).forward(&one, 5, Landmarks::Agents).unwrap().rows().to_vec();
    nformer.forward(&many, 5, Landmarks::Agents).unwrap();
    assert_eq!(nformer.forward(&one, 5, Landmarks::Agents).unwrap().rows(), fresh);

    let none = nformer.forward(&[], 5, Landmarks::Agents).unwrap();
    assert!(none.is_empty() && none.row(0).is_none() && none.neighbors(0).is_empty());
    let mut given = NFormer::new(weights(SMALL, 7).without_agents(), 0).unwrap();
    assert!(given.forward(&[], 1, Landmarks::Rows(&[0, 0])).unwrap().is_empty());
}

/// An intermittent difference between two passes would be found here.
#[test]
fn the_same_rows_give_the_same_bits() {
    let rows = grid_rows(40, 8, 3);
    let first = network(SMALL, 64).forward(&rows, 9, Landmarks::Agents).unwrap().rows().to_vec();
    assert_eq!(network(SMALL, 40).forward(&rows, 9, Landmarks::Agents).unwrap().rows(), first);
}

#[test]
fn bad_rows_are_refused_with_their_index() {
    let mut nformer = network(SMALL, 3);
    for (value, fault) in [(f32::NAN, "not finite"), (f32::INFINITY, "not finite"), (0.0, "all zero")] {
        let mut rows = grid_rows(3, 8, 4);
        rows[8..16].fill(value);
        let message = nformer.forward(&rows, 2, Landmarks::Agents).unwrap_err().to_string();
        assert!(message.contains(&format!("row 1 is {fault}")), "{message}");
    }
    assert!(matches!(nformer.forward(&[1.0; 9], 2, Landmarks::Agents), Err(Error::FusionInput { .. })));
    assert!(matches!(nformer.forward(&[1.0; 32], 2, Landmarks::Agents), Err(Error::TooLarge { found: 4, max: 3, .. })));
    // A refused pass leaves nothing behind that the next one sees.
    assert!(nformer.forward(&grid_rows(3, 8, 4), 2, Landmarks::Agents).is_ok());
}

#[test]
fn impossible_sizes_are_refused() {
    let rows = grid_rows(MAX_TOP_K + 2, 8, 5);
    let mut nformer = network(SMALL, MAX_TOP_K + 2);
    assert!(matches!(nformer.forward(&rows, 0, Landmarks::Agents), Err(Error::FusionInput { .. })));
    let refused = nformer.forward(&rows, MAX_TOP_K + 1, Landmarks::Agents);
    assert!(matches!(refused, Err(Error::TooLarge { constant: "MAX_TOP_K", .. })));
    assert!(nformer.forward(&rows[..8 * MAX_TOP_K], usize::MAX, Landmarks::Agents).is_ok());
    assert!(matches!(NFormer::new(weights(SMALL, 7), usize::MAX), Err(Error::FusionInput { .. })));
}

#[test]
fn landmarks_that_do_not_fit_are_refused() {
    let rows = grid_rows(4, 8, 6);
    let mut folded = network(SMALL, 4);
    assert!(matches!(folded.forward(&rows, 2, Landmarks::Rows(&[0, 1])), Err(Error::FusionInput { .. })));

    let mut given = NFormer::new(weights(SMALL, 7).without_agents(), 100).unwrap();
    assert!(!given.has_agents());
    assert!(matches!(given.forward(&rows, 2, Landmarks::Agents), Err(Error::FusionInput { .. })));
    for bad in [&[][..], &[0], &[0, 1, 2], &[0, 4], &[u32::MAX, 0]] {
        assert!(matches!(given.forward(&rows, 2, Landmarks::Rows(bad)), Err(Error::FusionInput { .. })), "{bad:?}");
    }
    let many: Vec<u32> = (0..2 * (MAX_LANDMARKS as u32 + 1)).map(|at| at % 4).collect();
    assert!(given.forward(&rows, 2, Landmarks::Rows(&many)).is_ok(), "only as many as there are rows count");
    let rows = grid_rows(100, 8, 6);
    let refused = given.forward(&rows, 2, Landmarks::Rows(&many));
    assert!(matches!(refused, Err(Error::TooLarge { constant: "MAX_LANDMARKS", .. })));
}

#[test]
fn a_final_row_needs_a_row_and_room() {
    let mut nformer = network(Shape { mean_weight: 0.5, ..SMALL }, 2);
    let rows = grid_rows(2, 8, 8);
    let fused = nformer.forward(&rows, 2, Landmarks::Agents).unwrap();
    let mut out = [0.0; 9];
    assert!(matches!(fused.final_row(2, &mut out[..8]), Err(Error::FusionInput { .. })));
    assert!(matches!(fused.final_row(1, &mut out), Err(Error::EmbeddingWidth { expected: 8, found: 9, .. })));
    assert!(fused.final_row(1, &mut out[..8]).is_ok());
}

/// Finite weights can still overflow: the result is refused, and nothing panics on the way.
#[test]
fn weights_that_overflow_give_a_refused_row() {
    let mut tensors = random_tensors(SMALL, 9);
    for (_, values) in tensors.values_mut() {
        for value in values {
            *value *= 1e17;
        }
    }
    for name in ["bn.running_var", "bn.weight"] {
        tensors.get_mut(name).unwrap().1.fill(1.0);
    }
    let bytes = to_bytes(&tensors, &[("heads", "2")]);
    let weights = Weights::from_bytes(&bytes, Path::new("huge.safetensors")).unwrap();
    let rows = grid_rows(5, 8, 10);
    let mut out = [0.0; 8];
    let mut nformer = NFormer::new(weights, 5).unwrap();
    let fused = nformer.forward(&rows, 3, Landmarks::Agents).unwrap();
    assert!(matches!(fused.final_row(0, &mut out), Err(Error::BadEmbedding { found: "not finite" })));
}

#[test]
fn folding_saves_memory_and_bytes_are_counted() {
    let shape = Shape { width: 64, heads: 2, layers: 1, feed_forward: 256, agents: 4, mean_weight: 0.0 };
    let folded = NFormer::new(weights(shape, 1), 32).unwrap().bytes();
    let given = NFormer::new(weights(shape, 1).without_agents(), 32).unwrap().bytes();
    let floats = |dense: &[(usize, usize)]| dense.iter().map(|(out, inputs)| out * (inputs + 1)).sum::<usize>() * 4;
    // V and output projection in one, of both heads.
    let same = [(64, 2 * 64), (256, 64), (64, 256)];
    assert_eq!(folded.weights, floats(&same) + floats(&[(16, 64)]) + 6 * 64 * 4);
    assert_eq!(given.weights, floats(&same) + floats(&[(128, 64)]) + 6 * 64 * 4);
    assert!(folded.scratch < given.scratch);
}
