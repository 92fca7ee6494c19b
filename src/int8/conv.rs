//! Dense convolution of bytes, and with a 1x1 kernel the matrix product.

use super::arch::{Dense, Filter, Geometry, Shape};
use super::requantise::{Requantise, multipliers};
use super::tensor::{Layout, Output, Quantisation, Window};

#[cfg(test)]
pub(super) mod tests;

/// Weights of a convolution; their zero point is 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weights<'a> {
    /// Dense: `[outputs, inputs, kernel rows, kernel columns]`; depthwise: `[outputs, kernel rows, kernel columns]`.
    pub(super) values: &'a [i8],
    pub(super) outputs: usize,
    /// One for all outputs, or one each.
    pub(super) scales: &'a [f32],
    /// `outputs` sums in steps of input scale times weight scale.
    pub(super) bias: Option<&'a [i32]>,
}

impl Window {
    /// Where the first window's first tap lies and how far apart outputs are, after asserting that all windows lie
    /// within the picture and its margin.
    pub(super) fn geometry(&self, from: &Layout, to: &Layout) -> Geometry {
        let reach = |outputs: usize, axis: usize, inputs: usize| {
            let last = outputs.saturating_sub(1) * self.stride[axis] + (self.kernel[axis] - 1) * self.dilation[axis];
            assert!(from.margin >= self.before[axis], "the margin is narrower than the padding");
            assert!(last < inputs + from.margin + self.before[axis], "a window leaves the picture and its margin");
        };
        reach(to.height, 0, from.height);
        reach(to.width, 1, from.width);
        let [top, left] = self.before.map(usize::cast_signed);
        Geometry {
            runs: self.kernel,
            groups: 0,
            height: to.height,
            width: to.width,
            start: from.at(-top, -left),
            row: self.stride[0] * from.row,
            pixel: self.stride[1] * from.pixel,
            to_start: to.start,
            to_row: to.row,
            to_pixel: to.pixel,
            tap_row: self.dilation[0] * from.row,
            tap_column: self.dilation[1] * from.pixel,
        }
    }
}

/// `y[o] = requantise(bias[o] + sum over taps and inputs of (x - zero point) * weight[o])`, with packed weights.
#[derive(Clone, Debug)]
pub(super) struct Conv {
    window: Window,
    inputs: usize,
    outputs: usize,
    /// The weights in the order of bytes where pixels lie side by side without gaps: a row of the kernel is one run.
    rows: Filter,
    /// The same for pixels with gaps, where it differs: each tap is a run.
    taps: Option<Filter>,
    multipliers: Vec<f32>,
    requantise: Requantise,
    version: Dense,
}

impl Conv {
    /// Bytes to bytes.
    pub(super) fn new(window: &Window, weights: &Weights, input: Quantisation, output: Output) -> Self {
        Self::with(Dense::detect(), window, weights, input, output)
    }

    /// Bytes to floats, for [`Self::run_floats`]: `sum * input scale * weight scale`.
    pub(super) fn to_floats(window: &Window, weights: &Weights, input: Quantisation) -> Self {
        let quantisation = Quantisation { scale: 1.0, zero_point: 0 };
        Self::new(window, weights, input, Output::plain(quantisation))
    }

    /// With a given version.
    pub(super) fn with(
        version: Dense,
        window: &Window,
        weights: &Weights,
        input: Quantisation,
        output: Output,
    ) -> Self {
        let taps = window.kernel[0] * window.kernel[1];
        let inputs = weights.values.len() / (weights.outputs * taps).max(1);
        let multipliers = multipliers(weights, input, output.quantisation.scale);
        let shape = |joined| Shape { inputs, kernel: window.kernel, joined };
        let filter = |joined| Filter::new(version, shape(joined), weights, input.zero_point, &multipliers);
        let [_, width] = window.kernel;
        // Whole groups of four a pixel: joined or not, the order is one.
        let one_order = inputs.is_multiple_of(4) || width == 1;
        let joined = window.dilation[1] == 1 || width == 1;
        let rows = filter(joined);
        let taps = (joined && !one_order).then(|| filter(false));
        let largest = rows.largest();
        Self {
            window: *window,
            inputs,
            outputs: weights.outputs,
            rows,
            taps,
            multipliers,
            requantise: Requantise::new(&output, largest),
            version,
        }
    }

    /// Bytes to bytes. `from`'s margin holds the zero point; of `y` only the pixels and channels of `to` are written.
    pub(super) fn run(&self, x: &[u8], from: &Layout, y: &mut [u8], to: &Layout) {
        assert_eq!(to.channels, self.outputs, "outputs of a convolution");
        let geometry = self.geometry(from, to);
        self.version.bytes(self.filter(from), &geometry, self.requantise, x, y);
    }

    /// Bytes to floats `[outputs, height, width]`.
    pub(super) fn run_floats(&self, x: &[u8], from: &Layout, y: &mut [f32], height: usize, width: usize) {
        assert_eq!(y.len(), self.outputs * height * width, "outputs of a convolution");
        let geometry = self.geometry(from, &Layout::new(height, width, self.outputs, 0));
        self.version.floats(self.filter(from), &geometry, &self.multipliers, x, y);
    }

    /// Bytes of the packed weights.
    pub(super) fn bytes(&self) -> usize {
        self.rows.bytes() + self.taps.as_ref().map_or(0, Filter::bytes)
    }

    /// The definition, for comparisons.
    #[cfg(test)]
    pub(super) fn plain(self) -> Self {
        Self { version: Dense::Plain, ..self }
    }

    fn geometry(&self, from: &Layout, to: &Layout) -> Geometry {
        assert_eq!(from.channels, self.inputs, "inputs of a convolution");
        let joined = from.pixel == from.channels && self.rows.shape.joined;
        let shape = Shape { joined, ..self.rows.shape };
        Geometry { runs: shape.runs(), groups: shape.groups(), ..self.window.geometry(from, to) }
    }

    fn filter(&self, from: &Layout) -> &Filter {
        match &self.taps {
            Some(taps) if from.pixel != from.channels => taps,
            _ => &self.rows,
        }
    }
}
