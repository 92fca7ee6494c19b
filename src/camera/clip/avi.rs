//! MJPEG in AVI, read chunk by chunk.
//!
//! A RIFF file is a tree of chunks, but a reader of pictures needs only the leaves: lists that may
//! hold pictures (`movi`, `rec `, the `AVIX` segments of `OpenDML`) are entered, all else is skipped, and where a
//! list ends does not matter. So an index is not needed, and a recording that broke off still plays.

use std::io::{Read, Seek, SeekFrom};

use crate::error::{Error, Result};
use crate::frame::{Frame, PixelFormat};

use super::super::jpeg::JpegDecoder;
use super::super::mode::FourCc;
use super::{Rate, Recording, Step, read_full};

/// Largest picture chunk: far above any JPEG of the largest frame. Bounds the memory.
const CHUNK_LIMIT: u32 = 32 << 20;

/// Sizes from here on are place-holders of a recorder that could not go back to fill them in.
const OPEN_END: u32 = 0xffff_fff0;

/// Codec names of plain JPEG pictures.
const MJPEG: [&[u8; 4]; 5] = [b"MJPG", b"mjpg", b"JPEG", b"jpeg", b"dmb1"];

pub(super) struct Avi<R> {
    input: R,
    place: String,
    length: u64,
    at: u64,
    /// Position of the first picture.
    movie: u64,
    /// Where the lists of pictures end by their own account.
    movie_end: u64,
    header: Header,
    chunk: Vec<u8>,
    decoder: JpegDecoder,
    size: (u32, u32),
    over: bool,
}

/// What the file's header says of its first video stream.
#[derive(Clone, Debug, Default)]
struct Header {
    /// Streams seen so far.
    streams: u8,
    /// Number of the video stream.
    video: Option<u8>,
    stream_rate: Option<Rate>,
    file_rate: Option<Rate>,
    /// Of the stream header, then of the picture header, which counts.
    codec: [u8; 4],
    size: (u32, u32),
}

/// A chunk's name and size.
struct ChunkHead {
    name: [u8; 4],
    bytes: u32,
}

impl<R: Read + Seek + Send> Avi<R> {
    pub(super) fn open(mut input: R, place: &str) -> Result<Self> {
        let failed = |source| Error::Read { what: "clip", path: place.into(), source };
        let length = input.seek(SeekFrom::End(0)).map_err(failed)?;
        input.rewind().map_err(failed)?;
        let mut avi = Self {
            input,
            place: place.into(),
            length,
            at: 0,
            movie: 0,
            movie_end: 0,
            header: Header::default(),
            chunk: Vec::new(),
            decoder: JpegDecoder::new(),
            size: (0, 0),
            over: false,
        };
        avi.read_header()?;
        Ok(avi)
    }

    /// Reads up to the first list of pictures.
    fn read_header(&mut self) -> Result<()> {
        let mut magic = [0; 12];
        if self.read(&mut magic)? < magic.len() || !magic.starts_with(b"RIFF") || &magic[8..] != b"AVI " {
            return Err(self.bad("an AVI file", "no RIFF header of an AVI"));
        }
        loop {
            let Some(head) = self.read_head()? else {
                return Err(self.bad("a list of pictures (`movi`)", "the end of the file"));
            };
            if &head.name == b"LIST" {
                let Some(kind) = self.read_list_kind()? else { continue };
                match &kind {
                    b"movi" => {
                        self.enter_movie(head.bytes);
                        self.movie = self.at;
                        return self.check_header();
                    }
                    b"hdrl" | b"strl" => {}
                    _ => self.skip(head.bytes.saturating_sub(4))?,
                }
            } else {
                let mut body = [0; 64];
                let wanted = body.len().min(head.bytes as usize);
                let read = self.read(&mut body[..wanted])?;
                self.header.take(head.name, &body[..read]);
                self.skip_rest(head.bytes, read)?;
            }
        }
    }

    fn check_header(&self) -> Result<()> {
        if self.header.video.is_none() {
            return Err(self.bad("a video stream", "none before the pictures"));
        }
        if !MJPEG.contains(&&self.header.codec) {
            let found = format!("codec `{}`", FourCc(self.header.codec));
            return Err(self.bad("MJPEG pictures", &found));
        }
        Ok(())
    }

    /// Reads on until a picture, damage or the end.
    fn read_on(&mut self) -> Result<Step> {
        loop {
            let before = self.at;
            let Some(head) = self.read_head()? else {
                // Between two chunks is a clean end only if no more was announced.
                let whole = before == self.length && self.movie_end <= self.length;
                return Ok(if whole { Step::End } else { self.break_off() });
            };
            if self.is_picture(head.name) {
                return self.read_picture(head.bytes);
            }
            match &head.name {
                b"RIFF" => drop(self.read_list_kind()?),
                b"LIST" => match self.read_list_kind()? {
                    Some(kind) if &kind == b"movi" => self.enter_movie(head.bytes),
                    Some(kind) if &kind == b"rec " => {}
                    _ => self.skip(head.bytes.saturating_sub(4))?,
                },
                name if name.iter().all(|byte| (b' '..=b'~').contains(byte)) => self.skip(head.bytes)?,
                _ => return Ok(self.break_off()),
            }
        }
    }

    fn read_picture(&mut self, bytes: u32) -> Result<Step> {
        if bytes == 0 {
            return Ok(Step::Left);
        }
        if bytes > CHUNK_LIMIT {
            self.skip(bytes)?;
            return Ok(if self.at > self.length { self.break_off() } else { Step::Corrupt });
        }
        // No more than the file can hold is ever allocated.
        let there = u64::from(bytes).min(self.length.saturating_sub(self.at)) as usize;
        let mut chunk = std::mem::take(&mut self.chunk);
        chunk.resize(there, 0);
        let read = self.read(&mut chunk);
        self.chunk = chunk;
        if read? < bytes as usize {
            return Ok(self.break_off());
        }
        self.skip_rest(bytes, bytes as usize)?;
        match self.decoder.decode(&self.chunk) {
            Ok(size) => {
                self.size = size;
                Ok(Step::Picture)
            }
            Err(reason) => {
                tracing::debug!(place = self.place, %reason, "damaged picture dropped");
                Ok(Step::Corrupt)
            }
        }
    }

    /// The file ends too early: counted once, then over.
    fn break_off(&mut self) -> Step {
        self.over = true;
        tracing::warn!(place = self.place, "the clip is cut short or damaged; what was whole has been played");
        Step::Corrupt
    }

    fn is_picture(&self, name: [u8; 4]) -> bool {
        let number = self.header.video.unwrap_or(0);
        name[0] == b'0' + number / 10 && name[1] == b'0' + number % 10 && matches!(&name[2..], b"dc" | b"db")
    }

    fn enter_movie(&mut self, bytes: u32) {
        if bytes < OPEN_END {
            // The size counts the list's own name, which is read already.
            self.movie_end = self.movie_end.max(self.at - 4 + u64::from(bytes));
        }
    }

    /// Name and size of the next chunk; `None` where the file has no room for them.
    fn read_head(&mut self) -> Result<Option<ChunkHead>> {
        let mut head = [0; 8];
        if self.read(&mut head)? < head.len() {
            return Ok(None);
        }
        let [n0, n1, n2, n3, b0, b1, b2, b3] = head;
        Ok(Some(ChunkHead { name: [n0, n1, n2, n3], bytes: u32::from_le_bytes([b0, b1, b2, b3]) }))
    }

    fn read_list_kind(&mut self) -> Result<Option<[u8; 4]>> {
        let mut kind = [0; 4];
        Ok((self.read(&mut kind)? == kind.len()).then_some(kind))
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let read = read_full(&mut self.input, buffer).map_err(|source| self.failed(source))?;
        self.at += read as u64;
        Ok(read)
    }

    /// Skips a chunk's contents and its padding to an even size. May lead beyond the end of the file.
    fn skip(&mut self, bytes: u32) -> Result<()> {
        self.at += u64::from(bytes) + u64::from(bytes % 2);
        self.input.seek(SeekFrom::Start(self.at)).map(drop).map_err(|source| self.failed(source))
    }

    /// [`Avi::skip`] for a chunk of which some is read.
    fn skip_rest(&mut self, bytes: u32, read: usize) -> Result<()> {
        let left = u64::from(bytes).saturating_sub(read as u64) + u64::from(bytes % 2);
        if left == 0 {
            return Ok(());
        }
        self.at += left;
        self.input.seek(SeekFrom::Start(self.at)).map(drop).map_err(|source| self.failed(source))
    }

    fn bad(&self, expected: &str, found: &str) -> Error {
        Error::BadClip { place: self.place.clone(), expected: expected.into(), found: found.into() }
    }

    fn failed(&self, source: std::io::Error) -> Error {
        Error::Read { what: "clip", path: self.place.clone().into(), source }
    }
}

impl<R: Read + Seek + Send> Recording for Avi<R> {
    fn advance(&mut self) -> Result<Step> {
        if self.over {
            return Ok(Step::End);
        }
        let step = self.read_on()?;
        self.over |= step == Step::End;
        Ok(step)
    }

    fn picture(&self) -> Result<Frame<'_>> {
        Frame::new(self.decoder.pixels(), PixelFormat::Rgb, self.size, PixelFormat::Rgb.row_bytes(self.size.0))
    }

    fn rewind(&mut self) -> Result<()> {
        self.over = false;
        self.at = self.movie;
        self.input.seek(SeekFrom::Start(self.movie)).map(drop).map_err(|source| self.failed(source))
    }

    fn rate(&self) -> Rate {
        self.header.rate()
    }

    fn describe(&self) -> String {
        format!("{}x{} MJPEG", self.header.size.0, self.header.size.1)
    }
}

impl Header {
    /// Takes what matters from a chunk of the header.
    fn take(&mut self, name: [u8; 4], body: &[u8]) {
        match &name {
            // AVIMAINHEADER: microseconds a frame.
            b"avih" => self.file_rate = word(body, 0).and_then(|micros| Rate::new(1_000_000, micros)),
            // AVISTREAMHEADER: kind, codec, .., scale at 20, rate at 24.
            b"strh" => {
                if self.video.is_none() && body.starts_with(b"vids") && self.streams < 100 {
                    self.video = Some(self.streams);
                    self.codec = name_at(body, 4);
                    self.stream_rate =
                        word(body, 24).zip(word(body, 20)).and_then(|(rate, scale)| Rate::new(rate, scale));
                }
                self.streams = self.streams.saturating_add(1);
            }
            // BITMAPINFOHEADER of the stream just begun: width at 4, height at 8, codec at 16.
            b"strf" if self.video.is_some_and(|number| number + 1 == self.streams) => {
                self.size = (word(body, 4).unwrap_or(0), word(body, 8).unwrap_or(0));
                if body.len() >= 20 {
                    self.codec = name_at(body, 16);
                }
            }
            _ => {}
        }
    }

    fn rate(&self) -> Rate {
        self.stream_rate.or(self.file_rate).unwrap_or(Rate::FALLBACK)
    }
}

fn word(body: &[u8], at: usize) -> Option<u32> {
    body.get(at..)?.first_chunk().map(|&bytes| u32::from_le_bytes(bytes))
}

fn name_at(body: &[u8], at: usize) -> [u8; 4] {
    body.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default()
}
