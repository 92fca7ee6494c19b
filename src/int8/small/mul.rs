//! Product of two pictures.

use super::pair::{Pair, Pairs};
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
        let pairs = Pairs { pair: self.product, a, from_a, b, from_b, y, to };
        pairs.check();
        self.wide.run(pairs);
    }
}

#[derive(Clone, Copy, Debug)]
struct Product {
    zero_a: f32,
    zero_b: f32,
    factor: f32,
    rounding: Rounding,
}

impl Pair for Product {
    #[inline(always)]
    fn byte(self, a: u8, b: u8) -> u8 {
        // Floats hold these products exactly: they are below 2^24.
        self.rounding.byte((f32::from(a) - self.zero_a) * (f32::from(b) - self.zero_b) * self.factor)
    }
}
