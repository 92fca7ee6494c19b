//! Lines of the log on their way to a reader that may stall: a queue of fixed size, and a thread that writes.

use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::Lossy;
use crate::error::{Error, Result};
use crate::report::queue::{Overflow, Queue};

/// Lines that wait for their reader. At the usual level a run without faults has a line a minute.
const LINES: usize = 128;

/// Longest line, in bytes. What is longer is cut: a message that names every mode of a camera has half of it.
const LONGEST: usize = 2048;

/// What a line for people ends with that was cut.
const CUT: &[u8] = b" [cut]\n";

/// What stands around the beginning of a JSON object that was cut: it is text in another one, so that each line can be read.
const CUT_JSON: (&str, &str) =
    ("{\"level\":\"WARN\",\"message\":\"a line of the log was too long\",\"beginning\":\"", "\"}\n");

/// Nobody waits for the log, so nobody has to be told to hurry.
static NO_HURRY: AtomicBool = AtomicBool::new(false);

type Line = heapless::Vec<u8, LONGEST>;

/// Lines that wait, and who writes them.
pub(super) struct Backlog {
    queue: Arc<Queue<Line>>,
    writer: Mutex<Option<Receiver<()>>>,
}

impl Backlog {
    /// Bytes that it takes, allocated once.
    pub(super) const BYTES: usize = LINES * size_of::<Line>();

    pub(super) fn new() -> Self {
        Self { queue: Arc::new(Queue::new(LINES, Overflow::DropOldest)), writer: Mutex::new(None) }
    }

    /// Queues one line. The oldest has to go where there is no room.
    pub(super) fn push(&self, line: &[u8]) {
        self.queue.push(whole_or_cut(line), &NO_HURRY);
    }

    /// Queues what is of no use later on: only where nothing waits.
    pub(super) fn push_if_idle(&self, text: &[u8]) {
        if self.queue.is_empty() {
            self.push(text);
        }
    }

    /// Starts the thread that writes the lines to `log`. A second call does nothing.
    ///
    /// # Errors
    /// [`Error::Report`] if there is no thread to be had.
    pub(super) fn write_to<W: io::Write + Send + 'static>(&self, log: Lossy<'static, W>) -> Result<()> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if writer.is_some() {
            return Ok(());
        }
        let (ended, done) = channel::<()>();
        let queue = Arc::clone(&self.queue);
        let write = move || {
            let _ended = ended;
            write_all(&queue, log);
        };
        thread::Builder::new()
            .name("report log".into())
            .spawn(write)
            .map_err(|source| Error::Report { sink: "log", source })?;
        *writer = Some(done);
        Ok(())
    }

    /// Lets nothing more in and waits for the lines inside, not for ever ([`Queue::outlast`]).
    pub(super) fn close(&self) {
        self.queue.close();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(done) = &*writer {
            self.queue.outlast(done, &NO_HURRY);
        }
    }

    /// Lets nothing more in and writes the lines inside, for as long as that takes: where there is no thread to be had.
    pub(super) fn write_here(&self, log: Lossy<'_, impl io::Write>) {
        self.queue.close();
        write_all(&self.queue, log);
    }

    /// Lines that found no room.
    pub(super) fn dropped(&self) -> u64 {
        self.queue.dropped()
    }
}

/// Writes lines until the queue is closed and empty.
fn write_all(queue: &Queue<Line>, mut log: Lossy<'_, impl io::Write>) {
    while let Some((line, gap)) = queue.pop() {
        log.missed(gap);
        log.write_line(&line);
    }
}

fn whole_or_cut(line: &[u8]) -> Line {
    Line::from_slice(line).unwrap_or_else(|_| if line.starts_with(b"{") { cut_json(line) } else { cut(line) })
}

fn cut(line: &[u8]) -> Line {
    let mut cut = Line::new();
    // Cannot fail: together they are as long as a line may be.
    let _ = cut.extend_from_slice(&line[..LONGEST - CUT.len()]);
    let _ = cut.extend_from_slice(CUT);
    cut
}

fn cut_json(line: &[u8]) -> Line {
    let (before, after) = CUT_JSON;
    let mut cut = Line::new();
    // Cannot fail, both: the beginning takes what they leave.
    let _ = cut.extend_from_slice(before.as_bytes());
    for letter in String::from_utf8_lossy(line).trim_end().chars() {
        let escaped = matches!(letter, '"' | '\\');
        if cut.len() + usize::from(escaped) + letter.len_utf8() + after.len() > LONGEST {
            break;
        }
        if escaped {
            let _ = cut.push(b'\\');
        }
        let _ = cut.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
    }
    let _ = cut.extend_from_slice(after.as_bytes());
    cut
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Mutex;
    use std::sync::mpsc::SyncSender;

    use super::*;
    use crate::report::log::Losses;

    /// Writes wait for a permit each, as for a reader that stalled.
    struct Gate(Receiver<()>, Arc<Mutex<Vec<u8>>>);

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            self.1.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gated(backlog: &Backlog, losses: &'static Losses) -> (SyncSender<()>, Arc<Mutex<Vec<u8>>>) {
        let (permit, permits) = std::sync::mpsc::sync_channel(10_000);
        let page = Arc::default();
        let writer = Gate(permits, Arc::clone(&page));
        backlog.write_to(Lossy { writer, for_people: true, losses }).unwrap();
        (permit, page)
    }

    #[test]
    fn lines_that_found_no_room_are_counted_and_told_once_the_reader_is_back() {
        static LOSSES: Losses = Losses::new();
        let backlog = Backlog::new();
        (0..LINES + 30).for_each(|n| backlog.push(format!("line {n}\n").as_bytes()));
        backlog.push_if_idle(b"drawn");
        assert_eq!(backlog.dropped(), 30);
        let (permit, page) = gated(&backlog, &LOSSES);
        (0..LINES + 30).for_each(|_| permit.send(()).unwrap());
        backlog.close();
        let text = String::from_utf8(page.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "30 lines of the log are lost: they could not be written");
        let kept: Vec<String> = (30..LINES + 30).map(|n| format!("line {n}")).collect();
        assert_eq!(lines[1..], kept);
    }

    #[test]
    fn a_reader_that_never_comes_back_is_given_up_with_all_lines_counted() {
        static LOSSES: Losses = Losses::new();
        let backlog = Backlog::new();
        let (permit, page) = gated(&backlog, &LOSSES);
        (0..10).for_each(|_| backlog.push(b"line\n"));
        backlog.close();
        backlog.push(b"too late\n");
        // One of them may hang in the middle.
        assert!(backlog.dropped() >= 10, "{}", backlog.dropped());
        assert!(page.lock().unwrap().is_empty());
        drop(permit);
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_says_so() {
        assert_eq!(whole_or_cut(&[b'x'; LONGEST]), [b'x'; LONGEST]);
        let cut = whole_or_cut(&[b'x'; LONGEST + 1]);
        assert_eq!(cut.len(), LONGEST);
        assert!(cut.ends_with(b"x [cut]\n"));
    }

    #[test]
    fn a_json_line_that_is_too_long_stays_json() {
        for filling in ["x", "\"", "\\", "ä", "語", "\n", "🚶"] {
            for shift in 0..4 {
                let text = format!("{}{}", "y".repeat(shift), filling.repeat(LONGEST));
                let line = format!("{}\n", serde_json::json!({ "message": text }));
                let cut = whole_or_cut(line.as_bytes());
                let read: serde_json::Value = serde_json::from_slice(&cut).unwrap();
                let beginning = read["beginning"].as_str().unwrap();
                assert!(line.starts_with(beginning) && beginning.len() > LONGEST / 3, "{beginning}");
                assert_eq!(cut.split(|byte| *byte == b'\n').count(), 2);
            }
        }
    }
}
