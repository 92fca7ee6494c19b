//! A few rows of a layer taken together, so that each weight is read once for all of them.

use super::super::landmark_attention::Projected;
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

    /// Adds some rows.
    pub(super) fn insert_all(&mut self, rows: &[u32]) {
        for row in rows {
            self.insert(*row);
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
    /// The layer's input, `[rows, D]`; nothing in the first, whose input is lent.
    pub(super) input: Vec<f32>,
    /// Affinities of the input.
    projected: Projected,
    /// Rows whose affinities are older than their input.
    unprojected: Vec<bool>,
    /// Rows whose output is older than what it is made of.
    stale: Vec<bool>,
    /// Stale rows that are asked for.
    pub(super) wanted: RowSet,
}

impl Floor {
    pub(super) fn new(layer: Layer, width: usize, max_rows: usize, first: bool) -> Self {
        Self {
            projected: Projected::new(&[&layer.attention], max_rows),
            layer,
            input: vec![0.0; if first { 0 } else { max_rows * width }],
            unprojected: vec![false; max_rows],
            stale: vec![false; max_rows],
            wanted: RowSet::new(max_rows),
        }
    }

    /// Takes note that the input of some rows is another one.
    pub(super) fn renew(&mut self, rows: &[u32]) {
        for row in rows {
            self.unprojected[*row as usize] = true;
        }
    }

    /// Takes note that the output of some rows will be another one.
    pub(super) fn outdate(&mut self, rows: &[u32]) {
        for row in rows {
            self.stale[*row as usize] = true;
        }
    }

    /// Asks for a row.
    pub(super) fn want(&mut self, row: u32) {
        if self.stale[row as usize] {
            self.wanted.insert(row);
        }
    }

    /// Bytes beside the weights.
    pub(super) fn bytes(&self) -> usize {
        let rows = [&self.unprojected, &self.stale].map(|rows| size_of_val(rows.as_slice())).iter().sum::<usize>();
        size_of_val(self.input.as_slice()) + self.projected.bytes() + rows + self.wanted.bytes()
    }
}

/// Scratch for one block of rows.
#[derive(Clone, Debug)]
pub(super) struct Stage {
    /// Rows to be projected.
    unprojected: RowSet,
    block: Block,
}

impl Stage {
    /// Room for blocks of any of `layers`.
    pub(super) fn new(layers: &[Layer], max_rows: usize, max_k: usize) -> Self {
        Self { unprojected: RowSet::new(max_rows), block: Block::new(layers, max_rows, max_k) }
    }

    /// Computes the rows that are wanted of a layer, of whose `input [rows, D]` all neighbours of these rows are up to
    /// date; shows `done` each block of rows and their output `[n, D]`. Returns how many rows that were.
    pub(super) fn compute(
        &mut self,
        floor: &mut Floor,
        input: &[f32],
        nearest: &Nearest,
        mut done: impl FnMut(&[u32], &mut [f32]),
    ) -> usize {
        let Floor { layer, projected, unprojected, stale, wanted, .. } = floor;
        for row in wanted.as_slice() {
            for neighbor in nearest.mutual(*row) {
                if std::mem::take(&mut unprojected[*neighbor as usize]) {
                    self.unprojected.insert(*neighbor);
                }
            }
        }
        for rows in self.unprojected.blocks() {
            layer.project(input, rows, projected, &mut self.block);
        }
        self.unprojected.clear();
        for rows in wanted.blocks() {
            let neighbors = |row| nearest.mutual(row);
            let output = layer.pass(input, rows.iter().copied(), neighbors, projected, &mut self.block);
            done(rows, output);
            for row in rows {
                stale[*row as usize] = false;
            }
        }
        let count = wanted.as_slice().len();
        wanted.clear();
        count
    }

    pub(super) fn bytes(&self) -> usize {
        self.unprojected.bytes() + self.block.bytes()
    }
}
