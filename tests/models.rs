//! Model files: bad ones give one clear error each. The models of this repository stand in `shipped_models.rs`.

#![expect(clippy::unwrap_used, reason = "a test that lacks what it needs stops there")]

use std::fs;
use std::path::PathBuf;

use nformer_edge::Error;
use nformer_edge::backbone::{Backbone, BackboneSettings, Embedding};
use nformer_edge::frame::{Frame, PixelFormat, Region};
use nformer_edge::model::{Card, MAX_MODEL_BYTES};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

// ---- small ONNX files, written by hand (field numbers of onnx.proto3) ----

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn bytes(field: u64, content: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
}

fn text(field: u64, content: &str) -> Vec<u8> {
    bytes(field, content.as_bytes())
}

/// A `NodeProto` without attributes.
fn node(operator: &str, inputs: &[&str], output: &str) -> Vec<u8> {
    let inputs: Vec<u8> = inputs.iter().flat_map(|name| text(1, name)).collect();
    [inputs, text(2, output), text(3, output), text(4, operator)].concat()
}

/// A `TensorProto` of f32.
fn tensor(name: &str, dims: &[u64], values: &[f32]) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|dim| number(1, *dim)).collect();
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    [dims, number(2, 1), text(8, name), bytes(9, &raw)].concat()
}

/// A `ValueInfoProto`; a dim of 0 is symbolic.
fn value(name: &str, kind: u64, dims: &[u64]) -> Vec<u8> {
    let dim = |dim: &u64| if *dim == 0 { text(2, "batch") } else { number(1, *dim) };
    let shape: Vec<u8> = dims.iter().flat_map(|d| bytes(1, &dim(d))).collect();
    let tensor = [number(1, kind), bytes(2, &shape)].concat();
    [text(1, name), bytes(2, &bytes(1, &tensor))].concat()
}

/// A network that averages each colour and multiplies by `[3, 2]` weights; its parts can be changed.
struct Tiny {
    nodes: Vec<Vec<u8>>,
    tensors: Vec<Vec<u8>>,
    inputs: Vec<Vec<u8>>,
    outputs: Vec<Vec<u8>>,
}

const WEIGHTS: [f32; 6] = [1.0, 0.0, 0.0, 1.0, 0.0, 0.0];

impl Default for Tiny {
    fn default() -> Self {
        Self {
            nodes: vec![
                node("GlobalAveragePool", &["picture"], "mean"),
                node("Flatten", &["mean"], "flat"),
                node("MatMul", &["flat", "weights"], "embedding"),
            ],
            tensors: vec![tensor("weights", &[3, 2], &WEIGHTS)],
            inputs: vec![value("picture", 1, &[1, 3, 8, 4])],
            outputs: vec![value("embedding", 1, &[1, 2])],
        }
    }
}

impl Tiny {
    fn with(change: impl FnOnce(&mut Self)) -> Vec<u8> {
        let mut tiny = Self::default();
        change(&mut tiny);
        let part =
            |field: u64, parts: &[Vec<u8>]| parts.iter().flat_map(|part| bytes(field, part)).collect::<Vec<u8>>();
        let graph = [part(1, &tiny.nodes), text(2, "tiny"), part(5, &tiny.tensors)].concat();
        let graph = [graph, part(11, &tiny.inputs), part(12, &tiny.outputs)].concat();
        [number(1, 8), bytes(8, &number(2, 13)), bytes(7, &graph)].concat()
    }
}

/// A folder with a card and the model it describes.
struct Model {
    folder: tempfile::TempDir,
}

impl Model {
    fn new(file: &[u8]) -> Self {
        let digest = Sha256::digest(file);
        let card = format!(
            "name = \"tiny\"\ntask = \"reid\"\nfile = \"tiny.onnx\"\nsha256 = \"{digest:x}\"\nhead = \"embedding\"\n\
             [input]\nwidth = 4\nheight = 8\ncolour = \"rgb\"\nmean = [0.0, 0.0, 0.0]\nstd = [1.0, 1.0, 1.0]\n\
             resize = \"stretch\"\n[output]\nwidth = 2\n"
        );
        let model = Self { folder: tempfile::tempdir().unwrap() };
        fs::write(model.path("card.toml"), card).unwrap();
        fs::write(model.path("tiny.onnx"), file).unwrap();
        model
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn edit_card(self, from: &str, to: &str) -> Self {
        let card = fs::read_to_string(self.path("card.toml")).unwrap();
        assert!(card.contains(from));
        fs::write(self.path("card.toml"), card.replace(from, to)).unwrap();
        self
    }

    fn load(&self) -> Result<Backbone, Error> {
        Backbone::load(&Card::read(&self.path("card.toml"))?)
    }

    fn refusal(&self) -> Error {
        self.load().unwrap_err()
    }
}

/// The embedding of a picture of one colour.
fn embed(backbone: &mut Backbone, colour: [u8; 3]) -> Result<Vec<f32>, Error> {
    let pixels = colour.repeat(6);
    let frame = Frame::new(&pixels, PixelFormat::Rgb, (2, 3), 6)?;
    Ok(backbone.embed(&frame, frame.region())?.as_slice().to_vec())
}

#[test]
fn a_small_network_gives_what_is_computed_by_hand() {
    let mut backbone = Model::new(&Tiny::with(|_| ())).load().unwrap();
    assert_eq!((backbone.width(), backbone.network().name()), (2, "tiny"));
    // Red and green come through: (30, 40) / 50.
    let embedding = embed(&mut backbone, [30, 40, 200]).unwrap();
    assert!((embedding[0] - 0.6).abs() < 1e-6 && (embedding[1] - 0.8).abs() < 1e-6, "{embedding:?}");
    // Black comes to zero; the next picture is not harmed by that.
    assert!(matches!(embed(&mut backbone, [0, 0, 9]), Err(Error::BadEmbedding { found: "all zero" })));
    assert_eq!(embed(&mut backbone, [30, 40, 200]).unwrap(), embedding);
}

#[test]
fn a_symbolic_batch_is_fixed_at_one() {
    let file = Tiny::with(|tiny| {
        tiny.inputs = vec![value("picture", 1, &[0, 3, 8, 4])];
        tiny.outputs = vec![value("embedding", 1, &[0, 2])];
    });
    let embedding = embed(&mut Model::new(&file).load().unwrap(), [30, 40, 200]).unwrap();
    assert!((embedding[0] - 0.6).abs() < 1e-6);
}

#[test]
fn sides_of_one_behind_the_vector_do_not_matter() {
    // `[1, 3, 1, 1]`, as many networks end without their last `Flatten`.
    let file = Tiny::with(|tiny| {
        tiny.nodes.truncate(1);
        tiny.outputs = vec![value("mean", 1, &[1, 3, 1, 1])];
    });
    let model = Model::new(&file).edit_card("[output]\nwidth = 2", "[output]\nwidth = 3");
    let embedding = embed(&mut model.load().unwrap(), [30, 0, 40]).unwrap();
    assert!((embedding[0] - 0.6).abs() < 1e-6 && (embedding[2] - 0.8).abs() < 1e-6, "{embedding:?}");
}

#[test]
fn cards_and_files_that_differ_in_shape_are_refused() {
    let good = Tiny::with(|_| ());
    let two = Tiny::with(|tiny| tiny.outputs.push(value("flat", 1, &[1, 3])));
    let double = Tiny::with(|tiny| tiny.inputs = vec![value("picture", 11, &[1, 3, 8, 4])]);
    let flat = Tiny::with(|tiny| tiny.inputs = vec![value("picture", 1, &[1, 96])]);
    let inputs = Tiny::with(|tiny| tiny.inputs.push(value("more", 1, &[1, 3, 8, 4])));
    for (model, part) in [
        (Model::new(&good).edit_card("height = 8", "height = 16"), "input"),
        (Model::new(&good).edit_card("width = 4", "width = 8"), "input"),
        (Model::new(&good).edit_card("[output]\nwidth = 2", "[output]\nwidth = 3"), "outputs"),
        (Model::new(&two), "outputs"),
        (Model::new(&double), "input"),
        (Model::new(&flat), "input"),
        (Model::new(&inputs), "inputs"),
    ] {
        match model.refusal() {
            Error::ModelShape { what, .. } => assert_eq!(what, part),
            other => panic!("expected {part}, found {other}"),
        }
    }
}

#[test]
fn a_file_that_was_replaced_is_refused() {
    let model = Model::new(&Tiny::with(|_| ()));
    fs::write(model.path("tiny.onnx"), Tiny::with(|tiny| tiny.tensors.clear())).unwrap();
    assert!(matches!(model.refusal(), Error::ModelChecksum { .. }));
    fs::remove_file(model.path("tiny.onnx")).unwrap();
    assert!(matches!(model.refusal(), Error::Read { what: "model file", .. }));
}

#[test]
fn a_file_that_is_far_too_large_is_not_read() {
    let model = Model::new(b"");
    let file = fs::File::options().write(true).open(model.path("tiny.onnx")).unwrap();
    file.set_len(MAX_MODEL_BYTES as u64 + 1).unwrap();
    assert!(matches!(model.refusal(), Error::TooLarge { constant: "MAX_MODEL_BYTES", .. }));
}

#[test]
fn truncated_empty_and_foreign_files_are_refused() {
    let whole = Tiny::with(|_| ());
    for length in 0..whole.len() {
        let error = Model::new(&whole[..length]).refusal();
        assert!(matches!(error, Error::ModelLoad { .. } | Error::ModelShape { .. }), "{length}: {error}");
    }
    for file in [&b"\x89PNG\r\n\x1a\n"[..], b"#!/bin/sh\n", &[0xff; 4000]] {
        assert!(matches!(Model::new(file).refusal(), Error::ModelLoad { .. }));
    }
}

#[test]
fn a_graph_that_breaks_the_loader_is_an_error() {
    let missing_output = Tiny::with(|tiny| tiny.outputs = vec![value("nowhere", 1, &[1, 2])]);
    let missing_weights = Tiny::with(|tiny| tiny.tensors.clear());
    let unknown = Tiny::with(|tiny| tiny.nodes[0] = node("TeleportPixels", &["picture"], "mean"));
    let loop_of_itself = Tiny::with(|tiny| tiny.nodes[0] = node("GlobalAveragePool", &["mean"], "mean"));
    let too_few_inputs = Tiny::with(|tiny| tiny.nodes[2] = node("MatMul", &["flat"], "embedding"));
    let short = Tiny::with(|tiny| tiny.tensors = vec![tensor("weights", &[3, 2], &WEIGHTS[..5])]);
    let huge = Tiny::with(|tiny| tiny.tensors = vec![tensor("weights", &[1 << 40, 1 << 40], &WEIGHTS)]);
    let files = [missing_output, missing_weights, unknown, loop_of_itself, too_few_inputs, short, huge];
    for (at, file) in files.iter().enumerate() {
        match Model::new(file).refusal() {
            error @ Error::ModelLoad { .. } => {
                let text = error.to_string();
                assert!(text.contains("tiny.onnx") && text.len() < 1200, "{text}");
                assert!(at != 2 || text.contains("TeleportPixels"), "{text}");
                // This one is a panic inside `tract`, not an error.
                assert!(at != 0 || text.contains("breaks its reader"), "{text}");
            }
            other => panic!("file {at}: {other}"),
        }
    }
}

/// An `AttributeProto` of whole numbers.
fn whole(name: &str, values: &[i64]) -> Vec<u8> {
    let values: Vec<u8> = values.iter().flat_map(|value| number(8, *value as u64)).collect();
    bytes(5, &[text(1, name), values, number(20, 7)].concat())
}

#[test]
fn numbers_that_make_tract_allocate_or_work_without_end_are_refused_before() {
    let transposed = |perm: &[i64]| {
        Tiny::with(|tiny| {
            let turn = [node("Transpose", &["picture"], "turned"), whole("perm", perm)].concat();
            tiny.nodes = vec![turn, node("GlobalAveragePool", &["turned"], "mean"), tiny.nodes[1].clone()];
            tiny.nodes.push(node("MatMul", &["flat", "weights"], "embedding"));
        })
    };
    assert!(Model::new(&transposed(&[0, 1, 3, 2])).load().is_ok());
    for perm in [&[0, 1, 1, 2][..], &[0, 1, 2, 4], &[0, -1, 2, 3], &[0, 1, 2, i64::MAX], &[3, 3, 3, 3]] {
        let text = Model::new(&transposed(perm)).refusal().to_string();
        assert!(text.contains("`turned` (Transpose): expected a `perm`"), "{text}");
    }
    let pooled = |name: &str, values: &[i64]| {
        Tiny::with(|tiny| {
            let sides = if name == "kernel_shape" { vec![] } else { whole("kernel_shape", &[2, 2]) };
            let pool = [node("AveragePool", &["picture"], "small"), whole(name, values), sides].concat();
            tiny.nodes[0] = node("GlobalAveragePool", &["small"], "mean");
            tiny.nodes.insert(0, pool);
        })
    };
    assert!(Model::new(&pooled("strides", &[2, 2])).load().is_ok());
    for (name, values) in [
        ("kernel_shape", &[0, 2][..]),
        ("kernel_shape", &[1 << 40, 2]),
        ("strides", &[2, 0]),
        ("strides", &[-1, 2]),
        ("dilations", &[0, 0]),
        ("pads", &[0, 0, -1, 0]),
        ("pads", &[0, 0, i64::MAX, 0]),
    ] {
        let text = Model::new(&pooled(name, values)).refusal().to_string();
        assert!(text.contains(&format!("`small` (AveragePool): expected `{name}` from")), "{text}");
    }
}

#[test]
fn constants_that_grow_without_bounds_are_refused_before_they_are_computed() {
    let sides: Vec<u8> = [1_i64 << 20, 1 << 20].iter().flat_map(|side| side.to_le_bytes()).collect();
    let sides = [number(1, 2), number(2, 7), text(8, "sides"), bytes(9, &sides)].concat();
    for (operator, inputs) in
        [("Expand", &["weight", "sides"][..]), ("Tile", &["weights", "sides"]), ("ConstantOfShape", &["sides"])]
    {
        let file = Tiny::with(|tiny| {
            tiny.tensors.extend([sides.clone(), tensor("weight", &[1, 1], &[0.5])]);
            tiny.nodes.insert(0, node(operator, inputs, "grown"));
            tiny.nodes[3] = node("MatMul", &["flat", "grown"], "embedding");
        });
        let text = Model::new(&file).refusal().to_string();
        assert!(text.contains("`grown` makes") && text.contains("too large"), "{text}");
    }
}

#[test]
fn weights_that_are_not_finite_are_refused_by_name() {
    for bad in [f32::NAN, f32::INFINITY] {
        let mut weights = WEIGHTS;
        weights[4] = bad;
        let in_list = Tiny::with(|tiny| tiny.tensors = vec![tensor("weights", &[3, 2], &weights)]);
        let as_node = Tiny::with(|tiny| {
            tiny.tensors.clear();
            // AttributeProto: name, tensor, type TENSOR.
            let constant = [text(1, "value"), bytes(5, &tensor("", &[3, 2], &weights)), number(20, 4)].concat();
            tiny.nodes.insert(0, [node("Constant", &[], "weights"), bytes(5, &constant)].concat());
        });
        for file in [in_list, as_node] {
            match Model::new(&file).refusal() {
                Error::WeightsNotFinite { tensor, .. } => assert_eq!(tensor, "weights"),
                other => panic!("{other}"),
            }
        }
    }
}

#[test]
fn an_output_that_is_not_finite_is_refused_and_the_next_one_is_not() {
    // The root of a mean below zero.
    let file = Tiny::with(|tiny| {
        tiny.nodes[1] = node("Flatten", &["root"], "flat");
        tiny.nodes.insert(1, node("Sqrt", &["mean"], "root"));
    });
    let model = Model::new(&file).edit_card("mean = [0.0, 0.0, 0.0]", "mean = [100.0, 0.0, 0.0]");
    let mut backbone = model.load().unwrap();
    assert!(matches!(embed(&mut backbone, [50, 40, 200]), Err(Error::BadEmbedding { found: "not finite" })));
    assert!(embed(&mut backbone, [150, 40, 200]).is_ok());
}

/// A network that fails on bright pictures: it takes the levels of red and green for places in a list of 100.
fn looking_up() -> Vec<u8> {
    Tiny::with(|tiny| {
        tiny.nodes[2] = node("MatMul", &["flat", "weights"], "levels");
        // AttributeProto: name, integer, type INT. To 7, INT64.
        let to = [text(1, "to"), number(3, 7), number(20, 2)].concat();
        tiny.nodes.push([node("Cast", &["levels"], "places"), bytes(5, &to)].concat());
        tiny.nodes.push(node("Gather", &["list", "places"], "embedding"));
        tiny.tensors.push(tensor("list", &[100], &(0..100_u8).map(f32::from).collect::<Vec<_>>()));
    })
}

#[test]
fn a_failure_in_a_thread_is_that_of_its_crop_alone() {
    let model = Model::new(&looking_up());
    let mut alone = model.load().unwrap();
    let mut shared = model.load().unwrap().with_settings(&BackboneSettings { threads: 3 }).unwrap();
    // Seven pictures of one colour each side by side, some of which fail and one of which comes to zero.
    let colours = [[30, 40, 9], [200, 0, 9], [0, 50, 9], [0, 0, 9], [99, 1, 9], [0, 255, 9], [7, 7, 9]];
    let row: Vec<u8> = colours.iter().flat_map(|colour| colour.repeat(4)).collect();
    let pixels = row.repeat(8);
    let frame = Frame::new(&pixels, PixelFormat::Rgb, (28, 8), row.len()).unwrap();
    let regions: Vec<_> =
        (0..7_u8).map(|at| Region { x: f32::from(4 * at), y: 0.0, width: 4.0, height: 8.0 }).collect();
    let text =
        |outcome: Result<Embedding<'_>, Error>| format!("{:?}", outcome.map(|embedding| embedding.as_slice().to_vec()));
    let expected: Vec<_> = regions.iter().map(|region| text(alone.embed(&frame, *region))).collect();
    let failed = expected.iter().map(|outcome| outcome.contains("ModelRun")).collect::<Vec<_>>();
    assert_eq!(failed, [false, true, false, false, false, true, false], "{expected:?}");
    assert!(expected[3].contains("all zero") && expected[0].contains("Ok([0.6"), "{expected:?}");
    for _ in 0..50 {
        let found: Vec<_> = shared.embed_all(&frame, &regions).into_iter().map(text).collect();
        assert_eq!(found, expected);
    }
    assert!(shared.embed_all(&frame, &[]).is_empty());
}

#[test]
fn weights_in_another_file_are_refused() {
    let file = Tiny::with(|tiny| {
        // TensorProto: external_data (13) with `location`, data_location (14) = EXTERNAL.
        let entry = [text(1, "location"), text(2, "card.toml")].concat();
        let outside = [number(1, 3), number(1, 2), number(2, 1), text(8, "weights"), bytes(13, &entry), number(14, 1)];
        tiny.tensors = vec![outside.concat()];
    });
    assert!(matches!(Model::new(&file).refusal(), Error::ModelLoad { .. }));
}

#[test]
fn a_card_with_a_mistake_is_refused() {
    let file = Tiny::with(|_| ());
    for (from, to) in [
        ("name =", "title ="),
        ("tiny.onnx", "../tiny.onnx"),
        ("[output]", "[output]\nheads = 3"),
        ("\"rgb\"", "\"hsv\""),
    ] {
        let error = Model::new(&file).edit_card(from, to).refusal();
        assert!(matches!(error, Error::BadToml { .. }), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_damaged_file_ends_the_program(damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut file = Tiny::with(|_| ());
        for (at, byte) in damage {
            let at = at.index(file.len());
            file[at] = byte;
        }
        // Damage may leave a sound network (a name, a weight): then it must run or say why not.
        if let Ok(mut backbone) = Model::new(&file).load() {
            let embedding = embed(&mut backbone, [30, 40, 200]);
            let fair = matches!(embedding, Ok(_) | Err(Error::BadEmbedding { .. } | Error::ModelRun { .. }));
            prop_assert!(fair, "{embedding:?}");
        }
    }
}
