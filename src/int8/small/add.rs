//! Sum and difference of two pictures.

use super::pair::{Pairs, Steps};
use super::{Layout, Output, Quantisation, Rounding, Wide};

/// `a + b` or `a - b`, each with its own quantisation: `t = (a - za) (sa / so) + (b - zb) (sb / so)` in `f32`, then
/// rounded as everywhere.
///
/// Where an axis of an input has length 1 it is repeated: a bias `[1, 1, C]`, a single number, either side.
#[derive(Clone, Copy, Debug)]
pub(in crate::int8) struct Add {
    wide: Wide,
    sum: Sum,
}

impl Add {
    pub(in crate::int8) fn new(a: Quantisation, b: Quantisation, output: &Output) -> Self {
        let scale = output.quantisation.scale;
        let sum = Sum {
            zero_a: a.zero_point.into(),
            zero_b: b.zero_point.into(),
            factor_a: a.scale / scale,
            factor_b: b.scale / scale,
            rounding: Rounding::new(output),
        };
        Self { wide: Wide::detect(), sum }
    }

    /// `a - b`.
    pub(in crate::int8) fn subtract(a: Quantisation, b: Quantisation, output: &Output) -> Self {
        let mut made = Self::new(a, b, output);
        made.sum.factor_b = -made.sum.factor_b;
        made
    }

    /// With these instructions.
    #[cfg(test)]
    pub(in crate::int8) fn with(self, wide: Wide) -> Self {
        Self { wide, ..self }
    }

    /// The sizes of `y` are those of the larger input.
    pub(in crate::int8) fn run(&self, a: &[u8], from_a: &Layout, b: &[u8], from_b: &Layout, y: &mut [u8], to: &Layout) {
        Pairs { pair: self.sum, a, from_a, b, from_b, y, to }.run(self.wide);
    }
}

#[derive(Clone, Copy, Debug)]
struct Sum {
    zero_a: f32,
    zero_b: f32,
    factor_a: f32,
    factor_b: f32,
    rounding: Rounding,
}

impl Steps for Sum {
    #[inline(always)]
    fn steps(self, a: u8, b: u8) -> f32 {
        let a = (f32::from(a) - self.zero_a) * self.factor_a;
        let b = (f32::from(b) - self.zero_b) * self.factor_b;
        a + b
    }

    #[inline(always)]
    fn rounding(self) -> Rounding {
        self.rounding
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::*;
    use super::*;

    /// The sizes of a sum, and of an input that is repeated.
    fn shapes() -> impl Strategy<Value = [[usize; 3]; 3]> {
        (sizes(), 0..8_usize, any::<bool>()).prop_map(|(to, kind, swap)| {
            let small = match kind {
                0 => [1, 1, to[2]],
                1 => [1, 1, 1],
                2 => [to[0], to[1], 1],
                3 => [1, to[1], to[2]],
                _ => to,
            };
            if swap { [small, to, to] } else { [to, small, to] }
        })
    }

    fn pictures() -> impl Strategy<Value = [Picture; 3]> {
        shapes().prop_flat_map(|[a, b, y]| [picture(a).boxed(), picture(b).boxed(), picture(y).boxed()])
    }

    fn repeated(from: &Picture, y: usize, x: usize, channel: usize) -> u8 {
        let last = &from.layout;
        from.at(y.min(last.height - 1), x.min(last.width - 1), channel.min(last.channels - 1))
    }

    proptest! {
        /// The bits of the formula, and the sum of the numbers. Slack: three roundings of numbers that stay below 2^11
        /// steps where the byte does not saturate, or relative to the larger operand where they cancel.
        #[test]
        fn equals_the_formula(
            [a, b, y] in pictures(), qa in quantisation(), qb in quantisation(), output in output(),
            subtract in any::<bool>(),
        ) {
            let sign = if subtract { -1.0_f32 } else { 1.0 };
            let scale = output.quantisation.scale;
            let steps = |a: u8, b: u8| {
                let a = (i32::from(a) - i32::from(qa.zero_point)) as f32 * (qa.scale / scale);
                let b = (i32::from(b) - i32::from(qb.zero_point)) as f32 * (sign * qb.scale / scale);
                a + b
            };
            let expected = y.expected(|row, column, channel| {
                rounded(steps(repeated(&a, row, column, channel), repeated(&b, row, column, channel)), &output)
            });
            let add = if subtract { Add::subtract(qa, qb, &output) } else { Add::new(qa, qb, &output) };
            for wide in Wide::all() {
                let found = y.found(|y, to| add.with(wide).run(&a.bytes, &a.layout, &b.bytes, &b.layout, y, to));
                prop_assert!(found == expected, "{wide:?}");
            }
            for (x, z) in [(0, 255), (17, 3), (255, 255)] {
                let (one, other) = (real(x, qa), f64::from(sign) * real(z, qb));
                let slack = (one.abs() + other.abs()) / f64::from(scale) * 4e-7;
                let slack = slack * f64::from(output.slope.abs().max(1.0));
                prop_assert!(is_near(rounded(steps(x, z), &output), one + other, &output, slack));
            }
        }
    }

    #[test]
    #[should_panic(expected = "does not repeat")]
    fn shapes_that_do_not_fit_are_refused() {
        let quantisation = Quantisation { scale: 1.0, zero_point: 0 };
        let output = Output { quantisation, low: 0, high: 255, slope: 1.0 };
        let (small, large) = (Layout::new(2, 3, 4, 0), Layout::new(2, 3, 8, 0));
        let bytes = [0; 200];
        Add::new(quantisation, quantisation, &output).run(&bytes, &small, &bytes, &large, &mut [0; 200], &large);
    }

    #[test]
    #[should_panic(expected = "a buffer of 47 bytes")]
    fn a_short_buffer_is_refused() {
        let quantisation = Quantisation { scale: 1.0, zero_point: 0 };
        let output = Output { quantisation, low: 0, high: 255, slope: 1.0 };
        let layout = Layout::new(2, 3, 8, 0);
        let bytes = [0; 48];
        Add::new(quantisation, quantisation, &output).run(&bytes, &layout, &bytes, &layout, &mut [0; 47], &layout);
    }
}
