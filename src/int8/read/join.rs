//! `Concat`.

use tract_core::ops::array::TypedConcat;
use tract_onnx::tract_hir::internal::{OutletId, TypedNode};

use super::super::program::Place;
use super::pending::{Pending, Shape, Unrounded};
use super::view::View;
use super::{Reader, Reason};

impl Reader<'_> {
    pub(super) fn join(&mut self, node: &TypedNode, op: &TypedConcat) -> Result<Option<Pending>, Reason> {
        let Some(inputs) = node.inputs.iter().map(|input| self.real(*input)).collect::<Option<Vec<_>>>() else {
            return Err("not all its inputs are quantised".to_owned());
        };
        let shape = self.shape(OutletId::new(node.id, 0))?;
        let time = self.times[node.id];
        let pictures = shape.len() == 4 && shape[0] == 1 && op.axis > 0;
        let last = op.axis + 1 == shape.len();
        // Rows are joined along the axis that all before it are 1, so that a tensor's rows stay together.
        let rows = shape.iter().take(op.axis).all(|side| *side == 1);
        if !pictures && !last && !rows {
            return Err("joined along a middle axis".to_owned());
        }
        let mut parts = Vec::with_capacity(inputs.len());
        let mut start = 0;
        for (view, quantisation) in inputs {
            let side = view.shape()[op.axis];
            if pictures {
                let x = self.picture(&view, quantisation, time).ok_or("a batch of more than one picture")?;
                let place = match op.axis {
                    1 => Place { first: start, ..Place::default() },
                    2 => Place { top: start, ..Place::default() },
                    _ => Place { left: start, ..Place::default() },
                };
                parts.push((x, place));
            } else if last {
                let x = self.matrix(&view, quantisation, time);
                parts.push((x, Place { first: start, ..Place::default() }));
            } else {
                let x = self.rows(&view, quantisation, time);
                let inner: usize = shape[op.axis + 1..shape.len() - 1].iter().product();
                parts.push((x, Place { top: start * inner, ..Place::default() }));
            }
            start += side;
        }
        let to = if let ([_, channels, height, width], true) = (shape.as_slice(), pictures) {
            Shape::picture([*height, *width, *channels])
        } else {
            let channels = shape.last().copied().unwrap_or(1);
            let rows = shape.iter().rev().skip(1).product();
            Shape { sizes: [rows, 1, channels], view: View::rows(0, &shape) }
        };
        Ok(Some(Unrounded::Join { parts, to }.into()))
    }
}
