//! Operators that only say where values are: reshaping, transposing, slicing.

use tract_core::ops::array::Slice;
use tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_hir::internal::{DimLike, OutletId, TypedNode};

use super::super::tensor::Quantisation;
use super::view::View;
use super::{Reader, Reason, Value};

impl Reader<'_> {
    pub(super) fn axis(&mut self, node: &TypedNode, op: &AxisOp) -> Result<Option<Value>, Reason> {
        let shape = self.shape(OutletId::new(node.id, 0))?;
        self.walked(node, |view| match op {
            AxisOp::Move(from, to) => view.moved(*from, *to),
            AxisOp::Add(_) | AxisOp::Rm(_) | AxisOp::Reshape(..) => view.reshaped(&shape),
        })
    }

    pub(super) fn slice(&mut self, node: &TypedNode, op: &Slice) -> Result<Option<Value>, Reason> {
        let (Ok(start), Ok(end)) = (op.start.to_usize(), op.end.to_usize()) else {
            return Err("a slice that is not fixed".to_owned());
        };
        let length = end.checked_sub(start).ok_or("a slice that ends before it starts")?;
        self.walked(node, |view| view.sliced(op.axis, start, length))
    }

    /// The same values on another walk; if no walk does it, over a copy in the order of the axes.
    fn walked(&mut self, node: &TypedNode, walk: impl Fn(&View) -> Option<View>) -> Result<Option<Value>, Reason> {
        let value = self.values.get(&node.inputs[0]).cloned();
        let time = self.times[node.id];
        let found = match value {
            Some(Value::Real(view, quantisation)) => {
                let view = self.walk(&view, quantisation, time, walk);
                view.map(|view| Value::Real(view, quantisation))
            }
            Some(Value::Bytes(view, signed)) => {
                let quantisation = Quantisation { scale: 1.0, zero_point: self.pictures[view.base].zero_point };
                let view = self.walk(&view, quantisation, time, walk);
                view.map(|view| Value::Bytes(view, signed))
            }
            Some(Value::Pending(_)) => {
                let pending = self.pending(node.inputs[0], &[node.id]);
                pending.and_then(|pending| pending.walked(walk)).map(|pending| Value::Pending(Box::new(pending)))
            }
            None => return Ok(None),
        };
        let shape = self.shape(OutletId::new(node.id, 0))?;
        let fits = found.as_ref().is_some_and(|found| match found {
            Value::Real(view, _) | Value::Bytes(view, _) => view.shape() == shape,
            Value::Pending(pending) => pending.view().shape() == shape,
        });
        if fits { Ok(found) } else { Err("its shape is unknown".to_owned()) }
    }

    fn walk(
        &mut self,
        view: &View,
        quantisation: Quantisation,
        time: usize,
        walk: impl Fn(&View) -> Option<View>,
    ) -> Option<View> {
        walk(view).or_else(|| {
            let flat = self.flat(view, quantisation, time);
            walk(&View::rows(flat.picture, &view.shape()))
        })
    }
}
