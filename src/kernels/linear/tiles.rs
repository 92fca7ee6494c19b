//! How a product is cut into tiles.

use super::super::LANES;
use super::super::arch::{Line, Shape};

/// A product that can do any tile of itself: rows from `row`, panels from `panel`.
pub(super) trait Tiles {
    const SHAPE: Shape;

    fn tile<const ROWS: usize, const PANELS: usize>(&mut self, row: usize, panel: usize);
}

/// Does all tiles.
///
/// Panels outside, rows inside: a panel stays in the first cache while all rows pass by it. The rows left over take several
/// panels at once instead, for as many sums side by side.
pub(super) fn run<T: Tiles>(work: &mut T, rows: usize, panels: usize) {
    match T::SHAPE {
        Shape::Small => {
            whole::<T, 2, 1>(work, rows, panels);
            rest::<T, 1, 1>(work, rows, 2, panels);
        }
        Shape::Medium => {
            whole::<T, 4, 1>(work, rows, panels);
            rest::<T, 1, 4>(work, rows, 4, panels);
            rest::<T, 2, 2>(work, rows, 4, panels);
            rest::<T, 3, 1>(work, rows, 4, panels);
        }
        Shape::Large => {
            whole::<T, 4, 2>(work, rows, panels);
            rest::<T, 1, 8>(work, rows, 4, panels);
            rest::<T, 2, 4>(work, rows, 4, panels);
            rest::<T, 3, 2>(work, rows, 4, panels);
        }
    }
}

fn whole<T: Tiles, const ROWS: usize, const PANELS: usize>(work: &mut T, rows: usize, panels: usize) {
    let grouped = panels - panels % PANELS;
    for panel in (0..grouped).step_by(PANELS) {
        for row in (0..rows - rows % ROWS).step_by(ROWS) {
            work.tile::<ROWS, PANELS>(row, panel);
        }
    }
    for panel in grouped..panels {
        for row in (0..rows - rows % ROWS).step_by(ROWS) {
            work.tile::<ROWS, 1>(row, panel);
        }
    }
}

/// The last `ROWS` rows, if that is how many are left over from tiles of `height`.
fn rest<T: Tiles, const ROWS: usize, const PANELS: usize>(work: &mut T, rows: usize, height: usize, panels: usize) {
    if rows % height != ROWS {
        return;
    }
    let grouped = panels - panels % PANELS;
    for panel in (0..grouped).step_by(PANELS) {
        work.tile::<ROWS, PANELS>(rows - ROWS, panel);
    }
    for panel in grouped..panels {
        work.tile::<ROWS, 1>(rows - ROWS, panel);
    }
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
    let count = LANES.min(outputs - first);
    y[row * outputs + first..][..count].copy_from_slice(&line.0[..count]);
}
