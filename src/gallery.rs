//! Fused embedding -> who it is.

/// Number of an identity: one person as far as this device can tell. Counts from 1, is never used twice,
/// and stands for nobody by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdentityId(pub u32);
