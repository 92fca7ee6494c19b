//! Embeddings of all crops of a split, one row each.

use crate::backbone::Embedding;
use crate::error::{Error, Result};
use crate::kernels::dot;

use super::market::Split;
use super::metrics::{Scores, scores};

/// Unit rows, `[n, D]`, in the order of a split's crops.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    width: usize,
    values: Vec<f32>,
}

impl Rows {
    /// No rows of `width` floats yet, with room for `rows`.
    pub fn with_capacity(width: usize, rows: usize) -> Self {
        Self { width, values: Vec::with_capacity(width * rows) }
    }

    /// `values [n, width]` scaled to length 1 each.
    ///
    /// # Errors
    /// [`Error::EmbeddingWidth`] for rows that are not whole, [`Error::BadEmbedding`] for one that is zero or not finite.
    pub fn normalised(width: usize, mut values: Vec<f32>) -> Result<Self> {
        if width == 0 || !values.len().is_multiple_of(width) {
            return Err(Error::EmbeddingWidth { what: "rows", expected: width, found: values.len() });
        }
        for row in values.chunks_exact_mut(width) {
            Embedding::normalise(row)?;
        }
        Ok(Self { width, values })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`Error::EmbeddingWidth`] if it is not as wide as the others.
    pub fn push(&mut self, row: &[f32]) -> Result<()> {
        if row.len() != self.width {
            return Err(Error::EmbeddingWidth { what: "rows", expected: self.width, found: row.len() });
        }
        self.values.extend_from_slice(row);
        Ok(())
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.values.len() / self.width.max(1)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Floats of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Row `index`, `[D]`.
    ///
    /// # Panics
    /// If there are not as many.
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.width..][..self.width]
    }

    /// All rows, `[n, D]`.
    pub fn as_slice(&self) -> &[f32] {
        &self.values
    }

    /// Retrieval by cosine over the lists of `split`.
    ///
    /// # Panics
    /// If there is not one row for each crop.
    pub fn scores(&self, split: &Split) -> Scores {
        let (query, gallery) = (split.labels(&split.query), split.labels(&split.gallery));
        scores(&query, &gallery, |asked, similarity| {
            let asked = self.row(split.query[asked]);
            for (similarity, place) in similarity.iter_mut().zip(&split.gallery) {
                *similarity = dot(asked, self.row(*place));
            }
        })
    }
}
