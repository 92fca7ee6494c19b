//! Packed weights of a dense convolution, and how the work is cut into tiles.
//!
//! The inputs of an output lie in a few runs of neighbouring bytes: a run for each row of the kernel, or for each tap. So a
//! convolution is a product of matrices whose left one is never built: a row of it is the address of a pixel.

#![allow(unsafe_code, reason = "calls of tiles, after all that they read and write was found within the slices")]

use super::super::conv::Weights;
use super::super::requantise::Requantise;
use super::{Dense, Geometry, Group, LANES, Line};

/// Outputs of one pixel that a tile works on together, in panels of sixteen.
const WIDEST: usize = 4;

/// Pixels worked on with one block of panels after the other: their inputs and outputs stay in the innermost cache. A
/// multiple of all numbers of rows of a tile.
const STRIP: usize = 96;

/// The inputs of one output, and which of them are one run.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Shape {
    /// Channels of a pixel.
    pub(in super::super) inputs: usize,
    pub(in super::super) kernel: [usize; 2],
    /// A run is a row of the kernel, or else a tap.
    pub(in super::super) joined: bool,
}

impl Shape {
    /// Runs below each other and side by side.
    pub(in super::super) fn runs(&self) -> [usize; 2] {
        [self.kernel[0], if self.joined { 1 } else { self.kernel[1] }]
    }

    /// Groups of a run.
    pub(in super::super) fn groups(&self) -> usize {
        (if self.joined { self.inputs * self.kernel[1] } else { self.inputs }).div_ceil(4)
    }

    /// Weights of an output.
    fn weights(&self) -> usize {
        self.inputs * self.kernel[0] * self.kernel[1]
    }

    /// The group of an output's weights (`[inputs, rows, columns]`) that meets bytes `4 group..` of a run.
    fn group(&self, weights: &[i8], row: usize, column: usize, group: usize) -> Group {
        let [_, width] = self.kernel;
        std::array::from_fn(|byte| {
            let (column, input) = if self.joined {
                ((4 * group + byte) / self.inputs, (4 * group + byte) % self.inputs)
            } else {
                (column, 4 * group + byte)
            };
            let inside = column < width && input < self.inputs;
            if inside { weights[(input * self.kernel[0] + row) * width + column] } else { 0 }
        })
    }
}

/// Neighbouring panels, worked on together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// The first one's number.
    pub(super) panel: usize,
    /// Panels, the half one not counted.
    pub(super) panels: usize,
    /// Whether one more follows, of which only the first eight outputs exist.
    pub(super) half: bool,
    /// The first of its lines of weights: `[run, group, panel]`.
    pub(super) line: usize,
}

impl Block {
    /// Lines of one group.
    pub(super) fn width(&self) -> usize {
        self.panels + usize::from(self.half)
    }
}

/// Packed weights.
#[derive(Clone, Debug)]
pub(in super::super) struct Filter {
    pub(in super::super) shape: Shape,
    pub(super) outputs: usize,
    pub(super) blocks: Vec<Block>,
    pub(super) lines: Vec<Line<Group>>,
    /// One line a panel, the input's zero point included.
    pub(super) bias: Vec<Line<i32>>,
    /// The same for a version that adds an offset to its inputs.
    starts: Vec<Line<i32>>,
    /// One line a panel.
    pub(super) multipliers: Vec<Line<f32>>,
    /// An upper limit of each output's `|sum as f32 * multiplier|`.
    largest: f64,
}

impl Filter {
    pub(in super::super) fn new(
        version: Dense,
        shape: Shape,
        weights: &Weights,
        zero_point: u8,
        multipliers: &[f32],
    ) -> Self {
        let (outputs, each) = (weights.outputs, shape.weights());
        let [rows, columns] = shape.runs();
        let panels = outputs.div_ceil(LANES);
        let (blocks, length) = blocks(outputs, version.widest(), rows * columns * shape.groups());
        let mut filter = Self {
            shape,
            outputs,
            blocks,
            lines: vec![Line([[0; 4]; LANES]); length],
            bias: vec![Line([0; LANES]); panels],
            starts: vec![Line([0; LANES]); panels],
            multipliers: vec![Line([0.0; LANES]); panels],
            largest: 0.0,
        };
        for output in 0..outputs {
            let values = &weights.values[output * each..][..each];
            let bias = weights.bias.map_or(0, |bias| bias[output]);
            let sum = values.iter().fold(0_i32, |sum, weight| sum.wrapping_add(i32::from(*weight)));
            let bias = bias.wrapping_sub(sum.wrapping_mul(i32::from(zero_point)));
            let (panel, lane) = (output / LANES, output % LANES);
            filter.bias[panel].0[lane] = bias;
            filter.starts[panel].0[lane] = bias.wrapping_sub(sum.wrapping_mul(version.offset()));
            filter.multipliers[panel].0[lane] = multipliers[output];
            filter.largest = filter.largest.max(largest_sum(values, bias) * f64::from(multipliers[output].abs()));
            filter.pack(output, values);
        }
        filter
    }

    fn pack(&mut self, output: usize, values: &[i8]) {
        let (panel, lane) = (output / LANES, output % LANES);
        let [rows, columns] = self.shape.runs();
        for run in 0..rows * columns {
            for group in 0..self.shape.groups() {
                let at = self.line(panel, run * self.shape.groups() + group);
                self.lines[at].0[lane] = self.shape.group(values, run / columns, run % columns, group);
            }
        }
    }

    /// The number of a panel's line of weights; groups are counted through all runs.
    pub(super) fn line(&self, panel: usize, group: usize) -> usize {
        let block = self.blocks.iter().rfind(|block| block.panel <= panel);
        block.map_or(0, |block| block.line + group * block.width() + panel - block.panel)
    }

    /// An upper limit of each output's `|sum as f32 * multiplier|`.
    pub(in super::super) fn largest(&self) -> f64 {
        self.largest
    }

    /// Bytes of the weights and what belongs to each output.
    pub(in super::super) fn bytes(&self) -> usize {
        size_of_val(&*self.lines)
            + size_of_val(&*self.bias)
            + size_of_val(&*self.starts)
            + size_of_val(&*self.multipliers)
    }
}

/// Asserts that all runs of all windows lie within `x`.
fn assert_reads(geometry: &Geometry, x: &[u8]) {
    let end = geometry.end_of_reads(4 * geometry.groups);
    assert!(end.is_some_and(|end| end <= x.len()), "a convolution's inputs leave their buffer");
}

/// The largest size of `bias + sum x * weight` over bytes `x`, as 32 bits hold it.
pub(super) fn largest_sum(weights: &[i8], bias: i32) -> f64 {
    let size: u64 = weights.iter().map(|weight| u64::from(weight.unsigned_abs())).sum();
    (255.0 * size as f64 + f64::from(bias).abs()).min(f64::from(i32::MIN).abs())
}

/// Cuts the outputs into blocks of up to `widest` panels, as few of them narrow as can be; gives the number of lines too.
/// A last panel of up to eight outputs is a half one, where blocks are wide at all.
fn blocks(outputs: usize, widest: usize, groups: usize) -> (Vec<Block>, usize) {
    let half = widest > 1 && (1..=LANES / 2).contains(&(outputs % LANES));
    let panels = if half { outputs / LANES } else { outputs.div_ceil(LANES) };
    let (mut blocks, mut panel, mut line) = (Vec::new(), 0, 0);
    while panel < panels || (half && blocks.is_empty()) {
        let left = panels - panel;
        let count = match left {
            _ if widest == 1 => 1,
            0..=2 => left,
            3 | 4 if half => 2,
            3 | 5 | 9 => 3,
            _ => 4,
        };
        let block = Block { panel, panels: count, half: half && count == left, line };
        panel += count;
        line += groups * block.width();
        blocks.push(block);
    }
    (blocks, line)
}

/// Some pixels, a block of panels: what a tile needs. Made only by [`strips`], after all reads and writes of the whole
/// convolution were asserted.
pub(super) struct Strip<'a> {
    pub(super) x: &'a [u8],
    /// The first tap of each pixel.
    pub(super) from: &'a [usize],
    /// Runs below each other and side by side, the steps between them, and their groups.
    pub(super) runs: [usize; 2],
    pub(super) steps: [usize; 2],
    pub(super) groups: usize,
    pub(super) block: Block,
    /// The block's lines: `[run, group, panel]`.
    pub(super) lines: &'a [Line<Group>],
    /// The block's panels.
    pub(super) starts: &'a [Line<i32>],
    pub(super) multipliers: &'a [Line<f32>],
    /// Outputs that exist.
    pub(super) outputs: usize,
}

/// Where the sums of a strip go.
pub(super) enum Sink<'a> {
    /// Bytes: the block's first output of each pixel lies at `to`.
    Bytes { requantise: Requantise, y: &'a mut [u8], to: &'a [usize] },
    /// The sums themselves: `[pixel, panel]`.
    Sums(&'a mut [Line<i32>]),
}

/// A hand-written version.
pub(super) trait Tiles: Copy {
    /// All pixels of a strip.
    ///
    /// # Safety
    ///
    /// For each pixel, all runs from `from` on lie in `x`, and the bytes of the outputs from `to` on in `y`.
    unsafe fn strip(self, strip: &Strip, sink: &mut Sink);
}

/// Bytes to bytes.
pub(super) fn bytes<T: Tiles>(
    tiles: T,
    filter: &Filter,
    geometry: &Geometry,
    requantise: Requantise,
    x: &[u8],
    y: &mut [u8],
) {
    if geometry.height * geometry.width == 0 {
        return;
    }
    assert_reads(geometry, x);
    let end = geometry.end_of_writes(filter.outputs);
    assert!(end.is_some_and(|end| end <= y.len()), "a convolution's outputs leave their buffer");
    let mut moved = [0; STRIP];
    strips(filter, geometry, x, |strip, _, to| {
        let moved = &mut moved[..to.len()];
        for (moved, to) in moved.iter_mut().zip(to) {
            *moved = to + strip.block.panel * LANES;
        }
        // SAFETY: all reads and all writes of all pixels were asserted above.
        unsafe { tiles.strip(strip, &mut Sink::Bytes { requantise, y, to: moved }) }
    });
}

/// Bytes to floats `[outputs, height, width]`.
pub(super) fn floats<T: Tiles>(
    tiles: T,
    filter: &Filter,
    geometry: &Geometry,
    multipliers: &[f32],
    x: &[u8],
    y: &mut [f32],
) {
    let pixels = geometry.height * geometry.width;
    if pixels == 0 {
        return;
    }
    assert_reads(geometry, x);
    #[allow(clippy::large_stack_arrays, reason = "24 KiB, as nothing is allocated while running")]
    let mut sums = [Line([0; LANES]); STRIP * WIDEST];
    strips(filter, geometry, x, |strip, first, to| {
        let width = strip.block.width();
        let sums = &mut sums[..to.len() * width];
        // SAFETY: all reads of all pixels were asserted above; a line of sums is there for each pixel and panel.
        unsafe { tiles.strip(strip, &mut Sink::Sums(sums)) }
        for (output, multiplier) in multipliers[strip.block.panel * LANES..][..strip.outputs].iter().enumerate() {
            let y = &mut y[(strip.block.panel * LANES + output) * pixels + first..][..to.len()];
            for (y, sums) in y.iter_mut().zip(sums.chunks_exact(width)) {
                *y = sums[output / LANES].0[output % LANES] as f32 * multiplier;
            }
        }
    });
}

/// Calls `work` with each strip and block, the number of its first pixel, and where its pixels' outputs lie.
fn strips(filter: &Filter, geometry: &Geometry, x: &[u8], mut work: impl FnMut(&Strip, usize, &[usize])) {
    let pixels = geometry.height * geometry.width;
    let (mut from, mut to) = ([0; STRIP], [0; STRIP]);
    let (mut row, mut column) = (0, 0);
    for first in (0..pixels).step_by(STRIP) {
        let count = STRIP.min(pixels - first);
        for (from, to) in from[..count].iter_mut().zip(&mut to) {
            *from = geometry.start + row * geometry.row + column * geometry.pixel;
            *to = geometry.to_start + row * geometry.to_row + column * geometry.to_pixel;
            column += 1;
            if column == geometry.width {
                (row, column) = (row + 1, 0);
            }
        }
        for block in &filter.blocks {
            let panels = block.panel..block.panel + block.width();
            let [rows, columns] = geometry.runs;
            let strip = Strip {
                x,
                from: &from[..count],
                runs: geometry.runs,
                steps: [geometry.tap_row, geometry.tap_column],
                groups: geometry.groups,
                block: *block,
                lines: &filter.lines[block.line..][..rows * columns * geometry.groups * block.width()],
                starts: &filter.starts[panels.clone()],
                multipliers: &filter.multipliers[panels.clone()],
                outputs: filter.outputs.min(panels.end * LANES) - block.panel * LANES,
            };
            work(&strip, first, &to[..count]);
        }
    }
}
