//! A few rows of a layer taken together, so that each weight is read once for all of them.

use super::super::landmark_attention::{Projected, gather};
use super::super::layer::{BLOCK, Block, Layer};
use super::nearest::Nearest;

/// A set of rows, in the order in which they came.
#[derive(Clone, Debug)]
pub(super) struct RowSet {
    rows: Vec<u32>,
    held: Vec<bool>,
}

impl RowSet {
    /// Room for `max_rows` different rows.
    pub(super) fn new(max_rows: usize) -> Self {
        Self { rows: Vec::with_capacity(max_rows), held: vec![false; max_rows] }
    }

    /// Adds a row that may be there already.
    pub(super) fn insert(&mut self, row: u32) {
        if !std::mem::replace(&mut self.held[row as usize], true) {
            self.rows.push(row);
        }
    }

    /// Adds the reciprocal neighbours of all rows.
    pub(super) fn spread(&mut self, nearest: &Nearest) {
        for at in 0..self.rows.len() {
            for neighbor in nearest.mutual(self.rows[at]) {
                self.insert(*neighbor);
            }
        }
    }

    pub(super) fn clear(&mut self) {
        for row in self.rows.drain(..) {
            self.held[row as usize] = false;
        }
    }

    pub(super) fn as_slice(&self) -> &[u32] {
        &self.rows
    }

    /// The rows, as many at a time as [`Stage`] takes.
    pub(super) fn blocks(&self) -> impl Iterator<Item = &[u32]> {
        self.rows.chunks(BLOCK)
    }

    pub(super) fn bytes(&self) -> usize {
        self.rows.capacity() * size_of::<u32>() + size_of_val(self.held.as_slice())
    }
}

/// What one layer keeps of each row.
#[derive(Clone, Debug)]
pub(super) struct Floor {
    pub(super) layer: Layer,
    /// The layer's input, `[rows, D]`: that of the first is the network's.
    pub(super) input: Vec<f32>,
    /// V and affinities of the input.
    pub(super) projected: Projected,
}

impl Floor {
    pub(super) fn new(layer: Layer, width: usize, max_rows: usize) -> Self {
        let projected = Projected::new(&[&layer.attention], max_rows);
        Self { layer, input: vec![0.0; max_rows * width], projected }
    }

    /// Bytes beside the weights.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.input.as_slice()) + self.projected.bytes()
    }
}

/// Scratch for one block of rows.
#[derive(Clone, Debug)]
pub(super) struct Stage {
    width: usize,
    /// `[BLOCK, D]`.
    x: Vec<f32>,
    /// Projections, then attention: `[BLOCK, widest projection]`.
    z: Vec<f32>,
    /// Scores of one row's neighbours.
    scores: Vec<f32>,
    block: Block,
}

impl Stage {
    /// Room for blocks of any of `layers`.
    pub(super) fn new(layers: &[Layer], width: usize, max_rows: usize, max_k: usize) -> Self {
        let rows = max_rows.min(BLOCK);
        let widest = layers.iter().map(|layer| layer.attention.widest()).max().unwrap_or(0);
        Self {
            width,
            x: vec![0.0; rows * width],
            z: vec![0.0; rows * widest],
            scores: vec![0.0; max_k],
            block: Block::new(layers, max_rows),
        }
    }

    /// Projects the rows `rows` (a block at most) of a layer's input anew.
    pub(super) fn project(&mut self, floor: &mut Floor, rows: &[u32]) {
        let x = &mut self.x[..rows.len() * self.width];
        gather(&floor.input, rows, x);
        floor.layer.attention.project_some(x, rows, &mut self.z, &mut floor.projected);
    }

    /// The layer's output for the rows `rows` (a block at most), `[n, D]`, lent until the next call.
    pub(super) fn pass(&mut self, floor: &Floor, rows: &[u32], nearest: &Nearest) -> &mut [f32] {
        let x = &mut self.x[..rows.len() * self.width];
        let z = &mut self.z[..x.len()];
        gather(&floor.input, rows, x);
        for (row, z) in rows.iter().zip(z.chunks_exact_mut(self.width)) {
            let neighbors = nearest.mutual(*row);
            floor.layer.attention.attend(*row as usize, neighbors, &floor.projected, &mut self.scores, z);
        }
        floor.layer.finish(x, z, &mut self.block);
        x
    }

    pub(super) fn bytes(&self) -> usize {
        let floats = [&self.x, &self.z, &self.scores];
        floats.map(|part| size_of_val(part.as_slice())).iter().sum::<usize>() + self.block.bytes()
    }
}
