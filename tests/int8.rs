//! Small quantised models against ONNX Runtime: every operator on bytes, and the same numbers.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where its preparation fails")]

#[allow(dead_code, reason = "for the test of hostile graphs")]
#[path = "int8/models.rs"]
mod models;

use models::{Case, cases, floats, load, plan, proto, run, tensor};
use nformer_edge::int8::rewrite;
use tract_onnx::prelude::{DatumType, Framework, InferenceFact, InferenceModelExt, TypedModel, tvec};
use tract_onnx::tract_hir::internal::{DatumExt, SpecialOps};
use tract_onnx::tract_hir::tract_core::ops::math;

/// Models of which something stays in float, and what.
const FLOAT: [(&str, &[&str]); 4] = [
    // A function straight after a convolution that is neither a bound nor a slope: no bytes between them.
    ("hard_swish_inside", &["HardSwish"]),
    ("silu_inside", &["Sigmoid", "Mul"]),
    // The zero point of these weights is not 128.
    ("unsigned_weights", &["Conv"]),
    // QLinearConv is read by `tract` itself.
    ("qoperator_convolution", &["Conv"]),
];

/// `tract` has no `QLinearAdd`.
const NOT_LOADED: [&str; 1] = ["qoperator_add"];

fn readable() -> impl Iterator<Item = Case> {
    cases().into_iter().filter(|case| !NOT_LOADED.contains(&case.name.as_str()))
}

#[test]
fn every_operator_is_on_bytes_but_those_named() {
    for case in readable() {
        let report = load(&case).1;
        let expected = FLOAT.iter().find(|(name, _)| *name == case.name).map_or(&[][..], |(_, operators)| operators);
        let float: Vec<&str> = report.rows.iter().filter(|row| !row.integer).map(|row| row.operator.as_str()).collect();
        assert_eq!(float, expected, "{}:\n{report}", case.name);
        assert!(report.rows.iter().all(|row| row.integer == row.reason.is_empty()), "{}:\n{report}", case.name);
    }
}

/// An average falls exactly between two steps now and then; which one is taken depends on the last bit of a float.
const AVERAGES: [&str; 3] = ["average_pool", "average_pool_padded", "resize_linear"];

#[test]
fn the_numbers_are_those_of_onnx_runtime() {
    for case in readable() {
        let outputs = run(&case);
        assert_eq!(outputs.len(), case.outputs.len(), "{}", case.name);
        for (found, expected) in outputs.iter().zip(&case.outputs) {
            assert_eq!(found.len(), expected.values.len(), "{}: {}", case.name, expected.name);
            let cosine = cosine(found, &expected.values);
            let differences = found.iter().zip(&expected.values).map(|(a, b)| (a - b).abs());
            let error = differences.fold(0.0, f32::max);
            let largest = expected.values.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
            let allowed = match expected.step {
                Some(step) if AVERAGES.contains(&case.name.as_str()) => 1.001 * step,
                // The same bytes: at most the last bit of the product with the scale.
                Some(step) => 1e-5 * step,
                // ONNX Runtime's sums are of floats, ours exact.
                None => 1e-6 * largest,
            };
            let what = format!("{}: {}: cosine {cosine}, error {error}, allowed {allowed}", case.name, expected.name);
            assert!(cosine >= 0.9999 && error <= allowed, "{what}");
        }
    }
}

#[test]
fn a_run_leaves_nothing_behind_that_the_next_one_sees() {
    for case in readable() {
        let plan = plan(&case);
        let mut state = plan.spawn().unwrap();
        let first = floats(&state.run(tvec!(tensor(&case.shape, &case.input))).unwrap());
        let wild: Vec<f32> = case.input.iter().map(|value| 1e3 * (0.5 - value)).collect();
        let other = floats(&state.run(tvec!(tensor(&case.shape, &wild))).unwrap());
        let again = floats(&state.run(tvec!(tensor(&case.shape, &case.input))).unwrap());
        assert_eq!(first, again, "{}", case.name);
        assert_ne!(first, other, "{}", case.name);
        // A number that is none is a byte like any other.
        let mut broken = case.input.clone();
        broken[0] = f32::NAN;
        broken[1] = f32::INFINITY;
        state.run(tvec!(tensor(&case.shape, &broken))).unwrap();
        // Another shape is an error, and the state stays usable.
        assert!(state.run(tvec!(tensor(&[1, 1, 1, 1], &[0.0]))).is_err(), "{}", case.name);
    }
}

#[test]
fn a_model_read_by_tract_alone_stays_in_float_and_the_report_says_why() {
    let case = readable().find(|case| case.name == "dense_3x3").unwrap();
    let mut model = tract_onnx::onnx().model_for_proto_model(&proto(&case)).unwrap();
    model.set_input_fact(0, InferenceFact::dt_shape(DatumType::F32, &case.shape)).unwrap();
    let (_, report) = rewrite(model.into_typed().unwrap()).unwrap();
    let row = report.rows.iter().find(|row| row.operator == "Conv").unwrap();
    assert!(!row.integer && row.reason.contains("int8::onnx()"), "{report}");
}

#[test]
fn a_model_without_quantisation_is_returned_as_it_is() {
    let mut model = TypedModel::default();
    let x = model.add_source("x", f32::fact([1, 3, 4, 4])).unwrap();
    let y = model.wire_node("y", math::tanh(), &[x]).unwrap();
    model.select_output_outlets(&y).unwrap();
    let nodes = model.nodes().len();
    let (model, report) = rewrite(model).unwrap();
    assert_eq!(model.nodes().len(), nodes);
    let [row] = report.rows.as_slice() else { panic!("{report}") };
    assert!(!row.integer && row.reason == "its input is not quantised", "{report}");
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}
