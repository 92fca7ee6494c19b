//! Each folder of `targets/` is a whole board: both halves parse, say what they must, and can be called by name.
#![expect(clippy::expect_used, reason = "helpers of tests: what cannot be set up has failed")]

use std::fs;
use std::path::{Path, PathBuf};

use nformer_edge::detector::DetectorKind;
use nformer_edge::settings::Settings;
use toml::Table;

/// The boards that are promised. A further folder is checked too.
const PROMISED: [&str; 8] = ["host", "rpi3", "rpi4", "rpi5", "rpi-zero2w", "jetson-nano", "jetson-orin", "armv7"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Name and folder of each board.
fn boards() -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(root().join("targets")).expect("targets/");
    let folders = entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_dir());
    // `debian` holds the parts of the package that are the same on every board.
    let folders = folders.filter(|path| !path.ends_with("debian"));
    folders.map(|path| (path.file_name().expect("a name").to_string_lossy().into_owned(), path)).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn table(path: &Path) -> Table {
    read(path).parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_promised_board_is_there() {
    let found = boards();
    for name in PROMISED {
        assert!(found.iter().any(|(board, _)| board == name), "targets/{name} is missing");
    }
}

#[test]
fn every_build_half_names_its_board_processor_and_sizes() {
    for (board, folder) in boards() {
        let build = table(&folder.join("cargo.toml"));
        let environment = build["env"].as_table().expect("[env]");
        let value = |name: &str| environment.get(name).and_then(|value| value.as_str()).unwrap_or_default();
        assert_eq!(value("NFORMER_EDGE_BOARD"), board);
        let size = |name: &str| value(name).parse::<usize>().unwrap_or_else(|_| panic!("{board}: {name}"));
        // The limits of src/size.rs, which a build checks too.
        assert!((8..=8192).contains(&size("NFORMER_EDGE_NEIGHBORS")), "{board}");
        assert!((1..=256).contains(&size("NFORMER_EDGE_MAX_PEOPLE")), "{board}");
        let identities = size("NFORMER_EDGE_MAX_PEOPLE")..=65536;
        assert!(identities.contains(&size("NFORMER_EDGE_MAX_IDENTITIES")), "{board}");
        if board == "host" {
            continue;
        }
        let triple = build["build"]["target"].as_str().expect("build.target");
        let target = build["target"][triple].as_table().expect("[target.TRIPLE]");
        let flags: Vec<_> =
            target["rustflags"].as_array().expect("rustflags").iter().filter_map(|flag| flag.as_str()).collect();
        assert!(flags.iter().any(|flag| flag.starts_with("target-cpu=")), "{board}: {flags:?}");
        let runner: Vec<_> =
            target["runner"].as_array().expect("runner").iter().filter_map(|word| word.as_str()).collect();
        // QEMU's default processor has instructions that no board has.
        assert!(
            runner.windows(2).any(|pair| pair[0] == "-cpu" && pair[1].starts_with("cortex-")),
            "{board}: {runner:?}"
        );
        assert!(target["linker"].as_str().is_some_and(|linker| linker.ends_with("-gcc")), "{board}");
        let headers = format!("BINDGEN_EXTRA_CLANG_ARGS_{}", triple.replace('-', "_"));
        assert!(!value(&headers).is_empty(), "{board}: {headers}");
    }
}

#[test]
fn every_run_half_is_a_configuration_that_the_program_takes() {
    for (board, folder) in boards() {
        let path = folder.join("nformer-edge.toml");
        Settings::load(Some(&path), &[]).unwrap_or_else(|error| panic!("{board}: {error}"));
        assert!(read(&path).contains(&format!("targets/{board}/nformer-edge.toml")), "{board}: the head of the file");
    }
}

/// The configuration `text` without the comment signs of the part that begins with `# [section]`, to the next empty line.
fn with_section(text: &str, section: &str) -> String {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        inside = (inside && !line.is_empty()) || line == format!("# [{section}]");
        lines.push(if inside { line.strip_prefix("# ").unwrap_or(line) } else { line });
    }
    lines.join("\n")
}

/// What stands there as a comment is for the user to switch on: serial port, state, and both.
#[test]
fn every_run_half_is_still_right_with_what_is_commented_out() {
    let folder = tempfile::tempdir().expect("a folder");
    for (board, path) in boards() {
        let text = read(&path.join("nformer-edge.toml"));
        let path = folder.path().join(&board);
        let load = |text: String| {
            fs::write(&path, text).expect("a file");
            Settings::load(Some(&path), &[]).unwrap_or_else(|error| panic!("{board}: {error}"))
        };
        let settings = load(with_section(&text, "state"));
        assert!(settings.state.dir.is_some_and(|dir| dir == Path::new("/var/lib/nformer-edge")), "{board}");
        assert_eq!(settings.report.serial.port, None, "{board}");
        let settings = load(with_section(&with_section(&text, "state"), "report.serial"));
        assert!(
            settings.report.serial.port.is_some_and(|port| port.starts_with("/dev/tty") || port == "/dev/serial0"),
            "{board}"
        );
    }
}

/// The service writes to the journal what it says on standard output, and the journal of a board lies on an SD card.
#[test]
fn no_board_fills_its_journal_with_every_frame() {
    for (board, folder) in boards() {
        let settings = Settings::load(Some(&folder.join("nformer-edge.toml")), &[]).expect("checked above");
        let rate = settings.report.rate_hz;
        assert!(board == "host" || (rate > 0.0 && rate <= 1.0), "{board}: {rate} sightings a second");
    }
}

/// The threshold came out the same for both backbones (`models/reid_backbone_tiny/README.md`): no board has its own.
#[test]
fn the_slowest_boards_take_the_tiny_backbone_and_look_for_motion() {
    for (board, folder) in boards() {
        let settings = Settings::load(Some(&folder.join("nformer-edge.toml")), &[]).expect("checked above");
        let tiny = settings.models.backbone == "reid_backbone_tiny";
        assert_eq!(tiny, settings.detector.kind == DetectorKind::Motion, "{board}: the slowest boards take both");
        let (found, measured) = (settings.gallery.similarity, Settings::default().gallery.similarity);
        assert!((found - measured).abs() < f32::EPSILON, "{board}: {found}, and {measured} was measured");
    }
}

#[test]
fn every_board_has_its_aliases_and_its_row() {
    let config = table(&root().join(".cargo/config.toml"));
    let readme = read(&root().join("targets/README.md"));
    for (board, _) in boards() {
        for (alias, command) in [(board.clone(), "build"), (format!("test-{board}"), "test")] {
            let words: Vec<_> =
                config["alias"].get(&alias).and_then(|words| words.as_array()).into_iter().flatten().collect();
            let says = |text: &str| words.iter().any(|word| word.as_str() == Some(text));
            assert!(says(&format!("targets/{board}/cargo.toml")) && says(command), "`cargo {alias}`: {words:?}");
        }
        assert!(readme.contains(&format!("| `{board}` |")), "{board} has no row in targets/README.md");
    }
}

/// What a board's package is made of is there, and its licence is in it.
#[test]
fn what_the_package_is_made_of_is_there() {
    let manifest = table(&root().join("Cargo.toml"));
    let assets = manifest["package"]["metadata"]["deb"]["assets"].as_array().expect("assets");
    let sources: Vec<_> = assets.iter().filter_map(|asset| asset[0].as_str()).collect();
    assert!(sources.contains(&"LICENSE"), "{sources:?}");
    // What is built or copied before, and patterns, cannot be looked for.
    for source in sources.iter().filter(|source| !source.starts_with("target/") && !source.contains('*')) {
        assert!(root().join(source).is_file(), "{source} is not there");
    }
}
