//! What is checked of a parsed file before `tract` builds a graph of it.
//!
//! `tract` believes these numbers: with some of them it allocates without end, and a process that runs out of memory
//! ends without an error. A panic could be caught ([`crate::error::guard`]), that cannot.

use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

use super::sizes::{MAX_TENSOR, MAX_TOTAL};

/// Largest kernel side, step or margin of a window. Networks have 1 to 31; beyond some thousands `tract` takes minutes.
const MAX_WINDOW: i64 = 1 << 12;

/// Most places of a window, over all its axes.
const MAX_AREA: i64 = 1 << 18;

/// Refuses a graph that `tract` would not survive; the reason names the node.
pub(super) fn check(graph: &GraphProto) -> Result<(), String> {
    graph.node.iter().try_for_each(check_node)?;
    let attributes = graph.node.iter().flat_map(|node| &node.attribute);
    let inner = attributes.flat_map(|attribute| attribute.t.iter().chain(&attribute.tensors));
    let mut total = 0_usize;
    for tensor in graph.initializer.iter().chain(inner) {
        total = total.saturating_add(tensor_bytes(tensor)?);
        if total > MAX_TOTAL {
            return Err(format!("up to `{}` its tensors take {total} bytes, more than {MAX_TOTAL}", tensor.name));
        }
    }
    Ok(())
}

fn check_node(node: &NodeProto) -> Result<(), String> {
    node.attribute.iter().try_for_each(|attribute| check_attribute(&node.op_type, attribute)).map_err(|reason| {
        let name = node.output.first().unwrap_or(&node.name);
        format!("`{name}` ({}): {reason}", node.op_type)
    })
}

fn check_attribute(operator: &str, attribute: &AttributeProto) -> Result<(), String> {
    if attribute.g.is_some() || !attribute.graphs.is_empty() {
        // No network for pictures has one, and what it makes is not known before it runs.
        return Err("a graph inside the graph is not supported".to_owned());
    }
    let AttributeProto { name, ints, .. } = attribute;
    let within = |least: i64| {
        let fits = ints.iter().all(|value| (least..=MAX_WINDOW).contains(value));
        fits.then_some(()).ok_or_else(|| format!("expected `{name}` from {least} to {MAX_WINDOW}, found {ints:?}"))
    };
    match name.as_str() {
        "perm" if !is_permutation(ints) => Err(format!("expected a `perm` that holds each axis once, found {ints:?}")),
        "kernel_shape" => {
            within(1)?;
            let area = ints.iter().fold(1_i64, |area, side| area.saturating_mul(*side));
            let small = area <= MAX_AREA;
            small
                .then_some(())
                .ok_or_else(|| format!("expected a `{name}` of at most {MAX_AREA} places, found {ints:?}"))
        }
        "strides" | "dilations" => within(1),
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

/// Bytes of a tensor of the file, if it is not too large.
fn tensor_bytes(tensor: &TensorProto) -> Result<usize, String> {
    let sides = tensor.dims.iter().map(|side| usize::try_from(*side).ok());
    let volume = sides.into_iter().try_fold(1_usize, |volume, side| volume.checked_mul(side?));
    match volume.filter(|volume| *volume <= MAX_TENSOR) {
        Some(volume) => Ok(volume * number_bytes(tensor.data_type)),
        None => Err(format!("tensor `{}` of {:?} is too large or has no size", tensor.name, tensor.dims)),
    }
}

/// Bytes of one number by its code in `TensorProto.DataType` (onnx.proto3); of what is not known here, the most.
fn number_bytes(kind: i32) -> usize {
    match kind {
        // U8, S8, BOOL.
        2 | 3 | 9 => 1,
        // U16, S16, FLOAT16, BFLOAT16.
        4 | 5 | 10 | 16 => 2,
        // FLOAT, S32, U32.
        1 | 6 | 12 => 4,
        // S64, DOUBLE, U64.
        7 | 11 | 13 => 8,
        _ => size_of::<String>(),
    }
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
