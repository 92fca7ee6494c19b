//! The command as a user meets it: bad input gives a clear message and the exit code of the help text.
#![expect(clippy::expect_used, reason = "helpers of tests: what cannot be set up has failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn call(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nformer-edge"))
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("the program was built by cargo")
}

/// Exit code and log of a call that must fail.
fn failure(arguments: &[&str]) -> (i32, String) {
    let output = call(arguments);
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{arguments:?} succeeded: {log}");
    assert!(!log.contains("panicked"), "{arguments:?}: {log}");
    (output.status.code().expect("no signal"), log)
}

fn clip() -> String {
    root().join("tests/clips/pedestrians.avi").display().to_string()
}

/// A copy of one model folder in which the caller may break things.
fn model_copy(name: &str, into: &Path) -> PathBuf {
    let copy = into.join(name);
    fs::create_dir(&copy).expect("a folder");
    for entry in fs::read_dir(root().join("models").join(name)).expect("a model") {
        let path = entry.expect("an entry").path();
        // The parity case of the fusion weights is no part of the model.
        let is_part = path.file_stem().is_some_and(|stem| stem != "case")
            && path.extension().is_some_and(|kind| ["toml", "onnx", "safetensors"].iter().any(|part| kind == *part));
        if is_part {
            fs::copy(&path, copy.join(path.file_name().expect("a name"))).expect("a copy");
        }
    }
    copy
}

fn file_with(folder: &Path, extension: &str) -> PathBuf {
    let mut files = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    files.find(|path| path.extension().is_some_and(|kind| kind == extension)).expect("a model file")
}

#[test]
fn a_missing_device_is_named_with_those_present() {
    let (code, log) = failure(&["run", "--source", "/dev/video97"]);
    assert_eq!(code, 3, "{log}");
    assert!(log.contains("no camera at /dev/video97") && log.contains("present:"), "{log}");
}

#[test]
fn a_device_that_is_not_a_camera_is_refused() {
    let (code, log) = failure(&["run", "--source", "/dev/null"]);
    assert_eq!(code, 3, "{log}");
    assert!(log.contains("not a camera"), "{log}");
}

#[test]
fn a_file_that_is_no_clip_is_refused_with_a_way_out() {
    let (code, log) = failure(&["run", "--source", "Cargo.toml"]);
    assert_eq!(code, 3, "{log}");
    assert!(log.contains("ffmpeg"), "{log}");
}

#[test]
fn an_unknown_key_in_the_file_names_the_nearest_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("c.toml");
    fs::write(&config, "[camera]\nwidht = 640\n").expect("a file");
    let (code, log) = failure(&["run", "--config", &config.display().to_string()]);
    assert_eq!(code, 2, "{log}");
    assert!(log.contains("camera.widht") && log.contains("camera.width"), "{log}");
}

#[test]
fn an_unknown_flag_is_a_usage_error_with_a_hint() {
    let (code, log) = failure(&["run", "--tracks.refesh", "3"]);
    assert_eq!(code, 2, "{log}");
    assert!(log.contains("--tracks.refresh"), "{log}");
}

#[test]
fn a_model_with_the_wrong_checksum_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = model_copy("reid_backbone", folder.path());
    let file = file_with(&model, "onnx");
    let mut bytes = fs::read(&file).expect("the model");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).expect("the model");
    let card = model.join("card.toml").display().to_string();
    let (code, log) = failure(&["run", "--source", &clip(), "--models.backbone", &card]);
    assert_eq!(code, 4, "{log}");
    assert!(log.contains("sha256"), "{log}");
}

#[test]
fn a_truncated_model_is_refused_even_with_its_own_checksum() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = model_copy("reid_backbone", folder.path());
    let file = file_with(&model, "onnx");
    let bytes = fs::read(&file).expect("the model");
    fs::write(&file, &bytes[..bytes.len() / 3]).expect("the model");
    let (_, log) =
        failure(&["run", "--source", &clip(), "--models.backbone", &model.join("card.toml").display().to_string()]);
    // The message tells the digest that the card would need; a user who writes it there gets the next answer.
    let found = log.split("found ").nth(1).and_then(|rest| rest.get(..64)).expect("the digest found").to_owned();
    let card = model.join("card.toml");
    let text = fs::read_to_string(&card).expect("the card");
    let old = text.lines().find(|line| line.starts_with("sha256")).expect("a digest").to_owned();
    fs::write(&card, text.replace(&old, &format!("sha256 = \"{found}\""))).expect("the card");
    let (code, log) = failure(&["run", "--source", &clip(), "--models.backbone", &card.display().to_string()]);
    assert_eq!(code, 4, "{log}");
    assert!(log.contains("not a model this program can run"), "{log}");
}

#[test]
fn a_card_that_says_another_shape_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let card = model_copy("reid_backbone", folder.path()).join("card.toml");
    let text = fs::read_to_string(&card).expect("the card");
    assert!(text.contains("width = 256"), "the card says its output width");
    fs::write(&card, text.replace("width = 256", "width = 128")).expect("the card");
    let (code, log) = failure(&["run", "--source", &clip(), "--models.backbone", &card.display().to_string()]);
    assert_eq!(code, 4, "{log}");
    assert!(log.contains("expected") && log.contains("256"), "{log}");
}

#[test]
fn a_card_with_an_unknown_key_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let card = model_copy("nformer", folder.path()).join("card.toml");
    let text = fs::read_to_string(&card).expect("the card");
    fs::write(&card, format!("colour_space = \"hsv\"\n{text}")).expect("the card");
    let (code, log) = failure(&["run", "--source", &clip(), "--models.fusion", &card.display().to_string()]);
    assert_eq!(code, 2, "{log}");
    assert!(log.contains("colour_space"), "{log}");
}

#[test]
fn a_snapshot_folder_that_cannot_be_written_is_told_before_the_run() {
    // Below a file no folder can be made, whoever asks (a test may run as root).
    let (code, log) = failure(&["run", "--source", &clip(), "--snapshot", "Cargo.toml/pictures"]);
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("cannot write"), "{log}");
}

#[test]
fn models_are_listed_and_verified() {
    let output = call(&["models", "verify"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("ok")).count(), 4, "{text}");

    let output = call(&["models"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("licence") && text.contains("nanodet"), "{text}");

    let folder = tempfile::tempdir().expect("a folder");
    let model = model_copy("nformer", folder.path());
    fs::write(file_with(&model, "safetensors"), b"not weights").expect("a file");
    let (code, _) = failure(&["models", "verify", "--models.dir", &folder.path().display().to_string()]);
    assert_eq!(code, 4);
}

#[test]
fn doctor_names_a_serial_port_that_is_not_there() {
    let output = call(&["doctor", "--report.serial.port", "/dev/ttyNONE"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("BAD   serial port: /dev/ttyNONE") && text.contains("remedy:"), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("ok    models:")).count(), 3, "{text}");
}

#[test]
fn memory_prints_every_buffer_and_the_resident_set() {
    let output = call(&["memory", "--source", &clip(), "--frames", "6"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    for room in ["detector", "tracks", "backbone", "neighbors", "nformer", "gallery", "sum", "peak"] {
        assert!(text.contains(room), "no {room} in:\n{text}");
    }
}

#[test]
fn help_shows_examples_exit_codes_and_every_key() {
    let output = call(&["run", "--help"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for key in nformer_edge::settings::KEYS {
        assert!(text.contains(&format!("--{}", key.name)), "{} is not in the help", key.name);
    }
    let output = call(&["--help"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("Examples:") && text.contains("Exit codes:"), "{text}");
}

#[test]
fn exit_codes_are_what_the_help_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = |name: &str| folder.path().join(name).display().to_string();
    for (code, arguments) in [
        (2, ["run", "--config", &missing("none.toml")]),
        (2, ["run", "--gallery.similarity", "high"]),
        (3, ["run", "--source", &missing("none.avi")]),
        (3, ["run", "--source", &missing("none.y4m")]),
        (3, ["run", "--source", "/dev/video987"]),
        (3, ["run", "--source", &folder.path().display().to_string()]),
    ] {
        let (found, log) = failure(&arguments);
        assert_eq!(found, code, "{arguments:?}: {log}");
    }
}

#[test]
fn a_model_file_is_explained_operator_by_operator() {
    let file = root().join("models/person_detector/nanodet_g_416x320_int8.onnx");
    let output = call(&["models", "--explain", &file.display().to_string()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let table = String::from_utf8(output.stdout).expect("text");
    let line = |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert!(line("Conv:conv_28 ").contains(" bytes "), "{table}");
    assert!(line("Sigmoid:scores ").contains(" float "), "{table}");
    assert!(table.contains("of 89 operators on bytes") && table.contains("(100.0%)"), "{table}");

    let folder = tempfile::tempdir().expect("a folder");
    let (code, log) = failure(&["models", "--explain", &folder.path().join("none.onnx").display().to_string()]);
    assert!(code == 1 && log.contains("cannot read model file"), "{code}: {log}");
    let foreign = folder.path().join("foreign.onnx");
    fs::write(&foreign, "no model").expect("a file");
    let (code, log) = failure(&["models", "--explain", &foreign.display().to_string()]);
    assert!(code == 4 && log.contains("not a model this program can run"), "{code}: {log}");
}

#[test]
fn standard_output_that_takes_nothing_is_no_panic() {
    let program = || {
        let mut program = Command::new(env!("CARGO_BIN_EXE_nformer-edge"));
        program.arg("models").current_dir(root());
        program
    };
    // `nformer-edge models | head -0`
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = program().stdout(writer).stderr(std::process::Stdio::piped()).output().expect("the program");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    // A disk that is full.
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let output = program().stdout(full).stderr(std::process::Stdio::piped()).output().expect("the program");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("standard output cannot be written") && !said.contains("panicked"), "{said}");
}
