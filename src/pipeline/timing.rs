//! How long each room takes: percentiles in fixed memory.
//!
//! Durations fall into buckets that grow by 4 %, from 1 µs to about a minute, so a percentile is
//! right to 2 % and a histogram is a few kilobytes whatever the running time.

use std::time::{Duration, Instant};

use crate::report::message::Room;

/// Growth from one bucket to the next.
const GROWTH: f64 = 1.04;

/// `ln(60e6 µs) / ln(1.04)`, rounded up.
const BUCKETS: usize = 457;

/// Counts of durations in logarithmic buckets.
#[derive(Clone)]
pub struct Histogram {
    counts: Box<[u32; BUCKETS]>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: Box::new([0; BUCKETS]), total: 0 }
    }
}

impl Histogram {
    /// Counts one duration; what is longer than a minute counts as a minute.
    pub fn add(&mut self, duration: Duration) {
        let micros = duration.as_secs_f64() * 1e6;
        let bucket = if micros <= 1.0 { 0 } else { (micros.ln() / GROWTH.ln()) as usize };
        let count = &mut self.counts[bucket.min(BUCKETS - 1)];
        *count = count.saturating_add(1);
        self.total += 1;
    }

    /// The duration that a `share` (0 to 1) of all durations do not exceed, in milliseconds; `None` while empty.
    pub fn percentile_ms(&self, share: f64) -> Option<f32> {
        if self.total == 0 {
            return None;
        }
        let rank = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut below = 0;
        let bucket = self.counts.iter().position(|count| {
            below += u64::from(*count);
            below >= rank
        })?;
        // The middle of the bucket.
        Some((GROWTH.powf(bucket as f64 + 0.5) / 1000.0) as f32)
    }

    /// Durations counted.
    pub fn len(&self) -> u64 {
        self.total
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.counts.fill(0);
        self.total = 0;
    }
}

/// One histogram a room.
#[derive(Clone, Default)]
pub struct Rooms([Histogram; Room::ALL.len()]);

impl Rooms {
    /// The histogram of `room`.
    pub fn room(&self, room: Room) -> &Histogram {
        &self.0[room as usize]
    }
}

/// Durations of all rooms: since the start, and since the last health message.
#[derive(Clone, Default)]
pub struct Timing {
    total: Rooms,
    interval: Rooms,
}

impl Timing {
    /// Runs `work` and counts its duration for `room`.
    pub fn time<T>(&mut self, room: Room, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.add(room, start.elapsed());
        result
    }

    /// Counts a duration measured elsewhere.
    pub fn add(&mut self, room: Room, duration: Duration) {
        for rooms in [&mut self.total, &mut self.interval] {
            rooms.0[room as usize].add(duration);
        }
    }

    /// Counts `items` that took `duration` together, each with an equal share of it.
    pub fn add_shared(&mut self, room: Room, duration: Duration, items: u32) {
        for _ in 0..items {
            self.add(room, duration / items);
        }
    }

    /// Durations since the start.
    pub fn total(&self) -> &Rooms {
        &self.total
    }

    /// Durations since the last [`Timing::begin_interval`].
    pub fn interval(&self) -> &Rooms {
        &self.interval
    }

    /// Begins a new interval.
    pub fn begin_interval(&mut self) {
        self.interval.0.iter_mut().for_each(Histogram::clear);
    }

    /// Bytes of all histograms.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + 2 * Room::ALL.len() * size_of::<[u32; BUCKETS]>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn percentiles_are_right_to_two_percent(mut micros in prop::collection::vec(2u64..50_000_000, 1..200)) {
            let mut histogram = Histogram::default();
            for value in &micros {
                histogram.add(Duration::from_micros(*value));
            }
            micros.sort_unstable();
            for share in [0.5, 0.95, 1.0] {
                let rank = ((micros.len() as f64 * share).ceil() as usize).max(1);
                let exact = micros[rank - 1] as f32 / 1000.0;
                let found = histogram.percentile_ms(share).unwrap();
                // Half a bucket of 4 %, and rounding at its edge.
                prop_assert!((found / exact - 1.0).abs() < 0.021, "{found} is not {exact}");
            }
        }
    }

    #[test]
    fn extremes_are_counted_not_lost() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile_ms(0.5), None);
        histogram.add(Duration::ZERO);
        histogram.add(Duration::from_secs(100_000));
        assert_eq!(histogram.len(), 2);
        assert!(histogram.percentile_ms(0.5).unwrap() < 0.002);
        assert!(histogram.percentile_ms(1.0).unwrap() > 50_000.0);
        histogram.clear();
        assert!(histogram.is_empty());
    }
}
