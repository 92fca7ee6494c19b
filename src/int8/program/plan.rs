//! Margins, lifetimes and buffers.

use super::super::tensor::Layout;
use super::kernel::Kernel;
use super::operation::{Operand, Operation, Picture, Target, Wire, Work};
use super::{MAX_ARENA, Program, Step, To};

/// Operations in order, each picture with its margin.
pub(super) struct Plan {
    pictures: Vec<Picture>,
    layouts: Vec<Layout>,
    operations: Vec<Operation>,
}

/// A buffer while the plan is made.
struct Buffer {
    bytes: usize,
    /// What lies in it and its zero point, in the order of the steps.
    held: Vec<(Layout, u8)>,
    free: bool,
}

impl Plan {
    pub(super) fn new(pictures: Vec<Picture>, operations: Vec<Operation>) -> Result<Self, String> {
        let mut plan = Self { layouts: Vec::with_capacity(pictures.len()), pictures, operations };
        let mut margins = vec![0; plan.pictures.len()];
        for operation in &plan.operations {
            if let (Work::Conv { convolution, .. }, [x]) = (&operation.work, operation.reads.as_slice()) {
                let picture = plan.pictures[x.picture];
                let margin = convolution.margin([picture.height, picture.width]);
                margins[x.picture] = margin.max(margins[x.picture]);
            }
        }
        for (picture, margin) in plan.pictures.iter().zip(margins) {
            plan.layouts.push(layout(picture, margin)?);
        }
        plan.copy_before_rearranging();
        Ok(plan)
    }

    /// A rearrangement reads bytes without gaps: where a margin lies between, from a copy.
    fn copy_before_rearranging(&mut self) {
        let mut operations = Vec::with_capacity(self.operations.len());
        for mut operation in std::mem::take(&mut self.operations) {
            if let (Work::Rearrange { .. }, [x]) = (&operation.work, operation.reads.as_mut_slice())
                && self.layouts[x.picture].margin > 0
            {
                let picture = self.pictures[x.picture];
                let copy = self.pictures.len();
                self.pictures.push(picture);
                self.layouts.push(Layout::new(picture.height, picture.width, picture.channels, 0));
                let same = Box::new(std::array::from_fn(|byte| byte as u8));
                operations.push(Operation {
                    work: Work::Table(same),
                    reads: vec![*x],
                    target: Target::Picture(copy),
                    time: operation.time,
                });
                x.picture = copy;
            }
            operations.push(operation);
        }
        self.operations = operations;
    }

    /// Gives each picture a buffer from the step that makes it to the last that reads it.
    pub(super) fn program(self, inputs: &[Wire], outputs: &[Wire]) -> Result<Program, String> {
        let (buffers, placed) = self.buffers()?;
        let mut steps = Vec::with_capacity(self.operations.len());
        let mut weight_bytes = 0;
        for operation in &self.operations {
            let made = match operation.target {
                Target::Picture(made) => Some(self.layouts[made]),
                Target::Wire(_) => None,
            };
            let kernel = Kernel::new(operation, made.as_ref())?;
            weight_bytes += kernel.bytes();
            let read = |x: &Operand| {
                let channels = x.first..x.first + x.channels;
                (placed[x.picture], self.layouts[x.picture].channels(channels))
            };
            let input = operation.from().map(|from| position(inputs, from)).transpose()?;
            let to = match operation.target {
                Target::Wire(wire) => To::Output(position(outputs, wire)?),
                Target::Picture(made) => {
                    let (buffer, layout) = (placed[made], self.layouts[made]);
                    let held = (layout, self.pictures[made].zero_point);
                    // A buffer that only ever holds pictures like this one keeps its margin.
                    let shared = buffers[buffer].held.iter().any(|other| *other != held);
                    To::Buffer { buffer, layout, margin: (shared && layout.margin > 0).then_some(held.1) }
                }
            };
            steps.push(Step { kernel, reads: operation.reads.iter().map(read).collect(), input, to });
        }
        let first = |buffer: &Buffer| buffer.held.first().map_or(0, |(_, zero_point)| *zero_point);
        let buffers = buffers.iter().map(|buffer| (buffer.bytes, first(buffer))).collect();
        Ok(Program { steps, buffers, weight_bytes })
    }

    /// The buffers, and which one each picture lies in.
    fn buffers(&self) -> Result<(Vec<Buffer>, Vec<usize>), String> {
        let mut last = vec![0; self.pictures.len()];
        for (step, operation) in self.operations.iter().enumerate() {
            for x in &operation.reads {
                last[x.picture] = step;
            }
        }
        let mut buffers: Vec<Buffer> = Vec::new();
        let mut placed = vec![usize::MAX; self.pictures.len()];
        for (step, operation) in self.operations.iter().enumerate() {
            if let Target::Picture(made) = operation.target {
                let (layout, bytes) = (self.layouts[made], self.layouts[made].bytes());
                let at = fitting(&buffers, bytes).unwrap_or_else(|| {
                    buffers.push(Buffer { bytes: 0, held: Vec::new(), free: false });
                    buffers.len() - 1
                });
                let buffer = &mut buffers[at];
                buffer.bytes = buffer.bytes.max(bytes);
                buffer.free = false;
                buffer.held.push((layout, self.pictures[made].zero_point));
                placed[made] = at;
            }
            for x in &operation.reads {
                let read = placed.get(x.picture).copied().filter(|buffer| *buffer != usize::MAX);
                let read = read.ok_or("a step reads what no step before it makes")?;
                if last[x.picture] == step {
                    buffers[read].free = true;
                }
            }
            let total: usize = buffers.iter().map(|buffer| buffer.bytes).sum();
            if total > MAX_ARENA {
                return Err(format!("its pictures need {total} bytes at once, more than {MAX_ARENA}"));
            }
        }
        Ok((buffers, placed))
    }
}

/// The smallest free buffer that is large enough, else the largest free one, to be enlarged.
fn fitting(buffers: &[Buffer], bytes: usize) -> Option<usize> {
    let free = || buffers.iter().enumerate().filter(|(_, buffer)| buffer.free);
    let enough = free().filter(|(_, buffer)| buffer.bytes >= bytes).min_by_key(|(_, buffer)| buffer.bytes);
    enough.or_else(|| free().max_by_key(|(_, buffer)| buffer.bytes)).map(|(at, _)| at)
}

fn position(wires: &[Wire], wire: Wire) -> Result<usize, String> {
    wires.iter().position(|each| *each == wire).ok_or_else(|| "a tensor enters or leaves that is not named".to_owned())
}

/// A buffer of its own for a picture, if its bytes can be counted and stay below the limit.
fn layout(picture: &Picture, margin: usize) -> Result<Layout, String> {
    let bytes = (|| {
        let height = picture.height.checked_add(margin.checked_mul(2)?)?;
        let width = picture.width.checked_add(margin.checked_mul(2)?)?;
        height.checked_mul(width)?.checked_mul(picture.channels)
    })();
    match bytes {
        Some(bytes) if bytes <= MAX_ARENA => Ok(Layout::new(picture.height, picture.width, picture.channels, margin)),
        _ => Err(format!("a picture {:?} with a margin of {margin} is too large", picture.sizes())),
    }
}
