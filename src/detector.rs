//! Frame -> detections: where people are.
//!
//! Three ways to find them: a network (any of a few output layouts, said by the model's card), a
//! running background for a camera that stands still, and "the whole frame is one person" for
//! pictures that are cut already.

mod candidates;
mod fastestdet;
mod motion;
mod nanodet;
mod network;
mod nms;
mod whole;
mod yolox;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, in_range};
use crate::frame::Frame;
use crate::model::{Card, Network};
use crate::size::MAX_PEOPLE;

pub use motion::{MotionDetector, MotionSettings};
pub use network::NetworkDetector;
pub use whole::WholeDetector;

/// An upright box in frame pixels; the origin is the top left corner of the frame.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BBox {
    /// Left edge.
    pub x: f32,
    /// Top edge.
    pub y: f32,
    /// Width.
    pub width: f32,
    /// Height.
    pub height: f32,
}

/// One person found in a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// Where, inside the frame.
    pub bbox: BBox,
    /// How sure the detector is, 0 to 1.
    pub score: f32,
}

/// The people of one frame, best score first; those beyond [`MAX_PEOPLE`] are left out.
pub type Detections = heapless::Vec<Detection, MAX_PEOPLE>;

impl BBox {
    /// Area in square pixels; 0 for an empty box.
    pub fn area(&self) -> f32 {
        self.width.max(0.0) * self.height.max(0.0)
    }

    /// Area that both boxes cover, in square pixels.
    pub fn intersection(&self, other: &Self) -> f32 {
        let width = (self.x + self.width).min(other.x + other.width) - self.x.max(other.x);
        let height = (self.y + self.height).min(other.y + other.height) - self.y.max(other.y);
        width.max(0.0) * height.max(0.0)
    }

    /// Intersection over union, 0 to 1; 0 where either box is empty.
    pub fn iou(&self, other: &Self) -> f32 {
        let shared = self.intersection(other);
        let union = self.area() + other.area() - shared;
        if union > 0.0 { shared / union } else { 0.0 }
    }

    /// The box from its corners, cut at the borders of a frame of `width` x `height` pixels. None if a
    /// corner is not finite or nothing is left.
    pub fn inside([left, top, right, bottom]: [f32; 4], (width, height): (f32, f32)) -> Option<Self> {
        if ![left, top, right, bottom].into_iter().all(f32::is_finite) {
            return None;
        }
        let (x, y) = (left.clamp(0.0, width), top.clamp(0.0, height));
        let cut = Self { x, y, width: right.clamp(0.0, width) - x, height: bottom.clamp(0.0, height) - y };
        (cut.width > 0.0 && cut.height > 0.0).then_some(cut)
    }
}

/// How people are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DetectorKind {
    /// By a network.
    #[default]
    Model,
    /// By what changes before a standing camera; needs no weights.
    Motion,
    /// The whole frame is one person.
    Whole,
}

/// Settings of the detector.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct DetectorSettings {
    /// How people are found: `model`, `motion` or `whole`.
    pub kind: DetectorKind,
    /// Only every n-th frame is looked at, 1 to 1000 (1 is all of them).
    pub every: u64,
    /// Least score of a detection, 0.01 to 1; the card's if absent.
    pub threshold: Option<f32>,
    /// Overlap (intersection over union, 0 to 1) above which the weaker of two boxes is dropped; the card's if absent.
    pub nms_iou: Option<f32>,
    /// Least height of a box, in pixels of the frame. Below it there is too little of a person to tell who it is.
    pub min_height: f32,
    /// Largest width of a box as a multiple of its height.
    pub max_aspect: f32,
    /// For the kind `motion`.
    pub motion: MotionSettings,
}

impl Default for DetectorSettings {
    fn default() -> Self {
        Self {
            kind: DetectorKind::default(),
            every: 1,
            threshold: None,
            nms_iou: None,
            min_height: 40.0,
            max_aspect: 1.5,
            motion: MotionSettings::default(),
        }
    }
}

impl DetectorSettings {
    /// Checks every value.
    ///
    /// # Errors
    /// [`Error::BadSetting`] for the first one out of range.
    pub fn validate(&self) -> Result<()> {
        in_range("detector.every", self.every, 1, 1000)?;
        if let Some(threshold) = self.threshold {
            in_range("detector.threshold", threshold, 0.01, 1.0)?;
        }
        if let Some(iou) = self.nms_iou {
            in_range("detector.nms_iou", iou, 0.0, 1.0)?;
        }
        in_range("detector.min_height", self.min_height, 0.0, 4096.0)?;
        in_range("detector.max_aspect", self.max_aspect, 0.1, 10.0)?;
        self.motion.validate()
    }
}

/// Which boxes are people at all.
#[derive(Clone, Copy, Debug)]
struct Shape {
    min_height: f32,
    max_aspect: f32,
}

impl Shape {
    fn allows(self, bbox: &BBox) -> bool {
        bbox.height >= self.min_height && bbox.width <= self.max_aspect * bbox.height
    }
}

/// Finds people in frames.
#[derive(Debug)]
pub enum Detector {
    /// By a network.
    Network(Box<NetworkDetector>),
    /// By what changes before a standing camera.
    Motion(Box<MotionDetector>),
    /// The whole frame is one person.
    Whole(WholeDetector),
}

impl Detector {
    /// The detector that `settings` ask for. Only the kind [`DetectorKind::Model`] needs a card.
    ///
    /// # Errors
    /// [`Error::BadSetting`] for a value out of range or a missing card, [`Error::BadToml`] for the card of
    /// another task, else as [`Network::load`].
    pub fn new(settings: &DetectorSettings, card: Option<&Card>) -> Result<Self> {
        settings.validate()?;
        Ok(match settings.kind {
            DetectorKind::Model => {
                let card = card.ok_or_else(|| Error::BadSetting {
                    key: "detector.kind",
                    expected: "motion or whole where there is no model".to_owned(),
                    found: "model".to_owned(),
                })?;
                Self::Network(Box::new(NetworkDetector::load(settings, card)?))
            }
            DetectorKind::Motion => Self::Motion(Box::new(MotionDetector::new(settings))),
            DetectorKind::Whole => Self::Whole(WholeDetector::default()),
        })
    }

    /// The people in `frame`, best score first, at most [`MAX_PEOPLE`], boxes cut at the frame's borders.
    ///
    /// # Errors
    /// [`Error::ModelRun`] if the network fails.
    pub fn detect(&mut self, frame: &Frame) -> Result<&[Detection]> {
        match self {
            Self::Network(network) => network.detect(frame),
            Self::Motion(motion) => Ok(motion.detect(frame)),
            Self::Whole(whole) => Ok(whole.detect(frame)),
        }
    }

    /// People beyond [`MAX_PEOPLE`] that were left out since the start.
    pub fn left_out(&self) -> u64 {
        match self {
            Self::Network(network) => network.left_out(),
            Self::Motion(motion) => motion.left_out(),
            Self::Whole(_) => 0,
        }
    }

    /// The network inside, if there is one: its name, digest and size.
    pub fn network(&self) -> Option<&Network> {
        match self {
            Self::Network(detector) => Some(detector.network()),
            Self::Motion(_) | Self::Whole(_) => None,
        }
    }

    /// Bytes of weights and fixed buffers.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Network(network) => network.bytes(),
            Self::Motion(motion) => motion.bytes(),
            Self::Whole(_) => size_of::<WholeDetector>(),
        }
    }
}

#[cfg(test)]
mod tests;
