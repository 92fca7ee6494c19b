//! What of a model file would run as whole numbers.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use tract_onnx::prelude::{
    DatumType, Framework, InferenceFact, InferenceModel, IntoTValue, TValue, TVec, Tensor, TractResult, TypedFact,
    TypedModel,
};
use tract_onnx::tract_hir::infer::Factoid;

use super::MAX_MODEL_BYTES;
use super::load::{self, text};
use crate::error::{Error, Result, guard};
use crate::int8::{self, Report};

/// Which operators of an ONNX file run as whole numbers and which in float, and why. Needs no card: the sizes of the
/// inputs are those of the file, a batch left open is 1.
///
/// # Errors
/// [`Error::Read`] for a file that cannot be read; [`Error::TooLarge`] above [`MAX_MODEL_BYTES`];
/// [`Error::ModelLoad`] for a file that `tract` cannot load, or whose inputs have other open sides.
pub fn explain(path: &Path) -> Result<Report> {
    let unread = |source| Error::Read { what: "model file", path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unread)?;
    file.take(MAX_MODEL_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() > MAX_MODEL_BYTES {
        let found = bytes.len();
        return Err(Error::TooLarge {
            what: "bytes of the model file",
            found,
            max: MAX_MODEL_BYTES,
            constant: "MAX_MODEL_BYTES",
        });
    }
    let refused = |reason: String| Error::ModelLoad { path: path.to_owned(), reason: load::shortened(reason) };
    guard::guarded(|| report(&bytes)).unwrap_or_else(Err).map_err(refused)
}

/// The way of [`super::Network`] with a file of whatever inputs and outputs, without a card: loads, rewrites and
/// optimises it, and runs it once on zeros. For `tests/fuzz`.
///
/// # Errors
/// The reason why it cannot be loaded or run.
#[doc(hidden)]
pub fn try_out(bytes: &[u8]) -> std::result::Result<Report, String> {
    guard::guarded(|| {
        let (model, report) = int8::rewrite(typed(bytes)?).map_err(text)?;
        let inputs = model.inputs.iter().map(|outlet| model.outlet_fact(*outlet).and_then(zeros));
        let inputs = inputs.collect::<TractResult<TVec<TValue>>>().map_err(text)?;
        let (plan, _) = load::planned(model)?;
        plan.run(inputs).map_err(text)?;
        Ok(report)
    })?
}

fn zeros(fact: &TypedFact) -> TractResult<TValue> {
    let shape = fact.shape.as_concrete().unwrap_or_default();
    Ok(Tensor::zero_dt(fact.datum_type, shape)?.into_tvalue())
}

fn report(bytes: &[u8]) -> std::result::Result<Report, String> {
    int8::rewrite(typed(bytes)?).map(|(_, report)| report).map_err(text)
}

fn typed(bytes: &[u8]) -> std::result::Result<TypedModel, String> {
    let framework = int8::onnx();
    let mut model = framework.model_for_proto_model(&load::parsed(&framework, bytes)?).map_err(text)?;
    for input in 0..model.inputs.len() {
        let fact = fixed(&model, input)?;
        model.set_input_fact(input, fact).map_err(text)?;
    }
    load::typed(model)
}

/// The fact of an input with a batch of 1 where the file leaves it open.
fn fixed(model: &InferenceModel, input: usize) -> std::result::Result<InferenceFact, String> {
    let fact = model.input_fact(input).map_err(|error| format!("{error:#}"))?;
    let side = |(axis, side): (usize, &tract_onnx::tract_hir::infer::DimFact)| match side.concretize() {
        Some(dim) => dim.to_i64().ok().and_then(|side| usize::try_from(side).ok()).or((axis == 0).then_some(1)),
        None => (axis == 0).then_some(1),
    };
    let shape: Option<Vec<usize>> = fact.shape.dims().enumerate().map(side).collect();
    let rank = fact.shape.rank().concretize();
    let known = shape.filter(|shape| rank == Some(shape.len() as i64));
    let shape =
        known.ok_or_else(|| format!("input {input} has sides that are not fixed: {}", fact.format_dt_shape()))?;
    Ok(InferenceFact::dt_shape(fact.datum_type.concretize().unwrap_or(DatumType::F32), shape))
}
