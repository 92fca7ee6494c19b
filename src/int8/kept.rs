//! `QuantizeLinear` and `DequantizeLinear` as operators of their own, so that the bytes of the weights stay bytes.
//!
//! `tract` would compute the floats of every weight while it reads the file. These are never folded; what the
//! rewrite leaves of them runs here, with the numbers of the ONNX standard.

use std::sync::Arc;

use tract_core::{as_op, not_out_of_plan, op_as_typed_op};
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::{
    Datum, DatumExt, DatumType, DatumTypeExt, DimLike, EvalContext, EvalOp, Expansion, InferenceOp, InferenceResult,
    IntoTValue, Op, OutletId, Solver, SpecialOps, StaticName, TValue, TVec, Tensor, TensorProxy, TractResult,
    TypedFact, TypedModel, TypedOp, bail, ensure, expand, format_err, tvec,
};

use super::tensor::Quantisation;

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Direction {
    Quantise,
    Dequantise,
}

/// `axis` where the attribute is absent (the standard's default).
const DEFAULT_AXIS: i64 = 1;

// Codes of `TensorProto.DataType` (onnx.proto3).
const UNSPECIFIED: i64 = 0;
const UINT8: i64 = 2;
const INT8: i64 = 3;

/// The builder of both operators, for `tract`'s register of ONNX operators.
pub(super) fn build(_: &ParsingContext, node: &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let block = node.get_attr_opt::<i64>("block_size")?.unwrap_or(0);
    ensure!(block == 0, "{}: quantisation by blocks is not supported", node.op_type);
    ensure!(
        (2..=3).contains(&node.input.len()),
        "{}: expected 2 or 3 inputs, found {}",
        node.op_type,
        node.input.len()
    );
    // An optional input may be named by nothing.
    let zero_point = node.input.get(2).is_some_and(|name| !name.is_empty());
    let direction = if node.op_type == "QuantizeLinear" { Direction::Quantise } else { Direction::Dequantise };
    let bytes = match node.get_attr_opt::<i64>("output_dtype")?.unwrap_or(UNSPECIFIED) {
        UNSPECIFIED | UINT8 => DatumType::U8,
        INT8 => DatumType::I8,
        other if direction == Direction::Quantise => bail!("{}: unknown output type {other}", node.op_type),
        _ => DatumType::U8,
    };
    let axis = node.get_attr_opt("axis")?.unwrap_or(DEFAULT_AXIS);
    Ok((expand(Kept { direction, zero_point, axis, bytes }), vec![]))
}

/// As the file has it: data, scale and perhaps zero point are inputs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kept {
    direction: Direction,
    zero_point: bool,
    axis: i64,
    /// What is made where no zero point says it.
    bytes: DatumType,
}

impl Expansion for Kept {
    fn name(&self) -> StaticName {
        match self.direction {
            Direction::Quantise => "QuantizeLinear".into(),
            Direction::Dequantise => "DequantizeLinear".into(),
        }
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        let expected = 2 + usize::from(self.zero_point);
        ensure!(inputs.len() >= expected && outputs.len() == 1, "{}: wrong number of inputs or outputs", self.name());
        solver.equals(&inputs[1].datum_type, f32::datum_type())?;
        solver.equals(&inputs[0].shape, &outputs[0].shape)?;
        let bytes = match self.direction {
            Direction::Quantise => &outputs[0].datum_type,
            Direction::Dequantise => {
                solver.equals(&outputs[0].datum_type, f32::datum_type())?;
                &inputs[0].datum_type
            }
        };
        if self.zero_point {
            solver.equals(bytes, &inputs[2].datum_type)?;
        } else if self.direction == Direction::Quantise {
            solver.equals(bytes, self.bytes)?;
        }
        Ok(())
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let constant = |input: usize, what: &str| {
            let konst = inputs.get(input).map(|outlet| model.outlet_fact(*outlet).map(|fact| fact.konst.clone()));
            konst.transpose()?.flatten().ok_or_else(|| format_err!("the {what} must be a constant"))
        };
        let scales = floats(&*constant(1, "scale")?)?;
        let zero_point = if self.zero_point { Some(constant(2, "zero point")?) } else { None };
        let bytes = zero_point.as_ref().map_or(self.bytes, |tensor| tensor.datum_type());
        let zero_points = zero_point.map_or_else(|| Ok(vec![0]), |tensor| integers(&tensor))?;
        let fact = model.outlet_fact(inputs[0])?;
        let rank = fact.rank() as i64;
        let axis = if self.axis < 0 { self.axis + rank } else { self.axis };
        let lengths = [scales.len(), zero_points.len()];
        ensure!(!lengths.contains(&0), "scale or zero point is empty");
        if lengths != [1, 1] {
            ensure!((0..rank).contains(&axis), "axis {} of a tensor of {rank} axes", self.axis);
            let side = &fact.shape[axis as usize];
            ensure!(
                lengths.iter().all(|length| *length == 1 || side.to_usize().is_ok_and(|side| side == *length)),
                "{lengths:?} scales and zero points for {side} values on axis {axis}"
            );
        }
        let parameters = Arc::new(Parameters { scales, zero_points, axis: axis.max(0) as usize });
        match self.direction {
            Direction::Quantise => {
                ensure!(matches!(bytes, DatumType::U8 | DatumType::I8), "cannot quantise to {bytes:?}");
                model.wire_node(prefix, KeptQuantise { parameters, to: bytes }, &inputs[..1])
            }
            Direction::Dequantise => model.wire_node(prefix, KeptDequantise { parameters }, &inputs[..1]),
        }
    }

    fn runs_out_of_plan(&self) -> bool {
        false
    }
}

/// Scales and zero points: one of each, or as many as `axis` is long.
#[derive(Debug, PartialEq)]
pub(super) struct Parameters {
    pub(super) scales: Vec<f32>,
    pub(super) zero_points: Vec<i32>,
    /// Means nothing where there is one scale and one zero point.
    pub(super) axis: usize,
}

impl Parameters {
    /// As inner bytes mean it, if one sound scale and zero point hold for the whole tensor.
    pub(super) fn whole(&self, bytes: DatumType) -> Option<Quantisation> {
        let ([scale], [zero_point]) = (self.scales.as_slice(), self.zero_points.as_slice()) else { return None };
        let shift = if bytes == DatumType::I8 { 128 } else { 0 };
        let zero_point = u8::try_from(zero_point.saturating_add(shift)).ok()?;
        sound(*scale).then_some(Quantisation { scale: *scale, zero_point })
    }

    /// Calls `work` with each value's scale and zero point, in row-major order of `shape`.
    fn each(&self, shape: &[usize], mut work: impl FnMut(usize, f32, i32)) {
        let inner: usize = shape.iter().skip(self.axis + 1).product();
        let side = shape.get(self.axis).copied().unwrap_or(1);
        for at in 0..shape.iter().product() {
            let channel = at / inner.max(1) % side.max(1);
            let of = |length: usize| if length == 1 { 0 } else { channel };
            work(at, self.scales[of(self.scales.len())], self.zero_points[of(self.zero_points.len())]);
        }
    }

    /// The floats that `bytes` stand for.
    pub(super) fn dequantised(&self, bytes: &Tensor) -> TractResult<Tensor> {
        let whole = integers(bytes)?;
        let mut real = Tensor::zero::<f32>(bytes.shape())?;
        let mut view = real.try_as_plain_ram_mut()?;
        let values = view.as_slice_mut::<f32>()?;
        self.each(bytes.shape(), |at, scale, zero_point| {
            values[at] = whole[at].wrapping_sub(zero_point) as f32 * scale;
        });
        Ok(real)
    }

    fn quantised(&self, real: &Tensor, to: DatumType) -> TractResult<Tensor> {
        let source = real.try_as_plain_ram()?;
        let source = source.as_slice::<f32>()?;
        let mut bytes = Tensor::zero_dt(to, real.shape())?;
        let mut view = bytes.try_as_plain_ram_mut()?;
        let step = |at: usize, scale: f32, zero_point: i32, low: f32, high: f32| {
            ((source[at] / scale).round_ties_even() + zero_point as f32).clamp(low, high)
        };
        if to == DatumType::I8 {
            let values = view.as_slice_mut::<i8>()?;
            self.each(real.shape(), |at, scale, zero| values[at] = step(at, scale, zero, -128.0, 127.0) as i8);
        } else {
            let values = view.as_slice_mut::<u8>()?;
            self.each(real.shape(), |at, scale, zero| values[at] = step(at, scale, zero, 0.0, 255.0) as u8);
        }
        Ok(bytes)
    }
}

/// Whether `scale` can be divided by.
pub(super) fn sound(scale: f32) -> bool {
    scale.is_normal() && scale > 0.0
}

/// The numbers of a constant of floats.
pub(super) fn floats(tensor: &Tensor) -> TractResult<Vec<f32>> {
    let tensor = tensor.cast_to::<f32>()?;
    Ok(tensor.try_as_plain_ram()?.as_slice::<f32>()?.to_vec())
}

fn integers(tensor: &Tensor) -> TractResult<Vec<i32>> {
    let kind = tensor.datum_type();
    ensure!(matches!(kind, DatumType::U8 | DatumType::I8 | DatumType::I32), "expected u8, i8 or i32, found {kind:?}");
    let tensor = tensor.cast_to::<i32>()?;
    Ok(tensor.try_as_plain_ram()?.as_slice::<i32>()?.to_vec())
}

/// f32 to u8 or i8.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct KeptQuantise {
    pub(super) parameters: Arc<Parameters>,
    pub(super) to: DatumType,
}

/// u8, i8 or i32 to f32.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct KeptDequantise {
    pub(super) parameters: Arc<Parameters>,
}

// The parameters hold what the file says; of floats that are no numbers two operators are simply not equal.
impl Eq for KeptQuantise {}
impl Eq for KeptDequantise {}

impl Op for KeptQuantise {
    fn name(&self) -> StaticName {
        "QuantizeLinear".into()
    }

    op_as_typed_op!();
}

impl Op for KeptDequantise {
    fn name(&self) -> StaticName {
        "DequantizeLinear".into()
    }

    op_as_typed_op!();
}

impl EvalOp for KeptQuantise {
    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let [real] = inputs.as_slice() else { bail!("expected one input, found {}", inputs.len()) };
        Ok(tvec!(self.parameters.quantised(real, self.to)?.into_tvalue()))
    }

    not_out_of_plan!();
}

impl EvalOp for KeptDequantise {
    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let [bytes] = inputs.as_slice() else { bail!("expected one input, found {}", inputs.len()) };
        Ok(tvec!(self.parameters.dequantised(bytes)?.into_tvalue()))
    }

    not_out_of_plan!();
}

impl TypedOp for KeptQuantise {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(self.to.fact(inputs[0].shape.clone())))
    }

    as_op!();
}

impl TypedOp for KeptDequantise {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(f32::fact(inputs[0].shape.clone())))
    }

    as_op!();
}
