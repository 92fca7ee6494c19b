//! Weights and rows as bytes.

use super::super::LANES;
use super::super::arch::{FILLED, Group, Int8Kernel, Int8Tile, Line, PlainInt8, Shape};
use super::quantise::{quantise, quantise_weights};
use super::tiles::{Tiles, lines, run, write};

/// Groups of the rows that are worked on together: what fits the first cache, and what one or a few rows need.
const MANY: usize = 8192;
const FEW: usize = 1024;

/// Most rows that are worked on together.
const ROWS: usize = 64;

/// Widest row: fits [`MANY`], and no sum of products leaves 32 bits.
const MAX_INPUTS: usize = MANY * size_of::<Group>();

/// Panels of bytes, `[out / 16, in / 4, 16, 4]`, the inputs filled up with zeros to a multiple of eight.
#[derive(Clone, Debug)]
pub(super) struct Int8Panels {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    /// Groups of a row.
    groups: usize,
    panels: Vec<Line<Group>>,
    /// Of each output: the scale of its weights, their sum as bytes, and the bias.
    scales: Vec<Line<f32>>,
    weight_sums: Vec<Line<i32>>,
    bias: Vec<Line<f32>>,
    kernel: Int8Kernel,
}

impl Int8Panels {
    pub(super) fn new(weight: &[f32], bias: &[f32], inputs: usize) -> Self {
        assert_eq!(weight.len(), bias.len() * inputs, "linear: weight is not [out, in]");
        assert!(inputs <= MAX_INPUTS, "linear: {inputs} inputs, at most {MAX_INPUTS} as bytes");
        let outputs = bias.len();
        let groups = inputs.div_ceil(FILLED) * (FILLED / size_of::<Group>());
        let mut panels = vec![Line([[0; 4]; LANES]); outputs.div_ceil(LANES) * groups];
        let (mut scales, mut sums) = (vec![0.0; outputs], vec![0; outputs]);
        let mut bytes = vec![0; inputs];
        for (output, row) in weight.chunks_exact(inputs.max(1)).enumerate() {
            scales[output] = quantise_weights(row, &mut bytes);
            sums[output] = bytes.iter().copied().map(i32::from).sum();
            let (panel, lane) = (output / LANES, output % LANES);
            for (packed, group) in panels[panel * groups..].iter_mut().zip(bytes.chunks(4)) {
                packed.0[lane][..group.len()].copy_from_slice(group);
            }
        }
        Self {
            inputs,
            outputs,
            groups,
            panels,
            scales: lines(&scales),
            weight_sums: lines(&sums),
            bias: lines(bias),
            kernel: Int8Kernel::detect(),
        }
    }

    pub(super) fn use_plain(&mut self) {
        self.kernel = Int8Kernel::Plain;
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.panels.as_slice())
            + size_of_val(self.scales.as_slice())
            + size_of_val(self.weight_sums.as_slice())
            + size_of_val(self.bias.as_slice())
    }

    /// Neither inputs nor outputs are none here.
    pub(super) fn apply(&self, x: &[f32], y: &mut [f32]) {
        match self.kernel {
            Int8Kernel::Plain => self.apply_with(PlainInt8, x, y),
            #[cfg(target_arch = "x86_64")]
            Int8Kernel::Sse2(tiles) => self.apply_with(tiles, x, y),
            #[cfg(target_arch = "x86_64")]
            Int8Kernel::Avx2(tiles) => self.apply_with(tiles, x, y),
            #[cfg(target_arch = "x86_64")]
            Int8Kernel::Avx512Vnni(tiles) => self.apply_with(tiles, x, y),
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Int8Kernel::Neon(tiles) => self.apply_with(tiles, x, y),
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Int8Kernel::DotProduct(tiles) => self.apply_with(tiles, x, y),
        }
    }

    pub(super) fn apply_with(&self, tiles: impl Int8Tile, x: &[f32], y: &mut [f32]) {
        if x.len() / self.inputs * self.groups <= FEW {
            self.apply_in_blocks::<FEW>(tiles, x, y);
        } else {
            self.apply_in_blocks::<MANY>(tiles, x, y);
        }
    }

    /// As many rows together as `ROOM` groups hold. The bytes live on the stack: nothing is allocated.
    fn apply_in_blocks<const ROOM: usize>(&self, tiles: impl Int8Tile, x: &[f32], y: &mut [f32]) {
        let most = ROWS.min(ROOM / self.groups);
        let mut bytes = [[0; 4]; ROOM];
        let mut row_scales = [0.0; ROWS];
        for (x, y) in x.chunks(most * self.inputs).zip(y.chunks_mut(most * self.outputs)) {
            let rows = x.chunks_exact(self.inputs).zip(bytes.chunks_exact_mut(self.groups));
            for ((row, bytes), scale) in rows.zip(&mut row_scales) {
                *scale = quantise(row, bytes);
            }
            let rows = x.len() / self.inputs;
            let mut product = Product { weights: self, tiles, bytes: &bytes, row_scales: &row_scales, y };
            run(&mut product, rows, self.bias.len());
        }
    }
}

struct Product<'a, T> {
    weights: &'a Int8Panels,
    tiles: T,
    bytes: &'a [Group],
    row_scales: &'a [f32],
    y: &'a mut [f32],
}

impl<T: Int8Tile> Tiles for Product<'_, T> {
    const SHAPE: Shape = T::SHAPE;

    fn tile<const ROWS: usize, const PANELS: usize>(&mut self, row: usize, panel: usize) {
        let Int8Panels { outputs, groups, panels, scales, weight_sums, bias, .. } = self.weights;
        let x: [&[Group]; ROWS] = std::array::from_fn(|at| &self.bytes[(row + at) * groups..][..*groups]);
        let weights: [&[Line<Group>]; PANELS] = std::array::from_fn(|at| &panels[(panel + at) * groups..][..*groups]);
        let start = |at: usize| Line(weight_sums[panel + at].0.map(|sum| -T::OFFSET * sum));
        let mut sums = [std::array::from_fn(start); ROWS];
        self.tiles.tile(x, weights, &mut sums);
        for (at_row, sums) in sums.iter().enumerate() {
            for (at_panel, sum) in sums.iter().enumerate() {
                let at = panel + at_panel;
                let line = to_floats(sum, self.row_scales[row + at_row], &scales[at], &bias[at]);
                write(&line, self.y, row + at_row, at, *outputs);
            }
        }
    }
}

/// The sum, times both scales, and the bias. Each step is one rounding, never two in one: the same bits everywhere.
#[inline]
fn to_floats(sum: &Line<i32>, row_scale: f32, scales: &Line<f32>, bias: &Line<f32>) -> Line<f32> {
    let mut line = Line([0.0; LANES]);
    for (lane, value) in line.0.iter_mut().enumerate() {
        *value = sum.0[lane] as f32 * (row_scale * scales.0[lane]) + bias.0[lane];
    }
    line
}
