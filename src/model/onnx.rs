//! An ONNX file in `tract`, fixed to one picture at a time.

mod explain;
mod load;
mod nodes;
mod shapes;
mod sizes;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use tract_onnx::prelude::{IntoTValue, TValue, TVec, Tensor, TractResult, TypedRunnableModel, TypedSimpleState, tvec};

pub use explain::{explain, try_out};

use super::card::Card;
use super::input::Input;
use crate::error::{Error, Result, guard};

/// Largest model file that is read. Boards of this class hold a hundredth of it.
pub const MAX_MODEL_BYTES: usize = 256 << 20;

/// A verified model, ready to run: picture in, floats out. The batch is fixed at 1, because `tract`
/// is slower with a symbolic batch and slower a picture with a larger one.
pub struct Network {
    name: String,
    digest: String,
    path: PathBuf,
    input: Input,
    file_bytes: usize,
    weight_bytes: usize,
    arena_bytes: usize,
    plan: Arc<TypedRunnableModel>,
    state: TypedSimpleState,
    /// The input is lent to the plan for a run and comes back afterwards, so it is allocated once.
    picture: Arc<Tensor>,
    /// Of the last run: `tract` allocates its outputs anew.
    outputs: TVec<TValue>,
    lengths: Vec<usize>,
}

impl Network {
    /// Reads the file of `card` once, checks it against the card, and prepares it.
    ///
    /// # Errors
    /// As [`Card::read_model`]; [`Error::WeightsNotFinite`] for a damaged or badly trained file;
    /// [`Error::ModelLoad`] for a file that is no ONNX model, uses an operator that `tract` lacks, or keeps its
    /// weights elsewhere; [`Error::ModelShape`] if inputs or outputs are not what the card says.
    pub fn load(card: &Card) -> Result<Self> {
        let Some(input) = card.contract.input() else {
            let reason = format!("the card of `{}` describes no picture as its input", card.name);
            return Err(Error::ModelLoad { path: card.file_path().to_owned(), reason });
        };
        let bytes = card.read_model()?;
        let loaded = load::prepare(card, input, &bytes)?;
        let failed = |error: tract_onnx::prelude::TractError| load::refused(card, format!("{error:#}"));
        let state = loaded.plan.spawn().map_err(failed)?;
        let picture = Tensor::zero::<f32>(&input.shape()).map_err(failed)?;
        Ok(Self {
            name: card.name.clone(),
            digest: card.digest().to_owned(),
            path: card.file_path().to_owned(),
            input: input.clone(),
            file_bytes: bytes.len(),
            weight_bytes: loaded.weight_bytes,
            arena_bytes: loaded.arena_bytes,
            plan: loaded.plan,
            state,
            picture: Arc::new(picture),
            outputs: TVec::new(),
            lengths: loaded.output_lengths,
        })
    }

    /// Another state of the same plan: weights are shared, so a twin costs [`Network::state_bytes`] only, and two of
    /// them can run in two threads. The same picture gives the same bits in each.
    ///
    /// # Errors
    /// [`Error::ModelLoad`] if `tract` makes no further state.
    pub fn twin(&self) -> Result<Self> {
        let failed = |error: tract_onnx::prelude::TractError| Error::ModelLoad {
            path: self.path.clone(),
            reason: load::shortened(format!("{error:#}")),
        };
        Ok(Self {
            name: self.name.clone(),
            digest: self.digest.clone(),
            path: self.path.clone(),
            input: self.input.clone(),
            plan: Arc::clone(&self.plan),
            state: self.plan.spawn().map_err(failed)?,
            picture: Arc::new(Tensor::zero::<f32>(&self.input.shape()).map_err(failed)?),
            outputs: TVec::new(),
            lengths: self.lengths.clone(),
            ..*self
        })
    }

    /// Runs the network once. `fill` writes the whole input, `[3, height, width]`, which still holds
    /// the numbers of the last run.
    ///
    /// # Errors
    /// [`Error::ModelRun`] if the network fails; it can be run again afterwards.
    pub fn run(&mut self, fill: impl FnOnce(&mut [f32])) -> Result<Outputs<'_>> {
        self.outputs.clear();
        let done = self.fill(fill).and_then(|()| {
            let inputs = tvec!(Arc::clone(&self.picture).into_tvalue());
            let state = &mut self.state;
            guard::guarded(|| state.run(inputs)).and_then(|outcome| outcome.map_err(|error| format!("{error:#}")))
        });
        match done.and_then(|outputs| check_lengths(outputs, &self.lengths)) {
            Ok(outputs) => {
                self.outputs = outputs;
                Ok(Outputs(&self.outputs))
            }
            Err(reason) => {
                // A run that broke off leaves half-filled wires behind.
                if let Ok(state) = self.plan.spawn() {
                    self.state = state;
                }
                Err(Error::ModelRun { name: self.name.clone(), reason: load::shortened(reason) })
            }
        }
    }

    fn fill(&mut self, fill: impl FnOnce(&mut [f32])) -> std::result::Result<(), String> {
        if Arc::get_mut(&mut self.picture).is_none() {
            // An operator kept the last picture (a network that hands its input through does).
            self.picture = Arc::new(self.picture.as_ref().clone());
        }
        let write = |picture: &mut Tensor| -> TractResult<()> {
            fill(picture.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?);
            Ok(())
        };
        Arc::get_mut(&mut self.picture).map_or(Ok(()), write).map_err(|error| format!("{error:#}"))
    }

    /// The picture that goes in.
    pub fn input(&self) -> &Input {
        &self.input
    }

    /// The card's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first 8 hexadecimal digits of the file's SHA-256.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Where the file lies.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Bytes of the file.
    pub fn file_bytes(&self) -> usize {
        self.file_bytes
    }

    /// Bytes of the weights as they lie in memory (packing left aside) and of one state.
    pub fn bytes(&self) -> usize {
        self.weight_bytes + self.state_bytes()
    }

    /// Bytes of one state: the input, and the buffers of the integer operators.
    pub fn state_bytes(&self) -> usize {
        self.arena_bytes + self.input.shape().iter().product::<usize>() * size_of::<f32>()
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").field("name", &self.name).field("digest", &self.digest).finish_non_exhaustive()
    }
}

/// The outputs of one run, in the order of the file, each flat in row-major order.
#[derive(Clone, Copy, Debug)]
pub struct Outputs<'a>(&'a [TValue]);

impl<'a> Outputs<'a> {
    /// Output `index`; empty beyond the last.
    pub fn get(&self, index: usize) -> &'a [f32] {
        self.0.get(index).and_then(|value| floats(value)).unwrap_or_default()
    }
}

fn floats(value: &Tensor) -> Option<&[f32]> {
    value.try_as_plain_ram().ok()?.as_slice::<f32>().ok()
}

/// The heads index their outputs by the shapes on the card, so a run must not return anything else.
fn check_lengths(outputs: TVec<TValue>, lengths: &[usize]) -> std::result::Result<TVec<TValue>, String> {
    let found: Vec<_> = outputs.iter().map(|value| floats(value).map(<[f32]>::len)).collect();
    if found.iter().copied().eq(lengths.iter().copied().map(Some)) {
        return Ok(outputs);
    }
    Err(format!("expected outputs of {lengths:?} floats, found {found:?}"))
}
