//! The rows of an online protocol as they come into a buffer: what each holds, and where it stands.

use std::collections::HashMap;
use std::time::Duration;

use super::market::Split;
use super::mean;
use super::rows::Rows;
use crate::error::Result;
use crate::neighbors::RowKind;

/// One arrival a crop, in order of capture.
#[derive(Clone, Debug)]
pub struct Arrivals {
    /// What a row of the buffer stands for.
    pub kind: RowKind,
    /// Rows of the buffer.
    pub capacity: usize,
    /// What came, `[crops, D]`: the embedding, or the mean of the embeddings of its track so far.
    pub rows: Rows,
    /// Where it stands until another one comes there, below `capacity`. Slots fill up from 0.
    pub slots: Vec<usize>,
}

impl Arrivals {
    /// The crops of `split` with the embeddings `rows`, filmed with `fps` frames a second.
    ///
    /// [`RowKind::Embedding`]: each crop is a row of its own. [`RowKind::Track`]: the crops of one track, as
    /// [`track_means`](super::track_means) forms them, share a row. Either way the row that got nothing new for longest
    /// makes room.
    ///
    /// # Errors
    /// None for rows of one width.
    pub fn new(
        kind: RowKind,
        capacity: usize,
        split: &Split,
        rows: &Rows,
        fps: f64,
        track_gap: Duration,
    ) -> Result<Self> {
        let (crops, capacity) = (&split.crops, capacity.max(1));
        let (tracks, rows) = match kind {
            RowKind::Embedding => ((0..rows.len() as u32).collect(), rows.clone()),
            RowKind::Track => {
                let times = split.times(fps);
                (mean::tracks(crops, &times, track_gap), mean::track_means(rows, crops, &times, track_gap)?)
            }
        };
        Ok(Self { kind, capacity, slots: slots(&tracks, capacity), rows })
    }
}

/// The slot of each arrival: that of its track, if it still has one, else an empty one, else that of the track which was
/// seen least recently.
fn slots(tracks: &[u32], capacity: usize) -> Vec<usize> {
    // Which track stands in a slot, and which arrival was its last.
    let mut held: Vec<(u32, usize)> = Vec::with_capacity(capacity.min(tracks.len()));
    let mut place: HashMap<u32, usize> = HashMap::new();
    let mut slots = Vec::with_capacity(tracks.len());
    for (arrival, &track) in tracks.iter().enumerate() {
        let slot = place.get(&track).copied().unwrap_or_else(|| {
            if held.len() < capacity {
                held.push((track, arrival));
                return held.len() - 1;
            }
            let oldest = held.iter().enumerate().min_by_key(|(_, (_, last))| *last);
            let slot = oldest.map_or(0, |(slot, _)| slot);
            place.remove(&held[slot].0);
            slot
        });
        held[slot] = (track, arrival);
        place.insert(track, slot);
        slots.push(slot);
    }
    slots
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::random::Random;
    use super::*;

    /// `count` random rows of ten people who come and go, each row one of a track, in a buffer of `capacity` tracks; and which
    /// track each is of.
    pub(in super::super) fn made(count: usize, width: usize, capacity: usize) -> (Arrivals, Vec<u32>) {
        let mut random = Random::new(7);
        let values = (0..count * width).map(|_| random.normal() as f32).collect();
        let tracks: Vec<u32> = (0..count).map(|_| (random.normal() * 4.0).abs() as u32).collect();
        let rows = Rows::normalised(width, values).unwrap();
        (Arrivals { kind: RowKind::Track, capacity, slots: slots(&tracks, capacity), rows }, tracks)
    }

    /// What stands in the buffer after arrival `last`, found from the back: the latest arrival of each of the `capacity`
    /// tracks that came last, the oldest first.
    pub(in super::super) fn standing(tracks: &[u32], last: usize, capacity: usize) -> Vec<usize> {
        let mut found: Vec<usize> = Vec::new();
        for at in (0..=last).rev() {
            if found.len() < capacity && found.iter().all(|other| tracks[*other] != tracks[at]) {
                found.push(at);
            }
        }
        found.reverse();
        found
    }

    #[test]
    fn crops_of_their_own_go_round() {
        let each: Vec<u32> = (0..7).collect();
        assert_eq!(slots(&each, 3), [0, 1, 2, 0, 1, 2, 0]);
        assert_eq!(slots(&[], 3), [0; 0]);
    }

    #[test]
    fn a_track_keeps_its_slot_and_the_least_recently_seen_makes_room() {
        assert_eq!(slots(&[5, 6, 5, 7, 6, 8, 5], 3), [0, 1, 0, 2, 1, 0, 2]);
        assert_eq!(slots(&[1, 1, 2, 1], 1), [0, 0, 0, 0]);
    }

    #[test]
    fn slots_hold_the_tracks_that_came_last() {
        let (arrivals, tracks) = made(300, 2, 5);
        let mut held = HashMap::new();
        for (last, slot) in arrivals.slots.iter().enumerate() {
            held.insert(*slot, last);
            let mut found: Vec<usize> = held.values().copied().collect();
            found.sort_unstable();
            assert_eq!(found, standing(&tracks, last, 5), "after {last}");
        }
    }
}
