//! Tests of the settings: files, flags, and the list of keys.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::*;

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("nformer-edge.toml");
    fs::write(&path, text).expect("a file");
    (folder, path)
}

fn load(text: &str, flags: &[(&'static str, &str)]) -> Result<Settings> {
    let (_folder, path) = file(text);
    let flags: Vec<(&'static str, String)> = flags.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
    Settings::load(Some(&path), &flags)
}

/// Dotted names of all values in `table`.
fn leaves(table: &Table, prefix: &str, into: &mut BTreeSet<String>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::Table(inner) => leaves(inner, &key, into),
            _ => {
                into.insert(key);
            }
        }
    }
}

#[test]
fn defaults_are_valid() {
    Settings::default().validate().expect("defaults");
}

#[test]
fn only_a_file_that_is_not_there_is_absent() {
    let (folder, path) = file("");
    assert_eq!(present(&path), Some(path.as_path()));
    assert_eq!(present(&folder.path().join("other.toml")), None);
    // Nobody can tell, as where a folder may not be looked into.
    let below = path.join("nformer-edge.toml");
    assert_eq!(present(&below), Some(below.as_path()));
    assert!(matches!(Settings::load(Some(&below), &[]), Err(Error::Read { .. })));
}

#[test]
fn every_value_of_the_settings_is_a_key() {
    let table = Table::try_from(Settings::default()).expect("settings are a table");
    let mut found = BTreeSet::new();
    leaves(&table, "", &mut found);
    let known: BTreeSet<String> = KEYS.iter().map(|key| key.name.to_owned()).collect();
    let missing: Vec<_> = found.difference(&known).collect();
    assert!(missing.is_empty(), "not in settings/keys.rs: {missing:?}");
    // What the defaults leave out is optional: those keys must be accepted all the same.
    for optional in known.difference(&found) {
        let sample = match optional.as_str() {
            "source" | "models.dir" | "report.serial.port" | "state.dir" | "state.key_file" => "somewhere",
            "nformer.top_k" => "5",
            _ => "0.5",
        };
        let name = KEYS.iter().find(|key| key.name == optional).expect("it is one").name;
        load("", &[(name, sample)]).unwrap_or_else(|error| panic!("{optional}: {error}"));
    }
}

#[test]
fn the_defaults_in_the_help_are_the_defaults() {
    let table = Value::Table(Table::try_from(Settings::default()).expect("settings are a table"));
    for key in KEYS {
        let Some((_, said)) = key.help.rsplit_once("[default: ") else { continue };
        let said = said.trim_end_matches(']');
        let found = key.name.split('.').try_fold(&table, |table, name| table.get(name));
        let Some(found) = found else {
            assert!(said.contains(' '), "{}: `{said}` looks like a value, but there is none", key.name);
            continue;
        };
        let same = match found {
            Value::Float(value) => said.parse::<f64>().is_ok_and(|said| (said - value).abs() < 1e-6),
            Value::String(value) => said == value,
            other => said == other.to_string(),
        };
        assert!(same, "{}: the help says `{said}`, the default is {found}", key.name);
    }
}

#[test]
fn a_flag_overrides_the_file() {
    let settings = load("[tracks]\nrefresh = 7\nsettle = 3\n", &[("tracks.refresh", "9")]).expect("valid");
    assert_eq!((settings.tracks.refresh, settings.tracks.settle), (9, 3));
}

#[test]
fn a_number_is_text_where_text_is_asked_for() {
    let settings = load("", &[("source", "7")]).expect("valid");
    assert_eq!(settings.source.as_deref(), Some("7"));
}

#[test]
fn an_unknown_key_names_the_nearest_valid_one() {
    let error = load("[tracks]\nrefesh = 7\n", &[]).expect_err("no such key");
    let Error::UnknownSetting { key, nearest, .. } = &error else { panic!("{error}") };
    assert_eq!((key.as_str(), nearest.as_str()), ("tracks.refesh", "tracks.refresh"));

    let error = load("[galery]\nttl_s = 7\n", &[]).expect_err("no such section");
    assert!(error.to_string().contains("`gallery`"), "{error}");

    let error = load("tracks = 3\n", &[]).expect_err("a section is no value");
    assert!(matches!(error, Error::UnknownSetting { .. }), "{error}");
}

#[test]
fn a_value_of_the_wrong_kind_is_named_with_its_place() {
    let error = load("[tracks]\nrefresh = \"often\"\n", &[]).expect_err("text is no number").to_string();
    assert!(error.contains("refresh"), "{error}");
    let error = load("", &[("tracks.refresh", "-3")]).expect_err("negative").to_string();
    assert!(error.contains("refresh") || error.contains("-3"), "{error}");
}

#[test]
fn threads_of_the_backbone_are_one_to_eight() {
    for threads in ["0", "9"] {
        let error = load("", &[("backbone.threads", threads)]).expect_err("out of range").to_string();
        assert!(error.contains(&format!("`backbone.threads`: expected 1 to 8, found {threads}")), "{error}");
    }
    for threads in [1, 8] {
        let settings = load(&format!("[backbone]\nthreads = {threads}\n"), &[]).expect("valid");
        assert_eq!(settings.backbone.threads, threads);
    }
}

#[test]
fn a_value_out_of_range_is_refused() {
    let error = load("[gallery]\nsimilarity = 3.0\n", &[]).expect_err("no cosine").to_string();
    assert!(error.contains("gallery.similarity") && error.contains('3'), "{error}");
}

#[test]
fn a_file_that_is_missing_or_broken_is_an_error() {
    let error = Settings::load(Some(Path::new("/nowhere/x.toml")), &[]).expect_err("missing");
    assert!(matches!(error, Error::Read { .. }), "{error}");
    let error = load("[tracks\n", &[]).expect_err("broken");
    assert!(matches!(error, Error::BadToml { .. }), "{error}");
}

#[test]
fn a_card_is_a_folder_of_the_models_or_a_path() {
    let settings = load("[models]\ndir = \"/m\"\n", &[]).expect("valid");
    assert_eq!(settings.card_path("nformer").expect("a folder is set"), Path::new("/m/nformer/card.toml"));
    assert_eq!(settings.card_path("own/card.toml").expect("a path"), Path::new("own/card.toml"));
}

#[test]
fn what_differs_is_named_by_its_key() {
    let before = Settings::default();
    assert_eq!(before.differences(&before.clone()), [""; 0]);
    let mut after = before.clone();
    after.source = Some("clip.avi".into());
    after.tracks.refresh += 1;
    after.report.serial.baud = 9600;
    assert_eq!(before.differences(&after), ["source", "tracks.refresh", "report.serial.baud"]);
    assert_eq!(after.differences(&before), before.differences(&after));
}
