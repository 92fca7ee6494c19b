use std::fs;

use super::*;
use crate::model::{Align, Colour, Resize};

const SHA: &str = "be605095b6aa354d4bdfd34ebfb854c2991d68cd0c66bfb08466bb1d0ad91ca5";

fn detection() -> String {
    format!(
        r#"name = "nanodet"
task = "detection"
file = "model.onnx"
sha256 = "{SHA}"
head = "nanodet"
quantisation = "int8"
licence = "MIT"
source = "somewhere"
metric = "good"

[input]
width = 416
height = 320
colour = "bgr"
mean = [103.53, 116.28, 123.675]
std = [57.375, 57.12, 58.395]
resize = "letterbox"
pad = 114
align = "centre"

[output]
classes = 2
class = 1
strides = [8, 16, 32]
reg_max = 10
threshold = 0.4
nms_iou = 0.5
"#
    )
}

fn fusion() -> String {
    format!(
        r#"name = "nformer"
task = "fusion"
file = "nformer.safetensors"
sha256 = "{SHA}"
head = "nformer"
[output]
width = 256
[fusion]
input_width = 256
layers = 1
heads = 2
landmarks = 5
top_k = 5
"#
    )
}

fn read(text: &str) -> Result<Card> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("card.toml");
    fs::write(&path, text).unwrap();
    Card::read(&path)
}

fn refusal(text: &str) -> String {
    match read(text) {
        Err(error @ Error::BadToml { .. }) => error.to_string(),
        other => panic!("expected a bad card, found {other:?}\n{text}"),
    }
}

#[test]
fn a_detector_card_is_read() {
    let card = read(&detection()).unwrap();
    assert_eq!((card.name.as_str(), card.digest(), card.task()), ("nanodet", "be605095", Task::Detection));
    assert_eq!(card.file_path(), card.path().with_file_name("model.onnx"));
    let Contract::Detection { input, output } = &card.contract else { panic!("{card:?}") };
    assert_eq!((input.width, input.height, input.pad), (416, 320, 114.0));
    assert_eq!((input.colour, input.resize, input.align), (Colour::Bgr, Resize::Letterbox, Align::Centre));
    assert_eq!((output.head, output.centre_offset), (Head::NanoDet, 0.5));
    // 52 * 40 + 26 * 20 + 13 * 10 positions.
    assert_eq!(card.contract.output_shapes(), [[1, 2730, 2], [1, 2730, 44]]);
    assert_eq!(output.grids(input).collect::<Vec<_>>(), [(52, 40, 8.0), (26, 20, 16.0), (13, 10, 32.0)]);
}

#[test]
fn a_fusion_card_needs_no_input() {
    let card = read(&fusion()).unwrap();
    let sizes = Fusion { width: 256, input_width: 256, layers: 1, heads: 2, landmarks: 5, top_k: 5 };
    assert_eq!(card.contract, Contract::Fusion(sizes));
    assert!(card.contract.input().is_none() && card.contract.output_shapes().is_empty());
}

#[test]
fn a_reid_card_says_its_width() {
    let text = detection().replace("\"detection\"", "\"reid\"").replace("\"nanodet\"\nqu", "\"embedding\"\nqu");
    let (head, _) = text.split_once("[output]").unwrap();
    let card = read(&format!("{head}[output]\nwidth = 512\n")).unwrap();
    assert_eq!(card.contract.output_shapes(), [[1, 512]]);
    assert!(matches!(card.contract, Contract::Reid { width: 512, .. }));
}

#[test]
fn a_card_with_a_mistake_says_where() {
    for (from, to, expected) in [
        ("name =", "nome =", "nome"),
        ("[input]", "[input]\ndepth = 3", "depth"),
        ("[output]", "[output]\nsize = 3", "size"),
        ("\"nanodet\"\nqu", "\"embedding\"\nqu", "no head"),
        ("\"nanodet\"\nqu", "\"ssd\"\nqu", "ssd"),
        ("width = 416", "width = 0", "input.width: expected 1 to 2048, found 0"),
        ("width = 416", "width = 99999", "input.width"),
        ("width = 416", "width = 417", "output.strides: expected divisors of 417 and 320, found 8"),
        ("[57.375,", "[0.0,", "input.std"),
        ("[57.375,", "[nan,", "input.std"),
        ("[103.53,", "[inf,", "input.mean"),
        ("[103.53, 116.28, 123.675]", "[1.0, 2.0]", "mean"),
        ("pad = 114", "pad = 300", "input.pad"),
        ("classes = 2", "classes = 0", "output.classes"),
        ("classes = 2\n", "", "output.classes: this key is missing"),
        ("class = 1", "class = 2", "output.class: expected 0 to 1, found 2"),
        ("[8, 16, 32]", "[]", "output.strides"),
        ("[8, 16, 32]", "[8, 0]", "output.strides"),
        ("reg_max = 10\n", "", "output.reg_max: this key is missing"),
        ("reg_max = 10", "reg_max = 100000000000", "output.reg_max"),
        ("threshold = 0.4", "threshold = nan", "output.threshold"),
        ("nms_iou = 0.5", "nms_iou = -1.0", "output.nms_iou"),
        (SHA, "abc", "64 hexadecimal digits"),
    ] {
        let text = detection();
        assert!(text.contains(from), "{from}");
        let reason = refusal(&text.replace(from, to));
        assert!(reason.contains(expected), "{from} -> {to}: {reason}");
    }
    let reason = refusal(&fusion().replace("layers = 1", "layers = 1000"));
    assert!(reason.contains("fusion.layers: expected 1 to 8, found 1000"), "{reason}");
    let reason = refusal(&fusion().replace("width = 256\n[", "width = 9000\n["));
    assert!(reason.contains("output.width"), "{reason}");
}

#[test]
fn a_card_cannot_name_a_file_elsewhere() {
    for file in ["../model.onnx", "/etc/passwd", "a/b.onnx", "..", ".", "", "a\\\\b.onnx", "a\\u0000b"] {
        let reason = refusal(&detection().replace("model.onnx", file));
        assert!(reason.contains("file: expected the name of a file beside the card"), "{file}: {reason}");
    }
}

#[test]
fn what_is_no_card_is_refused() {
    refusal("\0\0\0");
    refusal("");
    let reason = refusal(&format!("{}\n# {}", detection(), "x".repeat(70_000)));
    assert!(reason.contains("65536 bytes"), "{reason}");
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Card::read(&folder.path().join("card.toml")), Err(Error::Read { what: "model card", .. })));
    fs::write(folder.path().join("card.toml"), [0xff, 0xfe, 0x00]).unwrap();
    assert!(matches!(Card::read(&folder.path().join("card.toml")), Err(Error::BadToml { .. })));
}

#[test]
fn a_file_is_checked_against_its_digest() {
    let folder = tempfile::tempdir().unwrap();
    let (path, file) = (folder.path().join("card.toml"), folder.path().join("model.onnx"));
    // `printf abc | sha256sum`; upper case is accepted.
    let sha = "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD";
    fs::write(&path, detection().replace(SHA, sha)).unwrap();
    let card = Card::read(&path).unwrap();
    assert!(matches!(card.verify(), Err(Error::Read { what: "model file", .. })));
    fs::write(&file, "abc").unwrap();
    card.verify().unwrap();
    fs::write(&file, "abd").unwrap();
    assert!(matches!(card.verify(), Err(Error::ModelChecksum { expected, .. }) if expected.starts_with("ba7816bf")));
    let elsewhere = folder.path().join("other.onnx");
    fs::write(&elsewhere, "abc").unwrap();
    Card::read_with_file(&path, &elsewhere).unwrap().verify().unwrap();
}
