//! How long a call may take, and being asked to begin anew.

use super::*;
use crate::camera::FreezeGuard;

#[test]
fn a_silent_camera_gives_the_word_back_five_times_a_second_and_a_signal_at_once() {
    let script = Script::new([Event::Timeout, Event::Fails(libc::EINTR), Event::Ready(vec![shot(0)])]);
    let mut stream = stream(script);
    let mut calls = Vec::new();
    for _ in 0..7 {
        let before = stream.device.now;
        let got = once(&mut stream);
        calls.push((got, stream.device.now.saturating_sub(before).as_millis()));
    }
    let waiting = || (Got::Idle(Idle::Waiting), 200);
    assert_eq!(calls[..4], [waiting(), waiting(), waiting(), waiting()]);
    assert_eq!(calls[4], (Got::Idle(Idle::Timeout), 200));
    assert_eq!(calls[5], (Got::Idle(Idle::Waiting), 1));
    assert_eq!(calls[6], (Got::Frame(0, 0), 33));
}

#[test]
fn a_picture_that_stands_still_may_open_the_camera_again() {
    let mut stream = stream(Script::new([Event::Ready(vec![shot(0)]), Event::Ready(vec![shot(1)])]));
    assert_eq!(next(&mut stream), Got::Frame(0, 0));
    stream.renew();
    assert!(!stream.device.open);
    stream.renew();
    assert_eq!(next(&mut stream), Got::Idle(Idle::Reconnecting));
    assert_eq!(next(&mut stream), Got::Frame(1, 1));
    assert_eq!(stream.health().reconnects, 1);
}

#[test]
fn a_camera_that_hangs_is_opened_again_each_limit_until_its_pictures_change() {
    let still = |sequence| Event::Ready(vec![Taking::Filled(Shot { contents: vec![9; BYTES], ..plain(sequence) })]);
    // The same picture over and over, as a hung camera hands it out, also after it was opened again; once it is away for an
    // attempt. In the end that helps.
    let mut script = Script::new((0..12).map(still).chain((20..24).map(|sequence| Event::Ready(vec![shot(sequence)]))));
    script.starts = VecDeque::from([Ok(()), Ok(()), Err(libc::ENODEV), Ok(())]);
    let mut guard = FreezeGuard::new(stream(script), 100, true);
    let mut story = Vec::new();
    for _ in 0..40 {
        let got = match guard.next_frame() {
            Ok(Next::Frame(frame)) => Got::Frame(frame.sequence(), frame.pixels()[0]),
            Ok(Next::Idle(Idle::Waiting | Idle::Timeout)) => continue,
            Ok(Next::Idle(idle)) => Got::Idle(idle),
            _ => Got::Error,
        };
        story.push((got, guard.health().frozen));
    }
    let hung = |sequence| vec![(Got::Frame(sequence, 9), true), (Got::Idle(Idle::Reconnecting), true)];
    let mut expected: Vec<_> = (0..4).map(|sequence| (Got::Frame(sequence, 9), false)).collect();
    // The pause before each attempt is as long as the limit here: a picture that is the same again after it is one limit older.
    expected.extend((4..12).flat_map(hung));
    // The attempt that failed, after the second one that went well.
    expected.insert(8, (Got::Idle(Idle::Reconnecting), true));
    expected.extend((12..16).map(|sequence| (Got::Frame(sequence, sequence as u8 + 8), false)));
    assert_eq!(story, expected);
    let health = guard.health();
    assert_eq!((health.freezes, health.frozen), (1, false));
    assert_eq!(health.reconnects, 8);
}
