//! A serial port as a sink: bounded waits, whole frames, and a port that may vanish and come back.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serialport::{ClearBuffer, SerialPort, TTYPort};

use super::codec::Format;
use super::sink::{Output, Phase, Prepared, Written};
use crate::error::{Error, Result, in_range};

/// First and longest wait before a lost port is opened again.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Wait between two looks at a port that takes nothing: at 115200 baud 58 bytes leave it meanwhile.
const NAP: Duration = Duration::from_millis(5);

/// The serial port.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SerialSettings {
    /// Device to write to, for example `/dev/ttyUSB0`; none: no serial output.
    pub port: Option<String>,
    /// Symbols a second, 300 to 4000000. 115200 carries about 11500 bytes a second.
    pub baud: u32,
    /// `ndjson` (about 200 bytes a sighting, readable with any terminal) or `binary` (about 50 bytes, with a checksum).
    pub format: Format,
    /// Longest wait for one message to leave, in ms, 10 to 60000. Then it is dropped and counted.
    pub write_timeout_ms: u32,
}

impl Default for SerialSettings {
    fn default() -> Self {
        Self { port: None, baud: 115_200, format: Format::Ndjson, write_timeout_ms: 1000 }
    }
}

impl SerialSettings {
    /// # Errors
    /// [`Error::BadSetting`] naming the first key that is out of its range.
    pub fn validate(&self) -> Result<()> {
        if self.port.as_deref() == Some("") {
            let (expected, found) = ("the path of a device".into(), "an empty path".into());
            return Err(Error::BadSetting { key: "report.serial.port", expected, found });
        }
        in_range("report.serial.baud", self.baud, 300, 4_000_000)?;
        in_range("report.serial.write_timeout_ms", self.write_timeout_ms, 10, 60_000)
    }
}

/// Opens `port` raw, 8 data bits, no parity, 1 stop bit; reads wait `timeout` at most.
///
/// # Errors
/// [`Error::Serial`] with the system's answer.
pub(super) fn open_port(port: &str, baud: u32, timeout: Duration) -> Result<TTYPort> {
    serialport::new(port, baud)
        .timeout(timeout)
        .open_native()
        .map_err(|error| Error::Serial { port: port.into(), reason: error.to_string() })
}

/// Opens `port` as the program does, and closes it again: without waiting for a carrier, which a port may never see.
///
/// # Errors
/// The system's answer.
pub fn try_port(port: &str) -> io::Result<()> {
    open_without_waiting(port, OpenOptions::new().read(true).write(true)).map(drop)
}

/// A handle on `path` whose reads and writes never wait, and which never becomes our controlling terminal.
pub(super) fn open_without_waiting(path: &str, options: &mut OpenOptions) -> io::Result<File> {
    options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
}

/// The port as an [`Output`].
pub(super) struct SerialOutput {
    port: String,
    baud: u32,
    framing: Framing,
    open: Option<OpenPort>,
    /// The last write ran out of time.
    stuck: bool,
    back_off: Duration,
}

struct OpenPort {
    /// Written to. A handle of its own, because the one of `serialport` blocks inside a write that is longer
    /// than the room left in the kernel's buffer, whatever its timeout.
    file: File,
    /// Holds the line settings.
    tty: TTYPort,
}

/// Whole messages through a writer that takes what it likes.
struct Framing {
    delimiter: u8,
    /// Longest wait for one message.
    timeout: Duration,
    /// The reader may be in the middle of something: a delimiter has to go first.
    dirty: bool,
}

impl Framing {
    /// Writes one message with its delimiter; what became of it, and the error that ended the attempt.
    fn write(&mut self, writer: &mut impl Write, frame: &[u8], phase: &Phase) -> (Written, Option<io::Error>) {
        if self.dirty {
            if let (_, Some(error)) = self.write_within(writer, &[self.delimiter], phase) {
                return (Written::Lost, Some(error));
            }
            self.dirty = false;
        }
        let (sent, error) = self.write_within(writer, frame, phase);
        let Some(error) = error else { return (Written::Whole, None) };
        self.dirty = sent > 0;
        // If only the delimiter is missing, the one in front of the next message completes this one.
        let completed_later = error.kind() == ErrorKind::TimedOut && sent + 1 == frame.len();
        (if completed_later { Written::Whole } else { Written::Lost }, Some(error))
    }

    /// Writes as much of `bytes` as leaves within the timeout; the count, and the error that ended it.
    fn write_within(&self, writer: &mut impl Write, bytes: &[u8], phase: &Phase) -> (usize, Option<io::Error>) {
        let start = Instant::now();
        let mut sent = 0;
        while sent < bytes.len() {
            match writer.write(&bytes[sent..]) {
                Ok(0) => return (sent, Some(ErrorKind::WriteZero.into())),
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if phase.is_stopped() || start.elapsed() >= self.timeout {
                        return (sent, Some(ErrorKind::TimedOut.into()));
                    }
                    thread::sleep(NAP);
                }
                Err(error) => return (sent, Some(error)),
            }
        }
        (sent, None)
    }
}

impl SerialOutput {
    /// Opens the port at once, so that a wrong name is known at the start.
    ///
    /// # Errors
    /// [`Error::Serial`] if that fails.
    pub(super) fn open(port: &str, settings: &SerialSettings) -> Result<Self> {
        Ok(Self {
            port: port.into(),
            baud: settings.baud,
            framing: Framing {
                delimiter: settings.format.delimiter(),
                timeout: Duration::from_millis(u64::from(settings.write_timeout_ms)),
                dirty: true,
            },
            open: Some(OpenPort::new(port, settings.baud)?),
            stuck: false,
            back_off: BACK_OFF.0,
        })
    }

    /// What follows from a write that ended with `error`.
    fn failed(&mut self, error: &io::Error) {
        if error.kind() == ErrorKind::TimedOut {
            if !self.stuck {
                tracing::warn!(port = self.port, "the serial port takes nothing more; messages are dropped");
            }
            self.stuck = true;
        } else {
            tracing::warn!(port = self.port, %error, "the serial port is gone; trying to open it again");
            self.open = None;
            self.framing.dirty = true;
        }
    }
}

impl Output for SerialOutput {
    fn prepare(&mut self, phase: &Phase) -> Prepared {
        if self.open.is_some() {
            return Prepared::Ready;
        }
        loop {
            let wait_until = Instant::now() + self.back_off;
            while Instant::now() < wait_until {
                if phase.is_draining() {
                    return Prepared::Absent;
                }
                thread::sleep(NAP);
            }
            self.back_off = (self.back_off * 2).min(BACK_OFF.1);
            match OpenPort::new(&self.port, self.baud) {
                Ok(open) => {
                    tracing::info!(port = self.port, "the serial port is open again");
                    self.open = Some(open);
                    self.stuck = false;
                    return Prepared::Reopened;
                }
                Err(error) => tracing::debug!(%error),
            }
        }
    }

    fn write(&mut self, frame: &[u8], phase: &Phase) -> Written {
        let Some(open) = &mut self.open else { return Written::Lost };
        let (written, error) = self.framing.write(&mut open.file, frame, phase);
        if let Some(error) = error {
            self.failed(&error);
        } else {
            self.stuck = false;
            // Only a port that takes something is really back.
            self.back_off = BACK_OFF.0;
        }
        written
    }

    fn repeats_hello(&self) -> bool {
        true
    }
}

impl Drop for SerialOutput {
    fn drop(&mut self) {
        if let Some(open) = &self.open
            && self.stuck
        {
            // Otherwise the kernel waits up to 30 s in `close` for a reader that is not there.
            let _ = open.tty.clear(ClearBuffer::Output);
        }
    }
}

impl OpenPort {
    fn new(port: &str, baud: u32) -> Result<Self> {
        // This handle first: `serialport` then locks the port against everyone else.
        let file = open_without_waiting(port, OpenOptions::new().write(true))
            .map_err(|error| Error::Serial { port: port.into(), reason: error.to_string() })?;
        Ok(Self { file, tty: open_port(port, baud, Duration::from_millis(100))? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::report::codec::{Encoder, Packet};
    use crate::report::listen::Decoder;
    use crate::report::message::{Event, EventKind, Message};

    #[test]
    fn settings_out_of_range_name_their_key() {
        assert!(SerialSettings::default().validate().is_ok());
        for (settings, key) in [
            (SerialSettings { port: Some(String::new()), ..Default::default() }, "report.serial.port"),
            (SerialSettings { baud: 0, ..Default::default() }, "report.serial.baud"),
            (SerialSettings { write_timeout_ms: 0, ..Default::default() }, "report.serial.write_timeout_ms"),
        ] {
            assert!(settings.validate().unwrap_err().to_string().contains(key));
        }
    }

    #[test]
    fn a_port_that_is_none_is_refused_at_once() {
        for port in ["/dev/no-such-port", "/dev/null", "/dev"] {
            let error = SerialOutput::open(port, &SerialSettings::default()).err().unwrap();
            assert!(matches!(&error, Error::Serial { port: named, .. } if named == port), "{error}");
        }
    }

    /// A port whose buffer has room for some bytes.
    #[derive(Default)]
    struct Room {
        left: usize,
        wire: Vec<u8>,
    }

    impl Write for Room {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.left);
            self.left -= count;
            self.wire.extend(&bytes[..count]);
            if count == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(count) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn event(track: u32) -> Message {
        Message::Event(Event { kind: EventKind::Entered, time_ms: 1, frame: 2, track, identity: None, other: None })
    }

    proptest! {
        /// However a message is cut off, the reader finds the next whole one, and misses just those that the sender
        /// counted as lost.
        #[test]
        fn losses_are_the_same_on_both_sides(rooms in vec(0..250_usize, 1..60), binary: bool) {
            let format = if binary { Format::Binary } else { Format::Ndjson };
            let mut framing = Framing { delimiter: format.delimiter(), timeout: Duration::ZERO, dirty: true };
            let (mut encoder, phase) = (Encoder::new(format), Phase::default());
            let mut port = Room { left: 1000, ..Room::default() };
            let mut lost = 0;
            let count = rooms.len() as u32;
            // The first and the last message have room: what is lost stands between two that arrive.
            for (seq, room) in (0..).zip(rooms.into_iter().chain([1000, 0])) {
                let frame = encoder.encode(seq, &event(seq)).unwrap();
                if seq == count + 1 {
                    port.left = 1000;
                }
                lost += u64::from(framing.write(&mut port, frame, &phase).0 == Written::Lost);
                port.left = room;
            }
            let mut decoder = Decoder::new(Some(format));
            let mut got = Vec::new();
            decoder.push(&port.wire, |packet| got.push(packet));
            prop_assert_eq!(decoder.counts().lost, lost);
            prop_assert_eq!(got.len() as u64 + lost, u64::from(count) + 2);
            for Packet { seq, message } in got {
                prop_assert_eq!(message, event(seq));
            }
        }
    }

    #[test]
    fn a_message_that_lacks_only_its_delimiter_is_not_lost() {
        let mut framing = Framing { delimiter: b'\n', timeout: Duration::ZERO, dirty: false };
        let mut port = Room { left: 3, ..Room::default() };
        let phase = Phase::default();
        assert_eq!(framing.write(&mut port, b"abc\n", &phase).0, Written::Whole);
        assert_eq!(framing.write(&mut port, b"def\n", &phase).0, Written::Lost);
        port.left = 100;
        assert_eq!(framing.write(&mut port, b"ghi\n", &phase).0, Written::Whole);
        assert_eq!(port.wire, b"abc\nghi\n");
    }
}
