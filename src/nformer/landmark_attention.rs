//! Landmark agent attention: affinities through a few landmarks instead of all pairs.
//!
//! Per head: `Q' = Q K_A^T / sqrt(d)` and `K' = Q_A K^T`, both `[rows, l]` here; the affinity of a pair is
//! `W[i, j] = <Q'[i], K'[j]>`. Only reciprocal pairs are ever asked for. Source: section 3.2 of the paper.

use super::weights::{Agents, Dense, LayerWeights};
use crate::kernels::{Linear, add_scaled, dot, softmax};
use crate::size::MAX_LANDMARKS;

/// The attention of one layer.
#[derive(Clone, Debug)]
pub(super) struct LandmarkAttention {
    width: usize,
    heads: usize,
    values: Linear,
    source: Source,
}

/// Where the affinities come from.
#[derive(Clone, Debug)]
enum Source {
    /// Fixed agents, folded: `[Q' | K'] = X W + b` in one step, `[2 H l, D]`.
    Agents(Linear),
    /// Rows of the input itself: `[Q | K] = X W + b`, `[2 D, D]`, then the products with the landmark rows.
    Rows(Linear),
}

/// What a layer keeps of each row for the pairs: everything else is local to a row.
#[derive(Clone, Debug)]
pub(super) struct Projected {
    /// V, `[rows, D]`.
    values: Vec<f32>,
    /// `[Q' | K']`, `[rows, 2 H l]`.
    affinity: Vec<f32>,
    /// `[Q | K]`, `[rows, 2 D]`; empty with fixed agents.
    queries_keys: Vec<f32>,
    /// l in use.
    landmarks: usize,
}

impl LandmarkAttention {
    pub(super) fn new(weights: &LayerWeights, heads: usize) -> Self {
        let qkv = &weights.qkv;
        let width = qkv.inputs;
        let source = match &weights.agents {
            Some(agents) => Source::Agents(fold(qkv, agents, heads)),
            None => Source::Rows(qkv.pack_outputs(0..2 * width)),
        };
        Self { width, heads, values: qkv.pack_outputs(2 * width..3 * width), source }
    }

    pub(super) fn bytes(&self) -> usize {
        let (Source::Agents(linear) | Source::Rows(linear)) = &self.source;
        self.values.bytes() + linear.bytes()
    }

    /// Projects `x [rows, D]`. `landmarks` are indices of rows, `[l]`; fixed agents do not look at them.
    pub(super) fn project(&self, x: &[f32], landmarks: &[u32], projected: &mut Projected) {
        let rows = x.len() / self.width;
        self.values.apply(x, &mut projected.values[..x.len()]);
        match &self.source {
            Source::Agents(folded) => {
                projected.landmarks = folded.outputs() / (2 * self.heads);
                folded.apply(x, &mut projected.affinity[..rows * folded.outputs()]);
            }
            Source::Rows(linear) => {
                projected.landmarks = landmarks.len();
                linear.apply(x, &mut projected.queries_keys[..rows * 2 * self.width]);
                self.meet_landmarks(landmarks, rows, projected);
            }
        }
    }

    /// With fixed agents: projects `x [n, D]`, which are the rows `rows [n]` of the layer's input, into their places.
    /// `staging` holds n rows of [`LandmarkAttention::widest`] floats.
    pub(super) fn project_some(&self, x: &[f32], rows: &[u32], staging: &mut [f32], projected: &mut Projected) {
        let Source::Agents(folded) = &self.source else { return };
        projected.landmarks = folded.outputs() / (2 * self.heads);
        for (linear, kept) in [(&self.values, &mut projected.values), (folded, &mut projected.affinity)] {
            let staging = &mut staging[..rows.len() * linear.outputs()];
            linear.apply(x, staging);
            scatter(staging, rows, kept);
        }
    }

    /// Floats of the widest projection of a row.
    pub(super) fn widest(&self) -> usize {
        let (Source::Agents(linear) | Source::Rows(linear)) = &self.source;
        self.width.max(linear.outputs())
    }

    /// `[Q' | K']` of each row from `[Q | K]` of it and of the landmark rows.
    fn meet_landmarks(&self, landmarks: &[u32], rows: usize, projected: &mut Projected) {
        let (width, head_width, count) = (self.width, self.width / self.heads, landmarks.len());
        let scale = 1.0 / (head_width as f32).sqrt();
        let both = &projected.queries_keys[..rows * 2 * width];
        let affinities = projected.affinity.chunks_exact_mut((2 * self.heads * count).max(1));
        for (row, affinity) in both.chunks_exact(2 * width).zip(affinities) {
            let (to_landmarks, from_landmarks) = affinity.split_at_mut(self.heads * count);
            let (query, key) = row.split_at(width);
            for head in 0..self.heads {
                let part = head * head_width..(head + 1) * head_width;
                for (at, landmark) in landmarks.iter().enumerate() {
                    let (landmark_query, landmark_key) =
                        both[*landmark as usize * 2 * width..][..2 * width].split_at(width);
                    to_landmarks[head * count + at] = scale * dot(&query[part.clone()], &landmark_key[part.clone()]);
                    from_landmarks[head * count + at] = dot(&key[part.clone()], &landmark_query[part.clone()]);
                }
            }
        }
    }

    /// `softmax(W) V` of one row over its reciprocal neighbours, heads side by side, into `out [D]`. `scores` has a
    /// place for each neighbour.
    pub(super) fn attend(
        &self,
        row: usize,
        neighbors: &[u32],
        projected: &Projected,
        scores: &mut [f32],
        out: &mut [f32],
    ) {
        let Projected { values, affinity, landmarks, .. } = projected;
        let (half, count) = (self.heads * *landmarks, *landmarks);
        let scores = &mut scores[..neighbors.len()];
        out.fill(0.0);
        for (head, out) in out.chunks_exact_mut(self.width / self.heads).enumerate() {
            let to_landmarks = &affinity[row * 2 * half + head * count..][..count];
            for (score, neighbor) in scores.iter_mut().zip(neighbors) {
                let from_landmarks = &affinity[*neighbor as usize * 2 * half + half + head * count..][..count];
                *score = dot(to_landmarks, from_landmarks);
            }
            softmax(scores);
            for (score, neighbor) in scores.iter().zip(neighbors) {
                add_scaled(out, *score, &values[*neighbor as usize * self.width + head * out.len()..][..out.len()]);
            }
        }
    }
}

impl Projected {
    /// Room for `max_rows` rows of any of `layers`.
    pub(super) fn new(layers: &[&LandmarkAttention], max_rows: usize) -> Self {
        let most = |size: fn(&LandmarkAttention) -> usize| layers.iter().map(|layer| size(layer)).max().unwrap_or(0);
        let width = most(|layer| layer.width);
        let affinity = most(|layer| match &layer.source {
            Source::Agents(folded) => folded.outputs(),
            Source::Rows(_) => 2 * layer.heads * MAX_LANDMARKS,
        });
        let queries_keys = most(|layer| match &layer.source {
            Source::Agents(_) => 0,
            Source::Rows(linear) => linear.outputs(),
        });
        Self {
            values: vec![0.0; max_rows * width],
            affinity: vec![0.0; max_rows * affinity],
            queries_keys: vec![0.0; max_rows * queries_keys],
            landmarks: 0,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.values.as_slice())
            + size_of_val(self.affinity.as_slice())
            + size_of_val(self.queries_keys.as_slice())
    }
}

/// Copies the rows `rows [n]` of `from [_, width]` into `to [n, width]`.
pub(super) fn gather(from: &[f32], rows: &[u32], to: &mut [f32]) {
    let width = to.len() / rows.len().max(1);
    for (row, to) in rows.iter().zip(to.chunks_exact_mut(width.max(1))) {
        to.copy_from_slice(&from[*row as usize * width..][..width]);
    }
}

/// Copies `from [n, width]` into the rows `rows [n]` of `to [_, width]`.
pub(super) fn scatter(from: &[f32], rows: &[u32], to: &mut [f32]) {
    let width = from.len() / rows.len().max(1);
    for (row, from) in rows.iter().zip(from.chunks_exact(width.max(1))) {
        to[*row as usize * width..][..width].copy_from_slice(from);
    }
}

/// Folds fixed agents into the projections, in `f64`: with `Q = X Wq^T + bq`,
/// `Q' = Q K_A^T / sqrt(d) = X (K_A Wq)^T / sqrt(d) + K_A bq / sqrt(d)`, and `K' = X (Q_A Wk)^T + Q_A bk`.
fn fold(qkv: &Dense, agents: &Agents, heads: usize) -> Linear {
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
