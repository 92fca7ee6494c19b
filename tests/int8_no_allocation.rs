//! A run of integer operators asks for no memory but that of its outputs.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where its preparation fails")]

#[path = "support/counting.rs"]
mod counting;
#[allow(dead_code, reason = "this test compares no numbers")]
#[path = "int8/models.rs"]
mod models;

use counting::{Counting, requests};
use models::{cases, plan, run, tensor};
use tract_onnx::prelude::tvec;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Requests of one run, giving back included: `tract`'s own bookkeeping around a single operator with one output, measured,
/// and some room. Small and large models ask for as much, so no step of a region asks for any.
const MOST: u64 = 8;

#[test]
fn a_run_asks_for_its_outputs_alone() {
    // From one operator to a whole residual block.
    for name in ["pointwise", "grouped", "inverted_residual", "pyramid_step", "gate", "shuffle_unit", "matmul_tokens"] {
        let case = cases().into_iter().find(|case| case.name == name).unwrap();
        assert!(!run(&case).is_empty());
        let plan = plan(&case);
        let mut state = plan.spawn().unwrap();
        let input = tensor(&case.shape, &case.input);
        drop(state.run(tvec!(input.clone())).unwrap());
        let mut ran = false;
        let count = requests(|| ran = state.run(tvec!(input.clone())).is_ok());
        println!("{name}: {count}");
        assert!(ran && count <= MOST, "{name}: {count} requests");
    }
}
