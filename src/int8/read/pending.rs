//! Results that wait for the `QuantizeLinear` after them: what is computed, and the activation so far.

use std::sync::Arc;

use tract_onnx::tract_hir::internal::{OutletId, TypedNode};

use super::super::program::{Convolution, Operand, Pair, Place, Weights, Work};
use super::super::small::Sizes;
use super::super::tensor::{Output, Quantisation, Window};
use super::view::View;
use super::{Reader, Reason, Value};

/// Outputs that kernels pack together.
const WIDEST: usize = 64;

/// Bytes that packed weights of one operator may have.
const MAX_PACKED: usize = 256 << 20;

/// Most groups that are no single channels.
const MAX_GROUPS: usize = 4096;

/// A result, and the activation on it.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) result: Unrounded,
    /// Numbers below 0 times this; then the bounds.
    slope: Option<f32>,
    bounds: Option<[f32; 2]>,
}

/// What is computed of bytes.
#[derive(Clone, Debug)]
pub(super) enum Unrounded {
    Conv(Sum),
    Pair {
        pair: Pair,
        a: Operand,
        b: Operand,
        to: Shape,
    },
    /// The mean of a window, of which all numbers are multiplied by `factor`.
    Mean {
        x: Operand,
        window: Window,
        count_padding: bool,
        factor: f32,
        to: Shape,
    },
    Linear {
        x: Operand,
        sizes: Sizes,
        to: Shape,
    },
    Join {
        parts: Vec<(Operand, Place)>,
        to: Shape,
    },
}

/// A convolution or matrix product before its rounding.
#[derive(Clone, Debug)]
pub(super) struct Sum {
    pub(super) x: Operand,
    pub(super) window: Window,
    pub(super) groups: usize,
    pub(super) weights: Arc<Weights>,
    /// In real numbers, one an output.
    pub(super) bias: Option<Vec<f64>>,
    pub(super) to: Shape,
}

/// The picture of a result, and how the tensor walks it.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) sizes: [usize; 3],
    /// Over any base.
    pub(super) view: View,
}

impl Shape {
    pub(super) fn picture(sizes: [usize; 3]) -> Self {
        Self { sizes, view: View::picture(0, sizes) }
    }
}

impl From<Unrounded> for Pending {
    fn from(result: Unrounded) -> Self {
        Self { result, slope: None, bounds: None }
    }
}

impl Pending {
    /// Whether nothing but the result itself is known, so that it may leave as floats.
    pub(super) fn is_plain(&self) -> bool {
        self.slope.is_none() && self.bounds.is_none()
    }

    /// How the tensor walks its values.
    pub(super) fn view(&self) -> &View {
        match &self.result {
            Unrounded::Conv(Sum { to, .. })
            | Unrounded::Pair { to, .. }
            | Unrounded::Mean { to, .. }
            | Unrounded::Linear { to, .. }
            | Unrounded::Join { to, .. } => &to.view,
        }
    }

    /// The same values on another walk, of which none is left out.
    pub(super) fn walked(mut self, walk: impl Fn(&View) -> Option<View>) -> Option<Self> {
        let walked = walk(self.view()).filter(|walked| walked.len() == self.view().len())?;
        match &mut self.result {
            Unrounded::Conv(Sum { to, .. })
            | Unrounded::Pair { to, .. }
            | Unrounded::Mean { to, .. }
            | Unrounded::Linear { to, .. }
            | Unrounded::Join { to, .. } => to.view = walked,
        }
        Some(self)
    }

    fn rounded(&self, quantisation: Quantisation) -> Output {
        let [low, high] = self.bounds.unwrap_or([f32::NEG_INFINITY, f32::INFINITY]);
        Output {
            quantisation,
            low: quantisation.byte(low),
            high: quantisation.byte(high),
            slope: self.slope.unwrap_or(1.0),
        }
    }
}

impl Reader<'_> {
    /// A pending result that only these nodes read.
    pub(super) fn pending(&self, outlet: OutletId, readers: &[usize]) -> Option<Pending> {
        match self.values.get(&outlet) {
            Some(Value::Pending(pending)) if self.only_feeds(outlet, readers) => Some(pending.as_ref().clone()),
            _ => None,
        }
    }

    /// `max` with a number.
    pub(super) fn at_least(&self, outlet: OutletId, node: &TypedNode, bound: f32) -> Option<Pending> {
        let mut pending = self.pending(outlet, &[node.id]).filter(|_| !bound.is_nan())?;
        let [low, high] = pending.bounds.unwrap_or([f32::NEG_INFINITY, f32::INFINITY]);
        pending.bounds = Some([low.max(bound), high.max(bound)]);
        Some(pending)
    }

    /// `min` with a number.
    pub(super) fn at_most(&self, outlet: OutletId, node: &TypedNode, bound: f32) -> Option<Pending> {
        let mut pending = self.pending(outlet, &[node.id]).filter(|_| !bound.is_nan())?;
        let [low, high] = pending.bounds.unwrap_or([f32::NEG_INFINITY, f32::INFINITY]);
        pending.bounds = Some([low.min(bound), high.min(bound)]);
        Some(pending)
    }

    /// `LeakyRelu`, where nothing is bounded yet.
    pub(super) fn leaky(&self, outlet: OutletId, readers: &[usize], slope: f32) -> Option<Pending> {
        let mut pending = self.pending(outlet, readers).filter(|pending| pending.is_plain() && slope.is_finite())?;
        pending.slope = Some(slope);
        Some(pending)
    }

    /// The operation on bytes for a pending result that is quantised next.
    pub(super) fn settle(
        &mut self,
        pending: &Pending,
        quantisation: Quantisation,
        time: usize,
    ) -> Result<View, Reason> {
        let output = pending.rounded(quantisation);
        if output.low > output.high {
            return Err("its bounds exclude each other".to_owned());
        }
        let (work, reads, to) = match &pending.result {
            Unrounded::Conv(sum) => {
                let convolution = sum.convolution()?;
                (Work::Conv { convolution, output: Some(output) }, vec![sum.x], &sum.to)
            }
            Unrounded::Pair { pair, a, b, to } => (Work::Pair { pair: *pair, output }, vec![*a, *b], to),
            Unrounded::Mean { x, window, count_padding, factor, to } => {
                let scale = x.quantisation.scale * factor;
                if !super::super::kept::sound(scale) {
                    return Err("its factor is not above 0".to_owned());
                }
                let x = Operand { quantisation: Quantisation { scale, ..x.quantisation }, ..*x };
                (Work::MeanPool { window: *window, count_padding: *count_padding, output }, vec![x], to)
            }
            Unrounded::Linear { x, sizes, to } => (Work::Resize { sizes: *sizes, nearest: None, output }, vec![*x], to),
            Unrounded::Join { parts, to } if pending.is_plain() => {
                let (reads, places) = parts.iter().copied().unzip();
                (Work::Join { places, quantisation }, reads, to)
            }
            Unrounded::Join { .. } => return Err("an activation on joined tensors".to_owned()),
        };
        let view = to.view.clone();
        let made = self.push(work, reads, to.sizes, quantisation.zero_point, time);
        Ok(view.over(made))
    }
}

impl Sum {
    /// With its bias in steps, if every sum fits an `i32`.
    pub(super) fn convolution(&self) -> Result<Convolution, Reason> {
        let Self { window, groups, weights, to, .. } = self;
        let bias = self.bias.as_ref().map(|bias| self.steps(bias)).transpose()?;
        let each = weights.values.len() / weights.outputs;
        let depthwise = each == window.kernel[0] * window.kernel[1] && *groups == weights.outputs;
        let packed =
            each.next_multiple_of(4).saturating_mul((weights.outputs / groups).next_multiple_of(WIDEST) * groups);
        if packed > MAX_PACKED || (*groups > MAX_GROUPS && !depthwise) {
            return Err("its weights are too large, or in too many groups".to_owned());
        }
        for (output, values) in weights.values.chunks_exact(each).enumerate() {
            let sum: i64 = values.iter().map(|value| i64::from(value.unsigned_abs())).sum();
            // The zero point's share and the sum itself, each at its worst.
            let most = 2 * 255 * sum + bias.as_ref().map_or(0, |bias| i64::from(bias[output]).abs());
            if most > i64::from(i32::MAX) {
                return Err("its sums do not fit 32 bits".to_owned());
            }
        }
        let [height, width, _] = to.sizes;
        let bias = bias.map(Arc::new);
        let weights = Arc::clone(weights);
        Ok(Convolution { window: *window, groups: *groups, weights, bias, height, width })
    }

    fn steps(&self, bias: &[f64]) -> Result<Vec<i32>, Reason> {
        let scales = &self.weights.scales;
        let step = |output: usize| f64::from(self.x.quantisation.scale) * f64::from(scales[output % scales.len()]);
        let steps = bias.iter().enumerate().map(|(output, value)| {
            let steps = (value / step(output)).round_ties_even();
            let fits = steps.abs() <= f64::from(i32::MAX);
            fits.then_some(steps as i32)
        });
        steps.collect::<Option<_>>().ok_or_else(|| "its bias does not fit 32 bits".to_owned())
    }
}
