//! Frames as a source lends them: borrowed pixels, never a copy.
//!
//! Glossary: a *frame* is one picture of the source; its *sequence* counts the pictures the source
//! made (a gap is a lost one); its *time* is monotonic and starts at zero with the source.

mod sample;

use std::time::Duration;

use crate::error::{Error, Result};
use crate::size::MAX_FRAME_SIDE;

pub use sample::{Region, Sampler};

/// Layout of the pixels in memory. Compressed pictures are decoded in `camera` and arrive as [`PixelFormat::Rgb`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    /// Packed 4:2:2, bytes Y0 U Y1 V.
    Yuyv,
    /// Packed 4:2:2, bytes U Y0 V Y1.
    Uyvy,
    /// Planar 4:2:0: luma plane, then interleaved U V at half width and height.
    Nv12,
    /// Planar 4:2:0: luma plane, then U plane, then V plane (Y4M, `yuv420p`).
    I420,
    /// Bytes R G B.
    Rgb,
    /// One luma byte.
    Grey,
}

impl PixelFormat {
    /// Bytes of one row of the first (or only) plane, without padding.
    pub fn row_bytes(self, width: u32) -> usize {
        let width = width as usize;
        match self {
            // An odd width still carries its last chroma pair.
            Self::Yuyv | Self::Uyvy => width.div_ceil(2) * 4,
            Self::Nv12 | Self::I420 | Self::Grey => width,
            Self::Rgb => width * 3,
        }
    }

    /// Bytes of a whole picture whose first plane has rows of `stride` bytes; `usize::MAX` where no memory could hold it.
    ///
    /// Chroma planes follow the luma plane without a gap: NV12 with the same stride, I420 with half of it (rounded up).
    pub fn picture_bytes(self, height: u32, stride: usize) -> usize {
        usize::try_from(self.exact_bytes(height, stride)).unwrap_or(usize::MAX)
    }
}

impl PixelFormat {
    /// The same, in a type that holds it whatever stride a driver gave: 32 bits would not.
    fn exact_bytes(self, height: u32, stride: usize) -> u128 {
        let (height, stride) = (u128::from(height), stride as u128);
        match self {
            // Half the rows, of two samples for each pair of pixels, in one plane or two.
            Self::Nv12 | Self::I420 => stride * height + stride.next_multiple_of(2) * height.div_ceil(2),
            Self::Yuyv | Self::Uyvy | Self::Rgb | Self::Grey => stride * height,
        }
    }

    /// Bytes after the last pixel: the padding of the last row of the last plane.
    fn last_padding(self, width: u32, stride: usize) -> u128 {
        let (pairs, half) = (width.div_ceil(2) as usize, stride.div_ceil(2));
        match self {
            Self::Nv12 => 2 * (half - pairs) as u128,
            Self::I420 => (half - pairs) as u128,
            Self::Yuyv | Self::Uyvy | Self::Rgb | Self::Grey => (stride - self.row_bytes(width)) as u128,
        }
    }
}

/// One picture, borrowed from its source until the next one is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    pixels: &'a [u8],
    format: PixelFormat,
    width: u32,
    height: u32,
    stride: usize,
    sequence: u64,
    time: Duration,
}

impl<'a> Frame<'a> {
    /// A frame of `width` x `height` pixels whose first plane has rows of `stride` bytes.
    ///
    /// # Errors
    /// [`Error::BadFrame`] if a side is zero or above [`MAX_FRAME_SIDE`], the stride is shorter than a row,
    /// or `pixels` is shorter than the picture (the last row may lack its padding).
    pub fn new(pixels: &'a [u8], format: PixelFormat, (width, height): (u32, u32), stride: usize) -> Result<Self> {
        let sides = 1..=MAX_FRAME_SIDE;
        if !sides.contains(&width) || !sides.contains(&height) {
            return Err(Error::BadFrame {
                expected: format!("sides of 1 to {MAX_FRAME_SIDE} pixels"),
                found: format!("{width}x{height}"),
            });
        }
        let row = format.row_bytes(width);
        if stride < row {
            return Err(Error::BadFrame {
                expected: format!("rows of at least {row} bytes for {width} pixels of {format:?}"),
                found: format!("a stride of {stride}"),
            });
        }
        let needed = format.exact_bytes(height, stride) - format.last_padding(width, stride);
        if (pixels.len() as u128) < needed {
            return Err(Error::BadFrame {
                expected: format!("{needed} bytes for {width}x{height} {format:?}"),
                found: format!("{} bytes", pixels.len()),
            });
        }
        Ok(Self { pixels, format, width, height, stride, sequence: 0, time: Duration::ZERO })
    }

    /// The same frame with its place in the stream.
    #[must_use]
    pub fn at(self, sequence: u64, time: Duration) -> Self {
        Self { sequence, time, ..self }
    }

    /// The bytes of the picture, rows of [`Frame::stride`] bytes.
    pub fn pixels(&self) -> &'a [u8] {
        self.pixels
    }

    /// Layout of the bytes.
    pub fn format(&self) -> PixelFormat {
        self.format
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Bytes from one row of the first plane to the next.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Number of the picture in its source, from 0; lost pictures leave gaps.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Time of capture since the source started.
    pub fn time(&self) -> Duration {
        self.time
    }
}

/// What a source has to give now.
#[derive(Debug)]
pub enum Next<'a> {
    /// A picture.
    Frame(Frame<'a>),
    /// No picture this time; ask again.
    Idle(Idle),
    /// The recording is over.
    End,
}

/// Why there is no picture this time. Each but [`Idle::Waiting`] is counted in [`SourceHealth`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Nothing came yet. Given back after [`LONGEST_WAIT`] at most, so that whoever asks can look after other things.
    Waiting,
    /// Nothing came within the timeout.
    Timeout,
    /// A damaged picture was dropped.
    Corrupt,
    /// The device is gone; the source tries to open it again.
    Reconnecting,
}

/// Counters of a source since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceHealth {
    /// Pictures handed out.
    pub delivered: u64,
    /// Damaged pictures dropped.
    pub corrupt: u64,
    /// Pictures skipped because a newer one was waiting.
    pub stale: u64,
    /// Waits that ended without a picture.
    pub timeouts: u64,
    /// Times the device was opened again.
    pub reconnects: u64,
    /// Times the picture was found to stand still, all of its samples the same for too long.
    pub freezes: u64,
    /// Whether it stands still now.
    pub frozen: bool,
}

/// Longest time that [`FrameSource::next_frame`] waits before it gives [`Idle::Waiting`].
pub const LONGEST_WAIT: Duration = Duration::from_millis(200);

/// Anything that gives frames: a camera, a clip, a fault injector around either.
pub trait FrameSource {
    /// The next picture, or why there is none. Waits [`LONGEST_WAIT`] at most, or twice that where bytes trickle.
    ///
    /// # Errors
    /// Only what waiting and reconnecting cannot mend.
    fn next_frame(&mut self) -> Result<Next<'_>>;

    /// What happened so far.
    fn health(&self) -> SourceHealth;

    /// One line for the log: what it is, size, format, rate.
    fn describe(&self) -> String;

    /// Whether the pictures are happening now (a camera) or were recorded (a clip).
    fn is_live(&self) -> bool;

    /// Opens the device anew, if it is one: what it gives now is of no use.
    fn renew(&mut self) {}
}

impl<S: FrameSource + ?Sized> FrameSource for Box<S> {
    fn next_frame(&mut self) -> Result<Next<'_>> {
        (**self).next_frame()
    }

    fn health(&self) -> SourceHealth {
        (**self).health()
    }

    fn describe(&self) -> String {
        (**self).describe()
    }

    fn is_live(&self) -> bool {
        (**self).is_live()
    }

    fn renew(&mut self) {
        (**self).renew();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A driver may say anything; a product that wraps around would let it through.
    #[test]
    fn strides_beyond_memory_are_refused() {
        let pixels = vec![0; 64 * 64 * 3];
        for format in [PixelFormat::Nv12, PixelFormat::I420, PixelFormat::Yuyv, PixelFormat::Rgb, PixelFormat::Grey] {
            for stride in [u32::MAX as usize, 1 << 31, usize::MAX, usize::MAX / 2 + 1, usize::MAX / 64 + 1] {
                let error = Frame::new(&pixels, format, (64, 64), stride).unwrap_err();
                assert!(matches!(error, Error::BadFrame { .. }), "{format:?} {stride}: {error}");
                assert!(format.picture_bytes(64, stride) > pixels.len(), "{format:?} {stride}");
            }
        }
    }
}
