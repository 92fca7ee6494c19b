//! What the tests of the operators share: pictures of any layout, and what a correct output looks like byte for byte.

use proptest::prelude::*;

use super::*;

/// Bytes and where the picture lies in them.
#[derive(Clone, Debug)]
pub(super) struct Picture {
    pub(super) bytes: Vec<u8>,
    pub(super) layout: Layout,
}

impl Picture {
    /// Random bytes, also where no pixel lies.
    pub(super) fn new(layout: Layout, seed: u64) -> Self {
        let mut state = seed.wrapping_mul(2).wrapping_add(1);
        let mut byte = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            match (state >> 40) % 8 {
                0 => 0,
                1 => 255,
                _ => (state >> 56) as u8,
            }
        };
        Self { bytes: (0..layout.bytes() + layout.start).map(|_| byte()).collect(), layout }
    }

    pub(super) fn at(&self, y: usize, x: usize, channel: usize) -> u8 {
        self.bytes[self.layout.at(y as isize, x as isize) + channel]
    }

    /// The bytes after `value` was written to each value: no other byte changes.
    pub(super) fn expected(&self, value: impl Fn(usize, usize, usize) -> u8) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        let Layout { height, width, channels, .. } = self.layout;
        for y in 0..height {
            for x in 0..width {
                for channel in 0..channels {
                    bytes[self.layout.at(y as isize, x as isize) + channel] = value(y, x, channel);
                }
            }
        }
        bytes
    }

    /// The bytes after `run` wrote them.
    pub(super) fn found(&self, run: impl FnOnce(&mut [u8], &Layout)) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        run(&mut bytes, &self.layout);
        bytes
    }
}

/// A picture of these sizes, with or without a margin, alone or between other channels.
pub(super) fn picture([height, width, channels]: [usize; 3]) -> impl Strategy<Value = Picture> {
    let gaps = prop_oneof![Just((0, 0)), (0..4_usize, 0..20_usize)];
    (0..3_usize, gaps, any::<u64>()).prop_map(move |(margin, (before, after), seed)| {
        let wide = Layout::new(height, width, before + channels + after, margin);
        Picture::new(wide.channels(before..before + channels), seed)
    })
}

/// Height, width, channels.
pub(super) fn sizes() -> impl Strategy<Value = [usize; 3]> {
    let channels = prop_oneof![1..=70_usize, Just(64_usize), Just(16_usize), Just(3_usize)];
    (side(), side(), channels).prop_map(|(height, width, channels)| [height, width, channels])
}

fn side() -> impl Strategy<Value = usize> {
    prop_oneof![Just(1_usize), 1..=9_usize, Just(33_usize)]
}

pub(super) fn zero_point() -> impl Strategy<Value = u8> {
    prop_oneof![Just(0_u8), Just(128_u8), Just(255_u8), any::<u8>()]
}

pub(super) fn quantisation() -> impl Strategy<Value = Quantisation> {
    let scale = prop_oneof![Just(1.0_f32), Just(0.25_f32), 0.001_f32..3.0];
    (scale, zero_point()).prop_map(|(scale, zero_point)| Quantisation { scale, zero_point })
}

pub(super) fn output() -> impl Strategy<Value = Output> {
    let bounds = prop_oneof![Just((0, 255)), [any::<u8>(), any::<u8>()].prop_map(|[a, b]| (a.min(b), a.max(b)))];
    let slope = prop_oneof![Just(1.0_f32), Just(0.1_f32), Just(-0.5_f32), Just(2.0_f32)];
    (quantisation(), bounds, slope).prop_map(|(quantisation, (low, high), slope)| Output {
        quantisation,
        low,
        high,
        slope,
    })
}

/// The common rule, as it is written down.
pub(super) fn rounded(steps: f32, output: &Output) -> u8 {
    let zero_point = i32::from(output.quantisation.zero_point);
    let steps = if steps < 0.0 { steps * output.slope } else { steps };
    let low = (i32::from(output.low) - zero_point) as f32;
    let high = (i32::from(output.high) - zero_point) as f32;
    (steps.clamp(low, high).round_ties_even() as i32 + zero_point) as u8
}

/// Whether `byte` is the nearest to the number `real`, but for the rounding of a few floats: `slack` steps.
pub(super) fn is_near(byte: u8, real: f64, output: &Output, slack: f64) -> bool {
    let scale = f64::from(output.quantisation.scale);
    let zero_point = f64::from(output.quantisation.zero_point);
    let steps = real / scale * if real < 0.0 { f64::from(output.slope) } else { 1.0 };
    let exact = (steps + zero_point).clamp(output.low.into(), output.high.into());
    (f64::from(byte) - exact).abs() <= 0.5 + slack
}

/// The number that a byte stands for.
pub(super) fn real(byte: u8, quantisation: Quantisation) -> f64 {
    (f64::from(byte) - f64::from(quantisation.zero_point)) * f64::from(quantisation.scale)
}

/// A window, a picture, and one of the sizes that the window leaves of it.
pub(super) fn pooled() -> impl Strategy<Value = (Window, Picture, Picture)> {
    let axis = || (1..=5_usize, 1..=3_usize, 0..=3_usize, 1..=2_usize, 0..=3_usize);
    (sizes(), axis(), axis()).prop_flat_map(|([height, width, channels], down, right)| {
        let window = Window {
            kernel: [down.0, right.0],
            stride: [down.1, right.1],
            before: [down.2, right.2],
            dilation: [down.3, right.3],
        };
        let length = |axis: usize, length: usize, after: usize| {
            let reach = (window.kernel[axis] - 1) * window.dilation[axis];
            (length + window.before[axis] + after).saturating_sub(reach + 1) / window.stride[axis] + 1
        };
        let to = [length(0, height, down.4), length(1, width, right.4), channels];
        (Just(window), picture([height, width, channels]), picture(to))
    })
}

/// The bytes that an output pixel sees, padding left out.
pub(super) fn seen_by(window: &Window, x: &Picture, row: usize, column: usize, channel: usize) -> Vec<u8> {
    let place = |axis: usize, at: usize, tap: usize| {
        (at * window.stride[axis] + tap * window.dilation[axis]).checked_sub(window.before[axis])
    };
    let mut seen = Vec::new();
    for down in 0..window.kernel[0] {
        for right in 0..window.kernel[1] {
            if let (Some(y), Some(x_at)) = (place(0, row, down), place(1, column, right))
                && y < x.layout.height
                && x_at < x.layout.width
            {
                seen.push(x.at(y, x_at, channel));
            }
        }
    }
    seen
}
