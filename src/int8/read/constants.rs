//! Numbers that the file gives: weights as bytes, biases and bounds as numbers.

use std::sync::Arc;

use tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_hir::internal::{EvalOp, IntoArcTensor, IntoTValue, OutletId, TValue, TVec, Tensor};

use super::super::kept::{KeptDequantise, Parameters, floats, sound};
use super::{Reader, Reason};

/// How far constants are followed.
pub(super) const DEPTH: usize = 16;

/// Largest constant that is computed here: a bias, not weights.
const MAX_COMPUTED: usize = 1 << 16;

/// Quantised constants: signed bytes with zero point 0.
pub(super) struct Quantised {
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<i8>,
    /// One, or as many as `axis` is long.
    pub(super) scales: Vec<f32>,
    pub(super) axis: usize,
}

impl Reader<'_> {
    /// The number that a constant of one value holds.
    pub(super) fn number(&self, outlet: OutletId) -> Option<f32> {
        let tensor = self.computed(outlet, DEPTH)?;
        (tensor.len() == 1).then(|| floats(&tensor).ok()?.first().copied()).flatten()
    }

    /// A small constant of one number or `length` of them, all finite.
    pub(super) fn vector(&self, outlet: OutletId, length: usize) -> Option<Vec<f64>> {
        let tensor = self.computed(outlet, DEPTH)?;
        let values = floats(&tensor).ok()?;
        let values = match values.len() {
            1 => vec![values[0]; length],
            found if found == length => values,
            _ => return None,
        };
        values.iter().all(|value| value.is_finite()).then(|| values.iter().map(|value| f64::from(*value)).collect())
    }

    /// A small constant, dequantised and computed as far as needed.
    pub(super) fn computed(&self, outlet: OutletId, depth: usize) -> Option<Arc<Tensor>> {
        if depth == 0
            || !self.constant[outlet.node]
            || self.shape(outlet).ok()?.iter().product::<usize>() > MAX_COMPUTED
        {
            return None;
        }
        if let Some(konst) = &self.fact(outlet).konst {
            return Some(Arc::clone(konst));
        }
        let node = &self.model.nodes()[outlet.node];
        let inputs: Vec<_> = node.inputs.iter().map(|input| self.computed(*input, depth - 1)).collect::<Option<_>>()?;
        if let Some(op) = node.op.downcast_ref::<KeptDequantise>() {
            return Some(Arc::new(op.parameters.dequantised(inputs.first()?).ok()?));
        }
        let inputs: TVec<TValue> = inputs.into_iter().map(IntoTValue::into_tvalue).collect();
        let outputs = node.op.eval_out_of_plan(inputs).ok()??;
        outputs.into_iter().nth(outlet.slot).map(TValue::into_arc_tensor)
    }

    /// Weights as the file has them, their axes perhaps in another order.
    pub(super) fn weights(&self, outlet: OutletId, depth: usize) -> Result<Quantised, Reason> {
        let node = &self.model.nodes()[outlet.node];
        if let Some(op) = node.op.downcast_ref::<KeptDequantise>() {
            let konst = self.fact(node.inputs[0]).konst.as_ref();
            return quantised(konst.ok_or("its weights are no constant")?, &op.parameters);
        }
        if let (Some(AxisOp::Move(from, to)), 1..) = (node.op.downcast_ref::<AxisOp>(), depth) {
            let inner = self.weights(node.inputs[0], depth - 1)?;
            return moved(inner, *from, *to).ok_or_else(|| "its weights are transposed in a way unknown".to_owned());
        }
        if !self.constant[outlet.node] {
            return Err("its weights are no constant".to_owned());
        }
        Err("its weights are not quantised (or were dequantised while loading: load with int8::onnx())".to_owned())
    }
}

fn quantised(konst: &Tensor, parameters: &Parameters) -> Result<Quantised, Reason> {
    let shape = konst.shape().to_vec();
    let plain = konst.try_as_plain_ram().map_err(|error| error.to_string())?;
    let even = |zero_point: i32| parameters.zero_points.iter().all(|found| *found == zero_point);
    let values = match (plain.as_slice::<i8>(), plain.as_slice::<u8>()) {
        (Ok(values), _) if even(0) => values.to_vec(),
        (_, Ok(values)) if even(128) => values.iter().map(|value| (value ^ 128).cast_signed()).collect(),
        (Ok(_), _) | (_, Ok(_)) => return Err("its weights have a zero point".to_owned()),
        _ => return Err("its weights are no bytes".to_owned()),
    };
    let scales = parameters.scales.clone();
    if !scales.iter().all(|scale| sound(*scale)) {
        return Err("a scale of its weights is not a number above 0".to_owned());
    }
    if scales.len() != 1 && shape.get(parameters.axis) != Some(&scales.len()) {
        return Err("its weights have another number of scales".to_owned());
    }
    Ok(Quantised { shape, values, scales, axis: parameters.axis })
}

fn moved(inner: Quantised, from: usize, to: usize) -> Option<Quantised> {
    let move_axis = AxisOp::Move(from, to);
    let tensor = Tensor::from_shape(&inner.shape, &inner.values).ok()?;
    let axis = if inner.scales.len() == 1 { 0 } else { move_axis.transform_axis(inner.axis)? };
    let inputs = TVec::from_vec(vec![tensor.into_tvalue()]);
    let tensor = move_axis.eval_out_of_plan(inputs).ok()??.into_iter().next()?;
    let values = tensor.try_as_plain_ram().ok()?.as_slice::<i8>().ok()?.to_vec();
    Some(Quantised { shape: tensor.shape().to_vec(), values, scales: inner.scales, axis })
}
