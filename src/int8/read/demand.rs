//! Which operations and which nodes the outputs need.

use std::collections::HashSet;

use tract_onnx::tract_hir::internal::OutletId;

use super::super::program::{Operation, Target, Wire, Work};
use super::super::small::Order;
use super::pending::{Pending, Unrounded};
use super::view::View;
use super::{Reader, Value};

/// What is left of a graph: operations on bytes, and nodes that stay.
pub(in crate::int8) struct Demand {
    /// In an order in which each can be run.
    pub(in crate::int8) operations: Vec<Operation>,
    /// Nodes that stay in float, by index; constants are left out.
    pub(in crate::int8) kept: HashSet<usize>,
    /// Tensors that operations make for nodes that stay, or for outside.
    pub(in crate::int8) floats: Vec<Float>,
}

/// A tensor that leaves the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::int8) struct Float {
    pub(in crate::int8) outlet: OutletId,
    /// A product leaves as `[columns, rows]`.
    pub(in crate::int8) turned: Option<[usize; 2]>,
}

enum Need {
    Outlet(OutletId),
    Picture(usize),
}

impl Reader<'_> {
    /// Follows the outputs back. Ends the reading.
    pub(in crate::int8) fn demand(&mut self) -> Demand {
        let mut needs: Vec<Need> = self.model.outputs.iter().map(|outlet| Need::Outlet(*outlet)).collect();
        let (mut seen, mut live) = (HashSet::new(), HashSet::new());
        let (mut kept, mut floats) = (HashSet::new(), Vec::new());
        while let Some(need) = needs.pop() {
            let operation = match need {
                Need::Outlet(outlet) if self.constant[outlet.node] || !seen.insert(outlet) => continue,
                Need::Outlet(outlet) => {
                    let Some(float) = self.leave(outlet) else {
                        kept.insert(outlet.node);
                        needs.extend(self.model.nodes()[outlet.node].inputs.iter().map(|input| Need::Outlet(*input)));
                        continue;
                    };
                    floats.push(float);
                    self.operations.len() - 1
                }
                Need::Picture(picture) => self.makers[picture],
            };
            if live.insert(operation) {
                let operation = &self.operations[operation];
                needs.extend(operation.reads.iter().map(|x| Need::Picture(x.picture)));
                if let Some(Wire::Outlet(outlet)) = operation.from() {
                    needs.push(Need::Outlet(outlet));
                }
            }
        }
        let mut live: Vec<usize> = live.into_iter().collect();
        live.sort_by_key(|at| (self.operations[*at].time, *at));
        let operations = live.into_iter().map(|at| self.operations[at].clone()).collect();
        Demand { operations, kept, floats }
    }

    /// Adds the operation that makes a tensor of the graph out of bytes, if one can.
    fn leave(&mut self, outlet: OutletId) -> Option<Float> {
        let time = self.times[outlet.node];
        let target = Target::Wire(Wire::Outlet(outlet));
        let (work, x, turned) = match self.values.get(&outlet)?.clone() {
            Value::Real(view, quantisation) => {
                let (order, x) = match self.picture(&view, quantisation, time) {
                    Some(x) => (Order::Nchw, x),
                    None => (Order::Nhwc, self.rows(&view, quantisation, time)),
                };
                (Work::Dequantise { order }, x, None)
            }
            Value::Bytes(view, signed) => {
                let zero_point = self.pictures[view.base].zero_point;
                let quantisation = super::Quantisation { scale: 1.0, zero_point };
                let (order, x) = match self.picture(&view, quantisation, time) {
                    Some(x) => (Order::Nchw, x),
                    None => (Order::Nhwc, self.rows(&view, quantisation, time)),
                };
                (Work::Store { order, signed }, x, None)
            }
            Value::Pending(pending) => self.unrounded(outlet, &pending)?,
        };
        self.operations.push(Operation { work, reads: vec![x], target, time });
        Some(Float { outlet, turned })
    }

    /// A convolution or product that leaves as floats.
    fn unrounded(&mut self, outlet: OutletId, pending: &Pending) -> Option<(Work, super::Operand, Option<[usize; 2]>)> {
        let Unrounded::Conv(sum) = &pending.result else { return None };
        if !pending.is_plain() {
            return None;
        }
        let convolution = match sum.convolution() {
            Ok(convolution) => convolution,
            Err(reason) => {
                self.reasons.insert(outlet.node, reason);
                return None;
            }
        };
        let [height, width, columns] = sum.to.sizes;
        let rows = height * width;
        let picture = sum.to.view == View::picture(0, sum.to.sizes);
        let turned = (!picture && rows > 1 && columns > 1).then_some([columns, rows]);
        // Rows leave in the order of the pixels: not if the tensor walks them otherwise.
        if !picture && !sum.to.view.is_dense_rows() {
            return None;
        }
        Some((Work::Conv { convolution, output: None }, sum.x, turned))
    }
}
