//! Everything one evaluation found.

use std::path::PathBuf;

use serde::Serialize;

use super::re_entry::ReEntryFigures;
use super::table::{BackboneCost, Method};

/// All tables of one split: what `nformer-edge eval --json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Where the crops lie.
    pub dataset: PathBuf,
    /// Which split.
    pub split: String,
    /// Crops that are looked for.
    pub queries: usize,
    /// Crops among which they are looked for.
    pub gallery: usize,
    /// Different people.
    pub identities: usize,
    /// The split that k of the mean was chosen on.
    pub tuned_on: Option<String>,
    /// What made the embeddings.
    pub backbone: BackboneCost,
    /// One line a method, protocol and N.
    pub methods: Vec<Method>,
    /// One line a point of the sweep.
    pub sweep: Vec<Method>,
    /// Re-entry.
    pub stream: Option<ReEntryFigures>,
    /// What a reader must know to read the figures right.
    pub notes: Vec<String>,
}
