//! How large what a model makes may be. Anything near these numbers is a mistake or an attack, and would end the process
//! instead of giving an error.

use tract_core::ops::cnn::{Conv, Deconv, MaxPool, PoolSpec, SumPool};
use tract_core::ops::einsum::EinSum;
use tract_onnx::prelude::{TypedFact, TypedModel};
use tract_onnx::tract_hir::internal::TypedNode;

/// Most numbers in one tensor: an eighth of a gigabyte as f32, a gigabyte in the widest form that `tract` keeps one in
/// while it works on shapes.
pub(super) const MAX_TENSOR: usize = 32 << 20;

/// Most bytes of all tensors of a graph, weights and what passes between operators alike.
pub(super) const MAX_TOTAL: usize = 1 << 30;

/// Most numbers that one operator may need beside its inputs and outputs: a quarter of a gigabyte as f32.
const MAX_SCRATCH: usize = 64 << 20;

/// Most multiplications and additions of one run: sixteen times a `ResNet50`, seconds on a fast machine.
const MAX_WORK: u64 = 1 << 36;

/// Rows and columns of a product are filled up to a multiple of at most this, the largest tile of any processor.
const TILE: usize = 64;

/// Refuses tensors that are too large, one or all together; the reason names the node.
pub(super) fn check_tensors(model: &TypedModel) -> Result<(), String> {
    let mut total = 0_usize;
    for node in model.nodes() {
        for output in &node.outputs {
            let volume = output.fact.shape.as_concrete().map(product);
            let Some(volume) = volume.filter(|volume| *volume <= MAX_TENSOR) else {
                return Err(format!("`{}` makes {:?}, which is too large or not fixed", node.name, output.fact.shape));
            };
            total = total.saturating_add(volume.saturating_mul(output.fact.datum_type.size_of()));
        }
    }
    if total > MAX_TOTAL {
        return Err(format!("its tensors take {total} bytes, more than {MAX_TOTAL}"));
    }
    Ok(())
}

/// Refuses operators that need too much memory beside their tensors, or a model too much time; the reason names the
/// node.
pub(super) fn check_work(model: &TypedModel) -> Result<(), String> {
    let mut total = 0_u64;
    for node in model.nodes() {
        let Some(Effort { scratch, work }) = effort(model, node) else { continue };
        if scratch > MAX_SCRATCH {
            let reason = format!("needs {scratch} numbers to work with, more than {MAX_SCRATCH}");
            return Err(format!("`{}` ({}) {reason}", node.name, node.op.name()));
        }
        total = total.saturating_add(work);
        if total > MAX_WORK {
            return Err(format!("up to `{}` a run takes {total} steps, more than {MAX_WORK}", node.name));
        }
    }
    Ok(())
}

/// What an operator takes, at most.
struct Effort {
    /// Numbers beside inputs and outputs.
    scratch: usize,
    /// Multiplications, or comparisons; more than 32 bits hold.
    work: u64,
}

/// Of the operators whose effort is not in proportion to their tensors.
fn effort(model: &TypedModel, node: &TypedNode) -> Option<Effort> {
    let inputs: Vec<&TypedFact> =
        node.inputs.iter().map(|outlet| model.outlet_fact(*outlet).ok()).collect::<Option<_>>()?;
    let output = volume(&node.outputs.first()?.fact)?;
    if let Some(conv) = node.op_as::<Conv>() {
        let spec = &conv.pool_spec;
        // One product a group, [outputs, taps] by [taps, pixels]; the pictures of a batch one after the other.
        let (outputs, group) = (spec.output_channels.max(1), conv.group.max(1));
        let taps = (spec.input_channels / group).max(1).saturating_mul(window(spec));
        let pixels = output / outputs;
        let tiles = pixels.next_multiple_of(TILE).saturating_add((outputs / group).next_multiple_of(TILE));
        let scratch = group.saturating_mul(taps).saturating_mul(tiles);
        return Some(Effort { scratch, work: times(output, taps) });
    }
    if let Some(conv) = node.op_as::<Deconv>() {
        let spec = &conv.pool_spec;
        let input = volume(inputs.first()?)?;
        let taps = window(spec).saturating_mul(spec.output_channels);
        let pixels = (input / spec.input_channels.max(1)).next_multiple_of(TILE);
        return Some(Effort { scratch: taps.saturating_mul(pixels), work: times(input, taps) });
    }
    if let Some(product) = node.op_as::<EinSum>() {
        return einsum(product, &inputs);
    }
    let spec = node.op_as::<MaxPool>().map(|pool| &pool.pool_spec);
    let spec = spec.or_else(|| node.op_as::<SumPool>().map(|pool| &pool.pool_spec))?;
    Some(Effort { scratch: 0, work: times(output, window(spec)) })
}

/// Both factors are packed: the longest of their own axes is filled up to whole tiles.
fn einsum(op: &EinSum, inputs: &[&TypedFact]) -> Option<Effort> {
    let shapes: Vec<_> = inputs.iter().map(|fact| fact.shape.as_concrete()).collect::<Option<_>>()?;
    let side = |places: &[usize], shape: &[usize]| places.first().and_then(|at| shape.get(*at)).copied();
    let (mut work, mut own) = (1_u64, vec![1_usize; shapes.len()]);
    for axis in op.axes.iter_all_axes() {
        let sides: Vec<_> = axis.inputs.iter().zip(&shapes).map(|(places, shape)| side(places, shape)).collect();
        work = work.saturating_mul(sides.iter().flatten().copied().max().unwrap_or(1) as u64);
        let mut having = sides.iter().enumerate().filter_map(|(at, side)| Some((at, (*side)?)));
        if let (Some((at, side)), None) = (having.next(), having.next()) {
            own[at] = own[at].max(side);
        }
    }
    let packed =
        shapes.iter().zip(own).map(|(shape, own)| (product(shape) / own).saturating_mul(own.next_multiple_of(TILE)));
    Some(Effort { scratch: packed.fold(0, usize::saturating_add), work })
}

fn times(numbers: usize, each: usize) -> u64 {
    (numbers as u64).saturating_mul(each as u64)
}

fn window(spec: &PoolSpec) -> usize {
    product(&spec.kernel_shape)
}

fn volume(fact: &TypedFact) -> Option<usize> {
    fact.shape.as_concrete().map(product)
}

fn product(sides: &[usize]) -> usize {
    sides.iter().fold(1, |volume, side| volume.saturating_mul(*side))
}
