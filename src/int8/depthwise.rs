//! Depthwise convolution of bytes: each channel by itself.

use super::arch::{Bank, Channelwise, Geometry};
use super::conv::Weights;
use super::requantise::{Requantise, multipliers};
use super::tensor::{Layout, Output, Quantisation, Window};

#[cfg(test)]
mod tests;

/// `y[c] = requantise(bias[c] + sum over taps of (x[c] - zero point) * weight[c])`, with packed weights.
#[derive(Clone, Debug)]
pub(super) struct Depthwise {
    window: Window,
    bank: Bank,
    requantise: Requantise,
    version: Channelwise,
}

impl Depthwise {
    /// Bytes to bytes; `weights.outputs` is the number of channels.
    pub(super) fn new(window: &Window, weights: &Weights, input: Quantisation, output: Output) -> Self {
        let multipliers = multipliers(weights, input, output.quantisation.scale);
        let bank = Bank::new(window.kernel, weights, input.zero_point, &multipliers);
        let requantise = Requantise::new(&output, bank.largest());
        let version = Channelwise::detect(&bank);
        Self { window: *window, bank, requantise, version }
    }

    /// The same in every version that this processor has; plain first, the one that [`Self::new`] chooses last.
    pub(super) fn versions(&self) -> Vec<Self> {
        let versions = Channelwise::all(&self.bank);
        versions.into_iter().map(|version| Self { version, ..self.clone() }).collect()
    }

    /// The version's name.
    pub(super) fn name(&self) -> &'static str {
        self.version.name()
    }

    /// `from`'s margin holds the zero point; of `y` only the pixels and channels of `to` are written.
    pub(super) fn run(&self, x: &[u8], from: &Layout, y: &mut [u8], to: &Layout) {
        assert_eq!(from.channels, self.bank.channels(), "channels of a depthwise convolution");
        assert_eq!(to.channels, self.bank.channels(), "channels of a depthwise convolution");
        let geometry = Geometry { runs: self.window.kernel, ..self.window.geometry(from, to) };
        self.version.bytes(&self.bank, &geometry, self.requantise, x, y);
    }

    /// Bytes of the packed weights.
    pub(super) fn bytes(&self) -> usize {
        self.bank.bytes() + self.version.packed_bytes()
    }

    /// The definition, for comparisons.
    #[cfg(test)]
    pub(super) fn plain(self) -> Self {
        Self { version: Channelwise::Plain, ..self }
    }
}
