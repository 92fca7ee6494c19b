//! Crops whose people are known -> how well they are told apart, and at what cost.
//!
//! Glossary: a *query* is a crop that is looked for in a *gallery* of crops; a *protocol* says which rows may see each other
//! before they are ranked. *Transductive*: query and gallery are fused together, as in the paper. *Online*: crops come in the
//! order in which they were filmed, cameras interleaved; each is fused once, in a buffer of N rows, one a crop or one a track.

pub mod market;
pub mod metrics;
pub mod mot;

mod arrivals;
mod cost;
mod embed;
mod fusion;
mod mean;
mod outcome;
mod page;
mod random;
mod re_entry;
mod rerank;
mod rows;
mod stream;
mod table;
mod tsne;
mod untrained;

pub use arrivals::Arrivals;
pub use cost::backbone_multiply_adds;
pub use embed::embed;
pub use fusion::{FusedRows, fuse_online, fuse_pool};
pub use mean::{online_means, pool_means, track_means};
pub use outcome::Outcome;
pub use page::{Pictures, page};
pub use re_entry::{Curve, ReEntryFigures, re_entry};
pub use rerank::rerank;
pub use rows::Rows;
pub use stream::{ClipFigures, ClipTally, Naming, ReEntry, Shown, Sight, StreamFigures, StreamSetup, Tally, replay};
pub use table::{BackboneCost, Bench, BufferSetup, MEAN_KS, Method, Network, Protocol, Setup};
pub use untrained::untrained;
