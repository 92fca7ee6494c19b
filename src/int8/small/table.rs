//! Any function of one byte.

use super::{Layout, LookUp, Runs, check, pixel, same_shape};
#[cfg(test)]
use super::{Output, Quantisation, Rounding};

/// `y = values[x]`: an activation between two quantisations, or a change of quantisation. A table that changes nothing
/// copies.
#[derive(Clone, Debug)]
pub(in crate::int8) struct Table {
    values: Box<[u8; 256]>,
    identity: bool,
    look_up: LookUp,
}

impl Table {
    pub(in crate::int8) fn new(values: [u8; 256]) -> Self {
        let identity = values.iter().enumerate().all(|(at, value)| at == usize::from(*value));
        Self { values: Box::new(values), identity, look_up: LookUp::detect() }
    }

    /// The same numbers in other steps: `t = (x - zx) (sx / so)` in `f32`, then rounded as everywhere.
    #[cfg(test)]
    pub(in crate::int8) fn between(input: Quantisation, output: &Output) -> Self {
        let factor = input.scale / output.quantisation.scale;
        let rounding = Rounding::new(output);
        Self::new(std::array::from_fn(|byte| {
            rounding.byte::<true>((byte as f32 - f32::from(input.zero_point)) * factor)
        }))
    }

    /// Whether it changes nothing.
    #[cfg(test)]
    pub(in crate::int8) fn is_identity(&self) -> bool {
        self.identity
    }

    pub(in crate::int8) fn byte(&self, x: u8) -> u8 {
        self.values[usize::from(x)]
    }

    /// Both pictures have one shape.
    pub(in crate::int8) fn run(&self, x: &[u8], from: &Layout, y: &mut [u8], to: &Layout) {
        each_run(x, from, y, to, |x, y| self.apply(x, y));
    }

    /// Slices of one length.
    pub(super) fn apply(&self, x: &[u8], y: &mut [u8]) {
        if self.identity {
            y.copy_from_slice(x);
            return;
        }
        self.look_up.run(&self.values, x, y);
    }

    pub(super) fn apply_in_place(&self, y: &mut [u8]) {
        if !self.identity {
            for y in y {
                *y = self.byte(*y);
            }
        }
    }
}

fn each_run(x: &[u8], from: &Layout, y: &mut [u8], to: &Layout, work: impl Fn(&[u8], &mut [u8])) {
    assert!(same_shape(from, to), "a table between pictures of two shapes");
    check(x.len(), from);
    check(y.len(), to);
    let runs = Runs::new([to, from]);
    for row in 0..runs.rows {
        for column in 0..runs.columns {
            let x = &x[pixel(from, row, column)..][..runs.length];
            work(x, &mut y[pixel(to, row, column)..][..runs.length]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::*;
    use super::*;

    proptest! {
        #[test]
        fn each_byte_is_looked_up(
            (x, y) in sizes().prop_flat_map(|sizes| (picture(sizes), picture(sizes))), shift in any::<u8>(),
        ) {
            let table = Table::new(std::array::from_fn(|byte| (byte as u8).wrapping_mul(7).wrapping_add(shift)));
            let expected = y.expected(|row, column, channel| {
                x.at(row, column, channel).wrapping_mul(7).wrapping_add(shift)
            });
            prop_assert!(y.found(|y, to| table.run(&x.bytes, &x.layout, y, to)) == expected);

            let same = Table::new(std::array::from_fn(|byte| byte as u8));
            prop_assert!(same.is_identity() && !table.is_identity());
            let expected = y.expected(|row, column, channel| x.at(row, column, channel));
            prop_assert!(y.found(|y, to| same.run(&x.bytes, &x.layout, y, to)) == expected);
        }

        /// Slack: two roundings of numbers below 2^9 steps, and a slope of at most 2.
        #[test]
        fn between_two_quantisations(input in quantisation(), output in output()) {
            let table = Table::between(input, &output);
            let factor = input.scale / output.quantisation.scale;
            for byte in 0..=255 {
                let steps = (i32::from(byte) - i32::from(input.zero_point)) as f32 * factor;
                prop_assert_eq!(table.byte(byte), rounded(steps, &output));
                prop_assert!(is_near(table.byte(byte), real(byte, input), &output, 1e-3));
            }
        }

        #[test]
        fn between_equal_quantisations_lies_nothing(quantisation in quantisation()) {
            let output = Output { quantisation, low: 0, high: 255, slope: 1.0 };
            prop_assert!(Table::between(quantisation, &output).is_identity());
        }
    }
}
