//! Moving cells -> connected pieces, in fixed memory.

/// Most pieces kept; the smallest go first. Rain and leaves make many small ones.
const MAX_BLOBS: usize = 64;
/// Fewest cells of a piece: less is noise.
const MIN_CELLS: usize = 3;
/// Share of the narrower piece's columns that must lie under or over the other one to join them.
const JOIN_OVERLAP: f32 = 0.5;
/// Largest gap between joined pieces, as a share of the height they have together.
const JOIN_GAP: f32 = 0.25;
/// Largest width of joined pieces as a multiple of their height: people who pass above one another in the picture
/// stay apart.
const JOIN_ASPECT: f32 = 0.8;

/// A rectangle of cells; `right` and `bottom` lie just outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Blob {
    pub(super) left: usize,
    pub(super) top: usize,
    right: usize,
    bottom: usize,
    /// Moving cells in it.
    cells: usize,
}

impl Blob {
    pub(super) fn columns(&self) -> usize {
        self.right - self.left
    }

    pub(super) fn rows(&self) -> usize {
        self.bottom - self.top
    }

    /// The share of its rectangle that moves, 0 to 1.
    pub(super) fn fill(&self) -> f32 {
        self.cells as f32 / (self.columns() * self.rows()) as f32
    }

    fn joined(&self, other: &Self) -> Self {
        Self {
            left: self.left.min(other.left),
            top: self.top.min(other.top),
            right: self.right.max(other.right),
            bottom: self.bottom.max(other.bottom),
            cells: self.cells + other.cells,
        }
    }

    /// Whether both are parts of one upright figure.
    fn belongs_to(&self, other: &Self) -> bool {
        let shared = self.right.min(other.right) as f32 - self.left.max(other.left) as f32;
        let gap = self.top.max(other.top) as f32 - self.bottom.min(other.bottom) as f32;
        let whole = self.joined(other);
        shared >= JOIN_OVERLAP * self.columns().min(other.columns()) as f32
            && gap <= JOIN_GAP * whole.rows() as f32
            && whole.columns() as f32 <= JOIN_ASPECT * whole.rows() as f32
    }
}

#[derive(Debug)]
pub(super) struct Blobs {
    grown: Vec<bool>,
    open: Vec<u32>,
    found: heapless::Vec<Blob, MAX_BLOBS>,
}

impl Blobs {
    pub(super) const CELL_BYTES: usize = size_of::<bool>() + size_of::<u32>();

    /// Room for `columns` x `rows` cells.
    pub(super) fn with_capacity(columns: usize, rows: usize) -> Self {
        Self {
            grown: Vec::with_capacity((columns + 2) * (rows + 2)),
            // A cell waits here once at most.
            open: Vec::with_capacity(columns * rows),
            found: heapless::Vec::new(),
        }
    }

    /// The pieces of `moving`, rows of `columns` cells, in the order of their first cell. Uses up `moving`.
    pub(super) fn find(&mut self, moving: &mut [bool], columns: usize) -> &[Blob] {
        self.found.clear();
        self.close(moving, columns);
        for start in 0..moving.len() {
            if moving[start] {
                let blob = self.flood(moving, columns, start);
                if blob.cells >= MIN_CELLS {
                    self.keep(blob);
                }
            }
        }
        self.join();
        &self.found
    }

    /// Morphological closing by 3 x 3 cells: holes and cracks up to two cells wide are filled, nothing is lost.
    fn close(&mut self, moving: &mut [bool], columns: usize) {
        let rows = moving.len() / columns;
        // Grown with a rim of one cell, so that shrinking is the same at the border as inside.
        self.grown.clear();
        for y in 0..rows + 2 {
            for x in 0..columns + 2 {
                let mut near = block((x.saturating_sub(2), y.saturating_sub(2)), (x + 1, y + 1), (columns, rows));
                self.grown.push(near.any(|at| moving[at]));
            }
        }
        for (at, cell) in moving.iter_mut().enumerate() {
            let (x, y) = (at % columns, at / columns);
            let mut near = block((x, y), (x + 3, y + 3), (columns + 2, rows + 2));
            *cell = near.all(|at| self.grown[at]);
        }
    }

    /// Takes out the piece that `start` belongs to (cells touching at a corner count).
    fn flood(&mut self, moving: &mut [bool], columns: usize, start: usize) -> Blob {
        let (x, y) = (start % columns, start / columns);
        let mut blob = Blob { left: x, top: y, right: x + 1, bottom: y + 1, cells: 0 };
        moving[start] = false;
        self.open.push(start as u32);
        while let Some(at) = self.open.pop() {
            let at = at as usize;
            let (x, y) = (at % columns, at / columns);
            blob = blob.joined(&Blob { left: x, top: y, right: x + 1, bottom: y + 1, cells: 1 });
            let from = (x.saturating_sub(1), y.saturating_sub(1));
            for near in block(from, (x + 2, y + 2), (columns, moving.len() / columns)) {
                if moving[near] {
                    moving[near] = false;
                    self.open.push(near as u32);
                }
            }
        }
        blob
    }

    fn keep(&mut self, blob: Blob) {
        if let Err(blob) = self.found.push(blob) {
            let smallest = self.found.iter_mut().min_by_key(|kept| kept.cells);
            if let Some(smallest) = smallest.filter(|kept| kept.cells < blob.cells) {
                *smallest = blob;
            }
        }
    }

    /// Joins pieces of one figure until none are left to join.
    fn join(&mut self) {
        let mut first = 0;
        while first < self.found.len() {
            let rest = first + 1..self.found.len();
            let partner = rest.into_iter().find(|other| self.found[first].belongs_to(&self.found[*other]));
            match partner {
                Some(other) => {
                    self.found[first] = self.found[first].joined(&self.found[other]);
                    self.found.remove(other);
                    // What was too far from the part may be near the whole.
                    first = 0;
                }
                None => first += 1,
            }
        }
    }
}

/// The cells from column and row `from` to just before `to`, as far as a picture of that size has them.
fn block(from: (usize, usize), to: (usize, usize), (columns, rows): (usize, usize)) -> impl Iterator<Item = usize> {
    let across = from.0..to.0.min(columns);
    (from.1..to.1.min(rows)).flat_map(move |y| across.clone().map(move |x| y * columns + x))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `#` moves.
    fn find(picture: &[&str]) -> Vec<Blob> {
        let columns = picture[0].len();
        let mut moving: Vec<bool> = picture.concat().bytes().map(|c| c == b'#').collect();
        Blobs::with_capacity(columns, picture.len()).find(&mut moving, columns).to_vec()
    }

    fn blob(left: usize, top: usize, right: usize, bottom: usize, cells: usize) -> Blob {
        Blob { left, top, right, bottom, cells }
    }

    #[test]
    fn pieces_touch_at_corners_and_specks_are_dropped() {
        let found = find(&["#.......", ".#......", "..#.....", "........", "........", "......#."]);
        assert_eq!(found, [blob(0, 0, 3, 3, 3)]);
    }

    #[test]
    fn cracks_up_to_two_cells_are_closed_and_borders_do_not_pull() {
        let found = find(&[".........", ".##..##..", ".##..##..", ".##..##..", "........."]);
        assert_eq!(found, [blob(1, 1, 7, 4, 18)]);
        let found = find(&["##.......", "##...##..", ".....##.."]);
        assert_eq!(found, [blob(0, 0, 2, 2, 4), blob(5, 1, 7, 3, 4)]);
    }

    #[test]
    fn head_and_legs_become_one_unless_too_much_is_missing() {
        let (both, left, right, none) = ("##....##", "##......", "......##", "........");
        let mut found = find(&[both, both, both, right, none, none, left, both, both, both, both, left]);
        // Three empty rows are a quarter of 12, but more than a quarter of 11.
        found.sort_by_key(|blob| (blob.left, blob.top));
        assert_eq!(found, [blob(0, 0, 2, 12, 18), blob(6, 0, 8, 4, 8), blob(6, 7, 8, 11, 8)]);
    }

    #[test]
    fn people_above_one_another_stay_apart() {
        let (person, gap) = (["..####.."; 5], ["........"; 5]);
        let found = find(&[&person[..], &gap, &person].concat());
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn of_many_pieces_the_largest_are_kept() {
        // 100 bars of 3 cells, far apart, and below them 3 larger ones.
        let mut rows: Vec<String> = Vec::new();
        for _ in 0..10 {
            rows.extend(["###.....".repeat(10), "........".repeat(10), "........".repeat(10), "........".repeat(10)]);
        }
        rows.push("#####...".repeat(3) + &"........".repeat(7));
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        let found = find(&rows);
        assert_eq!(found.len(), MAX_BLOBS);
        assert_eq!(found.iter().filter(|blob| blob.cells == 5).count(), 3);
    }
}
