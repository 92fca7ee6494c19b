//! The loop against a scripted device that also checks how it is treated: no buffer lost or given back
//! twice, none read while it is queued, everything closed before it is opened again.

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::camera::mode::FourCc;

mod patience;

const TIMEOUT: Duration = Duration::from_secs(1);
const SIZE: (u32, u32) = (4, 2);
const BYTES: usize = 16;

/// A buffer that the scripted driver fills.
#[derive(Clone, Debug)]
struct Shot {
    sequence: u32,
    bytes_used: usize,
    damaged: bool,
    contents: Vec<u8>,
}

/// What one call of `dequeue` gives.
#[derive(Clone, Debug)]
enum Taking {
    Filled(Shot),
    Fails(i32),
}

fn plain(sequence: u32) -> Shot {
    Shot { sequence, bytes_used: BYTES, damaged: false, contents: vec![sequence as u8; BYTES] }
}

fn shot(sequence: u32) -> Taking {
    Taking::Filled(plain(sequence))
}

fn damaged(sequence: u32) -> Taking {
    Taking::Filled(Shot { damaged: true, ..plain(sequence) })
}

fn used(sequence: u32, bytes_used: usize) -> Taking {
    Taking::Filled(Shot { bytes_used, ..plain(sequence) })
}

/// What one call of `wait` gives; the queue is served by the calls of `dequeue` after it.
#[derive(Clone, Debug)]
enum Event {
    Ready(Vec<Taking>),
    Timeout,
    Fails(i32),
}

#[derive(Default)]
struct Script {
    /// Outcomes of `start`; where there are no more, it succeeds.
    starts: VecDeque<Result<(), i32>>,
    events: VecDeque<Event>,
    /// Outcomes of `requeue`; where there are no more, it succeeds.
    requeues: VecDeque<i32>,
    open: bool,
    ready: VecDeque<Taking>,
    queued: BTreeSet<u32>,
    contents: Vec<Vec<u8>>,
    now: Duration,
    silence: Duration,
    mode: Option<Mode>,
    /// How far the driver's stamps are off.
    stamped_ahead: Duration,
    opened: Vec<Duration>,
}

impl Script {
    fn new(events: impl IntoIterator<Item = Event>) -> Self {
        Self { events: events.into_iter().collect(), ..Self::default() }
    }

    fn jpeg(mut self) -> Self {
        self.mode = Some(Mode { fourcc: FourCc(*b"MJPG"), encoding: Encoding::Jpeg, ..yuyv() });
        self
    }
}

fn yuyv() -> Mode {
    let encoding = Encoding::Raw(PixelFormat::Yuyv);
    Mode { fourcc: FourCc(*b"YUYV"), encoding, width: SIZE.0, height: SIZE.1, stride: 8 }
}

impl CaptureDevice for Script {
    fn start(&mut self) -> Result<Mode> {
        assert!(!self.open, "opened again without being closed");
        self.opened.push(self.now);
        if let Some(Err(errno)) = self.starts.pop_front() {
            let source = io::Error::from_raw_os_error(errno);
            return Err(Error::Device { path: self.path().into(), operation: "starting", source, remedy: "wait" });
        }
        self.open = true;
        self.ready.clear();
        self.queued = (0..4).collect();
        self.contents = vec![Vec::new(); 4];
        Ok(self.mode.unwrap_or_else(yuyv))
    }

    fn stop(&mut self) {
        self.open = false;
    }

    fn wait(&mut self, timeout: Duration) -> io::Result<bool> {
        assert!(self.open && timeout <= LONGEST_WAIT, "waits longer than a stop should");
        if !self.ready.is_empty() {
            return Ok(true);
        }
        match self.events.pop_front() {
            Some(Event::Ready(shots)) => {
                self.now += Duration::from_millis(33).min(timeout);
                self.ready.extend(shots);
                Ok(true)
            }
            Some(Event::Fails(errno)) => {
                self.now += Duration::from_millis(1).min(timeout);
                Err(io::Error::from_raw_os_error(errno))
            }
            event @ (Some(Event::Timeout) | None) => {
                self.now += timeout;
                self.silence += timeout;
                // One event is one timeout, however many waits it is cut into.
                if event.is_some() && self.silence < TIMEOUT {
                    self.events.push_front(Event::Timeout);
                } else {
                    self.silence = Duration::ZERO;
                }
                Ok(false)
            }
        }
    }

    fn dequeue(&mut self) -> io::Result<Option<Filled>> {
        assert!(self.open);
        let Some(next) = self.ready.pop_front() else { return Ok(None) };
        let shot = match next {
            Taking::Filled(shot) => shot,
            Taking::Fails(errno) => return Err(io::Error::from_raw_os_error(errno)),
        };
        let index = self.queued.pop_first().expect("every buffer was taken and none given back");
        self.contents[index as usize] = shot.contents;
        let Shot { sequence, bytes_used, damaged, .. } = shot;
        let stamp = Some(self.now + self.stamped_ahead);
        Ok(Some(Filled { index, bytes_used, sequence, taken: self.now, stamp, damaged }))
    }

    fn requeue(&mut self, index: u32) -> io::Result<()> {
        assert!(self.open);
        match self.requeues.pop_front() {
            Some(errno) if errno != 0 => return Err(io::Error::from_raw_os_error(errno)),
            _ => {}
        }
        assert!(self.queued.insert(index), "buffer {index} given back twice");
        Ok(())
    }

    fn buffer(&self, index: u32) -> &[u8] {
        assert!(self.open && !self.queued.contains(&index), "buffer {index} read while it is the driver's");
        &self.contents[index as usize]
    }

    fn now(&self) -> Duration {
        self.now
    }

    fn sleep(&mut self, time: Duration) {
        assert!(time <= LONGEST_WAIT, "slept longer than a stop should wait");
        self.now += time;
    }

    fn path(&self) -> &Path {
        Path::new("/dev/video0")
    }
}

fn stream(script: Script) -> Stream<Script> {
    Stream::start(script, TIMEOUT).unwrap()
}

/// What a call gave (or the next one that did not just wait), in short: a frame's sequence and first byte, or why not.
#[derive(Debug, PartialEq)]
enum Got {
    Frame(u64, u8),
    Idle(Idle),
    Error,
}

fn next(stream: &mut Stream<Script>) -> Got {
    loop {
        let got = once(stream);
        if got != Got::Idle(Idle::Waiting) {
            return got;
        }
    }
}

fn once(stream: &mut Stream<Script>) -> Got {
    match stream.next_frame() {
        Ok(Next::Frame(frame)) => Got::Frame(frame.sequence(), frame.pixels()[0]),
        Ok(Next::Idle(idle)) => Got::Idle(idle),
        Ok(Next::End) => panic!("a camera has no end"),
        Err(_) => Got::Error,
    }
}

#[test]
fn frames_come_with_sequence_and_time_from_zero() {
    let events = [3, 4, 6].map(|sequence| Event::Ready(vec![shot(sequence)]));
    let mut stream = stream(Script::new(events));
    let mut times = Vec::new();
    for expected in [(0, 3), (1, 4), (3, 6)] {
        match stream.next_frame().unwrap() {
            Next::Frame(frame) => {
                assert_eq!((frame.sequence(), frame.pixels()[0]), expected);
                assert_eq!((frame.width(), frame.height(), frame.format()), (4, 2, PixelFormat::Yuyv));
                times.push(frame.time().as_millis());
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(times, [0, 33, 66]);
    assert_eq!(stream.health(), SourceHealth { delivered: 3, ..SourceHealth::default() });
}

#[test]
fn the_newest_frame_wins_and_stale_ones_are_counted() {
    let mut stream = stream(Script::new([
        Event::Ready(vec![shot(0), shot(1), shot(2)]),
        Event::Ready(vec![shot(3)]),
        Event::Ready(vec![shot(4), shot(5)]),
    ]));
    assert_eq!(next(&mut stream), Got::Frame(2, 2));
    assert_eq!(next(&mut stream), Got::Frame(3, 3));
    assert_eq!(next(&mut stream), Got::Frame(5, 5));
    assert_eq!(stream.health(), SourceHealth { delivered: 3, stale: 3, ..SourceHealth::default() });
}

#[test]
fn a_timeout_does_not_wedge_the_stream() {
    let mut stream = stream(Script::new([Event::Timeout, Event::Timeout, Event::Ready(vec![shot(0)])]));
    assert_eq!(next(&mut stream), Got::Idle(Idle::Timeout));
    assert_eq!(next(&mut stream), Got::Idle(Idle::Timeout));
    assert_eq!(next(&mut stream), Got::Frame(0, 0));
    assert_eq!((stream.health().timeouts, stream.health().reconnects), (2, 0));
}

#[test]
fn a_camera_that_stays_silent_is_set_up_anew() {
    let mut stream = stream(Script::new(vec![Event::Timeout; SPOILT_LIMIT as usize]));
    for _ in 1..SPOILT_LIMIT {
        assert_eq!(next(&mut stream), Got::Idle(Idle::Timeout));
    }
    assert_eq!(next(&mut stream), Got::Idle(Idle::Reconnecting));
    assert_eq!(next(&mut stream), Got::Idle(Idle::Reconnecting));
    stream.device.events.push_back(Event::Ready(vec![shot(9)]));
    assert_eq!(next(&mut stream), Got::Frame(0, 9));
    assert_eq!((stream.health().timeouts, stream.health().reconnects), (u64::from(SPOILT_LIMIT), 1));
}

#[test]
fn flagged_empty_and_short_buffers_are_dropped_and_counted() {
    let mut stream = stream(Script::new([
        Event::Ready(vec![damaged(0)]),
        Event::Ready(vec![used(1, 0)]),
        Event::Ready(vec![used(2, BYTES - 1)]),
        Event::Ready(vec![used(3, BYTES + 1)]),
        Event::Ready(vec![shot(4), damaged(5)]),
        Event::Ready(vec![damaged(6), shot(7)]),
    ]));
    for _ in 0..4 {
        assert_eq!(next(&mut stream), Got::Idle(Idle::Corrupt));
    }
    assert_eq!(next(&mut stream), Got::Frame(4, 4));
    assert_eq!(next(&mut stream), Got::Frame(7, 7));
    assert_eq!(stream.health(), SourceHealth { delivered: 2, corrupt: 6, ..SourceHealth::default() });
    assert_eq!(stream.device.queued.len(), 3, "all but the lent buffer are the driver's");
}

#[test]
fn rows_are_as_far_apart_as_the_driver_says() {
    let mut script = Script::new([Event::Ready(vec![used(0, 20)]), Event::Ready(vec![used(1, 19)])]);
    for event in &mut script.events {
        if let Event::Ready(shots) = event {
            let Taking::Filled(shot) = &mut shots[0] else { unreachable!() };
            shot.contents = (0..24).collect();
        }
    }
    // Rows of 8 bytes, 12 apart: the last one ends at byte 20.
    script.mode = Some(Mode { stride: 12, ..yuyv() });
    let mut stream = stream(script);
    match stream.next_frame().unwrap() {
        Next::Frame(frame) => assert_eq!((frame.stride(), frame.pixels()[12], frame.pixels().len()), (12, 12, 20)),
        other => panic!("{other:?}"),
    }
    assert_eq!(next(&mut stream), Got::Idle(Idle::Corrupt));
}

#[test]
fn interrupted_calls_are_made_again() {
    let mut script = Script::new([
        Event::Fails(libc::EINTR),
        Event::Fails(libc::EINTR),
        Event::Ready(vec![Taking::Fails(libc::EINTR), shot(0), Taking::Fails(libc::EINTR), shot(1)]),
        Event::Ready(vec![shot(2)]),
    ]);
    script.requeues.extend([libc::EINTR, 0, libc::EINTR, libc::EINTR]);
    let mut stream = stream(script);
    assert_eq!(next(&mut stream), Got::Frame(1, 1));
    assert_eq!(next(&mut stream), Got::Frame(2, 2));
    assert_eq!(stream.health(), SourceHealth { delivered: 2, stale: 1, ..SourceHealth::default() });
}

#[test]
fn endless_interruptions_end_with_the_timeout() {
    let mut stream = stream(Script::new(vec![Event::Fails(libc::EINTR); 5000]));
    assert_eq!(next(&mut stream), Got::Idle(Idle::Timeout));
    assert!(stream.device.now <= TIMEOUT + Duration::from_millis(1));
}

#[test]
fn being_woken_for_nothing_is_waited_out() {
    let mut woken_once = stream(Script::new([Event::Ready(vec![]), Event::Ready(vec![shot(0)])]));
    assert_eq!(next(&mut woken_once), Got::Frame(0, 0));
    let mut woken_always = stream(Script::new(vec![Event::Ready(vec![]); 1000]));
    assert_eq!(next(&mut woken_always), Got::Idle(Idle::Timeout));
    assert!(woken_always.device.now <= TIMEOUT);
}

#[test]
fn an_unplugged_camera_comes_back_after_back_off() {
    let mut script = Script::new([
        Event::Ready(vec![shot(0)]),
        Event::Ready(vec![Taking::Fails(libc::ENODEV)]),
        Event::Ready(vec![shot(0)]),
        Event::Ready(vec![shot(2)]),
    ]);
    script.starts = [Ok(()), Err(libc::ENOENT), Err(libc::EACCES), Err(libc::ENOENT), Ok(())].into();
    let mut stream = stream(script);
    assert_eq!(next(&mut stream), Got::Frame(0, 0));
    assert_eq!(next(&mut stream), Got::Idle(Idle::Reconnecting));
    assert!(!stream.device.open, "everything is closed before the next attempt");
    let lost = stream.device.now.as_millis();
    for _ in 0..4 {
        assert_eq!(next(&mut stream), Got::Idle(Idle::Reconnecting));
    }
    // Sequence and time go on, though the driver counts from 0 again.
    assert_eq!(next(&mut stream), Got::Frame(1, 0));
    assert_eq!(next(&mut stream), Got::Frame(3, 2));
    assert_eq!(stream.health().reconnects, 1);
    let attempts: Vec<u128> = stream.device.opened[1..].iter().map(|at| at.as_millis() - lost).collect();
    assert_eq!(attempts, [100, 300, 700, 1500]);
}

#[test]
fn waiting_for_a_lost_camera_never_keeps_a_stop_waiting() {
    let mut script = Script::new([Event::Fails(libc::EIO)]);
    script.starts = std::iter::once(Ok(())).chain(vec![Err(libc::ENOENT); 50]).collect();
    let mut stream = stream(script);
    for _ in 0..400 {
        let before = stream.device.now;
        assert!(matches!(once(&mut stream), Got::Idle(Idle::Waiting | Idle::Reconnecting)));
        assert!(stream.device.now <= before + LONGEST_WAIT);
    }
    let gaps: Vec<u128> = stream.device.opened.windows(2).map(|two| two[1].as_millis() - two[0].as_millis()).collect();
    assert_eq!(gaps[1..7], [200, 400, 800, 1600, 3200, 5000]);
    assert!(gaps[7..].iter().all(|&gap| gap == 5000));
}

#[test]
fn a_stream_that_dies_again_and_again_backs_off_too() {
    // Opening succeeds every time, the first wait fails every time.
    let mut stream = stream(Script::new(vec![Event::Fails(libc::EIO); 1000]));
    while stream.device.now < Duration::from_secs(25) {
        assert!(matches!(once(&mut stream), Got::Idle(Idle::Waiting | Idle::Reconnecting)));
    }
    assert!(stream.device.opened.len() < 12, "opened {} times", stream.device.opened.len());
    // One frame changes nothing.
    let last_wait = |stream: &mut Stream<Script>, frames: u32| {
        let frames = (0..frames).map(|sequence| Event::Ready(vec![shot(sequence)]));
        stream.device.events = frames.chain([Event::Fails(libc::EIO)]).collect();
        while !stream.device.events.is_empty() {
            once(stream);
        }
        let lost = stream.device.now;
        next(stream);
        stream.device.opened.last().unwrap().saturating_sub(lost)
    };
    assert_eq!(last_wait(&mut stream, 1), Duration::from_secs(5));
    // A second of them, and the patience is new.
    assert_eq!(last_wait(&mut stream, 40), Duration::from_millis(100));
}

#[test]
fn failures_of_giving_back_lead_to_a_reconnect() {
    for errno in [libc::EINVAL, libc::EIO, libc::ENODEV] {
        let mut script = Script::new([Event::Ready(vec![shot(0)]), Event::Ready(vec![shot(1)])]);
        script.requeues.push_back(errno);
        let mut stream = stream(script);
        assert_eq!(next(&mut stream), Got::Frame(0, 0));
        assert_eq!(next(&mut stream), Got::Idle(Idle::Reconnecting));
        assert_eq!(next(&mut stream), Got::Idle(Idle::Reconnecting));
        assert_eq!(next(&mut stream), Got::Frame(1, 1));
        assert_eq!(stream.health().reconnects, 1);
    }
}

#[test]
fn what_reconnecting_cannot_mend_is_an_error() {
    let mut stream = stream(Script::new([Event::Ready(vec![Taking::Fails(libc::ENOTTY)])]));
    assert_eq!(next(&mut stream), Got::Error);
    assert!(!stream.device.open);
}

#[test]
fn a_failed_first_start_is_the_callers_to_know() {
    let script = Script { starts: [Err(libc::EBUSY)].into(), ..Script::default() };
    assert!(matches!(Stream::start(script, TIMEOUT), Err(Error::Device { .. })));
}

#[test]
fn jpeg_is_decoded_and_damaged_ones_are_dropped() {
    let mut jpeg = Vec::new();
    let encoder = jpeg_encoder::Encoder::new(&mut jpeg, 95);
    encoder.encode(&[120; 24 * 16], 24, 16, jpeg_encoder::ColorType::Luma).unwrap();
    let whole = Shot { sequence: 0, bytes_used: jpeg.len(), damaged: false, contents: jpeg.clone() };
    let cut = Shot { sequence: 1, bytes_used: jpeg.len() / 2, ..whole.clone() };
    let padded =
        Shot { sequence: 2, contents: [&jpeg[..], &[0; 999]].concat(), bytes_used: jpeg.len() + 999, ..whole.clone() };
    let mut stream =
        stream(Script::new([whole, cut, padded].map(|shot| Event::Ready(vec![Taking::Filled(shot)]))).jpeg());
    match stream.next_frame().unwrap() {
        Next::Frame(frame) => {
            // The size is the picture's own, not the mode's.
            assert_eq!((frame.width(), frame.height(), frame.format()), (24, 16, PixelFormat::Rgb));
            assert!(frame.pixels()[0].abs_diff(120) < 3);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(stream.device.queued.len(), 4, "a decoded buffer is given back at once");
    assert_eq!(next(&mut stream), Got::Idle(Idle::Corrupt));
    assert!(matches!(next(&mut stream), Got::Frame(2, _)));
    assert_eq!((stream.health().delivered, stream.health().corrupt), (2, 1));
}

fn any_event() -> impl Strategy<Value = Event> {
    let errno = prop::sample::select(vec![libc::EINTR, libc::EIO, libc::ENODEV, libc::EINVAL, libc::ENOMEM]);
    let buffer = prop_oneof![
        6 => any::<u32>().prop_map(shot),
        1 => any::<u32>().prop_map(damaged),
        1 => (any::<u32>(), 0..2 * BYTES).prop_map(|(sequence, bytes)| used(sequence, bytes)),
        1 => errno.clone().prop_map(Taking::Fails),
    ];
    prop_oneof![
        6 => prop::collection::vec(buffer, 0..4).prop_map(Event::Ready),
        1 => Just(Event::Timeout),
        1 => errno.prop_map(Event::Fails),
    ]
}

proptest! {
    /// Whatever a driver does: no buffer is lost, sequences rise, time never goes back, calls end in time.
    #[test]
    fn any_driver_is_survived(
        events in prop::collection::vec(any_event(), 0..60),
        starts in prop::collection::vec(prop_oneof![3 => Just(Ok(())), 1 => Just(Err(libc::ENODEV))], 0..10),
    ) {
        let mut script = Script::new(events);
        script.starts = std::iter::once(Ok(())).chain(starts).collect();
        let mut stream = stream(script);
        let (mut sequence, mut time, mut delivered) = (None, Duration::ZERO, 0);
        for _ in 0..120 {
            let before = stream.device.now;
            if let Next::Frame(frame) = stream.next_frame().unwrap() {
                prop_assert!(Some(frame.sequence()) > sequence && frame.time() >= time);
                (sequence, time) = (Some(frame.sequence()), frame.time());
                delivered += 1;
            }
            prop_assert!(stream.device.now <= before + LONGEST_WAIT + Duration::from_millis(40));
        }
        prop_assert_eq!(stream.health().delivered, delivered);
    }
}
