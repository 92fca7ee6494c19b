//! The affine map of a whole matrix: the kernel that costs.

mod float;
mod int8;
mod quantise;
#[cfg(test)]
mod tests;
mod tiles;

use float::FloatPanels;
use int8::Int8Panels;

/// `y = x W^T + b` with constant weights, `[rows, in]` x `[out, in]` -> `[rows, out]`.
///
/// The weights lie in panels of 16 outputs, the last one filled up with zeros: one step along the inputs reads 16
/// neighbouring weights and uses them for several rows at once. Each output is summed over the inputs in the same order
/// always, so a row's result is the same bits whatever rows are beside it. Which instructions do it is decided by the
/// processor when the weights are packed.
#[derive(Clone, Debug)]
pub struct Linear {
    panels: Panels,
}

#[derive(Clone, Debug)]
enum Panels {
    Float(FloatPanels),
    Int8(Int8Panels),
}

impl Linear {
    /// Packs `weight [out, in]` and `bias [out]` as they are.
    ///
    /// # Panics
    /// If `weight` does not hold `inputs` values for each of `bias`.
    pub fn new(weight: &[f32], bias: &[f32], inputs: usize) -> Self {
        Self { panels: Panels::Float(FloatPanels::new(weight, bias, inputs)) }
    }

    /// Packs `weight [out, in]` as bytes, a quarter of the memory: from -127 to 127, times a scale for each output, its
    /// largest weight divided by 127. `bias [out]` stays as it is.
    ///
    /// Each row of x is turned into such bytes when it is worked on, with a scale of its own. Their products are summed
    /// exactly, so that only those two roundings are lost, and the result is the same bits on every processor. A row of
    /// values below 1e-30 counts as zeros; a row with a value that is not finite gives NaN.
    ///
    /// # Panics
    /// If `weight` does not hold `inputs` values for each of `bias`, or for more than 32768 inputs.
    pub fn int8(weight: &[f32], bias: &[f32], inputs: usize) -> Self {
        Self { panels: Panels::Int8(Int8Panels::new(weight, bias, inputs)) }
    }

    /// Width of an input row.
    pub fn inputs(&self) -> usize {
        match &self.panels {
            Panels::Float(panels) => panels.inputs,
            Panels::Int8(panels) => panels.inputs,
        }
    }

    /// Width of an output row.
    pub fn outputs(&self) -> usize {
        match &self.panels {
            Panels::Float(panels) => panels.outputs,
            Panels::Int8(panels) => panels.outputs,
        }
    }

    /// Bytes of the packed weights and biases.
    pub fn bytes(&self) -> usize {
        match &self.panels {
            Panels::Float(panels) => panels.bytes(),
            Panels::Int8(panels) => panels.bytes(),
        }
    }

    /// The same map without hand-written instructions: what benchmarks compare with.
    #[must_use]
    pub fn plain(mut self) -> Self {
        match &mut self.panels {
            Panels::Float(panels) => panels.use_plain(),
            Panels::Int8(panels) => panels.use_plain(),
        }
        self
    }

    /// Writes `x W^T + b` into `y [rows, out]` for `x [rows, in]`; no row is allowed and does nothing.
    ///
    /// # Panics
    /// If `x` and `y` do not hold the same number of whole rows.
    pub fn apply(&self, x: &[f32], y: &mut [f32]) {
        let (inputs, outputs) = (self.inputs(), self.outputs());
        assert_eq!(x.len() * outputs, y.len() * inputs, "linear: x and y differ in rows");
        if inputs == 0 || outputs == 0 {
            return;
        }
        match &self.panels {
            Panels::Float(panels) => panels.apply(x, y),
            Panels::Int8(panels) => panels.apply(x, y),
        }
    }
}
