//! The definition: safe loops over lanes.

#![allow(clippy::needless_range_loop, reason = "one index for all registers, and loops that are unrolled whole")]

use super::super::requantise::Requantise;
use super::channelwise::Bank;
use super::dense::Filter;
use super::{Geometry, LANES};

/// Bytes to bytes.
pub(super) fn bytes(filter: &Filter, geometry: &Geometry, requantise: Requantise, x: &[u8], y: &mut [u8]) {
    each_line(filter, geometry, x, |row, column, panel, sums| {
        let to = geometry.to_start + row * geometry.to_row + column * geometry.to_pixel + panel * LANES;
        let outputs = LANES.min(filter.outputs - panel * LANES);
        let bytes = requantised(requantise, sums, &filter.multipliers[panel].0);
        y[to..][..outputs].copy_from_slice(&bytes[..outputs]);
    });
}

/// Bytes to floats `[outputs, height, width]`.
pub(super) fn floats(filter: &Filter, geometry: &Geometry, multipliers: &[f32], x: &[u8], y: &mut [f32]) {
    each_line(filter, geometry, x, |row, column, panel, sums| {
        for (output, (sum, multiplier)) in (panel * LANES..).zip(sums.iter().zip(&multipliers[panel * LANES..])) {
            y[(output * geometry.height + row) * geometry.width + column] = *sum as f32 * multiplier;
        }
    });
}

/// Calls `work` with the sums of each pixel and panel.
fn each_line(filter: &Filter, geometry: &Geometry, x: &[u8], mut work: impl FnMut(usize, usize, usize, &[i32; LANES])) {
    for panel in 0..filter.outputs.div_ceil(LANES) {
        for row in 0..geometry.height {
            for column in 0..geometry.width {
                let from = geometry.start + row * geometry.row + column * geometry.pixel;
                work(row, column, panel, &sums(filter, geometry, panel, &x[from..]));
            }
        }
    }
}

/// The sums of one pixel and one panel.
#[inline]
fn sums(filter: &Filter, geometry: &Geometry, panel: usize, x: &[u8]) -> [i32; LANES] {
    let mut sums = filter.bias[panel].0;
    let (first, step) = (filter.line(panel, 0), filter.line(panel, 1) - filter.line(panel, 0));
    let mut lines = filter.lines[first..].iter().step_by(step);
    let [rows, columns] = geometry.runs;
    for row in 0..rows {
        for column in 0..columns {
            let run = &x[row * geometry.tap_row + column * geometry.tap_column..][..4 * geometry.groups];
            for (x, line) in run.as_chunks::<4>().0.iter().zip(&mut lines) {
                let x = x.map(i16::from);
                for lane in 0..LANES {
                    let weights = line.0[lane].map(i16::from);
                    let products: [i32; 4] = std::array::from_fn(|at| i32::from(x[at]) * i32::from(weights[at]));
                    sums[lane] = sums[lane].wrapping_add(products[0] + products[1] + products[2] + products[3]);
                }
            }
        }
    }
    sums
}

/// Depthwise: bytes to bytes.
pub(super) fn channelwise(bank: &Bank, geometry: &Geometry, requantise: Requantise, x: &[u8], y: &mut [u8]) {
    if geometry.height * geometry.width == 0 {
        return;
    }
    bank.assert_inside(geometry, LANES, x, y);
    let taps = bank.kernel[0] * bank.kernel[1];
    for row in 0..geometry.height {
        for block in 0..bank.channels.div_ceil(LANES) {
            let weights = &bank.taps[block * taps..][..taps];
            let channels = LANES.min(bank.channels - block * LANES);
            for column in 0..geometry.width {
                let from = geometry.start + row * geometry.row + column * geometry.pixel + block * LANES;
                let mut sums = bank.bias[block].0;
                for (tap, weights) in weights.iter().enumerate() {
                    let [below, right] = [tap / bank.kernel[1], tap % bank.kernel[1]];
                    let x = &x[from + below * geometry.tap_row + right * geometry.tap_column..][..LANES];
                    for lane in 0..LANES {
                        let product = i32::from(i16::from(x[lane]) * i16::from(weights[lane]));
                        sums[lane] = sums[lane].wrapping_add(product);
                    }
                }
                let bytes = requantised(requantise, &sums, &bank.multipliers[block].0);
                let to = geometry.to_start + row * geometry.to_row + column * geometry.to_pixel + block * LANES;
                y[to..][..channels].copy_from_slice(&bytes[..channels]);
            }
        }
    }
}

#[inline]
fn requantised(requantise: Requantise, sums: &[i32; LANES], multipliers: &[f32; LANES]) -> [u8; LANES] {
    let mut bytes = [0; LANES];
    for lane in 0..LANES {
        bytes[lane] = requantise.byte(sums[lane], multipliers[lane]);
    }
    bytes
}
