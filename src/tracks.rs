//! Detections -> tracks: the same person from frame to frame, and who needs an embedding now.

/// Number of a track: one uninterrupted appearance of one person. Counts from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackId(pub u32);
