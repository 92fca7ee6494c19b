//! Weights files and cases as they should not be.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::random_weights::{Tensors, random_tensors, to_bytes};
use super::{SMALL, grid_rows, weights};
use crate::error::Error;
use crate::nformer::{FuseSummary, Landmarks, NFormer, Weights, fuse};

fn parse(bytes: &[u8]) -> Result<Weights, Error> {
    Weights::from_bytes(bytes, Path::new("weights.safetensors"))
}

/// The small network's file after `change`.
fn changed(metadata: &[(&str, &str)], change: impl FnOnce(&mut Tensors)) -> Result<Weights, Error> {
    let mut tensors = random_tensors(SMALL, 3);
    change(&mut tensors);
    parse(&to_bytes(&tensors, metadata))
}

fn message(result: Result<Weights, Error>) -> String {
    result.map(|_| ()).unwrap_err().to_string()
}

const HEADS: &[(&str, &str)] = &[("heads", "2")];

#[test]
fn a_whole_file_is_read() {
    let metadata = [("heads", "2"), ("layers", "2"), ("top_k", "7"), ("ln_eps", "1e-6"), ("bn_eps", "0.001")];
    let read = changed(&metadata, |_| ()).unwrap();
    assert_eq!((read.width(), read.layers(), read.heads(), read.top_k()), (8, 2, 2, Some(7)));
    assert!(read.has_agents() && read.mean_weight() == 0.0);
    assert!(!read.without_agents().has_agents());
}

#[test]
fn a_missing_tensor_is_named() {
    for name in random_tensors(SMALL, 3).into_keys() {
        let message = message(changed(HEADS, |tensors| drop(tensors.remove(&name))));
        // Without its first tensor the last layer is no layer, and its others are too many.
        let named = message.contains(&format!("`{name}` is missing"));
        assert!(named || name.starts_with("layers.1.qkv.weight") && message.contains("layers.1."), "{message}");
    }
    let without = |tensors: &mut Tensors| tensors.retain(|name, _| !name.starts_with("layers.1.agents"));
    assert!(message(changed(HEADS, without)).contains("others have none"));
}

#[test]
fn a_tensor_of_another_shape_is_named_with_both_shapes() {
    for name in random_tensors(SMALL, 3).into_keys() {
        for extra in [0, 1] {
            let result = changed(HEADS, |tensors| {
                let (shape, values) = tensors.get_mut(&name).unwrap();
                *shape.last_mut().unwrap() += extra;
                shape.extend((extra == 0).then_some(1));
                values.resize(shape.iter().product(), 0.5);
            });
            let message = message(result);
            // The width is taken from bn.weight, the hidden width and l from the first tensor that has them.
            let follows = ["bn.", "ffn", "agents"].iter().any(|part| name.contains(part));
            assert!(message.contains("expected") && (follows || message.contains(&name)), "{name}: {message}");
        }
    }
}

#[test]
fn values_that_are_no_numbers_are_refused() {
    for name in random_tensors(SMALL, 3).into_keys() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let result = changed(HEADS, |tensors| tensors.get_mut(&name).unwrap().1[0] = bad);
            assert!(matches!(result, Err(Error::WeightsNotFinite { tensor, .. }) if tensor == name));
        }
    }
    let negative = changed(HEADS, |tensors| tensors.get_mut("bn.running_var").unwrap().1[3] = -1.0);
    assert!(matches!(negative, Err(Error::WeightsNotFinite { .. })));
    let below = |tensors: &mut Tensors| drop(tensors.insert("head.mean_weight".into(), (vec![1], vec![-0.5])));
    assert!(matches!(changed(HEADS, below), Err(Error::ModelShape { .. })));
}

#[test]
fn an_unknown_tensor_is_not_ignored() {
    let more = |tensors: &mut Tensors| drop(tensors.insert("layers.0.gate.weight".into(), (vec![1], vec![0.5])));
    assert!(message(changed(HEADS, more)).contains("`layers.0.gate.weight`"));
}

#[test]
fn metadata_that_does_not_fit_is_refused() {
    for (metadata, part) in [
        (&[][..], "`heads`"),
        (&[("heads", "3")], "a divisor of the width 8"),
        (&[("heads", "two")], "found two"),
        (&[("heads", "0")], "found 0"),
        (&[("heads", "-2")], "found -2"),
        (&[("heads", "2"), ("layers", "3")], "expected 3 layers"),
        (&[("heads", "2"), ("top_k", "0")], "`top_k`"),
        (&[("heads", "2"), ("top_k", "4000")], "MAX_TOP_K"),
        (&[("heads", "2"), ("ln_eps", "NaN")], "`ln_eps`"),
        (&[("heads", "2"), ("bn_eps", "-1e-5")], "`bn_eps`"),
    ] {
        let message = message(changed(metadata, |_| ()));
        assert!(message.contains(part), "{message}");
    }
    assert!(message(changed(&[("heads", "9999")], |_| ())).contains("MAX_HEADS"));
}

#[test]
fn another_type_is_refused() {
    // As many bytes, another type: only the header differs.
    let text = to_bytes(&random_tensors(SMALL, 3), HEADS);
    let at = text.windows(3).position(|window| window == b"F32").unwrap();
    let mut bytes = text;
    bytes[at..at + 3].copy_from_slice(b"I32");
    assert!(message(parse(&bytes)).contains("found I32"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_truncated_file_is_an_error(keep in 0.0_f64..1.0) {
        let bytes = to_bytes(&random_tensors(SMALL, 3), HEADS);
        prop_assert!(parse(&bytes[..(bytes.len() as f64 * keep) as usize]).is_err());
    }

    /// Most changes are errors, some only other numbers; what loads must run.
    #[test]
    fn a_damaged_header_never_panics(places in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4)) {
        let mut bytes = to_bytes(&random_tensors(SMALL, 3), HEADS);
        let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        for (place, value) in places {
            bytes[place.index(header)] = value;
        }
        if let Ok(weights) = parse(&bytes) {
            let rows = grid_rows(3, weights.width(), 1);
            let agents = weights.has_agents();
            let mut nformer = NFormer::new(weights, 3).unwrap();
            let landmarks = if agents { Landmarks::Agents } else { Landmarks::Rows(&[0, 1]) };
            prop_assert_eq!(nformer.forward(&rows, 2, landmarks).unwrap().len(), 3);
        }
    }

    #[test]
    fn noise_is_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(parse(&bytes).is_err());
    }
}

#[test]
fn a_header_that_promises_too_much_is_an_error() {
    for length in [0, 9, 1 << 20, 99_999_999, 100_000_001, u64::MAX] {
        let bytes = [&length.to_le_bytes()[..], b"{}"].concat();
        assert!(parse(&bytes).is_err(), "{length}");
    }
    let huge = br#"{"bn.weight":{"dtype":"F32","shape":[4611686018427387904,8],"data_offsets":[0,0]}}"#;
    assert!(parse(&[&(huge.len() as u64).to_le_bytes()[..], huge].concat()).is_err());
}

#[test]
fn what_is_no_file_is_an_error() {
    assert!(matches!(Weights::read(Path::new("/no/such/file")), Err(Error::Read { .. })));
    assert!(Weights::read(&std::env::temp_dir()).is_err());
    assert!(Weights::read(Path::new("/dev/zero")).is_err());
}

/// A folder with `weights.safetensors`, and `case.safetensors` holding `tensors`.
fn folder(agents: bool, tensors: &Tensors, metadata: &[(&str, &str)]) -> (tempfile::TempDir, [PathBuf; 3]) {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["weights", "case", "out"].map(|name| folder.path().join(name).with_extension("safetensors"));
    let mut network = random_tensors(SMALL, 7);
    network.retain(|name, _| agents || !name.contains("agents"));
    std::fs::write(&paths[0], to_bytes(&network, HEADS)).unwrap();
    std::fs::write(&paths[1], to_bytes(tensors, metadata)).unwrap();
    (folder, paths)
}

fn input(rows: Vec<f32>, width: usize) -> Tensors {
    Tensors::from([("input".into(), (vec![rows.len() / width, width], rows))])
}

#[test]
fn fuse_writes_what_the_network_computes() {
    let rows = grid_rows(9, 8, 2);
    let (_folder, [weights_file, case, out]) = folder(true, &input(rows.clone(), 8), &[("top_k", "4")]);
    let summary = fuse(&weights_file, &case, &out, None).unwrap();
    assert_eq!(summary, FuseSummary { rows: 9, layers: 2, top_k: 4, agents: true });

    let mut nformer = NFormer::new(weights(SMALL, 7), 9).unwrap();
    let mut expected = Vec::new();
    let fused = nformer.forward_observed(&rows, 4, Landmarks::Agents, |_, rows| expected.push(rows.to_vec())).unwrap();
    expected.push(fused.rows().to_vec());
    let written = std::fs::read(&out).unwrap();
    let written = safetensors::SafeTensors::deserialize(&written).unwrap();
    for (name, expected) in ["layer0", "layer1", "output"].into_iter().zip(expected) {
        let bytes: Vec<u8> = expected.iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(written.tensor(name).unwrap().data(), bytes, "{name}");
        assert_eq!(written.tensor(name).unwrap().shape(), [9, 8]);
    }
    assert_eq!(written.tensor("final").unwrap().shape(), [9, 8]);
    assert_eq!(written.len(), 4);
    assert_eq!(fuse(&weights_file, &case, &out, Some(2)).unwrap().top_k, 2);
}

/// Landmarks of the input go before the agents of the weights.
#[test]
fn fuse_takes_the_landmark_rows_of_the_input() {
    let rows = grid_rows(9, 8, 2);
    let with_landmarks = |indices: [i32; 4]| {
        let mut tensors = input(rows.clone(), 8);
        // The helper writes floats: the same bits under another type.
        let bits = indices.map(|index| f32::from_bits(index as u32)).to_vec();
        tensors.insert("landmarks".into(), (vec![2, 2], bits));
        let (folder, paths) = folder(true, &tensors, &[("top_k", "4")]);
        let mut bytes = std::fs::read(&paths[1]).unwrap();
        let entry = br#""landmarks":{"dtype":""#;
        let at = bytes.windows(entry.len()).position(|window| window == entry).unwrap() + entry.len();
        bytes[at] = b'I';
        std::fs::write(&paths[1], bytes).unwrap();
        (folder, paths)
    };
    let (_folder, [weights_file, case, out]) = with_landmarks([0, 3, 8, 1]);
    assert!(!fuse(&weights_file, &case, &out, None).unwrap().agents);
    let mut nformer = NFormer::new(weights(SMALL, 7).without_agents(), 9).unwrap();
    let fused = nformer.forward(&rows, 4, Landmarks::Rows(&[0, 3, 8, 1])).unwrap();
    let expected: Vec<u8> = fused.rows().iter().flat_map(|value| value.to_le_bytes()).collect();
    let written = std::fs::read(&out).unwrap();
    let written = safetensors::SafeTensors::deserialize(&written).unwrap();
    assert_eq!(written.tensor("output").unwrap().data(), expected);

    for (bad, said) in [([0, -1, 2, 3], "index -1"), ([0, 1, 2, 9], "index 9")] {
        let (_folder, [weights_file, case, out]) = with_landmarks(bad);
        assert!(fuse(&weights_file, &case, &out, None).unwrap_err().to_string().contains(said));
    }
}

#[test]
fn fuse_says_what_is_missing() {
    let said = |agents, tensors: &Tensors, metadata: &[(&str, &str)]| {
        let (_folder, [weights, case, out]) = folder(agents, tensors, metadata);
        fuse(&weights, &case, &out, None).unwrap_err().to_string()
    };
    let rows = grid_rows(3, 8, 2);
    let k = [("top_k", "2")];
    assert!(said(true, &input(rows.clone(), 8), &[]).contains("--top-k"));
    assert!(said(true, &input(rows.clone(), 8), &[("top_k", "many")]).contains("`top_k`"));
    assert!(said(false, &input(rows.clone(), 8), &k).contains("landmark rows"));
    assert!(said(true, &Tensors::new(), &k).contains("`input` is missing"));
    assert!(said(true, &input(rows.clone(), 4), &k).contains("expected embeddings of 8 floats, found 4"));
    assert!(said(true, &input([&rows[..16], &[0.0; 8]].concat(), 8), &k).contains("row 2 is all zero"));
    assert!(said(true, &input([&[f32::NAN; 8], &rows[..]].concat(), 8), &k).contains("row 0 is not finite"));
    let mut floats = input(rows, 8);
    floats.insert("landmarks".into(), (vec![2, 1], vec![0.0; 2]));
    assert!(said(false, &floats, &k).contains("expected I32 [2, 1], found F32 [2, 1]"));
}

#[test]
fn fuse_into_nowhere_is_an_error() {
    let (_folder, [weights, case, _]) = folder(true, &input(grid_rows(2, 8, 2), 8), &[("top_k", "2")]);
    assert!(matches!(fuse(&weights, &case, Path::new("/no/such/folder/out"), None), Err(Error::Write { .. })));
}
