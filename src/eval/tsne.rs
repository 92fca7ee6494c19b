//! A map of rows in the plane: exact t-SNE, the same in every run.
//!
//! Source: van der Maaten and Hinton, "Visualizing Data using t-SNE", JMLR 2008; begun from the two main axes of the data,
//! as Kobak and Berens, Nature Communications 2019, advise, so that two maps of the same people can be compared.

use super::random::Random;
use super::rows::Rows;
use crate::kernels::dot;

const PERPLEXITY: f64 = 20.0;
const STEPS: usize = 500;
/// Steps in which neighbours are pulled together more than they should be.
const EXAGGERATED: usize = 120;
const EXAGGERATION: f64 = 12.0;

/// A place for each row; rows that are similar lie together. Work and memory grow with the square of their number.
pub(super) fn tsne(rows: &Rows) -> Vec<[f64; 2]> {
    let count = rows.len();
    if count < 4 {
        return (0..count).map(|at| [at as f64, 0.0]).collect();
    }
    let affinity = affinities(rows);
    let mut places = main_axes(rows);
    let mut speed = vec![[0.0; 2]; count];
    let mut gains = vec![[1.0_f64; 2]; count];
    let rate = (count as f64 / EXAGGERATION).max(50.0);
    for step in 0..STEPS {
        let early = step < EXAGGERATED;
        let pull = gradient(&affinity, &places, if early { EXAGGERATION } else { 1.0 });
        let momentum = if early { 0.5 } else { 0.8 };
        for (((place, speed), gains), pull) in places.iter_mut().zip(&mut speed).zip(&mut gains).zip(&pull) {
            for axis in 0..2 {
                let same = (pull[axis] > 0.0) == (speed[axis] > 0.0);
                gains[axis] = if same { (gains[axis] * 0.8).max(0.01) } else { gains[axis] + 0.2 };
                speed[axis] = momentum * speed[axis] - rate * gains[axis] * pull[axis];
                place[axis] += speed[axis];
            }
        }
    }
    places
}

/// Joint probabilities, `[n, n]`, of sum 1.
fn affinities(rows: &Rows) -> Vec<f64> {
    let count = rows.len();
    let wanted = PERPLEXITY.min((count - 1) as f64 / 3.0).ln();
    let mut joint = vec![0.0; count * count];
    for row in 0..count {
        let distance = |other: usize| f64::from(2.0 - 2.0 * dot(rows.row(row), rows.row(other))).max(0.0);
        let distances: Vec<f64> = (0..count).map(distance).collect();
        let weights = at_entropy(&distances, row, wanted);
        for (other, weight) in weights.into_iter().enumerate() {
            joint[row * count + other] += weight / (2 * count) as f64;
            joint[other * count + row] += weight / (2 * count) as f64;
        }
    }
    joint
}

/// Weights `exp(-beta d)` of sum 1 without `own`, with the beta whose entropy is `wanted`.
fn at_entropy(distances: &[f64], own: usize, wanted: f64) -> Vec<f64> {
    let nearest =
        distances.iter().enumerate().filter(|(at, _)| *at != own).map(|(_, d)| *d).fold(f64::INFINITY, f64::min);
    let (mut low, mut high, mut beta) = (0.0, f64::INFINITY, 1.0);
    let mut weights = vec![0.0; distances.len()];
    for _ in 0..60 {
        for (at, (weight, distance)) in weights.iter_mut().zip(distances).enumerate() {
            *weight = if at == own { 0.0 } else { (-beta * (distance - nearest)).exp() };
        }
        let sum: f64 = weights.iter().sum();
        for weight in &mut weights {
            *weight /= sum;
        }
        let entropy: f64 =
            -weights.iter().filter(|weight| **weight > 0.0).map(|weight| weight * weight.ln()).sum::<f64>();
        if (entropy - wanted).abs() < 1e-5 {
            break;
        }
        // A larger beta looks at fewer rows.
        if entropy > wanted {
            low = beta;
        } else {
            high = beta;
        }
        beta = if high.is_finite() { f64::midpoint(low, high) } else { 2.0 * beta };
    }
    weights
}

/// Gradient of the Kullback-Leibler divergence by the places.
fn gradient(affinity: &[f64], places: &[[f64; 2]], exaggeration: f64) -> Vec<[f64; 2]> {
    let closeness =
        |one: &[f64; 2], other: &[f64; 2]| 1.0 / (1.0 + (one[0] - other[0]).powi(2) + (one[1] - other[1]).powi(2));
    let count = places.len();
    let all: f64 = places.iter().map(|one| places.iter().map(|other| closeness(one, other)).sum::<f64>()).sum();
    let total = all - count as f64;
    let pull = |(one, place): (usize, &[f64; 2])| {
        let mut pull = [0.0; 2];
        for (affinity, other) in affinity[one * count..].iter().zip(places) {
            let close = closeness(place, other);
            let force = 4.0 * (exaggeration * affinity - close / total) * close;
            pull[0] += force * (place[0] - other[0]);
            pull[1] += force * (place[1] - other[1]);
        }
        pull
    };
    places.iter().enumerate().map(pull).collect()
}

/// Each row along the two main axes of all, scaled to a small spread.
fn main_axes(rows: &Rows) -> Vec<[f64; 2]> {
    let (count, width) = (rows.len(), rows.width());
    let mut mean = vec![0.0; width];
    for row in 0..count {
        mean.iter_mut().zip(rows.row(row)).for_each(|(sum, value)| *sum += f64::from(*value) / count as f64);
    }
    let centred: Vec<Vec<f64>> = (0..count)
        .map(|row| rows.row(row).iter().zip(&mean).map(|(value, mean)| f64::from(*value) - mean).collect())
        .collect();
    let along = |axis: &[f64]| -> Vec<f64> {
        centred.iter().map(|row| row.iter().zip(axis).map(|(value, part)| value * part).sum()).collect()
    };
    let mut random = Random::new(1);
    let mut found: Vec<Vec<f64>> = Vec::new();
    let mut places = vec![[0.0; 2]; count];
    for number in 0..2 {
        let mut axis: Vec<f64> = (0..width).map(|_| random.normal()).collect();
        for _ in 0..100 {
            for before in &found {
                let share: f64 = axis.iter().zip(before).map(|(value, part)| value * part).sum();
                axis.iter_mut().zip(before).for_each(|(value, part)| *value -= share * part);
            }
            let scores = along(&axis);
            axis.fill(0.0);
            for (score, row) in scores.iter().zip(&centred) {
                axis.iter_mut().zip(row).for_each(|(sum, value)| *sum += score * value);
            }
            let length = axis.iter().map(|value| value * value).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
            for value in &mut axis {
                *value /= length;
            }
        }
        let scores = along(&axis);
        let spread =
            (scores.iter().map(|score| score * score).sum::<f64>() / count as f64).sqrt().max(f64::MIN_POSITIVE);
        for (place, score) in places.iter_mut().zip(&scores) {
            place[number] = 1e-2 * score / spread;
        }
        found.push(axis);
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three clusters of twelve.
    fn clusters() -> Rows {
        let mut random = Random::new(4);
        let mut values = Vec::new();
        for at in 0..36 {
            let mut row: Vec<f32> = (0..8).map(|_| 0.15 * random.normal() as f32).collect();
            row[at % 3] += 1.0;
            values.extend(row);
        }
        Rows::normalised(8, values).unwrap()
    }

    #[test]
    fn clusters_stay_together_and_apart() {
        let places = tsne(&clusters());
        let distance =
            |one: usize, other: usize| (places[one][0] - places[other][0]).hypot(places[one][1] - places[other][1]);
        for row in 0..36 {
            let nearest =
                (0..36).filter(|other| *other != row).min_by(|a, b| distance(row, *a).total_cmp(&distance(row, *b)));
            assert_eq!(nearest.map(|other| other % 3), Some(row % 3), "row {row}");
        }
        assert!(places.iter().flatten().all(|value| value.is_finite()));
    }

    #[test]
    fn the_map_is_the_same_every_time_and_small_ones_do_no_harm() {
        assert_eq!(tsne(&clusters()), tsne(&clusters()));
        assert_eq!(tsne(&Rows::with_capacity(4, 0)).len(), 0);
        let same = Rows::normalised(2, [1.0, 0.0].repeat(6)).unwrap();
        assert!(tsne(&same).iter().flatten().all(|value| value.is_finite()));
    }

    #[test]
    fn entropy_is_met() {
        let distances: Vec<f64> = (0..50_u8).map(|at| f64::from(at) * 0.03).collect();
        let weights = at_entropy(&distances, 0, 10.0_f64.ln());
        let entropy: f64 =
            -weights.iter().filter(|weight| **weight > 0.0).map(|weight| weight * weight.ln()).sum::<f64>();
        assert!((entropy.exp() - 10.0).abs() < 1e-3, "{}", entropy.exp());
    }
}
