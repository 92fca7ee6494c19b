//! The network again, straight from the formulas: dense `[n, n]` matrices, `f64`, agents not folded.

use super::random_weights::{Shape, Tensors};

type Matrix = Vec<Vec<f64>>;

/// Landmarks as the formulas take them.
pub(super) enum Chosen<'a> {
    Agents,
    Rows(&'a [Vec<usize>]),
}

pub(super) struct Outcome {
    pub(super) layers: Vec<Matrix>,
    pub(super) output: Matrix,
    pub(super) last: Matrix,
    pub(super) mutual: Vec<Vec<bool>>,
}

impl Outcome {
    pub(super) fn largest_difference(&self, other: &Self) -> f64 {
        let values = |outcome: &Self| -> Vec<f64> {
            let Outcome { layers, output, last, .. } = outcome;
            layers.iter().flatten().chain(output).chain(last).flatten().copied().collect()
        };
        values(self).iter().zip(values(other)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    }
}

pub(super) fn forward(tensors: &Tensors, shape: Shape, input: &[f32], k: usize, landmarks: &Chosen<'_>) -> Outcome {
    let network = Network { tensors, shape };
    let input: Matrix = input.chunks(shape.width).map(|row| row.iter().copied().map(f64::from).collect()).collect();
    let mutual = mutual(&input, k);
    let mut x = input.clone();
    let mut layers = Vec::new();
    for number in 0..shape.layers {
        x = network.layer(&x, &mutual, number, landmarks);
        layers.push(x.clone());
    }
    let output: Matrix = x.iter().map(|row| network.batch_norm(row)).collect();
    let last = (0..input.len()).map(|i| final_row(&output[i], &input, &mutual[i], shape.mean_weight)).collect();
    Outcome { layers, output, last, mutual }
}

struct Network<'a> {
    tensors: &'a Tensors,
    shape: Shape,
}

impl Network<'_> {
    fn tensor(&self, name: &str) -> Vec<f64> {
        self.tensors[name].1.iter().copied().map(f64::from).collect()
    }

    fn linear(&self, name: &str, x: &Matrix) -> Matrix {
        let (weight, bias) = (self.tensor(&format!("{name}.weight")), self.tensor(&format!("{name}.bias")));
        let inputs = weight.len() / bias.len();
        let row = |x: &Vec<f64>| weight.chunks(inputs).zip(&bias).map(|(w, b)| product(w, x) + b).collect();
        x.iter().map(row).collect()
    }

    fn layer_norm(&self, name: &str, x: &Matrix) -> Matrix {
        let (weight, bias) = (self.tensor(&format!("{name}.weight")), self.tensor(&format!("{name}.bias")));
        let row = |x: &Vec<f64>| {
            let mean = x.iter().sum::<f64>() / x.len() as f64;
            let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / x.len() as f64;
            let scale = 1.0 / (variance + 1e-5).sqrt();
            (0..x.len()).map(|c| (x[c] - mean) * scale * weight[c] + bias[c]).collect()
        };
        x.iter().map(row).collect()
    }

    fn batch_norm(&self, x: &[f64]) -> Vec<f64> {
        let [weight, bias, mean, variance] =
            ["weight", "bias", "running_mean", "running_var"].map(|part| self.tensor(&format!("bn.{part}")));
        (0..x.len()).map(|c| (x[c] - mean[c]) / (variance[c] + 1e-5).sqrt() * weight[c] + bias[c]).collect()
    }

    fn layer(&self, x: &Matrix, mutual: &[Vec<bool>], number: usize, landmarks: &Chosen<'_>) -> Matrix {
        let name = |part: &str| format!("layers.{number}.{part}");
        let attended = self.linear(&name("out"), &self.attention(x, mutual, number, landmarks));
        let n = self.layer_norm(&name("norm1"), &add(x, &attended));
        let mut hidden = self.linear(&name("ffn1"), &n);
        for v in hidden.iter_mut().flatten() {
            *v *= 0.5 * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (*v + 0.044_715 * v.powi(3))).tanh());
        }
        self.layer_norm(&name("norm2"), &add(&n, &self.linear(&name("ffn2"), &hidden)))
    }

    fn attention(&self, x: &Matrix, mutual: &[Vec<bool>], number: usize, landmarks: &Chosen<'_>) -> Matrix {
        let qkv = self.linear(&format!("layers.{number}.qkv"), x);
        let (width, d) = (self.shape.width, self.shape.width / self.shape.heads);
        let mut z = vec![Vec::new(); x.len()];
        for head in 0..self.shape.heads {
            let part = |which: usize| -> Matrix {
                let first = which * width + head * d;
                qkv.iter().map(|row| row[first..first + d].to_vec()).collect()
            };
            let (q, k, v) = (part(0), part(1), part(2));
            let (agents_k, agents_q) = match landmarks {
                Chosen::Rows(rows) => (pick(&k, &rows[number]), pick(&q, &rows[number])),
                Chosen::Agents => (self.agents(number, "k", head), self.agents(number, "q", head)),
            };
            for i in 0..x.len() {
                let affinity = |j: usize| -> f64 {
                    let through =
                        agents_k.iter().zip(&agents_q).map(|(a_k, a_q)| product(&q[i], a_k) * product(a_q, &k[j]));
                    through.sum::<f64>() / (d as f64).sqrt()
                };
                let scores: Vec<f64> =
                    (0..x.len()).map(|j| if mutual[i][j] { affinity(j) } else { f64::NEG_INFINITY }).collect();
                let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let exps: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
                let sum: f64 = exps.iter().sum();
                z[i].extend((0..d).map(|c| (0..x.len()).map(|j| exps[j] / sum * v[j][c]).sum::<f64>()));
            }
        }
        z
    }

    fn agents(&self, layer: usize, part: &str, head: usize) -> Matrix {
        let d = self.shape.width / self.shape.heads;
        let all = self.tensor(&format!("layers.{layer}.agents.{part}"));
        all.chunks(d).skip(head * self.shape.agents).take(self.shape.agents).map(<[f64]>::to_vec).collect()
    }
}

/// R as a full matrix: a row is always among its own k, then the most similar ones, the lower index first.
fn mutual(x: &Matrix, k: usize) -> Vec<Vec<bool>> {
    let nearest: Vec<Vec<usize>> = (0..x.len())
        .map(|i| {
            let mut order: Vec<usize> = (0..x.len()).filter(|j| *j != i).collect();
            order.sort_by(|a, b| product(&x[i], &x[*b]).total_cmp(&product(&x[i], &x[*a])).then(a.cmp(b)));
            order.insert(0, i);
            order.truncate(k);
            order
        })
        .collect();
    let row = |i: usize| (0..x.len()).map(|j| nearest[i].contains(&j) && nearest[j].contains(&i)).collect();
    (0..x.len()).map(row).collect()
}

fn final_row(output: &[f64], input: &Matrix, mutual: &[bool], mean_weight: f32) -> Vec<f64> {
    let partners: Vec<&Vec<f64>> = input.iter().zip(mutual).filter(|(_, is)| **is).map(|(row, _)| row).collect();
    let mean: Vec<f64> =
        (0..output.len()).map(|c| partners.iter().map(|row| row[c]).sum::<f64>() / partners.len() as f64).collect();
    let sum: Vec<f64> =
        unit(output).iter().zip(unit(&mean)).map(|(fused, mean)| fused + f64::from(mean_weight) * mean).collect();
    unit(&sum)
}

fn unit(x: &[f64]) -> Vec<f64> {
    let length = product(x, x).sqrt();
    x.iter().map(|v| if length < 1e-12 { 0.0 } else { v / length }).collect()
}

fn product(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn pick(x: &Matrix, rows: &[usize]) -> Matrix {
    rows.iter().map(|row| x[*row].clone()).collect()
}

fn add(a: &Matrix, b: &Matrix) -> Matrix {
    a.iter().zip(b).map(|(a, b)| a.iter().zip(b).map(|(a, b)| a + b).collect()).collect()
}
