//! The definition: safe loops over lanes.

use super::super::{LANES, mul_add};
use super::{FloatTile, Group, Int8Tile, LONG, Line, SHORT, Shape, Sums};

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
        x: [&[f32]; ROWS],
        panels: [&[Line<f32>]; PANELS],
        totals: &mut Sums<f32, ROWS, PANELS>,
    ) {
        for (at, panel) in panels.into_iter().enumerate() {
            let mut sums = totals.map(|row| row[at].0);
            one_panel(x, panel, &mut sums);
            for (totals, sums) in totals.iter_mut().zip(sums) {
                totals[at].0 = sums;
            }
        }
    }
}

#[inline]
fn one_panel<const ROWS: usize>(x: [&[f32]; ROWS], panel: &[Line<f32>], totals: &mut [[f32; LANES]; ROWS]) {
    for (number, block) in panel.chunks(LONG).enumerate() {
        let x = x.map(|row| &row[number * LONG..][..block.len()]);
        let mut middle = [[0.0; LANES]; ROWS];
        let (short, rest) = block.as_chunks::<SHORT>();
        for (number, block) in short.iter().enumerate() {
            add(&mut middle, &products(x.map(|row| &row[number * SHORT..][..SHORT]), block));
        }
        if !rest.is_empty() {
            add(&mut middle, &products(x.map(|row| &row[short.len() * SHORT..]), rest));
        }
        add(totals, &middle);
    }
}

/// The loops over lanes become vector instructions only in this simple form: indices, no iterators, one panel.
#[inline]
fn products<const ROWS: usize>(x: [&[f32]; ROWS], panel: &[Line<f32>]) -> [[f32; LANES]; ROWS] {
    let mut sums = [[0.0; LANES]; ROWS];
    for (at, Line(weights)) in panel.iter().enumerate() {
        for row in 0..ROWS {
            let value = x[row][at];
            for lane in 0..LANES {
                sums[row][lane] = mul_add(value, weights[lane], sums[row][lane]);
            }
        }
    }
    sums
}

#[inline]
fn add<const ROWS: usize>(totals: &mut [[f32; LANES]; ROWS], sums: &[[f32; LANES]; ROWS]) {
    for (totals, sums) in totals.iter_mut().zip(sums) {
        for (total, sum) in totals.iter_mut().zip(sums) {
            *total += sum;
        }
    }
}

impl Int8Tile for PlainInt8 {
    const SHAPE: Shape = Shape::Small;
    const OFFSET: i32 = 0;

    #[inline]
    fn tile<const ROWS: usize, const PANELS: usize>(
        self,
        x: [&[Group]; ROWS],
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
