//! `Conv`, `Gemm` and `MatMul` with constant weights.

use std::sync::Arc;

use tract_core::ops::cnn::{Conv, KernelFormat, PaddingSpec, PoolSpec};
use tract_core::ops::einsum::EinSum;
use tract_core::ops::nn::DataFormat;
use tract_onnx::tract_hir::internal::{OutletId, TypedNode};

use super::super::program::Weights;
use super::super::tensor::Window;
use super::constants::{DEPTH, Quantised};
use super::pending::{Pending, Shape, Sum, Unrounded};
use super::{Reader, Reason};

/// Most channels, pixels of a kernel or steps of a stride: beyond any network, and products of them fit.
const MAX_SIDE: usize = 1 << 16;

impl Reader<'_> {
    pub(super) fn conv(&mut self, node: &TypedNode, op: &Conv) -> Result<Option<Pending>, Reason> {
        let Some((view, quantisation)) = self.real(node.inputs[0]) else { return Ok(None) };
        if op.q_params.is_some() || op.kernel_fmt != KernelFormat::OIHW {
            return Err("its weights lie in another order".to_owned());
        }
        let shape = self.shape(node.inputs[0])?;
        let output = self.shape(OutletId::new(node.id, 0))?;
        let (window, sides) = window(&op.pool_spec, &shape)?;
        let channels = shape[1];
        let Quantised { shape: kernel, values, scales, axis } = self.weights(node.inputs[1], DEPTH)?;
        let groups = op.group;
        let outputs = output[1];
        let fits = groups > 0
            && channels.is_multiple_of(groups)
            && outputs.is_multiple_of(groups)
            && kernel == [outputs, channels / groups, window.kernel[0], window.kernel[1]]
            && output == [1, outputs, sides[0], sides[1]];
        if !fits {
            return Err("its shapes do not fit each other".to_owned());
        }
        if scales.len() != 1 && axis != 0 {
            return Err("its weights have scales along an axis other than the outputs".to_owned());
        }
        let bias = match node.inputs.get(2) {
            None => None,
            Some(bias) => Some(self.vector(*bias, outputs).ok_or("its bias is no constant of numbers")?),
        };
        let time = self.times[node.id];
        let x = self.picture(&view, quantisation, time).ok_or("a batch of more than one picture")?;
        if window.before != [0, 0] || reach(&window, sides) > [shape[2], shape[3]] {
            // The margin holds one byte for all who read it.
            let margin = self.pictures[x.picture].zero_point;
            if margin != quantisation.zero_point {
                return Err("its input is quantised in two ways".to_owned());
            }
        }
        let weights = Arc::new(Weights { values, outputs, scales });
        let to = Shape::picture([sides[0], sides[1], outputs]);
        Ok(Some(Unrounded::Conv(Sum { x, window, groups, weights, bias, to }).into()))
    }

    /// A product with a constant matrix: `..k,kn->..n` or `..k,nk->..n`.
    pub(super) fn product(&mut self, node: &TypedNode, op: &EinSum) -> Result<Option<Pending>, Reason> {
        let Some((view, quantisation)) = self.real(node.inputs[0]) else {
            let other = node.inputs.get(1).and_then(|input| self.real(*input));
            return other.map_or(Ok(None), |_| Err("its first factor is not quantised".to_owned()));
        };
        let axes = op.axes.to_string();
        let unknown = || format!("a product `{axes}`");
        let (inputs, result) = axes.split_once("->").ok_or_else(unknown)?;
        let (a, b) = inputs.split_once(',').ok_or_else(unknown)?;
        let letters = |text: &str| text.chars().collect::<Vec<char>>();
        let (a, b, result) = (letters(a), letters(b), letters(result));
        let ([k], [n]) = (&a[a.len().saturating_sub(1)..], &result[result.len().saturating_sub(1)..]) else {
            return Err(unknown());
        };
        let transposed = b == [*n, *k];
        let known = (transposed || b == [*k, *n]) && a[..a.len() - 1] == result[..result.len() - 1] && !a.contains(n);
        if op.q_params.is_some() || !known {
            return Err(unknown());
        }
        let weights = self.weights(node.inputs[1], DEPTH)?;
        let shape = self.shape(node.inputs[0])?;
        let inputs = shape.last().copied().unwrap_or(1);
        let weights = matrix(weights, transposed, inputs)?;
        let outputs = weights.outputs;
        let time = self.times[node.id];
        let x = self.rows(&view, quantisation, time);
        let [height, width, channels] = self.pictures[x.picture].sizes();
        // The result walks its pixels as the input walked its own.
        let walked = if x.picture == view.base { view.widened(0, channels, outputs) } else { None };
        let result = [&shape[..shape.len() - 1], &[outputs]].concat();
        if result != self.shape(OutletId::new(node.id, 0))? {
            return Err("its shapes do not fit each other".to_owned());
        }
        let view = walked.unwrap_or_else(|| super::view::View::rows(0, &result));
        let to = Shape { sizes: [height, width, outputs], view };
        let window = Window::global(1, 1);
        let weights = Arc::new(weights);
        Ok(Some(Unrounded::Conv(Sum { x, window, groups: 1, weights, bias: None, to }).into()))
    }

    /// A constant added to a product, one number an output.
    pub(super) fn biased(&self, outlet: OutletId, constant: OutletId, node: &TypedNode) -> Option<Pending> {
        let mut pending = self.pending(outlet, &[node.id]).filter(Pending::is_plain)?;
        let Unrounded::Conv(sum) = &mut pending.result else { return None };
        let shape = self.shape(OutletId::new(node.id, 0)).ok()?;
        let constant_shape = self.shape(constant).ok()?;
        // The axis of the outputs: the last of a product, the second of a picture.
        let picture = sum.to.view == super::view::View::picture(0, sum.to.sizes) && shape.len() == 4;
        let axis = if picture { 1 } else { shape.len() - 1 };
        let along = |(at, side): (usize, &usize)| *side == 1 || at == axis;
        if constant_shape.len() != shape.len() || !constant_shape.iter().enumerate().all(along) {
            return None;
        }
        let added = self.vector(constant, sum.weights.outputs)?;
        sum.bias = Some(match sum.bias.take() {
            None => added,
            Some(bias) => bias.iter().zip(added).map(|(a, b)| a + b).collect(),
        });
        Some(pending)
    }
}

/// The window of a convolution or pool over `[1, C, H, W]`, and the height and width of what it makes.
pub(super) fn window(spec: &PoolSpec, shape: &[usize]) -> Result<(Window, [usize; 2]), Reason> {
    let [batch, _, height, width] = *shape else {
        return Err("not a picture: its tensor has not four axes".to_owned());
    };
    if batch != 1 {
        return Err(format!("a batch of {batch} pictures"));
    }
    if spec.data_format != DataFormat::NCHW {
        return Err("its channels come last".to_owned());
    }
    let pair = |values: &[usize]| {
        <[usize; 2]>::try_from(values).ok().filter(|pair| pair.iter().all(|side| (1..=MAX_SIDE).contains(side)))
    };
    let unsound = || "a kernel, stride or dilation of 0, or too large".to_owned();
    let kernel = pair(&spec.kernel_shape).ok_or_else(unsound)?;
    let stride = pair(&spec.strides()).ok_or_else(unsound)?;
    let dilation = pair(&spec.dilations()).ok_or_else(unsound)?;
    if let PaddingSpec::Explicit(before, after) | PaddingSpec::ExplicitOnnxPool(before, after, _) = &spec.padding
        && (before.len() != 2 || after.len() != 2 || before.iter().chain(after).any(|pad| *pad > MAX_SIDE))
    {
        return Err("its padding is negative or too wide".to_owned());
    }
    let padding = spec.computed_padding(&[height, width]);
    let before = [padding[0].pad_before, padding[1].pad_before];
    let sides = [padding[0].convoluted, padding[1].convoluted];
    if sides.contains(&0) || before.iter().chain(padding.iter().map(|side| &side.pad_after)).any(|pad| *pad > MAX_SIDE)
    {
        return Err("its padding leaves nothing or is too wide".to_owned());
    }
    Ok((Window { kernel, stride, before, dilation }, sides))
}

/// The rows and columns that windows reach, counted from the first of the picture.
pub(in crate::int8) fn reach(window: &Window, sides: [usize; 2]) -> [usize; 2] {
    std::array::from_fn(|axis| {
        let last = (sides[axis] - 1) * window.stride[axis] + (window.kernel[axis] - 1) * window.dilation[axis] + 1;
        last.saturating_sub(window.before[axis])
    })
}

/// Weights `[inputs, outputs]`, or `[outputs, inputs]` if `transposed`, as `[outputs, inputs]`.
fn matrix(weights: Quantised, transposed: bool, inputs: usize) -> Result<Weights, Reason> {
    let Quantised { shape, values, scales, axis } = weights;
    let [first, second] = *shape else { return Err("its weights are no matrix".to_owned()) };
    let (found, outputs) = if transposed { (second, first) } else { (first, second) };
    if found != inputs {
        return Err("its shapes do not fit each other".to_owned());
    }
    if scales.len() != 1 && axis != usize::from(!transposed) {
        return Err("its weights have scales along an axis other than the outputs".to_owned());
    }
    let values = if transposed {
        values
    } else {
        let mut turned = Vec::with_capacity(values.len());
        for output in 0..outputs {
            turned.extend(values.iter().skip(output).step_by(outputs));
        }
        turned
    };
    Ok(Weights { values, outputs, scales })
}
