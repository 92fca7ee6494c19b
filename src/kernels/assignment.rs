//! Minimum-cost assignment in fixed memory.

/// Pairs rows with columns at the least total cost: shortest augmenting paths (Jonker and Volgenant, 1987),
/// `O(n^2 m)` for `n` the smaller side. All memory is taken in [`Assignment::new`].
#[derive(Clone, Debug)]
pub struct Assignment {
    max_rows: usize,
    max_cols: usize,
    /// Prices of the shorter side, and of the longer one.
    short_price: Vec<f64>,
    long_price: Vec<f64>,
    /// Per place on the longer side, with one place before the first: who holds it (counting from 1, 0 is nobody),
    /// how far it is from the path so far, from which place it is reached, and whether it is on the path.
    holder: Vec<usize>,
    distance: Vec<f64>,
    previous: Vec<usize>,
    visited: Vec<bool>,
    columns: Vec<Option<usize>>,
}

/// A cost matrix seen with its shorter side first.
struct Costs<'a> {
    values: &'a [f32],
    cols: usize,
    transposed: bool,
    /// What leaving someone unpaired costs.
    limit: f64,
}

impl Costs<'_> {
    fn raw(&self, short: usize, long: usize) -> f32 {
        let (row, col) = if self.transposed { (long, short) } else { (short, long) };
        self.values[row * self.cols + col]
    }

    /// A pair beyond the limit costs as much as no pair at all, and is taken apart again in the end.
    fn capped(&self, short: usize, long: usize) -> f64 {
        let cost = f64::from(self.raw(short, long));
        // NaN compares false and counts as forbidden.
        if cost <= self.limit { cost.max(f64::from(f32::MIN)) } else { self.limit }
    }
}

impl Assignment {
    /// Room for matrices of up to `max_rows` x `max_cols`.
    pub fn new(max_rows: usize, max_cols: usize) -> Self {
        let places = max_rows.max(max_cols) + 1;
        Self {
            max_rows,
            max_cols,
            short_price: vec![0.0; places],
            long_price: vec![0.0; places],
            holder: vec![0; places],
            distance: vec![0.0; places],
            previous: vec![0; places],
            visited: vec![false; places],
            columns: vec![None; max_rows],
        }
    }

    /// Bytes of the scratch.
    pub fn bytes(&self) -> usize {
        size_of_val(self.short_price.as_slice()) * 3
            + size_of_val(self.holder.as_slice()) * 2
            + size_of_val(self.visited.as_slice())
            + size_of_val(self.columns.as_slice())
    }

    /// The column of each row, `[rows]`, for `cost [rows, cols]` (row after row).
    ///
    /// Minimises the sum over the pairs of `cost - max_cost`: a row left over costs as much as `max_cost`, and a pair
    /// dearer than that (or NaN) is never made. With an infinite `max_cost` as many pairs as possible are made, those
    /// of infinite cost excepted. The same matrix always gives the same answer.
    ///
    /// # Panics
    /// If the matrix is larger than [`Assignment::new`] allowed for, or `cost` does not hold `rows * cols` values.
    pub fn solve(&mut self, cost: &[f32], rows: usize, cols: usize, max_cost: f32) -> &[Option<usize>] {
        assert!(rows <= self.max_rows && cols <= self.max_cols, "assignment: {rows}x{cols} is beyond the scratch");
        assert_eq!(cost.len(), rows * cols, "assignment: cost is not [rows, cols]");
        let transposed = rows > cols;
        let (short, long) = if transposed { (cols, rows) } else { (rows, cols) };
        let costs = Costs { values: cost, cols, transposed, limit: limit(cost, short, max_cost) };

        self.short_price[..=short].fill(0.0);
        self.long_price[..=long].fill(0.0);
        self.holder[..=long].fill(0);
        for newcomer in 1..=short {
            self.place(newcomer, long, &costs);
        }

        self.columns[..rows].fill(None);
        for place in 1..=long {
            let Some(held) = self.holder[place].checked_sub(1) else { continue };
            let allowed = costs.raw(held, place - 1);
            if allowed <= max_cost && allowed < f32::INFINITY {
                let (row, col) = if transposed { (place - 1, held) } else { (held, place - 1) };
                self.columns[row] = Some(col);
            }
        }
        &self.columns[..rows]
    }

    /// Finds a place for `newcomer` along the shortest path of others moving on (all counted from 1).
    fn place(&mut self, newcomer: usize, long: usize, costs: &Costs<'_>) {
        self.holder[0] = newcomer;
        self.distance[..=long].fill(f64::INFINITY);
        self.visited[..=long].fill(false);
        let mut at = 0;
        while self.holder[at] != 0 {
            self.visited[at] = true;
            let mover = self.holder[at];
            let (mut nearest, mut step) = (at, f64::INFINITY);
            for place in 1..=long {
                if self.visited[place] {
                    continue;
                }
                let reduced = costs.capped(mover - 1, place - 1) - self.short_price[mover] - self.long_price[place];
                if reduced < self.distance[place] {
                    self.distance[place] = reduced;
                    self.previous[place] = at;
                }
                // Strictly less: among equals the lower index wins.
                if self.distance[place] < step {
                    (nearest, step) = (place, self.distance[place]);
                }
            }
            for place in 0..=long {
                if self.visited[place] {
                    self.short_price[self.holder[place]] += step;
                    self.long_price[place] -= step;
                } else {
                    self.distance[place] -= step;
                }
            }
            at = nearest;
        }
        while at != 0 {
            let before = self.previous[at];
            self.holder[at] = self.holder[before];
            at = before;
        }
    }
}

/// The cost of no pair. An unbounded one becomes just so large that no saving elsewhere outweighs a pair less:
/// a number, so that differences stay exact.
fn limit(cost: &[f32], short: usize, max_cost: f32) -> f64 {
    let allowed = cost.iter().filter(|cost| **cost <= max_cost && **cost < f32::INFINITY);
    let range = |(low, high): (f64, f64), cost: &f32| {
        let cost = f64::from(cost.max(f32::MIN));
        (low.min(cost), high.max(cost))
    };
    let (low, high) = allowed.fold((f64::INFINITY, f64::NEG_INFINITY), range);
    if low > high {
        // No pair is allowed: any number does.
        return 0.0;
    }
    f64::from(max_cost.max(f32::MIN)).min(high + (high - low + 1.0) * (short as f64 + 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Least `sum (cost - max_cost)` over all partial pairings.
    fn brute_force(cost: &[f32], cols: usize, max_cost: f32, taken: u32) -> f64 {
        let Some((row, rest)) = cost.split_at_checked(cols).filter(|_| cols > 0) else { return 0.0 };
        let mut best = if rest.is_empty() { 0.0 } else { brute_force(rest, cols, max_cost, taken) };
        for (col, cost) in row.iter().enumerate().filter(|(col, cost)| taken & (1 << col) == 0 && **cost <= max_cost) {
            let further = if rest.is_empty() { 0.0 } else { brute_force(rest, cols, max_cost, taken | 1 << col) };
            best = best.min(further).min(f64::from(*cost) - f64::from(max_cost) + further);
        }
        best
    }

    fn total(cost: &[f32], cols: usize, max_cost: f32, pairs: &[Option<usize>]) -> f64 {
        let value = |(row, col): (usize, &Option<usize>)| {
            col.map_or(0.0, |col| f64::from(cost[row * cols + col]) - f64::from(max_cost))
        };
        pairs.iter().enumerate().map(value).sum()
    }

    fn matrix() -> impl Strategy<Value = (usize, usize, Vec<f32>)> {
        // Eighths: many ties, and sums are exact.
        let cost = prop_oneof![12 => (-4_i8..24).prop_map(|v| f32::from(v) / 8.0), 1 => Just(f32::INFINITY)];
        (0..=6_usize, 0..=6_usize).prop_flat_map(move |(rows, cols)| {
            (Just(rows), Just(cols), proptest::collection::vec(cost.clone(), rows * cols))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn is_as_cheap_as_the_best_of_all_pairings((rows, cols, cost) in matrix(), max_cost in 0_u8..20) {
            let max_cost = f32::from(max_cost) / 8.0;
            // A scratch used before and larger than needed must not matter.
            let mut scratch = Assignment::new(8, 7);
            scratch.solve(&[0.25; 56], 8, 7, 1.0);
            let pairs = scratch.solve(&cost, rows, cols, max_cost).to_vec();

            prop_assert_eq!(pairs.len(), rows);
            let mut taken: Vec<usize> = pairs.iter().flatten().copied().collect();
            taken.sort_unstable();
            prop_assert!(taken.windows(2).all(|pair| pair[0] < pair[1]), "a column given twice: {pairs:?}");
            for (row, col) in pairs.iter().enumerate().filter_map(|(row, col)| col.map(|col| (row, col))) {
                prop_assert!(cost[row * cols + col] <= max_cost, "a pair beyond the limit");
            }
            let best = brute_force(&cost, cols, max_cost, 0);
            prop_assert!((total(&cost, cols, max_cost, &pairs) - best).abs() < 1e-9, "{pairs:?} is not {best}");
            prop_assert_eq!(scratch.solve(&cost, rows, cols, max_cost), pairs);
        }

        /// Without a limit every row or every column is paired.
        #[test]
        fn without_a_limit_pairs_all(rows in 0..=6_usize, cols in 0..=6_usize, seed in any::<u64>()) {
            let cost: Vec<f32> = super::super::reference::matrix(rows, cols, seed).iter().map(|v| v * 1e3).collect();
            let mut scratch = Assignment::new(6, 6);
            let pairs = scratch.solve(&cost, rows, cols, f32::INFINITY);
            prop_assert_eq!(pairs.iter().flatten().count(), rows.min(cols));
            let ceiling = 4000.0;
            let found = total(&cost, cols, ceiling, pairs);
            prop_assert!((found - brute_force(&cost, cols, ceiling, 0)).abs() < 1e-6);
        }
    }

    #[test]
    fn the_cheaper_of_two_goes_first_and_the_other_stays() {
        let mut scratch = Assignment::new(2, 2);
        assert_eq!(scratch.solve(&[0.1, 0.9, 0.2, 0.95], 2, 2, 0.5), [Some(0), None]);
        assert_eq!(scratch.solve(&[0.4, 0.1, 0.2, 0.3], 2, 2, 0.5), [Some(1), Some(0)]);
        assert_eq!(scratch.solve(&[0.3; 4], 2, 2, 0.5), [Some(0), Some(1)]);
    }

    #[test]
    fn extremes() {
        let mut scratch = Assignment::new(3, 3);
        let none: &[Option<usize>] = &[];
        assert_eq!(scratch.solve(&[], 0, 3, 1.0), none);
        assert_eq!(scratch.solve(&[], 3, 0, 1.0), [None; 3]);
        assert_eq!(scratch.solve(&[f32::NAN, 1.0, f32::NAN, f32::NAN], 2, 2, 9.0), [Some(1), None]);
        assert_eq!(scratch.solve(&[f32::INFINITY, 2.0, 1.0, f32::MAX], 2, 2, f32::INFINITY), [Some(1), Some(0)]);
        assert_eq!(scratch.solve(&[f32::NEG_INFINITY, 0.0, 0.0, 0.0], 2, 2, 1.0), [Some(0), Some(1)]);
        assert_eq!(scratch.solve(&[0.0; 4], 2, 2, f32::NAN), [None; 2]);
        assert_eq!(scratch.solve(&[f32::NEG_INFINITY, 0.0], 1, 2, f32::NEG_INFINITY), [Some(0)]);
    }
}
