//! File -> plan, with every check on the way.

use std::sync::Arc;

use tract_onnx::Onnx;
use tract_onnx::pb::{GraphProto, ModelProto, TensorProto};
use tract_onnx::prelude::{
    DatumType, Framework, InferenceFact, InferenceModel, InferenceModelExt, IntoRunnable, TractError, TypedModel,
    TypedRunnableModel,
};
use tract_onnx::tract_hir::infer::Factoid;

use super::{nodes, shapes, sizes};
use crate::error::{Error, Result, guard};
use crate::int8;
use crate::model::card::Card;
use crate::model::input::Input;

/// Longest reason given to the user: `tract` prints whole nodes.
const MAX_REASON: usize = 600;

// Codes of `TensorProto.DataType` (onnx.proto3).
const FLOAT: i32 = 1;
const FLOAT16: i32 = 10;
const DOUBLE: i32 = 11;

/// A plan and what the checks found out about it.
pub(super) struct Loaded {
    pub(super) plan: Arc<TypedRunnableModel>,
    pub(super) weight_bytes: usize,
    /// Of the buffers that each state of the plan has.
    pub(super) arena_bytes: usize,
    pub(super) output_lengths: Vec<usize>,
}

/// Parses, checks and optimises the file's bytes.
pub(super) fn prepare(card: &Card, input: &Input, bytes: &[u8]) -> Result<Loaded> {
    guard::guarded(|| prepare_unguarded(card, input, bytes)).unwrap_or_else(|reason| Err(refused(card, reason)))
}

/// The error for a file that cannot be run.
pub(super) fn refused(card: &Card, reason: String) -> Error {
    Error::ModelLoad { path: card.file_path().to_owned(), reason: shortened(reason) }
}

/// `reason`, cut where it becomes a dump.
pub(super) fn shortened(mut reason: String) -> String {
    if let Some((end, _)) = reason.char_indices().nth(MAX_REASON) {
        reason.truncate(end);
        reason.push_str(" ...");
    }
    reason
}

fn prepare_unguarded(card: &Card, input: &Input, bytes: &[u8]) -> Result<Loaded> {
    let refused = |reason: String| refused(card, reason);
    let framework = int8::onnx();
    let proto = parsed(&framework, bytes).map_err(refused)?;
    check_weights(card, &proto)?;
    let mut model = framework.model_for_proto_model(&proto).map_err(text).map_err(refused)?;
    // The parsed file holds the weights a second time.
    drop(proto);
    check_input(card, input, &model)?;
    let fact = InferenceFact::dt_shape(DatumType::F32, input.shape());
    model.set_input_fact(0, fact).map_err(text).map_err(refused)?;
    let model = typed(model).map_err(refused)?;
    let output_lengths = check_outputs(card, &model)?;
    let (model, report) = int8::rewrite(model).map_err(text).map_err(refused)?;
    let (plan, bytes) = planned(model).map_err(refused)?;
    Ok(Loaded { plan, weight_bytes: bytes + report.weight_bytes, arena_bytes: report.arena_bytes, output_lengths })
}

/// A file, parsed, in which `tract` finds nothing that it would not survive.
pub(super) fn parsed(framework: &Onnx, bytes: &[u8]) -> std::result::Result<ModelProto, String> {
    let proto = framework.proto_model_for_read(&mut &*bytes).map_err(text)?;
    proto.graph.as_ref().map_or(Ok(()), nodes::check)?;
    Ok(proto)
}

/// A model whose inputs are fixed, with all types and sizes, none of them too large.
pub(super) fn typed(mut model: InferenceModel) -> std::result::Result<TypedModel, String> {
    shapes::infer(&mut model)?;
    let model = model.into_typed().map_err(text)?;
    sizes::check_tensors(&model)?;
    Ok(model)
}

/// The reason, with what led to it.
#[expect(clippy::needless_pass_by_value, reason = "what `map_err` hands over")]
pub(super) fn text(error: TractError) -> String {
    format!("{error:#}")
}

/// The plan of a rewritten model, and the bytes of its weights in float.
///
/// # Errors
/// The reason why it cannot be run, or must not be for its size.
pub(super) fn planned(mut model: TypedModel) -> std::result::Result<(Arc<TypedRunnableModel>, usize), String> {
    model.declutter().map_err(text)?;
    sizes::check_tensors(&model)?;
    sizes::check_work(&model)?;
    let weight_bytes = weight_bytes(&model);
    model.optimize().map_err(text)?;
    Ok((model.into_runnable().map_err(text)?, weight_bytes))
}

fn mismatch(card: &Card, what: &str, expected: String, found: String) -> Error {
    Error::ModelShape { path: card.file_path().to_owned(), what: what.to_owned(), expected, found }
}

/// One input, and nothing declared of it that contradicts the card. A size left open is fixed by the card.
fn check_input(card: &Card, input: &Input, model: &InferenceModel) -> Result<()> {
    if model.inputs.len() != 1 {
        return Err(mismatch(card, "inputs", "1".to_owned(), model.inputs.len().to_string()));
    }
    let fact = model.input_fact(0).map_err(|error| refused(card, format!("{error:#}")))?;
    let expected = input.shape();
    let float = fact.datum_type.concretize().is_none_or(|kind| kind == DatumType::F32);
    let mut dims = fact.shape.dims().zip(expected);
    let fits = dims.all(|(found, expected)| match found.concretize().map(|dim| dim.to_i64()) {
        Some(Ok(found)) => found == expected as i64,
        Some(Err(_)) | None => true,
    });
    let rank = fact.shape.rank().concretize().is_none_or(|rank| rank == 4);
    if float && fits && rank {
        return Ok(());
    }
    Err(mismatch(card, "input", format!("{expected:?} of f32"), fact.format_dt_shape()))
}

/// The shapes of the outputs against the card; trailing sides of 1 do not count (`[1, 256, 1, 1]` is a vector of 256).
fn check_outputs(card: &Card, model: &TypedModel) -> Result<Vec<usize>> {
    let expected = card.contract.output_shapes();
    let mut found = Vec::new();
    for outlet in &model.outputs {
        let fact = model.outlet_fact(*outlet).map_err(|error| refused(card, format!("{error:#}")))?;
        if fact.datum_type != DatumType::F32 {
            return Err(mismatch(card, "output type", "f32".to_owned(), format!("{:?}", fact.datum_type)));
        }
        found.push(fact.shape.as_concrete().unwrap_or_default().to_vec());
    }
    let fits = |found: &[usize], expected: &[usize]| {
        found.strip_prefix(expected).is_some_and(|rest| rest.iter().all(|dim| *dim == 1))
    };
    if found.len() != expected.len() || !found.iter().zip(&expected).all(|(found, expected)| fits(found, expected)) {
        return Err(mismatch(card, "outputs", format!("{expected:?}"), format!("{found:?}")));
    }
    Ok(expected.iter().map(|shape| shape.iter().product()).collect())
}

fn weight_bytes(model: &TypedModel) -> usize {
    let constants = model.nodes().iter().flat_map(|node| &node.outputs).filter_map(|output| output.fact.konst.as_ref());
    constants.map(|tensor| tensor.len() * tensor.datum_type().size_of()).sum()
}

/// Refuses weights that are not finite: they would poison every output.
fn check_weights(card: &Card, model: &ModelProto) -> Result<()> {
    let Some(graph) = &model.graph else { return Ok(()) };
    match unsound(graph) {
        None => Ok(()),
        Some(tensor) => Err(Error::WeightsNotFinite { path: card.file_path().to_owned(), tensor }),
    }
}

/// The first tensor in the graph that is not finite.
fn unsound(graph: &GraphProto) -> Option<String> {
    let named = graph.initializer.iter().find(|tensor| !finite(tensor)).map(|tensor| tensor.name.clone());
    named.or_else(|| {
        graph.node.iter().find_map(|node| {
            let mut tensors = node.attribute.iter().flat_map(|attribute| attribute.t.iter().chain(&attribute.tensors));
            tensors.find(|tensor| !finite(tensor)).map(|_| node.output.first().unwrap_or(&node.name).clone())
        })
    })
}

fn finite(tensor: &TensorProto) -> bool {
    // One infinite number alone is the open end of a range (`Clip`), not a weight.
    let single = tensor.dims.iter().all(|dim| *dim <= 1);
    let sound = |value: f64| value.is_finite() || (value.is_infinite() && single);
    let raw = &tensor.raw_data;
    match tensor.data_type {
        FLOAT => {
            raw.as_chunks().0.iter().all(|bytes| sound(f32::from_le_bytes(*bytes).into()))
                && tensor.float_data.iter().all(|value| sound(f64::from(*value)))
        }
        DOUBLE => {
            raw.as_chunks().0.iter().all(|bytes| sound(f64::from_le_bytes(*bytes)))
                && tensor.double_data.iter().all(|value| sound(*value))
        }
        // Half floats with all exponent bits set are infinite or not a number.
        FLOAT16 => raw.as_chunks().0.iter().all(|bytes| u16::from_le_bytes(*bytes) & 0x7c00 != 0x7c00),
        _ => true,
    }
}
