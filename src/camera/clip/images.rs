//! A folder of JPEG and PNG pictures, in natural order of their names.

use std::cmp::Ordering;
use std::fs::{self, File};
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::frame::{Frame, PixelFormat};
use crate::size::MAX_FRAME_SIDE;

use super::super::jpeg::JpegDecoder;
use super::{Rate, Recording, Step};

/// Largest picture file: above any sensible picture of the largest frame.
const FILE_LIMIT: u64 = 64 << 20;

pub(super) struct Images {
    folder: PathBuf,
    paths: Vec<PathBuf>,
    next: usize,
    rate: Rate,
    file: Vec<u8>,
    decoder: StillDecoder,
}

impl Images {
    pub(super) fn open(folder: &Path, rate: Rate) -> Result<Self> {
        let failed = |source| Error::Read { what: "folder of images", path: folder.into(), source };
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
            if matches!(extension.as_deref(), Some("jpg" | "jpeg" | "png")) {
                paths.push(path);
            }
        }
        if paths.is_empty() {
            let place = folder.display().to_string();
            let expected = "a folder with .jpg or .png files".into();
            return Err(Error::BadClip { place, expected, found: "none of them".into() });
        }
        paths.sort_by(|one, other| natural_order(&one.to_string_lossy(), &other.to_string_lossy()));
        Ok(Self { folder: folder.into(), paths, next: 0, rate, file: Vec::new(), decoder: StillDecoder::new() })
    }

    fn read(&mut self, index: usize) -> Result<()> {
        let path = &self.paths[index];
        self.file.clear();
        read_limited(path, &mut self.file).map_err(|source| Error::Read {
            what: "image",
            path: path.clone(),
            source,
        })?;
        self.decoder.decode(&self.file).map(drop)
    }
}

/// Reads a file of at most [`FILE_LIMIT`] bytes.
fn read_limited(path: &Path, bytes: &mut Vec<u8>) -> io::Result<()> {
    let read = File::open(path)?.take(FILE_LIMIT + 1).read_to_end(bytes)?;
    if read as u64 > FILE_LIMIT { Err(io::Error::from(io::ErrorKind::FileTooLarge)) } else { Ok(()) }
}

impl Recording for Images {
    fn advance(&mut self) -> Result<Step> {
        if self.next == self.paths.len() {
            return Ok(Step::End);
        }
        self.next += 1;
        // One unreadable picture is no reason to give up the others.
        Ok(match self.read(self.next - 1) {
            Ok(()) => Step::Picture,
            Err(reason) => {
                tracing::warn!(path = %self.paths[self.next - 1].display(), %reason, "image dropped");
                Step::Corrupt
            }
        })
    }

    fn picture(&self) -> Result<Frame<'_>> {
        self.decoder.picture()
    }

    fn rewind(&mut self) -> Result<()> {
        self.next = 0;
        Ok(())
    }

    fn rate(&self) -> Rate {
        self.rate
    }

    fn describe(&self) -> String {
        format!("{} images in {}", self.paths.len(), self.folder.display())
    }
}

/// Decodes JPEG and PNG pictures, told apart by their first bytes, into a buffer that it keeps.
#[derive(Debug)]
pub struct StillDecoder {
    jpeg: JpegDecoder,
    png: Vec<u8>,
    /// Of the picture decoded last; `None` if that one failed.
    last: Option<Decoded>,
}

#[derive(Clone, Copy, Debug)]
struct Decoded {
    is_png: bool,
    format: PixelFormat,
    size: (u32, u32),
}

impl StillDecoder {
    /// A decoder with empty buffers; they grow to the largest picture seen.
    pub fn new() -> Self {
        Self { jpeg: JpegDecoder::new(), png: Vec::new(), last: None }
    }

    /// Decodes one picture: JPEG to RGB; PNG to RGB or grey with 8 bits, its alpha channel left out.
    ///
    /// # Errors
    /// [`Error::BadPicture`] if it is neither, is cut short or damaged, or a side is above [`MAX_FRAME_SIDE`].
    pub fn decode(&mut self, bytes: &[u8]) -> Result<Frame<'_>> {
        self.last = None;
        let is_png = bytes.starts_with(b"\x89PNG\r\n\x1a\n");
        let (format, size) =
            if is_png { self.decode_png(bytes)? } else { (PixelFormat::Rgb, self.jpeg.decode(bytes)?) };
        self.last = Some(Decoded { is_png, format, size });
        self.picture()
    }

    /// The picture decoded last.
    ///
    /// # Errors
    /// [`Error::BadPicture`] if there is none, or its decoding failed.
    pub fn picture(&self) -> Result<Frame<'_>> {
        let Some(Decoded { is_png, format, size }) = self.last else {
            return Err(Error::BadPicture { kind: "still", reason: "none was decoded".into() });
        };
        let pixels = if is_png { &self.png } else { self.jpeg.pixels() };
        Frame::new(pixels, format, size, format.row_bytes(size.0))
    }

    fn decode_png(&mut self, bytes: &[u8]) -> Result<(PixelFormat, (u32, u32))> {
        let bad = |reason: String| Error::BadPicture { kind: "PNG", reason };
        let failed = |error: png::DecodingError| bad(error.to_string());
        let limits = png::Limits { bytes: 4 * MAX_FRAME_SIDE as usize * MAX_FRAME_SIDE as usize };
        let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), limits);
        decoder.set_transformations(png::Transformations::normalize_to_color8());
        decoder.set_ignore_text_chunk(true);
        let mut reader = decoder.read_info().map_err(failed)?;
        let (width, height) = reader.info().size();
        if width.max(height) > MAX_FRAME_SIDE {
            return Err(bad(format!("{width}x{height} is above the largest frame side, {MAX_FRAME_SIDE}")));
        }
        let bytes = reader.output_buffer_size().ok_or_else(|| bad("its size overflows".into()))?;
        self.png.resize(bytes, 0);
        let output = reader.next_frame(&mut self.png).map_err(failed)?;
        reader.finish().map_err(failed)?;
        let format = match output.color_type {
            png::ColorType::Grayscale => PixelFormat::Grey,
            png::ColorType::GrayscaleAlpha => {
                keep_first(&mut self.png, 2, 1);
                PixelFormat::Grey
            }
            png::ColorType::Rgba => {
                keep_first(&mut self.png, 4, 3);
                PixelFormat::Rgb
            }
            png::ColorType::Rgb => PixelFormat::Rgb,
            png::ColorType::Indexed => return Err(bad("a palette that was not expanded".into())),
        };
        Ok((format, (width, height)))
    }
}

impl Default for StillDecoder {
    fn default() -> Self {
        Self::new()
    }
}

/// Keeps the first `kept` of each `step` bytes, moved together at the front.
fn keep_first(pixels: &mut [u8], step: usize, kept: usize) {
    for pixel in 0..pixels.len() / step {
        pixels.copy_within(pixel * step..pixel * step + kept, pixel * kept);
    }
}

/// Compares names so that numbers in them count as numbers: `2.jpg` comes before `10.jpg`.
fn natural_order(one: &str, other: &str) -> Ordering {
    let (mut left, mut right) = (one.as_bytes(), other.as_bytes());
    loop {
        let (Some(&a), Some(&b)) = (left.first(), right.first()) else {
            // Equal but for leading zeros: the plain order decides, so that it is the same in every run.
            return left.len().cmp(&right.len()).then_with(|| one.cmp(other));
        };
        let order = if a.is_ascii_digit() && b.is_ascii_digit() {
            let (number, other_number) = (take_digits(&mut left), take_digits(&mut right));
            number.len().cmp(&other_number.len()).then_with(|| number.cmp(other_number))
        } else {
            (left, right) = (&left[1..], &right[1..]);
            a.cmp(&b)
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// The digits at the front without leading zeros; `text` moves behind them.
fn take_digits<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = text.split_at(digits);
    *text = rest;
    let zeros = number.iter().take_while(|&&byte| byte == b'0').count();
    &number[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(color: png::ColorType, depth: png::BitDepth, (width, height): (u32, u32), data: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, width, height);
        encoder.set_color(color);
        encoder.set_depth(depth);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(data).unwrap();
        writer.finish().unwrap();
        bytes
    }

    #[test]
    fn names_sort_as_people_count() {
        let mut names = ["b1", "a10", "a2", "a02", "a", "a2b", "a1", "10", "9", "a99999999999999999999999"];
        names.sort_by(|one, other| natural_order(one, other));
        assert_eq!(names, ["9", "10", "a", "a1", "a02", "a2", "a2b", "a10", "a99999999999999999999999", "b1"]);
    }

    #[test]
    fn png_kinds_become_grey_or_rgb() {
        use png::{BitDepth, ColorType};
        let mut decoder = StillDecoder::new();
        let mut decode = |bytes: &[u8]| {
            let frame = decoder.decode(bytes).unwrap();
            (frame.format(), frame.pixels()[..frame.format().row_bytes(2)].to_vec())
        };
        let size = (2, 1);
        let grey = png(ColorType::Grayscale, BitDepth::Eight, size, &[7, 200]);
        assert_eq!(decode(&grey), (PixelFormat::Grey, vec![7, 200]));
        let grey_alpha = png(ColorType::GrayscaleAlpha, BitDepth::Eight, size, &[7, 1, 200, 2]);
        assert_eq!(decode(&grey_alpha), (PixelFormat::Grey, vec![7, 200]));
        let rgb = png(ColorType::Rgb, BitDepth::Eight, size, &[1, 2, 3, 4, 5, 6]);
        assert_eq!(decode(&rgb), (PixelFormat::Rgb, vec![1, 2, 3, 4, 5, 6]));
        let rgba = png(ColorType::Rgba, BitDepth::Eight, size, &[1, 2, 3, 99, 4, 5, 6, 99]);
        assert_eq!(decode(&rgba), (PixelFormat::Rgb, vec![1, 2, 3, 4, 5, 6]));
        let deep = png(ColorType::Grayscale, BitDepth::Sixteen, size, &[7, 0, 200, 0]);
        assert_eq!(decode(&deep), (PixelFormat::Grey, vec![7, 200]));
        let bits = png(ColorType::Grayscale, BitDepth::One, size, &[0b0100_0000]);
        assert_eq!(decode(&bits), (PixelFormat::Grey, vec![0, 255]));
    }

    #[test]
    fn cut_png_files_are_errors_and_leave_no_picture() {
        let whole = png(png::ColorType::Rgb, png::BitDepth::Eight, (16, 8), &[77; 16 * 8 * 3]);
        let mut decoder = StillDecoder::new();
        for cut in 0..whole.len() {
            decoder.decode(&whole[..cut]).unwrap_err();
            decoder.picture().unwrap_err();
        }
        decoder.decode(&whole).unwrap();
    }

    #[test]
    fn a_png_beyond_the_largest_frame_is_refused_before_it_is_allocated() {
        let mut bytes = png(png::ColorType::Grayscale, png::BitDepth::Eight, (5000, 1), &[0; 5000]);
        let mut decoder = StillDecoder::new();
        assert!(decoder.decode(&bytes).unwrap_err().to_string().contains("5000x1"));
        // Width with a wrong checksum.
        bytes[16..20].copy_from_slice(&0x7fff_ffff_u32.to_be_bytes());
        decoder.decode(&bytes).unwrap_err();
        assert_eq!(decoder.png.capacity(), 0);
    }
}
