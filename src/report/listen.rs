//! The other end: what `nformer-edge listen` does with the bytes of a serial port or a file.

mod decoder;
mod human;

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::codec::{Encoder, Format};
use super::message::Message;
use super::serial::{open_port, open_without_waiting};
use crate::error::{Error, Result};

pub use decoder::{Counts, Decoder};

/// Longest wait for bytes of a port before the stop flag is looked at.
const LOOK_UP: Duration = Duration::from_millis(200);

/// How received messages are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// As NDJSON lines with the sender's sequence numbers.
    #[default]
    Ndjson,
    /// As short lines for people.
    Human,
}

/// What came in, by kind, and what did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// `hello` messages.
    pub hellos: u64,
    /// `sighting` messages.
    pub sightings: u64,
    /// `event` messages.
    pub events: u64,
    /// `health` messages.
    pub healths: u64,
    /// The rest.
    pub counts: Counts,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { messages, lost, corrupt, foreign, restarts } = self.counts;
        let Self { hellos, sightings, events, healths, .. } = self;
        write!(
            f,
            "received {messages} (hello {hellos}, sighting {sightings}, event {events}, health {healths}), \
             lost {lost}, corrupt {corrupt}, foreign {foreign}, restarts {restarts}"
        )
    }
}

/// Opens `place`: `-` is standard input, a terminal device is opened as a serial port of `baud`, anything
/// else is read as a file.
///
/// # Errors
/// [`Error::Read`] or [`Error::Serial`] if it cannot be opened.
pub fn open(place: &str, baud: u32) -> Result<Box<dyn Read>> {
    if place == "-" {
        return Ok(Box::new(io::stdin()));
    }
    let unreadable = |source| Error::Read { what: "stream", path: place.into(), source };
    // A port whose carrier is missing would otherwise make `open` wait for ever.
    let probe = open_without_waiting(place, OpenOptions::new().read(true)).map_err(unreadable)?;
    if probe.is_terminal() {
        drop(probe);
        return Ok(Box::new(open_port(place, baud, LOOK_UP)?));
    }
    Ok(Box::new(File::open(Path::new(place)).map_err(unreadable)?))
}

/// Reads messages from `input` until it ends or `stop` is set, and prints each to `out`.
///
/// Without a `format` the encoding is found out from the first good message. The end of the input is its end, an
/// unplugged port, or a reader of `out` that went away.
///
/// # Errors
/// [`Error::Report`] if `input` fails in another way or `out` cannot be written.
pub fn listen(
    input: &mut dyn Read,
    format: Option<Format>,
    style: Style,
    out: &mut dyn Write,
    stop: &AtomicBool,
) -> Result<Summary> {
    let mut decoder = Decoder::new(format);
    let mut printer = Printer { encoder: Encoder::new(Format::Ndjson), style, out };
    let mut summary = Summary::default();
    let mut bytes = [0; 4096];
    let mut outcome = Ok(());
    let mut ended = true;
    while outcome.is_ok() {
        if stop.load(Ordering::Relaxed) {
            // Stopped in the middle of a message: that is no damage.
            ended = false;
            break;
        }
        match input.read(&mut bytes) {
            Ok(0) => break,
            Ok(count) => decoder.push(&bytes[..count], |packet| {
                summary.count(&packet.message);
                if outcome.is_ok() {
                    outcome = printer.print(packet.seq, &packet.message);
                }
            }),
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted | io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {}
                io::ErrorKind::BrokenPipe => break,
                // What Linux says of a serial port or terminal whose other side went away.
                _ if [Some(libc::EIO), Some(libc::ENXIO), Some(libc::ENODEV)].contains(&error.raw_os_error()) => break,
                _ => return Err(Error::Report { sink: "listen", source: error }),
            },
        }
    }
    if ended {
        decoder.finish();
    }
    summary.counts = decoder.counts();
    match outcome.and_then(|()| printer.out.flush()) {
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => Err(Error::Report { sink: "listen", source }),
        _ => Ok(summary),
    }
}

impl Summary {
    fn count(&mut self, message: &Message) {
        *match message {
            Message::Hello(_) => &mut self.hellos,
            Message::Sighting(_) => &mut self.sightings,
            Message::Event(_) => &mut self.events,
            Message::Health(_) => &mut self.healths,
        } += 1;
    }
}

struct Printer<'a> {
    encoder: Encoder,
    style: Style,
    out: &'a mut dyn Write,
}

impl Printer<'_> {
    fn print(&mut self, seq: u32, message: &Message) -> io::Result<()> {
        match self.style {
            Style::Ndjson => self.out.write_all(self.encoder.encode(seq, message).map_err(io::Error::other)?),
            Style::Human => writeln!(self.out, "{}", human::Line(message)),
        }
    }
}

#[cfg(test)]
mod tests;
