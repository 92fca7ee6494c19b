//! A picture that stands still: the camera hangs and its driver hands out the last picture again and again.

use std::mem;
use std::time::Duration;

use crate::error::Result;
use crate::frame::{Frame, FrameSource, Next, SourceHealth};

/// Runs of eight bytes of a picture that are compared, spread evenly over it.
const RUNS: usize = 1024;

/// Wraps a source and watches whether its pictures change at all ([`SourceHealth::frozen`]).
///
/// The noise of a sensor changes some sample of every picture, also in front of a wall at night. So what stays the same
/// to the bit, in 8 KB of samples, is a hang, with two exceptions: a picture that was computed, and one that the camera
/// itself clamps to black. Flagging costs nothing but the message, and is taken back with the next change.
pub struct FreezeGuard<S> {
    source: S,
    watch: Watch,
    /// Whether to open a frozen source again.
    reopen: bool,
    due: bool,
}

impl<S: FrameSource> FreezeGuard<S> {
    /// Watches `source`: frozen is what has not changed for `limit_ms` of its own time. With `reopen` it is opened again
    /// then, and after each further `limit_ms` without a change.
    pub fn new(source: S, limit_ms: u32, reopen: bool) -> Self {
        Self { source, watch: Watch::new(Duration::from_millis(limit_ms.into())), reopen, due: false }
    }
}

impl<S: FrameSource> FrameSource for FreezeGuard<S> {
    fn next_frame(&mut self) -> Result<Next<'_>> {
        if mem::take(&mut self.due) {
            self.source.renew();
        }
        let next = self.source.next_frame()?;
        if let Next::Frame(frame) = &next {
            self.due = self.watch.observe(frame) && self.reopen;
        }
        Ok(next)
    }

    fn health(&self) -> SourceHealth {
        SourceHealth { freezes: self.watch.freezes, frozen: self.watch.frozen, ..self.source.health() }
    }

    fn describe(&self) -> String {
        self.source.describe()
    }

    fn is_live(&self) -> bool {
        self.source.is_live()
    }

    fn renew(&mut self) {
        self.source.renew();
    }
}

/// What is known of the pictures so far.
struct Watch {
    limit: Duration,
    /// Of the last picture; none before the first.
    digest: Option<u64>,
    /// When a picture that is still the same counts as frozen, or is worth another attempt.
    due_at: Duration,
    frozen: bool,
    freezes: u64,
}

impl Watch {
    fn new(limit: Duration) -> Self {
        Self { limit, digest: None, due_at: Duration::ZERO, frozen: false, freezes: 0 }
    }

    /// Takes note of a picture; whether the source has stood still for one limit, or for another one.
    fn observe(&mut self, frame: &Frame<'_>) -> bool {
        let digest = Some(digest(frame.pixels()));
        if digest != self.digest {
            self.digest = digest;
            self.due_at = frame.time().saturating_add(self.limit);
            self.frozen = false;
            return false;
        }
        if frame.time() < self.due_at {
            return false;
        }
        self.due_at = frame.time().saturating_add(self.limit);
        self.freezes += u64::from(!self.frozen);
        self.frozen = true;
        true
    }
}

/// FNV-1a over about [`RUNS`] words of eight bytes.
fn digest(pixels: &[u8]) -> u64 {
    let (words, rest) = pixels.as_chunks::<8>();
    // A step without the factors that rows are made of walks through all columns.
    let mut step = (words.len() / RUNS).max(1);
    while [2, 3, 5].iter().any(|factor| step.is_multiple_of(*factor)) {
        step += 1;
    }
    let words = words.iter().step_by(step).map(|word| u64::from_le_bytes(*word));
    words.chain(rest.iter().copied().map(u64::from)).fold(0xcbf2_9ce4_8422_2325, |digest: u64, word| {
        // The high half carries what the multiplication pushed up, which would be lost otherwise.
        let mixed = (digest ^ word).wrapping_mul(0x0100_0000_01b3);
        mixed ^ (mixed >> 32)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::PixelFormat;

    const SIZE: (u32, u32) = (64, 48);

    fn frame(pixels: &[u8], milliseconds: u64) -> Frame<'_> {
        let stride = PixelFormat::Yuyv.row_bytes(SIZE.0);
        Frame::new(pixels, PixelFormat::Yuyv, SIZE, stride).unwrap().at(0, Duration::from_millis(milliseconds))
    }

    #[test]
    fn a_picture_that_stays_is_flagged_once_and_unflagged_by_the_next_change() {
        let mut watch = Watch::new(Duration::from_secs(1));
        let (one, mut other) = (vec![7; 64 * 48 * 2], vec![7; 64 * 48 * 2]);
        other[5000] = 8;
        let mut story = Vec::new();
        for step in 0..60 {
            let pixels = if step == 30 { &other } else { &one };
            let due = watch.observe(&frame(pixels, step * 100));
            story.push((watch.frozen, due));
        }
        // Stands still from 0 on: flagged at 1 s, due again at 2 s. Changes at 3 s, and back at 3.1 s.
        let flagged: Vec<usize> = (0..60).filter(|&step| story[step].0).collect();
        let due: Vec<usize> = (0..60).filter(|&step| story[step].1).collect();
        assert_eq!(flagged, (10..30).chain(41..60).collect::<Vec<_>>());
        assert_eq!(due, [10, 20, 41, 51]);
        assert_eq!(watch.freezes, 2);
    }

    #[test]
    fn noise_of_one_level_in_a_hundredth_of_the_pixels_is_a_change() {
        let still = vec![16_u8; 640 * 480 * 2];
        let mut random = 1_u64;
        for _ in 0..200 {
            let mut noisy = still.clone();
            for _ in 0..noisy.len() / 100 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = (random >> 33) as usize % noisy.len();
                noisy[at] ^= 1;
            }
            assert_ne!(digest(&still), digest(&noisy));
        }
    }

    #[test]
    fn a_person_of_forty_pixels_in_a_computed_picture_is_a_change_wherever_it_stands() {
        let empty = vec![90_u8; 640 * 480 * 2];
        for (left, top) in [(0, 0), (17, 113), (311, 200), (624, 440), (402, 77)] {
            let mut peopled = empty.clone();
            for y in top..top + 40 {
                peopled[(y * 640 + left) * 2..(y * 640 + left + 16) * 2].fill(200);
            }
            assert_ne!(digest(&empty), digest(&peopled), "at {left}, {top}");
        }
    }

    #[test]
    fn tiny_pictures_are_compared_to_the_last_byte() {
        for length in 1..40 {
            let zero = vec![0; length];
            for at in 0..length {
                let mut other = zero.clone();
                other[at] = 1;
                assert_ne!(digest(&zero), digest(&other), "{length}, {at}");
            }
        }
    }
}
