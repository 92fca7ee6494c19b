//! What depends on the processor.

mod wide;

pub(super) use wide::{LookUp, Wide, Work};
