//! Sighting -> standard output, log, serial port.
//!
//! Each sink has a queue of fixed size and a thread of its own. A slow sink drops its oldest message and
//! counts it; it never holds up the pipeline. One exception: a recorded clip waits for the reader of standard
//! output, since there every line matters and nothing is lost by waiting.

pub mod codec;
pub mod listen;
pub mod log;
pub mod message;
pub mod queue;
pub mod rate;
pub mod vitals;

mod decimal;
mod serial;
mod sink;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};

use crate::error::{Result, in_range};

pub use codec::Format;
pub use decimal::Decimal;
pub use message::Message;
pub use serial::{SerialSettings, try_port};

use queue::Overflow;
use rate::RateLimit;
use serial::SerialOutput;
use sink::{Plain, Sink};

/// What is reported, and where.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReportSettings {
    /// Write NDJSON lines to standard output.
    pub stdout: bool,
    /// Seconds between two `health` messages, up to 86400; 0: none.
    pub health_interval_s: u32,
    /// Most sightings a second and track, 0 to 1000; 0: each frame. A new identity and a change of state are always sent.
    pub rate_hz: f32,
    /// Messages that wait for a slow sink, 8 to 65536; then the oldest is dropped.
    pub queue: usize,
    /// Whether `health` goes to standard output: `auto` (from a live source only, so that a recorded clip gives
    /// the same bytes each time), `always` or `never`.
    pub health_on_stdout: HealthOnStdout,
    /// The serial port.
    pub serial: SerialSettings,
}

/// When `health` goes to standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthOnStdout {
    /// From a live source only.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Default for ReportSettings {
    fn default() -> Self {
        Self {
            stdout: true,
            health_interval_s: 10,
            rate_hz: 0.0,
            queue: 256,
            health_on_stdout: HealthOnStdout::Auto,
            serial: SerialSettings::default(),
        }
    }
}

impl ReportSettings {
    /// # Errors
    /// [`Error::BadSetting`](crate::Error::BadSetting) naming the first key that is out of its range.
    pub fn validate(&self) -> Result<()> {
        in_range("report.health_interval_s", self.health_interval_s, 0, 86_400)?;
        in_range("report.rate_hz", self.rate_hz, 0.0, 1000.0)?;
        in_range("report.queue", self.queue, 8, 65_536)?;
        self.serial.validate()
    }

    /// Bytes that the queues of these settings take, allocated once.
    pub fn queue_bytes(&self) -> usize {
        let sinks = usize::from(self.stdout) + usize::from(self.serial.port.is_some());
        sinks * self.queue * size_of::<Message>()
    }
}

/// All sinks. Dropping it without [`Reporter::close`] closes it too.
pub struct Reporter {
    stdout: Option<Sink>,
    serial: Option<Sink>,
    live: bool,
    rate: RateLimit,
    health_on_stdout: bool,
    health_interval_ms: u64,
    health_at_ms: Option<u64>,
}

impl Reporter {
    /// Opens the sinks of `settings`; `live` says whether the frames are happening now.
    ///
    /// # Errors
    /// [`Error::BadSetting`](crate::Error::BadSetting), [`Error::Serial`](crate::Error::Serial) if the port cannot be opened, [`Error::Report`](crate::Error::Report) if there is no thread.
    pub fn open(settings: &ReportSettings, live: bool) -> Result<Self> {
        Self::open_with(settings, live, io::stdout())
    }

    /// As [`Reporter::open`], with `stdout` in the place of standard output.
    ///
    /// # Errors
    /// As [`Reporter::open`].
    pub fn open_with(settings: &ReportSettings, live: bool, stdout: impl io::Write + Send + 'static) -> Result<Self> {
        settings.validate()?;
        let serial = match &settings.serial.port {
            Some(port) => {
                let output = SerialOutput::open(port, &settings.serial)?;
                let format = settings.serial.format;
                Some(Sink::start("serial", output, format, settings.queue, Overflow::DropOldest)?)
            }
            None => None,
        };
        let overflow = if live { Overflow::DropOldest } else { Overflow::Block };
        let stdout = if settings.stdout {
            Some(Sink::start("stdout", Plain::new(stdout), Format::Ndjson, settings.queue, overflow)?)
        } else {
            None
        };
        let mut reporter = Self {
            stdout,
            serial,
            live,
            rate: RateLimit::new(0.0),
            health_on_stdout: live,
            health_interval_ms: 0,
            health_at_ms: None,
        };
        reporter.adjust(settings);
        Ok(reporter)
    }

    /// Takes over what can change while it runs: `rate_hz`, `health_interval_s` and `health_on_stdout`.
    pub fn adjust(&mut self, settings: &ReportSettings) {
        self.rate = RateLimit::new(settings.rate_hz);
        self.health_on_stdout = match settings.health_on_stdout {
            HealthOnStdout::Auto => self.live,
            HealthOnStdout::Always => true,
            HealthOnStdout::Never => false,
        };
        self.health_interval_ms = u64::from(settings.health_interval_s) * 1000;
    }

    /// Once `flag` is set (by a signal, say), [`Reporter::send`] waits for nobody any more, so that a reader that
    /// stopped cannot keep the program from ending.
    pub fn hurry_on(&mut self, flag: &Arc<AtomicBool>) {
        for sink in [&mut self.stdout, &mut self.serial].into_iter().flatten() {
            sink.hurry_on(flag);
        }
    }

    /// Sends `message` to every sink. A sighting may be left out by the rate limit.
    ///
    /// Returns at once, except for a recorded clip whose reader of standard output is slow.
    pub fn send(&mut self, message: &Message) {
        if let Message::Sighting(sighting) = message
            && !self.rate.allows(sighting)
        {
            return;
        }
        log::record(message, self.stdout.is_none() && self.serial.is_none());
        if let Some(sink) = &self.serial {
            sink.send(message);
        }
        if let Some(sink) = &self.stdout
            && (self.health_on_stdout || !matches!(message, Message::Health(_)))
        {
            sink.send(message);
        }
    }

    /// Whether a `health` message is due at `time_ms` since the source started: the first one an interval after the
    /// first question, then each interval. Saying yes starts the next interval.
    pub fn health_due(&mut self, time_ms: u64) -> bool {
        if self.health_interval_ms == 0 {
            return false;
        }
        let last = *self.health_at_ms.get_or_insert(time_ms);
        // A clock that went back starts the interval anew.
        if time_ms < last {
            self.health_at_ms = Some(time_ms);
            return false;
        }
        let due = time_ms - last >= self.health_interval_ms;
        if due {
            self.health_at_ms = Some(time_ms);
        }
        due
    }

    /// Messages that sinks dropped, all sinks together.
    pub fn dropped(&self) -> u64 {
        [&self.stdout, &self.serial].into_iter().flatten().map(Sink::dropped).sum()
    }

    /// Whether the reader of standard output has gone (`| head`) and there is no other sink: nobody listens any more.
    pub fn reader_gone(&self) -> bool {
        self.serial.is_none() && self.stdout.as_ref().is_some_and(Sink::reader_gone)
    }

    /// Lets the sinks write what is queued and ends them. Returns how many messages were dropped in all.
    ///
    /// Readers get 2 seconds, and half a second without taking anything. Standard output of a recorded clip gets the time it
    /// takes, until the flag of [`Reporter::hurry_on`] is set.
    pub fn close(mut self) -> u64 {
        self.shut()
    }

    fn shut(&mut self) -> u64 {
        let sinks = [self.stdout.take(), self.serial.take()];
        sinks.iter().flatten().for_each(Sink::drain);
        sinks.iter().flatten().for_each(Sink::finish);
        sinks.iter().flatten().map(Sink::dropped).sum()
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        // After `close` there is no sink left and this returns at once.
        self.shut();
    }
}

#[cfg(test)]
mod tests;
