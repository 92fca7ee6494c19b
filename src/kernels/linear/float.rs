//! Weights as they are.

use super::super::LANES;
use super::super::arch::{BLOCK, FloatKernel, FloatTile, Line, Piece, Plain, Shape};
use super::tiles::{FEW, MANY, Tiles, block, lines, pieces, run, write};

/// Widest row: there is room for one.
const MAX_INPUTS: usize = MANY * BLOCK;

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
        assert!(inputs <= MAX_INPUTS, "linear: {inputs} inputs, at most {MAX_INPUTS}");
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
        let (rows, panels, most) = (x.len() / self.inputs, self.bias.len(), ROOM / self.inputs.div_ceil(BLOCK));
        let pieces = [[0.0; BLOCK + LANES]; ROOM];
        run(&mut Product { weights: self, tiles, x, y, pieces, row: 0 }, rows, panels, self.inputs, most);
    }
}

struct Product<'a, T, const ROOM: usize> {
    weights: &'a FloatPanels,
    tiles: T,
    x: &'a [f32],
    y: &'a mut [f32],
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
            for (block, piece) in x.chunks(BLOCK).zip(pieces(&mut self.pieces, at, height)) {
                piece[..block.len()].copy_from_slice(block);
            }
        }
    }

    fn tile<const ROWS: usize, const PANELS: usize>(&mut self, panel: usize) {
        let FloatPanels { inputs, outputs, panels, bias, .. } = self.weights;
        let weights: [&[Line<f32>]; PANELS] = std::array::from_fn(|at| &panels[(panel + at) * inputs..][..*inputs]);
        let mut totals = [std::array::from_fn(|at| bias[panel + at]); ROWS];
        for (number, x) in self.pieces.as_chunks::<ROWS>().0.iter().take(inputs.div_ceil(BLOCK)).enumerate() {
            self.tiles.tile(x, weights.map(|panel| block(panel, number)), &mut totals);
        }
        for (at_row, totals) in totals.iter().enumerate() {
            for (at_panel, total) in totals.iter().enumerate() {
                write(total, self.y, self.row + at_row, panel + at_panel, *outputs);
            }
        }
    }
}
