//! The fusion network over a split, in one pool or online, and what that costs.

use super::arrivals::Arrivals;
use super::rows::Rows;
use crate::error::Result;
use crate::nformer::{Landmarks, NFormer, Online, Weights};

/// Fused rows, and the price of one.
#[derive(Clone, Debug)]
pub struct FusedRows {
    /// In the order of the input.
    pub rows: Rows,
    /// Multiply-adds a crop: of the linear maps, the similarities to all rows held, and the attention.
    pub multiply_adds: f64,
    /// Bytes of weights, rows and scratch.
    pub bytes: usize,
}

/// Every row fused with all others at hand, as in the paper.
///
/// # Errors
/// As [`NFormer::new`] and [`NFormer::forward`].
pub fn fuse_pool(weights: &Weights, top_k: usize, rows: &Rows) -> Result<FusedRows> {
    let cost = RowCost::new(weights, top_k);
    let mut network = NFormer::new(weights.clone(), rows.len())?;
    let fused = network.forward(rows.as_slice(), top_k, Landmarks::Agents)?;
    let mut finals = vec![0.0; rows.as_slice().len()];
    for (index, row) in finals.chunks_exact_mut(rows.width()).enumerate() {
        fused.final_row(index, row)?;
    }
    let bytes = network.bytes();
    Ok(FusedRows {
        rows: Rows::normalised(rows.width(), finals)?,
        multiply_adds: cost.similarity(rows.len()) + weights.layers() as f64 * (cost.project + cost.pass),
        bytes: bytes.weights + bytes.scratch + size_of_val(rows.as_slice()),
    })
}

/// Each row fused once, when it comes into the buffer.
///
/// [`Online`] takes its room when it is made, so the capacity is not bound to the sizes of this build.
///
/// # Errors
/// As [`Online::new`] and [`Online::fused`].
pub fn fuse_online(weights: &Weights, top_k: usize, arrivals: &Arrivals) -> Result<FusedRows> {
    let Arrivals { capacity, ref rows, ref slots, .. } = *arrivals;
    let cost = RowCost::new(weights, top_k);
    let mut network = Online::new(weights.clone(), capacity, top_k)?;
    let mut finals = Rows::with_capacity(rows.width(), rows.len());
    let mut buffer = Vec::with_capacity(capacity.min(rows.len()) * rows.width());
    for (index, &slot) in slots.iter().enumerate() {
        let start = slot * rows.width();
        if start == buffer.len() {
            buffer.extend_from_slice(rows.row(index));
        } else {
            buffer[start..][..rows.width()].copy_from_slice(rows.row(index));
        }
        network.replace(slot, &buffer)?;
        finals.push(network.fused(&buffer, slot)?)?;
    }
    let computed: Vec<f64> = network.recomputed().iter().map(|layer| layer.total as f64).collect();
    // A layer projects the rows that came in, or that the layer before computed anew.
    let projected = rows.len() as f64 + computed.iter().rev().skip(1).sum::<f64>();
    let passed = computed.iter().sum::<f64>();
    let bytes = network.bytes();
    Ok(FusedRows {
        rows: finals,
        multiply_adds: cost.similarity(capacity)
            + (projected * cost.project + passed * cost.pass) / rows.len().max(1) as f64,
        bytes: bytes.weights + bytes.scratch + size_of_val(buffer.as_slice()),
    })
}

/// Multiply-adds of one row in one layer.
struct RowCost {
    width: f64,
    /// The folded agents.
    project: f64,
    /// Attention over k neighbours, the projection with V in it, and the feed-forward part.
    pass: f64,
}

impl RowCost {
    fn new(weights: &Weights, top_k: usize) -> Self {
        let [width, hidden, heads, landmarks, k] =
            [weights.width(), weights.feed_forward(), weights.heads(), weights.landmarks(), top_k]
                .map(|size| size as f64);
        let (affinities, joined) = (heads * landmarks, heads * width);
        Self {
            width,
            project: width * 2.0 * affinities,
            pass: k * (affinities + joined) + width * (joined + 2.0 * hidden),
        }
    }

    /// Of a row to `rows` others.
    fn similarity(&self, rows: usize) -> f64 {
        self.width * rows as f64
    }
}

#[cfg(test)]
mod tests {
    use super::super::arrivals::tests::{made, standing};
    use super::super::random::Random;
    use super::super::untrained::weights;
    use super::*;
    use crate::neighbors::RowKind;

    fn rows(count: usize) -> Rows {
        let mut random = Random::new(5);
        Rows::normalised(16, (0..count * 16).map(|_| random.normal() as f32).collect()).unwrap()
    }

    /// Each row one of its own, in a buffer of the last ten.
    fn last_ten() -> Arrivals {
        Arrivals {
            kind: RowKind::Embedding,
            capacity: 10,
            slots: (0..30).map(|row| row % 10).collect(),
            rows: rows(30),
        }
    }

    #[test]
    fn online_is_the_last_row_of_a_pool_of_the_last_rows() {
        let (weights, rows) = (weights(16, 2, 2, 24, 3, 1).unwrap(), rows(30));
        let online = fuse_online(&weights, 4, &last_ten()).unwrap();
        for last in [0, 4, 9, 10, 29] {
            let mut window = Rows::with_capacity(16, 10);
            ((last + 1_usize).saturating_sub(10)..=last).for_each(|row| window.push(rows.row(row)).unwrap());
            let pool = fuse_pool(&weights, 4, &window).unwrap();
            for (found, expected) in online.rows.row(last).iter().zip(pool.rows.row(window.len() - 1)) {
                // Only the order of slots differs, and with it the order of sums.
                assert!((found - expected).abs() < 1e-5, "row {last}");
            }
        }
    }

    #[test]
    fn with_a_row_a_track_it_is_that_of_a_pool_of_the_latest_row_of_each() {
        let (weights, (arrivals, tracks)) = (weights(16, 2, 2, 24, 3, 1).unwrap(), made(60, 16, 6));
        let online = fuse_online(&weights, 3, &arrivals).unwrap();
        for last in 0..60 {
            let mut window = Rows::with_capacity(16, 6);
            let standing = standing(&tracks, last, 6);
            for row in &standing {
                window.push(arrivals.rows.row(*row)).unwrap();
            }
            let pool = fuse_pool(&weights, 3, &window).unwrap();
            for (found, expected) in online.rows.row(last).iter().zip(pool.rows.row(standing.len() - 1)) {
                // Only the order of slots differs, and with it the order of sums.
                assert!((found - expected).abs() < 1e-5, "row {last}");
            }
        }
    }

    #[test]
    fn one_layer_costs_what_its_formula_says() {
        let weights = weights(16, 2, 1, 24, 3, 1).unwrap();
        let expected = 16.0 * 12.0 + 4.0 * (6.0 + 32.0) + 16.0 * (32.0 + 48.0);
        let online = fuse_online(&weights, 4, &last_ten()).unwrap();
        assert!((online.multiply_adds - expected - 160.0).abs() < 1e-6, "{}", online.multiply_adds);
        let pool = fuse_pool(&weights, 4, &rows(30)).unwrap();
        assert!((pool.multiply_adds - expected - 480.0).abs() < 1e-6, "{}", pool.multiply_adds);
        assert!(online.bytes > 0 && pool.bytes > online.bytes / 10);
    }
}
