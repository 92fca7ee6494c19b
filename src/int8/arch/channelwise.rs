//! Weights of a depthwise convolution.

use super::super::conv::Weights;
use super::dense::largest_sum;
use super::{Geometry, LANES, Line};

/// Weights in blocks of sixteen channels; what is missing in the last block is 0.
#[derive(Clone, Debug)]
pub(in super::super) struct Bank {
    pub(super) kernel: [usize; 2],
    pub(super) channels: usize,
    /// `[block, tap, channel]`.
    pub(super) taps: Vec<[i8; LANES]>,
    /// One line a block, the input's zero point included.
    pub(super) bias: Vec<Line<i32>>,
    pub(super) multipliers: Vec<Line<f32>>,
    largest: f64,
}

impl Bank {
    pub(in super::super) fn new(kernel: [usize; 2], weights: &Weights, zero_point: u8, multipliers: &[f32]) -> Self {
        let (channels, taps) = (weights.outputs, kernel[0] * kernel[1]);
        let blocks = channels.div_ceil(LANES);
        let mut bank = Self {
            kernel,
            channels,
            taps: vec![[0; LANES]; blocks * taps],
            bias: vec![Line([0; LANES]); blocks],
            multipliers: vec![Line([0.0; LANES]); blocks],
            largest: 0.0,
        };
        for channel in 0..channels {
            let values = &weights.values[channel * taps..][..taps];
            let (block, lane) = (channel / LANES, channel % LANES);
            let sum: i32 = values.iter().map(|weight| i32::from(*weight)).sum();
            let bias = weights.bias.map_or(0, |bias| bias[channel]).wrapping_sub(sum * i32::from(zero_point));
            bank.bias[block].0[lane] = bias;
            bank.multipliers[block].0[lane] = multipliers[channel];
            bank.largest = bank.largest.max(largest_sum(values, bias) * f64::from(multipliers[channel].abs()));
            for (tap, value) in values.iter().enumerate() {
                bank.taps[block * taps + tap][lane] = *value;
            }
        }
        bank
    }

    /// The weight of a channel and a tap, 0 where there is no such channel.
    pub(super) fn weight(&self, channel: usize, tap: usize) -> i8 {
        let taps = self.kernel[0] * self.kernel[1];
        self.taps.get(channel / LANES * taps + tap).map_or(0, |block| block[channel % LANES])
    }

    pub(in super::super) fn channels(&self) -> usize {
        self.channels
    }

    /// An upper limit of each channel's `|sum as f32 * multiplier|`.
    pub(in super::super) fn largest(&self) -> f64 {
        self.largest
    }

    pub(in super::super) fn bytes(&self) -> usize {
        size_of_val(&*self.taps) + size_of_val(&*self.bias) + size_of_val(&*self.multipliers)
    }

    /// Asserts that all taps of all channels lie within `x`, the channels filled up to a multiple of `block`; and all
    /// outputs within `y`.
    pub(super) fn assert_inside(&self, geometry: &Geometry, block: usize, x: &[u8], y: &[u8]) {
        let end = geometry.end_of_reads(self.channels.next_multiple_of(block));
        assert!(end.is_some_and(|end| end <= x.len()), "a convolution's inputs leave their buffer");
        let end = geometry.end_of_writes(self.channels);
        assert!(end.is_some_and(|end| end <= y.len()), "a convolution's outputs leave their buffer");
    }
}
