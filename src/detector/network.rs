//! A network finds the people; its card says how to read what it gives.

use super::candidates::{Candidate, Candidates, MAX_CANDIDATES};
use super::{BBox, Detection, Detections, DetectorSettings, Shape, fastestdet, nanodet, nms, yolox};
use crate::error::{Error, Result};
use crate::frame::{Frame, Sampler};
use crate::model::{Card, Contract, DetectionOutput, Head, Input, Network};

/// What a head gives for each position whose score counts: row of the output, score, and the corners
/// left, top, right, bottom in pixels of the input.
pub(super) type Found<'a> = &'a mut dyn FnMut(usize, f32, [f32; 4]);

/// Finds people with a network.
#[derive(Debug)]
pub struct NetworkDetector {
    network: Network,
    input: Input,
    output: DetectionOutput,
    shape: Shape,
    sampler: Sampler,
    candidates: Candidates,
    found: Detections,
    left_out: u64,
}

impl NetworkDetector {
    pub(super) fn load(settings: &DetectorSettings, card: &Card) -> Result<Self> {
        let Contract::Detection { input, output } = card.contract.clone() else {
            let reason = format!("expected task = \"detection\", found \"{}\"", card.task());
            return Err(Error::BadToml { path: card.path().to_owned(), reason });
        };
        let threshold = settings.threshold.unwrap_or(output.threshold);
        let nms_iou = settings.nms_iou.unwrap_or(output.nms_iou);
        Ok(Self {
            network: Network::load(card)?,
            input,
            output: DetectionOutput { threshold, nms_iou, ..output },
            shape: Shape { min_height: settings.min_height, max_aspect: settings.max_aspect },
            sampler: Sampler::default(),
            candidates: Candidates::new(),
            found: Detections::new(),
            left_out: 0,
        })
    }

    pub(super) fn network(&self) -> &Network {
        &self.network
    }

    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.network.bytes() + MAX_CANDIDATES * size_of::<Candidate>()
    }

    pub(super) fn detect(&mut self, frame: &Frame) -> Result<&[Detection]> {
        let Self { network, input, output, shape, sampler, candidates, found, left_out } = self;
        let place = input.letterbox(frame.region());
        let outputs = network.run(|picture| {
            input.fill(sampler, frame, frame.region(), picture);
        })?;
        let sides = (frame.width() as f32, frame.height() as f32);
        candidates.clear();
        // Boxes that cannot be people go before suppression, so that none of them hides one.
        let mut keep = |anchor: usize, score: f32, [left, top, right, bottom]: [f32; 4]| {
            let (left, top) = place.to_frame(left, top);
            let (right, bottom) = place.to_frame(right, bottom);
            let bbox = BBox::inside([left, top, right, bottom], sides).filter(|bbox| shape.allows(bbox));
            if let Some(bbox) = bbox {
                candidates.push(Candidate { bbox, score: score.min(1.0), anchor });
            }
        };
        match output.head {
            Head::NanoDet => nanodet::decode(outputs.get(0), outputs.get(1), output, input, &mut keep),
            Head::FastestDet => fastestdet::decode(outputs.get(0), output, input, &mut keep),
            // A card of a detector has no other head.
            Head::Yolox | Head::Embedding | Head::NFormer => yolox::decode(outputs.get(0), output, input, &mut keep),
        }
        *left_out += nms::suppress(candidates.sorted(), output.nms_iou, found);
        Ok(found)
    }
}
