//! Reads a typed graph: which of its tensors are bytes, and which operations on bytes make them.
//!
//! Each node is looked at once, after all it reads. What it makes is one of
//! - *real*: floats that are exactly what some bytes stand for (a `DequantizeLinear`, and all that only moves or selects
//!   values afterwards);
//! - *bytes*: what a `QuantizeLinear` makes;
//! - *pending*: a sum, product, mean, ... of reals. A `QuantizeLinear` that follows turns it into one operation on bytes;
//! - nothing known: it stays in float. So does a pending one that anything but `QuantizeLinear` reads.
//!
//! Operations nobody needs in the end are dropped by [`demand`].

mod canonical;
mod constants;
mod conv;
mod demand;
mod join;
mod pending;
mod pictures;
mod shapes;
mod table;
mod view;

use std::collections::HashMap;

use tract_core::ops::array::{Slice, TypedConcat};
use tract_core::ops::binary::TypedBinOp;
use tract_core::ops::change_axes::AxisOp;
use tract_core::ops::cnn::{Conv, MaxPool, SumPool};
use tract_core::ops::einsum::EinSum;
use tract_core::ops::element_wise::ElementWiseOp;
use tract_core::ops::identity::Identity;
use tract_core::ops::logic::Iff;
use tract_core::ops::nn::{LeakyRelu, Reduce};
use tract_onnx::tract_hir::internal::{DatumType, OutletId, TractResult, TypedModel, TypedNode};
use tract_onnx_opl::resize::Resize;

use super::kept::{KeptDequantise, KeptQuantise};
use super::program::{Operand, Operation, Picture, Target, Wire, Work};
use super::small::Order;
use super::tensor::Quantisation;

use pending::Pending;
use view::View;

pub(super) use demand::Demand;

/// Values of the largest tensor that is looked at: what is larger stays as it is.
const MAX_VALUES: usize = 64 << 20;

/// Why a node stays in float; empty where there is nothing to say.
type Reason = String;

/// What is known of a tensor.
#[derive(Clone, Debug)]
enum Value {
    Real(View, Quantisation),
    /// Whether the file's bytes are signed; inside they never are.
    Bytes(View, bool),
    Pending(Box<Pending>),
}

/// What was read.
pub(super) struct Reader<'m> {
    model: &'m TypedModel,
    values: HashMap<OutletId, Value>,
    /// By node: whether all it makes is constant.
    constant: Vec<bool>,
    /// By node: its place in the order of evaluation.
    times: Vec<usize>,
    order: Vec<usize>,
    /// Pictures already rearranged.
    rearranged: HashMap<(View, [usize; 3]), usize>,
    pictures: Vec<Picture>,
    operations: Vec<Operation>,
    /// By picture: the operation that makes it.
    makers: Vec<usize>,
    reasons: HashMap<usize, Reason>,
    /// Of all nodes for which there is no other.
    refused: Reason,
    /// Whether `tract` itself read the quantisations.
    foreign: bool,
}

impl<'m> Reader<'m> {
    /// Looks at every node that an output needs.
    pub(super) fn read(model: &'m TypedModel) -> TractResult<Self> {
        let mut reader = Self::refused(model, "")?;
        for at in reader.order.clone() {
            let node = &model.nodes()[at];
            if reader.constant[at] {
                continue;
            }
            match reader.visit(node) {
                Ok(Some(value)) => {
                    reader.values.insert(OutletId::new(at, 0), value);
                }
                Ok(None) => {}
                Err(reason) => {
                    reader.reasons.insert(at, reason);
                }
            }
        }
        Ok(reader)
    }

    /// Looks at no node: everything stays in float, for this reason.
    pub(super) fn refused(model: &'m TypedModel, reason: &str) -> TractResult<Self> {
        let order = model.eval_order()?;
        let mut constant = vec![false; model.nodes().len()];
        let mut times = vec![0; model.nodes().len()];
        for (time, &at) in order.iter().enumerate() {
            let node = &model.nodes()[at];
            let folded = node.outputs.iter().all(|output| output.fact.konst.is_some());
            constant[at] = folded || (!node.inputs.is_empty() && node.inputs.iter().all(|input| constant[input.node]));
            times[at] = time;
        }
        Ok(Self {
            model,
            values: HashMap::new(),
            constant,
            times,
            order,
            rearranged: HashMap::new(),
            pictures: Vec::new(),
            operations: Vec::new(),
            makers: Vec::new(),
            reasons: HashMap::new(),
            refused: reason.to_owned(),
            foreign: model.nodes().iter().any(|node| node.op.name() == "DequantizeLinearF32"),
        })
    }

    /// The bytes that the operations make.
    pub(super) fn pictures(&self) -> &[Picture] {
        &self.pictures
    }

    /// Whether a node makes nothing but constants.
    pub(super) fn is_constant(&self, node: usize) -> bool {
        self.constant[node]
    }

    /// Why a node that could have been integer is not.
    pub(super) fn reason(&self, node: &TypedNode) -> String {
        if let Some(reason) = self.reasons.get(&node.id).filter(|reason| !reason.is_empty()) {
            return reason.clone();
        }
        if !self.refused.is_empty() {
            return self.refused.clone();
        }
        let known =
            |input: &OutletId| self.constant[input.node] || matches!(self.values.get(input), Some(Value::Real(..)));
        match self.values.get(&OutletId::new(node.id, 0)) {
            Some(Value::Pending(_)) => "its result is not quantised".to_owned(),
            _ if node.inputs.iter().all(known) => "no rule for it on bytes".to_owned(),
            _ if self.foreign => "the model was read without int8::onnx(): its weights are floats".to_owned(),
            _ => "its input is not quantised".to_owned(),
        }
    }

    fn visit(&mut self, node: &TypedNode) -> Result<Option<Value>, Reason> {
        let op = &node.op;
        if node.outputs.is_empty() || node.outputs.iter().any(|output| sizes(&output.fact.shape).is_none()) {
            return Err("a side is zero, too large or not fixed".to_owned());
        }
        if let Some(op) = op.downcast_ref::<KeptQuantise>() {
            return self.quantise(node, op);
        }
        if let Some(op) = op.downcast_ref::<KeptDequantise>() {
            return self.dequantise(node, op);
        }
        if node.inputs.iter().all(|input| !self.values.contains_key(input)) {
            return Ok(None);
        }
        if op.is::<Identity>() {
            return Ok(self.values.get(&node.inputs[0]).cloned());
        }
        if let Some(op) = op.downcast_ref::<AxisOp>() {
            return self.axis(node, op);
        }
        if let Some(op) = op.downcast_ref::<Slice>() {
            return self.slice(node, op);
        }
        let pending = if let Some(op) = op.downcast_ref::<Conv>() {
            self.conv(node, op)
        } else if let Some(op) = op.downcast_ref::<EinSum>() {
            self.product(node, op)
        } else if let Some(op) = op.downcast_ref::<TypedBinOp>() {
            self.binary(node, op)
        } else if let Some(op) = op.downcast_ref::<ElementWiseOp>() {
            let leaky = op.0.downcast_ref::<LeakyRelu>();
            leaky.map_or(Ok(None), |leaky| Ok(self.leaky(node.inputs[0], &[node.id], leaky.alpha)))
        } else if op.is::<Iff>() {
            Ok(self.parametric(node))
        } else if let Some(op) = op.downcast_ref::<TypedConcat>() {
            self.join(node, op)
        } else if let Some(op) = op.downcast_ref::<Reduce>() {
            self.sum(node, op)
        } else if let Some(op) = op.downcast_ref::<SumPool>() {
            self.mean_pool(node, op)
        } else if let Some(op) = op.downcast_ref::<Resize>() {
            return self.resize(node, op);
        } else if let Some(op) = op.downcast_ref::<MaxPool>() {
            return self.max_pool(node, op);
        } else {
            Ok(None)
        };
        pending.map(|pending| pending.map(|pending| Value::Pending(Box::new(pending))))
    }

    /// `DequantizeLinear` of bytes.
    fn dequantise(&mut self, node: &TypedNode, op: &KeptDequantise) -> Result<Option<Value>, Reason> {
        let input = node.inputs[0];
        let fact = self.fact(input);
        let kind = fact.datum_type;
        if !matches!(kind, DatumType::U8 | DatumType::I8) {
            return Err(format!("its input is {kind:?}"));
        }
        let Some(quantisation) = op.parameters.whole(kind) else {
            return Err("activations with a scale per channel, or an unsound scale".to_owned());
        };
        let signed = kind == DatumType::I8;
        let view = match self.values.get(&input) {
            Some(Value::Bytes(view, _)) => view.clone(),
            // Bytes from outside, or from an operator that stays.
            _ => self.enter(input, quantisation, |from, order| Work::Load { from, order, signed })?,
        };
        Ok(Some(Value::Real(view, quantisation)))
    }

    fn quantise(&mut self, node: &TypedNode, op: &KeptQuantise) -> Result<Option<Value>, Reason> {
        let input = node.inputs[0];
        let signed = op.to == DatumType::I8;
        let Some(quantisation) = op.parameters.whole(op.to) else {
            return Err("activations with a scale per channel, or an unsound scale".to_owned());
        };
        if self.fact(input).datum_type != DatumType::F32 {
            return Err("its input is not f32".to_owned());
        }
        let time = self.times[node.id];
        let view = match self.values.get(&input).cloned() {
            Some(Value::Real(view, from)) if from == quantisation => Ok(view),
            Some(Value::Pending(pending)) if self.only_feeds(input, &[node.id]) => {
                self.settle(&pending, quantisation, time)
            }
            _ => self.through_table(input, quantisation, time),
        };
        let view = match view {
            Ok(view) => view,
            Err(reason) => {
                // Said of the operator whose result it is.
                self.reasons.entry(input.node).or_insert(reason);
                self.enter(input, quantisation, |from, order| Work::Quantise { from, order, quantisation })?
            }
        };
        Ok(Some(Value::Bytes(view, signed)))
    }

    /// A tensor from outside as a picture, in the order that a convolution wants if it is one.
    fn enter(
        &mut self,
        outlet: OutletId,
        quantisation: Quantisation,
        work: impl Fn(Wire, Order) -> Work,
    ) -> Result<View, Reason> {
        let shape = self.shape(outlet)?;
        let from = Wire::Outlet(outlet);
        let time = self.times[outlet.node] + 1;
        if let [1, channels, height, width] = *shape {
            let sizes = [height, width, channels];
            let picture = self.push(work(from, Order::Nchw), vec![], sizes, quantisation.zero_point, time);
            return Ok(View::picture(picture, sizes));
        }
        let length = shape.iter().product();
        let picture = self.push(work(from, Order::Nhwc), vec![], [1, 1, length], quantisation.zero_point, time);
        Ok(View::rows(picture, &shape))
    }

    /// Adds an operation that makes a picture, and returns its index.
    fn push(&mut self, work: Work, reads: Vec<Operand>, sizes: [usize; 3], zero_point: u8, time: usize) -> usize {
        let [height, width, channels] = sizes;
        self.pictures.push(Picture { height, width, channels, zero_point });
        let target = Target::Picture(self.pictures.len() - 1);
        self.makers.push(self.operations.len());
        self.operations.push(Operation { work, reads, target, time });
        self.pictures.len() - 1
    }

    fn fact(&self, outlet: OutletId) -> &'m tract_onnx::tract_hir::internal::TypedFact {
        &self.model.nodes()[outlet.node].outputs[outlet.slot].fact
    }

    fn shape(&self, outlet: OutletId) -> Result<Vec<usize>, Reason> {
        sizes(&self.fact(outlet).shape).ok_or_else(|| "a side is zero, too large or not fixed".to_owned())
    }

    /// Whether a tensor is read by some of these nodes and by nothing else.
    fn only_feeds(&self, outlet: OutletId, nodes: &[usize]) -> bool {
        let readers = &self.model.nodes()[outlet.node].outputs[outlet.slot].successors;
        !self.model.outputs.contains(&outlet) && readers.iter().all(|reader| nodes.contains(&reader.node))
    }

    fn real(&self, outlet: OutletId) -> Option<(View, Quantisation)> {
        match self.values.get(&outlet) {
            Some(Value::Real(view, quantisation)) => Some((view.clone(), *quantisation)),
            _ => None,
        }
    }
}

/// The sides of a tensor, if all are fixed, none is 0 and the product is no mistake or attack.
fn sizes(shape: &tract_onnx::tract_hir::internal::ShapeFact) -> Option<Vec<usize>> {
    let sides = shape.as_concrete()?;
    let volume = sides.iter().try_fold(1_usize, |volume, side| volume.checked_mul(*side))?;
    (1..=MAX_VALUES).contains(&volume).then(|| sides.to_vec())
}
