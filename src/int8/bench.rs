//! Single convolutions with random weights, for `benches/int8.rs`: the operators themselves are not public.

use super::arch::Dense;
use super::conv::{Conv, Weights};
use super::depthwise::Depthwise;
use super::tensor::{Layout, Output, Quantisation, Window};

/// A convolution with its input and output; padding is half of the kernel.
#[derive(Debug)]
pub struct Layer {
    operator: Operator,
    x: Vec<u8>,
    from: Layout,
    y: Vec<u8>,
    to: Layout,
    macs: usize,
}

#[derive(Debug)]
enum Operator {
    Dense(Conv),
    Depthwise(Depthwise),
}

impl Layer {
    /// One in every version that this processor has, with the version's name: plain first, the one normally chosen last.
    /// Dense where `outputs` is given, else depthwise. `picture` is height and width.
    pub fn versions(
        picture: [usize; 2],
        inputs: usize,
        outputs: Option<usize>,
        kernel: usize,
        stride: usize,
    ) -> Vec<(&'static str, Self)> {
        let window = Window { kernel: [kernel; 2], stride: [stride; 2], before: [kernel / 2; 2], dilation: [1; 2] };
        let mut random = random();
        let channels = outputs.unwrap_or(inputs);
        let each = kernel * kernel * outputs.map_or(1, |_| inputs);
        let values: Vec<i8> = (0..channels * each).map(|_| random().cast_signed()).collect();
        let scale = 40.0 / (73.0 * 73.0 * (each as f32).sqrt());
        let weights = Weights { values: &values, outputs: channels, scales: &[scale], bias: None };
        let input = Quantisation { scale: 1.0, zero_point: 110 };
        let quantisation = Quantisation { scale: 1.0, zero_point: 100 };
        let output = Output::plain(quantisation);
        let [height, width] = picture;
        let from = Layout::new(height, width, inputs, kernel / 2);
        let to = Layout::new(height.div_ceil(stride), width.div_ceil(stride), channels, 1);
        let x: Vec<u8> = (0..from.bytes()).map(|_| random()).collect();
        let layer = |operator| Self { operator, x: x.clone(), from, y: vec![0; to.bytes()], to, macs: to.len() * each };
        if outputs.is_some() {
            let operator = |version| Operator::Dense(Conv::with(version, &window, &weights, input, output));
            Dense::all().into_iter().map(|version| (version.name(), layer(operator(version)))).collect()
        } else {
            let convs = Depthwise::new(&window, &weights, input, output).versions();
            convs.into_iter().map(|conv| (conv.name(), layer(Operator::Depthwise(conv)))).collect()
        }
    }

    /// One pass; the output picture's bytes, margin included.
    pub fn run(&mut self) -> &[u8] {
        match &self.operator {
            Operator::Dense(conv) => conv.run(&self.x, &self.from, &mut self.y, &self.to),
            Operator::Depthwise(conv) => conv.run(&self.x, &self.from, &mut self.y, &self.to),
        }
        &self.y
    }

    /// Multiply-adds of a pass.
    pub fn macs(&self) -> usize {
        self.macs
    }
}

/// Pseudo-random bytes.
fn random() -> impl FnMut() -> u8 {
    let mut state = 1_u64;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as u8
    }
}
