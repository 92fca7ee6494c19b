//! Where a track will be: constant velocity, smoothed (an alpha-beta filter).

use std::time::Duration;

use crate::detector::BBox;

/// Weight of a new velocity against the old one.
const SMOOTHING: f32 = 0.5;

/// How far ahead a velocity is believed; a person lost for longer may have turned round.
const HORIZON: Duration = Duration::from_millis(800);

/// Last box, velocity and time of one track.
#[derive(Clone, Debug)]
pub(super) struct Motion {
    bbox: BBox,
    /// Pixels a second of the box's centre.
    velocity: (f32, f32),
    time: Duration,
}

impl Motion {
    /// A box at rest.
    pub(super) fn start(bbox: &BBox, time: Duration) -> Self {
        Self { bbox: *bbox, velocity: (0.0, 0.0), time }
    }

    /// The box expected at `time`: moved, not resized.
    pub(super) fn predict(&self, time: Duration) -> BBox {
        let ahead = time.saturating_sub(self.time).min(HORIZON).as_secs_f32();
        let (vx, vy) = self.velocity;
        BBox { x: self.bbox.x + vx * ahead, y: self.bbox.y + vy * ahead, ..self.bbox }
    }

    /// Takes the box seen at `time`.
    pub(super) fn observe(&mut self, bbox: &BBox, time: Duration) {
        let seconds = time.saturating_sub(self.time).as_secs_f32();
        if seconds > 0.0 {
            let (old, new) = (centre(&self.bbox), centre(bbox));
            let smooth = |old: f32, new: f32| old + SMOOTHING * (new - old);
            self.velocity = (
                smooth(self.velocity.0, (new.0 - old.0) / seconds),
                smooth(self.velocity.1, (new.1 - old.1) / seconds),
            );
        }
        self.bbox = *bbox;
        self.time = time;
    }
}

fn centre(bbox: &BBox) -> (f32, f32) {
    (bbox.x + bbox.width / 2.0, bbox.y + bbox.height / 2.0)
}
