//! One pass from camera pixels to a resized picture, whatever the format.
//!
//! Bilinear with half-pixel centres and no anti-aliasing (the convention the models are trained
//! with): output pixel `o` of `n` reads source coordinate `start + (o + 0.5) * length / n - 0.5`.
//! Coordinates outside the frame read its border. YUV is BT.601 limited range, as V4L2 cameras and
//! `ffmpeg -pix_fmt yuyv422` give it; a chroma sample holds for all the pixels it covers.
//!
//! Each format is one small implementation of [`Pixels`]; the loops are written once and compiled
//! for each, so that the format is looked at once a call and never once a pixel.

use super::{Frame, PixelFormat};

/// A rectangle of the frame in pixels; it may reach over the border.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Region {
    /// Left edge.
    pub x: f32,
    /// Top edge.
    pub y: f32,
    /// Width, above zero.
    pub width: f32,
    /// Height, above zero.
    pub height: f32,
}

impl Frame<'_> {
    /// The whole frame as a region.
    pub fn region(&self) -> Region {
        Region { x: 0.0, y: 0.0, width: self.width() as f32, height: self.height() as f32 }
    }
}

/// Resamples regions of frames. Keep one: its row buffers are used again, so that only a wider
/// output than any before allocates.
#[derive(Clone, Debug, Default)]
pub struct Sampler {
    taps: Vec<Tap>,
    /// Source rows at output width, not yet RGB; row `y` lies in slot `y % 2`, and an output row
    /// needs two neighbours.
    rows: [Vec<[f32; 3]>; 2],
    rgb: Vec<[f32; 3]>,
}

impl Sampler {
    /// Resizes `region` of `frame` to `width` x `height` pixels and gives each row to `sink`, top
    /// first, as `(row number, [width] pixels of R, G, B)`, values 0 to 255.
    ///
    /// A region without finite numbers reads the top left pixel. Nothing is given to `sink` if a side is 0.
    pub fn resample(
        &mut self,
        frame: &Frame,
        region: Region,
        (width, height): (usize, usize),
        sink: impl FnMut(usize, &[[f32; 3]]),
    ) {
        let x = Axis::new(region.x, region.width, width, frame.width());
        let y = Axis::new(region.y, region.height, height, frame.height());
        self.taps.clear();
        self.taps.extend((0..width).map(|o| x.tap(o)));
        for buffer in self.rows.iter_mut().chain([&mut self.rgb]) {
            buffer.clear();
            buffer.resize(width, [0.0; 3]);
        }
        let planes = Planes::new(frame);
        match frame.format() {
            PixelFormat::Yuyv => self.rows::<Yuyv>(planes, y, height, sink),
            PixelFormat::Uyvy => self.rows::<Uyvy>(planes, y, height, sink),
            PixelFormat::Nv12 => self.rows::<Nv12>(planes, y, height, sink),
            PixelFormat::I420 => self.rows::<I420>(planes, y, height, sink),
            PixelFormat::Rgb => self.rows::<Rgb>(planes, y, height, sink),
            PixelFormat::Grey => self.rows::<Grey>(planes, y, height, sink),
        }
    }

    /// The vertical half of the work; the taps of the horizontal half are ready.
    fn rows<P: Pixels>(&mut self, planes: Planes, y: Axis, height: usize, mut sink: impl FnMut(usize, &[[f32; 3]])) {
        let Self { taps, rows, rgb } = self;
        let mut held = [usize::MAX; 2];
        for o in 0..height {
            let tap = y.tap(o);
            for at in [tap.near, tap.far] {
                if held[at % 2] != at {
                    held[at % 2] = at;
                    let source = P::row(planes, at);
                    for (value, tap) in rows[at % 2].iter_mut().zip(taps.iter()) {
                        *value = tap.blend(P::pixel(source, tap.near), P::pixel(source, tap.far));
                    }
                }
            }
            let (near, far) = (&rows[tap.near % 2], &rows[tap.far % 2]);
            for ((out, near), far) in rgb.iter_mut().zip(near).zip(far) {
                *out = P::rgb(tap.blend(*near, *far));
            }
            sink(o, rgb);
        }
    }
}

/// The two source pixels of an output pixel along one axis, and the share of the second.
#[derive(Clone, Copy, Debug)]
struct Tap {
    near: usize,
    far: usize,
    share: f32,
}

impl Tap {
    fn blend(&self, near: [f32; 3], far: [f32; 3]) -> [f32; 3] {
        std::array::from_fn(|c| near[c] + (far[c] - near[c]) * self.share)
    }
}

/// How output positions along one axis map to source positions.
#[derive(Clone, Copy, Debug)]
struct Axis {
    start: f64,
    step: f64,
    last: usize,
}

impl Axis {
    fn new(start: f32, length: f32, outputs: usize, sources: u32) -> Self {
        let step = f64::from(length) / outputs.max(1) as f64;
        Self { start: f64::from(start), step, last: sources as usize - 1 }
    }

    fn tap(self, output: usize) -> Tap {
        let at = self.start + (output as f64 + 0.5) * self.step - 0.5;
        let at = if at.is_finite() { at.clamp(0.0, self.last as f64) } else { 0.0 };
        let near = at as usize;
        Tap { near, far: (near + 1).min(self.last), share: (at - near as f64) as f32 }
    }
}

/// The bytes of a frame, cut at the planes. Rows start every `stride` bytes in the first plane and
/// every `chroma_stride` bytes in the others.
#[derive(Clone, Copy)]
struct Planes<'a> {
    luma: &'a [u8],
    stride: usize,
    u: &'a [u8],
    v: &'a [u8],
    chroma_stride: usize,
}

impl<'a> Planes<'a> {
    fn new(frame: &Frame<'a>) -> Self {
        let (pixels, stride, height) = (frame.pixels(), frame.stride(), frame.height() as usize);
        let half = stride.div_ceil(2);
        let (chroma_stride, second) = match frame.format() {
            PixelFormat::Nv12 => (half * 2, 0),
            PixelFormat::I420 => (half, half * height.div_ceil(2)),
            PixelFormat::Yuyv | PixelFormat::Uyvy | PixelFormat::Rgb | PixelFormat::Grey => (0, 0),
        };
        let u = tail(pixels, stride * height);
        Self { luma: pixels, stride, u, v: tail(u, second), chroma_stride }
    }
}

/// Everything from byte `start` on; nothing if there is none.
fn tail(bytes: &[u8], start: usize) -> &[u8] {
    bytes.get(start..).unwrap_or_default()
}

/// One byte as a number. A byte that the source did not send (which [`Frame::new`] refuses) reads as mid-grey.
fn byte(row: &[u8], at: usize) -> f32 {
    row.get(at).map_or(128.0, |value| f32::from(*value))
}

/// How one format keeps its pixels.
trait Pixels {
    /// The bytes of one picture row: of the first plane, and of the two chroma planes.
    fn row(planes: Planes<'_>, y: usize) -> [&[u8]; 3];

    /// The components of one pixel as stored.
    fn pixel(row: [&[u8]; 3], x: usize) -> [f32; 3];

    /// R, G, B of (blended) components. Conversion is affine, so that blending first is the same and
    /// costs one conversion instead of four.
    fn rgb(components: [f32; 3]) -> [f32; 3];
}

/// The row of a format with one plane.
fn packed_row(planes: Planes<'_>, y: usize) -> [&[u8]; 3] {
    [tail(planes.luma, y * planes.stride), &[], &[]]
}

/// The row of a format with chroma at half height.
fn planar_row(planes: Planes<'_>, y: usize) -> [&[u8]; 3] {
    let chroma = y / 2 * planes.chroma_stride;
    [tail(planes.luma, y * planes.stride), tail(planes.u, chroma), tail(planes.v, chroma)]
}

/// BT.601 limited range (Y 16 to 235, chroma 16 to 240 about 128) to R, G, B of 0 to 255 (ITU-R BT.601-7, 2.5).
fn bt601([y, u, v]: [f32; 3]) -> [f32; 3] {
    let (y, u, v) = (1.164_383_5 * (y - 16.0), u - 128.0, v - 128.0);
    [y + 1.596_026_8 * v, y - 0.391_762_3 * u - 0.812_967_6 * v, y + 2.017_232_1 * u].map(|c| c.clamp(0.0, 255.0))
}

struct Yuyv;

impl Pixels for Yuyv {
    fn row(planes: Planes<'_>, y: usize) -> [&[u8]; 3] {
        packed_row(planes, y)
    }
    fn pixel([row, ..]: [&[u8]; 3], x: usize) -> [f32; 3] {
        let pair = x / 2 * 4;
        [byte(row, x * 2), byte(row, pair + 1), byte(row, pair + 3)]
    }
    fn rgb(components: [f32; 3]) -> [f32; 3] {
        bt601(components)
    }
}

struct Uyvy;

impl Pixels for Uyvy {
    fn row(planes: Planes<'_>, y: usize) -> [&[u8]; 3] {
        packed_row(planes, y)
    }
    fn pixel([row, ..]: [&[u8]; 3], x: usize) -> [f32; 3] {
        let pair = x / 2 * 4;
        [byte(row, x * 2 + 1), byte(row, pair), byte(row, pair + 2)]
    }
    fn rgb(components: [f32; 3]) -> [f32; 3] {
        bt601(components)
    }
}

struct Nv12;

impl Pixels for Nv12 {
    fn row(planes: Planes<'_>, y: usize) -> [&[u8]; 3] {
        planar_row(planes, y)
    }
    fn pixel([luma, chroma, _]: [&[u8]; 3], x: usize) -> [f32; 3] {
        let pair = x / 2 * 2;
        [byte(luma, x), byte(chroma, pair), byte(chroma, pair + 1)]
    }
    fn rgb(components: [f32; 3]) -> [f32; 3] {
        bt601(components)
    }
}

struct I420;

impl Pixels for I420 {
    fn row(planes: Planes<'_>, y: usize) -> [&[u8]; 3] {
        planar_row(planes, y)
    }
    fn pixel([luma, u, v]: [&[u8]; 3], x: usize) -> [f32; 3] {
        [byte(luma, x), byte(u, x / 2), byte(v, x / 2)]
    }
    fn rgb(components: [f32; 3]) -> [f32; 3] {
        bt601(components)
    }
}

struct Rgb;

impl Pixels for Rgb {
    fn row(planes: Planes<'_>, y: usize) -> [&[u8]; 3] {
        packed_row(planes, y)
    }
    fn pixel([row, ..]: [&[u8]; 3], x: usize) -> [f32; 3] {
        [byte(row, x * 3), byte(row, x * 3 + 1), byte(row, x * 3 + 2)]
    }
    fn rgb(components: [f32; 3]) -> [f32; 3] {
        components
    }
}

struct Grey;

impl Pixels for Grey {
    fn row(planes: Planes<'_>, y: usize) -> [&[u8]; 3] {
        packed_row(planes, y)
    }
    fn pixel([row, ..]: [&[u8]; 3], x: usize) -> [f32; 3] {
        [byte(row, x); 3]
    }
    fn rgb(components: [f32; 3]) -> [f32; 3] {
        components
    }
}

#[cfg(test)]
mod tests;
