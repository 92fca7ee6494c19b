//! One layer: attention, then what is local to each row.

use super::landmark_attention::LandmarkAttention;
use super::weights::{LayerWeights, Norm};
use crate::kernels::{Linear, add_scaled, gelu, layer_norm};

/// Rows taken through the feed-forward part at once: enough to use each weight often, few enough to keep the hidden
/// values in the cache.
pub(super) const BLOCK: usize = 64;

/// One layer of the network.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) attention: LandmarkAttention,
    out: Linear,
    ffn1: Linear,
    ffn2: Linear,
    norm1: Norm,
    norm2: Norm,
    eps: f32,
}

/// Scratch of [`Layer::finish`] for one block of rows.
#[derive(Clone, Debug)]
pub(super) struct Block {
    /// `[BLOCK, F]`.
    hidden: Vec<f32>,
    /// `[BLOCK, D]`.
    change: Vec<f32>,
}

impl Layer {
    pub(super) fn new(weights: LayerWeights, heads: usize, eps: f32) -> Self {
        Self {
            attention: LandmarkAttention::new(&weights, heads),
            out: weights.out.pack(),
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

    /// From the layer's input `x [rows, D]` and its attention `z [rows, D]` to its output, in place of `x`:
    /// `n = LayerNorm1(x + z Wo + bo)`, `LayerNorm2(n + gelu(n W1 + b1) W2 + b2)`. Rows do not see each other here.
    pub(super) fn finish(&self, x: &mut [f32], z: &[f32], block: &mut Block) {
        let width = self.out.outputs();
        for (x, z) in x.chunks_mut(BLOCK * width).zip(z.chunks(BLOCK * width)) {
            let change = &mut block.change[..x.len()];
            let hidden = &mut block.hidden[..x.len() / width * self.ffn1.outputs()];
            self.out.apply(z, change);
            self.add_and_normalise(x, change, &self.norm1);
            self.ffn1.apply(x, hidden);
            gelu(hidden);
            self.ffn2.apply(hidden, change);
            self.add_and_normalise(x, change, &self.norm2);
        }
    }

    fn add_and_normalise(&self, x: &mut [f32], change: &[f32], norm: &Norm) {
        add_scaled(x, 1.0, change);
        for row in x.chunks_exact_mut(norm.weight.len()) {
            layer_norm(row, &norm.weight, &norm.bias, self.eps);
        }
    }
}

impl Block {
    /// Room for one block of any of `layers`, and for no more than `max_rows` rows.
    pub(super) fn new(layers: &[Layer], max_rows: usize) -> Self {
        let rows = max_rows.min(BLOCK);
        let most = |size: fn(&Layer) -> usize| layers.iter().map(size).max().unwrap_or(0);
        Self {
            hidden: vec![0.0; rows * most(|layer| layer.ffn1.outputs())],
            change: vec![0.0; rows * most(|layer| layer.out.outputs())],
        }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.hidden.as_slice()) + size_of_val(self.change.as_slice())
    }
}
