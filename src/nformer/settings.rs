//! What a user can set about the fusion.

use serde::{Deserialize, Serialize};

use crate::error::{Result, in_range};
use crate::size::MAX_TOP_K;

/// How embeddings are fused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct NFormerSettings {
    /// Neighbours k of a row, 1 to [`MAX_TOP_K`]; the card's if absent.
    pub top_k: Option<usize>,
    /// How the weights are kept and multiplied.
    pub precision: Precision,
}

/// How weights are kept and multiplied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// As they are, in 32-bit floats.
    #[default]
    F32,
    /// As bytes, in a quarter of the memory, except for the folded agents: those are few and decide over affinities. Rows
    /// become bytes for each product; see [`Linear::int8`](crate::kernels::Linear::int8).
    Int8,
}

impl NFormerSettings {
    /// Checks every value.
    ///
    /// # Errors
    /// [`Error::BadSetting`](crate::Error::BadSetting) for the first one out of range.
    pub fn validate(&self) -> Result<()> {
        self.top_k.map_or(Ok(()), |top_k| in_range("nformer.top_k", top_k, 1, MAX_TOP_K))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_at_least_itself_as_neighbour() {
        NFormerSettings { top_k: Some(1), ..Default::default() }.validate().unwrap();
        NFormerSettings::default().validate().unwrap();
        for top_k in [0, MAX_TOP_K + 1] {
            let message =
                NFormerSettings { top_k: Some(top_k), ..Default::default() }.validate().unwrap_err().to_string();
            assert!(message.contains("nformer.top_k"), "{message}");
        }
    }
}
