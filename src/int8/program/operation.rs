//! What a program is made from: pictures of bytes, and what makes one from another.

use std::sync::Arc;

use tract_onnx::tract_hir::internal::OutletId;

use super::super::small::{Nearest, Order, Sizes};
use super::super::tensor::{Output, Quantisation, Window};
use super::rearrange::Loop;

/// Bytes that one operation makes: `[height, width, channels]`. A matrix is so many rows of one pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::int8) struct Picture {
    pub(in crate::int8) height: usize,
    pub(in crate::int8) width: usize,
    pub(in crate::int8) channels: usize,
    /// What stands in its margin.
    pub(in crate::int8) zero_point: u8,
}

impl Picture {
    pub(in crate::int8) fn sizes(&self) -> [usize; 3] {
        [self.height, self.width, self.channels]
    }

    pub(in crate::int8) fn len(&self) -> usize {
        self.height * self.width * self.channels
    }
}

/// Some channels of a picture, and what their bytes mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::int8) struct Operand {
    /// Index of the picture.
    pub(in crate::int8) picture: usize,
    pub(in crate::int8) first: usize,
    pub(in crate::int8) channels: usize,
    pub(in crate::int8) quantisation: Quantisation,
}

/// A tensor of `tract` that enters or leaves a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::int8) enum Wire {
    /// As the graph has it.
    Outlet(OutletId),
    /// A picture on its way to a later program, its bytes in the order of [`Picture`].
    Crossing(usize),
}

/// What becomes of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::int8) enum Target {
    /// Index of the picture.
    Picture(usize),
    Wire(Wire),
}

/// Weights `[outputs, inputs / groups, rows, columns]` as signed bytes.
#[derive(Debug)]
pub(in crate::int8) struct Weights {
    pub(in crate::int8) values: Vec<i8>,
    pub(in crate::int8) outputs: usize,
    /// One, or one an output.
    pub(in crate::int8) scales: Vec<f32>,
}

#[derive(Clone, Debug)]
pub(in crate::int8) struct Convolution {
    pub(in crate::int8) window: Window,
    pub(in crate::int8) groups: usize,
    pub(in crate::int8) weights: Arc<Weights>,
    /// In steps of input scale times weight scale.
    pub(in crate::int8) bias: Option<Arc<Vec<i32>>>,
    pub(in crate::int8) height: usize,
    pub(in crate::int8) width: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::int8) enum Pair {
    Add,
    Subtract,
    Multiply,
}

/// Where the first pixel and channel of a joined picture go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::int8) struct Place {
    pub(in crate::int8) top: usize,
    pub(in crate::int8) left: usize,
    pub(in crate::int8) first: usize,
}

/// A byte strides so many rows, pixels or channels of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::int8) enum Unit {
    Row,
    Pixel,
    Channel,
}

/// A loop of a rearrangement whose target is counted in units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::int8) struct Walk {
    pub(in crate::int8) each: Loop,
    pub(in crate::int8) unit: Unit,
}

#[derive(Clone, Debug)]
pub(in crate::int8) enum Work {
    /// Floats from outside.
    Quantise {
        from: Wire,
        order: Order,
        quantisation: Quantisation,
    },
    /// Bytes from outside.
    Load {
        from: Wire,
        order: Order,
        signed: bool,
    },
    /// To a picture, or to floats where `output` is none.
    Conv {
        convolution: Convolution,
        output: Option<Output>,
    },
    Pair {
        pair: Pair,
        output: Output,
    },
    Table(Box<[u8; 256]>),
    MaxPool(Window),
    MeanPool {
        window: Window,
        count_padding: bool,
        output: Output,
    },
    /// By the nearest pixel where one is named, else linear.
    Resize {
        sizes: Sizes,
        nearest: Option<Nearest>,
        output: Output,
    },
    /// Each operand to its place.
    Join {
        places: Vec<Place>,
        quantisation: Quantisation,
    },
    /// From byte `first` of the picture as if it lay without gaps.
    Rearrange {
        first: usize,
        walk: Vec<Walk>,
    },
    /// Floats to outside.
    Dequantise {
        order: Order,
    },
    /// Bytes to outside.
    Store {
        order: Order,
        signed: bool,
    },
}

#[derive(Clone, Debug)]
pub(in crate::int8) struct Operation {
    pub(in crate::int8) work: Work,
    pub(in crate::int8) reads: Vec<Operand>,
    pub(in crate::int8) target: Target,
    /// Place in the order of the graph: what it reads is made by operations and nodes before it.
    pub(in crate::int8) time: usize,
}

impl Operation {
    /// The tensor it takes from outside.
    pub(in crate::int8) fn from(&self) -> Option<Wire> {
        match self.work {
            Work::Quantise { from, .. } | Work::Load { from, .. } => Some(from),
            _ => None,
        }
    }
}

impl Convolution {
    /// The margin that its input needs, `sides` being the input's height and width.
    pub(super) fn margin(&self, sides: [usize; 2]) -> usize {
        let Window { kernel, stride, before, dilation } = self.window;
        let beyond = [self.height, self.width].into_iter().enumerate().map(|(axis, outputs)| {
            let last = outputs.saturating_sub(1) * stride[axis] + (kernel[axis] - 1) * dilation[axis] + 1;
            last.saturating_sub(before[axis] + sides[axis]).max(before[axis])
        });
        beyond.max().unwrap_or(0)
    }
}
