//! Weights as they are.

use super::super::LANES;
use super::super::arch::{FloatKernel, FloatTile, Line, Plain, Shape};
use super::tiles::{Tiles, lines, run, write};

/// Panels of floats, `[out / 16, in, 16]`.
#[derive(Clone, Debug)]
pub(super) struct FloatPanels {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    panels: Vec<Line<f32>>,
    bias: Vec<Line<f32>>,
    kernel: FloatKernel,
}

impl FloatPanels {
    pub(super) fn new(weight: &[f32], bias: &[f32], inputs: usize) -> Self {
        assert_eq!(weight.len(), bias.len() * inputs, "linear: weight is not [out, in]");
        let outputs = bias.len();
        let mut panels = vec![Line([0.0; LANES]); outputs.div_ceil(LANES) * inputs];
        for (output, row) in weight.chunks_exact(inputs.max(1)).enumerate() {
            let (panel, lane) = (output / LANES, output % LANES);
            for (packed, value) in panels[panel * inputs..].iter_mut().zip(row) {
                packed.0[lane] = *value;
            }
        }
        Self { inputs, outputs, panels, bias: lines(bias), kernel: FloatKernel::detect() }
    }

    pub(super) fn use_plain(&mut self) {
        self.kernel = FloatKernel::Plain;
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.panels.as_slice()) + size_of_val(self.bias.as_slice())
    }

    /// Neither inputs nor outputs are none here.
    pub(super) fn apply(&self, x: &[f32], y: &mut [f32]) {
        match self.kernel {
            FloatKernel::Plain => self.apply_with(Plain, x, y),
            #[cfg(target_arch = "x86_64")]
            FloatKernel::Avx2(tiles) => self.apply_with(tiles, x, y),
            #[cfg(target_arch = "x86_64")]
            FloatKernel::Avx512(tiles) => self.apply_with(tiles, x, y),
        }
    }

    pub(super) fn apply_with(&self, tiles: impl FloatTile, x: &[f32], y: &mut [f32]) {
        run(&mut Product { weights: self, tiles, x, y }, x.len() / self.inputs, self.bias.len());
    }
}

struct Product<'a, T> {
    weights: &'a FloatPanels,
    tiles: T,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl<T: FloatTile> Tiles for Product<'_, T> {
    const SHAPE: Shape = T::SHAPE;

    fn tile<const ROWS: usize, const PANELS: usize>(&mut self, row: usize, panel: usize) {
        let FloatPanels { inputs, outputs, panels, bias, .. } = self.weights;
        let x: [&[f32]; ROWS] = std::array::from_fn(|at| &self.x[(row + at) * inputs..][..*inputs]);
        let weights: [&[Line<f32>]; PANELS] = std::array::from_fn(|at| &panels[(panel + at) * inputs..][..*inputs]);
        let mut totals = [std::array::from_fn(|at| bias[panel + at]); ROWS];
        self.tiles.tile(x, weights, &mut totals);
        for (at_row, totals) in totals.iter().enumerate() {
            for (at_panel, total) in totals.iter().enumerate() {
                write(total, self.y, row + at_row, panel + at_panel, *outputs);
            }
        }
    }
}
