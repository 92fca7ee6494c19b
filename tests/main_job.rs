//! The main job on the bundled clip: boxes on people, identities that persist, the same bytes each time.
#![expect(clippy::expect_used, reason = "helpers of tests: what cannot be set up has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// Left, top, width, height in pixels.
type Box4 = [f64; 4];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Standard output of the main job on the bundled clip.
fn play() -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_nformer-edge"))
        .args(["run", "--source", "tests/clips/pedestrians.avi"])
        .current_dir(root())
        .stderr(Stdio::inherit())
        .output()
        .expect("the program was built by cargo");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The first run, shared by the tests of this file: it takes a while in a test build.
fn first_run() -> &'static str {
    static OUTPUT: OnceLock<String> = OnceLock::new();
    OUTPUT.get_or_init(play)
}

/// Its messages.
fn lines() -> &'static [Value] {
    static LINES: OnceLock<Vec<Value>> = OnceLock::new();
    LINES.get_or_init(|| first_run().lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect())
}

fn sightings() -> impl Iterator<Item = &'static Value> {
    lines().iter().filter(|line| line["type"] == "sighting")
}

fn number(value: &Value) -> u64 {
    value.as_u64().expect("a number")
}

fn bbox(sighting: &Value) -> Box4 {
    std::array::from_fn(|at| sighting["bbox"][at].as_f64().expect("a number"))
}

fn iou(a: Box4, b: Box4) -> f64 {
    let span = |from: usize| (a[from] + a[from + 2]).min(b[from] + b[from + 2]) - a[from].max(b[from]);
    let shared = span(0).max(0.0) * span(1).max(0.0);
    shared / (a[2] * a[3] + b[2] * b[3] - shared)
}

/// Boxes of another detector (YOLOX-nano), by frame; see tests/clips/README.md.
fn reference() -> BTreeMap<u64, Vec<Box4>> {
    let text = std::fs::read_to_string(root().join("tests/clips/people.csv")).expect("reference boxes");
    let mut boxes: BTreeMap<u64, Vec<Box4>> = BTreeMap::new();
    for line in text.lines().skip(1) {
        let fields: Vec<f64> = line.split(',').map(|field| field.parse().expect("a number")).collect();
        boxes.entry(fields[0] as u64).or_default().push([fields[1], fields[2], fields[3], fields[4]]);
    }
    boxes
}

#[test]
fn the_boxes_lie_on_people() {
    let reference = reference();
    let mut ours: BTreeMap<u64, Vec<Box4>> = BTreeMap::new();
    for sighting in sightings() {
        ours.entry(number(&sighting["frame"])).or_default().push(bbox(sighting));
    }
    let hits = |of: &BTreeMap<u64, Vec<Box4>>, among: &BTreeMap<u64, Vec<Box4>>| {
        let (mut hit, mut all) = (0, 0);
        for (frame, boxes) in of {
            let others = among.get(frame).map_or(&[][..], Vec::as_slice);
            all += boxes.len();
            hit += boxes.iter().filter(|own| others.iter().any(|other| iou(**own, *other) >= 0.5)).count();
        }
        f64::from(u32::try_from(hit).expect("few")) / f64::from(u32::try_from(all).expect("few"))
    };
    let (precision, recall) = (hits(&ours, &reference), hits(&reference, &ours));
    println!("against YOLOX-nano at IoU 0.5: precision {precision:.3}, recall {recall:.3}");
    assert!(precision >= 0.9, "precision {precision:.3}");
    // A track is believed from its second detection on, so the first box of each person is missing by design.
    assert!(recall >= 0.85, "recall {recall:.3}");
}

#[test]
fn every_line_is_a_message_and_none_is_lost() {
    for (seq, line) in lines().iter().enumerate() {
        assert_eq!(number(&line["seq"]), seq as u64, "{line}");
    }
    assert_eq!(lines()[0]["type"], "hello");
    assert_eq!(lines()[0]["models"].as_array().expect("models").len(), 3);
    let kinds: BTreeSet<&str> = lines().iter().map(|line| line["type"].as_str().expect("text")).collect();
    assert_eq!(kinds, BTreeSet::from(["hello", "sighting", "event"]));
}

#[test]
fn nobody_shares_an_identity_within_a_frame() {
    let mut seen = BTreeSet::new();
    for sighting in sightings() {
        if let Some(identity) = sighting["identity"].as_u64() {
            assert!(seen.insert((number(&sighting["frame"]), identity)), "{sighting}");
        }
    }
}

/// Who the person at `place` in `frame` is.
fn identity_at(frame: u64, place: Box4) -> Option<u64> {
    let at = |sighting: &&Value| number(&sighting["frame"]) == frame && iou(bbox(sighting), place) >= 0.5;
    sightings().find(at)?["identity"].as_u64()
}

#[test]
fn who_leaves_and_returns_keeps_the_identity() {
    // From tests/clips/README.md, some frames before leaving and after coming back, where all of the person is seen.
    let walks = [
        ("woman in red", (65, [50.9, 92.8, 22.6, 67.3]), (95, [100.2, 92.2, 23.3, 68.5])),
        ("man in a black coat", (38, [609.4, 192.0, 30.6, 101.6]), (104, [487.5, 156.0, 35.3, 88.0])),
        ("man in a leather jacket", (60, [584.5, 79.5, 33.5, 74.7]), (150, [465.1, 110.0, 31.0, 81.9])),
        ("man in blue jeans", (26, [502.0, 173.1, 46.7, 103.0]), (110, [290.5, 79.0, 29.0, 69.2])),
    ];
    let mut held = BTreeSet::new();
    for (who, (left, before), (back, after)) in walks {
        let (first, second) = (identity_at(left, before), identity_at(back, after));
        assert!(first.is_some(), "{who} has no identity before leaving");
        assert!(first == second, "{who} left as {first:?} and came back as {second:?}");
        assert!(held.insert(first), "{who} is {first:?} and so is somebody else");
    }
    // He gets a new number: the README of the clip says why. To be taken for one of the others would be worse.
    let (before, after) = ([569.0, 192.1, 41.3, 108.1], [515.1, 78.1, 25.2, 72.9]);
    let navy = [identity_at(90, before), identity_at(122, after)];
    println!("man in navy: left as {:?}, came back as {:?}", navy[0], navy[1]);
    for identity in navy {
        assert!(identity.is_some() && !held.contains(&identity), "the man in navy is taken for {identity:?}");
    }
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    assert!(first_run() == play(), "two runs differ");
}
