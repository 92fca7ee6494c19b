//! JPEG pictures of cameras and MJPEG clips, decoded to RGB.
//!
//! The decoding proper is `zune-jpeg`. Around it stands what a camera needs and a picture viewer does
//! not: a damaged picture is refused instead of being filled up with grey, and the Huffman tables that
//! AVI files and some cameras leave out are put back.
//!
//! How damage is seen: before every marker that ends a run of entropy-coded data, eight bytes of
//! one-bits are put in. ITU T.81 Annex C forbids a code of all ones, so a decoder that needs
//! more bits than the picture has runs into an invalid code. A whole picture never reads them.

mod layout;
mod tables;

use zune_jpeg::JpegDecoder as Zune;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::error::{Error, Result, guard};
use crate::size::MAX_FRAME_SIDE;

use layout::Layout;

/// Stuffed one-bits: 64 of them, more than one Huffman code (16) with its value (16) can swallow.
const GUARD: [u8; 16] = [0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0];

/// The marker that ends a picture.
const END_OF_IMAGE: [u8; 2] = [0xff, 0xd9];

/// Decodes one JPEG after the other into a buffer that it keeps.
#[derive(Debug, Default)]
pub struct JpegDecoder {
    /// The picture as the decoder wants it: with tables, guards and without what follows its end.
    prepared: Vec<u8>,
    pixels: Vec<u8>,
}

impl JpegDecoder {
    /// A decoder with empty buffers; they grow to the largest picture seen.
    pub fn new() -> Self {
        Self::default()
    }

    /// Decodes one picture and gives its width and height; [`JpegDecoder::pixels`] are `width * height * 3` bytes then.
    ///
    /// Bytes after the end of the picture (padding of a driver) are ignored.
    ///
    /// # Errors
    /// [`Error::BadPicture`] if it is no JPEG, is cut short or damaged, or a side is above
    /// [`MAX_FRAME_SIDE`]. The pixels are of no use then.
    pub fn decode(&mut self, jpeg: &[u8]) -> Result<(u32, u32)> {
        let layout = layout::read(jpeg).map_err(bad)?;
        self.prepare(jpeg, &layout);
        // Some damage makes the decoder panic. What it had written by then is of no use, as after any other error.
        guard::guarded(|| self.decode_prepared()).unwrap_or_else(|panic| Err(bad(panic)))
    }

    fn decode_prepared(&mut self) -> Result<(u32, u32)> {
        let side = MAX_FRAME_SIDE as usize;
        let options = DecoderOptions::new_fast()
            .set_strict_mode(true)
            .set_max_width(side)
            .set_max_height(side)
            .jpeg_set_out_colorspace(ColorSpace::RGB);
        let mut decoder = Zune::new_with_options(ZCursor::new(&self.prepared[..]), options);
        decoder.decode_headers().map_err(|error| bad(format!("{error:?}")))?;
        let Some((width, height)) = decoder.dimensions() else {
            return Err(bad("no size"));
        };
        self.pixels.resize(width * height * 3, 0);
        decoder.decode_into(&mut self.pixels).map_err(|error| bad(format!("{error:?}")))?;
        Ok((width as u32, height as u32))
    }

    /// Bytes R G B of the picture decoded last, rows without padding.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Copies the picture with missing tables and guards put in.
    fn prepare(&mut self, jpeg: &[u8], layout: &Layout) {
        self.prepared.clear();
        self.prepared.extend_from_slice(&jpeg[..layout.scan_header]);
        if !layout.has_huffman {
            self.prepared.extend_from_slice(&tables::standard_segment());
        }
        if !layout.one_sequential_scan {
            // Several scans: the decoder itself looks for the markers between them.
            self.prepared.extend_from_slice(&jpeg[layout.scan_header..layout.end]);
            self.prepared.extend_from_slice(&END_OF_IMAGE);
            return;
        }
        self.prepared.extend_from_slice(&jpeg[layout.scan_header..layout.entropy]);
        let mut rest = &jpeg[layout.entropy..layout.end];
        while let Some(restart) = layout::find_marker(rest) {
            self.prepared.extend_from_slice(&rest[..restart]);
            self.prepared.extend_from_slice(&GUARD);
            self.prepared.extend_from_slice(&rest[restart..restart + 2]);
            rest = &rest[restart + 2..];
        }
        self.prepared.extend_from_slice(rest);
        self.prepared.extend_from_slice(&GUARD);
        self.prepared.extend_from_slice(&END_OF_IMAGE);
    }
}

fn bad(reason: impl Into<String>) -> Error {
    Error::BadPicture { kind: "JPEG", reason: reason.into() }
}

#[cfg(test)]
mod tests;
