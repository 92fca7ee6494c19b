//! Crop -> embedding.

use std::sync::{Mutex, PoisonError};
use std::thread;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, in_range};
use crate::frame::{Frame, Region, Sampler};
use crate::kernels::{l2_normalise, length};
use crate::model::{Card, Contract, Input, Network};
use crate::size::MAX_PEOPLE;

/// Most threads: no board has more cores, and each costs a state of the network.
pub const MAX_THREADS: usize = 8;

/// Settings of making embeddings.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackboneSettings {
    /// Threads that share the crops of one frame, 1 to [`MAX_THREADS`]. With 1 no thread is made; the embeddings are the
    /// same bits with any number.
    pub threads: usize,
}

impl Default for BackboneSettings {
    fn default() -> Self {
        Self { threads: 1 }
    }
}

impl BackboneSettings {
    /// Checks every value.
    ///
    /// # Errors
    /// [`Error::BadSetting`] for the first one out of range.
    pub fn validate(&self) -> Result<()> {
        in_range("backbone.threads", self.threads, 1, MAX_THREADS)
    }
}

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
    input: Input,
    first: Worker,
    /// Those of the threads beside the caller's.
    others: Vec<Worker>,
    width: usize,
    /// `[batch, D]`.
    embeddings: Box<[f32]>,
}

impl Backbone {
    /// Loads the network of `card`, for one thread.
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
            input: input.clone(),
            first: Worker { network: Network::load(card)?, sampler: Sampler::default() },
            others: Vec::new(),
            width: *width,
            embeddings: vec![0.0; *width].into(),
        })
    }

    /// The same network with a state for each of the threads that `settings` ask for.
    ///
    /// # Errors
    /// [`Error::BadSetting`] as [`BackboneSettings::validate`], else as [`Network::twin`].
    pub fn with_settings(mut self, settings: &BackboneSettings) -> Result<Self> {
        settings.validate()?;
        let twin = |_| Ok(Worker { network: self.first.network.twin()?, sampler: Sampler::default() });
        self.others = (1..settings.threads).map(twin).collect::<Result<_>>()?;
        self.embeddings = vec![0.0; self.batch() * self.width].into();
        Ok(self)
    }

    /// Regions that [`Backbone::embed_all`] takes at once: 1 with one thread, else all that a frame can have.
    pub fn batch(&self) -> usize {
        if self.others.is_empty() { 1 } else { MAX_PEOPLE }
    }

    /// The embedding of the person in `region` of `frame`: sampled from the camera's pixels, run, scaled to length 1.
    ///
    /// # Errors
    /// [`Error::ModelRun`] if the network fails, [`Error::BadEmbedding`] if what it gives is zero or not finite.
    pub fn embed(&mut self, frame: &Frame, region: Region) -> Result<Embedding<'_>> {
        self.first.embed(&self.input, frame, region, &mut self.embeddings[..self.width])
    }

    /// What [`Backbone::embed`] gives for each of `regions`, in their order; none for those beyond [`Backbone::batch`].
    ///
    /// The threads live for this call: each takes the next region until none is left, and the caller's own is one of
    /// them. Making one costs some 20 µs, a run of a network milliseconds, and so neither pixels have to be copied for
    /// threads that outlive the frame, nor can one that fails be missing in the next. If the system has none to
    /// give, the others take its regions.
    pub fn embed_all(&mut self, frame: &Frame, regions: &[Region]) -> heapless::Vec<Result<Embedding<'_>>, MAX_PEOPLE> {
        let Self { input, first, others, width, embeddings } = self;
        let mut outcomes = [const { None }; MAX_PEOPLE];
        let jobs = Mutex::new(regions.iter().zip(embeddings.chunks_exact_mut(*width)).zip(&mut outcomes));
        let work = |worker: &mut Worker| {
            let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).next();
            while let Some(((region, values), outcome)) = next() {
                *outcome = Some(worker.embed(input, frame, *region, values));
            }
        };
        thread::scope(|scope| {
            for worker in others.iter_mut().take(regions.len().saturating_sub(1)) {
                let thread = thread::Builder::new().name("backbone".into());
                if thread.spawn_scoped(scope, || work(worker)).is_err() {
                    break;
                }
            }
            work(first);
        });
        outcomes.into_iter().flatten().collect()
    }

    /// Floats of an embedding.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The network inside.
    pub fn network(&self) -> &Network {
        &self.first.network
    }

    /// Bytes of weights and fixed buffers, of all threads (their stacks left aside).
    pub fn bytes(&self) -> usize {
        let others: usize = self.others.iter().map(|worker| size_of::<Worker>() + worker.network.state_bytes()).sum();
        size_of::<Self>() + self.network().bytes() + others + size_of_val(&*self.embeddings)
    }
}

/// What one thread needs.
#[derive(Debug)]
struct Worker {
    network: Network,
    sampler: Sampler,
}

impl Worker {
    /// The embedding of `region`, made in `values`, `[D]`.
    fn embed<'a>(
        &mut self,
        input: &Input,
        frame: &Frame,
        region: Region,
        values: &'a mut [f32],
    ) -> Result<Embedding<'a>> {
        let Self { network, sampler } = self;
        let outputs = network.run(|picture| {
            input.fill(sampler, frame, region, picture);
        })?;
        // Same length: the network was checked against the card when it was loaded, and checks each run.
        for (value, found) in values.iter_mut().zip(outputs.get(0)) {
            *value = *found;
        }
        Embedding::normalise(values)
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
