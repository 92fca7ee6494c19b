//! Quantised ONNX (QDQ) as whole numbers in `tract`: from the first `QuantizeLinear` to the last `DequantizeLinear`
//! everything is computed on bytes.
//!
//! Inside, a picture is bytes from 0 to 255, `[height, width, channels]` with the channels side by side, and
//! stands for `scale * (byte - zero_point)`. Signed bytes of a file become unsigned ones by adding 128 to them and to
//! their zero point: the same numbers. Weights are signed bytes with one scale an output and zero point 0.
//!
//! What a quantised graph does between its `QuantizeLinear` and `DequantizeLinear` nodes becomes a few operators of
//! `tract`, *regions*, each a list of steps on bytes with the buffers they need. Sums are exact in 32 bits. A step of an
//! output is rounded once, from one `f32`, as ONNX has it (to the nearest, ties to even). So the numbers are those of the
//! graph, except where an engine that computes in float loses the last bit just between two steps.
//!
//! Integer are: `Conv` (dense, grouped, depthwise, dilated, any padding), `Gemm` and `MatMul` with constant weights, the
//! activations after them, `Add`, `Sub`, `Mul`, `Concat`, `MaxPool`, `AveragePool`, `GlobalAveragePool`, `Resize`
//! (nearest, linear), any function of one tensor between two quantisations, and all that only moves values (`Reshape`,
//! `Transpose`, `Flatten`, `Split`, ...). The last convolution or product before float numbers is integer too. All else
//! stays in float, and [`Report`] says why. The batch must be 1 and all sides fixed.
//!
//! ```no_run
//! use nformer_edge::int8;
//! use tract_onnx::prelude::*;
//!
//! # fn main() -> TractResult<()> {
//! // A network that tells leaves apart, quantised to QDQ (`onnxruntime.quantization`, for example).
//! let model = int8::onnx().model_for_path("leaves_int8.onnx")?.into_typed()?;
//! let (model, report) = int8::rewrite(model)?;
//! println!("{report}");
//! let plan = model.into_optimized()?.into_runnable()?;
//! let picture = Tensor::zero::<f32>(&[1, 3, 224, 224])?;
//! let scores = plan.run(tvec!(picture.into_tvalue()))?;
//! # drop(scores);
//! # Ok(())
//! # }
//! ```
//!
//! This room knows nothing of people: any program that runs `tract` can use it.

mod arch;
mod assemble;
#[doc(hidden)]
pub mod bench;
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
use tract_onnx::tract_hir::internal::{TractResult, TypedModel, TypedNode, format_err};

use assemble::{Assembled, assemble};
use kept::{KeptDequantise, KeptQuantise};
use read::Reader;

pub use report::{Report, Row};

/// `tract`'s reader of ONNX files, except that quantised weights stay bytes.
///
/// With `tract_onnx::onnx()` the loader computes a float for every weight, which takes longer than all else and hides
/// the bytes from [`rewrite`]. Shapes written inside the file are ignored. A model that is read with this and not
/// rewritten runs too, slowly and in float.
pub fn onnx() -> Onnx {
    let mut onnx = tract_onnx::onnx().with_ignore_value_info(true);
    onnx.op_register.insert("QuantizeLinear", kept::build);
    onnx.op_register.insert("DequantizeLinear", kept::build);
    onnx
}

/// Puts operators on bytes in the place of those between quantisations. To be called on a typed model before
/// `declutter` or `optimize`, which join operators to others that nobody recognises.
///
/// A model without quantisation is returned as it is. What cannot be integer stays in float with the numbers of ONNX.
/// The buffers of the result belong to the state of a run (`spawn`); a run allocates its outputs and nothing else.
///
/// # Errors
/// If `tract` cannot put the graph together again.
pub fn rewrite(model: TypedModel) -> TractResult<(TypedModel, Report)> {
    let mut reader = Reader::read(&model)?;
    let mut demand = reader.demand();
    let mut assembled = assemble(&model, &reader, &demand)?;
    if let Err(reason) = &assembled {
        reader = Reader::refused(&model, reason)?;
        demand = reader.demand();
        assembled = assemble(&model, &reader, &demand)?;
    }
    let assembled = assembled.map_err(|reason| format_err!("{reason}"))?;
    let rows = model.eval_order()?.into_iter().map(|at| &model.nodes()[at]);
    let rows = rows.filter(|node| !reader.is_constant(node.id) && computes(node));
    let row = |node: &TypedNode| {
        let integer = !demand.kept.contains(&node.id);
        Row {
            name: node.name.clone(),
            operator: node.op.name().into_owned(),
            integer,
            reason: if integer { String::new() } else { reader.reason(node) },
            mmac: mmac(&model, node),
            share: 0.0,
        }
    };
    let Assembled { model: rewritten, weight_bytes, arena_bytes } = assembled;
    let report = Report { rows: rows.map(row).collect(), weight_bytes, arena_bytes }.with_shares();
    let untouched = demand.operations.is_empty() && !model.nodes().iter().any(is_kept);
    Ok((if untouched { model } else { rewritten }, report))
}

fn is_kept(node: &TypedNode) -> bool {
    node.op.is::<KeptQuantise>() || node.op.is::<KeptDequantise>()
}

/// Whether it is an operator of its own to whoever reads the report.
fn computes(node: &TypedNode) -> bool {
    let op = &node.op;
    let moves = op.is::<AxisOp>() || op.is::<Cast>() || op.is::<Const>() || op.is::<TypedSource>();
    !moves && !is_kept(node)
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
