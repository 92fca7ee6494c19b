//! Quantised ONNX (QDQ) as whole numbers in `tract`: from the first `QuantizeLinear` to the last `DequantizeLinear`
//! everything is computed on bytes.
//!
//! Inside, a picture is bytes from 0 to 255, `[height, width, channels]` with the channels side by side, and
//! stands for `scale * (byte - zero_point)`. Signed bytes of a file become unsigned ones by adding 128 to them and to
//! their zero point: the same numbers. Weights are signed bytes with one scale an output and zero point 0.
//!
//! This room knows nothing of people: any program that runs `tract` can use it.

mod arch;
mod assemble;
mod conv;
mod depthwise;
mod kept;
mod program;
mod read;
mod region;
mod report;
mod requantise;
mod small;
mod tensor;

use tract_core::ops::cast::Cast;
use tract_core::ops::change_axes::AxisOp;
use tract_core::ops::cnn::Conv;
use tract_core::ops::einsum::EinSum;
use tract_core::ops::konst::Const;
use tract_core::ops::source::TypedSource;
use tract_onnx::Onnx;
use tract_onnx::tract_hir::internal::{TractResult, TypedModel, TypedNode};

use assemble::{Assembled, assemble};
use kept::{KeptDequantise, KeptQuantise};
use read::Reader;

pub use report::{Report, Row};

/// `tract`'s reader of ONNX files, except that quantised weights stay bytes.
pub fn onnx() -> Onnx {
    let mut onnx = tract_onnx::onnx().with_ignore_value_info(true);
    onnx.op_register.insert("QuantizeLinear", kept::build);
    onnx.op_register.insert("DequantizeLinear", kept::build);
    onnx
}

/// Puts operators on bytes in the place of those between quantisations.
///
/// # Errors
/// If `tract` cannot put the graph together again.
pub fn rewrite(model: TypedModel) -> TractResult<(TypedModel, Report)> {
    let mut reader = Reader::read(&model)?;
    let mut demand = reader.demand();
    let assembled = match assemble(&model, &reader, &demand)? {
        Ok(assembled) => assembled,
        Err(_) => {
            reader = Reader::nothing(&model)?;
            demand = reader.demand();
            assemble(&model, &reader, &demand)?.map_err(|reason| tract_onnx::tract_hir::internal::format_err!("{reason}"))?
        }
    };
    let Assembled { model: rewritten, weight_bytes, arena_bytes } = assembled;
    let rows = model.eval_order()?.into_iter().map(|at| &model.nodes()[at]);
    let rows = rows.filter(|node| !reader.is_constant(node.id) && computes(node));
    let rows = rows.map(|node| {
        let integer = !demand.kept.contains(&node.id);
        Row {
            name: node.name.clone(),
            operator: node.op.name().into_owned(),
            integer,
            reason: if integer { String::new() } else { reader.reason(node) },
            mmac: mmac(&model, node),
            share: 0.0,
        }
    });
    let report = Report { rows: rows.collect(), weight_bytes, arena_bytes };
    Ok((rewritten, report.with_shares()))
}

fn computes(node: &TypedNode) -> bool {
    let op = &node.op;
    let moves = op.is::<AxisOp>() || op.is::<Cast>() || op.is::<Const>() || op.is::<TypedSource>();
    !moves && !op.is::<KeptQuantise>() && !op.is::<KeptDequantise>()
}

/// Millions of multiply-accumulates.
fn mmac(model: &TypedModel, node: &TypedNode) -> f64 {
    let volume = |input: usize| {
        let fact = model.outlet_fact(*node.inputs.get(input)?).ok()?;
        Some(fact.shape.as_concrete()?.iter().map(|side| *side as f64).product::<f64>())
    };
    let made = node.outputs.first().and_then(|output| output.fact.shape.as_concrete()).map(<[usize]>::to_vec);
    let Some(made) = made else { return 0.0 };
    let outputs: f64 = made.iter().map(|side| *side as f64).product();
    let each = if let Some(conv) = node.op.downcast_ref::<Conv>() {
        volume(1).map(|weights| weights / conv.output_channels().max(1) as f64)
    } else if node.op.is::<EinSum>() {
        // Every number of the larger output axis is a sum along what the output has not.
        let columns = made.last().map_or(1.0, |side| (*side).max(1) as f64);
        volume(1).map(|weights| weights / columns)
    } else {
        None
    };
    each.map_or(0.0, |each| each * outputs / 1e6)
}
