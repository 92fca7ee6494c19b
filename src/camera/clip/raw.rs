//! Raw YUYV frames, one after the other, without any header.

use std::io::ErrorKind;
use std::mem;

use crate::error::{Error, Result};
use crate::frame::{Frame, PixelFormat};

use super::{ClipSettings, Input, Rate, Recording, Step, Turn};

pub(super) struct Raw {
    input: Input,
    place: String,
    size: (u32, u32),
    rate: Rate,
    pixels: Vec<u8>,
    /// Bytes of the next picture that are there.
    filled: usize,
    over: bool,
}

impl Raw {
    /// Takes size and rate from `settings`: the bytes do not tell.
    pub(super) fn open(input: Input, place: &str, settings: &ClipSettings) -> Result<Self> {
        for (key, value) in [("clip.width", settings.width), ("clip.height", settings.height)] {
            if value == 0 {
                let expected = format!("the size of the raw YUYV frames on {place}");
                return Err(Error::BadSetting { key, expected, found: "0".into() });
            }
        }
        let size = (settings.width, settings.height);
        let bytes = PixelFormat::Yuyv.picture_bytes(size.1, PixelFormat::Yuyv.row_bytes(size.0));
        let rate = Rate::from_setting(settings.fps);
        Ok(Self { input, place: place.into(), size, rate, pixels: vec![0; bytes], filled: 0, over: false })
    }
}

impl Recording for Raw {
    fn advance(&mut self) -> Result<Step> {
        if mem::replace(&mut self.over, true) {
            return Ok(Step::End);
        }
        match Turn::begin().fill(&mut self.input, &mut self.pixels, &mut self.filled) {
            Ok(true) => {
                (self.filled, self.over) = (0, false);
                return Ok(Step::Picture);
            }
            Ok(false) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.over = false;
                return Ok(Step::Waiting);
            }
            Err(source) => return Err(Error::Read { what: "clip", path: self.place.clone().into(), source }),
        }
        let read = mem::take(&mut self.filled);
        if read == 0 {
            return Ok(Step::End);
        }
        tracing::warn!(place = self.place, expected = self.pixels.len(), read, "the last frame is cut short");
        Ok(Step::Corrupt)
    }

    fn picture(&self) -> Result<Frame<'_>> {
        Frame::new(&self.pixels, PixelFormat::Yuyv, self.size, PixelFormat::Yuyv.row_bytes(self.size.0))
    }

    fn rewind(&mut self) -> Result<()> {
        (self.filled, self.over) = (0, false);
        self.input.rewind(0).map_err(|source| Error::Read { what: "clip", path: self.place.clone().into(), source })
    }

    fn rate(&self) -> Rate {
        self.rate
    }

    fn describe(&self) -> String {
        format!("{}x{} raw YUYV", self.size.0, self.size.1)
    }
}
