//! Larger and smaller pictures.

use super::{Layout, Output, Quantisation, Rounding, Table, Wide, Work, check, pixel};

/// Where the middle of an output pixel lies in the input (ONNX `coordinate_transformation_mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::int8) enum Coordinates {
    HalfPixel,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
}

/// Which pixel is the nearest (ONNX `nearest_mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::int8) enum Nearest {
    Floor,
    Ceil,
    RoundPreferFloor,
    RoundPreferCeil,
}

/// ONNX `Resize` of height and width to any size, the nearest pixel or linear. Beyond the edge lies the pixel at the edge.
///
/// Linear: of the four pixels `a b / c d`, `v = (a (1 - u) + b u) (1 - w) + (c (1 - u) + d u) w` with the weights of the
/// right and the lower one, all in `f32`; `t = (v - zx) (sx / so)`, then rounded as everywhere. `v` is exact where
/// the weights are quarters, as in a resize by 2.
#[derive(Clone, Debug)]
pub(in crate::int8) struct Resize {
    wide: Wide,
    from: [usize; 2],
    rows: Vec<Tap>,
    columns: Vec<Tap>,
    how: How,
}

#[derive(Clone, Debug)]
enum How {
    Nearest(Option<Table>),
    Linear(Blend),
}

/// Two neighbours on one axis, and the weight of the second.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Tap {
    first: usize,
    second: usize,
    weight: f32,
}

#[derive(Clone, Copy, Debug)]
struct Blend {
    zero_point: f32,
    factor: f32,
    rounding: Rounding,
}

/// Sizes of a resize, `[height, width]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::int8) struct Sizes {
    /// At least 1.
    pub(in crate::int8) from: [usize; 2],
    pub(in crate::int8) to: [usize; 2],
    /// The scales of the file, or `to / from` where it gives sizes.
    pub(in crate::int8) scale: [f32; 2],
    pub(in crate::int8) coordinates: Coordinates,
}

impl Sizes {
    /// From sizes alone.
    pub(in crate::int8) fn new(from: [usize; 2], to: [usize; 2], coordinates: Coordinates) -> Self {
        Self { from, to, scale: std::array::from_fn(|axis| to[axis] as f32 / from[axis] as f32), coordinates }
    }

    /// The place of output `at` in the input, between its first and its last pixel. No number becomes 0.
    fn place(&self, axis: usize, at: usize) -> f32 {
        let (from, to, scale, at) = (self.from[axis], self.to[axis], self.scale[axis], at as f32);
        match self.coordinates {
            Coordinates::PytorchHalfPixel | Coordinates::AlignCorners if to == 1 => 0.0,
            Coordinates::HalfPixel | Coordinates::PytorchHalfPixel => (at + 0.5) / scale - 0.5,
            Coordinates::AlignCorners => at * (from - 1) as f32 / (to - 1) as f32,
            Coordinates::Asymmetric => at / scale,
        }
    }

    fn taps(&self, axis: usize, tap: impl Fn(f32) -> Tap) -> Vec<Tap> {
        let last = self.from[axis] - 1;
        let inside = |tap: Tap| Tap { first: tap.first.min(last), second: tap.second.min(last), ..tap };
        (0..self.to[axis]).map(|at| inside(tap(self.place(axis, at)))).collect()
    }
}

impl Resize {
    /// `table` is for an output of another quantisation.
    pub(in crate::int8) fn nearest(sizes: &Sizes, nearest: Nearest, table: Option<Table>) -> Self {
        let taps = |axis| {
            sizes.taps(axis, |place| {
                // Below 0 and no number become 0 by the cast.
                let first = match nearest {
                    Nearest::Floor => place.floor(),
                    Nearest::Ceil => place.ceil(),
                    Nearest::RoundPreferFloor => (place - 0.5).ceil(),
                    Nearest::RoundPreferCeil => place.round(),
                } as usize;
                Tap { first, second: first, weight: 0.0 }
            })
        };
        Self::made(sizes, taps(0), taps(1), How::Nearest(table))
    }

    pub(in crate::int8) fn linear(sizes: &Sizes, input: Quantisation, output: &Output) -> Self {
        let taps = |axis| {
            sizes.taps(axis, |place| {
                let place = if place > 0.0 { place } else { 0.0 };
                let first = place.floor();
                Tap { first: first as usize, second: (first as usize).saturating_add(1), weight: place - first }
            })
        };
        let blend = Blend {
            zero_point: input.zero_point.into(),
            factor: input.scale / output.quantisation.scale,
            rounding: Rounding::new(output),
        };
        Self::made(sizes, taps(0), taps(1), How::Linear(blend))
    }

    fn made(sizes: &Sizes, rows: Vec<Tap>, columns: Vec<Tap>, how: How) -> Self {
        Self { wide: Wide::detect(), from: sizes.from, rows, columns, how }
    }

    /// With these instructions.
    #[cfg(test)]
    pub(in crate::int8) fn with(self, wide: Wide) -> Self {
        Self { wide, ..self }
    }

    /// Heights and widths are those of [`Sizes`].
    pub(in crate::int8) fn run(&self, x: &[u8], from: &Layout, y: &mut [u8], to: &Layout) {
        assert_eq!([from.height, from.width], self.from, "the input's height and width");
        assert_eq!([to.height, to.width], [self.rows.len(), self.columns.len()], "the output's height and width");
        assert_eq!(from.channels, to.channels, "a resize keeps the channels");
        check(x.len(), from);
        check(y.len(), to);
        match &self.how {
            How::Nearest(table) => self.copy(table.as_ref(), x, from, y, to),
            How::Linear(blend) => {
                self.wide.run(Linear { rows: &self.rows, columns: &self.columns, blend: *blend, x, from, y, to });
            }
        }
    }

    fn copy(&self, table: Option<&Table>, x: &[u8], from: &Layout, y: &mut [u8], to: &Layout) {
        let mut above = None;
        for (row, tap) in self.rows.iter().enumerate() {
            if above == Some(tap.first) {
                copy_row_above(y, to, row);
                continue;
            }
            above = Some(tap.first);
            for (column, tap) in self.columns.iter().enumerate() {
                let x = &x[pixel(from, above.unwrap_or_default(), tap.first)..][..to.channels];
                let y = &mut y[pixel(to, row, column)..][..to.channels];
                match table {
                    Some(table) => table.apply(x, y),
                    None => y.copy_from_slice(x),
                }
            }
        }
    }
}

fn copy_row_above(y: &mut [u8], to: &Layout, row: usize) {
    let dense = to.pixel == to.channels;
    let (runs, length) = if dense { (1, to.width * to.channels) } else { (to.width, to.channels) };
    for column in 0..runs {
        let from = pixel(to, row - 1, column);
        y.copy_within(from..from + length, pixel(to, row, column));
    }
}

struct Linear<'a> {
    rows: &'a [Tap],
    columns: &'a [Tap],
    blend: Blend,
    x: &'a [u8],
    from: &'a Layout,
    y: &'a mut [u8],
    to: &'a Layout,
}

impl Work for Linear<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { rows, columns, blend, x, from, y, to } = self;
        let channels = to.channels;
        for (row, down) in rows.iter().enumerate() {
            for (column, right) in columns.iter().enumerate() {
                let seen = |row, column| &x[pixel(from, row, column)..][..channels];
                let four = [
                    seen(down.first, right.first),
                    seen(down.first, right.second),
                    seen(down.second, right.first),
                    seen(down.second, right.second),
                ];
                let weights = [right.weight, down.weight];
                let y = &mut y[pixel(to, row, column)..][..channels];
                let (blocks, rest) = y.as_chunks_mut::<32>();
                for (number, y) in blocks.iter_mut().enumerate() {
                    blend.lanes(four, 32 * number, weights, y);
                }
                let mut done = 32 * blocks.len();
                let (blocks, rest) = rest.as_chunks_mut::<8>();
                for y in blocks {
                    blend.lanes(four, done, weights, y);
                    done += 8;
                }
                for y in rest {
                    blend.lanes(four, done, weights, std::array::from_mut(y));
                    done += 1;
                }
            }
        }
    }
}

impl Blend {
    #[inline(always)]
    fn lanes<const N: usize>(self, four: [&[u8]; 4], channel: usize, [right, down]: [f32; 2], y: &mut [u8; N]) {
        let [Some(a), Some(b), Some(c), Some(d)] = four.map(|x| x[channel..].first_chunk::<N>()) else { return };
        let (left, up) = (1.0 - right, 1.0 - down);
        let mut found = [0; N];
        for lane in 0..N {
            let upper = f32::from(a[lane]) * left + f32::from(b[lane]) * right;
            let lower = f32::from(c[lane]) * left + f32::from(d[lane]) * right;
            found[lane] = self.rounding.byte::<true>((upper * up + lower * down - self.zero_point) * self.factor);
        }
        *y = found;
    }
}

#[cfg(test)]
mod tests;
