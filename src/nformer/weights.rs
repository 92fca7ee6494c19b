//! The weights file of the fusion network: read, and checked once and for all.
//!
//! Format: safetensors, `F32`, every weight `[out, in]`.
//!
//! | tensor | shape |
//! |---|---|
//! | `layers.{i}.qkv.weight`, `.bias` | `[3 D, D]`, `[3 D]`: Q, K, V one above the other, heads side by side in each |
//! | `layers.{i}.out.weight`, `.bias` | `[D, D]`, `[D]` |
//! | `layers.{i}.ffn1.weight`, `.bias` | `[F, D]`, `[F]` |
//! | `layers.{i}.ffn2.weight`, `.bias` | `[D, F]`, `[D]` |
//! | `layers.{i}.norm1.weight`, `.bias`, `norm2` alike | `[D]` |
//! | `layers.{i}.agents.k`, `.q` (optional, in all layers or in none) | `[H, l, d]`, `d = D / H` |
//! | `bn.weight`, `.bias`, `.running_mean`, `.running_var` | `[D]` |
//! | `head.mean_weight` (optional) | `[1]` |
//!
//! Metadata: `heads`; optional `layers` (must be the number found), `top_k`, `ln_eps`, `bn_eps` (1e-5 each).

use std::path::Path;

use super::settings::Precision;
use super::tensors::{Tensors, broken, read_bytes};
use crate::error::{Error, Result};
use crate::kernels::{BatchNorm, Linear};
use crate::size::{MAX_EMBEDDING, MAX_FEED_FORWARD, MAX_HEADS, MAX_LANDMARKS, MAX_LAYERS, MAX_TOP_K};

/// The weights of a fusion network. Whoever holds one knows that all shapes fit and all values are finite.
#[derive(Clone, Debug)]
pub struct Weights {
    pub(super) width: usize,
    pub(super) heads: usize,
    pub(super) top_k: Option<usize>,
    pub(super) norm_eps: f32,
    pub(super) mean_weight: f32,
    pub(super) layers: Vec<LayerWeights>,
    pub(super) batch_norm: BatchNorm,
}

/// The weights of one layer.
#[derive(Clone, Debug)]
pub(super) struct LayerWeights {
    pub(super) qkv: Dense,
    pub(super) out: Dense,
    pub(super) ffn1: Dense,
    pub(super) ffn2: Dense,
    pub(super) norm1: Norm,
    pub(super) norm2: Norm,
    pub(super) agents: Option<Agents>,
}

/// An affine map: `weight [out, in]`, `bias [out]`.
#[derive(Clone, Debug)]
pub(super) struct Dense {
    pub(super) weight: Vec<f32>,
    pub(super) bias: Vec<f32>,
    pub(super) inputs: usize,
    /// How it is packed.
    pub(super) precision: Precision,
}

/// Scale and shift of a layer norm, `[D]` each.
#[derive(Clone, Debug)]
pub(super) struct Norm {
    pub(super) weight: Vec<f32>,
    pub(super) bias: Vec<f32>,
}

/// Fixed landmarks of one layer in K space and in Q space, `[H, l, d]` each.
#[derive(Clone, Debug)]
pub(super) struct Agents {
    pub(super) keys: Vec<f32>,
    pub(super) queries: Vec<f32>,
    /// `l`.
    pub(super) count: usize,
}

impl Weights {
    /// Reads and checks a weights file.
    ///
    /// # Errors
    /// [`Error::Read`] if it cannot be read, [`Error::ModelLoad`] if it is no safetensors file, too large, or has a
    /// tensor too few or too many, [`Error::ModelShape`] for a wrong type, shape or metadata entry,
    /// [`Error::WeightsNotFinite`] for NaN and infinity, and [`Error::TooLarge`] beyond the sizes of this build.
    pub fn read(path: &Path) -> Result<Self> {
        Self::from_bytes(&read_bytes("fusion weights", path)?, path)
    }

    /// Checks the content of a weights file; `path` is named in messages.
    ///
    /// # Errors
    /// As [`Weights::read`].
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self> {
        let mut file = Tensors::parse(bytes, path)?;
        let width = match file.shape("bn.weight") {
            Some(&[width]) => at_most("embedding width", width, MAX_EMBEDDING, "MAX_EMBEDDING")?,
            Some(other) => return Err(file.mismatch("tensor `bn.weight`", "F32 [D]", &format!("{other:?}"))),
            None => return Err(broken(path, "tensor `bn.weight` is missing")),
        };
        let heads = heads(&file, width)?;
        let top_k = file.number("top_k", "a number from 1")?;
        if top_k == Some(0) {
            return Err(file.mismatch("metadata `top_k`", "a number from 1", "0"));
        }
        top_k.map(|top_k| at_most("neighbours (top_k)", top_k, MAX_TOP_K, "MAX_TOP_K")).transpose()?;

        let batch_norm = batch_norm(&mut file, width)?;
        let layers = (0..layer_count(&file)?)
            .map(|number| LayerWeights::read(&mut file, &format!("layers.{number}"), width, heads))
            .collect::<Result<Vec<_>>>()?;
        if layers.iter().any(|layer| layer.agents.is_some() != layers[0].agents.is_some()) {
            return Err(broken(path, "some layers have fixed landmarks (`agents`) and others have none"));
        }
        let mean_weight = mean_weight(&mut file)?;
        let norm_eps = eps(&file, "ln_eps")?;
        file.all_read()?;
        Ok(Self { width, heads, top_k, norm_eps, mean_weight, layers, batch_norm })
    }

    /// The same weights without their fixed landmarks: for a network whose landmarks are given as rows.
    #[must_use]
    pub fn without_agents(mut self) -> Self {
        for layer in &mut self.layers {
            layer.agents = None;
        }
        self
    }

    /// The same weights, to be packed in `precision`; [`Precision::F32`] if nothing else is said.
    #[must_use]
    pub fn with_precision(mut self, precision: Precision) -> Self {
        for layer in &mut self.layers {
            for dense in [&mut layer.qkv, &mut layer.out, &mut layer.ffn1, &mut layer.ffn2] {
                dense.precision = precision;
            }
        }
        self
    }

    /// Width D of the embeddings.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of layers.
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Attention heads H of each layer.
    pub fn heads(&self) -> usize {
        self.heads
    }

    /// Width F of the feed-forward part, of the layer where it is widest.
    pub fn feed_forward(&self) -> usize {
        self.layers.iter().map(|layer| layer.ffn1.bias.len()).max().unwrap_or(0)
    }

    /// Fixed landmarks l of a layer, where there are most; 0 without any.
    pub fn landmarks(&self) -> usize {
        self.layers.iter().filter_map(|layer| Some(layer.agents.as_ref()?.count)).max().unwrap_or(0)
    }

    /// Neighbours k that the network was trained with, if the file says so.
    pub fn top_k(&self) -> Option<usize> {
        self.top_k
    }

    /// Weight w of the neighbours' mean in the final row; 0 is the published network.
    pub fn mean_weight(&self) -> f32 {
        self.mean_weight
    }

    /// Whether the file brings fixed landmarks.
    pub fn has_agents(&self) -> bool {
        self.layers.iter().all(|layer| layer.agents.is_some())
    }
}

impl LayerWeights {
    fn read(file: &mut Tensors<'_>, name: &str, width: usize, heads: usize) -> Result<Self> {
        let feed_forward = match file.shape(&format!("{name}.ffn1.weight")) {
            Some(&[hidden, _]) => at_most("feed-forward width", hidden, MAX_FEED_FORWARD, "MAX_FEED_FORWARD")?,
            // Missing or of another rank: reading it says so.
            _ => 1,
        };
        Ok(Self {
            qkv: Dense::read(file, &format!("{name}.qkv"), 3 * width, width)?,
            out: Dense::read(file, &format!("{name}.out"), width, width)?,
            ffn1: Dense::read(file, &format!("{name}.ffn1"), feed_forward, width)?,
            ffn2: Dense::read(file, &format!("{name}.ffn2"), width, feed_forward)?,
            norm1: Norm::read(file, &format!("{name}.norm1"), width)?,
            norm2: Norm::read(file, &format!("{name}.norm2"), width)?,
            agents: Agents::read(file, &format!("{name}.agents"), heads, width / heads)?,
        })
    }
}

impl Dense {
    fn read(file: &mut Tensors<'_>, name: &str, outputs: usize, inputs: usize) -> Result<Self> {
        Ok(Self {
            weight: file.floats(&format!("{name}.weight"), &[outputs, inputs])?,
            bias: file.floats(&format!("{name}.bias"), &[outputs])?,
            inputs,
            precision: Precision::default(),
        })
    }

    /// Packed for the kernel.
    pub(super) fn pack(&self) -> Linear {
        self.pack_outputs(0..self.bias.len())
    }

    /// The outputs of `range` alone, packed for the kernel.
    pub(super) fn pack_outputs(&self, range: std::ops::Range<usize>) -> Linear {
        let weight = &self.weight[range.start * self.inputs..range.end * self.inputs];
        match self.precision {
            Precision::F32 => Linear::new(weight, &self.bias[range], self.inputs),
            Precision::Int8 => Linear::int8(weight, &self.bias[range], self.inputs),
        }
    }
}

impl Norm {
    fn read(file: &mut Tensors<'_>, name: &str, width: usize) -> Result<Self> {
        Ok(Self {
            weight: file.floats(&format!("{name}.weight"), &[width])?,
            bias: file.floats(&format!("{name}.bias"), &[width])?,
        })
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.weight.as_slice()) + size_of_val(self.bias.as_slice())
    }
}

impl Agents {
    fn read(file: &mut Tensors<'_>, name: &str, heads: usize, head_width: usize) -> Result<Option<Self>> {
        let (keys, queries) = (format!("{name}.k"), format!("{name}.q"));
        let count = match (file.shape(&keys), file.shape(&queries)) {
            (None, None) => return Ok(None),
            (Some(&[_, count, _]), _) | (_, Some(&[_, count, _])) => {
                at_most("landmarks (agents)", count, MAX_LANDMARKS, "MAX_LANDMARKS")?
            }
            // One of the two is missing or of another rank: reading it says so.
            _ => 1,
        };
        let shape = [heads, count, head_width];
        Ok(Some(Self { keys: file.floats(&keys, &shape)?, queries: file.floats(&queries, &shape)?, count }))
    }
}

/// `size` if it is 1 to `max`.
fn at_most(what: &'static str, size: usize, max: usize, constant: &'static str) -> Result<usize> {
    if size == 0 {
        return Err(Error::FusionInput { expected: format!("{what} of 1 to {max}"), found: "0".into() });
    }
    if size > max { Err(Error::TooLarge { what, found: size, max, constant }) } else { Ok(size) }
}

fn heads(file: &Tensors<'_>, width: usize) -> Result<usize> {
    let expected = format!("a divisor of the width {width}");
    let Some(heads) = file.number("heads", &expected)? else {
        return Err(file.mismatch("metadata `heads`", &expected, "no such entry"));
    };
    let heads = at_most("attention heads", heads, MAX_HEADS, "MAX_HEADS")?;
    if width.is_multiple_of(heads) {
        Ok(heads)
    } else {
        Err(file.mismatch("metadata `heads`", &expected, &heads.to_string()))
    }
}

fn layer_count(file: &Tensors<'_>) -> Result<usize> {
    let found = (0..=MAX_LAYERS).take_while(|i| file.shape(&format!("layers.{i}.qkv.weight")).is_some()).count();
    if let Some(expected) = file.number::<usize>("layers", "a number from 1")?
        && expected != found
    {
        let found = format!("{found} layers (counted by `layers.N.qkv.weight`)");
        return Err(file.mismatch("tensors", &format!("{expected} layers, as the metadata says"), &found));
    }
    if found == 0 {
        return Err(broken(file.path(), "tensor `layers.0.qkv.weight` is missing"));
    }
    at_most("layers", found, MAX_LAYERS, "MAX_LAYERS")
}

fn batch_norm(file: &mut Tensors<'_>, width: usize) -> Result<BatchNorm> {
    let eps = eps(file, "bn_eps")?;
    let [weight, bias, mean, variance] =
        ["weight", "bias", "running_mean", "running_var"].map(|part| file.floats(&format!("bn.{part}"), &[width]));
    let folded = BatchNorm::fold(&weight?, &bias?, &mean?, &variance?, eps);
    if folded.is_finite() { Ok(folded) } else { Err(file.not_finite("bn.running_var")) }
}

fn mean_weight(file: &mut Tensors<'_>) -> Result<f32> {
    const NAME: &str = "head.mean_weight";
    if file.shape(NAME).is_none() {
        return Ok(0.0);
    }
    let weight = file.floats(NAME, &[1])?[0];
    if weight < 0.0 {
        return Err(file.mismatch("tensor `head.mean_weight`", "a number from 0", &weight.to_string()));
    }
    Ok(weight)
}

fn eps(file: &Tensors<'_>, key: &str) -> Result<f32> {
    let expected = "a number above 0 and below 1";
    let eps = file.number(key, expected)?.unwrap_or(1e-5);
    if eps > 0.0 && eps < 1.0 {
        Ok(eps)
    } else {
        Err(file.mismatch(&format!("metadata `{key}`"), expected, &eps.to_string()))
    }
}
