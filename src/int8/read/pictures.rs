//! Sums and products of pictures, pools, resizing, and what follows a result number by number.

use tract_core::ops::binary::TypedBinOp;
use tract_core::ops::cnn::{MaxPool, SumPool};
use tract_core::ops::nn::resize::{CoordTransformer, Interpolator};
use tract_core::ops::nn::{Reduce, Reducer};
use tract_onnx::tract_hir::internal::{OutletId, TypedNode};
use tract_onnx_opl::resize::{CoordTransform, Nearest as OnnxNearest, Resize};

use super::super::kept::floats;
use super::super::program::{Pair, Work};
use super::super::small::{Coordinates, Nearest, Sizes};
use super::super::tensor::{Output, Window};
use super::conv::{reach, window};
use super::pending::{Pending, Shape, Unrounded};
use super::view::View;
use super::{Reader, Reason, Value};

/// Pixels of a window whose sum an `i32` holds.
const MAX_MEAN: usize = 1 << 22;

impl Reader<'_> {
    pub(super) fn binary(&mut self, node: &TypedNode, op: &TypedBinOp) -> Result<Option<Pending>, Reason> {
        let [a, b] = *node.inputs.as_slice() else { return Ok(None) };
        let name = op.0.name();
        match (self.constant[a.node], self.constant[b.node]) {
            (false, false) => {
                let pair = match name {
                    "Add" => Pair::Add,
                    "Sub" => Pair::Subtract,
                    "Mul" => Pair::Multiply,
                    _ => return Ok(None),
                };
                self.pair(node, pair, a, b)
            }
            (true, false) if !matches!(name, "Sub" | "Div") => Ok(self.with_constant(node, name, b, a)),
            (false, true) => Ok(self.with_constant(node, name, a, b)),
            _ => Ok(None),
        }
    }

    fn with_constant(&self, node: &TypedNode, name: &str, x: OutletId, constant: OutletId) -> Option<Pending> {
        match name {
            "Max" => self.at_least(x, node, self.number(constant)?),
            "Min" => self.at_most(x, node, self.number(constant)?),
            "Add" => self.biased(x, constant, node),
            "Mul" => self.scaled(x, node, self.number(constant)?),
            "Div" => self.scaled(x, node, 1.0 / self.number(constant)?),
            _ => None,
        }
    }

    /// A mean times a number, or anything times 1.
    fn scaled(&self, x: OutletId, node: &TypedNode, by: f32) -> Option<Pending> {
        let mut pending = self.pending(x, &[node.id])?;
        match &mut pending.result {
            Unrounded::Mean { factor, .. } => *factor *= by,
            _ if by.to_bits() == 1.0_f32.to_bits() => {}
            _ => return None,
        }
        (pending.is_plain()).then_some(pending)
    }

    /// `PRelu` with one slope: `x < 0 ? x * slope : x`.
    pub(super) fn parametric(&self, node: &TypedNode) -> Option<Pending> {
        let [test, scaled, x] = *node.inputs.as_slice() else { return None };
        let node_of = |outlet: OutletId| &self.model.nodes()[outlet.node];
        let (comparison, product) = (node_of(test), node_of(scaled));
        let [zero, compared] = *comparison.inputs.as_slice() else { return None };
        let [factor, slope] = *product.inputs.as_slice() else { return None };
        let named =
            |node: &TypedNode, name: &str| node.op.downcast_ref::<TypedBinOp>().is_some_and(|op| op.0.name() == name);
        let greater = named(comparison, "GT") || named(comparison, "CompGT") || named(comparison, "Gt");
        let ours = greater && named(product, "Mul") && compared == x && factor == x;
        if !ours || self.number(zero)? != 0.0 {
            return None;
        }
        self.leaky(x, &[node.id, comparison.id, product.id], self.number(slope)?)
    }

    fn pair(&mut self, node: &TypedNode, pair: Pair, a: OutletId, b: OutletId) -> Result<Option<Pending>, Reason> {
        let (Some((view_a, scale_a)), Some((view_b, scale_b))) = (self.real(a), self.real(b)) else {
            return Ok(None);
        };
        let time = self.times[node.id];
        let shape = self.shape(OutletId::new(node.id, 0))?;
        let alike = view_a.over(0) == view_b.over(0)
            && self.pictures[view_a.base].sizes() == self.pictures[view_b.base].sizes();
        if alike && let (Some(a), Some(b)) = (self.whole(&view_a, scale_a), self.whole(&view_b, scale_b)) {
            let to = Shape { sizes: self.pictures[a.picture].sizes(), view: view_a.over(0) };
            return Ok(Some(Unrounded::Pair { pair, a, b, to }.into()));
        }
        if let (Some(a), Some(b)) = (self.picture(&view_a, scale_a, time), self.picture(&view_b, scale_b, time)) {
            let [_, channels, height, width] = *shape else {
                return Err("its shapes do not fit each other".to_owned());
            };
            let to = Shape::picture([height, width, channels]);
            return Ok(Some(Unrounded::Pair { pair, a, b, to }.into()));
        }
        if view_a.shape() != shape || view_b.shape() != shape {
            return Err("tensors of different shapes that are no pictures".to_owned());
        }
        let (a, b) = (self.matrix(&view_a, scale_a, time), self.matrix(&view_b, scale_b, time));
        let to = Shape { sizes: self.pictures[a.picture].sizes(), view: View::rows(0, &shape) };
        Ok(Some(Unrounded::Pair { pair, a, b, to }.into()))
    }

    /// The sum over all pixels: the first half of `GlobalAveragePool` and `ReduceMean`.
    pub(super) fn sum(&mut self, node: &TypedNode, op: &Reduce) -> Result<Option<Pending>, Reason> {
        let Some((view, quantisation)) = self.real(node.inputs[0]) else { return Ok(None) };
        let mut axes = op.axes.to_vec();
        axes.sort_unstable();
        if op.reducer != Reducer::Sum || axes != [2, 3] || view.shape().len() != 4 {
            return Err(format!("{:?} over the axes {axes:?}", op.reducer));
        }
        let time = self.times[node.id];
        let x = self.picture(&view, quantisation, time).ok_or("a batch of more than one picture")?;
        let [_, channels, height, width] = *view.shape() else { return Ok(None) };
        if height * width > MAX_MEAN {
            return Err("its window is too large".to_owned());
        }
        let window = Window::global(height, width);
        let factor = (height * width) as f32;
        let to = Shape::picture([1, 1, channels]);
        Ok(Some(Unrounded::Mean { x, window, count_padding: false, factor, to }.into()))
    }

    pub(super) fn mean_pool(&mut self, node: &TypedNode, op: &SumPool) -> Result<Option<Pending>, Reason> {
        let Some((view, quantisation)) = self.real(node.inputs[0]) else { return Ok(None) };
        let shape = self.shape(node.inputs[0])?;
        let (window, sides) = window(&op.pool_spec, &shape)?;
        let padding = op.pool_spec.computed_padding(&shape[2..]);
        let beyond = reach(&window, sides)
            .iter()
            .zip(&shape[2..])
            .zip(&padding)
            .any(|((reach, side), padding)| *reach > side + padding.pad_after);
        if !op.normalize || (op.count_include_pad && beyond) {
            return Err("a pool that is no mean".to_owned());
        }
        if window.kernel[0] * window.kernel[1] > MAX_MEAN {
            return Err("its window is too large".to_owned());
        }
        let time = self.times[node.id];
        let x = self.picture(&view, quantisation, time).ok_or("a batch of more than one picture")?;
        let to = self.pooled(node, sides, x.channels)?;
        Ok(Some(Unrounded::Mean { x, window, count_padding: op.count_include_pad, factor: 1.0, to }.into()))
    }

    pub(super) fn max_pool(&mut self, node: &TypedNode, op: &MaxPool) -> Result<Option<Value>, Reason> {
        let Some((view, quantisation)) = self.real(node.inputs[0]) else { return Ok(None) };
        if op.with_index_outputs.is_some() {
            return Err("a pool with indices".to_owned());
        }
        let shape = self.shape(node.inputs[0])?;
        let (window, sides) = window(&op.pool_spec, &shape)?;
        let time = self.times[node.id];
        let x = self.picture(&view, quantisation, time).ok_or("a batch of more than one picture")?;
        let to = self.pooled(node, sides, x.channels)?;
        let made = self.push(Work::MaxPool(window), vec![x], to.sizes, quantisation.zero_point, time);
        Ok(Some(Value::Real(to.view.over(made), quantisation)))
    }

    fn pooled(&self, node: &TypedNode, sides: [usize; 2], channels: usize) -> Result<Shape, Reason> {
        let found = self.shape(OutletId::new(node.id, 0))?;
        if found == [1, channels, sides[0], sides[1]] {
            return Ok(Shape::picture([sides[0], sides[1], channels]));
        }
        Err("its shapes do not fit each other".to_owned())
    }

    pub(super) fn resize(&mut self, node: &TypedNode, op: &Resize) -> Result<Option<Value>, Reason> {
        let Some((view, quantisation)) = self.real(node.inputs[0]) else { return Ok(None) };
        let (from, to) = (view.shape(), self.shape(OutletId::new(node.id, 0))?);
        let ([1, channels, from_height, from_width], [1, kept, height, width]) = (from.as_slice(), to.as_slice())
        else {
            return Err("not a picture, or a batch of more than one".to_owned());
        };
        if channels != kept {
            return Err("its channels are resized".to_owned());
        }
        if op.antialias || op.exclude_outside {
            return Err("an antialiased resize, or one that leaves out what lies outside".to_owned());
        }
        let coordinates = match op.coord_transformer {
            CoordTransform::Plain(CoordTransformer::HalfPixel) => Coordinates::HalfPixel,
            CoordTransform::Plain(CoordTransformer::PytorchHalfPixel) => Coordinates::PytorchHalfPixel,
            CoordTransform::Plain(CoordTransformer::AlignCorners) => Coordinates::AlignCorners,
            CoordTransform::Plain(CoordTransformer::Asymmetric) => Coordinates::Asymmetric,
            _ => return Err(format!("coordinates `{}`", op.coord_transformer.as_str())),
        };
        let mut sizes = Sizes::new([*from_height, *from_width], [*height, *width], coordinates);
        if let Some(scales) = self.scales(node, op)? {
            sizes.scale = scales;
        }
        let time = self.times[node.id];
        let x = self.picture(&view, quantisation, time).ok_or("a batch of more than one picture")?;
        let to = Shape::picture([*height, *width, *channels]);
        let nearest = match (&op.interpolator, &op.nearest) {
            (Interpolator::Linear, _) => {
                let linear = Unrounded::Linear { x, sizes, to };
                return Ok(Some(Value::Pending(Box::new(linear.into()))));
            }
            (Interpolator::Cubic, _) => return Err("cubic interpolation".to_owned()),
            (Interpolator::Nearest, OnnxNearest::Floor) => Nearest::Floor,
            (Interpolator::Nearest, OnnxNearest::Ceil) => Nearest::Ceil,
            (Interpolator::Nearest, OnnxNearest::RoundPreferFloor) => Nearest::RoundPreferFloor,
            (Interpolator::Nearest, OnnxNearest::RoundPreferCeil) => Nearest::RoundPreferCeil,
        };
        let work = Work::Resize { sizes, nearest: Some(nearest), output: Output::plain(quantisation) };
        let made = self.push(work, vec![x], to.sizes, quantisation.zero_point, time);
        Ok(Some(Value::Real(to.view.over(made), quantisation)))
    }

    /// The scales of height and width, if the file gives scales.
    fn scales(&self, node: &TypedNode, op: &Resize) -> Result<Option<[f32; 2]>, Reason> {
        let Some(input) = op.optional_scales_input.and_then(|input| node.inputs.get(input)) else { return Ok(None) };
        let konst = self.fact(*input).konst.as_ref().ok_or("its scales are not constant")?;
        let found = floats(konst).map_err(|error| error.to_string())?;
        let axes = op.resized_axes(4).map_err(|error| error.to_string())?;
        if found.len() != axes.len() {
            return Ok(None);
        }
        let mut scales = [1.0; 4];
        for (axis, scale) in axes.into_iter().zip(found) {
            scales[axis] = scale;
        }
        if !scales.iter().all(|scale| scale.is_normal() && *scale > 0.0) {
            return Err("a scale is no number above 0".to_owned());
        }
        Ok(Some([scales[2], scales[3]]))
    }
}
