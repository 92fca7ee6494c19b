//! Two pictures, byte by byte, the smaller one repeated.

use super::{Layout, Rounding, Runs, Wide, Work, check, pixel, same_shape};

/// Bytes worked on side by side.
const LANES: usize = 32;

/// Bytes of a repeated pixel.
const PATTERN: usize = 1024;

/// From two bytes to steps of the output. Implementations are `#[inline(always)]`.
pub(super) trait Steps: Copy {
    fn steps(self, a: u8, b: u8) -> f32;

    /// What the steps then go through.
    fn rounding(self) -> Rounding;
}

/// What becomes of two bytes. Implementations are `#[inline(always)]`.
trait Pair: Copy {
    fn byte(self, a: u8, b: u8) -> u8;
}

/// Steps, rounded; `LEAKY` where there is a slope.
#[derive(Clone, Copy)]
struct Rounded<S, const LEAKY: bool>(S);

impl<S: Steps, const LEAKY: bool> Pair for Rounded<S, LEAKY> {
    #[inline(always)]
    fn byte(self, a: u8, b: u8) -> u8 {
        self.0.rounding().byte::<LEAKY>(self.0.steps(a, b))
    }
}

/// One run. An axis of an input may have length 1 where the output's is longer: it is repeated.
pub(super) struct Pairs<'a, P> {
    pub(super) pair: P,
    pub(super) a: &'a [u8],
    pub(super) from_a: &'a Layout,
    pub(super) b: &'a [u8],
    pub(super) from_b: &'a Layout,
    pub(super) y: &'a mut [u8],
    pub(super) to: &'a Layout,
}

/// The same with the inputs the other way round.
#[derive(Clone, Copy)]
struct Swapped<P>(P);

impl<P: Pair> Pair for Swapped<P> {
    #[inline(always)]
    fn byte(self, a: u8, b: u8) -> u8 {
        self.0.byte(b, a)
    }
}

impl<'a, S: Steps> Pairs<'a, S> {
    /// Holds the buffers against their layouts, and these against each other, then computes.
    pub(super) fn run(self, wide: Wide) {
        let sizes = |layout: &Layout| [layout.height, layout.width, layout.channels];
        for (buffer, layout) in [(self.a, self.from_a), (self.b, self.from_b)] {
            check(buffer.len(), layout);
            let fits = sizes(layout).into_iter().zip(sizes(self.to)).all(|(from, to)| from == to || from == 1);
            assert!(fits, "{:?} does not repeat to {:?}", sizes(layout), sizes(self.to));
        }
        check(self.y.len(), self.to);
        if self.pair.rounding().is_leaky() {
            wide.run(self.of(Rounded::<S, true>));
        } else {
            wide.run(self.of(Rounded::<S, false>));
        }
    }

    fn of<P>(self, pair: impl FnOnce(S) -> P) -> Pairs<'a, P> {
        let Self { pair: steps, a, from_a, b, from_b, y, to } = self;
        Pairs { pair: pair(steps), a, from_a, b, from_b, y, to }
    }
}

impl<P: Pair> Work for Pairs<'_, P> {
    #[inline(always)]
    fn run(self) {
        let Self { pair, a, from_a, b, from_b, y, to } = self;
        if is_gate(from_a, to) && same_shape(from_b, to) {
            return gated(Swapped(pair), &a[from_a.start..][..to.channels], b, from_b, y, to);
        }
        if is_gate(from_b, to) && same_shape(from_a, to) {
            return gated(pair, &b[from_b.start..][..to.channels], a, from_a, y, to);
        }
        let (one_a, one_b) = (from_a.len() == 1, from_b.len() == 1);
        let whole = (one_a || same_shape(from_a, to)) && (one_b || same_shape(from_b, to));
        let runs = if whole {
            Runs::new([to, if one_a { to } else { from_a }, if one_b { to } else { from_b }])
        } else {
            Runs { rows: to.height, columns: to.width, length: to.channels }
        };
        let single_a = if whole { one_a } else { from_a.channels < to.channels };
        let single_b = if whole { one_b } else { from_b.channels < to.channels };
        let length = runs.length;
        for row in 0..runs.rows {
            for column in 0..runs.columns {
                let a = &a[repeated(from_a, row, column)..];
                let b = &b[repeated(from_b, row, column)..];
                let y = &mut y[pixel(to, row, column)..][..length];
                match (single_a, single_b) {
                    (false, false) => both(pair, &a[..length], &b[..length], y),
                    (false, true) => repeat(pair, &a[..length], b[0], y),
                    (true, false) => repeat(Swapped(pair), &b[..length], a[0], y),
                    (true, true) => y.fill(pair.byte(a[0], b[0])),
                }
            }
        }
    }
}

/// Whether a picture is one pixel, and its channels few enough to repeat them beforehand.
fn is_gate(from: &Layout, to: &Layout) -> bool {
    from.height * from.width == 1 && from.channels == to.channels && (2..=PATTERN / 2).contains(&to.channels)
}

/// One pixel for all of a picture: repeated to the length of several, so that few channels fill the lanes too.
#[inline(always)]
fn gated<P: Pair>(pair: P, gate: &[u8], x: &[u8], from: &Layout, y: &mut [u8], to: &Layout) {
    let mut pattern = [0; PATTERN];
    for pixel in pattern.chunks_exact_mut(gate.len()) {
        pixel.copy_from_slice(gate);
    }
    let pattern = &pattern[..PATTERN / gate.len() * gate.len()];
    let runs = Runs::new([to, from]);
    for row in 0..runs.rows {
        for column in 0..runs.columns {
            let x = &x[pixel(from, row, column)..][..runs.length];
            let y = &mut y[pixel(to, row, column)..][..runs.length];
            for (x, y) in x.chunks(pattern.len()).zip(y.chunks_mut(pattern.len())) {
                both(pair, x, &pattern[..x.len()], y);
            }
        }
    }
}

/// The first byte of the pixel that stands for (`y`, `x`).
#[inline(always)]
fn repeated(layout: &Layout, y: usize, x: usize) -> usize {
    pixel(layout, if layout.height == 1 { 0 } else { y }, if layout.width == 1 { 0 } else { x })
}

#[inline(always)]
fn both<P: Pair>(pair: P, a: &[u8], b: &[u8], y: &mut [u8]) {
    let (blocks, rest) = y.as_chunks_mut::<LANES>();
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    for ((y, a), b) in blocks.iter_mut().zip(a_blocks).zip(b_blocks) {
        block(pair, a, b, y);
    }
    let (blocks, rest) = rest.as_chunks_mut::<8>();
    let (a_blocks, a_rest) = a_rest.as_chunks::<8>();
    let (b_blocks, b_rest) = b_rest.as_chunks::<8>();
    for ((y, a), b) in blocks.iter_mut().zip(a_blocks).zip(b_blocks) {
        block(pair, a, b, y);
    }
    for ((y, a), b) in rest.iter_mut().zip(a_rest).zip(b_rest) {
        *y = pair.byte(*a, *b);
    }
}

#[inline(always)]
fn block<P: Pair, const N: usize>(pair: P, a: &[u8; N], b: &[u8; N], y: &mut [u8; N]) {
    let mut found = [0; N];
    for lane in 0..N {
        found[lane] = pair.byte(a[lane], b[lane]);
    }
    *y = found;
}

#[inline(always)]
fn repeat<P: Pair>(pair: P, a: &[u8], b: u8, y: &mut [u8]) {
    let (blocks, rest) = y.as_chunks_mut::<LANES>();
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    for (y, a) in blocks.iter_mut().zip(a_blocks) {
        block(pair, a, &[b; LANES], y);
    }
    for (y, a) in rest.iter_mut().zip(a_rest) {
        *y = pair.byte(*a, b);
    }
}
