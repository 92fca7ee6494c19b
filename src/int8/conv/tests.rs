//! Plain against the formula, and every version against plain.

use proptest::prelude::*;

use super::*;

/// A convolution with everything it needs.
#[derive(Clone, Debug)]
pub(in super::super) struct Case {
    pub(in super::super) window: Window,
    /// Padding below and right.
    pub(in super::super) after: [usize; 2],
    pub(in super::super) picture: [usize; 2],
    pub(in super::super) inputs: usize,
    pub(in super::super) outputs: usize,
    /// Channels that the buffers have beyond those worked on: before and behind.
    pub(in super::super) gaps: [[usize; 2]; 2],
    /// What the input's margin has beyond the padding, and the output's margin.
    pub(in super::super) margins: [usize; 2],
    pub(in super::super) input: Quantisation,
    pub(in super::super) output: Output,
    pub(in super::super) fill: Fill,
    pub(in super::super) seed: u64,
}

/// How bytes and weights are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Fill {
    Random,
    /// All bytes one, all weights another.
    Constant(u8, i8),
    /// The ends of both ranges.
    Extremes,
}

/// Pseudo-random numbers.
pub(in super::super) struct Random(u64);

impl Random {
    pub(in super::super) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(in super::super) fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }
}

impl Case {
    pub(in super::super) fn new(picture: [usize; 2], kernel: usize, stride: usize, channels: [usize; 2]) -> Self {
        let [inputs, outputs] = channels;
        let padding = [kernel / 2; 2];
        let quantisation = Quantisation { scale: 0.5, zero_point: 3 };
        Self {
            window: Window { kernel: [kernel; 2], stride: [stride; 2], before: padding, dilation: [1; 2] },
            after: padding,
            picture,
            inputs,
            outputs,
            gaps: [[0; 2]; 2],
            margins: [0; 2],
            input: Quantisation { scale: 0.02, zero_point: 120 },
            output: Output { quantisation, low: 0, high: 255, slope: 1.0 },
            fill: Fill::Random,
            seed: 1,
        }
    }

    /// Output rows and columns, none where the picture is smaller than the kernel.
    pub(in super::super) fn outputs(&self) -> Option<[usize; 2]> {
        let count = |axis: usize| {
            let Window { kernel, stride, before, dilation } = self.window;
            let all = self.picture[axis] + before[axis] + self.after[axis];
            Some(all.checked_sub((kernel[axis] - 1) * dilation[axis] + 1)? / stride[axis] + 1)
        };
        Some([count(0)?, count(1)?])
    }

    fn layout(picture: [usize; 2], channels: usize, gaps: [usize; 2], margin: usize) -> Layout {
        Layout::new(picture[0], picture[1], gaps[0] + channels + gaps[1], margin).channels(gaps[0]..gaps[0] + channels)
    }

    pub(in super::super) fn from(&self) -> Layout {
        let padding = self.window.before.into_iter().chain(self.after).max().unwrap_or(0);
        Self::layout(self.picture, self.inputs, self.gaps[0], padding + self.margins[0])
    }

    pub(in super::super) fn to(&self) -> Option<Layout> {
        Some(Self::layout(self.outputs()?, self.outputs, self.gaps[1], self.margins[1]))
    }

    /// `count` weights an output.
    pub(in super::super) fn weights(&self, count: usize) -> Vec<i8> {
        let mut random = Random::new(self.seed);
        (0..self.outputs * count)
            .map(|_| match self.fill {
                Fill::Random => random.next() as i8,
                Fill::Constant(_, weight) => weight,
                Fill::Extremes => [i8::MIN, -127, 0, i8::MAX][random.next() as usize % 4],
            })
            .collect()
    }

    pub(in super::super) fn bias(&self) -> Vec<i32> {
        let mut random = Random::new(self.seed ^ 0x77);
        (0..self.outputs).map(|_| (random.next() % 20_001) as i32 - 10_000).collect()
    }

    pub(in super::super) fn scales(&self, taps: usize) -> Vec<f32> {
        let mut random = Random::new(self.seed ^ 0x99);
        let middle = 60.0 / (self.input.scale * 73.0 * 73.0 * (taps as f32).sqrt()) * self.output.quantisation.scale;
        (0..self.outputs).map(|_| middle * (0.5 + (random.next() % 1000) as f32 / 1000.0)).collect()
    }

    /// The input: the margin holds the zero point in the channels worked on, all else is anything.
    pub(in super::super) fn x(&self) -> Vec<u8> {
        let mut random = Random::new(self.seed ^ 0x55);
        let from = self.from();
        let mut x: Vec<u8> = (0..from.bytes()).map(|_| random.next() as u8).collect();
        let margin = from.margin.cast_signed();
        let [height, width] = self.picture.map(usize::cast_signed);
        for row in -margin..height + margin {
            for column in -margin..width + margin {
                for channel in 0..self.inputs {
                    let inside = (0..height).contains(&row) && (0..width).contains(&column);
                    x[from.at(row, column) + channel] = match self.fill {
                        _ if !inside => self.input.zero_point,
                        Fill::Random => random.next() as u8,
                        Fill::Constant(byte, _) => byte,
                        Fill::Extremes => [0, 127, 128, 255][random.next() as usize % 4],
                    };
                }
            }
        }
        x
    }

    /// The sum that the formula gives for one output, input by input.
    pub(in super::super) fn sum(
        &self,
        from: &Layout,
        x: &[u8],
        at: [usize; 2],
        weight: impl Fn(usize, usize, usize) -> (usize, i8),
    ) -> i32 {
        let mut sum = 0;
        for ky in 0..self.window.kernel[0] {
            for kx in 0..self.window.kernel[1] {
                let place = |axis: usize, tap: usize| {
                    (at[axis] * self.window.stride[axis] + tap * self.window.dilation[axis]).cast_signed()
                        - self.window.before[axis].cast_signed()
                };
                let (row, column) = (place(0, ky), place(1, kx));
                let inside = (0..self.picture[0].cast_signed()).contains(&row)
                    && (0..self.picture[1].cast_signed()).contains(&column);
                for input in 0..self.inputs {
                    let (channel, weight) = weight(input, ky, kx);
                    let byte = if inside { x[from.at(row, column) + channel] } else { self.input.zero_point };
                    sum += (i32::from(byte) - i32::from(self.input.zero_point)) * i32::from(weight);
                }
            }
        }
        sum
    }

    /// The byte that the formula gives for a sum.
    pub(in super::super) fn byte(&self, sum: i32, scale: f32) -> u8 {
        let Output { quantisation, low, high, slope } = self.output;
        let t = sum as f32 * (self.input.scale * scale / quantisation.scale);
        let t = if t < 0.0 { t * slope } else { t };
        let byte = t.round_ties_even().clamp(-1e3, 1e3) as i32 + i32::from(quantisation.zero_point);
        byte.clamp(i32::from(low), i32::from(high)) as u8
    }
}

/// Checks one case: plain against the formula, and all versions against plain, margins and gaps included.
fn check(case: &Case) {
    let Some(to) = case.to() else { return };
    let (from, x) = (case.from(), case.x());
    let [kh, kw] = case.window.kernel;
    let (values, bias, scales) = (case.weights(case.inputs * kh * kw), case.bias(), case.scales(case.inputs * kh * kw));
    let weights = Weights { values: &values, outputs: case.outputs, scales: &scales, bias: Some(&bias) };
    let untouched: Vec<u8> = (0..to.bytes()).map(|at| at as u8).collect();

    let mut expected = untouched.clone();
    let mut floats = vec![0.0; to.len()];
    for row in 0..to.height {
        for column in 0..to.width {
            for output in 0..case.outputs {
                let sum = bias[output]
                    + case.sum(&from, &x, [row, column], |input, ky, kx| {
                        (input, values[((output * case.inputs + input) * kh + ky) * kw + kx])
                    });
                let byte = case.byte(sum, scales[output]);
                expected[to.at(row.cast_signed(), column.cast_signed()) + output] = byte;
                floats[(output * to.height + row) * to.width + column] =
                    sum as f32 * (case.input.scale * scales[output]);
            }
        }
    }
    for version in Dense::all() {
        let conv = Conv::with(version, &case.window, &weights, case.input, case.output);
        let mut found = untouched.clone();
        conv.run(&x, &from, &mut found, &to);
        assert!(found == expected, "{version:?}, {case:?}: {:?}", first_difference(&found, &expected));
        let mut found = untouched.clone();
        conv.plain().run(&x, &from, &mut found, &to);
        assert!(found == expected, "{version:?} made plain, {case:?}");

        let conv = Conv { version, ..Conv::with(version, &case.window, &weights, case.input, float_output()) };
        let mut found = vec![0.0; to.len()];
        conv.run_floats(&x, &from, &mut found, to.height, to.width);
        assert_eq!(found, floats, "{version:?}, {case:?}");
    }
}

fn float_output() -> Output {
    Output { quantisation: Quantisation { scale: 1.0, zero_point: 0 }, low: 0, high: 255, slope: 1.0 }
}

/// Where, and the two bytes.
pub(in super::super) fn first_difference(found: &[u8], expected: &[u8]) -> Option<(usize, u8, u8)> {
    let at = found.iter().zip(expected).position(|(found, expected)| found != expected)?;
    Some((at, found[at], expected[at]))
}

/// So that nobody takes a version for tested where it is not.
#[test]
fn versions_of_this_processor() {
    let found: Vec<_> = Dense::all().into_iter().map(Dense::name).collect();
    #[cfg(target_arch = "x86_64")]
    let all = ["plain", "avx2", "avx512-vnni"];
    #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
    let all = ["plain", "neon", "neon-dotprod"];
    #[cfg(not(any(target_arch = "x86_64", all(target_arch = "aarch64", target_endian = "little"))))]
    let all = ["plain"];
    for name in all {
        if !found.contains(&name) {
            eprintln!("SKIPPED: this processor has no {name}");
        }
    }
    assert_eq!(found, all[..found.len()], "plain first, the best last");
    assert_eq!(Some(Dense::detect()), Dense::all().pop());
}

#[test]
fn every_number_of_outputs() {
    for outputs in (1..=65).chain([72, 80, 88, 96, 104, 112, 120, 127, 128, 136, 144, 160, 176, 200, 208]) {
        check(&Case { seed: outputs as u64, ..Case::new([3, 5], 1, 1, [8, outputs]) });
    }
}

#[test]
fn every_number_of_pixels_and_inputs() {
    for pixels in (1..=26).chain([95, 96, 97, 191, 193]) {
        for outputs in [8, 16, 24, 48, 64] {
            check(&Case { seed: pixels as u64, ..Case::new([1, pixels], 1, 1, [5, outputs]) });
        }
    }
    for inputs in 1..=20 {
        check(&Case::new([4, 3], 3, 1, [inputs, 17]));
        check(&Case { gaps: [[3, 2]; 2], ..Case::new([4, 3], 3, 2, [inputs, 17]) });
    }
}

#[test]
fn extremes() {
    for byte in [0, 1, 127, 128, 255] {
        for weight in [i8::MIN, -127, 0, i8::MAX] {
            for zero_point in [0, 128, 255] {
                let input = Quantisation { scale: 0.02, zero_point };
                let fill = Fill::Constant(byte, weight);
                check(&Case { input, fill, ..Case::new([4, 3], 3, 1, [33, 24]) });
            }
        }
    }
}

#[test]
fn no_pixels() {
    let mut case = Case::new([0, 3], 1, 1, [4, 5]);
    case.window.before = [0; 2];
    check(&case);
}

/// Multipliers so large that the products fit no 32 bits, and sums that wrap around.
#[test]
fn what_does_not_fit() {
    let case = Case::new([3, 4], 1, 1, [64, 40]);
    let (x, from) = (case.x(), case.from());
    let to = Layout::new(3, 4, 40, 0);
    let values = case.weights(64);
    for bias in [i32::MIN, i32::MAX, 0] {
        for scale in [1e4, 1e30, f32::INFINITY, f32::NAN] {
            let weights = Weights { values: &values, outputs: 40, scales: &[scale], bias: Some(&[bias; 40]) };
            let run = |conv: &Conv| {
                let mut y = vec![0; to.bytes()];
                conv.run(&x, &from, &mut y, &to);
                y
            };
            for version in Dense::all() {
                let conv = Conv::with(version, &case.window, &weights, case.input, case.output);
                assert_eq!(run(&conv), run(&conv.clone().plain()), "{version:?}, bias {bias}, scale {scale}");
            }
        }
    }
}

#[test]
#[should_panic(expected = "leave their buffer")]
fn a_short_buffer_is_refused() {
    let case = Case::new([3, 4], 3, 1, [4, 4]);
    let weights = Weights { values: &case.weights(36), outputs: 4, scales: &[1.0], bias: None };
    let conv = Conv::new(&case.window, &weights, case.input, case.output);
    let (to, from) = (Layout::new(3, 4, 4, 0), case.from());
    conv.run(&case.x()[..from.bytes() - 80], &from, &mut vec![0; to.bytes()], &to);
}

#[test]
#[should_panic(expected = "leave their buffer")]
fn a_layout_that_lies_is_refused() {
    let case = Case::new([3, 4], 3, 1, [4, 4]);
    let weights = Weights { values: &case.weights(36), outputs: 4, scales: &[1.0], bias: None };
    let conv = Conv::new(&case.window, &weights, case.input, case.output);
    let to = Layout::new(3, 4, 4, 0);
    let from = Layout { row: usize::MAX / 64, ..case.from() };
    conv.run(&case.x(), &from, &mut vec![0; to.bytes()], &to);
}

#[test]
#[should_panic(expected = "leave their buffer")]
fn a_short_output_is_refused() {
    let case = Case::new([3, 4], 1, 1, [4, 4]);
    let weights = Weights { values: &case.weights(4), outputs: 4, scales: &[1.0], bias: None };
    let conv = Conv::new(&case.window, &weights, case.input, case.output);
    conv.run(&case.x(), &case.from(), &mut [0; 47], &Layout::new(3, 4, 4, 0));
}

pub(in super::super) fn cases(
    kernels: impl Strategy<Value = [usize; 2]>,
    depthwise: bool,
) -> impl Strategy<Value = Case> {
    let window = (
        kernels,
        [1_usize..=3, 1_usize..=3],
        [0_usize..=2, 0_usize..=2],
        prop_oneof![4 => Just([1; 2]), 1 => [1_usize..=2, 1_usize..=3]],
    )
        .prop_map(|(kernel, stride, before, dilation)| Window { kernel, stride, before, dilation });
    let most: usize = if depthwise { 1 } else { 40 };
    let channels = (1..=most, prop_oneof![2 => 1_usize..=70, 1 => (1_usize..=20).prop_map(|eights| 8 * eights)]);
    let zero_point = || prop_oneof![Just(0_u8), Just(128), Just(255), any::<u8>()];
    let output =
        (zero_point(), any::<[u8; 2]>(), 0..4, prop_oneof![3 => Just(1.0_f32), 1 => -0.5_f32..1.5, 1 => Just(0.1)])
            .prop_map(|(zero_point, mut limits, kind, slope)| {
                limits.sort_unstable();
                let [low, high] = match kind {
                    0 => limits,
                    1 => [limits[0]; 2],
                    _ => [0, 255],
                };
                Output { quantisation: Quantisation { scale: 0.5, zero_point }, low, high, slope }
            });
    let fill = prop_oneof![
        6 => Just(Fill::Random),
        2 => Just(Fill::Extremes),
        1 => (any::<u8>(), any::<i8>()).prop_map(|(byte, weight)| Fill::Constant(byte, weight)),
    ];
    let space = (
        [1_usize..=12, 1_usize..=12],
        [[0_usize..=3, 0_usize..=3], [0_usize..=3, 0_usize..=3]],
        any::<[bool; 2]>(),
        [0_usize..=2, 0_usize..=2],
        [0_usize..=2, 0_usize..=2],
    );
    (window, channels, zero_point(), output, fill, space, any::<u64>()).prop_map(
        |(window, (inputs, outputs), zero_point, output, fill, (picture, gaps, gapped, margins, after), seed)| Case {
            window,
            after,
            picture,
            inputs,
            outputs,
            gaps: [if gapped[0] { gaps[0] } else { [0; 2] }, if gapped[1] { gaps[1] } else { [0; 2] }],
            margins,
            input: Quantisation { scale: 0.02, zero_point },
            output,
            fill,
            seed,
        },
    )
}

proptest! {
    #[test]
    fn any_convolution(case in cases([1_usize..=5, 1_usize..=5], false)) {
        check(&case);
    }
}
