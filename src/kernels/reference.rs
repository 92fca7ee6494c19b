//! The plain twins in `f64`, straight from the formulas, and values to try them on.

use proptest::prelude::*;
use std::ops::RangeInclusive;

/// Rows of a random length with values up to `largest`, plain zeros and tiny ones among them.
pub(super) fn values(lengths: RangeInclusive<usize>, largest: f32) -> impl Strategy<Value = Vec<f32>> {
    let value = prop_oneof![8 => -largest..=largest, 1 => Just(0.0_f32), 1 => -1e-20_f32..1e-20];
    proptest::collection::vec(value, lengths)
}

/// `rows * width` values.
pub(super) fn matrix(rows: usize, width: usize, seed: u64) -> Vec<f32> {
    let mut state = seed | 1;
    (0..rows * width)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1_u32 << 23) as f32 - 1.0
        })
        .collect()
}

/// Random bytes without end.
pub(super) fn bytes(seed: u64) -> impl Iterator<Item = i8> {
    let mut state = seed | 1;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as i8
    })
}

pub(super) fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

pub(super) fn linear(x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f64> {
    let inputs = weight.len() / bias.len();
    x.chunks(inputs)
        .flat_map(|row| weight.chunks(inputs).zip(bias).map(move |(w, b)| dot(row, w) + f64::from(*b)))
        .collect()
}

pub(super) fn softmax(x: &[f32]) -> Vec<f64> {
    let largest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exps: Vec<f64> = x.iter().map(|v| (f64::from(*v) - f64::from(largest)).exp()).collect();
    let sum: f64 = exps.iter().sum();
    exps.iter().map(|e| e / sum).collect()
}

pub(super) fn gelu(x: f32) -> f64 {
    let x = f64::from(x);
    0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh())
}

pub(super) fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f64) -> Vec<f64> {
    let count = x.len() as f64;
    let mean = x.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
    let variance = x.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / count;
    let scale = 1.0 / (variance + eps).sqrt();
    x.iter()
        .zip(weight)
        .zip(bias)
        .map(|((v, w), b)| (f64::from(*v) - mean) * scale * f64::from(*w) + f64::from(*b))
        .collect()
}

/// All indices by value, the largest first, equal ones by index; then the first `k`.
pub(super) fn top_k(x: &[f32], k: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..x.len() as u32).collect();
    order.sort_by(|a, b| x[*b as usize].total_cmp(&x[*a as usize]).then(a.cmp(b)));
    order.truncate(k);
    order
}
