//! Sequence and time of frames across wrap-arounds and restarts of a stream.

use std::time::Duration;

/// Turns a driver's counter and timestamps into a sequence from 0 with gaps where frames were lost,
/// and a time from zero that never goes back.
#[derive(Debug, Default)]
pub(super) struct StreamClock {
    /// The driver's counter at the buffer seen last; `None` right after a start.
    last_raw: Option<u32>,
    /// Sequence of the buffer seen last, plus one.
    next: u64,
    /// Sequence of the buffer chosen last.
    chosen: u64,
    /// Timestamp of the first frame.
    first: Option<Duration>,
    time: Duration,
}

impl StreamClock {
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

    /// Sequence of the chosen buffer, and its time since the first frame.
    pub(super) fn stamp(&mut self, timestamp: Duration) -> (u64, Duration) {
        let first = *self.first.get_or_insert(timestamp);
        self.time = self.time.max(timestamp.saturating_sub(first));
        (self.chosen, self.time)
    }

    /// The stream starts anew, and so does the driver's counter.
    pub(super) fn restart(&mut self) {
        self.last_raw = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(clock: &mut StreamClock, raw: u32) -> u64 {
        clock.observe(raw);
        clock.choose();
        clock.stamp(Duration::ZERO).0
    }

    #[test]
    fn sequences_start_at_zero_and_keep_gaps() {
        let mut clock = StreamClock::default();
        assert_eq!([7, 8, 11, 12].map(|raw| sequence(&mut clock, raw)), [0, 1, 4, 5]);
    }

    #[test]
    fn counters_that_wrap_restart_stand_still_or_go_back_only_move_on() {
        let mut clock = StreamClock::default();
        assert_eq!([u32::MAX, 0, 2].map(|raw| sequence(&mut clock, raw)), [0, 1, 3]);
        clock.restart();
        assert_eq!([0, 0, 5, 3].map(|raw| sequence(&mut clock, raw)), [4, 5, 10, 11]);
    }

    #[test]
    fn time_starts_at_zero_and_never_goes_back() {
        let mut clock = StreamClock::default();
        let times = [5000, 5033, 5010, 4000, 5100].map(|ms| clock.stamp(Duration::from_millis(ms)).1.as_millis());
        assert_eq!(times, [0, 33, 33, 33, 100]);
    }
}
