//! The affine map of a whole matrix: the kernel that costs.

use super::{LANES, mul_add};

/// Rows that share one pass over the weights: their sums (and one panel row) fill the vector registers.
const ROWS: usize = if cfg!(any(target_feature = "avx", target_arch = "aarch64")) { 4 } else { 2 };

/// Inputs summed on their own before they join the next larger sum: three levels of short sums lose less to rounding than
/// one long one.
const SHORT: usize = 16;
const LONG: usize = 8 * SHORT;

/// `y = x W^T + b` with constant weights, `[rows, in]` x `[out, in]` -> `[rows, out]`.
///
/// The weights lie in panels of 16 outputs, `[out / 16, in, 16]`, the last one filled up with zeros: one step along
/// the inputs reads 16 neighbouring weights and uses them for several rows at once. Each output is summed over the
/// inputs in the same order always, so a row's result is the same bits whatever rows are beside it.
#[derive(Clone, Debug)]
pub struct Linear {
    inputs: usize,
    outputs: usize,
    panels: Vec<[f32; LANES]>,
    bias: Vec<[f32; LANES]>,
}

impl Linear {
    /// Packs `weight [out, in]` and `bias [out]`.
    ///
    /// # Panics
    /// If `weight` does not hold `inputs` values for each of `bias`.
    pub fn new(weight: &[f32], bias: &[f32], inputs: usize) -> Self {
        assert_eq!(weight.len(), bias.len() * inputs, "linear: weight is not [out, in]");
        let outputs = bias.len();
        let count = outputs.div_ceil(LANES);
        let mut panels = vec![[0.0; LANES]; count * inputs];
        let mut padded = vec![[0.0; LANES]; count];
        for output in 0..outputs {
            let (panel, lane) = (output / LANES, output % LANES);
            padded[panel][lane] = bias[output];
            let row = &weight[output * inputs..][..inputs];
            for (packed, value) in panels[panel * inputs..][..inputs].iter_mut().zip(row) {
                packed[lane] = *value;
            }
        }
        Self { inputs, outputs, panels, bias: padded }
    }

    /// Width of an input row.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Width of an output row.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Bytes of the packed weights and biases.
    pub fn bytes(&self) -> usize {
        size_of_val(self.panels.as_slice()) + size_of_val(self.bias.as_slice())
    }

    /// Writes `x W^T + b` into `y [rows, out]` for `x [rows, in]`; no row is allowed and does nothing.
    ///
    /// # Panics
    /// If `x` and `y` do not hold the same number of whole rows.
    pub fn apply(&self, x: &[f32], y: &mut [f32]) {
        assert_eq!(x.len() * self.outputs, y.len() * self.inputs, "linear: x and y differ in rows");
        if self.inputs == 0 || self.outputs == 0 {
            return;
        }
        // Panels outside, rows inside: a panel stays in the first cache while all rows pass by it.
        for (number, (panel, bias)) in self.panels.chunks_exact(self.inputs).zip(&self.bias).enumerate() {
            let columns = number * LANES..self.outputs.min((number + 1) * LANES);
            let mut rows = x.chunks_exact(self.inputs);
            let mut results = y.chunks_exact_mut(self.outputs).map(|row| &mut row[columns.clone()]);
            while rows.len() >= ROWS {
                tile::<ROWS>(panel, bias, &mut rows, &mut results);
            }
            while rows.len() > 0 {
                tile::<1>(panel, bias, &mut rows, &mut results);
            }
        }
    }
}

/// One panel for the next `COUNT` rows.
#[inline]
fn tile<'a, 'y, const COUNT: usize>(
    panel: &[[f32; LANES]],
    bias: &[f32; LANES],
    rows: &mut impl Iterator<Item = &'a [f32]>,
    results: &mut impl Iterator<Item = &'y mut [f32]>,
) {
    let x: [&[f32]; COUNT] = std::array::from_fn(|_| rows.next().unwrap_or_default());
    let mut totals = [*bias; COUNT];
    for (number, block) in panel.chunks(LONG).enumerate() {
        let x = x.map(|row| &row[number * LONG..][..block.len()]);
        let mut middle = [[0.0; LANES]; COUNT];
        for (number, block) in block.chunks(SHORT).enumerate() {
            let x = x.map(|row| &row[number * SHORT..][..block.len()]);
            let mut sums = [[0.0; LANES]; COUNT];
            for (at, weights) in block.iter().enumerate() {
                for row in 0..COUNT {
                    let value = x[row][at];
                    for lane in 0..LANES {
                        sums[row][lane] = mul_add(value, weights[lane], sums[row][lane]);
                    }
                }
            }
            add(&mut middle, &sums);
        }
        add(&mut totals, &middle);
    }
    // The totals first: a result must not be taken for which there is none.
    for (total, result) in totals.iter().zip(results) {
        result.copy_from_slice(&total[..result.len()]);
    }
}

#[inline]
fn add<const COUNT: usize>(totals: &mut [[f32; LANES]; COUNT], sums: &[[f32; LANES]; COUNT]) {
    for (totals, sums) in totals.iter_mut().zip(sums) {
        for (total, sum) in totals.iter_mut().zip(sums) {
            *total += sum;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::reference;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Every remainder of rows, inputs and outputs. Tolerance: the inputs are at most 300 products below 1.
        #[test]
        fn linear_equals_its_plain_twin(
            rows in 0..=2 * ROWS + 1, inputs in 1..=300_usize, outputs in 1..=2 * LANES + 1, seed in any::<u64>()
        ) {
            let x = reference::matrix(rows, inputs, seed);
            let weight = reference::matrix(outputs, inputs, !seed);
            let bias = reference::matrix(1, outputs, seed.rotate_left(7));
            let mut y = vec![f32::NAN; rows * outputs];
            let linear = Linear::new(&weight, &bias, inputs);
            linear.apply(&x, &mut y);
            for (found, expected) in y.iter().zip(reference::linear(&x, &weight, &bias)) {
                prop_assert!((f64::from(*found) - expected).abs() < 2e-5, "{found} {expected}");
            }
        }

        /// What the incremental fusion relies on.
        #[test]
        fn a_row_alone_gives_the_same_bits_as_among_others(
            rows in 2..=2 * ROWS + 1, inputs in 1..=130_usize, outputs in 1..=LANES + 1, seed in any::<u64>()
        ) {
            let x = reference::matrix(rows, inputs, seed);
            let linear = Linear::new(&reference::matrix(outputs, inputs, !seed), &vec![0.5; outputs], inputs);
            let mut together = vec![0.0; rows * outputs];
            linear.apply(&x, &mut together);
            let mut alone = vec![0.0; outputs];
            for (x, expected) in x.chunks(inputs).zip(together.chunks(outputs)) {
                linear.apply(x, &mut alone);
                prop_assert_eq!(&alone, expected);
            }
        }
    }

    #[test]
    fn a_wide_row_stays_exact_enough() {
        let (x, weight) = (reference::matrix(3, 2048, 5), reference::matrix(17, 2048, 6));
        let bias = [1.0; 17];
        let mut y = vec![0.0; 3 * 17];
        Linear::new(&weight, &bias, 2048).apply(&x, &mut y);
        for (found, expected) in y.iter().zip(reference::linear(&x, &weight, &bias)) {
            assert!((f64::from(*found) - expected).abs() < 5e-5, "{found} {expected}");
        }
    }

    #[test]
    #[should_panic(expected = "differ in rows")]
    fn other_rows_are_refused() {
        Linear::new(&[1.0; 6], &[0.0; 2], 3).apply(&[1.0; 6], &mut [0.0; 6]);
    }
}
