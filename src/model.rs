//! Card + ONNX file -> verified, ready [`Network`].
//!
//! A model is a folder with a text file, the *card*, and the weights beside it. The card is the
//! contract: size and normalisation of the input, layout of the output, digest of the file. No
//! preprocessing constant lives in this program, so another model is another card.

mod card;
mod input;
mod onnx;

pub use card::{Card, Contract, DetectionOutput, Fusion, Head, Task};
pub use input::{Align, Colour, Input, Letterbox, Resize};
pub use onnx::{MAX_MODEL_BYTES, Network, Outputs, explain, try_out};
