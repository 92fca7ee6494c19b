//! The log: human readable on a terminal, JSON lines otherwise, always on standard error.
//!
//! A log that cannot be written (a full disk, a pipe without a reader) costs its lines and nothing else. Between [`hold`] and
//! [`close`] nobody waits for a reader of the log either.

mod backlog;

use std::io::{self, IsTerminal, Write, stderr};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::time::uptime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use backlog::Backlog;

use crate::error::Result;

use super::message::{Event, EventKind, Hello, Message};

/// Level of the log for a number of `-v` and `-q`: errors and warnings and what happens by default,
/// one step quieter or louder for each flag.
pub fn level(verbose: u8, quiet: u8) -> LevelFilter {
    match i16::from(verbose) - i16::from(quiet) {
        ..=-3 => LevelFilter::OFF,
        -2 => LevelFilter::ERROR,
        -1 => LevelFilter::WARN,
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        2.. => LevelFilter::TRACE,
    }
}

/// Starts the log of the process at `level`. Other crates are heard from warnings up only: the model
/// runtime alone would fill a page a second. Returns false if a log was started before; that one stays.
pub fn start(level: LevelFilter) -> bool {
    let for_people = stderr().is_terminal();
    tracing_subscriber::registry().with(layer(level, for_people, || Log)).try_init().is_ok()
}

/// From now on lines wait in a queue of fixed size. [`release`] has them written by a thread of their own: whoever logs never
/// waits for a reader. Where there is no room the oldest line is dropped and counted.
pub fn hold() {
    BACKLOG.get_or_init(Backlog::new);
}

/// Starts the thread that writes the lines of [`hold`]. Not part of it because a thread is confined as the one that makes it.
///
/// # Errors
/// [`Error::Report`](crate::Error::Report) if there is no thread to be had.
pub fn release() -> Result<()> {
    BACKLOG.get().map_or(Ok(()), |backlog| backlog.write_to(to_stderr()))
}

/// Writes what waits since [`hold`]: 2 seconds at most, and half a second for a reader that takes nothing. Lines that come later
/// are not written. Without [`hold`] it does nothing.
pub fn close() {
    if let Some(backlog) = BACKLOG.get() {
        // Where the run failed before it was confined, the thread is still to be made.
        if release().is_ok() {
            backlog.close();
        } else {
            backlog.write_here(to_stderr());
        }
    }
}

/// Draws `text` on standard error, without the form of a log; leaves it out while lines wait.
pub fn draw(text: &str) {
    match BACKLOG.get() {
        Some(backlog) => backlog.push_if_idle(text.as_bytes()),
        // A terminal that is gone is no reason to stop.
        None => drop(stderr().write_all(text.as_bytes())),
    }
}

/// Lines of the log that could not be written since the start.
pub fn lost() -> u64 {
    LOSSES.all.load(Ordering::Relaxed) + BACKLOG.get().map_or(0, Backlog::dropped)
}

/// Bytes of the queue of [`hold`].
pub fn queue_bytes() -> usize {
    Backlog::BYTES
}

/// Losses of the process's log.
static LOSSES: Losses = Losses::new();

/// The lines that wait, once they do.
static BACKLOG: OnceLock<Backlog> = OnceLock::new();

fn to_stderr() -> Lossy<'static, io::Stderr> {
    let writer = stderr();
    Lossy { for_people: writer.is_terminal(), writer, losses: &LOSSES }
}

/// Where the process's log goes.
struct Log;

impl Write for Log {
    /// Called once a line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match BACKLOG.get() {
            Some(backlog) => backlog.push(line),
            None => to_stderr().write_line(line),
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lines that could not be written.
struct Losses {
    all: AtomicU64,
    /// Those that no line has told of yet.
    untold: AtomicU64,
    /// Whether the last line may be cut off.
    cut: AtomicBool,
}

impl Losses {
    const fn new() -> Self {
        Self { all: AtomicU64::new(0), untold: AtomicU64::new(0), cut: AtomicBool::new(false) }
    }
}

/// A writer of lines that never fails: what it cannot write is counted, and told as soon as there is room again.
struct Lossy<'a, W> {
    writer: W,
    for_people: bool,
    losses: &'a Losses,
}

impl<W: Write> Lossy<'_, W> {
    fn write_line(&mut self, line: &[u8]) {
        let written = self.try_line(line).and_then(|()| self.writer.flush());
        self.losses.cut.store(written.is_err(), Ordering::Relaxed);
        if written.is_err() {
            self.losses.all.fetch_add(1, Ordering::Relaxed);
            self.missed(1);
        }
    }

    /// Writes one line, and before it how many were lost.
    fn try_line(&mut self, line: &[u8]) -> io::Result<()> {
        if self.losses.cut.load(Ordering::Relaxed) {
            self.writer.write_all(b"\n")?;
        }
        let untold = self.losses.untold.load(Ordering::Relaxed);
        if untold > 0 {
            let told = if self.for_people {
                format!("{untold} lines of the log are lost: they could not be written\n")
            } else {
                format!("{{\"level\":\"WARN\",\"message\":\"lines of the log are lost\",\"lost\":{untold}}}\n")
            };
            self.writer.write_all(told.as_bytes())?;
            self.losses.untold.fetch_sub(untold, Ordering::Relaxed);
        }
        self.writer.write_all(line)
    }

    /// Takes note of lines that never came here.
    fn missed(&self, lines: u64) {
        self.losses.untold.fetch_add(lines, Ordering::Relaxed);
    }
}

fn layer<S, W>(level: LevelFilter, for_people: bool, writer: W) -> impl Layer<S>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let only_ours = Targets::new().with_target("nformer_edge", level).with_default(level.min(LevelFilter::WARN));
    // Seconds since the start, as in the messages: the clock of a board without a battery is wrong at first.
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_timer(uptime());
    let lines = if for_people {
        lines.with_target(false).boxed()
    } else {
        lines.with_ansi(false).json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
    };
    lines.with_filter(only_ours)
}

/// Writes `message` to the log. `alone` says that no other sink is on: then what happens to people is
/// said at the usual level, otherwise one level down, since it stands elsewhere already.
pub(super) fn record(message: &Message, alone: bool) {
    match message {
        Message::Hello(Hello { program, board, source, .. }) => tracing::info!(%program, %board, %source, "reporting"),
        Message::Sighting(seen) => {
            tracing::trace!(
                frame = seen.frame,
                track = seen.track,
                identity = seen.identity,
                state = ?seen.state,
                "sighting"
            );
        }
        // What concerns the program is said where it happens.
        Message::Event(Event { track: 0, .. }) => {}
        Message::Event(event) if alone => {
            let Event { track, identity, other, .. } = event;
            tracing::info!(track, identity, other, "{}", happened(event.kind));
        }
        Message::Event(event) => {
            let Event { track, identity, other, .. } = event;
            tracing::debug!(track, identity, other, "{}", happened(event.kind));
        }
        Message::Health(health) => {
            tracing::debug!(
                fps = health.fps.get(),
                frames = health.frames,
                stale = health.stale,
                corrupt = health.corrupt,
                timeouts = health.timeouts,
                reconnects = health.reconnects,
                report_dropped = health.report_dropped,
                resident_mib = health.resident_bytes >> 20,
                temperature_c = health.temperature_c.map(super::decimal::Decimal::get),
                throttled = health.throttled,
                state_saved = health.state_saved,
                state_failures = health.state_failures,
                state_age_s = health.state_age_s,
                "health"
            );
        }
    }
}

fn happened(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Entered => "entered",
        EventKind::Identified => "identified",
        EventKind::Merged => "merged",
        EventKind::Left => "left",
        EventKind::CameraFrozen => "camera frozen",
        EventKind::CameraMoving => "camera moving",
        EventKind::Reloaded => "reloaded",
        EventKind::ReloadRefused => "reload refused",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::report::message::Health;

    /// What is logged at `level` while `work` runs.
    fn logged(level: LevelFilter, for_people: bool, work: impl FnOnce()) -> String {
        #[derive(Clone, Default)]
        struct Page(Arc<Mutex<Vec<u8>>>);
        impl Write for Page {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let page = Page::default();
        let writer = page.clone();
        let subscriber = tracing_subscriber::registry().with(layer(level, for_people, move || writer.clone()));
        tracing::subscriber::with_default(subscriber, work);
        String::from_utf8(page.0.lock().unwrap().clone()).unwrap()
    }

    fn event() -> Message {
        let kind = EventKind::Identified;
        Message::Event(Event { kind, time_ms: 0, frame: 0, track: 4, identity: Some(9), other: None })
    }

    #[test]
    fn machines_get_one_object_a_line() {
        let text = logged(LevelFilter::DEBUG, false, || {
            record(&event(), true);
            record(&Message::Health(Health::default()), true);
        });
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!((&lines[0]["message"], &lines[0]["identity"]), (&"identified".into(), &9.into()));
        assert_eq!((&lines[1]["message"], &lines[1]["level"]), (&"health".into(), &"DEBUG".into()));
    }

    #[test]
    fn people_read_what_happens_and_nothing_of_other_crates_below_a_warning() {
        let text = logged(LevelFilter::INFO, true, || {
            record(&event(), true);
            record(&event(), false);
            tracing::info!(target: "tract_core::plan", "noise");
            tracing::warn!(target: "tract_core::plan", "trouble");
        });
        assert_eq!(text.matches("identified").count(), 1, "{text}");
        assert!(!text.contains("noise") && text.contains("trouble") && !text.starts_with('{'), "{text}");
    }

    /// Takes so many bytes and no more, as a disk does.
    struct Disk<'a>(&'a mut Vec<u8>, usize);

    impl Write for Disk<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let room = (self.1 - self.0.len()).min(bytes.len());
            self.0.extend_from_slice(&bytes[..room]);
            if room == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(room) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_find_no_room_are_counted_and_told_when_there_is_room() {
        for for_people in [true, false] {
            let losses = Losses::new();
            let mut disk = Vec::new();
            let mut write = |room: usize, line: &str| {
                Lossy { writer: Disk(&mut disk, room), for_people, losses: &losses }.write_line(line.as_bytes());
            };
            write(20, "first line\n");
            write(20, "second line\n");
            write(20, "third line\n");
            write(2000, "fourth line\n");
            write(2000, "fifth line\n");
            let text = String::from_utf8(disk).unwrap();
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!((lines[0], lines[1]), ("first line", "second li"));
            assert!(lines[2].contains("of the log are lost") && lines[2].contains('2'), "{text}");
            assert_eq!((lines[3], lines[4], lines.len()), ("fourth line", "fifth line", 5));
            assert_eq!(losses.all.load(Ordering::Relaxed), 2);
            if !for_people {
                assert_eq!(serde_json::from_str::<serde_json::Value>(lines[2]).unwrap()["lost"], 2);
            }
        }
    }

    #[test]
    fn quiet_is_quiet() {
        let text = logged(LevelFilter::ERROR, true, || {
            record(&event(), true);
            tracing::warn!("trouble");
            tracing::warn!(target: "tract_core::plan", "trouble");
        });
        assert_eq!(text, "");
    }

    #[test]
    fn flags_move_the_level_and_stop_at_the_ends() {
        let levels = [(0, 0), (1, 0), (9, 0), (0, 1), (0, 2), (0, 3), (255, 255), (0, 255)].map(|(v, q)| level(v, q));
        assert_eq!(
            levels,
            [
                LevelFilter::INFO,
                LevelFilter::DEBUG,
                LevelFilter::TRACE,
                LevelFilter::WARN,
                LevelFilter::ERROR,
                LevelFilter::OFF,
                LevelFilter::INFO,
                LevelFilter::OFF
            ]
        );
    }
}
