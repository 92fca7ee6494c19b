//! Weights and rows as bytes.

use super::super::LANES;
use super::super::arch::run as compiled;
use super::super::arch::{
    Arithmetic, BLOCK, FILLED, Group, Int8Kernel, Int8Tile, Line, Piece, PlainInt8, Shape, Sums, Work,
};
use super::quantise::{quantise, quantise_weights};
use super::tiles::{FEW, MANY, Tiles, block, lines, pieces, run, write};

/// Widest row: there is room for one, and no sum of products leaves 32 bits.
const MAX_INPUTS: usize = 32768;
const _: () = assert!(MAX_INPUTS <= MANY * BLOCK * size_of::<Group>());

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

    fn apply_with(&self, tiles: impl Int8Tile, x: &[f32], y: &mut [f32]) {
        if x.len() / self.inputs * self.groups.div_ceil(BLOCK) <= FEW {
            self.apply_in::<FEW>(tiles, x, y);
        } else {
            self.apply_in::<MANY>(tiles, x, y);
        }
    }

    fn apply_in<const ROOM: usize>(&self, tiles: impl Int8Tile, x: &[f32], y: &mut [f32]) {
        let (rows, panels, most) = (x.len() / self.inputs, self.bias.len(), ROOM / self.groups.div_ceil(BLOCK));
        let (pieces, row_scales) = ([[[0; 4]; BLOCK + LANES]; ROOM], [0.0; FEW]);
        let mut product = Product { weights: self, tiles, x, y, pieces, row_scales, row: 0 };
        run(&mut product, rows, panels, self.groups, most);
    }
}

struct Product<'a, T, const ROOM: usize> {
    weights: &'a Int8Panels,
    tiles: T,
    x: &'a [f32],
    y: &'a mut [f32],
    /// The rows of the tile as bytes, `[blocks, rows]`: on the stack, nothing is allocated.
    pieces: [Piece<Group>; ROOM],
    row_scales: [f32; FEW],
    /// The first of them.
    row: usize,
}

impl<T: Int8Tile, const ROOM: usize> Tiles for Product<'_, T, ROOM> {
    const SHAPE: Shape = T::SHAPE;

    fn take(&mut self, row: usize, height: usize) {
        self.row = row;
        let inputs = self.weights.inputs;
        let rows = self.x[row * inputs..].chunks_exact(inputs).take(height).zip(&mut self.row_scales);
        for (at, (x, scale)) in rows.enumerate() {
            let pieces = pieces(&mut self.pieces, at, height);
            *scale = quantise(x, pieces.map(|piece| &mut piece[..BLOCK]));
        }
    }

    fn tile<const ROWS: usize, const PANELS: usize>(&mut self, panel: usize) {
        let Int8Panels { outputs, groups, panels, scales, weight_sums, bias, .. } = self.weights;
        let mut weights: [&[Line<Group>]; PANELS] = [&[]; PANELS];
        let mut sums = [[Line([0; LANES]); PANELS]; ROWS];
        for at in 0..PANELS {
            weights[at] = &panels[(panel + at) * groups..][..*groups];
            for sums in &mut sums {
                for lane in 0..LANES {
                    sums[at].0[lane] = -T::OFFSET * weight_sums[panel + at].0[lane];
                }
            }
        }
        for (number, x) in self.pieces.as_chunks::<ROWS>().0.iter().take(groups.div_ceil(BLOCK)).enumerate() {
            self.tiles.tile(x, block(weights, number), &mut sums);
        }
        let (scales, bias) = (&scales[panel..][..PANELS], &bias[panel..][..PANELS]);
        let mut floats = [[Line([0.0; LANES]); PANELS]; ROWS];
        compiled(ToFloats { sums: &sums, row_scales: &self.row_scales, scales, bias, floats: &mut floats });
        for (at_row, floats) in floats.iter().enumerate() {
            for (at_panel, line) in floats.iter().enumerate() {
                write(line, self.y, self.row + at_row, panel + at_panel, *outputs);
            }
        }
    }
}

/// Sums of bytes to outputs. Multiplications and additions of their own, never fused: the same bits on every processor.
struct ToFloats<'a, const ROWS: usize, const PANELS: usize> {
    sums: &'a Sums<i32, ROWS, PANELS>,
    row_scales: &'a [f32; FEW],
    scales: &'a [Line<f32>],
    bias: &'a [Line<f32>],
    floats: &'a mut Sums<f32, ROWS, PANELS>,
}

impl<const ROWS: usize, const PANELS: usize> Work for ToFloats<'_, ROWS, PANELS> {
    type Output = ();

    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        for row in 0..ROWS {
            let row_scale = self.row_scales[row];
            for panel in 0..PANELS {
                let (scales, bias) = (&self.scales[panel].0, &self.bias[panel].0);
                for lane in 0..LANES {
                    self.floats[row][panel].0[lane] =
                        self.sums[row][panel].0[lane] as f32 * (row_scale * scales[lane]) + bias[lane];
                }
            }
        }
    }
}
