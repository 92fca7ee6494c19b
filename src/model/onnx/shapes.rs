//! The sizes of all tensors, known before any of them is computed.
//!
//! While it infers shapes, `tract` computes whatever depends on constants alone, however large. So shapes are inferred
//! here first, one node after the other, and a node is computed only when what it makes is of a sound size.

use tract_onnx::prelude::{InferenceModel, OutletId, TVec, TractResult};
use tract_onnx::tract_hir::infer::{Factoid, InferenceFact};
use tract_onnx::tract_hir::internal::DimLike;

use super::load::MAX_TENSOR;

/// Infers all shapes from the inputs on; refuses tensors that are too large, by node. What cannot be inferred in this
/// order is left to `into_typed`, which finds it or names the reason.
pub(super) fn infer(model: &mut InferenceModel) -> Result<(), String> {
    let Ok(order) = model.eval_order() else { return Ok(()) };
    for node in order {
        if let Some(large) = too_large(model, node) {
            return Err(format!("`{}` makes {}, which is too large", model.node(node).name, large.format_dt_shape()));
        }
        // An error here comes again from `into_typed`, or is none once later nodes are known.
        let _ = compute(model, node);
    }
    Ok(())
}

/// The first output of the node that is too large, as far as its inputs tell; nothing is computed.
fn too_large(model: &InferenceModel, node: usize) -> Option<InferenceFact> {
    let (inputs, outputs, observed) = facts(model, node).ok()?;
    let (_, made, _) = model.node(node).op.clone().infer_facts(inputs, outputs, observed).ok()?;
    made.into_iter().find(|fact| volume(fact) > MAX_TENSOR)
}

/// Sets what the node makes: shapes, and numbers where its inputs are constants.
fn compute(model: &mut InferenceModel, node: usize) -> TractResult<()> {
    let (inputs, outputs, observed) = facts(model, node)?;
    let (_, made, _) = model.node(node).op.clone().infer(inputs, outputs, observed)?;
    for (at, fact) in made.iter().enumerate() {
        let outlet = OutletId::new(node, at);
        let known = model.outlet_fact(outlet)?.unify(fact)?;
        model.set_outlet_fact(outlet, known)?;
    }
    Ok(())
}

type Facts<'a> = TVec<&'a InferenceFact>;

/// Of the inputs and outputs of a node, and of what else it looks at.
fn facts(model: &InferenceModel, node: usize) -> TractResult<(Facts<'_>, Facts<'_>, Facts<'_>)> {
    let (inputs, outputs) = model.node_facts(node)?;
    let node = model.node(node);
    let observed = node.op.observe_outlets(model, node)?;
    let observed = observed.into_iter().map(|outlet| model.outlet_fact(outlet)).collect::<TractResult<_>>()?;
    Ok((inputs, outputs, observed))
}

/// Numbers of a tensor by its known sides.
fn volume(fact: &InferenceFact) -> usize {
    let sides = fact.shape.dims().filter_map(|side| side.concretize()?.to_usize().ok());
    sides.fold(1, usize::saturating_mul)
}
