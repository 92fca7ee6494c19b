//! Product of two pictures.

use super::pair::{Pairs, Steps};
use super::{Layout, Output, Quantisation, Rounding, Wide};

/// `a b`, each with its own quantisation: `t = ((a - za) (b - zb)) (sa sb / so)`, the product exact and the rest in `f32`,
/// then rounded as everywhere.
///
/// Where an axis of an input has length 1 it is repeated: a gate `[1, 1, C]` or `[H, W, 1]`, a single number, either side.
#[derive(Clone, Copy, Debug)]
pub(in crate::int8) struct Mul {
    wide: Wide,
    product: Product,
}

impl Mul {
    pub(in crate::int8) fn new(a: Quantisation, b: Quantisation, output: &Output) -> Self {
        let product = Product {
            zero_a: a.zero_point.into(),
            zero_b: b.zero_point.into(),
            factor: a.scale * b.scale / output.quantisation.scale,
            rounding: Rounding::new(output),
        };
        Self { wide: Wide::detect(), product }
    }

    /// With these instructions.
    #[cfg(test)]
    pub(in crate::int8) fn with(self, wide: Wide) -> Self {
        Self { wide, ..self }
    }

    /// The sizes of `y` are those of the larger input.
    pub(in crate::int8) fn run(&self, a: &[u8], from_a: &Layout, b: &[u8], from_b: &Layout, y: &mut [u8], to: &Layout) {
        Pairs { pair: self.product, a, from_a, b, from_b, y, to }.run(self.wide);
    }
}

#[derive(Clone, Copy, Debug)]
struct Product {
    zero_a: f32,
    zero_b: f32,
    factor: f32,
    rounding: Rounding,
}

impl Steps for Product {
    #[inline(always)]
    fn steps(self, a: u8, b: u8) -> f32 {
        // Floats hold these products exactly: they are below 2^24.
        (f32::from(a) - self.zero_a) * (f32::from(b) - self.zero_b) * self.factor
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

    fn pictures() -> impl Strategy<Value = [Picture; 3]> {
        (sizes(), 0..5_usize).prop_flat_map(|(to, kind)| {
            let gate = match kind {
                0 | 1 => [1, 1, to[2]],
                2 => [to[0], to[1], 1],
                3 => [1, 1, 1],
                _ => to,
            };
            [picture(to).boxed(), picture(gate).boxed(), picture(to).boxed()]
        })
    }

    proptest! {
        /// The bits of the formula, either side the gate, and the product of the numbers. Slack: three roundings of
        /// numbers below 2^9 steps where the byte does not saturate, and a slope of at most 2.
        #[test]
        fn equals_the_formula(
            [a, b, y] in pictures(), qa in quantisation(), qb in quantisation(), output in output(),
        ) {
            let factor = qa.scale * qb.scale / output.quantisation.scale;
            let one = |a: u8, b: u8| {
                let product = (i32::from(a) - i32::from(qa.zero_point)) * (i32::from(b) - i32::from(qb.zero_point));
                rounded(product as f32 * factor, &output)
            };
            let gate = |y: usize, x: usize, channel: usize| {
                let Layout { height, width, channels, .. } = b.layout;
                b.at(y.min(height - 1), x.min(width - 1), channel.min(channels - 1))
            };
            let expected = y.expected(|y, x, channel| one(a.at(y, x, channel), gate(y, x, channel)));
            let (mul, turned) = (Mul::new(qa, qb, &output), Mul::new(qb, qa, &output));
            for wide in Wide::all() {
                let found = y.found(|y, to| mul.with(wide).run(&a.bytes, &a.layout, &b.bytes, &b.layout, y, to));
                prop_assert!(found == expected, "{wide:?}");
                let found = y.found(|y, to| turned.with(wide).run(&b.bytes, &b.layout, &a.bytes, &a.layout, y, to));
                prop_assert!(found == expected, "{wide:?}, the gate first");
            }
            for (x, z) in [(0, 255), (17, 3), (255, 255)] {
                prop_assert!(is_near(one(x, z), real(x, qa) * real(z, qb), &output, 1e-3));
            }
        }
    }
}
