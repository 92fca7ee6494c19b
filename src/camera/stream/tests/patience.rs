//! How long a call may take, and being asked to begin anew.

use super::*;

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
