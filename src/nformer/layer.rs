//! One layer: attention, then what is local to each row.

use super::fold::fold_values;
use super::landmark_attention::{LandmarkAttention, Projected, gather};
use super::weights::{LayerWeights, Norm};
use crate::kernels::{Linear, add_scaled, gelu, layer_norm};

/// Rows taken through a layer at once: enough to use each weight often, few enough to keep the hidden values in the cache.
pub(super) const BLOCK: usize = 64;

/// One layer of the network.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) attention: LandmarkAttention,
    /// V and output projection in one.
    out: Linear,
    ffn1: Linear,
    ffn2: Linear,
    norm1: Norm,
    norm2: Norm,
    eps: f32,
}

/// Scratch of [`Layer::pass`] for one block of rows.
#[derive(Clone, Debug)]
pub(super) struct Block {
    /// The rows on their way, `[BLOCK, D]`.
    x: Vec<f32>,
    /// Affinities, or attention and then hidden values: `[BLOCK, max(2 H l, H D, F)]`.
    wide: Vec<f32>,
    /// `[BLOCK, D]`.
    change: Vec<f32>,
    /// Scores of one row's neighbours.
    scores: Vec<f32>,
}

impl Layer {
    pub(super) fn new(weights: LayerWeights, heads: usize, eps: f32) -> Self {
        Self {
            attention: LandmarkAttention::new(&weights, heads),
            out: fold_values(&weights.qkv, &weights.out, heads).pack(),
            ffn1: weights.ffn1.pack(),
            ffn2: weights.ffn2.pack(),
            norm1: weights.norm1,
            norm2: weights.norm2,
            eps,
        }
    }

    /// Bytes of the weights.
    pub(super) fn bytes(&self) -> usize {
        let linears = [&self.out, &self.ffn1, &self.ffn2].map(Linear::bytes).iter().sum::<usize>();
        self.attention.bytes() + linears + self.norm1.bytes() + self.norm2.bytes()
    }

    /// With fixed agents: projects the rows `rows` (a block at most) of the layer's `input [_, D]` anew.
    pub(super) fn project(&self, input: &[f32], rows: &[u32], projected: &mut Projected, block: &mut Block) {
        let x = &mut block.x[..rows.len() * self.out.outputs()];
        gather(input, rows, x);
        self.attention.project_some(x, rows, &mut block.wide, projected);
    }

    /// The layer's output for some `rows` (a block at most) of its `input [_, D]`, `[n, D]`, lent until the next call.
    pub(super) fn pass<'b, 'n>(
        &self,
        input: &[f32],
        rows: impl ExactSizeIterator<Item = u32>,
        neighbors: impl Fn(u32) -> &'n [u32],
        projected: &Projected,
        block: &'b mut Block,
    ) -> &'b mut [f32] {
        let (width, attended, count) = (self.out.outputs(), self.attention.attended(), rows.len());
        let x = &mut block.x[..count * width];
        let z = &mut block.wide[..count * attended];
        for ((row, x), z) in rows.zip(x.chunks_exact_mut(width)).zip(z.chunks_exact_mut(attended)) {
            x.copy_from_slice(&input[row as usize * width..][..width]);
            self.attention.attend(row as usize, neighbors(row), input, projected, &mut block.scores, z);
        }
        let change = &mut block.change[..count * width];
        self.out.apply(z, change);
        self.add_and_normalise(x, change, &self.norm1);
        let hidden = &mut block.wide[..count * self.ffn1.outputs()];
        self.ffn1.apply(x, hidden);
        gelu(hidden);
        self.ffn2.apply(hidden, change);
        self.add_and_normalise(x, change, &self.norm2);
        x
    }

    fn add_and_normalise(&self, x: &mut [f32], change: &[f32], norm: &Norm) {
        add_scaled(x, 1.0, change);
        layer_norm(x, &norm.weight, &norm.bias, self.eps);
    }
}

impl Block {
    /// Room for one block of any of `layers` with up to `places` neighbours a row, and for no more than `max_rows` rows.
    pub(super) fn new(layers: &[Layer], max_rows: usize, places: usize) -> Self {
        let rows = max_rows.min(BLOCK);
        let most = |size: fn(&Layer) -> usize| rows * layers.iter().map(size).max().unwrap_or(0);
        let width = most(|layer| layer.out.outputs());
        Self {
            x: vec![0.0; width],
            wide: vec![0.0; most(|layer| layer.attention.widest().max(layer.ffn1.outputs()))],
            change: vec![0.0; width],
            scores: vec![0.0; places],
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let floats = [&self.x, &self.wide, &self.change, &self.scores];
        floats.map(|part| size_of_val(part.as_slice())).iter().sum()
    }
}
