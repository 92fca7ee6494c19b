//! How a product is cut into tiles.

use std::ops::Range;

use super::super::LANES;
use super::super::arch::{BLOCK, Line, Piece, Shape};

/// Blocks of rows that there is room for: a tile of wide rows, and what a few rows need.
pub(super) const MANY: usize = 48;
pub(super) const FEW: usize = 12;

/// A product that can do any tile of itself.
pub(super) trait Tiles {
    const SHAPE: Shape;

    /// Takes `height` rows from `row` for the tiles that follow.
    fn take(&mut self, row: usize, height: usize);

    /// The `ROWS` rows taken last and the panels from `panel`.
    fn tile<const ROWS: usize, const PANELS: usize>(&mut self, panel: usize);
}

/// Does all tiles of `rows` rows and `panels` panels; a row and a panel have `inputs` inputs each, and `most` rows can be
/// taken at once.
///
/// A group of panels stays in the second cache while all rows pass by it; the rows of a tile stay in the first while all
/// panels of the group pass by them.
pub(super) fn run<T: Tiles>(work: &mut T, rows: usize, panels: usize, inputs: usize, most: usize) {
    let most = most.min(match T::SHAPE {
        Shape::Small => 2,
        Shape::Medium => 4,
        Shape::Large => 12,
    });
    let strips = rows.div_ceil(most);
    let group = if strips == 1 { panels } else { group(T::SHAPE, inputs) };
    for first in (0..panels).step_by(group.max(1)) {
        let panels = first..panels.min(first + group);
        let mut row = 0;
        for done in 0..strips {
            // All strips of about one height: a last one of a single row would cost nearly as much as a whole one.
            let height = (rows - row).div_ceil(strips - done);
            work.take(row, height);
            strip(work, height, panels.clone());
            row += height;
        }
    }
}

/// Panels that stay in the second cache.
fn group(shape: Shape, inputs: usize) -> usize {
    let (bytes, least) = match shape {
        Shape::Small | Shape::Medium => (1 << 16, 4),
        Shape::Large => (1 << 18, 8),
    };
    (bytes / (inputs * size_of::<Line<f32>>())).max(least)
}

/// The rows taken last. Few rows take several panels at once, for as many sums side by side.
fn strip<T: Tiles>(work: &mut T, height: usize, panels: Range<usize>) {
    match (T::SHAPE, height) {
        (Shape::Large, 1) => tiles::<T, 1, 8>(work, panels),
        (Shape::Large, 2) => tiles::<T, 2, 8>(work, panels),
        (Shape::Large, 3) => tiles::<T, 3, 8>(work, panels),
        (Shape::Large, 4) => tiles::<T, 4, 4>(work, panels),
        (Shape::Large, 5) => tiles::<T, 5, 4>(work, panels),
        (Shape::Large, 6) => tiles::<T, 6, 4>(work, panels),
        (Shape::Large, 7) => tiles::<T, 7, 2>(work, panels),
        (Shape::Large, 8) => tiles::<T, 8, 2>(work, panels),
        (Shape::Large, 9) => tiles::<T, 9, 2>(work, panels),
        (Shape::Large, 10) => tiles::<T, 10, 2>(work, panels),
        (Shape::Large, 11) => tiles::<T, 11, 2>(work, panels),
        (Shape::Large, _) => tiles::<T, 12, 2>(work, panels),
        (Shape::Medium, 1) => tiles::<T, 1, 4>(work, panels),
        (Shape::Medium, 2) => tiles::<T, 2, 2>(work, panels),
        (Shape::Medium, 3) => tiles::<T, 3, 1>(work, panels),
        (Shape::Medium, _) => tiles::<T, 4, 1>(work, panels),
        (Shape::Small, 1) => tiles::<T, 1, 1>(work, panels),
        (Shape::Small, _) => tiles::<T, 2, 1>(work, panels),
    }
}

fn tiles<T: Tiles, const ROWS: usize, const PANELS: usize>(work: &mut T, panels: Range<usize>) {
    let grouped = panels.start + panels.len() / PANELS * PANELS;
    for panel in (panels.start..grouped).step_by(PANELS) {
        work.tile::<ROWS, PANELS>(panel);
    }
    for panel in grouped..panels.end {
        work.tile::<ROWS, 1>(panel);
    }
}

/// Cuts a row into blocks and hands out the piece for each: those of one tile's `height` rows lie side by side.
pub(super) fn pieces<T>(pieces: &mut [Piece<T>], at: usize, height: usize) -> impl Iterator<Item = &mut Piece<T>> {
    pieces.iter_mut().skip(at).step_by(height)
}

/// Block `number` of panels of one length.
#[inline]
pub(super) fn block<T, const PANELS: usize>(mut panels: [&[Line<T>]; PANELS], number: usize) -> [&[Line<T>]; PANELS] {
    for panel in &mut panels {
        let rest = &panel[number * BLOCK..];
        *panel = &rest[..rest.len().min(BLOCK)];
    }
    panels
}

/// `values [out]` in lines of 16, filled up with zeros.
pub(super) fn lines<T: Copy + Default>(values: &[T]) -> Vec<Line<T>> {
    let mut lines = vec![Line([T::default(); LANES]); values.len().div_ceil(LANES)];
    for (value, place) in values.iter().zip(lines.iter_mut().flat_map(|line| &mut line.0)) {
        *place = *value;
    }
    lines
}

/// Writes a line to panel `panel` of row `row` of `y [rows, out]`, as far as there are outputs.
pub(super) fn write(line: &Line<f32>, y: &mut [f32], row: usize, panel: usize, outputs: usize) {
    let first = panel * LANES;
    let places = &mut y[row * outputs + first..(row + 1) * outputs];
    match places.first_chunk_mut() {
        Some(whole) => *whole = line.0,
        None => places.copy_from_slice(&line.0[..places.len()]),
    }
}

/// Reads what [`write`] wrote.
pub(super) fn read(line: &mut Line<f32>, y: &[f32], row: usize, panel: usize, outputs: usize) {
    let first = panel * LANES;
    let count = LANES.min(outputs - first);
    line.0[..count].copy_from_slice(&y[row * outputs + first..][..count]);
}
