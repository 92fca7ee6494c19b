//! Bytes -> messages, in pieces of any size, through any damage.

use crate::report::codec::{Bad, Format, MAX_FRAME, Packet, decode_frame, decode_line};
use crate::report::message::Message;

/// What a [`Decoder`] met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Good messages.
    pub messages: u64,
    /// Messages that the sender numbered and that never came, or came damaged.
    pub lost: u64,
    /// Lines or frames that are damaged. The very first piece of a stream is not counted if it cannot be read:
    /// the listener may have come in the middle of it.
    pub corrupt: u64,
    /// Lines or frames that are whole and not ours.
    pub foreign: u64,
    /// Times the sender started its numbers anew.
    pub restarts: u64,
}

/// Finds the messages in a stream of bytes. Its memory is fixed.
pub struct Decoder {
    format: Option<Format>,
    buffer: Vec<u8>,
    /// While the format is not known: start of the last line in `buffer`.
    line_at: usize,
    /// The piece under way is longer than any message; it is thrown away up to the next delimiter.
    skipping: bool,
    /// No delimiter was seen yet.
    first_piece: bool,
    /// Lines and frames that could not be read while the format was not known: only one of the two counts.
    bad_lines: Trouble,
    bad_frames: Trouble,
    /// Number that the next message has if none is lost.
    expected: Option<u32>,
    counts: Counts,
}

#[derive(Clone, Copy, Default)]
struct Trouble {
    corrupt: u64,
    foreign: u64,
}

impl Decoder {
    /// A decoder for `format`; none: it is found out from the first good message.
    pub fn new(format: Option<Format>) -> Self {
        Self {
            format,
            buffer: Vec::with_capacity(MAX_FRAME),
            line_at: 0,
            skipping: false,
            first_piece: true,
            bad_lines: Trouble::default(),
            bad_frames: Trouble::default(),
            expected: None,
            counts: Counts::default(),
        }
    }

    /// Takes the next bytes of the stream and gives each message that they complete to `each`.
    pub fn push(&mut self, bytes: &[u8], mut each: impl FnMut(Packet)) {
        for byte in bytes {
            let packet = match self.format {
                Some(format) if *byte == format.delimiter() => self.end_of_piece(format),
                None if *byte == Format::Binary.delimiter() => self.end_of_unknown_frame(),
                None if *byte == Format::Ndjson.delimiter() => self.end_of_unknown_line(),
                _ => {
                    self.store(*byte);
                    None
                }
            };
            if let Some(packet) = packet {
                self.follow(&packet);
                each(packet);
            }
        }
    }

    /// Ends the stream: a piece without its delimiter is counted as damaged.
    pub fn finish(&mut self) {
        let unfinished = self.skipping || !self.buffer.is_empty();
        self.restart_piece();
        if self.format.is_some() {
            self.counts.corrupt += u64::from(unfinished);
        } else {
            // Nothing of ours in the whole stream. Lines are what a stranger most likely sent.
            let Trouble { corrupt, foreign } = self.bad_lines;
            self.counts.corrupt += corrupt;
            self.counts.foreign += foreign + self.bad_frames.foreign + u64::from(unfinished);
        }
    }

    /// What was met so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The format, once it is known.
    pub fn format(&self) -> Option<Format> {
        self.format
    }

    /// Bytes set aside for the piece under way.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    fn store(&mut self, byte: u8) {
        if self.buffer.len() < MAX_FRAME {
            self.buffer.push(byte);
        } else if self.format.is_none() && self.line_at > 0 {
            // Lines without end of a frame: most likely text. Only the last one can still become a message.
            self.buffer.drain(..self.line_at);
            self.line_at = 0;
            self.first_piece = false;
            self.buffer.push(byte);
        } else {
            self.skipping = true;
        }
    }

    fn restart_piece(&mut self) {
        self.buffer.clear();
        self.line_at = 0;
        self.skipping = false;
        self.first_piece = false;
    }

    fn end_of_piece(&mut self, format: Format) -> Option<Packet> {
        let (first, skipped, empty) = (self.first_piece, self.skipping, self.buffer.is_empty());
        let decoded = match format {
            _ if skipped => Err(Bad::Corrupt),
            Format::Ndjson => decode_line(without_return(&self.buffer)),
            Format::Binary => decode_frame(&mut self.buffer),
        };
        self.restart_piece();
        match decoded {
            Ok(packet) => return Some(packet),
            Err(_) if empty || first => {}
            Err(Bad::Corrupt) => self.counts.corrupt += 1,
            Err(Bad::Foreign) => self.counts.foreign += 1,
        }
        None
    }

    /// A zero byte while the format is open: the bytes since the last one may be a frame.
    fn end_of_unknown_frame(&mut self) -> Option<Packet> {
        let (first, empty) = (self.first_piece, self.buffer.is_empty());
        let decoded = if self.skipping { Err(Bad::Corrupt) } else { decode_frame(&mut self.buffer) };
        self.restart_piece();
        match decoded {
            Ok(packet) => {
                self.decide(Format::Binary);
                return Some(packet);
            }
            Err(_) if empty || first => {}
            Err(bad) => self.bad_frames.add(bad),
        }
        None
    }

    /// A line feed while the format is open: the bytes since the last one may be a line, and also part of a frame.
    fn end_of_unknown_line(&mut self) -> Option<Packet> {
        let line = without_return(&self.buffer[self.line_at..]);
        let (first, empty) = (self.first_piece && self.line_at == 0, line.is_empty());
        match decode_line(line) {
            Ok(packet) if !self.skipping => {
                self.restart_piece();
                self.decide(Format::Ndjson);
                return Some(packet);
            }
            _ if empty || first => {}
            Ok(_) => self.bad_lines.add(Bad::Corrupt),
            Err(bad) => self.bad_lines.add(bad),
        }
        if self.skipping {
            self.restart_piece();
        } else {
            self.store(b'\n');
            self.line_at = self.buffer.len();
        }
        None
    }

    fn decide(&mut self, format: Format) {
        self.format = Some(format);
        let trouble = match format {
            Format::Ndjson => self.bad_lines,
            Format::Binary => self.bad_frames,
        };
        self.counts.corrupt += trouble.corrupt;
        self.counts.foreign += trouble.foreign;
    }

    /// Keeps account of the sender's numbers.
    fn follow(&mut self, packet: &Packet) {
        self.counts.messages += 1;
        let began = packet.seq == 0 && matches!(packet.message, Message::Hello(_));
        match self.expected {
            Some(expected) if expected == packet.seq => {}
            Some(_) if began => self.counts.restarts += 1,
            Some(expected) => {
                let gap = packet.seq.wrapping_sub(expected);
                // Half of the circle lies ahead and was lost; a number from the other half is an old one.
                if gap < 1 << 31 {
                    self.counts.lost += u64::from(gap);
                } else {
                    self.counts.restarts += 1;
                }
            }
            None => {}
        }
        self.expected = Some(packet.seq.wrapping_add(1));
    }
}

impl Trouble {
    fn add(&mut self, bad: Bad) {
        match bad {
            Bad::Corrupt => self.corrupt += 1,
            Bad::Foreign => self.foreign += 1,
        }
    }
}

/// A line without the carriage return that some terminals add.
fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}
