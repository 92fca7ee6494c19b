//! The sizes of all tensors, known before any of them is computed.
//!
//! While it infers shapes, `tract` computes whatever depends on constants alone, however large, also where no output
//! needs it. So shapes are inferred here first: the same steps in the same order, and before each of them what it would
//! make is measured. Afterwards nothing is left for `tract` to find out, so its own analysis computes nothing larger.

use std::collections::{BTreeSet, HashMap};

use tract_onnx::prelude::{InferenceModel, OutletId, TVec, TractResult};
use tract_onnx::tract_hir::infer::{Factoid, InferenceFact};
use tract_onnx::tract_hir::internal::DimLike;

use super::load::text;
use super::sizes::{MAX_TENSOR, MAX_TOTAL};

/// Bytes of a number whose type is not known yet.
const UNKNOWN_TYPE: usize = 8;

/// Operators that make no more numbers than they take times the axes, though how many depends on the values.
const SELECTING: &[&str] = &["NonZero", "Compress", "NonMaxSuppression"];

/// Operators for whose places, their second input, `tract` counts the axes down from one.
const PLACING: &[&str] = &["GatherND", "ScatterND"];

/// Operators on sounds, over whose axes `tract` counts without end where there are none. Networks that look at pictures have no
/// use for them.
const SOUND: &[&str] = &["DFT", "Dft17", "STFT"];

/// Infers all shapes, inputs and outputs of every node alike, until nothing changes any more.
///
/// # Errors
/// The reason, with the node, where a tensor or all of them together are too large, where the size of a constant cannot
/// be told before it is computed, or where `tract` fails.
pub(super) fn infer(model: &mut InferenceModel) -> Result<(), String> {
    // Finds loops.
    model.eval_order().map_err(text)?;
    let observers = observers(model).map_err(text)?;
    let mut waiting: BTreeSet<usize> = (0..model.nodes().len()).collect();
    let mut total = 0_usize;
    while let Some(node) = waiting.pop_first() {
        let name = &model.node(node).name;
        check(model, node).map_err(|reason| format!("`{name}` {reason}"))?;
        let changed = step(model, node)
            .map_err(|error| format!("`{}` ({}): {error:#}", model.node(node).name, model.node(node).op.name()))?;
        for (outlet, fact) in changed {
            let known = model.outlet_fact(outlet).map_or(0, bytes);
            total = total.saturating_add(bytes(&fact)).saturating_sub(known);
            if total > MAX_TOTAL {
                let name = &model.node(outlet.node).name;
                return Err(format!("up to `{name}` the tensors take {total} bytes, more than {MAX_TOTAL}"));
            }
            model.set_outlet_fact(outlet, fact).map_err(text)?;
            let readers = model.nodes()[outlet.node].outputs[outlet.slot].successors.iter().map(|reader| reader.node);
            let touched = readers.chain([outlet.node]).chain(observers.get(&outlet).into_iter().flatten().copied());
            waiting.extend(touched.filter(|touched| *touched != node));
        }
    }
    Ok(())
}

/// Nodes that look at an outlet that is no input of theirs.
fn observers(model: &InferenceModel) -> TractResult<HashMap<OutletId, Vec<usize>>> {
    let mut observers: HashMap<_, Vec<_>> = HashMap::new();
    for node in model.nodes() {
        for outlet in node.op.observe_outlets(model, node)? {
            observers.entry(outlet).or_default().push(node.id);
        }
    }
    Ok(observers)
}

/// Refuses a node whose outputs are too large as far as its inputs tell; nothing is computed.
fn check(model: &InferenceModel, node: usize) -> Result<(), String> {
    let mut op = model.node(node).op.clone();
    // What fails here fails in the step too.
    let Ok((inputs, outputs, observed)) = facts(model, node) else { return Ok(()) };
    if SOUND.iter().any(|name| op.name().eq_ignore_ascii_case(name)) {
        return Err(format!("({}) is for sounds, not for pictures", op.name()));
    }
    let placing = PLACING.iter().any(|name| op.name().eq_ignore_ascii_case(name));
    if placing && inputs.get(1).is_some_and(|places| places.shape.rank().concretize() == Some(0)) {
        // The count would not end.
        return Err(format!("({}) takes places without an axis", op.name()));
    }
    let refs = (inputs.iter().collect(), outputs.iter().collect(), observed.iter().map(|(_, fact)| fact).collect());
    let Ok((read, made, _)) = op.infer_facts(refs.0, refs.1, refs.2) else { return Ok(()) };
    if let Some(large) = made.iter().find(|fact| volume(fact) > MAX_TENSOR) {
        return Err(format!("makes {}, which is too large", large.format_dt_shape()));
    }
    let computed = !read.is_empty() && read.iter().all(|fact| fact.value.is_concrete());
    if computed && !made.iter().all(|fact| fact.shape.is_concrete()) && !SELECTING.contains(&&*op.name()) {
        return Err(format!("({}) makes a constant whose size cannot be told before it is computed", op.name()));
    }
    Ok(())
}

/// Facts by whose they are.
type Told = Vec<(OutletId, InferenceFact)>;

/// What one node tells of its inputs, outputs and what it observes, beyond what is known of them.
fn step(model: &mut InferenceModel, node: usize) -> TractResult<Told> {
    let (inputs, outputs, observed) = facts(model, node)?;
    let (read, made, seen) = model.node_mut(node).op.infer(
        inputs.iter().collect(),
        outputs.iter().collect(),
        observed.iter().map(|(_, fact)| fact).collect(),
    )?;
    let read = model.node(node).inputs.iter().copied().zip(read);
    let made = made.into_iter().enumerate().map(|(slot, fact)| (OutletId::new(node, slot), fact));
    let seen = observed.iter().map(|(outlet, _)| *outlet).zip(seen);
    let mut changed = Vec::new();
    for (outlet, fact) in read.chain(made).chain(seen) {
        let known = model.outlet_fact(outlet)?;
        let unified = known.unify(&fact)?;
        if unified != *known {
            changed.push((outlet, unified));
        }
    }
    Ok(changed)
}

type Facts = TVec<InferenceFact>;

/// Of the inputs and outputs of a node, and of what else it looks at.
fn facts(model: &InferenceModel, node: usize) -> TractResult<(Facts, Facts, Told)> {
    let (inputs, outputs) = model.node_facts(node)?;
    let node = model.node(node);
    let observed = node.op.observe_outlets(model, node)?.into_iter();
    let observed = observed.map(|outlet| Ok((outlet, model.outlet_fact(outlet)?.clone())));
    let observed = observed.collect::<TractResult<_>>()?;
    Ok((inputs.into_iter().cloned().collect(), outputs.into_iter().cloned().collect(), observed))
}

/// Numbers of a tensor by its known sides.
fn volume(fact: &InferenceFact) -> usize {
    let sides = fact.shape.dims().filter_map(|side| side.concretize()?.to_usize().ok());
    sides.fold(1, usize::saturating_mul)
}

fn bytes(fact: &InferenceFact) -> usize {
    let number = fact.datum_type.concretize().map_or(UNKNOWN_TYPE, |kind| kind.size_of());
    volume(fact).saturating_mul(number)
}
