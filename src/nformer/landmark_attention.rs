//! Landmark agent attention: affinities through a few landmarks instead of all pairs.
//!
//! Per head: `Q' = Q K_A^T / sqrt(d)` and `K' = Q_A K^T`, both `[rows, l]` here; the affinity of a pair is
//! `W[i, j] = <Q'[i], K'[j]>`. Only reciprocal pairs are ever asked for. Source: section 3.2 of the paper.
//!
//! The weighted mean is taken of the layer's input and not of V: both are affine maps of it, and a mean commutes with those
//! (`fold.rs`). So V of a row is never kept.

use super::fold::fold_agents;
use super::weights::LayerWeights;
use crate::kernels::{Attention, Linear, dot};
use crate::size::MAX_LANDMARKS;

/// The attention of one layer.
#[derive(Clone, Debug)]
pub(super) struct LandmarkAttention {
    width: usize,
    heads: usize,
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
            Some(agents) => Source::Agents(fold_agents(qkv, agents, heads)),
            None => Source::Rows(qkv.pack_outputs(0..2 * width)),
        };
        Self { width, heads, source }
    }

    pub(super) fn bytes(&self) -> usize {
        let (Source::Agents(linear) | Source::Rows(linear)) = &self.source;
        linear.bytes()
    }

    /// Projects `x [rows, D]`. `landmarks` are indices of rows, `[l]`; fixed agents do not look at them.
    pub(super) fn project(&self, x: &[f32], landmarks: &[u32], projected: &mut Projected) {
        let rows = x.len() / self.width;
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
    /// `staging` has room for n rows of [`LandmarkAttention::widest`] floats.
    pub(super) fn project_some(&self, x: &[f32], rows: &[u32], staging: &mut [f32], projected: &mut Projected) {
        let Source::Agents(folded) = &self.source else { return };
        projected.landmarks = folded.outputs() / (2 * self.heads);
        let staging = &mut staging[..rows.len() * folded.outputs()];
        folded.apply(x, staging);
        scatter(staging, rows, &mut projected.affinity);
    }

    /// Floats of [`LandmarkAttention::attend`] for a row: H D.
    pub(super) fn attended(&self) -> usize {
        self.heads * self.width
    }

    /// Most floats of a row, projected by [`LandmarkAttention::project_some`] or attended.
    pub(super) fn widest(&self) -> usize {
        let projected = match &self.source {
            Source::Agents(folded) => folded.outputs(),
            Source::Rows(_) => 0,
        };
        self.attended().max(projected)
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

    /// `softmax(W) X` of one row over its reciprocal neighbours, `x [rows, D]` the layer's input, head after head into
    /// `out [H, D]`. `scores` has a place for each neighbour.
    pub(super) fn attend(
        &self,
        row: usize,
        neighbors: &[u32],
        x: &[f32],
        projected: &Projected,
        scores: &mut [f32],
        out: &mut [f32],
    ) {
        let Self { width, heads, .. } = *self;
        let stride = 2 * heads * projected.landmarks;
        Attention { heads, queries_keys: &projected.affinity, stride, values: x, width }
            .attend(row, neighbors, scores, out);
    }
}

impl Projected {
    /// Room for `max_rows` rows of any of `layers`.
    pub(super) fn new(layers: &[&LandmarkAttention], max_rows: usize) -> Self {
        let most = |size: fn(&LandmarkAttention) -> usize| layers.iter().map(|layer| size(layer)).max().unwrap_or(0);
        let affinity = most(|layer| match &layer.source {
            Source::Agents(folded) => folded.outputs(),
            Source::Rows(_) => 2 * layer.heads * MAX_LANDMARKS,
        });
        let queries_keys = most(|layer| match &layer.source {
            Source::Agents(_) => 0,
            Source::Rows(linear) => linear.outputs(),
        });
        Self {
            affinity: vec![0.0; max_rows * affinity],
            queries_keys: vec![0.0; max_rows * queries_keys],
            landmarks: 0,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.affinity.as_slice()) + size_of_val(self.queries_keys.as_slice())
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
