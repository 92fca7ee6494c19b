//! One sink: a queue, a thread, and something that takes bytes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use super::codec::{Encoder, Format};
use super::message::Message;
use super::queue::{Overflow, Queue};
use crate::error::{Error, Result};

/// Longest wait for a thread that was told to stop.
const CLEAN_UP: Duration = Duration::from_millis(200);

/// Where a sink writes to. All calls come from the sink's own thread and may wait, but must look at the
/// [`Phase`] now and then.
pub(super) trait Output: Send {
    /// Makes sure that there is someone to write to.
    fn prepare(&mut self, phase: &Phase) -> Prepared;

    /// Writes one line or frame, delimiter included.
    fn write(&mut self, frame: &[u8], phase: &Phase) -> Written;

    /// Whether readers may come at any time, so that `hello` is worth repeating.
    fn repeats_hello(&self) -> bool;
}

/// Answer of [`Output::prepare`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prepared {
    /// As before.
    Ready,
    /// Opened again: the reader may be a new one.
    Reopened,
    /// Nobody is there, and there is no time left to wait.
    Absent,
}

/// Answer of [`Output::write`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// All of it.
    Whole,
    /// Not all of it: the message is lost.
    Lost,
    /// The reader is gone and will not come back.
    Gone,
}

/// How much time a sink has left; shared with its thread.
#[derive(Default)]
pub(super) struct Phase(AtomicU8);

const DRAINING: u8 = 1;
const STOPPED: u8 = 2;

impl Phase {
    /// No new messages come: write what is queued, wait for nobody who is absent.
    pub(super) fn is_draining(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= DRAINING
    }

    /// Time is up: return at once.
    pub(super) fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= STOPPED
    }
}

/// A place to report to, with its queue and its thread.
pub(super) struct Sink {
    name: &'static str,
    queue: Arc<Queue<Message>>,
    shared: Arc<Shared>,
    hurry: Arc<AtomicBool>,
    done: Receiver<()>,
}

#[derive(Default)]
struct Shared {
    phase: Phase,
    lost: AtomicU64,
    reader_gone: AtomicBool,
}

impl Sink {
    /// Starts the thread that writes to `output`.
    ///
    /// # Errors
    /// [`Error::Report`] if there is no thread to be had.
    pub(super) fn start(
        name: &'static str,
        output: impl Output + 'static,
        format: Format,
        capacity: usize,
        overflow: Overflow,
    ) -> Result<Self> {
        let queue = Arc::new(Queue::new(capacity, overflow));
        let shared = Arc::new(Shared::default());
        let (ended, done) = channel();
        let mut writer = Writer {
            queue: Arc::clone(&queue),
            shared: Arc::clone(&shared),
            encoder: Encoder::new(format),
            output,
            seq: 0,
            hello: None,
            _ended: ended,
        };
        thread::Builder::new()
            .name(format!("report {name}"))
            .spawn(move || writer.run())
            .map_err(|source| Error::Report { sink: name, source })?;
        Ok(Self { name, queue, shared, hurry: Arc::default(), done })
    }

    /// Once `flag` is set, nobody waits for a slow reader any more.
    pub(super) fn hurry_on(&mut self, flag: &Arc<AtomicBool>) {
        self.hurry = Arc::clone(flag);
    }

    /// Queues a copy of `message`.
    pub(super) fn send(&self, message: &Message) {
        self.queue.push(message.clone(), &self.hurry);
    }

    /// Messages that will never arrive: pushed out of the queue, or not written.
    pub(super) fn dropped(&self) -> u64 {
        self.queue.dropped() + self.shared.lost.load(Ordering::Relaxed)
    }

    /// Whether the reader is gone for good.
    pub(super) fn reader_gone(&self) -> bool {
        self.shared.reader_gone.load(Ordering::Relaxed)
    }

    /// Lets nothing more in; the thread writes what is queued.
    pub(super) fn drain(&self) {
        self.shared.phase.0.store(DRAINING, Ordering::Relaxed);
        self.queue.close();
    }

    /// Waits until the thread has ended, for as long as [`Queue::outlast`] says. What is queued then is dropped.
    pub(super) fn finish(&self) {
        if !self.queue.outlast(&self.done, &self.hurry) {
            self.shared.phase.0.store(STOPPED, Ordering::Relaxed);
            // Those that do not hang in the kernel clean up behind them: a serial port would hold up the process.
            let ended = self.done.recv_timeout(CLEAN_UP) == Err(RecvTimeoutError::Disconnected);
            tracing::warn!(sink = self.name, ended, "the reader did not take everything in time; the rest is dropped");
        }
    }
}

/// The thread's half.
struct Writer<O> {
    queue: Arc<Queue<Message>>,
    shared: Arc<Shared>,
    encoder: Encoder,
    output: O,
    seq: u32,
    hello: Option<Message>,
    _ended: Sender<()>,
}

impl<O: Output> Writer<O> {
    fn run(&mut self) {
        while let Some((message, gap)) = self.queue.pop() {
            self.seq = self.seq.wrapping_add(gap as u32);
            if !self.deliver(&message) {
                self.shared.reader_gone.store(true, Ordering::Relaxed);
                self.queue.abandon();
                return;
            }
        }
    }

    /// Writes `message`, and `hello` before it where a reader may lack it. False if the reader is gone for good.
    fn deliver(&mut self, message: &Message) -> bool {
        let prepared = self.output.prepare(&self.shared.phase);
        if prepared == Prepared::Absent {
            return self.account(Written::Lost);
        }
        let due =
            prepared == Prepared::Reopened || (self.output.repeats_hello() && matches!(message, Message::Health(_)));
        if matches!(message, Message::Hello(_)) {
            self.hello = Some(message.clone());
        } else if due && let Some(hello) = self.hello.take() {
            let there = self.write(&hello);
            self.hello = Some(hello);
            if !there {
                return false;
            }
        }
        self.write(message)
    }

    fn write(&mut self, message: &Message) -> bool {
        let written = match self.encoder.encode(self.seq, message) {
            Ok(frame) => self.output.write(frame, &self.shared.phase),
            Err(error) => {
                tracing::error!(%error);
                Written::Lost
            }
        };
        self.account(written)
    }

    /// Each message takes its number whether it arrives or not: that is how the reader sees what is lost.
    fn account(&mut self, written: Written) -> bool {
        self.seq = self.seq.wrapping_add(1);
        if written != Written::Whole {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
        written != Written::Gone
    }
}

/// Standard output: a writer that waits as long as its reader likes.
pub(super) struct Plain<W> {
    writer: W,
    /// Lines lost since the last one that was written. That may be cut off: a line feed has to go first.
    lost: u64,
}

impl<W> Plain<W> {
    pub(super) fn new(writer: W) -> Self {
        Self { writer, lost: 0 }
    }
}

impl<W: io::Write + Send> Output for Plain<W> {
    fn prepare(&mut self, _: &Phase) -> Prepared {
        Prepared::Ready
    }

    fn write(&mut self, frame: &[u8], _: &Phase) -> Written {
        let break_first: &[u8] = if self.lost > 0 { b"\n" } else { b"" };
        let parts = [break_first, frame];
        match parts.iter().try_for_each(|part| self.writer.write_all(part)).and_then(|()| self.writer.flush()) {
            Ok(()) => {
                if self.lost > 0 {
                    tracing::info!(lost = self.lost, "standard output takes messages again");
                }
                self.lost = 0;
                Written::Whole
            }
            // The reader of a pipe went away, and there is no other to come.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                tracing::info!("nobody reads standard output any more");
                Written::Gone
            }
            // A full disk may have space again later. Said once, counted each time.
            Err(error) => {
                if self.lost == 0 {
                    tracing::warn!(%error, "standard output does not take what is written; messages are dropped");
                }
                self.lost += 1;
                Written::Lost
            }
        }
    }

    fn repeats_hello(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;
