//! Files in, files out: one pass over a recorded case, to compare with another implementation.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView, serialize_to_file};

use super::tensors::{Tensors, read_bytes};
use super::{Landmarks, NFormer, Weights, refused};
use crate::error::{Error, Result};

/// What [`fuse`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FuseSummary {
    /// Rows fused.
    pub rows: usize,
    /// Layers of the network.
    pub layers: usize,
    /// Neighbours k asked for (rows that are fewer bound it).
    pub top_k: usize,
    /// Whether the landmarks were the weights' fixed agents; otherwise the input brought them as rows.
    pub agents: bool,
}

/// Reads `input [n, D]` (f32) and optional `landmarks [layers, l]` (i32 row indices) from the safetensors file `input`,
/// and writes `layer0`, `layer1`, ... (each layer's output), `output` (after batch norm) and `final` (the row
/// as retrieval uses it), all f32 `[n, D]`, to the safetensors file `out`.
///
/// The rows are used as they are. Landmarks that the file does not bring are the weights' fixed agents. k is `top_k`
/// if given, else the metadata entry `top_k` of `input`, else that of the weights.
///
/// # Errors
/// As [`Weights::read`] and [`NFormer::forward`]; [`Error::FusionInput`] also if k or the landmarks are nowhere given;
/// [`Error::Write`] if `out` cannot be written.
pub fn fuse(weights: &Path, input: &Path, out: &Path, top_k: Option<usize>) -> Result<FuseSummary> {
    let weights = Weights::read(weights)?;
    let case = Case::read(input, &weights)?;
    let Some(top_k) = top_k.or(case.top_k).or(weights.top_k()) else {
        let found = "none; give it with --top-k";
        return Err(refused("top_k as a flag, or in the metadata of input or weights".into(), found.into()));
    };
    let agents = case.landmarks.is_none();
    let weights = if agents { weights } else { weights.without_agents() };
    let width = weights.width();
    let mut nformer = NFormer::new(weights, case.rows.len() / width)?;

    let mut results = Vec::with_capacity(nformer.layers() + 2);
    let landmarks = case.landmarks.as_deref().map_or(Landmarks::Agents, Landmarks::Rows);
    let fused = nformer.forward_observed(&case.rows, top_k, landmarks, |layer, rows| {
        results.push((format!("layer{layer}"), rows.to_vec()));
    })?;
    let mut finals = vec![0.0; case.rows.len()];
    for (index, row) in finals.chunks_exact_mut(width).enumerate() {
        fused.final_row(index, row)?;
    }
    results.push(("output".into(), fused.rows().to_vec()));
    results.push(("final".into(), finals));
    let rows = fused.len();
    write(out, &results, rows, width, top_k)?;
    Ok(FuseSummary { rows, layers: nformer.layers(), top_k, agents })
}

/// What the input file brings.
struct Case {
    rows: Vec<f32>,
    landmarks: Option<Vec<u32>>,
    top_k: Option<usize>,
}

impl Case {
    fn read(path: &Path, weights: &Weights) -> Result<Self> {
        let bytes = read_bytes("fusion input", path)?;
        let mut file = Tensors::parse(&bytes, path)?;
        let count = match file.shape("input") {
            Some(&[count, width]) if width == weights.width() => count,
            Some(&[_, found]) => {
                return Err(Error::EmbeddingWidth { what: "fusion weights", expected: weights.width(), found });
            }
            // Missing or of another rank: reading it says so.
            _ => 0,
        };
        Ok(Self {
            rows: file.floats_of_any_value("input", &[count, weights.width()])?,
            landmarks: landmarks(&mut file, weights.layers())?,
            top_k: file.number("top_k", "a number from 1")?,
        })
    }
}

/// The landmark rows, `[layers, l]`, if the file brings them.
fn landmarks(file: &mut Tensors<'_>, layers: usize) -> Result<Option<Vec<u32>>> {
    let count = match file.shape("landmarks") {
        None => return Ok(None),
        Some(&[_, count]) => count,
        Some(_) => 0,
    };
    let index =
        |index: i32| u32::try_from(index).map_err(|_| refused("landmark rows from 0".into(), format!("index {index}")));
    file.integers("landmarks", &[layers, count])?.into_iter().map(index).collect::<Result<_>>().map(Some)
}

fn write(path: &Path, results: &[(String, Vec<f32>)], rows: usize, width: usize, top_k: usize) -> Result<()> {
    let failed = |reason: &dyn std::fmt::Display| Error::Write {
        what: "fusion output",
        path: path.into(),
        source: std::io::Error::other(reason.to_string()),
    };
    let bytes: Vec<Vec<u8>> =
        results.iter().map(|(_, values)| values.iter().flat_map(|value| value.to_le_bytes()).collect()).collect();
    let mut tensors = Vec::with_capacity(results.len());
    for ((name, _), bytes) in results.iter().zip(&bytes) {
        let view = TensorView::new(Dtype::F32, vec![rows, width], bytes).map_err(|reason| failed(&reason))?;
        tensors.push((name, view));
    }
    let metadata = HashMap::from([("rows".into(), rows.to_string()), ("top_k".into(), top_k.to_string())]);
    serialize_to_file(tensors, Some(metadata), path).map_err(|reason| failed(&reason))
}
