//! The definition: safe loops over lanes.

use super::super::LANES;
use super::{Arithmetic, FloatTile, Group, Int8Tile, Line, Piece, SHORT, Shape, Sums, Work, run};

/// Runs everywhere.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct Plain;

/// Runs everywhere.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct PlainInt8;

impl FloatTile for Plain {
    const SHAPE: Shape =
        if cfg!(any(target_feature = "avx", target_arch = "aarch64")) { Shape::Medium } else { Shape::Small };

    #[inline]
    fn tile<const ROWS: usize, const PANELS: usize>(
        self,
        x: &[Piece<f32>; ROWS],
        panels: [&[Line<f32>]; PANELS],
        totals: &mut Sums<f32, ROWS, PANELS>,
    ) {
        run(Tile { x, panels, totals });
    }
}

struct Tile<'a, const ROWS: usize, const PANELS: usize> {
    x: &'a [Piece<f32>; ROWS],
    panels: [&'a [Line<f32>]; PANELS],
    totals: &'a mut Sums<f32, ROWS, PANELS>,
}

impl<const ROWS: usize, const PANELS: usize> Work for Tile<'_, ROWS, PANELS> {
    type Output = ();

    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        for (at, panel) in self.panels.into_iter().enumerate() {
            for start in (0..panel.len()).step_by(SHORT) {
                let sums = products::<A, ROWS>(self.x, start, &panel[start..panel.len().min(start + SHORT)]);
                for row in 0..ROWS {
                    for lane in 0..LANES {
                        self.totals[row][at].0[lane] += sums[row][lane];
                    }
                }
            }
        }
    }
}

/// The loops over lanes become vector instructions only in this simple form: indices, no iterators, one panel.
#[inline(always)]
fn products<A: Arithmetic, const ROWS: usize>(
    x: &[Piece<f32>; ROWS],
    start: usize,
    panel: &[Line<f32>],
) -> [[f32; LANES]; ROWS] {
    let mut sums = [[0.0; LANES]; ROWS];
    let x: [&[f32]; ROWS] = std::array::from_fn(|row| &x[row][start..start + panel.len()]);
    for (at, Line(weights)) in panel.iter().enumerate() {
        for row in 0..ROWS {
            let value = x[row][at];
            for lane in 0..LANES {
                sums[row][lane] = A::mul_add(value, weights[lane], sums[row][lane]);
            }
        }
    }
    sums
}

impl Int8Tile for PlainInt8 {
    const SHAPE: Shape = Shape::Small;
    const OFFSET: i32 = 0;

    #[inline]
    fn tile<const ROWS: usize, const PANELS: usize>(
        self,
        x: &[Piece<Group>; ROWS],
        panels: [&[Line<Group>]; PANELS],
        sums: &mut Sums<i32, ROWS, PANELS>,
    ) {
        for (x, sums) in x.iter().zip(sums) {
            for (panel, sums) in panels.iter().zip(sums) {
                for (x, Line(weights)) in x.iter().zip(*panel) {
                    for (sum, weights) in sums.0.iter_mut().zip(weights) {
                        *sum +=
                            x.iter().zip(weights).map(|(x, weight)| i32::from(*x) * i32::from(*weight)).sum::<i32>();
                    }
                }
            }
        }
    }
}
