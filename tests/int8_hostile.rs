//! Damaged and hostile quantised graphs: an error, or numbers, but no panic and no memory beyond the stated bounds.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where its preparation fails")]

#[path = "int8/damage.rs"]
mod damage;
#[allow(dead_code, reason = "this test compares no numbers")]
#[path = "int8/models.rs"]
mod models;

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};

use damage::{Random, damage};
use models::{Case, cases, proto, tensor};
use nformer_edge::int8::{onnx, rewrite};
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::{DatumType, Framework, InferenceFact, InferenceModelExt, IntoRunnable, TypedModel, tvec};

thread_local! {
    /// Where the last panic of this thread was.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// The outcome of `work`; a panic in this room's own code fails the test, one in `tract` is a model that does not run.
fn guarded<T>(what: &str, work: impl FnOnce() -> Option<T>) -> Option<T> {
    if let Ok(outcome) = panic::catch_unwind(AssertUnwindSafe(work)) {
        return outcome;
    }
    let place = PLACE.take();
    assert!(!place.contains("int8"), "{what}: {place}");
    None
}

fn typed(case: &Case, proto: &ModelProto) -> Option<TypedModel> {
    let mut model = onnx().model_for_proto_model(proto).ok()?;
    model.set_input_fact(0, InferenceFact::dt_shape(DatumType::F32, &case.shape)).ok()?;
    model.into_typed().ok()
}

/// How far a damaged model gets: 0 not loaded, 1 rewritten, 2 run.
fn try_out(case: &Case, proto: &ModelProto) -> u32 {
    let Some(model) = guarded(&case.name, || typed(case, proto)) else { return 0 };
    // Rewriting must not panic whatever the graph holds.
    let Ok((model, report)) = rewrite(model) else { return 0 };
    assert!(report.arena_bytes <= 256 << 20, "{}: {report}", case.name);
    // `tract` itself takes minutes over windows and pads of millions.
    let slow = ["Conv", "MaxPool", "SumPool", "Resize"];
    if report.rows.iter().any(|row| !row.integer && slow.contains(&row.operator.as_str())) {
        return 1;
    }
    let ran = guarded(&case.name, || {
        let plan = model.into_optimized().ok()?.into_runnable().ok()?;
        plan.run(tvec!(tensor(&case.shape, &case.input))).ok()
    });
    1 + u32::from(ran.is_some())
}

#[test]
fn no_damage_to_a_graph_makes_the_rewrite_panic() {
    panic::set_hook(Box::new(|info| {
        PLACE.set(format!("{info}"));
    }));
    let mut random = Random::new(1);
    let mut reached = [0; 3];
    for case in cases().iter().filter(|case| case.name != "qoperator_add") {
        let sound = proto(case);
        for _ in 0..40 {
            let mut damaged = sound.clone();
            for _ in 0..=random.below(2) {
                damage(&mut damaged, &mut random);
            }
            reached[try_out(case, &damaged) as usize] += 1;
        }
    }
    println!("{reached:?}");
    assert!(reached.iter().all(|count| *count > 50), "the damage is of all degrees: {reached:?}");
}
