//! What a step runs: the kernels, each with its constants.

use std::ops::Range;

use tract_onnx::tract_hir::internal::{Tensor, TractResult, bail, format_err};

use super::super::conv::{self, Conv};
use super::super::depthwise::Depthwise;
use super::super::small::{
    Add, Dequantise, MaxPool, MeanPool, Mul, Order, Quantise, Resize, Table, load, load_signed, store, store_signed,
};
use super::super::tensor::{Layout, Output, Quantisation};
use super::operation::{Convolution, Operand, Operation, Pair, Place, Unit, Walk, Work};
use super::rearrange::{Loop, Rearrange, dense};

#[derive(Debug)]
pub(super) enum Kernel {
    Quantise(Quantise),
    Load {
        order: Order,
        signed: bool,
    },
    /// Groups: each its channels of the input and of the output.
    Dense(Vec<Group>),
    Depthwise(Box<Depthwise>),
    Floats {
        groups: Vec<Group>,
        height: usize,
        width: usize,
    },
    Add(Add),
    Mul(Mul),
    Table(Table),
    MaxPool(MaxPool),
    MeanPool(MeanPool),
    Resize(Resize),
    /// Each operand through its table to its place.
    Join(Vec<(Table, Place)>),
    Rearrange(Rearrange),
    Dequantise(Dequantise),
    Store {
        order: Order,
        signed: bool,
    },
}

#[derive(Debug)]
pub(super) struct Group {
    conv: Conv,
    from: Range<usize>,
    to: Range<usize>,
}

impl Kernel {
    /// `made` is where the result lies, if it is a picture.
    pub(super) fn new(operation: &Operation, made: Option<&Layout>) -> Result<Self, String> {
        let first = operation.reads.first().map(|x| x.quantisation);
        let x = || first.ok_or("an operation without its input");
        Ok(match &operation.work {
            Work::Quantise { order, quantisation, .. } => Self::Quantise(Quantise::new(*quantisation, *order)),
            Work::Load { order, signed, .. } => Self::Load { order: *order, signed: *signed },
            Work::Conv { convolution, output } => Self::conv(
                convolution,
                operation.reads.first().ok_or("a convolution without its input")?,
                output.as_ref(),
            ),
            Work::Pair { pair, output } => {
                let [a, b] = operation.reads.as_slice() else { return Err("a pair that is none".to_owned()) };
                let (a, b, output) = (a.quantisation, b.quantisation, output);
                match pair {
                    Pair::Add => Self::Add(Add::new(a, b, output)),
                    Pair::Subtract => Self::Add(Add::subtract(a, b, output)),
                    Pair::Multiply => Self::Mul(Mul::new(a, b, output)),
                }
            }
            Work::Table(values) => Self::Table(Table::new(**values)),
            Work::MaxPool(window) => Self::MaxPool(MaxPool::new(*window, None)),
            Work::MeanPool { window, count_padding, output } => {
                Self::MeanPool(MeanPool::new(*window, *count_padding, x()?, output))
            }
            Work::Resize { sizes, nearest: Some(nearest), .. } => Self::Resize(Resize::nearest(sizes, *nearest, None)),
            Work::Resize { sizes, nearest: None, output } => Self::Resize(Resize::linear(sizes, x()?, output)),
            Work::Join { places, quantisation } => {
                let tables = operation.reads.iter().map(|x| Table::new(between(x.quantisation, *quantisation)));
                Self::Join(tables.zip(places.iter().copied()).collect())
            }
            Work::Rearrange { first, walk } => {
                let made = made.ok_or("a rearrangement without its target")?;
                let loops: Vec<Loop> = walk.iter().map(|walk| counted(walk, made)).collect();
                Self::Rearrange(Rearrange::new(*first, made.start, &loops))
            }
            Work::Dequantise { order } => Self::Dequantise(Dequantise::new(x()?, *order)),
            Work::Store { order, signed } => Self::Store { order: *order, signed: *signed },
        })
    }

    fn conv(convolution: &Convolution, x: &Operand, output: Option<&Output>) -> Self {
        let Convolution { window, groups, weights, bias, height, width } = convolution;
        let (outputs, inputs) = (weights.outputs / groups, x.channels / groups);
        let values = weights.values.len() / groups;
        let part = |group: usize| conv::Weights {
            values: &weights.values[group * values..(group + 1) * values],
            outputs,
            scales: if weights.scales.len() == 1 {
                &weights.scales
            } else {
                &weights.scales[group * outputs..(group + 1) * outputs]
            },
            bias: bias.as_ref().map(|bias| &bias[group * outputs..(group + 1) * outputs]),
        };
        if let (Some(output), 1, 1, true) = (output, outputs, inputs, *groups > 1) {
            let weights = conv::Weights {
                values: &weights.values,
                outputs: weights.outputs,
                scales: &weights.scales,
                bias: bias.as_ref().map(|bias| bias.as_slice()),
            };
            return Self::Depthwise(Box::new(Depthwise::new(window, &weights, x.quantisation, *output)));
        }
        let group = |group: usize| Group {
            conv: match output {
                Some(output) => Conv::new(window, &part(group), x.quantisation, *output),
                None => Conv::to_floats(window, &part(group), x.quantisation),
            },
            from: group * inputs..(group + 1) * inputs,
            to: group * outputs..(group + 1) * outputs,
        };
        let groups = (0..*groups).map(group).collect();
        if output.is_some() { Self::Dense(groups) } else { Self::Floats { groups, height: *height, width: *width } }
    }

    /// Bytes of packed weights.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Dense(groups) | Self::Floats { groups, .. } => groups.iter().map(|group| group.conv.bytes()).sum(),
            Self::Depthwise(depthwise) => depthwise.bytes(),
            _ => 0,
        }
    }

    /// Makes a picture.
    pub(super) fn run(
        &self,
        buffers: &[Vec<u8>],
        reads: &[(usize, Layout)],
        input: Option<&Tensor>,
        y: &mut [u8],
        to: &Layout,
    ) -> TractResult<()> {
        let read = |at: usize| reads.get(at).map(|(buffer, layout)| (buffers[*buffer].as_slice(), layout));
        let (Some((x, from)), None) = (read(0), input) else {
            return self.enter(input.ok_or_else(|| format_err!("a step without its input"))?, y, to);
        };
        match self {
            Self::Dense(groups) => {
                for group in groups {
                    let (from, to) = (from.channels(group.from.clone()), to.channels(group.to.clone()));
                    group.conv.run(x, &from, y, &to);
                }
            }
            Self::Depthwise(depthwise) => depthwise.run(x, from, y, to),
            Self::Add(_) | Self::Mul(_) => {
                let (b, from_b) = read(1).ok_or_else(|| format_err!("a step without its second input"))?;
                match self {
                    Self::Add(add) => add.run(x, from, b, from_b, y, to),
                    Self::Mul(mul) => mul.run(x, from, b, from_b, y, to),
                    _ => {}
                }
            }
            Self::Table(table) => table.run(x, from, y, to),
            Self::MaxPool(pool) => pool.run(x, from, y, to),
            Self::MeanPool(pool) => pool.run(x, from, y, to),
            Self::Resize(resize) => resize.run(x, from, y, to),
            Self::Join(parts) => {
                for (at, (table, place)) in parts.iter().enumerate() {
                    let (x, from) = read(at).ok_or_else(|| format_err!("a step without one of its inputs"))?;
                    table.run(x, from, y, &placed(from, *place, to));
                }
            }
            Self::Rearrange(rearrange) => {
                debug_assert!(dense(from));
                rearrange.run(x, y);
            }
            other => bail!("{other:?} makes no picture of a picture"),
        }
        Ok(())
    }

    fn enter(&self, input: &Tensor, y: &mut [u8], to: &Layout) -> TractResult<()> {
        let input = input.try_as_plain_ram()?;
        match self {
            Self::Quantise(quantise) => quantise.run(input.as_slice::<f32>()?, y, to),
            Self::Load { order, signed: true } => load_signed(input.as_slice::<i8>()?, *order, y, to),
            Self::Load { order, signed: false } => load(input.as_slice::<u8>()?, *order, y, to),
            other => bail!("{other:?} reads no tensor from outside"),
        }
        Ok(())
    }

    /// Makes a tensor for outside.
    pub(super) fn leave(&self, buffers: &[Vec<u8>], reads: &[(usize, Layout)], output: &mut Tensor) -> TractResult<()> {
        let [(buffer, from)] = reads else { bail!("expected one picture, found {}", reads.len()) };
        let x = buffers[*buffer].as_slice();
        let mut output = output.try_as_plain_ram_mut()?;
        match self {
            Self::Floats { groups, height, width } => {
                let y = output.as_slice_mut::<f32>()?;
                for group in groups {
                    let plane = height * width;
                    let y = &mut y[group.to.start * plane..group.to.end * plane];
                    group.conv.run_floats(x, &from.channels(group.from.clone()), y, *height, *width);
                }
            }
            Self::Dequantise(dequantise) => dequantise.run(x, from, output.as_slice_mut::<f32>()?),
            Self::Store { order, signed: true } => store_signed(x, from, output.as_slice_mut::<i8>()?, *order),
            Self::Store { order, signed: false } => store(x, from, output.as_slice_mut::<u8>()?, *order),
            other => bail!("{other:?} makes no tensor for outside"),
        }
        Ok(())
    }
}

/// Bytes of one quantisation as bytes of another, as `DequantizeLinear` and `QuantizeLinear` have it.
fn between(from: Quantisation, to: Quantisation) -> [u8; 256] {
    if from == to {
        return std::array::from_fn(|byte| byte as u8);
    }
    std::array::from_fn(|byte| to.byte(from.real(byte as u8)))
}

/// A loop in bytes of its target.
fn counted(walk: &Walk, made: &Layout) -> Loop {
    let unit = match walk.unit {
        Unit::Row => made.row,
        Unit::Pixel => made.pixel,
        Unit::Channel => 1,
    };
    Loop { to: walk.each.to * unit, ..walk.each }
}

/// The part of `to` that a picture like `from` fills from `place` on. Where `to` is one pixel wide, the pixels of `from`
/// follow each other whatever its width.
fn placed(from: &Layout, place: Place, to: &Layout) -> Layout {
    let start = to.start + place.top * to.row + place.left * to.pixel + place.first;
    let (pixel, row) = if to.width == 1 { (to.row, from.width * to.row) } else { (to.pixel, to.row) };
    Layout { height: from.height, width: from.width, channels: from.channels, margin: 0, pixel, row, start }
}
