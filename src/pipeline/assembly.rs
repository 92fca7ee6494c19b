//! Settings -> a pipeline ready to run: reads the cards, verifies and loads the models.

use super::Pipeline;
use crate::backbone::Backbone;
use crate::detector::{Detector, DetectorKind};
use crate::error::{Error, Result};
use crate::model::{Card, Contract};
use crate::nformer::{Online, Weights};
use crate::report::message::{MAX_MODELS, ModelDigest, text};
use crate::settings::Settings;
use crate::size::NEIGHBORS;
use crate::state::Fingerprint;

/// Digests of the models in use.
pub type Models = heapless::Vec<ModelDigest, MAX_MODELS>;

impl Pipeline {
    /// Loads the models that the settings name and puts the rooms together.
    ///
    /// # Errors
    /// What the cards, model files and weights bring: [`Error::Read`], [`Error::BadToml`],
    /// [`Error::ModelChecksum`], [`Error::ModelLoad`], [`Error::ModelShape`], [`Error::WeightsNotFinite`],
    /// [`Error::EmbeddingWidth`], [`Error::TooLarge`].
    pub fn open(settings: &Settings) -> Result<(Self, Models)> {
        let mut models = Models::new();
        let mut card = |name: &str| -> Result<Card> {
            let card = Card::read(&settings.card_path(name)?)?;
            let digest = ModelDigest { name: text(&card.name), digest: text(card.digest()) };
            // Cannot fail: three models, and room for four.
            let _ = models.push(digest);
            Ok(card)
        };
        let detector_card = match settings.detector.kind {
            DetectorKind::Model => Some(card(&settings.models.detector)?),
            DetectorKind::Motion | DetectorKind::Whole => None,
        };
        let backbone_card = card(&settings.models.backbone)?;
        let fusion_card = card(&settings.models.fusion)?;

        let detector = Detector::new(&settings.detector, detector_card.as_ref())?;
        let backbone = Backbone::load(&backbone_card)?.with_settings(&settings.backbone)?;
        let weights = load_weights(&fusion_card)?.with_precision(settings.nformer.precision);
        let top_k = settings.nformer.top_k.unwrap_or(match &fusion_card.contract {
            Contract::Fusion(fusion) => fusion.top_k,
            _ => 0,
        });
        let online = Online::new(weights, NEIGHBORS, top_k)?;
        let pipeline = Self::new(settings, detector, backbone, online)?;
        // The detector is not among them: with another one people look the same.
        let fingerprint = Fingerprint::of([&backbone_card, &fusion_card].map(|card| card.sha256.as_str()));
        Ok((Self { fingerprint, ..pipeline }, models))
    }
}

/// The weights of a fusion card, checked against what the card says.
///
/// # Errors
/// [`Error::BadToml`] for the card of another task, [`Error::ModelShape`] for a file of other sizes than it says, else as
/// [`Card::read_model`] and [`Weights::from_bytes`].
pub fn load_weights(card: &Card) -> Result<Weights> {
    let Contract::Fusion(said) = &card.contract else {
        return Err(Error::BadToml {
            path: card.path().into(),
            reason: format!("expected task = \"fusion\", found {:?}", card.task()),
        });
    };
    let weights = Weights::from_bytes(&card.read_model()?, card.file_path())?;
    let found = [weights.width(), weights.width(), weights.layers(), weights.heads()];
    let expected = [said.input_width, said.width, said.layers, said.heads];
    if found != expected {
        return Err(Error::ModelShape {
            path: card.file_path().into(),
            what: "input width, output width, layers, heads".into(),
            expected: format!("{expected:?}"),
            found: format!("{found:?}"),
        });
    }
    Ok(weights)
}
