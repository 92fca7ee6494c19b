//! Holds the rules of the house (ARCHITECTURE.md): who imports whom, where `unsafe` may stand, how long a
//! file may be, and what may touch the outside.
#![expect(clippy::expect_used, reason = "helpers of tests: what cannot be set up has failed")]

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms in the order of the data; a room may import what stands above it.
const ROOMS: [&str; 18] = [
    "frame",
    "camera",
    "int8",
    "model",
    "detector",
    "tracks",
    "crop",
    "backbone",
    "neighbors",
    "nformer",
    "gallery",
    "state",
    "recognition",
    "eval",
    "report",
    "snapshot",
    "settings",
    "pipeline",
];

/// What every room may import.
const COMMON: [&str; 3] = ["kernels", "size", "error"];

/// Files in which `unsafe` is allowed.
const UNSAFE: [&str; 4] = ["src/camera/v4l2.rs", "src/camera/v4l2/", "src/int8/arch/", "src/kernels/arch/"];

/// Rooms that may touch the outside (files, devices, threads) while running; the others only read their
/// own model or settings file at start, through the names listed.
const OUTSIDE: [&str; 5] = ["camera", "state", "report", "snapshot", "cli"];

/// Files that may have threads although their room touches nothing outside: threads that only compute and end before the
/// call that made them, with the same result as without them.
const COMPUTING_THREADS: [&str; 1] = ["src/backbone.rs"];

const LONGEST_FILE: usize = 500;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below `folder`, with paths from the root.
fn rust_files(folder: &str) -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of the project") {
            let path: PathBuf = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).expect("below the root").display().to_string();
                files.push((name, fs::read_to_string(&path).expect("text")));
            }
        }
    }
    files.sort();
    assert!(!files.is_empty());
    files
}

/// The room a source file belongs to: `src/tracks/motion.rs` and `src/tracks.rs` are `tracks`.
fn room(file: &str) -> &str {
    let inside = file.strip_prefix("src/").unwrap_or(file);
    inside.split(['/', '.']).next().unwrap_or(inside)
}

/// Code without its comments and without what follows `#[cfg(test)]`.
fn product_code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().take_while(|line| line.trim() != "#[cfg(test)]").filter(|line| !line.trim_start().starts_with("//"))
}

fn is_test_file(file: &str) -> bool {
    file.ends_with("/tests.rs") || file.contains("/tests/")
}

#[test]
fn a_room_imports_only_rooms_above_it() {
    let mut wrong = Vec::new();
    for (file, text) in rust_files("src") {
        let Some(own) = ROOMS.iter().position(|room_name| *room_name == room(&file)) else { continue };
        if is_test_file(&file) {
            continue;
        }
        for line in product_code(&text) {
            for import in line.split("crate::").skip(1) {
                let target = import.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
                let above = ROOMS.iter().position(|room| *room == target).is_some_and(|at| at <= own);
                let common = COMMON.contains(&target) || target == "Error";
                if !above && !common {
                    wrong.push(format!("{file}: {}", line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "imports against the flow of the data:\n{}", wrong.join("\n"));
}

#[test]
fn common_rooms_import_no_room() {
    for (file, text) in rust_files("src") {
        if !COMMON.contains(&room(&file)) || is_test_file(&file) {
            continue;
        }
        for line in product_code(&text) {
            for import in line.split("crate::").skip(1) {
                let target = import.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
                assert!(COMMON.contains(&target) || target == "Error", "{file} imports a room: {}", line.trim());
            }
        }
    }
}

#[test]
fn every_room_of_the_library_is_in_the_map() {
    let map = fs::read_to_string(root().join("src/lib.rs")).expect("the map");
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("the architecture");
    for line in map.lines() {
        let Some(module) = line.strip_prefix("pub mod ").and_then(|line| line.strip_suffix(';')) else { continue };
        assert!(ROOMS.contains(&module) || COMMON.contains(&module), "{module} is not in this test's list");
        assert!(map.contains(&format!("[`{module}`]")), "lib.rs does not describe `{module}`");
        assert!(architecture.contains(&format!("`{module}`")), "ARCHITECTURE.md does not describe `{module}`");
    }
}

#[test]
fn unsafe_stands_only_where_it_is_allowed_and_says_why() {
    for (file, text) in rust_files("src") {
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let block = code.contains("unsafe {") || code.contains("unsafe impl") || code.contains("unsafe fn");
            if !block {
                continue;
            }
            let named = UNSAFE.iter().any(|allowed| file.starts_with(allowed));
            assert!(named, "{file}:{}: unsafe outside the files named in this test", at + 1);
            // A function says what it asks of its caller.
            let said =
                |line: &&str| line.contains("SAFETY") || (code.contains("unsafe fn") && line.contains("# Safety"));
            let reason = lines[at.saturating_sub(8)..=at].iter().any(said);
            assert!(reason, "{file}:{}: unsafe without its SAFETY line", at + 1);
        }
    }
}

#[test]
fn only_some_rooms_touch_the_outside_while_running() {
    let outside = ["std::thread", "std::net", "TcpStream", "std::process::Command", "SystemTime", "File::create"];
    for (file, text) in rust_files("src") {
        if OUTSIDE.contains(&room(&file)) || is_test_file(&file) {
            continue;
        }
        for line in product_code(&text) {
            let computing = |what: &str| what == "std::thread" && COMPUTING_THREADS.contains(&file.as_str());
            for forbidden in outside.into_iter().filter(|what| !computing(what)) {
                assert!(!line.contains(forbidden), "{file} reaches outside: {}", line.trim());
            }
        }
    }
}

#[test]
fn the_network_is_never_used() {
    for (file, text) in rust_files("src") {
        for line in product_code(&text) {
            let network = ["std::net", "TcpStream", "TcpListener", "UdpSocket"].iter().any(|word| line.contains(word));
            assert!(!network, "{file}: {}", line.trim());
        }
    }
}

#[test]
fn files_stay_short() {
    for folder in ["src", "tests", "benches"] {
        for (file, text) in rust_files(folder) {
            let lines = text.lines().count();
            assert!(lines <= LONGEST_FILE, "{file} has {lines} lines; split it by what it does");
        }
    }
}

#[test]
fn no_old_style_module_files() {
    for (file, _) in rust_files("src") {
        assert!(!file.ends_with("/mod.rs"), "{file}: use foo.rs + foo/");
    }
}

/// Dependencies of this package in a lock file.
fn locked(file: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(file)).expect("a lock file");
    let lock: toml::Table = toml::from_str(&text).expect("TOML");
    let packages = lock["package"].as_array().expect("packages");
    let own = packages.iter().find(|package| package["name"].as_str() == Some("nformer-edge")).expect("this package");
    let names = own["dependencies"].as_array().expect("dependencies").iter();
    names.map(|name| name.as_str().expect("a name").split(' ').next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn the_fuzzers_lock_file_knows_every_dependency() {
    let manifest: toml::Table =
        toml::from_str(&fs::read_to_string(root().join("Cargo.toml")).expect("the manifest")).expect("TOML");
    let mut needed = manifest["dependencies"].as_table().expect("dependencies").clone();
    for target in manifest.get("target").and_then(toml::Value::as_table).into_iter().flatten() {
        let more = target.1.get("dependencies").and_then(toml::Value::as_table);
        needed.extend(more.cloned().unwrap_or_default());
    }
    for file in ["Cargo.lock", "tests/fuzz/Cargo.lock"] {
        let known = locked(file);
        for name in needed.keys() {
            assert!(known.contains(name), "{file} lacks {name}: build tests/fuzz once without --locked");
        }
    }
}
