//! Where numbers of the model become bytes, and bytes numbers.

use super::{Layout, Quantisation, Runs, Wide, Work, check, nearest, pixel};

/// Pixels of a row that are interleaved at once.
const PART: usize = 256;

/// A tile of so many pixels by so many channels is turned at once.
const SIDE: usize = 16;

/// How the values of a tensor lie: `[C, H, W]` or `[H, W, C]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::int8) enum Order {
    Nchw,
    Nhwc,
}

/// `QuantizeLinear`: `x / scale` to the nearest, ties to even, plus the zero point, saturating. No number becomes the zero
/// point.
#[derive(Clone, Copy, Debug)]
pub(in crate::int8) struct Quantise {
    wide: Wide,
    order: Order,
    cast: ToByte,
}

impl Quantise {
    /// `order` is that of the floats.
    pub(in crate::int8) fn new(output: Quantisation, order: Order) -> Self {
        let zero_point = f32::from(output.zero_point);
        let cast = ToByte {
            scale: output.scale,
            low: -zero_point,
            high: 255.0 - zero_point,
            zero_point: output.zero_point.into(),
        };
        Self { wide: Wide::detect(), order, cast }
    }

    /// With these instructions.
    #[cfg(test)]
    pub(in crate::int8) fn with(self, wide: Wide) -> Self {
        Self { wide, ..self }
    }

    /// As many floats as the picture has values.
    pub(in crate::int8) fn run(&self, x: &[f32], y: &mut [u8], to: &Layout) {
        let work = ToPicture { cast: self.cast, order: self.order, x, y, to };
        work.check();
        self.wide.run(work);
    }
}

/// `DequantizeLinear`: `(x - zero_point) scale`.
#[derive(Clone, Copy, Debug)]
pub(in crate::int8) struct Dequantise {
    wide: Wide,
    order: Order,
    cast: ToFloat,
}

impl Dequantise {
    /// `order` is that of the floats.
    pub(in crate::int8) fn new(input: Quantisation, order: Order) -> Self {
        let cast = ToFloat { scale: input.scale, zero_point: input.zero_point.into() };
        Self { wide: Wide::detect(), order, cast }
    }

    /// With these instructions.
    #[cfg(test)]
    pub(in crate::int8) fn with(self, wide: Wide) -> Self {
        Self { wide, ..self }
    }

    /// As many floats as the picture has values.
    pub(in crate::int8) fn run(&self, x: &[u8], from: &Layout, y: &mut [f32]) {
        let work = FromPicture { cast: self.cast, order: self.order, x, from, y };
        work.check();
        self.wide.run(work);
    }
}

/// Takes a tensor of unsigned bytes in.
pub(in crate::int8) fn load(x: &[u8], order: Order, y: &mut [u8], to: &Layout) {
    let work = ToPicture { cast: Same, order, x, y, to };
    work.check();
    Wide::detect().run(work);
}

/// Takes a tensor of signed bytes in: 128 is added to each.
pub(in crate::int8) fn load_signed(x: &[i8], order: Order, y: &mut [u8], to: &Layout) {
    let work = ToPicture { cast: Shifted, order, x, y, to };
    work.check();
    Wide::detect().run(work);
}

/// Hands a tensor of unsigned bytes out.
pub(in crate::int8) fn store(x: &[u8], from: &Layout, y: &mut [u8], order: Order) {
    let work = FromPicture { cast: Same, order, x, from, y };
    work.check();
    Wide::detect().run(work);
}

/// Hands a tensor of signed bytes out: 128 is taken from each.
pub(in crate::int8) fn store_signed(x: &[u8], from: &Layout, y: &mut [i8], order: Order) {
    let work = FromPicture { cast: Shifted, order, x, from, y };
    work.check();
    Wide::detect().run(work);
}

/// Sets the channels of `to` in its margin to the zero point.
pub(in crate::int8) fn fill_margin(y: &mut [u8], to: &Layout, zero_point: u8) {
    let Layout { height, width, margin, .. } = *to;
    for row in 0..margin {
        fill(y, to, [row, 0], width + 2 * margin, zero_point);
        fill(y, to, [margin + height + row, 0], width + 2 * margin, zero_point);
    }
    for row in margin..margin + height {
        fill(y, to, [row, 0], margin, zero_point);
        fill(y, to, [row, margin + width], margin, zero_point);
    }
}

/// Fills pixels from (`row`, `column`) on, both counted from the corner of the margin.
fn fill(y: &mut [u8], to: &Layout, [row, column]: [usize; 2], pixels: usize, value: u8) {
    let corner = to.start - to.margin * (to.row + to.pixel);
    let at = corner + row * to.row + column * to.pixel;
    if to.pixel == to.channels {
        y[at..][..pixels * to.channels].fill(value);
        return;
    }
    for pixel in 0..pixels {
        y[at + pixel * to.pixel..][..to.channels].fill(value);
    }
}

/// What becomes of one value. Implementations are `#[inline(always)]`.
pub(super) trait Cast<A, B>: Copy {
    fn cast(self, value: A) -> B;
}

#[derive(Clone, Copy)]
pub(super) struct Same;

/// Between signed and unsigned bytes: the highest bit changes.
#[derive(Clone, Copy)]
struct Shifted;

#[derive(Clone, Copy, Debug)]
struct ToByte {
    scale: f32,
    low: f32,
    high: f32,
    zero_point: u32,
}

#[derive(Clone, Copy, Debug)]
struct ToFloat {
    scale: f32,
    zero_point: f32,
}

impl Cast<u8, u8> for Same {
    #[inline(always)]
    fn cast(self, value: u8) -> u8 {
        value
    }
}

impl Cast<i8, u8> for Shifted {
    #[inline(always)]
    fn cast(self, value: i8) -> u8 {
        value.cast_unsigned() ^ 0x80
    }
}

impl Cast<u8, i8> for Shifted {
    #[inline(always)]
    fn cast(self, value: u8) -> i8 {
        (value ^ 0x80).cast_signed()
    }
}

impl Cast<f32, u8> for ToByte {
    #[inline(always)]
    fn cast(self, value: f32) -> u8 {
        let steps = value / self.scale;
        let steps = if steps.is_nan() { 0.0 } else { steps };
        let steps = if steps > self.low { steps } else { self.low };
        let steps = if steps < self.high { steps } else { self.high };
        nearest(steps).wrapping_add(self.zero_point) as u8
    }
}

impl Cast<u8, f32> for ToFloat {
    #[inline(always)]
    fn cast(self, value: u8) -> f32 {
        (f32::from(value) - self.zero_point) * self.scale
    }
}

/// A tensor becomes a picture.
pub(super) struct ToPicture<'a, A, F> {
    pub(super) cast: F,
    pub(super) order: Order,
    pub(super) x: &'a [A],
    pub(super) y: &'a mut [u8],
    pub(super) to: &'a Layout,
}

/// A picture becomes a tensor.
pub(super) struct FromPicture<'a, B, F> {
    pub(super) cast: F,
    pub(super) order: Order,
    pub(super) x: &'a [u8],
    pub(super) from: &'a Layout,
    pub(super) y: &'a mut [B],
}

impl<A, F> ToPicture<'_, A, F> {
    pub(super) fn check(&self) {
        assert_eq!(self.x.len(), self.to.len(), "values of the tensor");
        check(self.y.len(), self.to);
    }
}

impl<B, F> FromPicture<'_, B, F> {
    pub(super) fn check(&self) {
        assert_eq!(self.y.len(), self.from.len(), "values of the tensor");
        check(self.x.len(), self.from);
    }
}

/// Whether both orders are one.
fn one_order(layout: &Layout, order: Order) -> bool {
    order == Order::Nhwc || layout.channels == 1 || layout.height * layout.width == 1
}

/// Rows, and pixels of each: one long row where no margin lies between.
fn rows(layout: &Layout) -> (usize, usize) {
    let Layout { height, width, pixel, row, .. } = *layout;
    if row == width * pixel { (1, height * width) } else { (height, width) }
}

impl<A: Copy, F: Cast<A, u8>> Work for ToPicture<'_, A, F> {
    #[inline(always)]
    fn run(self) {
        let Self { cast, order, x, y, to } = self;
        if to.len() == 0 {
            return;
        }
        if one_order(to, order) {
            let runs = Runs::new([to]);
            let mut x = x.chunks_exact(runs.length);
            for row in 0..runs.rows {
                for column in 0..runs.columns {
                    let Some(x) = x.next() else { return };
                    cast_all(cast, x, &mut y[pixel(to, row, column)..][..runs.length]);
                }
            }
            return;
        }
        match to.channels {
            2 => few::<2, A, F>(cast, x, y, to),
            3 => few::<3, A, F>(cast, x, y, to),
            4 => few::<4, A, F>(cast, x, y, to),
            _ => many(cast, x, y, to),
        }
    }
}

#[inline(always)]
fn cast_all<A: Copy, B: Copy + Default, F: Cast<A, B>>(cast: F, x: &[A], y: &mut [B]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = cast.cast(*x);
    }
}

#[inline(always)]
fn cast_lanes<A: Copy, B: Copy + Default, F: Cast<A, B>, const N: usize>(cast: F, x: &[A; N]) -> [B; N] {
    let mut y = [B::default(); N];
    for lane in 0..N {
        y[lane] = cast.cast(x[lane]);
    }
    y
}

/// Planes of few channels, interleaved.
#[inline(always)]
fn few<const C: usize, A: Copy, F: Cast<A, u8>>(cast: F, x: &[A], y: &mut [u8], to: &Layout) {
    let plane = to.height * to.width;
    let (rows, width) = rows(to);
    let mut bytes = [[0; PART]; C];
    for row in 0..rows {
        for column in (0..width).step_by(PART) {
            let pixels = PART.min(width - column);
            for channel in 0..C {
                let x = &x[channel * plane + row * width + column..][..pixels];
                cast_all(cast, x, &mut bytes[channel][..pixels]);
            }
            let bytes: [&[u8]; C] = bytes.each_ref().map(|bytes| &bytes[..pixels]);
            let y = &mut y[pixel(to, row, column)..];
            if to.pixel == C {
                // Without gaps, so that it can become instructions that interleave.
                let y = &mut y.as_chunks_mut::<C>().0[..pixels];
                for at in 0..pixels {
                    for channel in 0..C {
                        y[at][channel] = bytes[channel][at];
                    }
                }
            } else {
                for at in 0..pixels {
                    for (y, bytes) in y[at * to.pixel..][..C].iter_mut().zip(bytes) {
                        *y = bytes[at];
                    }
                }
            }
        }
    }
}

/// Planes of many channels, tile by tile.
#[inline(always)]
fn many<A: Copy, F: Cast<A, u8>>(cast: F, x: &[A], y: &mut [u8], to: &Layout) {
    let plane = to.height * to.width;
    let (rows, width) = rows(to);
    for row in 0..rows {
        for column in (0..width).step_by(SIDE) {
            let pixels = SIDE.min(width - column);
            for first in (0..to.channels).step_by(SIDE) {
                let channels = SIDE.min(to.channels - first);
                let mut tile = [[0; SIDE]; SIDE];
                for (channel, tile) in tile.iter_mut().enumerate().take(channels) {
                    let x = &x[(first + channel) * plane + row * width + column..][..pixels];
                    match x.first_chunk::<SIDE>() {
                        Some(x) => *tile = cast_lanes(cast, x),
                        None => cast_all(cast, x, &mut tile[..pixels]),
                    }
                }
                let tile = turned(&tile);
                for (at, tile) in tile.iter().enumerate().take(pixels) {
                    let y = &mut y[pixel(to, row, column + at) + first..][..channels];
                    match y.first_chunk_mut::<SIDE>() {
                        Some(y) => *y = *tile,
                        None => y.copy_from_slice(&tile[..channels]),
                    }
                }
            }
        }
    }
}

impl<B: Copy + Default, F: Cast<u8, B>> Work for FromPicture<'_, B, F> {
    #[inline(always)]
    fn run(self) {
        let Self { cast, order, x, from, y } = self;
        if from.len() == 0 {
            return;
        }
        if one_order(from, order) {
            let runs = Runs::new([from]);
            let mut y = y.chunks_exact_mut(runs.length);
            for row in 0..runs.rows {
                for column in 0..runs.columns {
                    let Some(y) = y.next() else { return };
                    cast_all(cast, &x[pixel(from, row, column)..][..runs.length], y);
                }
            }
            return;
        }
        let plane = from.height * from.width;
        let (rows, width) = rows(from);
        for row in 0..rows {
            for column in (0..width).step_by(SIDE) {
                let pixels = SIDE.min(width - column);
                for first in (0..from.channels).step_by(SIDE) {
                    let channels = SIDE.min(from.channels - first);
                    let mut tile = [[0; SIDE]; SIDE];
                    for (at, tile) in tile.iter_mut().enumerate().take(pixels) {
                        let x = &x[pixel(from, row, column + at) + first..][..channels];
                        match x.first_chunk::<SIDE>() {
                            Some(x) => *tile = *x,
                            None => tile[..channels].copy_from_slice(x),
                        }
                    }
                    let tile = turned(&tile);
                    for (channel, tile) in tile.iter().enumerate().take(channels) {
                        let y = &mut y[(first + channel) * plane + row * width + column..][..pixels];
                        match y.first_chunk_mut::<SIDE>() {
                            Some(y) => *y = cast_lanes(cast, tile),
                            None => cast_all(cast, &tile[..pixels], y),
                        }
                    }
                }
            }
        }
    }
}

/// Rows become columns: four times, the first half of the bytes is interleaved with the second. Each time the bits of an
/// index turn by one, so at the end its two halves have changed places.
#[inline(always)]
fn turned(tile: &[[u8; SIDE]; SIDE]) -> [[u8; SIDE]; SIDE] {
    let [mut tile, mut next] = [*tile; 2];
    for _ in 0..2 {
        interleaved(tile.as_flattened(), next.as_flattened_mut());
        interleaved(next.as_flattened(), tile.as_flattened_mut());
    }
    tile
}

#[inline(always)]
fn interleaved(x: &[u8], y: &mut [u8]) {
    let (first, second) = x.split_at(SIDE * SIDE / 2);
    for ((y, first), second) in y.as_chunks_mut::<2>().0.iter_mut().zip(first).zip(second) {
        *y = [*first, *second];
    }
}

#[cfg(test)]
mod tests;
