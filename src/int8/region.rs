//! A program as one operator of `tract`.

use std::sync::Arc;

use tract_core::{as_op, not_out_of_plan, op_as_typed_op};
use tract_onnx::tract_hir::internal::{
    EvalContext, EvalOp, IntoTValue, LaneId, Op, OpState, StaticName, TValue, TVec, Tensor, TractResult, TypedFact,
    TypedOp, ensure, format_err,
};

use super::program::{Arena, Program};

/// A program and the shapes of what leaves it. Its buffers belong to the state of a run.
#[derive(Clone, Debug)]
pub(super) struct Region {
    program: Arc<Program>,
    inputs: Vec<TypedFact>,
    outputs: Vec<TypedFact>,
}

impl Region {
    pub(super) fn new(program: Program, inputs: Vec<TypedFact>, outputs: Vec<TypedFact>) -> Self {
        Self { program: Arc::new(program), inputs, outputs }
    }

    fn run(&self, arena: &mut Arena, inputs: &[TValue]) -> TractResult<TVec<TValue>> {
        ensure!(inputs.len() == self.inputs.len(), "expected {} inputs, found {}", self.inputs.len(), inputs.len());
        for (found, expected) in inputs.iter().zip(&self.inputs) {
            let shape = expected.shape.as_concrete().unwrap_or_default();
            ensure!(
                found.datum_type() == expected.datum_type && found.shape() == shape,
                "expected {shape:?} of {:?}, found {:?} of {:?}",
                expected.datum_type,
                found.shape(),
                found.datum_type()
            );
        }
        let zero = |fact: &TypedFact| {
            let shape = fact.shape.as_concrete().ok_or_else(|| format_err!("a shape that is not fixed"))?;
            Tensor::zero_dt(fact.datum_type, shape)
        };
        let mut outputs: TVec<Tensor> = self.outputs.iter().map(zero).collect::<TractResult<_>>()?;
        self.program.run(arena, inputs, &mut outputs)?;
        Ok(outputs.into_iter().map(IntoTValue::into_tvalue).collect())
    }
}

impl PartialEq for Region {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.program, &other.program)
    }
}

impl Eq for Region {}

impl Op for Region {
    fn name(&self) -> StaticName {
        "Int8Region".into()
    }

    fn info(&self) -> TractResult<Vec<String>> {
        Ok(vec![format!("{} bytes of weights, {} of buffers", self.program.weight_bytes(), self.program.arena_bytes())])
    }

    op_as_typed_op!();
}

impl EvalOp for Region {
    /// Without a state: with buffers of this run alone.
    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        self.run(&mut self.program.arena(), &inputs)
    }

    not_out_of_plan!();

    fn state(&self, _: &EvalContext) -> TractResult<Option<Box<dyn OpState>>> {
        Ok(Some(Box::new(Running(self.program.arena()))))
    }
}

impl TypedOp for Region {
    fn output_facts(&self, _: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(self.outputs.iter().cloned().collect())
    }

    as_op!();
}

/// The buffers of one run after the other. No run leaves anything in them that the next reads.
#[derive(Clone, Debug)]
struct Running(Arena);

impl OpState for Running {
    fn eval(&mut self, _: &EvalContext, op: &dyn Op, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let region = op.downcast_ref::<Region>().ok_or_else(|| format_err!("the state of another operator"))?;
        region.run(&mut self.0, &inputs)
    }

    fn reset_lanes(&mut self, _: &[LaneId]) -> TractResult<()> {
        Ok(())
    }
}
