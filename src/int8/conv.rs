//! Placeholder: plain loops until the kernels come.
use super::tensor::{Layout, Quantisation};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window { pub(super) kernel: [usize; 2], pub(super) stride: [usize; 2], pub(super) before: [usize; 2], pub(super) dilation: [usize; 2] }
#[derive(Clone, Copy, Debug)]
pub(super) struct Weights<'a> { pub(super) values: &'a [i8], pub(super) outputs: usize, pub(super) scales: &'a [f32], pub(super) bias: Option<&'a [i32]> }
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Output { pub(super) quantisation: Quantisation, pub(super) low: u8, pub(super) high: u8, pub(super) slope: f32 }
#[derive(Clone, Debug)]
pub(super) struct Conv { w: Window, values: Vec<i8>, outputs: usize, inputs: usize, scales: Vec<f32>, bias: Vec<i32>, zp: i32, out: Option<Output>, pub(super) depth: bool }
impl Conv {
    pub(super) fn new(window: &Window, weights: &Weights, input: Quantisation, output: Output) -> Self { Self::make(window, weights, input, Some(output)) }
    pub(super) fn to_floats(window: &Window, weights: &Weights, input: Quantisation) -> Self { Self::make(window, weights, input, None) }
    fn make(window: &Window, weights: &Weights, input: Quantisation, out: Option<Output>) -> Self {
        let taps = window.kernel[0] * window.kernel[1];
        let so = out.map_or(1.0, |o| o.quantisation.scale);
        Self { w: *window, values: weights.values.to_vec(), outputs: weights.outputs, inputs: weights.values.len() / weights.outputs / taps,
            scales: (0..weights.outputs).map(|o| input.scale * weights.scales[o % weights.scales.len()] / so).collect(),
            bias: weights.bias.map_or(vec![0; weights.outputs], <[i32]>::to_vec), zp: input.zero_point.into(), out, depth: false }
    }
    fn sum(&self, x: &[u8], from: &Layout, o: usize, r: usize, c: usize) -> f32 {
        let mut sum = self.bias[o];
        for ky in 0..self.w.kernel[0] { for kx in 0..self.w.kernel[1] {
            let at = from.at((r * self.w.stride[0] + ky * self.w.dilation[0]) as isize - self.w.before[0] as isize, (c * self.w.stride[1] + kx * self.w.dilation[1]) as isize - self.w.before[1] as isize);
            for i in 0..self.inputs {
                let byte = x[at + if self.depth { o } else { i }];
                sum += (i32::from(byte) - self.zp) * i32::from(self.values[((o * self.inputs + i) * self.w.kernel[0] + ky) * self.w.kernel[1] + kx]);
            }
        } }
        sum as f32 * self.scales[o]
    }
    pub(super) fn run(&self, x: &[u8], from: &Layout, y: &mut [u8], to: &Layout) {
        let out = self.out.unwrap_or(Output { quantisation: Quantisation { scale: 1.0, zero_point: 0 }, low: 0, high: 255, slope: 1.0 });
        let zp = f32::from(out.quantisation.zero_point);
        for r in 0..to.height { for c in 0..to.width { for o in 0..self.outputs {
            let mut t = self.sum(x, from, o, r, c);
            if t < 0.0 { t *= out.slope; }
            let t = t.clamp(f32::from(out.low) - zp, f32::from(out.high) - zp).round_ties_even() + zp;
            y[to.at(r as isize, c as isize) + o] = t as u8;
        } } }
    }
    pub(super) fn run_floats(&self, x: &[u8], from: &Layout, y: &mut [f32], height: usize, width: usize) {
        for r in 0..height { for c in 0..width { for o in 0..self.outputs { y[(o * height + r) * width + c] = self.sum(x, from, o, r, c); } } }
    }
    pub(super) fn bytes(&self) -> usize { self.values.len() }
}
