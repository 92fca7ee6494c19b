//! Sequence and time of frames across wrap-arounds and restarts of a stream.

use std::time::Duration;

/// How much earlier than its start the first picture of a stream may be, by its stamp: clocks of cameras are translated.
const EARLIEST: Duration = Duration::from_secs(1);

/// Turns a driver's counter and timestamps into a sequence from 0 with gaps where frames were lost,
/// and a time from zero that never goes back.
#[derive(Debug)]
pub(super) struct StreamClock {
    /// The driver's counter at the buffer seen last; `None` right after a start.
    last_raw: Option<u32>,
    /// Sequence of the buffer seen last, plus one.
    next: u64,
    /// Sequence of the buffer chosen last.
    chosen: u64,
    /// When the stream was started.
    started: Duration,
    /// Whether the driver's stamps are of our clock, judged by the first frame after a start.
    believed: Option<bool>,
    /// Time of the first frame of all.
    first: Option<Duration>,
    time: Duration,
}

impl StreamClock {
    /// The clock of a stream that starts at `started`, which like all times here is by [`super::CaptureDevice::now`].
    pub(super) fn new(started: Duration) -> Self {
        let (chosen, time) = (0, Duration::ZERO);
        Self { last_raw: None, next: 0, chosen, started, believed: None, first: None, time }
    }

    /// Takes note of a buffer, whether or not it is handed out.
    pub(super) fn observe(&mut self, raw: u32) {
        let step = match self.last_raw {
            None => 1,
            // A counter that stands still or runs backwards (both exist) counts as one step.
            Some(last) => match raw.wrapping_sub(last) {
                0 | 0x8000_0000.. => 1,
                step => step,
            },
        };
        self.last_raw = Some(raw);
        self.next += u64::from(step);
    }

    /// The buffer observed last is the one to hand out, unless a later one is chosen.
    pub(super) fn choose(&mut self) {
        self.chosen = self.next.saturating_sub(1);
    }

    /// Sequence of the chosen buffer, and its time since the first frame. `taken` is when it was taken from the driver.
    ///
    /// Stamps are used if the first one after a start lies between that start and now; a stream whose stamps do not
    /// (of another clock, or none) gets the times of taking its buffers, all of them. No stamp is believed that lies ahead:
    /// what expires would do so at once, and time could not go back.
    pub(super) fn stamp(&mut self, stamp: Option<Duration>, taken: Duration) -> (u64, Duration) {
        let earliest = self.started.saturating_sub(EARLIEST);
        let plausible = stamp.is_some_and(|stamp| (earliest..=taken).contains(&stamp));
        let believed = *self.believed.get_or_insert(plausible);
        let captured = stamp.filter(|_| believed).unwrap_or(taken).min(taken);
        let first = *self.first.get_or_insert(captured);
        self.time = self.time.max(captured.saturating_sub(first));
        (self.chosen, self.time)
    }

    /// The stream starts anew at `started`, and so does the driver's counter.
    pub(super) fn restart(&mut self, started: Duration) {
        (self.last_raw, self.started, self.believed) = (None, started, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(clock: &mut StreamClock, raw: u32) -> u64 {
        clock.observe(raw);
        clock.choose();
        clock.stamp(None, Duration::ZERO).0
    }

    #[test]
    fn sequences_start_at_zero_and_keep_gaps() {
        let mut clock = StreamClock::new(Duration::ZERO);
        assert_eq!([7, 8, 11, 12].map(|raw| sequence(&mut clock, raw)), [0, 1, 4, 5]);
    }

    #[test]
    fn counters_that_wrap_restart_stand_still_or_go_back_only_move_on() {
        let mut clock = StreamClock::new(Duration::ZERO);
        assert_eq!([u32::MAX, 0, 2].map(|raw| sequence(&mut clock, raw)), [0, 1, 3]);
        clock.restart(Duration::ZERO);
        assert_eq!([0, 0, 5, 3].map(|raw| sequence(&mut clock, raw)), [4, 5, 10, 11]);
    }

    /// Times in ms of frames that were stamped and taken at these, on a stream that started at 5 s.
    fn times(clock: &mut StreamClock, frames: &[(Option<u64>, u64)]) -> Vec<u128> {
        let time = Duration::from_millis;
        frames.iter().map(|(stamp, taken)| clock.stamp(stamp.map(time), time(*taken)).1.as_millis()).collect()
    }

    #[test]
    fn time_starts_at_zero_and_never_goes_back() {
        let mut clock = StreamClock::new(Duration::from_secs(5));
        let stamps = [5000, 5033, 5010, 4000, 5100].map(|ms| (Some(ms), 6000));
        assert_eq!(times(&mut clock, &stamps), [0, 33, 33, 33, 100]);
    }

    #[test]
    fn a_stamp_from_the_future_moves_time_to_now_at_most() {
        let mut clock = StreamClock::new(Duration::from_secs(5));
        let frames = [(Some(5000), 5010), (Some(108_000_000), 5043), (Some(5066), 5076), (Some(5099), 5109)];
        assert_eq!(times(&mut clock, &frames), [0, 43, 66, 99]);
    }

    #[test]
    fn stamps_of_another_clock_are_left_aside_until_the_next_start() {
        // A clock of its own, from zero on, with a stamp left out now and then; a little ahead of ours; far behind.
        for first in [40, 5020, 3000] {
            let mut clock = StreamClock::new(Duration::from_secs(5));
            let frames = [(Some(first), 5010), (Some(first + 33), 5043), (None, 5076), (Some(first + 99), 5109)];
            assert_eq!(times(&mut clock, &frames), [0, 33, 66, 99], "{first}");
            clock.restart(Duration::from_secs(6));
            // After the next one they are of ours, and one that is left out is the time of taking.
            let frames = [(Some(6100), 6110), (Some(6133), 6143), (None, 6176), (Some(6199), 6209)];
            assert_eq!(times(&mut clock, &frames), [1090, 1123, 1166, 1189], "{first}");
        }
    }
}
