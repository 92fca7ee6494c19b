//! A list of steps on bytes, planned once: which buffer each picture lies in, with which margin, and the packed weights.

mod kernel;
mod operation;
mod plan;
mod rearrange;

use tract_onnx::tract_hir::internal::{TValue, Tensor, TractResult, ensure, format_err};

use super::small::fill_margin;
use super::tensor::Layout;
use kernel::Kernel;

pub(super) use operation::{
    Convolution, Operand, Operation, Pair, Picture, Place, Target, Unit, Walk, Weights, Wire, Work,
};
pub(super) use rearrange::Loop;
#[cfg(test)]
pub(super) use rearrange::Rearrange;

/// Bytes that all buffers of one program may have together.
pub(super) const MAX_ARENA: usize = 256 << 20;

/// Steps, and what they need to know of their buffers.
#[derive(Debug)]
pub(super) struct Program {
    steps: Vec<Step>,
    /// Bytes of each buffer, and what they are at first.
    buffers: Vec<(usize, u8)>,
    weight_bytes: usize,
}

#[derive(Debug)]
struct Step {
    kernel: Kernel,
    /// Buffers and where in them.
    reads: Vec<(usize, Layout)>,
    /// Index of the tensor from outside that is read.
    input: Option<usize>,
    to: To,
}

#[derive(Debug)]
enum To {
    /// Written after the margin is filled, if another picture lay there.
    Buffer { buffer: usize, layout: Layout, margin: Option<u8> },
    /// Index of the tensor that leaves.
    Output(usize),
}

/// The buffers of one running program.
#[derive(Clone, Debug)]
pub(super) struct Arena(Vec<Vec<u8>>);

impl Program {
    /// Plans operations in their order. `inputs` and `outputs` are what enters and leaves, in the order of
    /// [`Self::run`]. The error says what is too large.
    pub(super) fn new(
        pictures: Vec<Picture>,
        operations: Vec<Operation>,
        inputs: &[Wire],
        outputs: &[Wire],
    ) -> Result<Self, String> {
        plan::Plan::new(pictures, operations)?.program(inputs, outputs)
    }

    /// Bytes of the packed weights.
    pub(super) fn weight_bytes(&self) -> usize {
        self.weight_bytes
    }

    /// Bytes of all buffers.
    pub(super) fn arena_bytes(&self) -> usize {
        self.buffers.iter().map(|(bytes, _)| bytes).sum()
    }

    pub(super) fn arena(&self) -> Arena {
        Arena(self.buffers.iter().map(|(bytes, first)| vec![*first; *bytes]).collect())
    }

    /// Runs all steps. The outputs are allocated by the caller; nothing is here.
    pub(super) fn run(&self, arena: &mut Arena, inputs: &[TValue], outputs: &mut [Tensor]) -> TractResult<()> {
        let buffers = &mut arena.0;
        ensure!(buffers.len() == self.buffers.len(), "the buffers of another program");
        for step in &self.steps {
            let input = step.input.map(|input| inputs.get(input).ok_or_else(|| format_err!("an input is missing")));
            let input: Option<&Tensor> = input.transpose()?.map(|value| &**value);
            match &step.to {
                To::Buffer { buffer, layout, margin } => {
                    // Never one that is read, so the others can be lent meanwhile.
                    let mut y = std::mem::take(&mut buffers[*buffer]);
                    if let Some(zero_point) = margin {
                        fill_margin(&mut y, layout, *zero_point);
                    }
                    let outcome = step.kernel.run(buffers, &step.reads, input, &mut y, layout);
                    buffers[*buffer] = y;
                    outcome?;
                }
                To::Output(output) => {
                    let output = outputs.get_mut(*output).ok_or_else(|| format_err!("an output is missing"))?;
                    step.kernel.leave(buffers, &step.reads, output)?;
                }
            }
        }
        Ok(())
    }
}
