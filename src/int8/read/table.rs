//! Functions of one tensor, number by number, between two quantisations: tables of 256 bytes.

use std::collections::HashMap;
use std::sync::Arc;

use tract_core::ops::binary::TypedBinOp;
use tract_core::ops::element_wise::ElementWiseOp;
use tract_core::ops::logic::Iff;
use tract_onnx::tract_hir::internal::{IntoArcTensor, IntoTValue, OutletId, TValue, TVec, Tensor};

use super::super::kept::floats;
use super::super::program::Work;
use super::super::tensor::Quantisation;
use super::view::View;
use super::{Reader, Reason, Value};

/// Most operators in a function.
const MOST: usize = 32;

impl Reader<'_> {
    /// The bytes of a tensor that is a function of one real.
    pub(super) fn through_table(
        &mut self,
        outlet: OutletId,
        quantisation: Quantisation,
        time: usize,
    ) -> Result<View, Reason> {
        let mut cone = Cone { reader: self, leaf: None, made: HashMap::new() };
        let ends = cone.evaluate(outlet, MOST)?;
        let Some((leaf, from)) = cone.leaf else { return Err("no quantised input".to_owned()) };
        let Some((view, _)) = self.real(leaf) else { return Err("no quantised input".to_owned()) };
        let values = floats(&ends).map_err(|error| error.to_string())?;
        let mut table = Box::new([0; 256]);
        for (byte, value) in table.iter_mut().zip(values) {
            *byte = quantisation.byte(value);
        }
        let (x, view) = if let Some(x) = self.whole(&view, from) {
            (x, view)
        } else if let Some(x) = self.picture(&view, from, time) {
            let [height, width, _] = self.pictures[x.picture].sizes();
            (x, View::picture(0, [height, width, x.channels]))
        } else {
            let shape = view.shape();
            (self.flat(&view, from, time), View::rows(0, &shape))
        };
        let [height, width, _] = self.pictures[x.picture].sizes();
        let sizes = [height, width, x.channels];
        let made = self.push(Work::Table(table), vec![x], sizes, quantisation.zero_point, time);
        Ok(view.over(made))
    }
}

/// The operators between one real and a `QuantizeLinear`, run on the 256 numbers of its bytes.
struct Cone<'r, 'm> {
    reader: &'r Reader<'m>,
    leaf: Option<(OutletId, Quantisation)>,
    made: HashMap<OutletId, Arc<Tensor>>,
}

impl Cone<'_, '_> {
    fn evaluate(&mut self, outlet: OutletId, depth: usize) -> Result<Arc<Tensor>, Reason> {
        let unknown = || Reason::from("no rule for it on bytes");
        if let Some(made) = self.made.get(&outlet) {
            return Ok(Arc::clone(made));
        }
        if depth == 0 || self.made.len() > MOST {
            return Err("too many operators between two quantisations".to_owned());
        }
        let reader = self.reader;
        let node = &reader.model.nodes()[outlet.node];
        let made = match reader.values.get(&outlet) {
            Some(Value::Real(_, quantisation)) => self.leaf(outlet, *quantisation)?,
            Some(Value::Pending(_)) if !reader.only_feeds(outlet, &[]) => {
                return Err("its result is not quantised before it is used".to_owned());
            }
            _ if reader.constant[outlet.node] => {
                let constant = reader.computed(outlet, depth).filter(|constant| constant.len() == 1);
                constant.ok_or_else(unknown)?
            }
            _ if node.op.is::<TypedBinOp>() || node.op.is::<ElementWiseOp>() || node.op.is::<Iff>() => {
                let inputs: TVec<TValue> = (node.inputs.iter())
                    .map(|input| Ok(self.evaluate(*input, depth - 1)?.into_tvalue()))
                    .collect::<Result<_, Reason>>()?;
                let outputs = node.op.eval_out_of_plan(inputs).map_err(|error| error.to_string())?;
                let output = outputs.and_then(|outputs| outputs.into_iter().nth(outlet.slot)).ok_or_else(unknown)?;
                output.into_arc_tensor()
            }
            _ => return Err(unknown()),
        };
        self.made.insert(outlet, Arc::clone(&made));
        Ok(made)
    }

    fn leaf(&mut self, outlet: OutletId, quantisation: Quantisation) -> Result<Arc<Tensor>, Reason> {
        if self.leaf.is_some_and(|(leaf, _)| self.reader.real(leaf) != self.reader.real(outlet)) {
            return Err("a function of several quantised tensors".to_owned());
        }
        self.leaf = Some((outlet, quantisation));
        let mut shape = vec![1; self.reader.fact(outlet).rank()];
        if let Some(last) = shape.last_mut() {
            *last = 256;
        } else {
            return Err("a single number".to_owned());
        }
        let values: Vec<f32> = (0..=u8::MAX).map(|byte| quantisation.real(byte)).collect();
        Tensor::from_shape(&shape, &values).map(Arc::new).map_err(|error| error.to_string())
    }
}
