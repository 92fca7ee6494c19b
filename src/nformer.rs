//! Rows -> fused embeddings: every row looks at its reciprocal neighbours and is told by them.
//!
//! Source: Wang et al., "`NFormer`: Robust Person Re-identification with Neighbor Transformer", CVPR 2022
//! (arXiv 2204.09331). Where paper and reference implementation differ, the implementation is followed.
//!
//! Input `X [rows, D]`, one embedding a row. Then, with H heads of width `d = D / H`:
//!
//! 1. *Reciprocal neighbours*, once: `R(i)` are the rows j that are among the k most similar of i and have i among
//!    their own.
//! 2. In each layer *landmark agent attention* gives an affinity to each pair of R, softmax over `R(i)` turns them into
//!    weights, and the weighted values go through projection, layer norms and a feed-forward part with GELU.
//! 3. Batch norm of each row.
//!
//! Landmarks are either fixed *agents* from the weights file, the same for every buffer, or *rows* of the input named
//! by the caller, as in the reference. Nothing here is random, and nothing is allocated after [`NFormer::new`].
//!
//! [`NFormer`] fuses all rows anew; [`Online`] keeps what it knows of each row and computes only what a new row changed,
//! with the same result.

mod fold;
mod fuse;
mod fused;
mod landmark_attention;
mod layer;
mod online;
mod reciprocal;
mod settings;
mod tensors;
#[cfg(test)]
pub(crate) mod tests;
mod weights;

use crate::error::{Error, Result};
use crate::kernels::BatchNorm;
use crate::size::{MAX_LANDMARKS, MAX_TOP_K};

pub use fuse::{FuseSummary, fuse};
pub use fused::Fused;
pub use online::{Online, Recomputed};
pub use settings::{NFormerSettings, Precision};
pub use weights::Weights;

use landmark_attention::{LandmarkAttention, Projected};
use layer::{BLOCK, Block, Layer};
use reciprocal::ReciprocalNeighbors;

/// Most rows of one pass: keeps every size below an overflow, also where addresses have 32 bits.
const MAX_ROWS: usize = 1 << 15;

/// Which landmarks the attention of each layer goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landmarks<'a> {
    /// The fixed agents of the weights file.
    Agents,
    /// Indices of input rows, `[layers, l]`, row after row: the reference's way. Where the input has fewer rows than
    /// l, only the first `rows` of each layer are used.
    Rows(&'a [u32]),
}

/// Memory of a network in bytes; it does not change after [`NFormer::new`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes {
    /// The packed weights.
    pub weights: usize,
    /// Everything else.
    pub scratch: usize,
}

/// The fusion network with all its memory.
#[derive(Clone, Debug)]
pub struct NFormer {
    width: usize,
    max_rows: usize,
    top_k: Option<usize>,
    mean_weight: f32,
    has_agents: bool,
    layers: Vec<Layer>,
    batch_norm: BatchNorm,

    neighbors: ReciprocalNeighbors,
    /// Input and output of a layer, `[rows, D]` each; the first layer's input is lent.
    x: Vec<f32>,
    next: Vec<f32>,
    projected: Projected,
    block: Block,
}

impl NFormer {
    /// Packs the weights and takes the memory for inputs of up to `max_rows` rows.
    ///
    /// Agents are folded into the projections here, and the Q and K projections themselves are dropped. Landmarks
    /// given as rows need those: build the network from [`Weights::without_agents`] for that.
    ///
    /// # Errors
    /// [`Error::FusionInput`] if `max_rows` is above 32768.
    pub fn new(weights: Weights, max_rows: usize) -> Result<Self> {
        if max_rows > MAX_ROWS {
            return Err(refused(format!("room for at most {MAX_ROWS} rows"), format!("{max_rows}")));
        }
        let has_agents = weights.has_agents();
        let Weights { width, heads, top_k, norm_eps, mean_weight, layers, batch_norm } = weights;
        let layers: Vec<Layer> = layers.into_iter().map(|layer| Layer::new(layer, heads, norm_eps)).collect();
        let neighbors = ReciprocalNeighbors::new(max_rows);
        let attentions: Vec<&LandmarkAttention> = layers.iter().map(|layer| &layer.attention).collect();
        Ok(Self {
            width,
            max_rows,
            top_k,
            mean_weight,
            has_agents,
            batch_norm,
            x: vec![0.0; max_rows * width],
            next: vec![0.0; max_rows * width],
            projected: Projected::new(&attentions, max_rows),
            block: Block::new(&layers, max_rows, neighbors.places()),
            neighbors,
            layers,
        })
    }

    /// Width D of the embeddings.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of layers.
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Most rows of one pass.
    pub fn max_rows(&self) -> usize {
        self.max_rows
    }

    /// Neighbours k that the network was trained with, if its file says so.
    pub fn top_k(&self) -> Option<usize> {
        self.top_k
    }

    /// Whether the landmarks are fixed agents ([`Landmarks::Agents`]) or have to be given ([`Landmarks::Rows`]).
    pub fn has_agents(&self) -> bool {
        self.has_agents
    }

    /// Memory in use, from start to end.
    pub fn bytes(&self) -> Bytes {
        let rows = [&self.x, &self.next].map(|floats| size_of_val(floats.as_slice())).iter().sum::<usize>();
        Bytes {
            weights: self.layers.iter().map(Layer::bytes).sum::<usize>() + self.batch_norm.bytes(),
            scratch: rows + self.neighbors.bytes() + self.projected.bytes() + self.block.bytes(),
        }
    }

    /// Fuses `rows [n, D]` with `top_k` neighbours each (all rows where there are fewer than that).
    ///
    /// No rows give an empty result. Nothing is allocated.
    ///
    /// # Errors
    /// [`Error::FusionInput`] for rows that are not whole, a row that is zero or not finite (with its index), `top_k`
    /// of zero, landmarks of the other kind than the network was built for, or landmark indices that do not fit;
    /// [`Error::TooLarge`] for more rows, neighbours or landmarks than there is room for.
    pub fn forward<'a>(&'a mut self, rows: &'a [f32], top_k: usize, landmarks: Landmarks<'_>) -> Result<Fused<'a>> {
        self.forward_observed(rows, top_k, landmarks, |_, _| {})
    }

    /// [`NFormer::forward`] that shows the output of each layer, `[n, D]`, to `observe` on the way.
    ///
    /// # Errors
    /// As [`NFormer::forward`].
    pub fn forward_observed<'a>(
        &'a mut self,
        rows: &'a [f32],
        top_k: usize,
        landmarks: Landmarks<'_>,
        mut observe: impl FnMut(usize, &[f32]),
    ) -> Result<Fused<'a>> {
        let count = self.check_rows(rows)?;
        let k = self.check_top_k(top_k, count)?;
        let landmarks = self.check_landmarks(landmarks, count)?;

        self.neighbors.find(rows, self.width, k);
        for (number, layer) in self.layers.iter().enumerate() {
            let input = if number == 0 { rows } else { &self.x[..rows.len()] };
            layer.attention.project(input, landmarks.of_layer(number), &mut self.projected);
            for first in (0..count).step_by(BLOCK) {
                let block = first as u32..count.min(first + BLOCK) as u32;
                let output = layer.pass(input, block, |row| self.neighbors.of(row), &self.projected, &mut self.block);
                self.next[first * self.width..][..output.len()].copy_from_slice(output);
            }
            std::mem::swap(&mut self.x, &mut self.next);
            observe(number, &self.x[..rows.len()]);
        }
        let x = &mut self.x[..rows.len()];
        for row in x.chunks_exact_mut(self.width) {
            self.batch_norm.apply(row);
        }
        Ok(Fused {
            width: self.width,
            mean_weight: self.mean_weight,
            input: rows,
            output: x,
            neighbors: &self.neighbors,
        })
    }

    /// Number of rows, all of them usable.
    fn check_rows(&self, rows: &[f32]) -> Result<usize> {
        if !rows.len().is_multiple_of(self.width) {
            return Err(refused(format!("rows of {} floats", self.width), format!("{} floats in all", rows.len())));
        }
        let count = rows.len() / self.width;
        if count > self.max_rows {
            let what = "rows of one fusion pass";
            return Err(Error::TooLarge { what, found: count, max: self.max_rows, constant: "NEIGHBORS" });
        }
        for (index, row) in rows.chunks_exact(self.width).enumerate() {
            check_row(index, row)?;
        }
        Ok(count)
    }

    /// Neighbours per row: k > n means k = n.
    fn check_top_k(&self, top_k: usize, count: usize) -> Result<usize> {
        if top_k == 0 {
            return Err(refused("top_k from 1".into(), "0".into()));
        }
        let k = top_k.min(count);
        if k > self.neighbors.places() {
            return Err(Error::TooLarge {
                what: "neighbours (top_k)",
                found: k,
                max: MAX_TOP_K,
                constant: "MAX_TOP_K",
            });
        }
        Ok(k)
    }

    /// Landmarks of the kind that this network was built for, within `count` rows: fewer rows than landmarks means
    /// that l is the number of rows.
    fn check_landmarks<'a>(&self, landmarks: Landmarks<'a>, count: usize) -> Result<PerLayer<'a>> {
        let rows = match (landmarks, self.has_agents) {
            (Landmarks::Agents, true) => return Ok(PerLayer { rows: &[], stride: 0, used: 0 }),
            (Landmarks::Agents, false) => {
                let found = "weights without `agents`, and no landmark rows";
                return Err(refused("fixed landmarks in the weights, or landmark rows".into(), found.into()));
            }
            (Landmarks::Rows(_), true) => {
                let found = "a network whose fixed landmarks are folded in";
                return Err(refused("a network built from weights without agents".into(), found.into()));
            }
            (Landmarks::Rows(rows), false) => rows,
        };
        let layers = self.layers.len();
        let stride = rows.len() / layers;
        if stride == 0 || !rows.len().is_multiple_of(layers) {
            let found = format!("{} indices", rows.len());
            return Err(refused(format!("as many landmark rows for each of {layers} layers, at least one"), found));
        }
        let used = stride.min(count);
        if used > MAX_LANDMARKS {
            let what = "landmarks";
            return Err(Error::TooLarge { what, found: used, max: MAX_LANDMARKS, constant: "MAX_LANDMARKS" });
        }
        let landmarks = PerLayer { rows, stride, used };
        match (0..layers).flat_map(|layer| landmarks.of_layer(layer)).find(|index| **index as usize >= count) {
            Some(index) => Err(refused(format!("landmark rows below {count}"), format!("index {index}"))),
            None => Ok(landmarks),
        }
    }
}

/// Refuses a row that is no direction.
fn check_row(index: usize, row: &[f32]) -> Result<()> {
    let fault = if row.iter().any(|value| !value.is_finite()) {
        "not finite"
    } else if row.iter().all(|value| *value == 0.0) {
        "all zero"
    } else {
        return Ok(());
    };
    Err(refused("embeddings that are finite and not zero".into(), format!("row {index} is {fault}")))
}

/// Landmark rows by layer.
struct PerLayer<'a> {
    rows: &'a [u32],
    stride: usize,
    used: usize,
}

impl<'a> PerLayer<'a> {
    fn of_layer(&self, layer: usize) -> &'a [u32] {
        &self.rows[layer * self.stride..][..self.used]
    }
}

fn refused(expected: String, found: String) -> Error {
    Error::FusionInput { expected, found }
}
