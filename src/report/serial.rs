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
use crate::error::{Error, Result};

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
        let bad = |key, expected: &str, found: String| Error::BadSetting { key, expected: expected.into(), found };
        if self.port.as_deref() == Some("") {
            return Err(bad("report.serial.port", "the path of a device", "an empty path".into()));
        }
        if !(300..=4_000_000).contains(&self.baud) {
            return Err(bad("report.serial.baud", "300 to 4000000", self.baud.to_string()));
        }
        if !(10..=60_000).contains(&self.write_timeout_ms) {
            return Err(bad("report.serial.write_timeout_ms", "10 to 60000", self.write_timeout_ms.to_string()));
        }
        Ok(())
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

/// A handle on `path` whose reads and writes never wait, and which never becomes our controlling terminal.
pub(super) fn open_without_waiting(path: &str, options: &mut OpenOptions) -> io::Result<File> {
    options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
}

/// The port as an [`Output`].
pub(super) struct SerialOutput {
    port: String,
    baud: u32,
    delimiter: u8,
    write_timeout: Duration,
    open: Option<OpenPort>,
    /// The reader may be in the middle of something: a delimiter has to go first.
    dirty: bool,
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

impl SerialOutput {
    /// Opens the port at once, so that a wrong name is known at the start.
    ///
    /// # Errors
    /// [`Error::Serial`] if that fails.
    pub(super) fn open(port: &str, settings: &SerialSettings) -> Result<Self> {
        Ok(Self {
            port: port.into(),
            baud: settings.baud,
            delimiter: settings.format.delimiter(),
            write_timeout: Duration::from_millis(u64::from(settings.write_timeout_ms)),
            open: Some(OpenPort::new(port, settings.baud)?),
            dirty: true,
            stuck: false,
            back_off: BACK_OFF.0,
        })
    }

    /// Writes as much of `bytes` as leaves within the timeout; the count, and the error that ended it.
    fn write_within(&mut self, bytes: &[u8], phase: &Phase) -> (usize, Option<io::Error>) {
        let Some(open) = &mut self.open else { return (0, Some(ErrorKind::NotConnected.into())) };
        let start = Instant::now();
        let mut sent = 0;
        while sent < bytes.len() {
            match open.file.write(&bytes[sent..]) {
                Ok(0) => return (sent, Some(ErrorKind::WriteZero.into())),
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if phase.is_stopped() || start.elapsed() >= self.write_timeout {
                        return (sent, Some(ErrorKind::TimedOut.into()));
                    }
                    thread::sleep(NAP);
                }
                Err(error) => return (sent, Some(error)),
            }
        }
        (sent, None)
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
            self.dirty = true;
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
                    self.dirty = true;
                    self.stuck = false;
                    return Prepared::Reopened;
                }
                Err(error) => tracing::debug!(%error),
            }
        }
    }

    fn write(&mut self, frame: &[u8], phase: &Phase) -> Written {
        if self.dirty {
            if let (_, Some(error)) = self.write_within(&[self.delimiter], phase) {
                self.failed(&error);
                return Written::Lost;
            }
            self.dirty = false;
        }
        let (sent, error) = self.write_within(frame, phase);
        let Some(error) = error else {
            self.stuck = false;
            // Only a port that takes something is really back.
            self.back_off = BACK_OFF.0;
            return Written::Whole;
        };
        self.failed(&error);
        // The next delimiter ends a message of which only that was missing.
        self.dirty |= sent > 0;
        if self.open.is_some() && sent + 1 == frame.len() { Written::Whole } else { Written::Lost }
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
    use super::*;

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
}
