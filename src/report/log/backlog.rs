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

/// What a line ends with that was cut.
const CUT: &[u8] = b" [cut]\n";

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
    pub(super) fn write_to<W: io::Write + Send + 'static>(&self, mut log: Lossy<'static, W>) -> Result<()> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if writer.is_some() {
            return Ok(());
        }
        let (ended, done) = channel::<()>();
        let queue = Arc::clone(&self.queue);
        let write = move || {
            let _ended = ended;
            while let Some((line, gap)) = queue.pop() {
                log.missed(gap);
                log.write_line(&line);
            }
        };
        thread::Builder::new()
            .name("report log".into())
            .spawn(write)
            .map_err(|source| Error::Report { sink: "log", source })?;
        *writer = Some(done);
        Ok(())
    }

    /// Lets nothing more in and waits for the lines inside, not for ever ([`Queue::outlast`]); whether all were written.
    pub(super) fn close(&self) -> bool {
        self.queue.close();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.as_ref().is_some_and(|done| self.queue.outlast(done, &NO_HURRY))
    }

    /// Lines that found no room.
    pub(super) fn dropped(&self) -> u64 {
        self.queue.dropped()
    }
}

fn whole_or_cut(line: &[u8]) -> Line {
    Line::from_slice(line).unwrap_or_else(|_| {
        let mut cut = Line::new();
        // Cannot fail: together they are as long as a line may be.
        let _ = cut.extend_from_slice(&line[..LONGEST - CUT.len()]);
        let _ = cut.extend_from_slice(CUT);
        cut
    })
}
