//! How often the log is told of trouble that goes on.

use std::fmt;
use std::mem;
use std::time::Duration;

/// Lines of one kind that are free within a minute: single faults, and a handful in a row, are all told.
const FREE: u32 = 20;

const MINUTE: Duration = Duration::from_mins(1);

/// Lets the first lines of one kind through, and one a minute while there are more: a camera that damages one frame in
/// twenty would else fill the disk of the log.
#[derive(Debug)]
pub struct Throttle {
    /// When the minute began.
    begun: Duration,
    /// Lines that may still be told in it.
    free: u32,
    left_out: u64,
}

/// How many lines were left out before one that is told. Shows as nothing where there were none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftOut(u64);

impl Throttle {
    /// Whether a line that is due at `now`, a time that never goes back, is to be told; if so, what was left out before it.
    pub fn tell(&mut self, now: Duration) -> Option<LeftOut> {
        if now.saturating_sub(self.begun) >= MINUTE {
            self.begun = now;
            self.free = if self.left_out > 0 { 1 } else { FREE };
        }
        let Some(free) = self.free.checked_sub(1) else {
            self.left_out += 1;
            return None;
        };
        self.free = free;
        Some(LeftOut(mem::take(&mut self.left_out)))
    }
}

impl Default for Throttle {
    fn default() -> Self {
        Self { begun: Duration::ZERO, free: FREE, left_out: 0 }
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            lines => write!(formatter, " ({lines} more times since the last such line)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_of_trouble_is_a_line_a_minute_and_single_faults_are_all_told() {
        let mut throttle = Throttle::default();
        let (mut told, mut left_out) = (0, 0);
        for event in 0..24 * 60 * 60 {
            if let Some(LeftOut(lines)) = throttle.tell(Duration::from_secs(event)) {
                told += 1;
                left_out += lines;
            }
        }
        assert_eq!(told, u64::from(FREE) + 24 * 60 - 1);
        // The last minute is not over.
        assert_eq!(told + left_out, 24 * 60 * 60 - 59);

        // It ends, the rest is told with the next one, and after a quiet minute all is free again.
        let later = Duration::from_hours(25);
        assert_eq!(throttle.tell(later), Some(LeftOut(59)));
        let hourly: Vec<_> = (1..50).map(|hour| throttle.tell(later + Duration::from_hours(hour))).collect();
        assert_eq!(hourly, [Some(LeftOut(0)); 49]);
        let burst = (0..30).filter(|_| throttle.tell(later + Duration::from_hours(50)).is_some()).count();
        assert_eq!(burst, FREE as usize);
    }

    #[test]
    fn what_was_left_out_is_said_in_words() {
        assert_eq!(LeftOut(0).to_string(), "");
        assert_eq!(LeftOut(7).to_string(), " (7 more times since the last such line)");
    }
}
