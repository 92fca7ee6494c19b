//! Recorded clips as sources of frames: MJPEG in AVI, Y4M, a folder of images, raw YUYV on standard input.
//!
//! Every frame carries the time `sequence / rate`, computed exactly, so that a clip gives the same
//! result in every run, however fast it is read.

mod avi;
mod images;
mod raw;
mod standard;
mod y4m;

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::frame::{Frame, FrameSource, Idle, LONGEST_WAIT, Next, SourceHealth};

use super::settings::ClipSettings;

use standard::Standard;

pub use images::StillDecoder;

/// Time without a picture on a stream after which that is worth a word, and each time after.
const SILENCE: Duration = Duration::from_secs(5);

/// What reading on in a recording gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// A picture, to be fetched by [`Recording::picture`].
    Picture,
    /// A picture that cannot be used. It counts in the sequence.
    Corrupt,
    /// A place without a picture, left out by the recorder. It counts in the sequence.
    Left,
    /// A stream has given nothing more yet: to be asked again.
    Waiting,
    /// Nothing follows.
    End,
}

/// One kind of recording, read from front to back.
trait Recording: Send {
    /// Reads on by one picture.
    fn advance(&mut self) -> Result<Step>;
    /// The picture read last.
    fn picture(&self) -> Result<Frame<'_>>;
    /// Goes back to the first picture.
    fn rewind(&mut self) -> Result<()>;
    /// Pictures per second.
    fn rate(&self) -> Rate;
    /// Kind and size in words.
    fn describe(&self) -> String;
}

/// Frames per second as a fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rate {
    frames: u32,
    seconds: u32,
}

impl Rate {
    /// What a clip gets that says nothing usable.
    const FALLBACK: Self = Self { frames: 25, seconds: 1 };

    /// `frames / seconds`, if that is above 0 and at most 1000.
    fn new(frames: u32, seconds: u32) -> Option<Self> {
        (frames > 0 && seconds > 0 && u64::from(frames) <= 1000 * u64::from(seconds))
            .then_some(Self { frames, seconds })
    }

    /// A setting, exact to a thousandth of a frame per second.
    fn from_setting(fps: f64) -> Self {
        Self::new((fps * 1000.0).round() as u32, 1000).unwrap_or(Self::FALLBACK)
    }

    /// The time of a picture, rounded down to nanoseconds.
    fn time(self, sequence: u64) -> Duration {
        let nanoseconds = u128::from(sequence) * u128::from(self.seconds) * 1_000_000_000 / u128::from(self.frames);
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }

    fn per_second(self) -> f64 {
        f64::from(self.frames) / f64::from(self.seconds)
    }
}

/// Bytes that are read from front to back, and perhaps again.
enum Input {
    File(BufReader<File>),
    Stream(Box<dyn Read + Send>),
}

impl Input {
    /// Goes back to byte `start`; a stream cannot.
    fn rewind(&mut self, start: u64) -> io::Result<()> {
        match self {
            Self::File(file) => file.seek(io::SeekFrom::Start(start)).map(drop),
            Self::Stream(_) => Err(io::Error::from(io::ErrorKind::NotSeekable)),
        }
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(buffer),
            Self::Stream(stream) => stream.read(buffer),
        }
    }
}

/// A recorded clip.
pub struct Clip {
    recording: Box<dyn Recording>,
    place: String,
    loops_left: u32,
    /// Where real-time pacing started; `None` without pacing or before the first frame.
    started: Option<Instant>,
    realtime: bool,
    sequence: u64,
    /// Pictures delivered when the current pass began: a pass without any is not repeated.
    before_pass: u64,
    over: bool,
    /// A picture was read that is not due yet.
    early: bool,
    /// Since when a stream has given no picture.
    silent_since: Option<Instant>,
    health: SourceHealth,
}

impl Clip {
    /// Opens a file (MJPEG in AVI, or Y4M; told apart by their first bytes) or a folder of images.
    ///
    /// # Errors
    /// [`Error::Read`] if it cannot be opened, [`Error::BadClip`] if it is something else, and
    /// [`Error::BadSetting`] for settings out of range.
    pub fn open(path: &Path, settings: &ClipSettings) -> Result<Self> {
        settings.validate()?;
        let place = path.display().to_string();
        let failed = |source| Error::Read { what: "clip", path: path.into(), source };
        let kind = fs::metadata(path).map_err(failed)?;
        if kind.is_dir() {
            let images = images::Images::open(path, Rate::from_setting(settings.fps))?;
            return Ok(Self::new(Box::new(images), place, settings));
        }
        if !kind.is_file() {
            let found = "a pipe or device; pipe frames in with `--source -`";
            return Err(Error::BadClip { place, expected: "a file or a folder".into(), found: found.into() });
        }
        let mut file = BufReader::new(File::open(path).map_err(failed)?);
        let mut magic = [0; 12];
        let read = read_full(&mut file, &mut magic).map_err(failed)?;
        file.rewind().map_err(failed)?;
        let recording: Box<dyn Recording> = if magic.starts_with(b"RIFF") && &magic[8..] == b"AVI " {
            Box::new(avi::Avi::open(file, &place)?)
        } else if magic.starts_with(y4m::MAGIC) {
            Box::new(y4m::Y4m::open(Input::File(file), &place)?)
        } else {
            let found = if read == 0 { "an empty file" } else { "another kind of file" };
            let expected = "an AVI with MJPEG, a Y4M, or a folder of .jpg or .png";
            return Err(Error::BadClip { place, expected: expected.into(), found: found.into() });
        };
        Ok(Self::new(recording, place, settings))
    }

    /// Frames on standard input: a Y4M stream, or raw YUYV frames of the size and rate in `settings`. Waits for the first
    /// bytes, which tell the two apart, until `stop` is set.
    ///
    /// # Errors
    /// As [`Clip::from_reader`]; [`Error::Read`] if it was stopped.
    pub fn stdin(settings: &ClipSettings, stop: &AtomicBool) -> Result<Self> {
        let place = "standard input";
        let input = Standard::open().map_err(|source| Error::Read { what: "clip", path: place.into(), source })?;
        Self::from_waiting(input, place, settings, stop)
    }

    /// [`Clip::stdin`] from any reader; `place` names it in messages.
    ///
    /// # Errors
    /// [`Error::BadSetting`] for settings out of range, for `clip.loops` (a stream cannot start again), and for a
    /// missing size where the stream is not Y4M; [`Error::BadClip`] for a Y4M stream that cannot be read.
    pub fn from_reader(reader: impl Read + Send + 'static, place: &str, settings: &ClipSettings) -> Result<Self> {
        Self::from_waiting(reader, place, settings, &AtomicBool::new(false))
    }

    /// From a reader that may give the word back with [`io::ErrorKind::WouldBlock`] after some time.
    fn from_waiting(
        reader: impl Read + Send + 'static,
        place: &str,
        settings: &ClipSettings,
        stop: &AtomicBool,
    ) -> Result<Self> {
        settings.validate()?;
        if settings.loops > 0 {
            let expected = format!("0 with {place}, which cannot start again");
            return Err(Error::BadSetting { key: "clip.loops", expected, found: settings.loops.to_string() });
        }
        let mut reader = BufReader::new(reader);
        let head =
            read_head(&mut reader, stop).map_err(|source| Error::Read { what: "clip", path: place.into(), source })?;
        let is_y4m = head.starts_with(y4m::MAGIC);
        let input = Input::Stream(Box::new(io::Cursor::new(head).chain(reader)));
        let recording: Box<dyn Recording> = if is_y4m {
            Box::new(y4m::Y4m::open(input, place)?)
        } else {
            Box::new(raw::Raw::open(input, place, settings)?)
        };
        Ok(Self::new(recording, place.into(), settings))
    }

    fn new(recording: Box<dyn Recording>, place: String, settings: &ClipSettings) -> Self {
        Self {
            recording,
            place,
            loops_left: settings.loops,
            started: None,
            realtime: settings.realtime,
            sequence: 0,
            before_pass: 0,
            over: false,
            early: false,
            silent_since: None,
            health: SourceHealth::default(),
        }
    }

    /// The end of a pass: starts again where that is wanted and of use.
    fn finish_pass(&mut self) -> Result<()> {
        let delivered_any = self.health.delivered > self.before_pass;
        if self.loops_left == 0 || !delivered_any {
            self.over = true;
            return Ok(());
        }
        self.loops_left -= 1;
        self.before_pass = self.health.delivered;
        self.recording.rewind()
    }

    /// What a stream's silence is called: at first nothing, then a timeout, once per [`SILENCE`].
    fn silence(&mut self) -> Idle {
        let now = Instant::now();
        if now - *self.silent_since.get_or_insert(now) < SILENCE {
            return Idle::Waiting;
        }
        self.silent_since = Some(now);
        self.health.timeouts += 1;
        Idle::Timeout
    }

    /// Waits until a frame of this time is due, [`LONGEST_WAIT`] at most; whether it is.
    fn pace(&mut self, time: Duration) -> bool {
        if !self.realtime {
            return true;
        }
        let now = Instant::now();
        let started = *self.started.get_or_insert_with(|| now.checked_sub(time).unwrap_or(now));
        let Some(due) = started.checked_add(time) else { return true };
        let left = due.saturating_duration_since(now);
        thread::sleep(left.min(LONGEST_WAIT));
        left <= LONGEST_WAIT
    }
}

impl FrameSource for Clip {
    fn next_frame(&mut self) -> Result<Next<'_>> {
        loop {
            if self.over {
                return Ok(Next::End);
            }
            if self.early {
                break;
            }
            match self.recording.advance()? {
                Step::Picture => {
                    self.silent_since = None;
                    break;
                }
                Step::Waiting => return Ok(Next::Idle(self.silence())),
                Step::Left => self.sequence += 1,
                Step::Corrupt => {
                    self.sequence += 1;
                    self.health.corrupt += 1;
                    return Ok(Next::Idle(Idle::Corrupt));
                }
                Step::End => self.finish_pass()?,
            }
        }
        let sequence = self.sequence;
        let time = self.recording.rate().time(sequence);
        self.early = !self.pace(time);
        if self.early {
            return Ok(Next::Idle(Idle::Waiting));
        }
        self.sequence += 1;
        self.health.delivered += 1;
        Ok(Next::Frame(self.recording.picture()?.at(sequence, time)))
    }

    fn health(&self) -> SourceHealth {
        self.health
    }

    fn describe(&self) -> String {
        format!("clip {}: {}, {} fps", self.place, self.recording.describe(), self.recording.rate().per_second())
    }

    fn is_live(&self) -> bool {
        false
    }
}

/// The first bytes of a stream: as many as it takes to tell what it is, the whole line if it is the header of Y4M.
fn read_head(reader: &mut impl Read, stop: &AtomicBool) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while y4m::may_go_on(&head) {
        match reader.read(&mut byte) {
            Ok(0) => break,
            Ok(_) => head.push(byte[0]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if stop.load(Ordering::Relaxed) {
                    return Err(io::Error::other("told to stop before the first picture"));
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(head)
}

/// Fills `buffer` as far as there are bytes, and gives how far.
fn read_full(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// One attempt at reading on, and until when.
struct Turn(Option<Instant>);

impl Turn {
    fn begin() -> Self {
        Self(Some(Instant::now() + LONGEST_WAIT))
    }

    /// As long as it takes.
    fn endless() -> Self {
        Self(None)
    }

    /// Fills `buffer` on from `filled`; whether there are bytes for all of it.
    ///
    /// A stream that gives nothing, or little by little for longer than [`LONGEST_WAIT`], ends the turn with
    /// [`io::ErrorKind::WouldBlock`], and `filled` says how far it came.
    fn fill(&self, reader: &mut impl Read, buffer: &mut [u8], filled: &mut usize) -> io::Result<bool> {
        while *filled < buffer.len() {
            match reader.read(&mut buffer[*filled..]) {
                Ok(0) => return Ok(false),
                Ok(read) => *filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if *filled < buffer.len() {
                self.check()?;
            }
        }
        Ok(true)
    }

    /// Ends a turn that takes too long.
    fn check(&self) -> io::Result<()> {
        if self.0.is_some_and(|end| Instant::now() > end) { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_exact_and_do_not_drift() {
        let ntsc = Rate::new(30000, 1001).unwrap();
        assert_eq!(ntsc.time(0), Duration::ZERO);
        assert_eq!(ntsc.time(1), Duration::from_nanos(33_366_666));
        // Ten hours later still exact: 30000 frames are 1001 seconds.
        assert_eq!(ntsc.time(30000 * 36), Duration::from_secs(1001 * 36));
        assert_eq!(ntsc.time(u64::MAX), Duration::from_nanos(u64::MAX));
    }

    #[test]
    fn rates_that_make_no_sense_are_refused() {
        for (frames, seconds) in [(0, 1), (1, 0), (0, 0), (1001, 1), (u32::MAX, 1)] {
            assert_eq!(Rate::new(frames, seconds), None);
        }
        assert_eq!(Rate::from_setting(7.5), Rate { frames: 7500, seconds: 1000 });
        assert_eq!(Rate::from_setting(7.5).time(15), Duration::from_secs(2));
    }
}
