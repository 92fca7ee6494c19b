//! Person re-identification for small boards: camera frames in, identities out.
//!
//! The modules below are rooms in the order of the data. A room imports only rooms above it in this
//! list, and [`kernels`], [`size`], [`error`]. A type lives in the room that makes it.
//!
//! | room | takes -> gives |
//! |---|---|
//! | [`frame`] | pixels as a source lends them: [`frame::Frame`], [`frame::FrameSource`] |
//! | [`camera`] | outside -> [`frame::Frame`]: V4L2 devices, recorded clips, a fault injector |
//! | [`int8`] | quantised ONNX -> integer operators in `tract`; of use to any program |
//! | [`model`] | card + ONNX file -> verified, ready [`model::Network`] |
//! | [`detector`] | frame -> [`detector::Detection`] |
//! | [`tracks`] | detections -> [`tracks::Track`], and who needs an embedding now |
//! | [`crop`] | frame + box -> the backbone's input |
//! | [`backbone`] | crop -> [`backbone::Embedding`] |
//! | [`neighbors`] | embedding -> row of the fixed [`neighbors::NeighborBuffer`] |
//! | [`nformer`] | rows -> fused embeddings |
//! | [`gallery`] | fused embedding -> [`gallery::Assignment`] |
//! | [`state`] | buffer and gallery <-> disk, across restarts |
//! | [`recognition`] | embeddings with their tracks -> who each track is: buffer, fusion and gallery together |
//! | [`eval`] | crops whose people are known -> how well they are told apart |
//! | [`report`] | sighting -> standard output, log, serial port |
//! | [`snapshot`] | frame and boxes -> pictures, only when asked for |
//! | [`settings`] | file and flags -> validated settings of every room |
//! | [`pipeline`] | the corridor: owns the rooms, leads a frame through them, times each |
//!
//! Deliberately absent: threads in the pipeline (except those of `backbone` that share the crops of one frame, where
//! asked for), a clock (time arrives with the frame), randomness, network access, and any way for a frame to leave the
//! process unless the user asks for it.

pub mod error;
pub mod kernels;
pub mod size;

pub mod backbone;
pub mod camera;
pub mod crop;
pub mod detector;
pub mod eval;
pub mod frame;
pub mod gallery;
pub mod int8;
pub mod model;
pub mod neighbors;
pub mod nformer;
pub mod pipeline;
pub mod recognition;
pub mod report;
pub mod settings;
pub mod snapshot;
pub mod state;
pub mod tracks;

pub use error::Error;
