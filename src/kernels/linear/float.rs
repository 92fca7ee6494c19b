//! Weights as they are.

use std::ops::Range;

use super::super::LANES;
use super::super::arch::{BLOCK, FloatKernel, FloatTile, Line, Piece, Plain, Shape};
use super::tiles::{FEW, MANY, Tiles, block, lines, pieces, read, run, write};

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

    fn apply_with(&self, tiles: impl FloatTile, x: &[f32], y: &mut [f32]) {
        if x.len() / self.inputs * self.inputs.div_ceil(BLOCK) <= FEW {
            self.apply_in::<FEW>(tiles, x, y);
        } else {
            self.apply_in::<MANY>(tiles, x, y);
        }
    }

    fn apply_in<const ROOM: usize>(&self, tiles: impl FloatTile, x: &[f32], y: &mut [f32]) {
        let (rows, panels, pieces) = (x.len() / self.inputs, self.bias.len(), [[0.0; BLOCK + LANES]; ROOM]);
        let mut product = Product { weights: self, tiles, x, y, inputs: 0..0, pieces, row: 0 };
        // Rows wider than there is room for: part after part, `y` carries the sums.
        for first in (0..self.inputs).step_by(ROOM * BLOCK) {
            product.inputs = first..self.inputs.min(first + ROOM * BLOCK);
            let inputs = product.inputs.len();
            run(&mut product, rows, panels, inputs, ROOM / inputs.div_ceil(BLOCK));
        }
    }
}

struct Product<'a, T, const ROOM: usize> {
    weights: &'a FloatPanels,
    tiles: T,
    x: &'a [f32],
    y: &'a mut [f32],
    /// What is worked on now.
    inputs: Range<usize>,
    /// The rows of the tile, `[blocks, rows]`: on the stack, nothing is allocated.
    pieces: [Piece<f32>; ROOM],
    /// The first of them.
    row: usize,
}

impl<T: FloatTile, const ROOM: usize> Tiles for Product<'_, T, ROOM> {
    const SHAPE: Shape = T::SHAPE;

    fn take(&mut self, row: usize, height: usize) {
        self.row = row;
        let inputs = self.weights.inputs;
        for (at, x) in self.x[row * inputs..].chunks_exact(inputs).take(height).enumerate() {
            for (block, piece) in x[self.inputs.clone()].chunks(BLOCK).zip(pieces(&mut self.pieces, at, height)) {
                piece[..block.len()].copy_from_slice(block);
            }
        }
    }

    fn tile<const ROWS: usize, const PANELS: usize>(&mut self, panel: usize) {
        let FloatPanels { inputs, outputs, panels, bias, .. } = self.weights;
        let mut weights: [&[Line<f32>]; PANELS] = [&[]; PANELS];
        let mut totals = [[Line([0.0; LANES]); PANELS]; ROWS];
        for at in 0..PANELS {
            weights[at] = &panels[(panel + at) * inputs..][self.inputs.clone()];
            for (row, totals) in totals.iter_mut().enumerate() {
                totals[at] = bias[panel + at];
                if self.inputs.start > 0 {
                    read(&mut totals[at], self.y, self.row + row, panel + at, *outputs);
                }
            }
        }
        let blocks = self.inputs.len().div_ceil(BLOCK);
        for (number, x) in self.pieces.as_chunks::<ROWS>().0.iter().take(blocks).enumerate() {
            self.tiles.tile(x, block(weights, number), &mut totals);
        }
        for (at_row, totals) in totals.iter().enumerate() {
            for (at_panel, total) in totals.iter().enumerate() {
                write(total, self.y, self.row + at_row, panel + at_panel, *outputs);
            }
        }
    }
}
