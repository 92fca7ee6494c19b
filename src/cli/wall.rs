//! The wall clock on messages.

use std::time::{SystemTime, UNIX_EPOCH};

/// Tells the time where it can be trusted: many boards have no clock of their own, start with a wrong one and are set
/// from the network minutes later. Recorded clips get none, so that they give the same bytes each time.
pub(crate) struct Wall<F: Fn() -> bool> {
    /// Whether the system calls its clock synchronised.
    synchronised: F,
    /// Whether the frames are of now.
    live: bool,
    trusted: bool,
}

impl<F: Fn() -> bool> Wall<F> {
    /// Asks `synchronised` once, if the source is live.
    pub(crate) fn new(live: bool, synchronised: F) -> Self {
        let mut wall = Self { synchronised, live, trusted: false };
        wall.look();
        wall
    }

    /// Asks again.
    pub(crate) fn look(&mut self) {
        self.trusted = self.live && (self.synchronised)();
    }

    /// Unix time in ms, if the clock was right when it was last looked at.
    pub(crate) fn now(&self) -> Option<u64> {
        if !self.trusted {
            return None;
        }
        u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_clock_that_is_set_later_counts_from_the_next_look() {
        let synchronised = Cell::new(false);
        let mut wall = Wall::new(true, || synchronised.get());
        assert_eq!(wall.now(), None);
        synchronised.set(true);
        assert_eq!(wall.now(), None);
        wall.look();
        assert!(wall.now().is_some_and(|ms| ms > 1_600_000_000_000), "later than 2020");
        synchronised.set(false);
        wall.look();
        assert_eq!(wall.now(), None);
    }

    #[test]
    fn a_recorded_clip_has_no_wall_clock() {
        let mut wall = Wall::new(false, || true);
        assert_eq!(wall.now(), None);
        wall.look();
        assert_eq!(wall.now(), None);
    }
}
