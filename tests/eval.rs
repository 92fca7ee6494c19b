//! Figures of `nformer-edge eval` against other people's implementations, and the command on a made dataset.
#![expect(clippy::expect_used, reason = "helpers of tests: what cannot be set up has failed")]

use std::fs;
use std::path::{Path, PathBuf};

use nformer_edge::eval::market::{Crop, Split};
use nformer_edge::eval::metrics::Scores;
use nformer_edge::eval::{Rows, rerank};
use serde::Deserialize;

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
