//! Sum and difference of two pictures.

use super::pair::{Pair, Pairs};
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
        let pairs = Pairs { pair: self.sum, a, from_a, b, from_b, y, to };
        pairs.check();
        self.wide.run(pairs);
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

impl Pair for Sum {
    #[inline(always)]
    fn byte(self, a: u8, b: u8) -> u8 {
        let a = (f32::from(a) - self.zero_a) * self.factor_a;
        let b = (f32::from(b) - self.zero_b) * self.factor_b;
        self.rounding.byte(a + b)
    }
}
