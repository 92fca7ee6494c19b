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
    for _ in 0..2000 {
        let got = match guard.next_frame() {
            Ok(Next::Frame(frame)) => Got::Frame(frame.sequence(), frame.pixels()[0]),
            Ok(Next::Idle(Idle::Waiting | Idle::Timeout)) => continue,
            Ok(Next::Idle(idle)) => Got::Idle(idle),
            _ => Got::Error,
        };
        story.push((got, guard.health().frozen));
        if story.len() == 25 {
            break;
        }
    }
    let hung = |sequence| vec![(Got::Frame(sequence, 9), true), (Got::Idle(Idle::Reconnecting), true)];
    let mut expected: Vec<_> = (0..4).map(|sequence| (Got::Frame(sequence, 9), false)).collect();
    // The pause before each attempt is as long as the limit here, or longer: a picture that is the same again after it is one limit older.
    expected.extend((4..12).flat_map(hung));
    // The attempt that failed, after the second one that went well.
    expected.insert(8, (Got::Idle(Idle::Reconnecting), true));
    expected.extend((12..16).map(|sequence| (Got::Frame(sequence, sequence as u8 + 8), false)));
    assert_eq!(story, expected);
    let health = guard.health();
    assert_eq!((health.freezes, health.frozen), (1, false));
    assert_eq!(health.reconnects, 8);
}

#[test]
fn a_camera_that_sends_nothing_but_damage_is_opened_again_until_that_helps() {
    for jpeg in [false, true] {
        // What is no JPEG is damaged there.
        let events = (0..5000).map(|n| Event::Ready(vec![if jpeg { shot(n) } else { damaged(n) }]));
        let script = Script::new(events);
        let mut stream = stream(if jpeg { script.jpeg() } else { script });
        while stream.device.now < Duration::from_mins(2) {
            assert!(!matches!(once(&mut stream), Got::Frame(..) | Got::Error));
        }
        // Ten timeouts of a second each, and then a wait of up to five.
        let opened = stream.device.opened.len();
        assert!((8..=12).contains(&opened), "opened {opened} times, jpeg: {jpeg}");
        assert!(stream.health().corrupt > 2000);
    }
}

#[test]
fn damage_and_silence_by_turns_count_together_and_one_good_picture_ends_them() {
    let turns = |turns: u32| (0..turns).flat_map(|n| [Event::Timeout, Event::Ready(vec![damaged(n)])]);
    let good = Event::Ready(vec![shot(0)]);
    let mut stream = stream(Script::new(turns(9).chain([good]).chain(turns(12))));
    while next(&mut stream) != Got::Frame(9, 0) {}
    assert_eq!(stream.device.opened.len(), 1);
    let good = stream.device.now;
    while next(&mut stream) != Got::Idle(Idle::Reconnecting) {}
    let patience = stream.device.now.saturating_sub(good);
    assert!(patience >= TIMEOUT * SPOILT_LIMIT && patience < TIMEOUT * (SPOILT_LIMIT + 1), "{patience:?}");
}

#[test]
fn stamps_from_the_future_are_not_believed() {
    let mut stream = stream(Script::new((0..10).map(|n| Event::Ready(vec![shot(n)]))));
    let mut times = Vec::new();
    for n in 0..10 {
        stream.device.stamped_ahead = if n == 3 { Duration::from_hours(30) } else { Duration::ZERO };
        if let Next::Frame(frame) = stream.next_frame().unwrap() {
            times.push(frame.time().as_millis());
        }
    }
    assert_eq!(times, [0, 33, 66, 99, 132, 165, 198, 231, 264, 297]);
}
