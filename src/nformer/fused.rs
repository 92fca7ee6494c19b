//! What comes out: rows after batch norm, and as retrieval uses them.

use super::reciprocal::ReciprocalNeighbors;
use super::refused;
use crate::backbone::Embedding;
use crate::error::{Error, Result};
use crate::kernels::{add_scaled, l2_normalise, length};

/// The outcome of one pass, lent until the next.
#[derive(Clone, Copy, Debug)]
pub struct Fused<'a> {
    pub(super) width: usize,
    pub(super) mean_weight: f32,
    pub(super) input: &'a [f32],
    pub(super) output: &'a [f32],
    pub(super) neighbors: &'a ReciprocalNeighbors,
}

impl Fused<'_> {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.output.len() / self.width
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.output.is_empty()
    }

    /// All rows after batch norm, `[n, D]`, not normalised.
    pub fn rows(&self) -> &[f32] {
        self.output
    }

    /// A row after batch norm, `[D]`, not normalised; nothing beyond the last one.
    pub fn row(&self, index: usize) -> Option<&[f32]> {
        self.output.chunks_exact(self.width).nth(index)
    }

    /// `R(index)`: the row itself and its reciprocal neighbours, the most similar first; empty beyond the last row.
    pub fn neighbors(&self, index: usize) -> &[u32] {
        if index < self.len() { self.neighbors.of(index as u32) } else { &[] }
    }

    /// The row as retrieval uses it, `[D]`, of length 1, written into `out`: `L2(fused)`, or with a mean weight w
    /// in the weights file `L2(L2(fused) + w * L2(mean of x over R(index)))`. A mean of length zero adds nothing.
    ///
    /// # Errors
    /// [`Error::FusionInput`] if there is no such row, [`Error::EmbeddingWidth`] if `out` is not D wide,
    /// [`Error::BadEmbedding`] if the network's output is zero or not finite.
    pub fn final_row<'o>(&self, index: usize, out: &'o mut [f32]) -> Result<Embedding<'o>> {
        let Some(fused) = self.row(index) else {
            return Err(refused(format!("a row below {}", self.len()), format!("row {index}")));
        };
        if out.len() != self.width {
            return Err(Error::EmbeddingWidth { what: "fused row", expected: self.width, found: out.len() });
        }
        let output = Output { mean_weight: self.mean_weight, input: self.input };
        output.final_row(fused, self.neighbors(index), out)
    }
}

/// The output head: what turns a fused row into the one that retrieval uses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output<'a> {
    pub(super) mean_weight: f32,
    /// The network's input, `[n, D]`.
    pub(super) input: &'a [f32],
}

impl Output<'_> {
    /// [`Fused::final_row`] of the row `fused [D]` after batch norm with the reciprocal neighbours `neighbors`.
    pub(super) fn final_row<'o>(self, fused: &[f32], neighbors: &[u32], out: &'o mut [f32]) -> Result<Embedding<'o>> {
        if self.mean_weight == 0.0 {
            out.copy_from_slice(fused);
            return Embedding::normalise(out);
        }
        out.fill(0.0);
        for neighbor in neighbors {
            add_scaled(out, 1.0, &self.input[*neighbor as usize * fused.len()..][..fused.len()]);
        }
        if !l2_normalise(out) {
            out.fill(0.0);
        }
        let scale = 1.0 / length(fused);
        if !scale.is_finite() {
            return Err(Error::BadEmbedding { found: "all zero" });
        }
        for (value, fused) in out.iter_mut().zip(fused) {
            *value = (f64::from(self.mean_weight * *value) + scale * f64::from(*fused)) as f32;
        }
        Embedding::normalise(out)
    }
}
