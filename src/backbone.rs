//! Crop -> embedding.

use crate::error::{Error, Result};
use crate::frame::{Frame, Region, Sampler};
use crate::kernels::{l2_normalise, length};
use crate::model::{Card, Contract, Input, Network};

/// One L2-normalised embedding, `[D]`: finite, of length 1. The only ways to make one are [`Embedding::normalise`] and,
/// for what was one before, [`Embedding::kept`], so no room behind the backbone has to check again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Embedding<'a>(&'a [f32]);

impl<'a> Embedding<'a> {
    /// Scales `values` to length 1 in place: `x / |x|`.
    ///
    /// # Errors
    /// [`Error::BadEmbedding`] if a value is not finite or all are (nearly) zero.
    pub fn normalise(values: &'a mut [f32]) -> Result<Self> {
        if !length(values).is_finite() {
            return Err(Error::BadEmbedding { found: "not finite" });
        }
        if !l2_normalise(values) {
            return Err(Error::BadEmbedding { found: "all zero" });
        }
        Ok(Self(values))
    }

    /// An embedding that comes back from where it was kept: checked, and not one bit of it changed.
    ///
    /// # Errors
    /// [`Error::BadEmbedding`] if a value is not finite or the length is not 1.
    pub fn kept(values: &'a [f32]) -> Result<Self> {
        let length = length(values);
        if !length.is_finite() {
            return Err(Error::BadEmbedding { found: "not finite" });
        }
        // Rounding moves the length of 2048 values by less than 2048 * 2^-24.
        if (length - 1.0).abs() > 1e-3 {
            return Err(Error::BadEmbedding { found: "not of length 1" });
        }
        Ok(Self(values))
    }

    /// The values, `[D]`.
    pub fn as_slice(&self) -> &'a [f32] {
        self.0
    }
}

/// A network that tells people apart: picture of one person -> embedding. Any ONNX file with one
/// picture in and one vector out serves, described by its card.
#[derive(Debug)]
pub struct Backbone {
    network: Network,
    input: Input,
    sampler: Sampler,
    embedding: Box<[f32]>,
}

impl Backbone {
    /// Loads the network of `card`.
    ///
    /// # Errors
    /// [`Error::BadToml`] for the card of another task, else as [`Network::load`]. (A card with an embedding wider
    /// than [`crate::size::MAX_EMBEDDING`] cannot be read in the first place.)
    pub fn load(card: &Card) -> Result<Self> {
        let Contract::Reid { input, width } = &card.contract else {
            let reason = format!("expected task = \"reid\", found \"{}\"", card.task());
            return Err(Error::BadToml { path: card.path().to_owned(), reason });
        };
        Ok(Self {
            network: Network::load(card)?,
            input: input.clone(),
            sampler: Sampler::default(),
            embedding: vec![0.0; *width].into(),
        })
    }

    /// The embedding of the person in `region` of `frame`: sampled from the camera's pixels, run, scaled to length 1.
    ///
    /// # Errors
    /// [`Error::ModelRun`] if the network fails, [`Error::BadEmbedding`] if what it gives is zero or not finite.
    pub fn embed(&mut self, frame: &Frame, region: Region) -> Result<Embedding<'_>> {
        let Self { network, input, sampler, embedding } = self;
        let outputs = network.run(|picture| {
            input.fill(sampler, frame, region, picture);
        })?;
        // Same length: the network was checked against the card when it was loaded, and checks each run.
        for (value, found) in embedding.iter_mut().zip(outputs.get(0)) {
            *value = *found;
        }
        Embedding::normalise(embedding)
    }

    /// Floats of an embedding.
    pub fn width(&self) -> usize {
        self.embedding.len()
    }

    /// The network inside.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Bytes of weights and fixed buffers.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.network.bytes() + size_of_val(&*self.embedding)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Embedding;

    #[test]
    fn zero_and_not_finite_are_refused() {
        for (values, found) in [
            ([0.0, 0.0], "all zero"),
            ([1e-20, 0.0], "all zero"),
            ([f32::NAN, 1.0], "not finite"),
            ([f32::INFINITY, 1.0], "not finite"),
        ] {
            let text = Embedding::normalise(&mut values.clone()).unwrap_err().to_string();
            assert!(text.contains(found), "{text}");
        }
        assert!(Embedding::normalise(&mut []).is_err());
    }

    #[test]
    fn what_was_kept_comes_back_as_it_was_or_not_at_all() {
        let mut values = [0.3, -0.7, 0.1];
        let made = Embedding::normalise(&mut values).unwrap().as_slice().to_vec();
        assert_eq!(Embedding::kept(&made).unwrap().as_slice(), made);
        for wrong in [&[0.0, 0.0][..], &[0.9, 0.0], &[f32::NAN, 1.0], &[f32::INFINITY], &[f32::MAX, f32::MAX], &[]] {
            assert!(Embedding::kept(wrong).is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn an_embedding_has_length_one(mut values in proptest::collection::vec(-1e30_f32..1e30, 1..300)) {
            prop_assume!(values.iter().any(|value| value.abs() > 1e-6));
            let embedding = Embedding::normalise(&mut values).unwrap();
            let norm = embedding.as_slice().iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
            // Each of up to 300 squares is rounded to f32 once: 300 * 2^-24.
            prop_assert!((norm - 1.0).abs() < 2e-5, "{norm}");
        }
    }
}
