//! A fusion network that nobody trained: what the shape alone does.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView, serialize};

use super::random::Random;
use crate::error::{Error, Result};
use crate::nformer::Weights;

/// The control's seed.
pub(super) const SEED: u64 = 1;

/// Tensors under construction.
struct Tensors {
    random: Random,
    list: Vec<(String, Vec<usize>, Vec<f32>)>,
}

/// Seeded random weights of the shape of `like`, without a mean path.
///
/// # Errors
/// [`Error::ModelLoad`] if `like` is wider than a weights file can be.
pub fn untrained(like: &Weights, seed: u64) -> Result<Weights> {
    weights(like.width(), like.heads(), like.layers(), like.feed_forward(), like.landmarks().max(1), seed)
}

/// Random weights: linear maps as `torch.nn.Linear` begins (even within `1 / sqrt(inputs)`, biases too), norms that do nothing,
/// and as agents the projections of random directions.
pub(super) fn weights(
    width: usize,
    heads: usize,
    layers: usize,
    hidden: usize,
    landmarks: usize,
    seed: u64,
) -> Result<Weights> {
    let mut tensors = Tensors { random: Random::new(seed), list: Vec::new() };
    for layer in 0..layers {
        let name = |part: &str| format!("layers.{layer}.{part}");
        let qkv = tensors.linear(&name("qkv"), 3 * width, width);
        tensors.linear(&name("out"), width, width);
        tensors.linear(&name("ffn1"), hidden, width);
        tensors.linear(&name("ffn2"), width, hidden);
        for norm in ["norm1", "norm2"] {
            tensors.constant(&name(&format!("{norm}.weight")), width, 1.0);
            tensors.constant(&name(&format!("{norm}.bias")), width, 0.0);
        }
        tensors.agents(&name("agents"), &qkv, (width, heads, landmarks));
    }
    for (part, value) in [("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)] {
        tensors.constant(&format!("bn.{part}"), width, value);
    }
    tensors.finish(heads)
}

impl Tensors {
    fn put(&mut self, name: String, shape: Vec<usize>, values: Vec<f32>) {
        self.list.push((name, shape, values));
    }

    fn constant(&mut self, name: &str, width: usize, value: f32) {
        self.put(name.into(), vec![width], vec![value; width]);
    }

    /// Adds weight and bias, and gives the weight `[outputs, inputs]`.
    fn linear(&mut self, name: &str, outputs: usize, inputs: usize) -> Vec<f32> {
        let bound = 1.0 / (inputs as f64).sqrt();
        let mut draw = |count: usize| (0..count).map(|_| self.random.within(bound) as f32).collect::<Vec<_>>();
        let (weight, bias) = (draw(outputs * inputs), draw(outputs));
        self.put(format!("{name}.weight"), vec![outputs, inputs], weight.clone());
        self.put(format!("{name}.bias"), vec![outputs], bias);
        weight
    }

    /// Adds `k` and `q [H, l, d]`: random directions through the K and the Q part of `qkv [3 D, D]`.
    fn agents(&mut self, name: &str, qkv: &[f32], (width, heads, landmarks): (usize, usize, usize)) {
        let directions: Vec<Vec<f64>> = (0..landmarks)
            .map(|_| (0..width).map(|_| self.random.normal() / (width as f64).sqrt()).collect())
            .collect();
        let head_width = width / heads;
        for (part, first) in [("q", 0), ("k", width)] {
            let mut values = Vec::with_capacity(width * landmarks);
            for head in 0..heads {
                for direction in &directions {
                    let rows = qkv.chunks_exact(width).skip(first + head * head_width).take(head_width);
                    values.extend(rows.map(|row| {
                        row.iter().zip(direction).map(|(weight, value)| f64::from(*weight) * value).sum::<f64>() as f32
                    }));
                }
            }
            self.put(format!("{name}.{part}"), vec![heads, landmarks, head_width], values);
        }
    }

    /// Through the file format, so that the same checks hold as for weights that were trained.
    fn finish(self, heads: usize) -> Result<Weights> {
        let path = Path::new("untrained");
        let failed =
            |error: safetensors::SafeTensorError| Error::ModelLoad { path: path.into(), reason: error.to_string() };
        let bytes: Vec<Vec<u8>> = self
            .list
            .iter()
            .map(|(_, _, values)| values.iter().flat_map(|value| value.to_le_bytes()).collect())
            .collect();
        let mut views = Vec::with_capacity(bytes.len());
        for ((name, shape, _), bytes) in self.list.iter().zip(&bytes) {
            views.push((name, TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(failed)?));
        }
        let metadata = HashMap::from([("heads".to_owned(), heads.to_string())]);
        Weights::from_bytes(&serialize(views, Some(metadata)).map_err(failed)?, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_shape_asked_for_and_is_the_same_every_time() {
        let made = weights(32, 4, 2, 48, 3, 9).unwrap();
        assert_eq!((made.width(), made.heads(), made.layers()), (32, 4, 2));
        assert_eq!((made.feed_forward(), made.landmarks()), (48, 3));
        assert!(made.has_agents() && made.mean_weight() < f32::EPSILON);
        assert_eq!(format!("{made:?}"), format!("{:?}", untrained(&made, 9).unwrap()));
        assert_ne!(format!("{made:?}"), format!("{:?}", untrained(&made, 10).unwrap()));
    }
}
