//! YUV4MPEG2: a text line for the clip, a text line before each frame, planar pixels.

use std::io::{self, ErrorKind};

use crate::error::{Error, Result};
use crate::frame::{Frame, PixelFormat};
use crate::size::MAX_FRAME_SIDE;

use super::{Input, Rate, Recording, Step, Turn};

/// First bytes of a Y4M stream.
pub(super) const MAGIC: &[u8; 10] = b"YUV4MPEG2 ";

/// Longest header line; real ones have under 100 bytes.
const LINE_LIMIT: usize = 1024;

pub(super) struct Y4m {
    input: Input,
    place: String,
    header: Header,
    /// Position of the first frame.
    start: u64,
    pixels: Vec<u8>,
    /// As much of the next frame's line as is there.
    line: Vec<u8>,
    /// Bytes of the next frame's pixels that are there; none before the end of its line.
    filled: Option<usize>,
    /// Nothing more can be read from here on.
    over: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    size: (u32, u32),
    rate: Rate,
    format: PixelFormat,
}

impl Y4m {
    pub(super) fn open(mut input: Input, place: &str) -> Result<Self> {
        let mut line = Vec::new();
        match read_line(&mut input, &mut line, &Turn::endless()) {
            Ok(Line::Whole) => {}
            Ok(Line::None | Line::Broken) => {
                let expected = "a header line of Y4M".into();
                return Err(Error::BadClip { place: place.into(), expected, found: "no end of line".into() });
            }
            Err(source) => return Err(Error::Read { what: "clip", path: place.into(), source }),
        }
        let header = Header::parse(&line).map_err(|(expected, found)| Error::BadClip {
            place: place.into(),
            expected: expected.into(),
            found,
        })?;
        let bytes = header.format.picture_bytes(header.size.1, header.size.0 as usize);
        let start = line.len() as u64 + 1;
        let (pixels, place) = (vec![0; bytes], place.into());
        Ok(Self { input, place, header, start, pixels, line: Vec::new(), filled: None, over: false })
    }

    /// One frame, or how it ended.
    fn read_frame(&mut self) -> io::Result<Step> {
        let turn = Turn::begin();
        if self.filled.is_none() {
            match read_line(&mut self.input, &mut self.line, &turn)? {
                Line::None => return Ok(Step::End),
                Line::Whole if self.line == b"FRAME" || self.line.starts_with(b"FRAME ") => {}
                Line::Whole | Line::Broken => return Ok(Step::Corrupt),
            }
            self.line.clear();
        }
        let whole = turn.fill(&mut self.input, &mut self.pixels, self.filled.get_or_insert(0))?;
        self.filled = None;
        Ok(if whole { Step::Picture } else { Step::Corrupt })
    }
}

impl Recording for Y4m {
    fn advance(&mut self) -> Result<Step> {
        if self.over {
            return Ok(Step::End);
        }
        let step = match self.read_frame() {
            Ok(step) => step,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Step::Waiting),
            Err(source) => return Err(Error::Read { what: "clip", path: self.place.clone().into(), source }),
        };
        if step != Step::Picture {
            // Without a frame header at its place there is no telling where the next one is.
            self.over = true;
        }
        if step == Step::Corrupt {
            tracing::warn!(place = self.place, "the clip is cut short or damaged; what was whole has been played");
        }
        Ok(step)
    }

    fn picture(&self) -> Result<Frame<'_>> {
        let Header { size, format, .. } = self.header;
        Frame::new(&self.pixels, format, size, size.0 as usize)
    }

    fn rewind(&mut self) -> Result<()> {
        (self.filled, self.over) = (None, false);
        self.line.clear();
        let rewound = self.input.rewind(self.start);
        rewound.map_err(|source| Error::Read { what: "clip", path: self.place.clone().into(), source })
    }

    fn rate(&self) -> Rate {
        self.header.rate
    }

    fn describe(&self) -> String {
        format!("{}x{} Y4M {:?}", self.header.size.0, self.header.size.1, self.header.format)
    }
}

impl Header {
    /// The clip's line without its end. Failures are (expected, found).
    fn parse(line: &[u8]) -> Result<Self, (&'static str, String)> {
        let text = String::from_utf8_lossy(line);
        let mut tags = text.split(' ').filter(|tag| !tag.is_empty());
        if tags.next() != Some("YUV4MPEG2") {
            return Err(("`YUV4MPEG2` at the start", "another word".into()));
        }
        let (mut width, mut height, mut rate, mut colour) = (None, None, None, "420");
        for tag in tags {
            let mut letters = tag.chars();
            let letter = letters.next();
            let value = letters.as_str();
            match letter {
                Some('W') => width = value.parse().ok(),
                Some('H') => height = value.parse().ok(),
                Some('F') => rate = fraction(value),
                Some('C') => colour = value,
                _ => {}
            }
        }
        let side = |value: Option<u32>| value.filter(|side| (1..=MAX_FRAME_SIDE).contains(side));
        let (Some(width), Some(height)) = (side(width), side(height)) else {
            return Err(("a width and height of 1 to 4096", text.chars().take(80).collect()));
        };
        let format = match colour {
            // The three differ in where chroma is sampled, by less than a pixel.
            "420" | "420jpeg" | "420mpeg2" | "420paldv" => PixelFormat::I420,
            "mono" => PixelFormat::Grey,
            other => return Err(("C420 or Cmono pixels", format!("C{}", other.chars().take(20).collect::<String>()))),
        };
        Ok(Self { size: (width, height), rate: rate.unwrap_or(Rate::FALLBACK), format })
    }
}

/// `30000:1001`.
fn fraction(text: &str) -> Option<Rate> {
    let (frames, seconds) = text.split_once(':')?;
    Rate::new(frames.parse().ok()?, seconds.parse().ok()?)
}

enum Line {
    /// A line, without its end.
    Whole,
    /// The input is over.
    None,
    /// No end of line before the input's end or the limit.
    Broken,
}

/// Reads `line` on to its end. A turn that is over leaves it as it is, to be read on.
fn read_line(input: &mut Input, line: &mut Vec<u8>, turn: &Turn) -> io::Result<Line> {
    loop {
        let mut byte = [0];
        if !turn.fill(input, &mut byte, &mut 0)? {
            return Ok(if line.is_empty() { Line::None } else { Line::Broken });
        }
        match byte[0] {
            b'\n' => return Ok(Line::Whole),
            _ if line.len() == LINE_LIMIT => return Ok(Line::Broken),
            byte => line.push(byte),
        }
        turn.check()?;
    }
}

/// Whether a stream that begins with `head` may have the header of a Y4M, and more of it is to come.
pub(super) fn may_go_on(head: &[u8]) -> bool {
    let known = head.len().min(MAGIC.len());
    head[..known] == MAGIC[..known] && head.last() != Some(&b'\n') && head.len() <= LINE_LIMIT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read() {
        let header = Header::parse(b"YUV4MPEG2 W640 H480 F30000:1001 Ip A1:1 C420mpeg2 XYSCSS=420MPEG2").unwrap();
        assert_eq!(header.size, (640, 480));
        assert_eq!(header.rate, Rate { frames: 30000, seconds: 1001 });
        assert_eq!(header.format, PixelFormat::I420);
        let least = Header::parse(b"YUV4MPEG2 H3 W5").unwrap();
        assert_eq!(least, Header { size: (5, 3), rate: Rate::FALLBACK, format: PixelFormat::I420 });
        assert_eq!(Header::parse(b"YUV4MPEG2 W1 H1 F0:0 Cmono").unwrap().format, PixelFormat::Grey);
    }

    #[test]
    fn headers_that_cannot_be_served_say_why() {
        for (line, found) in [
            (&b"YUV4MPEG2 W640 H480 C422"[..], "C422"),
            (b"YUV4MPEG2 W640 H480 C420p10", "C420p10"),
            (b"YUV4MPEG2 W640 H480 Cmono16", "Cmono16"),
            (b"YUV4MPEG2 W640", "W640"),
            (b"YUV4MPEG2 W0 H5", "W0"),
            (b"YUV4MPEG2 W5000 H5", "W5000"),
            (b"YUV4MPEG2 W99999999999 H5", "W9999"),
            (b"YUV4MPEG2 W-1 H5", "W-1"),
            (b"\xff\xfe", "another word"),
        ] {
            let (_, said) = Header::parse(line).unwrap_err();
            assert!(said.contains(found), "{said} for {line:?}");
        }
    }
}
