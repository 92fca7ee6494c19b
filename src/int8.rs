//! Quantised ONNX (QDQ) as whole numbers in `tract`: from the first `QuantizeLinear` to the last `DequantizeLinear`
//! everything is computed on bytes.
//!
//! Inside, a picture is bytes from 0 to 255, `[height, width, channels]` with the channels side by side, and
//! stands for `scale * (byte - zero_point)`. Signed bytes of a file become unsigned ones by adding 128 to them and to
//! their zero point: the same numbers. Weights are signed bytes with one scale an output and zero point 0.
//!
//! This room knows nothing of people: any program that runs `tract` can use it.
mod arch;
#[doc(hidden)]
pub mod bench;
mod conv;
mod depthwise;
mod requantise;
mod tensor;
