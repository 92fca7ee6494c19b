//! The running background: mean and variance of each cell.

use super::MotionSettings;

/// Where something moves, the background learns this many times slower.
const SLOWER: f32 = 10.0;
/// Least variance of a cell, in squared levels: quantisation alone makes some.
const MIN_VARIANCE: f32 = 4.0;
/// Variance of a cell never seen before.
const FIRST_VARIANCE: f32 = 25.0;

#[derive(Clone, Copy, Debug)]
struct Cell {
    mean: f32,
    variance: f32,
}

#[derive(Debug)]
pub(super) struct Background {
    cells: Vec<Cell>,
    /// Frames learnt since the start or the last change of light.
    frames: u32,
}

impl Background {
    pub(super) const CELL_BYTES: usize = size_of::<Cell>();

    pub(super) fn with_capacity(cells: usize) -> Self {
        Self { cells: Vec::with_capacity(cells), frames: 0 }
    }

    /// Says for each cell of `luma` whether something moves there, and learns it. Nothing moves while
    /// the background is learnt: at first, when the size changes, and when too much moves at once.
    pub(super) fn update(&mut self, luma: &[f32], settings: &MotionSettings, moving: &mut Vec<bool>) {
        moving.clear();
        moving.resize(luma.len(), false);
        if self.cells.len() != luma.len() {
            self.frames = 0;
        }
        if self.frames == 0 {
            self.cells.clear();
            self.cells.extend(luma.iter().map(|level| Cell { mean: *level, variance: FIRST_VARIANCE }));
            self.frames = 1;
            return;
        }
        if self.frames < settings.warm_up {
            self.frames += 1;
            let rate = 1.0 / self.frames as f32;
            for (cell, level) in self.cells.iter_mut().zip(luma) {
                cell.learn(*level, rate.max(settings.learning_rate));
            }
            return;
        }
        let mut count = 0;
        for ((cell, level), moving) in self.cells.iter_mut().zip(luma).zip(moving.iter_mut()) {
            *moving = cell.differs(*level, settings);
            if *moving {
                count += 1;
                // The variance stays: a person walking by is not noise.
                cell.mean += (level - cell.mean) * settings.learning_rate / SLOWER;
            } else {
                cell.learn(*level, settings.learning_rate);
            }
        }
        if count as f32 > settings.max_share * luma.len() as f32 {
            moving.fill(false);
            self.frames = 0;
        }
    }
}

impl Cell {
    fn differs(self, level: f32, settings: &MotionSettings) -> bool {
        let noise = settings.sensitivity.powi(2) * self.variance;
        (level - self.mean).powi(2) > noise.max(settings.min_difference.powi(2))
    }

    fn learn(&mut self, level: f32, rate: f32) {
        let difference = level - self.mean;
        self.mean += difference * rate;
        self.variance = (self.variance + (difference * difference - self.variance) * rate).max(MIN_VARIANCE);
    }
}
