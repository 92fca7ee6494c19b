//! Random weights files of any size: every term is there and none is zero or one, so that a forgotten one shows.

use std::collections::{BTreeMap, HashMap};

use safetensors::tensor::{Dtype, TensorView, serialize};

/// Tensors by name: shape and values.
pub(crate) type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Sizes of a network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) width: usize,
    pub(crate) heads: usize,
    pub(crate) layers: usize,
    pub(crate) feed_forward: usize,
    /// Fixed landmarks of each layer; 0 is none.
    pub(crate) agents: usize,
    /// w of the output head, left out where it is 0.
    pub(crate) mean_weight: f32,
}

/// A generator with a seed: Knuth's MMIX constants.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    /// A value in `-1.0..1.0`.
    pub(crate) fn value(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1_u32 << 23) as f32 - 1.0
    }
}

pub(crate) fn random_tensors(shape: Shape, seed: u64) -> Tensors {
    let mut random = Random::new(seed);
    let mut tensors = Tensors::new();
    let mut put = |name: String, dims: &[usize], centre: f32, spread: f32| {
        let values = (0..dims.iter().product()).map(|_| centre + spread * random.value()).collect();
        tensors.insert(name, (dims.to_vec(), values));
    };
    let Shape { width, heads, feed_forward, .. } = shape;
    for layer in 0..shape.layers {
        let parts = [
            ("qkv", 3 * width, width),
            ("out", width, width),
            ("ffn1", feed_forward, width),
            ("ffn2", width, feed_forward),
        ];
        for (part, outputs, inputs) in parts {
            // Keeps the size of the values from layer to layer.
            let spread = (3.0 / inputs as f32).sqrt();
            put(format!("layers.{layer}.{part}.weight"), &[outputs, inputs], 0.0, spread);
            put(format!("layers.{layer}.{part}.bias"), &[outputs], 0.0, 0.5);
        }
        for part in ["norm1", "norm2"] {
            put(format!("layers.{layer}.{part}.weight"), &[width], 1.0, 0.5);
            put(format!("layers.{layer}.{part}.bias"), &[width], 0.0, 0.5);
        }
        if shape.agents > 0 {
            for part in ["k", "q"] {
                put(format!("layers.{layer}.agents.{part}"), &[heads, shape.agents, width / heads], 0.0, 0.7);
            }
        }
    }
    for (part, centre) in [("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)] {
        put(format!("bn.{part}"), &[width], centre, 0.5);
    }
    if shape.mean_weight != 0.0 {
        put("head.mean_weight".into(), &[1], shape.mean_weight, 0.0);
    }
    tensors
}

/// The safetensors file of `tensors`.
pub(crate) fn to_bytes(tensors: &Tensors, metadata: &[(&str, &str)]) -> Vec<u8> {
    let bytes: BTreeMap<&String, Vec<u8>> = tensors
        .iter()
        .map(|(name, (_, values))| (name, values.iter().flat_map(|value| value.to_le_bytes()).collect()))
        .collect();
    let views = tensors.iter().map(|(name, (shape, _))| {
        (name, TensorView::new(Dtype::F32, shape.clone(), &bytes[name]).expect("a shape that fits its values"))
    });
    let metadata: HashMap<String, String> =
        metadata.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    serialize(views, Some(metadata)).expect("a file of these tensors")
}
