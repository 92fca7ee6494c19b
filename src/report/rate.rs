//! How often a track is reported.

use super::message::{Sighting, State};
use crate::size::MAX_PEOPLE;

/// Tracks remembered: those of a frame, and as many that were lost a moment ago.
const TRACKS: usize = 2 * MAX_PEOPLE;

/// Lets each track through `rate_hz` times a second on average, by the time of the messages.
///
/// A track comes through at once when it is new, when its identity changes, and when its state changes
/// to or from [`State::Unsure`] or is [`State::New`]; that a recognised person is merely followed in the
/// next frame is no change. Frames that come a little early or late do not halve the rate: a track is due
/// at fixed steps, not one step after its last message, so in any `t` seconds at most `t * rate_hz + 2` regular
/// messages pass.
pub struct RateLimit {
    interval_ms: f64,
    tracks: heapless::Vec<Entry, TRACKS>,
}

struct Entry {
    track: u32,
    identity: Option<u32>,
    unsure: bool,
    last_ms: u64,
    due_ms: f64,
}

impl RateLimit {
    /// A limit of `rate_hz` sightings a second and track; 0 lets everything through.
    pub fn new(rate_hz: f32) -> Self {
        let interval_ms = if rate_hz > 0.0 { 1000.0 / f64::from(rate_hz) } else { 0.0 };
        Self { interval_ms, tracks: heapless::Vec::new() }
    }

    /// Whether `sighting` is to be sent now.
    pub fn allows(&mut self, sighting: &Sighting) -> bool {
        if self.interval_ms == 0.0 {
            return true;
        }
        let now = sighting.time_ms as f64;
        let interval = self.interval_ms;
        let unsure = sighting.state == State::Unsure;
        let Some(entry) = self.tracks.iter_mut().find(|entry| entry.track == sighting.track) else {
            self.remember(sighting, now + interval);
            return true;
        };
        let changed = entry.identity != sighting.identity || entry.unsure != unsure || sighting.state == State::New;
        // A clock that went back, or a pause, starts the steps anew.
        let adrift = entry.due_ms > now + interval || entry.due_ms + interval < now;
        if changed || adrift {
            entry.due_ms = now + interval;
        } else if now >= entry.due_ms {
            entry.due_ms += interval;
        } else {
            return false;
        }
        entry.identity = sighting.identity;
        entry.unsure = unsure;
        entry.last_ms = sighting.time_ms;
        true
    }

    fn remember(&mut self, sighting: &Sighting, due_ms: f64) {
        let entry = Entry {
            track: sighting.track,
            identity: sighting.identity,
            unsure: sighting.state == State::Unsure,
            last_ms: sighting.time_ms,
            due_ms,
        };
        if let Err(entry) = self.tracks.push(entry)
            && let Some(oldest) = self.tracks.iter_mut().min_by_key(|entry| entry.last_ms)
        {
            *oldest = entry;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sighting(track: u32, time_ms: u64) -> Sighting {
        Sighting {
            frame: 0,
            time_ms,
            wall: None,
            track,
            identity: Some(1),
            state: State::Tracked,
            similarity: None,
            bbox: [0.0_f32.into(); 4],
            score: 0.5_f32.into(),
        }
    }

    #[test]
    fn zero_lets_everything_through() {
        let mut limit = RateLimit::new(0.0);
        assert!((0..100).all(|_| limit.allows(&sighting(1, 5))));
    }

    #[test]
    fn each_track_has_its_own_rate() {
        let mut limit = RateLimit::new(2.0);
        let mut sent = [0; 2];
        for time_ms in (0..10_000).step_by(40) {
            for track in 0..2 {
                sent[track as usize] += u32::from(limit.allows(&sighting(track, time_ms)));
            }
        }
        // Ten seconds at 2 Hz, and the step at time 0.
        assert_eq!(sent, [20, 20]);
    }

    #[test]
    fn a_camera_that_trembles_about_the_rate_keeps_it() {
        let mut limit = RateLimit::new(10.0);
        let sent =
            (0..100_u64).filter(|n| limit.allows(&sighting(1, n * 100 + [0, 3, 99, 40][*n as usize % 4]))).count();
        assert!(sent >= 98, "{sent} of 100");
    }

    #[test]
    fn changes_come_through_at_once() {
        let mut limit = RateLimit::new(1.0);
        assert!(limit.allows(&sighting(1, 0)));
        assert!(!limit.allows(&sighting(1, 10)));
        assert!(limit.allows(&Sighting { identity: Some(2), ..sighting(1, 20) }));
        assert!(!limit.allows(&Sighting { identity: Some(2), ..sighting(1, 30) }));
        assert!(limit.allows(&Sighting { identity: Some(2), state: State::Unsure, ..sighting(1, 40) }));
        assert!(limit.allows(&Sighting { identity: None, ..sighting(1, 50) }));
        assert!(!limit.allows(&Sighting { identity: None, ..sighting(1, 60) }));
        assert!(limit.allows(&Sighting { identity: Some(3), state: State::New, ..sighting(1, 61) }));
        assert!(!limit.allows(&Sighting { identity: Some(3), state: State::Known, ..sighting(1, 62) }));
    }

    #[test]
    fn a_clock_that_goes_back_does_not_silence_a_track() {
        let mut limit = RateLimit::new(1.0);
        assert!(limit.allows(&sighting(1, 1_000_000)));
        assert!(limit.allows(&sighting(1, 0)));
        assert!(!limit.allows(&sighting(1, 500)));
        assert!(limit.allows(&sighting(1, 1000)));
    }

    #[test]
    fn more_tracks_than_places_forget_the_oldest_only() {
        let mut limit = RateLimit::new(1.0);
        for track in 0..10 * TRACKS as u32 {
            assert!(limit.allows(&sighting(track, u64::from(track))));
        }
        assert_eq!(limit.tracks.len(), TRACKS);
        let last = 10 * TRACKS as u32 - 1;
        assert!(!limit.allows(&sighting(last, u64::from(last) + 1)));
    }
}
