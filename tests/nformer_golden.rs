//! The fusion network against tensors that other implementations computed.
//!
//! Two sources: the reference implementation's own tensors (`golden/nformer` of the shared folder, if it is there; random
//! weights, landmarks given as rows) and `models/nformer/case.safetensors` (the shipped weights, fixed agents), each
//! through the library and through the file-to-file path of `nformer-edge fuse`.
#![allow(clippy::unwrap_used, reason = "a test ends where its files are not what they should be")]

#[path = "support/shared.rs"]
mod support;

use std::path::Path;

use nformer_edge::nformer::{Landmarks, NFormer, Weights, fuse};
use safetensors::SafeTensors;

use support::shared;

/// Values are of order 1. These weights are random and affinities reach 180, so the softmax enlarges every rounding:
/// the reference's own tensors, computed in f32, are up to 6.7e-5 away from the same formulas in f64, and single rows
/// are worse conditioned than that: in one of them a last bit more or less moves the output by 1e-4. The kernels add in
/// a fixed order, so there are only two sets of roundings: largest difference 6.1e-5 with fused multiply-add (AVX2 and
/// AVX-512; aarch64 does the same operations) and 9.2e-5 without; to the formulas in f64 it is 4.4e-5 and 7.0e-5. A change of
/// that order can exceed the tolerance without being wrong; compare with the formulas in f64 then.
const TOLERANCE: f32 = 1e-4;

const GOLDEN: [(&str, usize); 4] = [("n24_k8_l3", 8), ("n64_k20_l5", 20), ("n256_k10_l8", 10), ("n256_k20_l5", 20)];

/// Tensors of a file by name.
struct File(Vec<u8>);

impl File {
    fn read(path: &Path) -> Self {
        Self(std::fs::read(path).unwrap())
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.0).unwrap()
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        self.tensors().tensor(name).unwrap().data().as_chunks().0.iter().copied().map(f32::from_le_bytes).collect()
    }

    fn indices(&self, name: &str) -> Vec<u32> {
        self.tensors().tensor(name).unwrap().data().as_chunks().0.iter().copied().map(u32::from_le_bytes).collect()
    }

    /// The largest difference to `expected` in each tensor that both have, by name.
    fn differences(&self, expected: &Self) -> Vec<(String, f32)> {
        let mut names: Vec<String> = self.tensors().names().into_iter().map(String::from).collect();
        names.sort();
        names.retain(|name| expected.tensors().names().contains(&name.as_str()));
        let difference = |name: String| {
            let difference = largest_difference(&self.floats(&name), &expected.floats(&name));
            (name, difference)
        };
        names.into_iter().map(difference).collect()
    }
}

fn largest_difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    // `max` would pass over a NaN.
    assert!(found.iter().all(|value| value.is_finite()));
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn the_library_equals_the_reference() {
    let Some(folder) = shared("golden/nformer") else { return };
    for (name, k) in GOLDEN {
        let case = File::read(&folder.join(name).with_extension("safetensors"));
        let weights = Weights::read(&folder.join("weights.safetensors")).unwrap();
        let rows = case.floats("input");
        let mut nformer = NFormer::new(weights, rows.len() / 256).unwrap();
        let mut worst = Vec::new();
        let landmarks = case.indices("landmarks");
        let fused = nformer
            .forward_observed(&rows, k, Landmarks::Rows(&landmarks), |layer, found| {
                worst.push(largest_difference(found, &case.floats(&format!("layer{layer}"))));
            })
            .unwrap();
        worst.push(largest_difference(fused.rows(), &case.floats("output")));
        println!("{name}: largest difference by layer, then output: {worst:?}");
        assert_eq!(worst.len(), 5);
        assert!(worst.iter().all(|difference| *difference < TOLERANCE), "{name}: {worst:?}");
    }
}

#[test]
fn files_to_files_equals_the_reference() {
    let Some(folder) = shared("golden/nformer") else { return };
    let scratch = tempfile::tempdir().unwrap();
    for (name, k) in GOLDEN {
        let out = scratch.path().join("out.safetensors");
        let case = folder.join(name).with_extension("safetensors");
        let summary = fuse(&folder.join("weights.safetensors"), &case, &out, None).unwrap();
        assert_eq!((summary.top_k, summary.layers, summary.agents), (k, 4, false));
        let found = File::read(&out);
        let differences = found.differences(&File::read(&case));
        assert_eq!(differences.len(), 5, "four layers and the output");
        assert!(differences.iter().all(|(_, difference)| *difference < TOLERANCE), "{name}: {differences:?}");
        // Without a mean weight the final row is the output, normalised.
        for (row, output) in found.floats("final").chunks(256).zip(found.floats("output").chunks(256)) {
            let length = output.iter().map(|v| v * v).sum::<f32>().sqrt();
            let unit: Vec<f32> = output.iter().map(|v| v / length).collect();
            assert!(largest_difference(row, &unit) < 1e-6);
        }
    }
}

/// Needs no shared folder: synthetic rows and what `PyTorch` made of them with the shipped weights.
#[test]
fn the_shipped_weights_equal_their_training_code() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/nformer");
    let [weights, case] = ["nformer.safetensors", "case.safetensors"].map(|name| folder.join(name));
    if !weights.is_file() || !case.is_file() {
        eprintln!("SKIPPED: no {} or {} beside it", weights.display(), case.display());
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("out.safetensors");
    let summary = fuse(&weights, &case, &out, None).unwrap();
    let differences = File::read(&out).differences(&File::read(&case));
    println!("shipped weights, {summary:?}: {differences:?}");
    assert!(summary.rows > 1);
    let names: Vec<&str> = differences.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.contains(&"output") && names.contains(&"final"), "{names:?}");
    assert_eq!(names.iter().filter(|name| name.starts_with("layer")).count(), summary.layers);
    assert!(differences.iter().all(|(_, difference)| *difference < TOLERANCE), "{differences:?}");
}
