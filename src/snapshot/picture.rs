//! A small RGB canvas: rectangles, digits, resampled frames, PNG.

use std::io::{self, Write};

use crate::frame::{Frame, Region, Sampler};

/// A colour, R G B.
pub(super) type Colour = [u8; 3];

/// Columns and rows of a glyph; one empty column follows.
pub(super) const GLYPH: (usize, usize) = (5, 7);

/// Identities in this order are told apart easily; the thirteenth has the colour of the first.
const PALETTE: [Colour; 12] = [
    [230, 25, 75],
    [60, 180, 75],
    [255, 225, 25],
    [0, 130, 200],
    [245, 130, 48],
    [145, 30, 180],
    [70, 240, 240],
    [240, 50, 230],
    [210, 245, 60],
    [250, 190, 212],
    [0, 128, 128],
    [170, 110, 40],
];

/// The colour of an identity, which counts from 1.
pub(super) fn colour(identity: u32) -> Colour {
    PALETTE[identity.wrapping_sub(1) as usize % PALETTE.len()]
}

/// Pixels that may lie outside of a picture in part or altogether.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rect {
    pub(super) x: i64,
    pub(super) y: i64,
    pub(super) width: i64,
    pub(super) height: i64,
}

impl Rect {
    /// All of `picture`.
    pub(super) fn whole(picture: &Picture) -> Self {
        Self { x: 0, y: 0, width: picture.width as i64, height: picture.height as i64 }
    }

    /// The pixels nearest to `region` times `scale`.
    pub(super) fn around(region: Region, scale: f32) -> Self {
        // Far outside of any picture and far inside of the type; what is no number becomes 0.
        let pixel = |value: f32| (value * scale).round().clamp(-1e6, 1e6) as i64;
        let (x, y) = (pixel(region.x), pixel(region.y));
        Self { x, y, width: pixel(region.x + region.width) - x, height: pixel(region.y + region.height) - y }
    }
}

/// A picture in memory, rows of R G B.
pub(super) struct Picture {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Picture {
    /// A picture of one colour.
    pub(super) fn new(width: usize, height: usize, colour: Colour) -> Self {
        Self { width, height, rgb: colour.repeat(width * height) }
    }

    /// Width and height in pixels.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// The colour at a place inside the picture.
    #[cfg(test)]
    pub(super) fn at(&self, x: usize, y: usize) -> Colour {
        let start = (y * self.width + x) * 3;
        [self.rgb[start], self.rgb[start + 1], self.rgb[start + 2]]
    }

    /// Fills what of `rect` lies inside.
    pub(super) fn fill(&mut self, rect: Rect, colour: Colour) {
        let inside = |start: i64, length: i64, limit: usize| {
            let clip = |value: i64| value.clamp(0, limit as i64) as usize;
            clip(start)..clip(start + length.max(0))
        };
        let columns = inside(rect.x, rect.width, self.width);
        for y in inside(rect.y, rect.height, self.height) {
            let row = y * self.width;
            for pixel in self.rgb[(row + columns.start) * 3..(row + columns.end) * 3].as_chunks_mut::<3>().0 {
                *pixel = colour;
            }
        }
    }

    /// Draws the border of `rect`, `thickness` pixels inwards.
    pub(super) fn outline(&mut self, rect: Rect, thickness: i64, colour: Colour) {
        let Rect { x, y, width, height } = rect;
        let (across, down) = (thickness.min(width), thickness.min(height));
        self.fill(Rect { height: down, ..rect }, colour);
        self.fill(Rect { y: y + height - down, height: down, ..rect }, colour);
        self.fill(Rect { width: across, ..rect }, colour);
        self.fill(Rect { x: x + width - across, width: across, ..rect }, colour);
    }

    /// Writes digits, `:` and `.` with their top left corner at `x`, `y`; other characters leave a gap.
    pub(super) fn text(&mut self, x: i64, y: i64, text: &str, scale: i64, colour: Colour) {
        for (place, character) in (0_i64..).zip(text.chars()) {
            let left = x + place * (GLYPH.0 as i64 + 1) * scale;
            for (row, bits) in (0_i64..).zip(glyph(character)) {
                for column in (0..GLYPH.0 as i64).filter(|column| bits >> (GLYPH.0 as i64 - 1 - column) & 1 == 1) {
                    let dot = Rect { x: left + column * scale, y: y + row * scale, width: scale, height: scale };
                    self.fill(dot, colour);
                }
            }
        }
    }

    /// Writes `text` in black on a patch of `colour` whose corner is at `x`, `y`, moved to lie inside the picture.
    pub(super) fn tag(&mut self, x: i64, y: i64, text: &str, scale: i64, colour: Colour) {
        let width = text_width(text) as i64 * scale + 2 * scale;
        let height = (GLYPH.1 as i64 + 2) * scale;
        let x = x.min(self.width as i64 - width).max(0);
        let y = y.min(self.height as i64 - height).max(0);
        self.fill(Rect { x, y, width, height }, colour);
        self.text(x + scale, y + scale, text, scale, [0, 0, 0]);
    }

    /// Fills `target`, which lies inside the picture, with `region` of `frame`.
    pub(super) fn paste(&mut self, frame: &Frame<'_>, region: Region, target: Rect, sampler: &mut Sampler) {
        let Rect { x, y, width, height } = target;
        let (left, top) = (x as usize, y as usize);
        sampler.resample(frame, region, (width as usize, height as usize), |row, pixels| {
            let start = ((top + row) * self.width + left) * 3;
            let out = self.rgb[start..start + pixels.len() * 3].as_chunks_mut::<3>().0;
            for (out, pixel) in out.iter_mut().zip(pixels) {
                *out = pixel.map(|value| value.round() as u8);
            }
        });
    }

    /// Puts `other` at a place where it lies inside the picture.
    pub(super) fn put(&mut self, x: usize, y: usize, other: &Self) {
        for (row, pixels) in other.rgb.chunks_exact(other.width * 3).enumerate() {
            let start = ((y + row) * self.width + x) * 3;
            self.rgb[start..start + pixels.len()].copy_from_slice(pixels);
        }
    }

    /// Writes the picture as PNG.
    pub(super) fn write_png(&self, out: impl Write) -> io::Result<()> {
        let mut encoder = png::Encoder::new(out, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::Fast);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.rgb)?;
        writer.finish()?;
        Ok(())
    }
}

/// Columns that `text` takes, without the gap after its last character.
pub(super) fn text_width(text: &str) -> usize {
    (text.chars().count() * (GLYPH.0 + 1)).saturating_sub(1)
}

/// The rows of a character from top to bottom, five bits each.
fn glyph(character: char) -> [u8; GLYPH.1] {
    match character {
        '0' => [0b01110, 0b10001, 0b10011, 0b10101, 0b11001, 0b10001, 0b01110],
        '1' => [0b00100, 0b01100, 0b00100, 0b00100, 0b00100, 0b00100, 0b01110],
        '2' => [0b01110, 0b10001, 0b00001, 0b00010, 0b00100, 0b01000, 0b11111],
        '3' => [0b11111, 0b00010, 0b00100, 0b00010, 0b00001, 0b10001, 0b01110],
        '4' => [0b00010, 0b00110, 0b01010, 0b10010, 0b11111, 0b00010, 0b00010],
        '5' => [0b11111, 0b10000, 0b11110, 0b00001, 0b00001, 0b10001, 0b01110],
        '6' => [0b00110, 0b01000, 0b10000, 0b11110, 0b10001, 0b10001, 0b01110],
        '7' => [0b11111, 0b00001, 0b00010, 0b00100, 0b01000, 0b01000, 0b01000],
        '8' => [0b01110, 0b10001, 0b10001, 0b01110, 0b10001, 0b10001, 0b01110],
        '9' => [0b01110, 0b10001, 0b10001, 0b01111, 0b00001, 0b00010, 0b01100],
        ':' => [0b00000, 0b00100, 0b00100, 0b00000, 0b00100, 0b00100, 0b00000],
        '.' => [0b00000, 0b00000, 0b00000, 0b00000, 0b00000, 0b01100, 0b01100],
        _ => [0; GLYPH.1],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RED: Colour = [255, 0, 0];
    const BLACK: Colour = [0; 3];

    /// The picture as characters: `#` where it is not black.
    fn drawn(picture: &Picture) -> Vec<String> {
        let dot = |x, y| if picture.at(x, y) == BLACK { ' ' } else { '#' };
        (0..picture.height).map(|y| (0..picture.width).map(|x| dot(x, y)).collect()).collect()
    }

    #[test]
    fn digits_look_like_digits() {
        let mut picture = Picture::new(11, 7, BLACK);
        picture.text(0, 0, "17", 1, RED);
        assert_eq!(
            drawn(&picture),
            ["  #   #####", " ##       #", "  #      # ", "  #     #  ", "  #    #   ", "  #    #   ", " ###   #   ",]
        );
        assert_eq!(text_width("17"), 11);
        assert_eq!(text_width(""), 0);
    }

    #[test]
    fn all_digits_differ() {
        let glyphs: Vec<_> = "0123456789:. ".chars().map(glyph).collect();
        for (n, one) in glyphs.iter().enumerate() {
            assert!(glyphs[n + 1..].iter().all(|other| other != one), "glyph {n} is not its own");
        }
    }

    #[test]
    fn an_outline_is_clipped_and_leaves_its_inside() {
        let mut picture = Picture::new(6, 5, BLACK);
        picture.outline(Rect { x: 1, y: 1, width: 4, height: 3 }, 1, RED);
        assert_eq!(drawn(&picture), ["      ", " #### ", " #  # ", " #### ", "      "]);
        let mut picture = Picture::new(4, 3, BLACK);
        picture.outline(Rect { x: -2, y: -2, width: 4, height: 4 }, 1, RED);
        assert_eq!(drawn(&picture), [" #  ", "##  ", "    "]);
    }

    #[test]
    fn nothing_is_drawn_outside_whatever_the_numbers() {
        let mut picture = Picture::new(4, 3, BLACK);
        for (x, width) in [(f32::NAN, 1.0), (f32::INFINITY, 5.0), (-1e30, 1e3), (3.0, -2.0), (1e9, f32::NAN)] {
            let region = Region { x, y: x, width, height: width };
            picture.outline(Rect::around(region, 1.0), 2, RED);
        }
        picture.tag(1_000_000, -1_000_000, "123456", 2, RED);
        picture.text(-3, -3, "8", 1, RED);
        assert_eq!(picture.rgb.len(), 36);
    }

    #[test]
    fn a_picture_survives_its_file() {
        let mut picture = Picture::new(3, 2, [9, 8, 7]);
        picture.fill(Rect { x: 1, y: 0, width: 1, height: 1 }, RED);
        let mut file = Vec::new();
        picture.write_png(&mut file).unwrap();
        let mut reader = png::Decoder::new(io::Cursor::new(file)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), (3, 2));
        assert_eq!(pixels, picture.rgb);
    }
}
