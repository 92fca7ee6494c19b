//! People as what changes before a camera that stands still: no weights, and a fraction of a
//! network's time. It cannot tell a person from a dog, nor two people who walk close together.
//!
//! A small luma picture is compared with a running background; what differs is closed, cut into
//! connected pieces, pieces above one another are joined (legs and head of one person fall apart
//! easily), and what has the shape of a person is given.

mod background;
mod blobs;

use serde::{Deserialize, Serialize};

use super::candidates::{Candidate, Candidates, MAX_CANDIDATES};
use super::{BBox, Detection, Detections, DetectorSettings, Shape, nms};
use crate::error::{Result, in_range};
use crate::frame::{Frame, Sampler};
use background::Background;
use blobs::{Blob, Blobs};

/// Most cells along either side of the small picture.
const MAX_SIDE: usize = 192;

/// Settings of finding people by motion.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct MotionSettings {
    /// Cells of the small picture along the width of the frame, 32 to 192.
    pub width: usize,
    /// Share of a new frame in the background, 0.0005 to 0.5. Where something moves it is a tenth of that, so that
    /// whoever stands still for `10 / learning_rate` frames becomes background.
    pub learning_rate: f32,
    /// Standard deviations of a cell's noise that count as motion, 1 to 20.
    pub sensitivity: f32,
    /// Least difference that counts as motion, in levels of 0 to 255, 1 to 128.
    pub min_difference: f32,
    /// Frames to learn the background before anything is found, 1 to 1000.
    pub warm_up: u32,
    /// Share of cells in motion above which the light changed (or the camera moved) and the background is learnt
    /// anew, 0.05 to 1.
    pub max_share: f32,
}

impl Default for MotionSettings {
    fn default() -> Self {
        Self { width: 96, learning_rate: 0.02, sensitivity: 4.0, min_difference: 12.0, warm_up: 10, max_share: 0.6 }
    }
}

impl MotionSettings {
    pub(super) fn validate(&self) -> Result<()> {
        in_range("detector.motion.width", self.width, 32, MAX_SIDE)?;
        in_range("detector.motion.learning_rate", self.learning_rate, 0.0005, 0.5)?;
        in_range("detector.motion.sensitivity", self.sensitivity, 1.0, 20.0)?;
        in_range("detector.motion.min_difference", self.min_difference, 1.0, 128.0)?;
        in_range("detector.motion.warm_up", self.warm_up, 1, 1000)?;
        in_range("detector.motion.max_share", self.max_share, 0.05, 1.0)
    }
}

/// Finds people by what changes. All buffers are made at the start, for the largest small picture.
#[derive(Debug)]
pub struct MotionDetector {
    settings: MotionSettings,
    threshold: f32,
    nms_iou: f32,
    shape: Shape,
    sampler: Sampler,
    luma: Vec<f32>,
    moving: Vec<bool>,
    background: Background,
    blobs: Blobs,
    candidates: Candidates,
    found: Detections,
    left_out: u64,
}

impl MotionDetector {
    pub(super) fn new(settings: &DetectorSettings) -> Self {
        let cells = settings.motion.width * MAX_SIDE;
        Self {
            settings: settings.motion.clone(),
            threshold: settings.threshold.unwrap_or(0.0),
            nms_iou: settings.nms_iou.unwrap_or(0.5),
            shape: Shape { min_height: settings.min_height, max_aspect: settings.max_aspect },
            sampler: Sampler::default(),
            luma: Vec::with_capacity(cells),
            moving: Vec::with_capacity(cells),
            background: Background::with_capacity(cells),
            blobs: Blobs::with_capacity(settings.motion.width, MAX_SIDE),
            candidates: Candidates::new(),
            found: Detections::new(),
            left_out: 0,
        }
    }

    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    pub(super) fn bytes(&self) -> usize {
        let cells = self.settings.width * MAX_SIDE;
        let a_cell = size_of::<f32>() + size_of::<bool>() + Background::CELL_BYTES + Blobs::CELL_BYTES;
        size_of::<Self>() + cells * a_cell + MAX_CANDIDATES * size_of::<Candidate>()
    }

    pub(super) fn detect(&mut self, frame: &Frame) -> &[Detection] {
        let (columns, rows) = self.sample(frame);
        self.background.update(&self.luma, &self.settings, &mut self.moving);
        self.candidates.clear();
        let cell = (frame.width() as f32 / columns as f32, frame.height() as f32 / rows as f32);
        for (anchor, blob) in self.blobs.find(&mut self.moving, columns).iter().enumerate() {
            let bbox = in_frame(blob, cell);
            let score = 0.5 + 0.5 * blob.fill();
            if score >= self.threshold && self.shape.allows(&bbox) {
                self.candidates.push(Candidate { bbox, score, anchor });
            }
        }
        self.left_out += nms::suppress(self.candidates.sorted(), self.nms_iou, &mut self.found);
        &self.found
    }

    /// Makes the small luma picture: four samples a cell, averaged against noise. Gives its columns and rows.
    fn sample(&mut self, frame: &Frame) -> (usize, usize) {
        let columns = self.settings.width;
        let rows = columns * frame.height() as usize / frame.width() as usize;
        let rows = rows.clamp(8, MAX_SIDE);
        self.luma.clear();
        self.luma.resize(columns * rows, 0.0);
        let luma = &mut self.luma;
        self.sampler.resample(frame, frame.region(), (2 * columns, 2 * rows), |y, row| {
            let start = y / 2 * columns;
            for (value, pair) in luma[start..start + columns].iter_mut().zip(row.as_chunks::<2>().0) {
                *value += pair.iter().map(|[r, g, b]| 0.299 * r + 0.587 * g + 0.114 * b).sum::<f32>() / 4.0;
            }
        });
        (columns, rows)
    }
}

/// The box of a blob, cells of `width` x `height` pixels.
fn in_frame(blob: &Blob, (width, height): (f32, f32)) -> BBox {
    BBox {
        x: blob.left as f32 * width,
        y: blob.top as f32 * height,
        width: blob.columns() as f32 * width,
        height: blob.rows() as f32 * height,
    }
}

#[cfg(test)]
mod tests;
