//! Figures of `nformer-edge eval` against other people's implementations, and the command on a made dataset.
#![expect(clippy::expect_used, reason = "helpers of tests: what cannot be set up has failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nformer_edge::backbone::Backbone;
use nformer_edge::eval::market::{Crop, Dataset, Split};
use nformer_edge::eval::metrics::Scores;
use nformer_edge::eval::{Rows, embed, rerank};
use nformer_edge::model::Card;
use serde::Deserialize;
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What `tests/eval/reference.py` wrote.
#[derive(Deserialize)]
struct Case {
    name: String,
    width: usize,
    rows: Vec<f32>,
    identity: Vec<i32>,
    camera: Vec<u32>,
    query: Vec<usize>,
    gallery: Vec<usize>,
    cosine: Expected,
    reranked: Expected,
}

#[derive(Deserialize)]
struct Expected {
    queries: usize,
    map: f64,
    rank1: f64,
    rank5: f64,
    rank10: f64,
    minp: f64,
}

impl Case {
    fn all() -> Vec<Self> {
        let text = fs::read_to_string(root().join("tests/eval/reference.json")).expect("the reference");
        serde_json::from_str(&text).expect("cases")
    }

    fn split(&self) -> Split {
        let people = self.identity.iter().zip(&self.camera);
        let crops = people.map(|(identity, camera)| Crop {
            path: PathBuf::new(),
            identity: *identity,
            camera: *camera,
            sequence: 1,
            frame: 0,
        });
        Split {
            name: self.name.clone(),
            crops: crops.collect(),
            query: self.query.clone(),
            gallery: self.gallery.clone(),
        }
    }
}

#[track_caller]
fn same(case: &str, found: &Scores, expected: &Expected) {
    assert_eq!(found.queries, expected.queries, "{case}");
    let pairs = [
        (found.map, expected.map),
        (found.rank1, expected.rank1),
        (found.rank5, expected.rank5),
        (found.rank10, expected.rank10),
        (found.minp, expected.minp),
    ];
    for (found, expected) in pairs {
        // Both rank the same numbers; only f32 against f64 can turn a tie, and the made rows have none.
        assert!((found - expected).abs() < 1e-6, "{case}: {found} is not {expected}");
    }
}

#[test]
fn figures_are_those_of_scikit_learn() {
    let cases = Case::all();
    assert_eq!(cases.len(), 3);
    for case in cases {
        let rows = Rows::normalised(case.width, case.rows.clone()).expect("rows");
        same(&case.name, &rows.scores(&case.split()), &case.cosine);
    }
}

#[test]
fn re_ranking_is_that_of_its_authors() {
    for case in Case::all() {
        let rows = Rows::normalised(case.width, case.rows.clone()).expect("rows");
        same(&case.name, &rerank(&rows, &case.split()).0, &case.reranked);
    }
}

/// The colours of made person `number`: of shirt and trousers.
fn colours(number: i32) -> [[u8; 3]; 2] {
    const PALETTE: [[u8; 3]; 6] =
        [[200, 30, 30], [30, 160, 40], [40, 60, 200], [230, 200, 40], [240, 240, 240], [20, 20, 20]];
    let at = |place: i32| PALETTE[place.rem_euclid(6) as usize];
    [at(number), at(2 * number + number / 3 + 1)]
}

/// A person of rectangles before a wall whose brightness is the camera's, as JPEG.
fn drawn(number: i32, camera: u8, moved: usize) -> Vec<u8> {
    let (width, height) = (64, 128);
    let wall = 90 + 40 * camera;
    let mut rgb = vec![wall; width * height * 3];
    let mut fill = |columns: std::ops::Range<usize>, rows: std::ops::Range<usize>, colour: [u8; 3]| {
        for row in rows {
            for column in columns.clone() {
                rgb[(row * width + column) * 3..][..3].copy_from_slice(&colour);
            }
        }
    };
    let [shirt, trousers] = colours(number);
    fill(24 + moved..40 + moved, 8..26, [224, 172, 140]);
    fill(16 + moved..48 + moved, 26..70, shirt);
    fill(18 + moved..46 + moved, 70..122, trousers);
    let mut jpeg = Vec::new();
    let encoder = jpeg_encoder::Encoder::new(&mut jpeg, 90);
    encoder.encode(&rgb, width as u16, height as u16, jpeg_encoder::ColorType::Rgb).expect("a picture");
    jpeg
}

/// Six people, two cameras, three crops each: names for a query and a gallery.
fn write_made(query: &Path, gallery: &Path) -> [Vec<String>; 2] {
    let mut names = [Vec::new(), Vec::new()];
    for folder in [query, gallery] {
        fs::create_dir_all(folder).expect("a folder");
    }
    for person in 1..=6 {
        for camera in 1..=2_u8 {
            for shot in 0..3_usize {
                let frame = 1000 * person + 500 * i32::from(camera) + 25 * shot as i32;
                let name = format!("{person:04}_c{camera}s1_{frame:06}_01.jpg");
                let (folder, list) = if shot == 0 { (query, 0) } else { (gallery, 1) };
                fs::write(folder.join(&name), drawn(person, camera, 3 * shot)).expect("a crop");
                names[list].push(name);
            }
        }
    }
    // Somebody nobody judged must not be counted.
    fs::write(gallery.join("-1_c1s1_000001_01.jpg"), drawn(9, 1, 0)).expect("a crop");
    names
}

fn call(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nformer-edge"))
        .arg("eval")
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("the program was built by cargo")
}

/// The object on the last line of standard output.
fn outcome(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(text.lines().last().expect("a line")).expect("an object on the last line")
}

#[test]
fn a_folder_with_query_and_gallery_gives_one_object_the_same_every_time() {
    let folder = tempfile::tempdir().expect("a folder");
    write_made(&folder.path().join("query"), &folder.path().join("gallery"));
    let dataset = folder.path().display().to_string();
    let arguments = [dataset.as_str(), "--json", "--buffer", "8,300", "--protocol", "transductive,online,stream"];
    let output = call(&arguments);
    let found = outcome(&output);
    assert_eq!(output.stdout, call(&arguments).stdout);
    assert!(output.stderr.iter().all(|byte| *byte != b'\r'), "a bar where nobody watches a terminal");

    assert_eq!([&found["queries"], &found["gallery"], &found["identities"]], [12, 24, 6], "-1 is left out");
    let methods = found["methods"].as_array().expect("methods");
    let kept_as = |name: &str, protocol: &str, neighbors: Option<u64>, rows: Option<&str>| {
        let is_it = |method: &&Value| {
            method["name"] == name
                && method["protocol"] == protocol
                && method["neighbors"].as_u64() == neighbors
                && method["rows"].as_str() == rows
        };
        let found = methods.iter().find(is_it);
        found.unwrap_or_else(|| panic!("no {name}, {protocol}, {neighbors:?}, {rows:?} in {methods:?}"))
    };
    let row = |name: &str, protocol: &str, neighbors: Option<u64>| kept_as(name, protocol, neighbors, None);
    row("embedding as it is", "transductive", None);
    row("k-reciprocal re-ranking", "transductive", Some(36));
    row("running mean per track", "online", None);
    for neighbors in [8, 300] {
        for name in ["mean over reciprocal neighbours", "NFormer, untrained", "NFormer"] {
            let [embedding, track] =
                ["embedding", "track"].map(|rows| kept_as(name, "online", Some(neighbors), Some(rows)));
            // Everything of the network is right here, of either kind.
            if name.starts_with("mean") {
                assert_ne!(embedding["map"], track["map"], "{neighbors}: tracks of three crops each");
            }
        }
    }
    for method in methods {
        for figure in ["map", "rank1", "rank5", "rank10", "minp"] {
            let value = method[figure].as_f64().expect("a number");
            assert!((0.0..=100.0).contains(&value), "{method}");
        }
        assert!(method["mmac_per_crop"].as_f64() > Some(160.0) && method["bytes"].as_u64() > Some(1 << 20), "{method}");
    }
    // Six people in six colours, found among 24 crops: by chance mAP would be about 20.
    let map = row("embedding as it is", "online", None)["map"].as_f64();
    assert!(map > Some(60.0), "{map:?}");
    let stream = &found["stream"]["product"];
    assert_eq!([&stream["crops"], &stream["people"]], [36, 6]);
    assert!(found["stream"]["calibration"].is_null(), "no other split to choose on");
}

#[test]
fn lists_choose_on_val_and_the_report_stands_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let images = folder.path().join("images");
    let [query, gallery] = write_made(&images, &images);
    let list = |people: &[&str]| {
        let of = |names: &[String]| -> Vec<String> {
            names.iter().filter(|name| people.iter().any(|person| name.starts_with(person))).cloned().collect()
        };
        serde_json::json!({ "query": of(&query), "gallery": of(&gallery) })
    };
    let lists = serde_json::json!({ "val": list(&["0001", "0002"]), "test": list(&["0003", "0004", "0005", "0006"]), "val_ids": ["0001"] });
    fs::write(folder.path().join("splits.json"), lists.to_string()).expect("lists");
    let (dataset, out) = (folder.path().display().to_string(), folder.path().join("out"));
    let found = outcome(&call(&[&dataset, "--json", "--report", &out.display().to_string()]));
    assert_eq!((&found["split"], &found["tuned_on"]), (&"test".into(), &"val".into()));
    assert_eq!((&found["queries"], &found["gallery"]), (&8.into(), &16.into()));
    assert!(found["stream"]["calibration"]["at_1_percent"]["similarity"].is_number());
    assert_eq!(found["sweep"].as_array().map(Vec::len), Some(5 * (9 + 12)));

    let page = fs::read_to_string(out.join("index.html")).expect("the page");
    for part in ["data:image/jpeg;base64,", "contains pictures of people", "class=\"wrong\"", "t-SNE", "</html>"] {
        assert!(page.contains(part), "no {part}");
    }
    for outside in ["http:", "https:", "<script", "<link", "url("] {
        assert!(!page.contains(outside), "the page asks for {outside}");
    }
    let other = outcome(&call(&[&dataset, "--json", "--split", "val", "--protocol", "online"]));
    assert_eq!((&other["split"], &other["tuned_on"]), (&"val".into(), &Value::Null));
}

#[test]
fn what_is_no_dataset_is_refused_with_both_layouts_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = |arguments: &[&str], words: &[&str]| {
        let output = call(arguments);
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{log}");
        assert!(words.iter().all(|word| log.contains(word)) && !log.contains("panicked"), "{log}");
    };
    let place = folder.path().display().to_string();
    refused(&[&place], &["splits.json", "query", "gallery"]);
    fs::write(folder.path().join("splits.json"), "[1, 2]").expect("a file");
    refused(&[&place], &["splits.json"]);
    fs::write(folder.path().join("splits.json"), r#"{"test": {"query": ["a.jpg"], "gallery": []}}"#).expect("a file");
    refused(&[&place], &["IDENTITY_cCAMERAsSEQUENCE_FRAME_BOX", "a.jpg"]);
    refused(&[&place, "--split", "other"], &["`other`", "test"]);
    fs::remove_file(folder.path().join("splits.json")).expect("gone");
    write_made(&folder.path().join("query"), &folder.path().join("gallery"));
    fs::write(folder.path().join("query/0001_c1s1_000001_01.jpg"), "no picture").expect("a file");
    refused(&[&place], &["0001_c1s1_000001_01.jpg", "a whole JPEG or PNG picture"]);
}

/// Real rankings against the definitions, taken literally and pair by pair.
#[test]
fn real_rankings_are_scored_by_the_definitions() {
    let shared = std::env::var_os("NFORMER_EDGE_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from);
    let market = shared.join("data/market1501");
    if !market.is_dir() {
        println!("SKIPPED: {} is not here, so real rankings were not scored", market.display());
        return;
    }
    let split = Dataset::open(&market).expect("a dataset").split("val", Some(6)).expect("val");
    let card = Card::read(&root().join("models/reid_backbone/card.toml")).expect("a card");
    let mut backbone = Backbone::load(&card).expect("a backbone");
    let rows = embed(&mut backbone, &split.crops, |_| {}).expect("rows");
    let (mut maps, mut firsts, mut penalties) = (Vec::new(), Vec::new(), Vec::new());
    for query in &split.query {
        let asked = &split.crops[*query];
        let similarity = |place: usize| -> f64 {
            rows.row(*query).iter().zip(rows.row(place)).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        let kept: Vec<usize> =
            split.gallery.iter().copied().filter(|place| split.crops[*place].label() != asked.label()).collect();
        let right: Vec<usize> =
            kept.iter().copied().filter(|place| split.crops[*place].identity == asked.identity).collect();
        let rank = |place: usize, among: &[usize]| {
            among.iter().filter(|other| similarity(**other) >= similarity(place)).count() as f64
        };
        if right.is_empty() {
            continue;
        }
        maps.push(
            right.iter().map(|place| rank(*place, &right) / rank(*place, &kept)).sum::<f64>() / right.len() as f64,
        );
        firsts.push(if right.iter().any(|place| rank(*place, &kept) < 1.5) { 1.0 } else { 0.0 });
        penalties.push(right.len() as f64 / right.iter().map(|place| rank(*place, &kept)).fold(0.0, f64::max));
    }
    let found = rows.scores(&split);
    assert_eq!(found.queries, maps.len());
    assert!(found.queries > 10, "{}", found.queries);
    for (found, all) in [(found.map, maps), (found.rank1, firsts), (found.minp, penalties)] {
        let expected = 100.0 * all.iter().sum::<f64>() / all.len() as f64;
        // f32 against f64 may turn two neighbours that differ in the seventh digit.
        assert!((found - expected).abs() < 0.05, "{found} is not {expected}");
    }
    assert!(found.map > 60.0, "{found:?}");
}
