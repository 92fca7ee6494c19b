//! The nearest rows of each row and its reciprocal neighbours, kept up to date row by row.

use super::super::reciprocal::both_ways;
use crate::kernels::{dots, top_k};

/// For each row the list of its most similar rows, and from these its reciprocal neighbours.
///
/// A list is always the first `m` of all rows in the order of `reciprocal.rs`: the row itself, then the most similar,
/// the lower index among equals. A new row costs one scalar product with each row, and one insertion into each list
/// that it belongs to. A row that goes leaves a gap, so lists are up to twice as long as k: only a list that lost more
/// than it gained and fell below k is built anew, from the rows. The similarities of all pairs, `[rows, rows]`, are not
/// kept: with the spare places they would hardly ever be read, and at 2048 rows they would take 16 MB.
#[derive(Clone, Debug)]
pub(super) struct Nearest {
    /// Places of a list in `lists` and `similarity`, and of a set in `mutual`.
    places: usize,
    mutual_places: usize,
    /// Rows held.
    count: usize,
    lists: Vec<u32>,
    similarity: Vec<f32>,
    lengths: Vec<u32>,
    mutual: Vec<u32>,
    mutual_counts: Vec<u32>,
    /// Rows whose reciprocal neighbours may have changed.
    touched: Vec<bool>,
    /// Similarities to one row.
    scores: Vec<f32>,
    /// One row's reciprocal neighbours, found anew.
    found: Vec<u32>,
    /// Lists built anew since the start.
    rebuilt: u64,
}

impl Nearest {
    /// Room for `max_rows` rows with up to `max_k` neighbours each.
    pub(super) fn new(max_rows: usize, max_k: usize) -> Self {
        let places = (2 * max_k).min(max_rows);
        Self {
            places,
            mutual_places: max_k,
            count: 0,
            lists: vec![0; max_rows * places],
            similarity: vec![0.0; max_rows * places],
            lengths: vec![0; max_rows],
            mutual: vec![0; max_rows * max_k],
            mutual_counts: vec![0; max_rows],
            touched: vec![false; max_rows],
            scores: vec![0.0; max_rows],
            found: vec![0; max_k],
            rebuilt: 0,
        }
    }

    /// Takes note that the row `slot` of `rows [n, width]` is new: one more than before, or in place of another.
    pub(super) fn replace(&mut self, slot: usize, rows: &[f32], width: usize, k: usize) {
        let count = rows.len() / width;
        if count > self.count {
            self.count = count;
            self.lengths[slot] = 0;
            self.mutual_counts[slot] = 0;
        }
        self.build(slot, rows, width, k);
        for row in (0..count).filter(|row| *row != slot) {
            self.meet(row, slot as u32, k);
        }
    }

    /// Completes the lists and finds the reciprocal neighbours among the nearest k; writes into `relinked` which rows
    /// have others than before.
    pub(super) fn settle(&mut self, rows: &[f32], width: usize, k: usize, relinked: &mut Vec<u32>) {
        relinked.clear();
        for row in 0..self.count {
            if (self.lengths[row] as usize) < k.min(self.count) {
                self.build(row, rows, width, k);
                self.rebuilt += 1;
            }
        }
        let (lists, lengths, places) = (&self.lists, &self.lengths, self.places);
        let nearest = |row: u32| &lists[row as usize * places..][..k.min(lengths[row as usize] as usize)];
        for row in 0..self.count {
            if !std::mem::take(&mut self.touched[row]) {
                continue;
            }
            let found = both_ways(row as u32, nearest, &mut self.found);
            let known = &mut self.mutual[row * self.mutual_places..];
            if self.found[..found] != known[..self.mutual_counts[row] as usize] {
                known[..found].copy_from_slice(&self.found[..found]);
                self.mutual_counts[row] = found as u32;
                relinked.push(row as u32);
            }
        }
    }

    /// Takes note that k is another one.
    pub(super) fn touch_all(&mut self) {
        self.touched[..self.count].fill(true);
    }

    /// Forgets all rows.
    pub(super) fn clear(&mut self) {
        self.count = 0;
        self.touched.fill(false);
    }

    /// `R(row)` as of the last [`Nearest::settle`], the row itself first, then the most similar.
    pub(super) fn mutual(&self, row: u32) -> &[u32] {
        let row = row as usize;
        &self.mutual[row * self.mutual_places..][..self.mutual_counts[row] as usize]
    }

    /// Lists built anew from the rows since the start; those of new rows do not count.
    pub(super) fn rebuilt(&self) -> u64 {
        self.rebuilt
    }

    pub(super) fn bytes(&self) -> usize {
        let numbers = [&self.lists, &self.lengths, &self.mutual, &self.mutual_counts, &self.found];
        let floats = [&self.similarity, &self.scores];
        numbers.map(|part| size_of_val(part.as_slice())).iter().sum::<usize>()
            + floats.map(|part| size_of_val(part.as_slice())).iter().sum::<usize>()
            + size_of_val(self.touched.as_slice())
    }

    /// Builds the list of `row` from all rows, whose similarities stay in `scores`.
    fn build(&mut self, row: usize, rows: &[f32], width: usize, k: usize) {
        let own = &rows[row * width..][..width];
        dots(own, rows, width, &mut self.scores[..self.count]);
        let itself = std::mem::replace(&mut self.scores[row], f32::INFINITY);
        self.touch(row, k);
        let span = row * self.places..(row + 1) * self.places;
        let length = top_k(&self.scores[..self.count], &mut self.lists[span.clone()]);
        for (similarity, other) in self.similarity[span.clone()].iter_mut().zip(&self.lists[span]).take(length) {
            *similarity = self.scores[*other as usize];
        }
        self.lengths[row] = length as u32;
        self.scores[row] = itself;
        self.touch(row, k);
    }

    /// Tells `row` that `slot` is a new row, as similar to it as `scores` says.
    fn meet(&mut self, row: usize, slot: u32, k: usize) {
        let score = self.scores[row];
        let start = row * self.places;
        let length = self.lengths[row] as usize;
        let list = &self.lists[start..start + length];
        let old = list.iter().position(|other| *other == slot);
        let rest = length - usize::from(old.is_some());
        let before = |(other, similarity): (&u32, &f32)| {
            *other != slot && (*similarity > score || (*similarity >= score && *other < slot))
        };
        let place = list.iter().zip(&self.similarity[start..]).filter(|entry| before(*entry)).count();
        // Behind the last entry nothing is known, unless the list holds every other row.
        let known = place < rest || rest + 1 == self.count;
        let new = Some(place).filter(|place| known && *place < self.places);
        if old.is_none() && new.is_none() {
            return;
        }
        let matters = [old, new].into_iter().flatten().any(|place| place < k);
        if matters {
            self.touch(row, k);
        }
        if let Some(old) = old {
            self.close_gap(start + old, start + length);
        }
        let mut length = rest;
        if let Some(new) = new {
            length = (rest + 1).min(self.places);
            self.open_gap(start + new, start + length);
            (self.lists[start + new], self.similarity[start + new]) = (slot, score);
        }
        self.lengths[row] = length as u32;
        if matters {
            self.touch(row, k);
        }
    }

    fn close_gap(&mut self, gap: usize, end: usize) {
        self.lists.copy_within(gap + 1..end, gap);
        self.similarity.copy_within(gap + 1..end, gap);
    }

    fn open_gap(&mut self, gap: usize, end: usize) {
        self.lists.copy_within(gap..end - 1, gap + 1);
        self.similarity.copy_within(gap..end - 1, gap + 1);
    }

    /// Whoever is among the nearest k of `row`, itself included, may gain or lose a reciprocal neighbour.
    fn touch(&mut self, row: usize, k: usize) {
        let length = k.min(self.lengths[row] as usize);
        for other in &self.lists[row * self.places..][..length] {
            self.touched[*other as usize] = true;
        }
        self.touched[row] = true;
    }
}
