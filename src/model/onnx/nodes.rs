//! What is checked of a parsed file before `tract` builds a graph of it.
//!
//! `tract` believes these numbers: with some of them it allocates without end, and a process that runs out of memory
//! ends without an error. A panic could be caught ([`super::guard`]), that cannot.

use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

use super::load::MAX_TENSOR;

/// Largest kernel side, step or margin of a window. Networks have 1 to 31; beyond some thousands `tract` takes minutes.
const MAX_WINDOW: i64 = 1 << 12;

/// Refuses a graph, or a graph inside it, that `tract` would not survive; the reason names the node.
pub(super) fn check(graph: &GraphProto) -> Result<(), String> {
    graph.initializer.iter().try_for_each(check_tensor)?;
    graph.node.iter().try_for_each(check_node)
}

fn check_node(node: &NodeProto) -> Result<(), String> {
    for attribute in &node.attribute {
        check_attribute(&node.op_type, attribute).map_err(|reason| {
            let name = node.output.first().unwrap_or(&node.name);
            format!("`{name}` ({}): {reason}", node.op_type)
        })?;
        attribute.t.iter().chain(&attribute.tensors).try_for_each(check_tensor)?;
        attribute.g.iter().chain(&attribute.graphs).try_for_each(check)?;
    }
    Ok(())
}

fn check_attribute(operator: &str, attribute: &AttributeProto) -> Result<(), String> {
    let AttributeProto { name, ints, .. } = attribute;
    let within = |least: i64| {
        let fits = ints.iter().all(|value| (least..=MAX_WINDOW).contains(value));
        fits.then_some(()).ok_or_else(|| format!("expected `{name}` from {least} to {MAX_WINDOW}, found {ints:?}"))
    };
    match name.as_str() {
        "perm" if !is_permutation(ints) => Err(format!("expected a `perm` that holds each axis once, found {ints:?}")),
        "kernel_shape" | "strides" | "dilations" => within(1),
        // What `Pad` cuts off is negative.
        "pads" if operator == "Pad" => within(-MAX_WINDOW),
        "pads" | "output_padding" => within(0),
        _ => Ok(()),
    }
}

/// Whether `axes` holds each of 0, 1, ... once.
fn is_permutation(axes: &[i64]) -> bool {
    let mut sorted = axes.to_vec();
    sorted.sort_unstable();
    sorted.into_iter().eq(0..axes.len() as i64)
}

fn check_tensor(tensor: &TensorProto) -> Result<(), String> {
    let sides = tensor.dims.iter().map(|side| usize::try_from(*side).ok());
    let volume = sides.into_iter().try_fold(1_usize, |volume, side| volume.checked_mul(side?));
    if volume.is_some_and(|volume| volume <= MAX_TENSOR) {
        return Ok(());
    }
    Err(format!("tensor `{}` of {:?} is too large or has no size", tensor.name, tensor.dims))
}

#[cfg(test)]
mod tests {
    use super::is_permutation;

    #[test]
    fn a_permutation_holds_each_axis_once() {
        for axes in [&[][..], &[0], &[0, 1], &[2, 0, 1], &[3, 1, 0, 2]] {
            assert!(is_permutation(axes), "{axes:?}");
        }
        for axes in [&[1][..], &[-1], &[0, 0], &[1, 2], &[0, 2], &[0, 1, i64::MAX], &[i64::MIN, 0]] {
            assert!(!is_permutation(axes), "{axes:?}");
        }
    }
}
