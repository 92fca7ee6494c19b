//! The network over a buffer that changes row by row: only what a new row changed is computed.
//!
//! With fixed agents a row's output in a layer depends on the inputs of its reciprocal neighbours there and on nothing
//! else. So each layer keeps the input and the affinities of every row. New rows make outputs stale: in the first layer
//! those of all rows whose neighbours, or whose neighbours' inputs, are others now, and in each further layer those of
//! their neighbours too, one step of the neighbour graph a layer. Nothing is computed then. A question for some rows
//! goes down the layers the same way: it computes, of the rows that the answer is made of, those that are stale.
//!
//! The embeddings themselves are kept by the caller, who lends them: as [`NeighborBuffer`](crate::neighbors::NeighborBuffer)
//! does, by slot.
//!
//! Every value comes from the same kernels on the same inputs as in [`NFormer`](super::NFormer): the result is the
//! same bits, and there is no drift, because nothing is ever updated in place of being computed from stored inputs.

mod nearest;
mod stage;

use super::fused::Output;
use super::landmark_attention::scatter;
use super::layer::Layer;
use super::weights::Weights;
use super::{Bytes, MAX_ROWS, check_row, refused};
use crate::error::{Error, Result};
use crate::kernels::BatchNorm;
use crate::size::MAX_TOP_K;
use nearest::Nearest;
use stage::{Floor, RowSet, Stage};

/// How many rows a layer computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recomputed {
    /// For the last new rows: since the first one stored after something was computed.
    pub last: u64,
    /// Since the start.
    pub total: u64,
}

/// The final row of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Final {
    /// Not computed since the slot's row is there.
    Missing,
    /// Computed before something changed it.
    Stale,
    Fresh,
    /// Computed, and the outcome is no direction: kept as zeros.
    Refused,
}

/// The fusion network with fixed agents over the rows of a buffer, incrementally and in fixed memory.
///
/// Rows have slots `0..len` as in [`NeighborBuffer`](crate::neighbors::NeighborBuffer), which keeps them: `rows [len, D]` is
/// lent at each call, the same as at the last one but for what [`Online::replace`] was told. Nothing is allocated after
/// [`Online::new`].
#[derive(Clone, Debug)]
pub struct Online {
    width: usize,
    max_rows: usize,
    max_top_k: usize,
    top_k: usize,
    mean_weight: f32,
    batch_norm: BatchNorm,

    len: usize,
    floors: Vec<Floor>,
    nearest: Nearest,
    /// Final rows, `[rows, D]`, and how far they are to be believed.
    finals: Vec<f32>,
    states: Vec<Final>,

    /// Rows stored since the last update; while updating, rows whose input of the layer at hand is another one.
    changed: RowSet,
    /// Whether rows or k changed since the last update.
    pending: bool,
    /// Rows with other reciprocal neighbours than before.
    relinked: Vec<u32>,
    stage: Stage,
    recomputed: Vec<Recomputed>,
}

impl Online {
    /// Packs the weights and takes the memory for up to `max_rows` rows with up to `top_k` neighbours each.
    ///
    /// # Errors
    /// [`Error::FusionInput`] for weights without fixed agents, `max_rows` outside 1 to 32768 or `top_k` of zero,
    /// [`Error::TooLarge`] if `top_k` (or `max_rows`, whichever is less) is above [`MAX_TOP_K`].
    pub fn new(weights: Weights, max_rows: usize, top_k: usize) -> Result<Self> {
        if !weights.has_agents() {
            return Err(refused("weights with fixed landmarks".into(), "weights without `agents`".into()));
        }
        if !(1..=MAX_ROWS).contains(&max_rows) {
            return Err(refused(format!("room for 1 to {MAX_ROWS} rows"), format!("{max_rows}")));
        }
        if top_k == 0 {
            return Err(refused("top_k from 1".into(), "0".into()));
        }
        let max_k = top_k.min(max_rows);
        if max_k > MAX_TOP_K {
            let what = "neighbours (top_k)";
            return Err(Error::TooLarge { what, found: max_k, max: MAX_TOP_K, constant: "MAX_TOP_K" });
        }
        let Weights { width, heads, norm_eps, mean_weight, layers, batch_norm, .. } = weights;
        let layers: Vec<Layer> = layers.into_iter().map(|layer| Layer::new(layer, heads, norm_eps)).collect();
        let stage = Stage::new(&layers, max_rows, max_k);
        Ok(Self {
            width,
            max_rows,
            max_top_k: top_k,
            top_k,
            mean_weight,
            batch_norm,
            len: 0,
            recomputed: vec![Recomputed::default(); layers.len()],
            floors: (layers.into_iter().enumerate())
                .map(|(number, layer)| Floor::new(layer, width, max_rows, number == 0))
                .collect(),
            nearest: Nearest::new(max_rows, max_k),
            finals: vec![0.0; max_rows * width],
            states: vec![Final::Missing; max_rows],
            changed: RowSet::new(max_rows),
            pending: false,
            relinked: Vec::with_capacity(max_rows),
            stage,
        })
    }

    /// Width D of the embeddings.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of layers.
    pub fn layers(&self) -> usize {
        self.floors.len()
    }

    /// Most rows that can be held.
    pub fn max_rows(&self) -> usize {
        self.max_rows
    }

    /// Rows held now.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no row is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Neighbours k of a row now.
    pub fn top_k(&self) -> usize {
        self.top_k
    }

    /// Takes note that the row in `slot` of `rows [n, D]` is new: in place of another one, or in the next free slot.
    ///
    /// Costs one scalar product a row, and no pass through the network: that waits for the next question, so several
    /// new rows of one frame are worked on together.
    ///
    /// # Errors
    /// [`Error::FusionInput`] if the slot leaves a gap, `rows` are not as many as are held then, or the row is zero or not
    /// finite, [`Error::TooLarge`] if the slot is beyond the room. Nothing changes then.
    pub fn replace(&mut self, slot: usize, rows: &[f32]) -> Result<()> {
        if slot >= self.max_rows {
            let what = "rows of the fusion network";
            return Err(Error::TooLarge { what, found: slot + 1, max: self.max_rows, constant: "NEIGHBORS" });
        }
        if slot > self.len {
            return Err(refused(format!("a slot up to {}, the next free one", self.len), format!("slot {slot}")));
        }
        let len = self.len.max(slot + 1);
        if rows.len() != len * self.width {
            return Err(refused(
                format!("{len} rows of {} floats", self.width),
                format!("{} floats in all", rows.len()),
            ));
        }
        check_row(slot, &rows[slot * self.width..][..self.width])?;
        self.begin();
        self.len = len;
        self.nearest.replace(slot, rows, self.width, self.top_k);
        self.states[slot] = Final::Missing;
        self.changed.insert(slot as u32);
        Ok(())
    }

    /// Sets the neighbours k of a row (all rows where there are fewer than that). Another k than before makes most
    /// rows stale.
    ///
    /// # Errors
    /// [`Error::FusionInput`] if `top_k` is zero or above that of [`Online::new`].
    pub fn set_top_k(&mut self, top_k: usize) -> Result<()> {
        if !(1..=self.max_top_k).contains(&top_k) {
            return Err(refused(format!("top_k of 1 to {}", self.max_top_k), top_k.to_string()));
        }
        if top_k != self.top_k {
            self.begin();
            self.top_k = top_k;
            self.nearest.touch_all();
        }
        Ok(())
    }

    /// Forgets all rows and keeps the memory.
    pub fn clear(&mut self) {
        self.len = 0;
        self.nearest.clear();
        self.changed.clear();
        self.states.fill(Final::Missing);
    }

    /// Finds out which rows are stale after those stored since the last call. The questions below do so themselves.
    ///
    /// # Panics
    /// As all questions: if `rows` are not as many as are held.
    pub fn update(&mut self, rows: &[f32]) {
        assert_eq!(rows.len(), self.len * self.width, "fusion: other rows than those held");
        if !std::mem::take(&mut self.pending) {
            return;
        }
        let Self { floors, nearest, changed, relinked, .. } = self;
        nearest.settle(rows, self.width, self.top_k, relinked);
        floors[0].renew(changed.as_slice());
        for (number, floor) in floors.iter_mut().enumerate() {
            changed.spread(nearest);
            if number == 0 {
                changed.insert_all(relinked);
            }
            floor.outdate(changed.as_slice());
        }
        for row in changed.as_slice() {
            let state = &mut self.states[*row as usize];
            if *state != Final::Missing {
                *state = Final::Stale;
            }
        }
        changed.clear();
    }

    /// The rows whose final value changed since it was last computed, by slot.
    ///
    /// # Panics
    /// As [`Online::update`].
    pub fn stale(&mut self, rows: &[f32]) -> impl Iterator<Item = usize> {
        self.update(rows);
        let states = self.states[..self.len].iter().enumerate();
        states.filter(|(_, state)| matches!(state, Final::Missing | Final::Stale)).map(|(row, _)| row)
    }

    /// Brings the final values in the slots `asked` up to date, all together. Slots that are not filled are passed over.
    ///
    /// # Panics
    /// As [`Online::update`].
    pub fn fuse(&mut self, rows: &[f32], asked: impl IntoIterator<Item = usize>) {
        self.update(rows);
        let Self { width, floors, nearest, finals, states, stage, recomputed, .. } = self;
        let last = floors.len() - 1;
        for slot in asked.into_iter().filter(|slot| *slot < self.len) {
            floors[last].want(slot as u32);
        }
        // Down: what the answer is made of. Up: compute it.
        for at in (0..last).rev() {
            let (below, above) = floors.split_at_mut(at + 1);
            for neighbor in above[0].wanted.as_slice().iter().flat_map(|row| nearest.mutual(*row)) {
                below[at].want(*neighbor);
            }
        }
        for at in 0..last {
            let (below, above) = floors.split_at_mut(at + 1);
            let input = std::mem::take(&mut below[at].input);
            let count = stage.compute(&mut below[at], if at == 0 { rows } else { &input }, nearest, |rows, output| {
                scatter(output, rows, &mut above[0].input);
                above[0].renew(rows);
            });
            below[at].input = input;
            recomputed[at].add(count);
        }
        let output = Output { mean_weight: self.mean_weight, input: rows };
        let input = std::mem::take(&mut floors[last].input);
        let count = stage.compute(&mut floors[last], if last == 0 { rows } else { &input }, nearest, |rows, fused| {
            for (row, fused) in rows.iter().zip(fused.chunks_exact_mut(*width)) {
                self.batch_norm.apply(fused);
                let place = &mut finals[*row as usize * *width..][..*width];
                let usable = output.final_row(fused, nearest.mutual(*row), place).is_ok();
                if !usable {
                    place.fill(0.0);
                }
                states[*row as usize] = if usable { Final::Fresh } else { Final::Refused };
            }
        });
        floors[last].input = input;
        recomputed[last].add(count);
    }

    /// The row as retrieval uses it, `[D]`, of length 1: [`Fused::final_row`](super::Fused::final_row) of the rows now.
    ///
    /// # Errors
    /// [`Error::FusionInput`] if there is no such row, [`Error::BadEmbedding`] if the network's output is zero or not
    /// finite.
    ///
    /// # Panics
    /// As [`Online::update`].
    pub fn fused(&mut self, rows: &[f32], slot: usize) -> Result<&[f32]> {
        if slot >= self.len {
            return Err(refused(format!("a row below {}", self.len), format!("row {slot}")));
        }
        self.fuse(rows, [slot]);
        match self.last_fused(slot) {
            Some(fused) if self.states[slot] != Final::Refused => Ok(fused),
            _ => Err(Error::BadEmbedding { found: "zero or not finite after fusion" }),
        }
    }

    /// The row as it was last computed, `[D]`, stale or not: zeros if the network's output was zero or not finite,
    /// nothing if it was not computed since it was stored.
    pub fn last_fused(&self, row: usize) -> Option<&[f32]> {
        let known = row < self.len && self.states[row] != Final::Missing;
        known.then(|| &self.finals[row * self.width..][..self.width])
    }

    /// `R(slot)`: the row itself and its reciprocal neighbours, the most similar first; empty beyond the last row.
    ///
    /// # Panics
    /// As [`Online::update`].
    pub fn neighbors(&mut self, rows: &[f32], slot: usize) -> &[u32] {
        self.update(rows);
        if slot < self.len { self.nearest.mutual(slot as u32) } else { &[] }
    }

    /// Rows computed, by layer: what the full pass would be is the number of rows held, in each.
    pub fn recomputed(&self) -> &[Recomputed] {
        &self.recomputed
    }

    /// Goes on counting where another one, with as many layers, stopped.
    pub fn count_on(&mut self, before: &[Recomputed]) {
        for (layer, before) in self.recomputed.iter_mut().zip(before) {
            layer.total += before.total;
        }
    }

    /// Lists of nearest rows that had to be built anew since the start because too many of their rows left.
    pub fn lists_rebuilt(&self) -> u64 {
        self.nearest.rebuilt()
    }

    /// Memory in use, from start to end.
    pub fn bytes(&self) -> Bytes {
        let floors = &self.floors;
        let kept = size_of_val(self.finals.as_slice())
            + size_of_val(self.states.as_slice())
            + size_of_val(self.recomputed.as_slice())
            + self.relinked.capacity() * size_of::<u32>();
        Bytes {
            weights: floors.iter().map(|floor| floor.layer.bytes()).sum::<usize>() + self.batch_norm.bytes(),
            scratch: floors.iter().map(Floor::bytes).sum::<usize>()
                + kept
                + self.changed.bytes()
                + self.nearest.bytes()
                + self.stage.bytes(),
        }
    }

    /// Something is about to change; the first time after an update, the counts of the last change end.
    fn begin(&mut self) {
        if !std::mem::replace(&mut self.pending, true) {
            self.recomputed.iter_mut().for_each(|layer| layer.last = 0);
        }
    }
}

impl Recomputed {
    fn add(&mut self, rows: usize) {
        self.last += rows as u64;
        self.total += rows as u64;
    }
}
