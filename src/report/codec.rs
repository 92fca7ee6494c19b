//! The two encodings: NDJSON lines, and postcard + CRC-32 + COBS frames.
//!
//! | encoding | one message |
//! |---|---|
//! | NDJSON | `{"type":"sighting","seq":7,...}` and a line feed |
//! | binary | COBS( postcard(`seq`, message) + CRC-32 of these bytes, little endian ) and a zero byte |
//!
//! The CRC is the common one (ISO-HDLC: zlib, PNG, Ethernet). COBS leaves no zero byte inside a frame,
//! so a reader that lost its place waits for the next zero. Empty lines and frames mean nothing:
//! a sender puts a lone delimiter in front when it does not know what the reader saw last.

use std::io;

use crc::{CRC_32_ISO_HDLC, Crc};
use postcard::ser_flavors::crc::CrcModifier;
use postcard::ser_flavors::{Cobs, Slice};
use serde::{Deserialize, Serialize};

use super::message::{Event, Health, Hello, Message, Sighting};
use crate::error::{Error, Result};

/// Longest line or frame, in bytes with its delimiter. The longest message that can be made is shorter;
/// a reader throws away what is longer.
pub const MAX_FRAME: usize = 4096;

static CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// How messages are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One JSON object a line; about 200 bytes a sighting.
    #[default]
    Ndjson,
    /// postcard, CRC-32, COBS; 51 bytes a sighting late in a long run, fewer before.
    Binary,
}

impl Format {
    /// The byte that ends a message.
    pub fn delimiter(self) -> u8 {
        match self {
            Self::Ndjson => b'\n',
            Self::Binary => 0,
        }
    }
}

/// A message and its place in the stream of one sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packet {
    /// Counts the messages of a sink from 0, those it dropped included; wraps.
    pub seq: u32,
    /// The message.
    pub message: Message,
}

/// What came instead of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// Damaged on its way.
    Corrupt,
    /// Whole, but nothing of ours: boot messages, another program, another wire version.
    Foreign,
}

/// Writes messages into one buffer that it keeps.
pub struct Encoder {
    format: Format,
    buffer: Vec<u8>,
}

impl Encoder {
    /// An encoder with its buffer.
    pub fn new(format: Format) -> Self {
        Self { format, buffer: Vec::with_capacity(MAX_FRAME) }
    }

    /// `message` as line or frame with its delimiter.
    ///
    /// # Errors
    /// [`Error::Report`] if it does not fit in [`MAX_FRAME`] bytes; no message made by this program does that.
    pub fn encode(&mut self, seq: u32, message: &Message) -> Result<&[u8]> {
        self.buffer.clear();
        match self.format {
            Format::Ndjson => {
                serde_json::to_writer(&mut self.buffer, &LineRef::new(seq, message)).map_err(|e| too_long(e.into()))?;
                self.buffer.push(b'\n');
                if self.buffer.len() > MAX_FRAME {
                    return Err(too_long(io::Error::other(format!("a line of {} bytes", self.buffer.len()))));
                }
                Ok(&self.buffer)
            }
            Format::Binary => {
                self.buffer.resize(MAX_FRAME, 0);
                frame(&PacketRef { seq, message }, &mut self.buffer).map_err(|e| too_long(io::Error::other(e)))
            }
        }
    }
}

/// The message of one line, without its line feed.
///
/// # Errors
/// [`Bad::Foreign`] for anything that is not one of our objects, [`Bad::Corrupt`] for a broken object.
pub fn decode_line(line: &[u8]) -> Result<Packet, Bad> {
    if line.first() != Some(&b'{') {
        return Err(Bad::Foreign);
    }
    match serde_json::from_slice::<Line>(line) {
        Ok(line) => accept(line.into()),
        Err(error) if error.is_data() => Err(Bad::Foreign),
        Err(_) => Err(Bad::Corrupt),
    }
}

/// The message of one frame, without its zero byte. The bytes are unstuffed in place.
///
/// # Errors
/// [`Bad::Corrupt`] if stuffing or CRC are wrong, [`Bad::Foreign`] if they are right and the content is not ours.
pub fn decode_frame(frame: &mut [u8]) -> Result<Packet, Bad> {
    let length = unstuff(frame).ok_or(Bad::Corrupt)?;
    let (body, crc) = frame[..length].split_last_chunk::<4>().ok_or(Bad::Corrupt)?;
    if CRC.checksum(body) != u32::from_le_bytes(*crc) {
        return Err(Bad::Corrupt);
    }
    match postcard::take_from_bytes(body) {
        Ok((packet, [])) => accept(packet),
        _ => Err(Bad::Foreign),
    }
}

fn accept(packet: Packet) -> Result<Packet, Bad> {
    match &packet.message {
        Message::Hello(hello) if hello.v != super::message::WIRE_VERSION => Err(Bad::Foreign),
        _ => Ok(packet),
    }
}

fn too_long(source: io::Error) -> Error {
    Error::Report { sink: "encoder", source }
}

fn frame<'a>(packet: &PacketRef<'_>, buffer: &'a mut [u8]) -> postcard::Result<&'a [u8]> {
    let stuffed = Cobs::try_new(Slice::new(buffer))?;
    postcard::serialize_with_flavor(packet, CrcModifier::new(stuffed, CRC.digest())).map(|bytes: &mut [u8]| &*bytes)
}

/// Takes the byte stuffing out in place (Cheshire and Baker 1999); the length of what is left, or none for
/// bytes that no sender stuffed.
fn unstuff(frame: &mut [u8]) -> Option<usize> {
    let (mut from, mut to) = (0, 0);
    while from < frame.len() {
        let code = usize::from(frame[from]);
        let end = from + code;
        if code == 0 || end > frame.len() {
            return None;
        }
        frame.copy_within(from + 1..end, to);
        to += code - 1;
        from = end;
        if code < 0xff && from < frame.len() {
            frame[to] = 0;
            to += 1;
        }
    }
    Some(to)
}

#[derive(Serialize)]
struct PacketRef<'a> {
    seq: u32,
    message: &'a Message,
}

#[derive(Serialize, Deserialize)]
struct Body<T> {
    seq: u32,
    #[serde(flatten)]
    fields: T,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum LineRef<'a> {
    Hello(Body<&'a Hello>),
    Sighting(Body<&'a Sighting>),
    Event(Body<&'a Event>),
    Health(Body<&'a Health>),
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line {
    Hello(Body<Hello>),
    Sighting(Body<Sighting>),
    Event(Body<Event>),
    Health(Body<Health>),
}

impl<'a> LineRef<'a> {
    fn new(seq: u32, message: &'a Message) -> Self {
        match message {
            Message::Hello(fields) => Self::Hello(Body { seq, fields }),
            Message::Sighting(fields) => Self::Sighting(Body { seq, fields }),
            Message::Event(fields) => Self::Event(Body { seq, fields }),
            Message::Health(fields) => Self::Health(Body { seq, fields }),
        }
    }
}

impl From<Line> for Packet {
    fn from(line: Line) -> Self {
        let (seq, message) = match line {
            Line::Hello(body) => (body.seq, Message::Hello(body.fields)),
            Line::Sighting(body) => (body.seq, Message::Sighting(body.fields)),
            Line::Event(body) => (body.seq, Message::Event(body.fields)),
            Line::Health(body) => (body.seq, Message::Health(body.fields)),
        };
        Self { seq, message }
    }
}

#[cfg(test)]
pub(super) mod tests;
