//! The streaming loop of a camera, apart from the device: newest frame wins, damaged ones are dropped,
//! a lost device is opened again with back-off.
//!
//! [`CaptureDevice`] is what the loop asks of the system; the tests drive it with a scripted one.

mod clock;
mod faults;

use std::io;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::frame::{Frame, FrameSource, Idle, LONGEST_WAIT, Next, PixelFormat, SourceHealth};

use super::jpeg::JpegDecoder;
use super::mode::{Encoding, Mode};
use super::throttle::Throttle;
use clock::StreamClock;
use faults::{BackOff, Fault, STEADY, classify};

/// Timeouts without a whole picture after which the stream is set up anew: some cameras fall silent, or send nothing but
/// damage, and need it.
const SPOILT_LIMIT: u32 = 10;

/// Most buffers taken in one call, so that a camera faster than us cannot hold us in the loop.
const DRAIN_LIMIT: u32 = 64;

/// A buffer that the device has filled and handed over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filled {
    pub(super) index: u32,
    pub(super) bytes_used: usize,
    /// The driver's counter; starts anew with the stream and wraps around.
    pub(super) sequence: u32,
    /// When it was taken from the driver, on the clock of [`CaptureDevice::now`].
    pub(super) taken: Duration,
    /// Time of capture on the same clock, as the driver says; none where it names another clock or no time.
    pub(super) stamp: Option<Duration>,
    /// The driver flags the contents as damaged.
    pub(super) damaged: bool,
}

/// What the loop asks of a device. Every call but [`CaptureDevice::wait`] and
/// [`CaptureDevice::sleep`] returns at once.
pub(super) trait CaptureDevice {
    /// Opens the device, agrees on a mode, hands over the buffers and starts the stream.
    fn start(&mut self) -> Result<Mode>;
    /// Gives up every buffer and descriptor; does nothing where there are none.
    fn stop(&mut self);
    /// Waits until a buffer is filled; `false` if none was within `timeout`.
    fn wait(&mut self, timeout: Duration) -> io::Result<bool>;
    /// Takes the oldest filled buffer, if there is one.
    fn dequeue(&mut self) -> io::Result<Option<Filled>>;
    /// Gives a buffer back to be filled.
    fn requeue(&mut self, index: u32) -> io::Result<()>;
    /// The bytes of a buffer that is taken.
    fn buffer(&self, index: u32) -> &[u8];
    /// Monotonic time.
    fn now(&self) -> Duration;
    /// Lets time pass.
    fn sleep(&mut self, time: Duration);
    /// Name for the log and for errors.
    fn path(&self) -> &std::path::Path;
}

/// A camera that streams, or tries to again.
pub(super) struct Stream<D: CaptureDevice> {
    device: D,
    mode: Mode,
    timeout: Duration,
    state: State,
    /// The buffer lent to the caller.
    held: Option<u32>,
    clock: StreamClock,
    decoder: JpegDecoder,
    health: SourceHealth,
    /// Since when there was no whole picture, though one was waited for.
    spoilt_since: Option<Duration>,
    /// When the wait that is going on will have lasted one timeout.
    deadline: Option<Duration>,
    back_off: BackOff,
    /// The first picture since the device was opened.
    flowing_since: Option<Duration>,
    /// How often the log is told that the camera is lost.
    losses: Throttle,
    /// How often it is told that the camera is back.
    returns: Throttle,
}

enum State {
    Streaming,
    /// The device is closed; it is opened again at this time.
    Lost {
        retry_at: Duration,
    },
}

/// What a look into the queue gave.
enum Taken {
    Picture(Filled),
    OnlyDamaged,
    /// Nothing within the timeout.
    Nothing,
    /// Nothing yet.
    Waiting,
}

impl<D: CaptureDevice> Stream<D> {
    /// Starts the device; what fails now is the caller's to know.
    pub(super) fn start(mut device: D, timeout: Duration) -> Result<Self> {
        let clock = StreamClock::new(device.now());
        let mode = device.start().inspect_err(|_| device.stop())?;
        Ok(Self {
            device,
            mode,
            timeout,
            state: State::Streaming,
            held: None,
            clock,
            decoder: JpegDecoder::new(),
            health: SourceHealth::default(),
            spoilt_since: None,
            deadline: None,
            back_off: BackOff::default(),
            flowing_since: None,
            losses: Throttle::default(),
            returns: Throttle::default(),
        })
    }

    /// The mode that the device runs in.
    pub(super) fn mode(&self) -> &Mode {
        &self.mode
    }

    pub(super) fn device(&self) -> &D {
        &self.device
    }

    /// The newest picture, taken out of the queue; older ones go back and are counted.
    ///
    /// A wait for longer than [`LONGEST_WAIT`] is cut into several calls, and a signal ends the call at once.
    fn newest(&mut self) -> io::Result<Taken> {
        if let Some(index) = self.held.take() {
            retry(|| self.device.requeue(index))?;
        }
        let now = self.device.now();
        let deadline = self.deadline.unwrap_or(now + self.timeout);
        self.deadline = Some(deadline);
        let pause = deadline.min(now + LONGEST_WAIT);
        loop {
            let left = pause.saturating_sub(self.device.now());
            match self.device.wait(left) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) if classify(&error) == Fault::Again => break,
                Err(error) => return Err(error),
            }
            match self.drain()? {
                // Woken for nothing: wait out the rest.
                Taken::Nothing if !left.is_zero() => {}
                Taken::Nothing => break,
                taken => return Ok(taken),
            }
        }
        Ok(if self.device.now() < deadline { Taken::Waiting } else { Taken::Nothing })
    }

    /// Empties the queue of filled buffers and keeps the newest undamaged one.
    fn drain(&mut self) -> io::Result<Taken> {
        let mut newest: Option<Filled> = None;
        let mut damaged = false;
        for _ in 0..DRAIN_LIMIT {
            let Some(mut filled) = retry(|| self.device.dequeue())? else { break };
            self.clock.observe(filled.sequence);
            filled.damaged |= filled.bytes_used == 0 || filled.bytes_used > self.device.buffer(filled.index).len();
            let back = if filled.damaged {
                self.health.corrupt += 1;
                damaged = true;
                Some(filled.index)
            } else {
                self.clock.choose();
                newest.replace(filled).map(|older| {
                    self.health.stale += 1;
                    older.index
                })
            };
            if let Some(index) = back {
                retry(|| self.device.requeue(index))?;
            }
        }
        Ok(match newest {
            Some(filled) => Taken::Picture(filled),
            None if damaged => Taken::OnlyDamaged,
            None => Taken::Nothing,
        })
    }

    /// Whether the picture in a buffer is whole. A JPEG is decoded on the way.
    fn check(&mut self, filled: &Filled) -> Result<()> {
        let bytes = &self.device.buffer(filled.index)[..filled.bytes_used];
        match self.mode.encoding {
            Encoding::Jpeg => {
                let (width, height) = self.decoder.decode(bytes)?;
                (self.mode.width, self.mode.height) = (width, height);
                Ok(())
            }
            Encoding::Raw(format) => {
                Frame::new(bytes, format, (self.mode.width, self.mode.height), self.mode.stride).map(drop)
            }
        }
    }

    /// Drops a damaged picture.
    fn drop_damaged(&mut self, filled: &Filled, reason: &Error) -> Result<Idle> {
        tracing::debug!(path = %self.device.path().display(), %reason, "damaged picture dropped");
        self.health.corrupt += 1;
        match retry(|| self.device.requeue(filled.index)) {
            Ok(()) => self.only_damaged(),
            Err(error) => self.lose(error),
        }
    }

    /// A look that gave nothing but damage; after too long a time of it the stream is set up anew.
    fn only_damaged(&mut self) -> Result<Idle> {
        let now = self.device.now();
        if self.is_spoilt(now, now) {
            return self.lose(io::Error::new(io::ErrorKind::InvalidData, "nothing but damaged frames for a long time"));
        }
        Ok(Idle::Corrupt)
    }

    /// Whether there was no whole picture for too long; `since` is when that began, if it was not noted before.
    fn is_spoilt(&mut self, since: Duration, now: Duration) -> bool {
        now.saturating_sub(*self.spoilt_since.get_or_insert(since)) >= self.timeout * SPOILT_LIMIT
    }

    /// Lends the picture that [`Stream::check`] found whole.
    fn lend(&mut self, filled: Filled) -> Result<Next<'_>> {
        if self.mode.encoding == Encoding::Jpeg {
            // It is decoded: the camera may have its buffer back at once.
            if let Err(error) = retry(|| self.device.requeue(filled.index)) {
                return self.lose(error).map(Next::Idle);
            }
        } else {
            self.held = Some(filled.index);
        }
        self.spoilt_since = None;
        if filled.taken.saturating_sub(*self.flowing_since.get_or_insert(filled.taken)) >= STEADY {
            self.back_off = BackOff::default();
        }
        self.health.delivered += 1;
        let (sequence, time) = self.clock.stamp(filled.stamp, filled.taken);
        let size = (self.mode.width, self.mode.height);
        let frame = match self.mode.encoding {
            Encoding::Jpeg => {
                Frame::new(self.decoder.pixels(), PixelFormat::Rgb, size, PixelFormat::Rgb.row_bytes(size.0))?
            }
            Encoding::Raw(format) => {
                let bytes = &self.device.buffer(filled.index)[..filled.bytes_used];
                Frame::new(bytes, format, size, self.mode.stride)?
            }
        };
        Ok(Next::Frame(frame.at(sequence, time)))
    }

    /// Closes the device after a failure and plans the next attempt.
    fn lose(&mut self, error: io::Error) -> Result<Idle> {
        self.held = None;
        (self.spoilt_since, self.flowing_since) = (None, None);
        self.device.stop();
        if classify(&error) == Fault::Hopeless {
            return Err(Error::Device {
                path: self.device.path().into(),
                operation: "streaming",
                source: error,
                remedy: "opening it again cannot mend this; name another camera with --source",
            });
        }
        let delay = self.back_off.next_delay();
        let now = self.device.now();
        if let Some(before) = self.losses.tell(now) {
            let path = self.device.path().display();
            tracing::warn!(%path, %error, ?delay, "camera lost, opening it again{before}");
        }
        self.state = State::Lost { retry_at: now + delay };
        Ok(Idle::Reconnecting)
    }

    /// Opens a lost device again when it is time.
    fn reconnect(&mut self, retry_at: Duration) -> Idle {
        let left = retry_at.saturating_sub(self.device.now());
        self.device.sleep(left.min(LONGEST_WAIT));
        if left > LONGEST_WAIT {
            return Idle::Waiting;
        }
        let begun = self.device.now();
        match self.device.start() {
            Ok(mode) => {
                if let Some(before) = self.returns.tell(begun) {
                    tracing::info!(path = %self.device.path().display(), "camera is back{before}");
                }
                self.mode = mode;
                self.clock.restart(begun);
                self.health.reconnects += 1;
                self.state = State::Streaming;
            }
            Err(error) => {
                self.device.stop();
                let delay = self.back_off.next_delay();
                tracing::debug!(path = %self.device.path().display(), %error, ?delay, "camera still away");
                self.state = State::Lost { retry_at: self.device.now() + delay };
            }
        }
        Idle::Reconnecting
    }

    /// Counts a wait without a picture; after too many the stream is set up anew.
    fn timed_out(&mut self) -> Result<Idle> {
        self.health.timeouts += 1;
        let now = self.device.now();
        if self.is_spoilt(now.saturating_sub(self.timeout), now) {
            return self.lose(io::Error::new(io::ErrorKind::TimedOut, "no frame for a long time"));
        }
        Ok(Idle::Timeout)
    }
}

/// Repeats a call that a signal interrupted.
fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

impl<D: CaptureDevice> FrameSource for Stream<D> {
    fn next_frame(&mut self) -> Result<Next<'_>> {
        if let State::Lost { retry_at } = self.state {
            return Ok(Next::Idle(self.reconnect(retry_at)));
        }
        let taken = self.newest();
        if !matches!(taken, Ok(Taken::Waiting)) {
            self.deadline = None;
        }
        match taken {
            Ok(Taken::Waiting) => Ok(Next::Idle(Idle::Waiting)),
            Ok(Taken::Picture(filled)) => match self.check(&filled) {
                Ok(()) => self.lend(filled),
                Err(reason) => self.drop_damaged(&filled, &reason).map(Next::Idle),
            },
            Ok(Taken::OnlyDamaged) => self.only_damaged().map(Next::Idle),
            Ok(Taken::Nothing) => self.timed_out().map(Next::Idle),
            Err(error) => self.lose(error).map(Next::Idle),
        }
    }

    fn health(&self) -> SourceHealth {
        self.health
    }

    fn describe(&self) -> String {
        let Mode { fourcc, width, height, .. } = self.mode;
        format!("camera {}: {width}x{height} {fourcc}", self.device.path().display())
    }

    fn is_live(&self) -> bool {
        true
    }

    fn renew(&mut self) {
        if matches!(self.state, State::Streaming) {
            // Cannot be an error: this is no fault that opening again cannot mend.
            let _ = self.lose(io::Error::other("the picture stands still"));
        }
    }
}

impl<D: CaptureDevice> Drop for Stream<D> {
    fn drop(&mut self) {
        self.device.stop();
    }
}

#[cfg(test)]
mod tests;
