//! Small quantised models against ONNX Runtime: every operator on bytes, and the same numbers.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where its preparation fails")]

#[path = "int8/models.rs"]
mod models;

use models::{Case, cases, load, run};

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

#[test]
fn the_numbers_are_those_of_onnx_runtime() {
    for case in readable() {
        let outputs = run(&case);
        assert_eq!(outputs.len(), case.outputs.len(), "{}", case.name);
        for (found, expected) in outputs.iter().zip(&case.outputs) {
            assert_eq!(found.len(), expected.values.len(), "{}: {}", case.name, expected.name);
            let cosine = cosine(found, &expected.values);
            let error = found.iter().zip(&expected.values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            let largest = expected.values.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
            println!("{} {}: cosine {cosine:.7}, error {error} = {:?} steps, largest {largest}", case.name, expected.name, expected.step.map(|step| error / step));
        }
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}
