//! The controls without training: the mean over reciprocal neighbours, and over the track so far.
//!
//! `R(i)` is as in [`crate::nformer`], found here on its own, so that these figures do not rest on the room they are compared with.

use std::collections::HashMap;
use std::time::Duration;

use super::arrivals::Arrivals;
use super::market::Crop;
use super::rows::Rows;
use crate::error::Result;
use crate::kernels::{dot, l2_normalise, top_k};

/// A reciprocal neighbour: which row, and from which k on it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mutual {
    row: usize,
    from_k: usize,
}

/// `L2(mean of x over R(i))` with all rows in one pool, for each k of `ks`; the lower row wins a tie.
///
/// # Errors
/// None for rows of one width.
pub fn pool_means(rows: &Rows, ks: &[usize]) -> Result<Vec<Rows>> {
    let (count, places) = (rows.len(), most(ks).min(rows.len()));
    let mut lists = vec![0; count * places];
    let mut similarity = vec![0.0; count];
    for (row, list) in lists.chunks_exact_mut(places.max(1)).enumerate() {
        for (other, similarity) in similarity.iter_mut().enumerate() {
            *similarity = dot(rows.row(row), rows.row(other));
        }
        similarity[row] = f32::INFINITY;
        top_k(&similarity, list);
    }
    let list = |row: usize| &lists[row * places..][..places];
    let mut means = empty(rows, ks);
    for row in 0..count {
        let mutual: Vec<Mutual> = mutual(row, list(row), |other| place_in(list(other), row)).collect();
        add_means(rows, &mutual, ks, &mut means)?;
    }
    Ok(means)
}

/// The same for rows that come one after the other into a buffer: arrival i as it is fused when it comes, never touched
/// again. Among equally similar rows the lower slot wins.
///
/// # Errors
/// None for rows of one width.
pub fn online_means(arrivals: &Arrivals, ks: &[usize]) -> Result<Vec<Rows>> {
    let Arrivals { rows, slots, .. } = arrivals;
    let capacity = arrivals.capacity.min(rows.len());
    // Similarity of each slot to each, `[capacity, capacity]`, and which arrival stands in a slot now.
    let mut similarity = vec![0.0; capacity * capacity];
    let mut standing: Vec<usize> = Vec::with_capacity(capacity);
    let mut means = empty(rows, ks);
    for (row, &slot) in slots.iter().enumerate() {
        if slot == standing.len() {
            standing.push(row);
        } else {
            standing[slot] = row;
        }
        let held = standing.len();
        for (other, &that) in standing.iter().enumerate() {
            let value = if other == slot { f32::INFINITY } else { dot(rows.row(row), rows.row(that)) };
            similarity[slot * capacity + other] = value;
            similarity[other * capacity + slot] = value;
        }
        let list = |slot: usize| {
            let mut list = vec![0; most(ks).min(held)];
            top_k(&similarity[slot * capacity..][..held], &mut list);
            list
        };
        let mutual: Vec<Mutual> = mutual(slot, &list(slot), |other| place_in(&list(other), slot))
            .map(|mutual| Mutual { row: standing[mutual.row], ..mutual })
            .collect();
        add_means(rows, &mutual, ks, &mut means)?;
    }
    Ok(means)
}

/// `L2(mean of x over the crops of its track so far)`, for crops in order of capture.
///
/// Market-1501 names no tracks. Here a track is what a tracker without a mistake would give: crops of one identity by one camera
/// in one sequence, each at most `gap` after the one before. This asks the names who is who, so it is a bound that no
/// real tracker reaches, and says nothing where a track ends.
///
/// # Errors
/// None for rows of one width.
pub fn track_means(rows: &Rows, crops: &[Crop], times: &[Duration], gap: Duration) -> Result<Rows> {
    let mut means = Rows::with_capacity(rows.width(), rows.len());
    let mut sums: HashMap<u32, Vec<f32>> = HashMap::new();
    for (row, track) in tracks(crops, times, gap).into_iter().enumerate() {
        let sum = sums.entry(track).or_insert_with(|| vec![0.0; rows.width()]);
        sum.iter_mut().zip(rows.row(row)).for_each(|(sum, value)| *sum += value);
        let mut mean = sum.clone();
        if !l2_normalise(&mut mean) {
            mean.copy_from_slice(rows.row(row));
        }
        means.push(&mean)?;
    }
    Ok(means)
}

/// The number of the track of each crop, from 1, as [`track_means`] forms them.
pub(super) fn tracks(crops: &[Crop], times: &[Duration], gap: Duration) -> Vec<u32> {
    let mut open: HashMap<(i32, u32, u32), (u32, Duration)> = HashMap::new();
    let mut count = 0;
    let mut found = Vec::with_capacity(crops.len());
    for (crop, time) in crops.iter().zip(times) {
        let key = (crop.identity, crop.camera, crop.sequence);
        let track = match open.get(&key) {
            // Identity 0 is many people: each crop of it is its own track.
            Some((track, last)) if crop.identity > 0 && time.saturating_sub(*last) <= gap => *track,
            _ => {
                count += 1;
                count
            }
        };
        open.insert(key, (track, *time));
        found.push(track);
    }
    found
}

fn most(ks: &[usize]) -> usize {
    ks.iter().copied().max().unwrap_or(0)
}

fn empty(rows: &Rows, ks: &[usize]) -> Vec<Rows> {
    vec![Rows::with_capacity(rows.width(), rows.len()); ks.len()]
}

fn place_in(list: &[u32], row: usize) -> Option<usize> {
    list.iter().position(|other| *other as usize == row)
}

/// Those of `list` (the nearest of `row`) that have `row` in their own list, the most similar first.
fn mutual(row: usize, list: &[u32], place: impl Fn(usize) -> Option<usize>) -> impl Iterator<Item = Mutual> {
    list.iter().enumerate().filter_map(move |(rank, other)| {
        let other = *other as usize;
        let back = if other == row { 0 } else { place(other)? };
        Some(Mutual { row: other, from_k: rank.max(back) + 1 })
    })
}

/// Adds one row to each of `means`: that of the neighbours which count for its k.
fn add_means(rows: &Rows, mutual: &[Mutual], ks: &[usize], means: &mut [Rows]) -> Result<()> {
    let mut mean = vec![0.0; rows.width()];
    for (k, means) in ks.iter().zip(means) {
        mean.fill(0.0);
        for neighbor in mutual.iter().filter(|neighbor| neighbor.from_k <= *k) {
            mean.iter_mut().zip(rows.row(neighbor.row)).for_each(|(sum, value)| *sum += value);
        }
        // Unit vectors that cancel out leave zeros, which are similar to nobody.
        let _ = l2_normalise(&mut mean);
        means.push(&mean)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::arrivals::tests::{made, standing};
    use super::super::random::Random;
    use super::*;
    use crate::neighbors::RowKind;
    use crate::nformer::{Landmarks, NFormer};

    /// Each of `rows` one of its own, in a buffer of the last `capacity`.
    fn first_in_first_out(rows: &Rows, capacity: usize) -> Arrivals {
        let slots = (0..rows.len()).map(|row| row % capacity).collect();
        Arrivals { kind: RowKind::Embedding, capacity, slots, rows: rows.clone() }
    }

    fn rows(count: usize, width: usize, seed: u64) -> Rows {
        let mut random = Random::new(seed);
        let values = (0..count * width).map(|_| random.normal() as f32).collect();
        Rows::normalised(width, values).unwrap()
    }

    #[test]
    fn a_pool_has_the_neighbours_that_the_network_finds() {
        let rows = rows(60, 8, 3);
        let weights = super::super::untrained::weights(8, 2, 1, 16, 2, 5).unwrap();
        let mut network = NFormer::new(weights, 60).unwrap();
        for (k, means) in [1, 3, 7, 20].iter().zip(pool_means(&rows, &[1, 3, 7, 20]).unwrap()) {
            let fused = network.forward(rows.as_slice(), *k, Landmarks::Agents).unwrap();
            for row in 0..60 {
                let mut mean = vec![0.0; 8];
                for neighbor in fused.neighbors(row) {
                    mean.iter_mut().zip(rows.row(*neighbor as usize)).for_each(|(sum, value)| *sum += value);
                }
                assert!(l2_normalise(&mut mean));
                for (found, expected) in means.row(row).iter().zip(mean) {
                    // Sums of 20 numbers below 1 in another order.
                    assert!((found - expected).abs() < 1e-5, "k {k}, row {row}");
                }
            }
        }
    }

    #[test]
    fn online_is_a_pool_of_the_last_rows() {
        let (all, capacity, ks) = (rows(40, 6, 9), 12, [2, 5]);
        let online = online_means(&first_in_first_out(&all, capacity), &ks).unwrap();
        for last in 0..40 {
            let first = (last + 1_usize).saturating_sub(capacity);
            let mut window = Rows::with_capacity(6, capacity);
            (first..=last).for_each(|row| window.push(all.row(row)).unwrap());
            for (online, pool) in online.iter().zip(pool_means(&window, &ks).unwrap()) {
                for (found, expected) in online.row(last).iter().zip(pool.row(last - first)) {
                    assert!((found - expected).abs() < 1e-5, "row {last}");
                }
            }
        }
    }

    #[test]
    fn online_with_a_row_a_track_is_a_pool_of_the_latest_row_of_each() {
        let (capacity, ks) = (7, [2, 5]);
        let (arrivals, tracks) = made(90, 6, capacity);
        let online = online_means(&arrivals, &ks).unwrap();
        for last in 0..90 {
            let mut window = Rows::with_capacity(6, capacity);
            let standing = standing(&tracks, last, capacity);
            for row in &standing {
                window.push(arrivals.rows.row(*row)).unwrap();
            }
            for (online, pool) in online.iter().zip(pool_means(&window, &ks).unwrap()) {
                for (found, expected) in online.row(last).iter().zip(pool.row(standing.len() - 1)) {
                    assert!((found - expected).abs() < 1e-5, "row {last}");
                }
            }
        }
    }

    #[test]
    fn one_neighbour_is_the_row_itself() {
        let rows = rows(10, 4, 1);
        for means in [pool_means(&rows, &[1]).unwrap(), online_means(&first_in_first_out(&rows, 100), &[1]).unwrap()] {
            for (found, expected) in means[0].as_slice().iter().zip(rows.as_slice()) {
                assert!((found - expected).abs() < 1e-6);
            }
        }
        assert!(pool_means(&Rows::with_capacity(4, 0), &[3]).unwrap()[0].is_empty());
    }

    #[test]
    fn tracks_end_with_a_gap_a_camera_or_a_sequence() {
        let crop = |identity, camera, sequence, frame| Crop { path: PathBuf::new(), identity, camera, sequence, frame };
        let crops = [
            crop(1, 1, 1, 0),
            crop(1, 2, 1, 1),
            crop(2, 1, 1, 2),
            crop(1, 1, 1, 5),
            crop(1, 1, 1, 11),
            crop(0, 1, 1, 11),
            crop(0, 1, 1, 11),
            crop(1, 1, 2, 12),
        ];
        let times: Vec<Duration> = crops.iter().map(|crop| Duration::from_secs(crop.frame.into())).collect();
        assert_eq!(tracks(&crops, &times, Duration::from_secs(5)), [1, 2, 3, 1, 4, 5, 6, 7]);
    }
}
