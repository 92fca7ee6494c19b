//! Crop -> embedding.

use crate::error::{Error, Result};

/// One L2-normalised embedding, `[D]`: finite, of length 1. The only way to make one is
/// [`Embedding::normalise`], so no room behind the backbone has to check again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Embedding<'a>(&'a [f32]);

impl<'a> Embedding<'a> {
    /// Scales `values` to length 1 in place: `x / |x|`.
    ///
    /// # Errors
    /// [`Error::BadEmbedding`] if a value is not finite or all are (nearly) zero.
    pub fn normalise(values: &'a mut [f32]) -> Result<Self> {
        let norm = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        if !norm.is_finite() {
            return Err(Error::BadEmbedding { found: "not finite" });
        }
        if norm < 1e-12 {
            return Err(Error::BadEmbedding { found: "all zero" });
        }
        for value in values.iter_mut() {
            *value = (f64::from(*value) / norm) as f32;
        }
        Ok(Self(values))
    }

    /// The values, `[D]`.
    pub fn as_slice(&self) -> &'a [f32] {
        self.0
    }
}
