//! Products of constant matrices, taken once: what no pass has to multiply again.

use super::weights::{Agents, Dense};
use crate::kernels::Linear;

/// Folds fixed agents into the projections, in `f64`: with `Q = X Wq^T + bq`,
/// `Q' = Q K_A^T / sqrt(d) = X (K_A Wq)^T / sqrt(d) + K_A bq / sqrt(d)`, and `K' = X (Q_A Wk)^T + Q_A bk`.
pub(super) fn fold_agents(qkv: &Dense, agents: &Agents, heads: usize) -> Linear {
    let (width, count) = (qkv.inputs, agents.count);
    let head_width = width / heads;
    let scale = 1.0 / (head_width as f64).sqrt();
    let mut weight = Vec::with_capacity(2 * heads * count * width);
    let mut bias = Vec::with_capacity(2 * heads * count);
    let mut sums = vec![0.0_f64; width];
    for (part, (vectors, scale)) in [(&agents.keys, scale), (&agents.queries, 1.0)].into_iter().enumerate() {
        for (number, agent) in vectors.chunks_exact(head_width).enumerate() {
            let first = part * width + number / count * head_width;
            let rows = qkv.weight[first * width..].chunks_exact(width);
            sums.fill(0.0);
            for (value, row) in agent.iter().zip(rows) {
                for (sum, weight) in sums.iter_mut().zip(row) {
                    *sum += f64::from(*value) * f64::from(*weight);
                }
            }
            weight.extend(sums.iter().map(|sum| (sum * scale) as f32));
            let offset: f64 = agent.iter().zip(&qkv.bias[first..]).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            bias.push((offset * scale) as f32);
        }
    }
    Linear::new(&weight, &bias, width)
}

/// Folds V into the output projection, in `f64`: with `V = X Wv^T + bv`, and weights A of a head that sum to 1 in each row,
/// `sum_h (A_h V_h) Wo_h^T + bo = sum_h (A_h X) (Wo_h Wv_h)^T + Wo bv + bo`, `[D, H D]`.
///
/// For two heads that is as large as Wv and Wo; each head more adds D x D.
pub(super) fn fold_values(qkv: &Dense, out: &Dense, heads: usize) -> Dense {
    let width = qkv.inputs;
    let head_width = width / heads;
    let values = &qkv.weight[2 * width * width..];
    let mut weight = Vec::with_capacity(width * heads * width);
    let mut sums = vec![0.0_f64; width];
    for row in out.weight.chunks_exact(width) {
        for (part, values) in row.chunks_exact(head_width).zip(values.chunks_exact(head_width * width)) {
            sums.fill(0.0);
            for (out, value) in part.iter().zip(values.chunks_exact(width)) {
                for (sum, value) in sums.iter_mut().zip(value) {
                    *sum += f64::from(*out) * f64::from(*value);
                }
            }
            weight.extend(sums.iter().map(|sum| *sum as f32));
        }
    }
    let bias = out.weight.chunks_exact(width).zip(&out.bias).map(|(row, bias)| {
        let folded = row.iter().zip(&qkv.bias[2 * width..]).map(|(out, value)| f64::from(*out) * f64::from(*value));
        (f64::from(*bias) + folded.sum::<f64>()) as f32
    });
    Dense { weight, bias: bias.collect(), inputs: heads * width, precision: out.precision }
}
