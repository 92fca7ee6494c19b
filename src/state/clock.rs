//! How long the program was away, on boards without a clock.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How far a wall clock is believed over a restart of the board: a jump of that much, either way, changes nothing.
pub const WALL_TOLERANCE: Duration = Duration::from_hours(1);

/// What the clocks of the board say; unknown where it has none that can be trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clocks {
    /// Which start of the board this is.
    pub boot: Option<[u8; 16]>,
    /// Time since then, in ms. No one can set it.
    pub uptime_ms: Option<u64>,
    /// Unix time in ms, only if it was set from a trusted source since the board started.
    pub wall_ms: Option<u64>,
}

impl Clocks {
    /// Reads them; `wall_trusted` says whether the wall clock was set from a trusted source.
    pub fn now(wall_trusted: bool) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let wall = || u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_millis()).ok();
        Self {
            boot: parse_boot(&read("/proc/sys/kernel/random/boot_id")),
            uptime_ms: parse_uptime(&read("/proc/uptime")),
            wall_ms: wall_trusted.then(wall).flatten(),
        }
    }

    /// How long ago `earlier` was, and never more than that.
    ///
    /// Exact while the board runs through. Over a restart of the board only two trusted wall clocks can tell, less
    /// [`WALL_TOLERANCE`]; without them it counts as no time at all, and what expires does so later.
    pub fn since(&self, earlier: &Self) -> Duration {
        if let (Some(boot), Some(now), Some(then)) = (self.boot, self.uptime_ms, earlier.uptime_ms)
            && earlier.boot == Some(boot)
        {
            return Duration::from_millis(now.saturating_sub(then));
        }
        match (self.wall_ms, earlier.wall_ms) {
            (Some(now), Some(then)) => Duration::from_millis(now.saturating_sub(then)).saturating_sub(WALL_TOLERANCE),
            _ => Duration::ZERO,
        }
    }
}

/// A time away over a restart of the board, of which the clocks could not tell when the program was back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Away {
    left: Clocks,
    back: Clocks,
}

impl Away {
    /// From the last save to the start; none if [`Clocks::since`] knew, or if nothing will ever tell.
    pub fn untold(left: &Clocks, back: &Clocks) -> Option<Self> {
        let running = back.boot.is_some() && back.uptime_ms.is_some();
        let restarted = running && left.boot != back.boot;
        (restarted && left.wall_ms.is_some() && back.wall_ms.is_none()).then_some(Self { left: *left, back: *back })
    }

    /// How long it was, as for [`Clocks::since`], once `now` has a wall clock that is trusted.
    pub fn told(&self, now: &Clocks) -> Option<Duration> {
        now.wall_ms?;
        Some(now.since(&self.left).saturating_sub(now.since(&self.back)))
    }
}

/// 128 bits as hexadecimal digits with dashes.
fn parse_boot(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.trim().chars().filter(|c| *c != '-').collect();
    (digits.len() == 32).then(|| u128::from_str_radix(&digits, 16).ok()).flatten().map(u128::to_be_bytes)
}

/// Seconds with two decimals, then the time idle.
fn parse_uptime(text: &str) -> Option<u64> {
    let (seconds, rest) = text.split_once('.')?;
    let hundredths: u64 = rest.get(..2)?.parse().ok()?;
    seconds.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(hundredths * 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    fn clocks(boot: u8, uptime_ms: u64, wall_ms: Option<u64>) -> Clocks {
        Clocks { boot: Some([boot; 16]), uptime_ms: Some(uptime_ms), wall_ms }
    }

    #[test]
    fn while_the_board_runs_through_the_wall_clock_does_not_matter() {
        let then = clocks(1, 5_000, Some(100 * HOUR));
        for wall in [None, Some(0), Some(99 * HOUR), Some(101 * HOUR), Some(9_000 * HOUR)] {
            assert_eq!(clocks(1, 65_000, wall).since(&then), Duration::from_mins(1), "{wall:?}");
        }
        assert_eq!(clocks(1, 4_000, None).since(&then), Duration::ZERO);
    }

    #[test]
    fn over_a_restart_of_the_board_only_trusted_clocks_tell_and_a_jump_of_an_hour_is_nothing() {
        let then = clocks(1, 5_000, Some(100 * HOUR));
        let away = |wall| clocks(2, 9_000_000, wall).since(&then);
        assert_eq!(away(None), Duration::ZERO, "no clock now");
        assert_eq!(clocks(2, 0, Some(200 * HOUR)).since(&clocks(1, 0, None)), Duration::ZERO, "none then");
        assert_eq!(away(Some(99 * HOUR)), Duration::ZERO, "an hour back");
        assert_eq!(away(Some(101 * HOUR)), Duration::ZERO, "an hour ahead");
        assert_eq!(away(Some(0)), Duration::ZERO);
        assert_eq!(away(Some(125 * HOUR)), Duration::from_millis(24 * HOUR));
        assert!(away(Some(u64::MAX)) > Duration::from_secs(1 << 40));
    }

    #[test]
    fn a_time_away_is_told_once_the_wall_clock_is_trusted() {
        let left = clocks(1, 5_000, Some(100 * HOUR));
        let away = Away::untold(&left, &clocks(2, 20_000, None)).unwrap();
        assert_eq!(away.told(&clocks(2, 25_000, None)), None);
        // Eleven hours later than the save, one of which the program ran and one of which is the tolerance.
        let now = clocks(2, 20_000 + HOUR, Some(111 * HOUR));
        assert_eq!(away.told(&now), Some(Duration::from_millis(9 * HOUR)));
        assert_eq!(away.told(&clocks(2, 20_000 + HOUR, Some(HOUR))), Some(Duration::ZERO), "a clock that went back");
        assert_eq!(Away::untold(&left, &clocks(1, 20_000, None)), None, "the board ran through");
        assert_eq!(Away::untold(&left, &clocks(2, 20_000, Some(111 * HOUR))), None, "known at once");
        assert_eq!(Away::untold(&clocks(1, 5_000, None), &clocks(2, 20_000, None)), None, "nothing will tell");
        assert_eq!(Away::untold(&left, &Clocks::default()), None);
    }

    #[test]
    fn a_board_that_tells_nothing_counts_as_not_away() {
        assert_eq!(Clocks::default().since(&Clocks::default()), Duration::ZERO);
    }

    #[test]
    fn the_files_of_the_kernel_are_read() {
        assert_eq!(parse_uptime("350735.47 234388.90\n"), Some(350_735_470));
        assert_eq!(parse_uptime("0.00 0.00"), Some(0));
        for wrong in ["", "7", "7.", "x.00 1", "18446744073709551615.00 1", "1.ä"] {
            assert_eq!(parse_uptime(wrong), None, "{wrong}");
        }
        let boot = parse_boot("0f0e0d0c-0b0a-0908-0706-050403020100\n").unwrap();
        assert_eq!((boot[0], boot[15]), (15, 0));
        assert_eq!(parse_boot("none"), None);
        assert_eq!(parse_boot(&"ü".repeat(16)), None);
        let now = Clocks::now(false);
        assert!(now.boot.is_some() && now.uptime_ms.is_some() && now.wall_ms.is_none(), "{now:?}");
        assert!(Clocks::now(true).wall_ms.is_some());
    }
}
