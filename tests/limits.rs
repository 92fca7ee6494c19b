//! Too little memory. The unit's limit holds the main job with room to spare; with less the program ends, at once and with a
//! word, and what is stored is there for the next start. The kernel's own limits stand for those of a control group here: with
//! `RLIMIT_DATA` and `RLIMIT_AS` an allocation fails, where a control group kills (`tests/state.rs` kills at any moment).
#![expect(clippy::expect_used, reason = "helpers of tests: what cannot be set up has failed")]

#[path = "support/process.rs"]
mod process;

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nformer_edge::state;
use process::{Running, events, messages, wait_for};

const CLIP: &str = "tests/clips/pedestrians.avi";

/// The main job with a state and with the shipped models, below a limit of the shell's `ulimit` in KB.
fn limited(flag: &str, kb: u64, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -{flag} {kb} && exec \"$0\" \"$@\"")]);
    with_state(command.arg(env!("CARGO_BIN_EXE_nformer-edge")), folder, arguments);
    command
}

fn with_state(command: &mut Command, folder: &Path, arguments: &[&str]) {
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(["run", "--source", CLIP, "--sandbox"]).args(arguments);
    command.args(["--state.interval_s", "0.05", "--state.dir"]).arg(folder.join("state"));
    // As in the unit, which asks for no backtrace: the standard library's takes memory, and without any it may fault.
    command.env_remove("RUST_BACKTRACE");
}

/// Starts a run without end and waits until its state is stored.
fn endless(folder: &Path) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nformer-edge"));
    with_state(&mut command, folder, &["--clip.loops", "1000000", "--detector.kind", "motion"]);
    // Hardly anybody is ever alike, so that there are many identities.
    command.args(["--gallery.similarity", "0.995", "--gallery.doubt", "0", "--gallery.lead", "0"]);
    command.args(["--gallery.merge", "1", "--gallery.min_embeddings", "1"]);
    Running::start(command, folder)
}

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join("log")).expect("a log")
}

/// Identities of the newest generation; each that is there must be whole, and nothing set aside.
fn stored(folder: &Path) -> usize {
    let dir = folder.join("state");
    let files = (0..state::GENERATIONS).filter_map(|number| fs::read(dir.join(format!("state.{number}"))).ok());
    let states = files.map(|mut bytes| state::open(&mut bytes, None, None).expect("a whole state"));
    let newest = states.max_by_key(|(header, _)| header.sequence).expect("a state");
    let names = fs::read_dir(&dir).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    assert!(names.into_iter().all(|name| !name.to_string_lossy().contains("aside")));
    newest.1.identities.len()
}

/// Ended by itself with a word, or by an allocation that failed; never by a wild access, never by hand.
fn ended_with_a_word(status: ExitStatus, log: &str) {
    match (status.code(), status.signal()) {
        (Some(0), _) => {}
        // 127: the system's loader, before the program.
        (Some(1..=4 | 101 | 127), _) => assert!(!log.trim().is_empty(), "{status} without a word"),
        (_, Some(libc::SIGABRT)) => assert!(log.contains("memory allocation of"), "{status}: {log}"),
        _ => panic!("{status}: {log}"),
    }
}

#[test]
fn the_main_job_runs_within_the_limit_of_its_unit() {
    let unit = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("targets/debian/nformer-edge.service"));
    let unit = unit.expect("the unit");
    let limit = unit.lines().find_map(|line| line.strip_prefix("MemoryMax=")).expect("a limit");
    let megabytes: u64 = limit.trim_end_matches('M').parse().expect("megabytes");
    let folder = tempfile::tempdir().expect("a folder");
    let mut running = Running::start(limited("d", megabytes * 1024, folder.path(), &[]), folder.path());
    let mut peak = 0;
    wait_for("the end of the clip", || {
        if running.is_running() {
            peak = peak.max(running.resident_kb());
            return false;
        }
        true
    });
    let log = log(folder.path());
    assert!(running.0.wait().expect("a process").success(), "{log}");
    assert!(events(&messages(&folder.path().join("out")), "identified") > 0 && stored(folder.path()) > 0);
    // What counts in a control group, and half of it for the page cache of models and log.
    println!("resident set {} MB at most, of {megabytes} MB", peak / 1024);
    assert!(peak < megabytes * 1024 / 2, "{peak} KB");
}

#[test]
fn a_start_with_too_little_memory_ends_with_a_word_and_leaves_the_state_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let running = endless(folder.path());
    wait_for("somebody", || events(&messages(&folder.path().join("out")), "identified") > 0);
    wait_for("a save", || folder.path().join("state/state.1").exists());
    assert!(running.stop().0.success());
    let known = stored(folder.path());
    assert!(known > 0);
    // Below what it takes to be started at all, the kernel has the last word.
    let started_with = |kb: &u64| {
        let script = format!("ulimit -v {kb} && exec \"$0\" --version");
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_nformer-edge")]).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let least = (1..500).map(|n| n * 2048).find(started_with).expect("enough some day");
    let mut ends: Vec<String> = Vec::new();
    for more in [0, 2, 4, 6, 8, 10, 12, 16, 20, 24, 28, 32, 40, 48] {
        let command = limited("v", least + more * 1024, folder.path(), &["--detector.kind", "whole"]);
        let started = Instant::now();
        let mut running = Running::start(command, folder.path());
        wait_for("an end", || !running.is_running());
        let status = running.0.wait().expect("a process");
        ended_with_a_word(status, &log(folder.path()));
        assert!(stored(folder.path()) >= known, "{more} MB more: forgotten");
        let took = started.elapsed();
        let word = log(folder.path()).lines().last().unwrap_or_default().chars().take(200).collect::<String>();
        ends.push(format!("{more} MB: {status} after {took:.1?}: {word}"));
    }
    println!("starts with {} MB; with more than that:\n{}", least / 1024, ends.join("\n"));
    assert!(ends.iter().filter(|end| !end.contains("exit status: 0")).count() >= 3, "{ends:?}");
    // With enough it goes on.
    let restarted = endless(folder.path());
    wait_for("people known", || log(folder.path()).contains("are known again"));
    assert!(restarted.stop().0.success());
}

#[test]
fn memory_that_runs_out_in_the_middle_costs_a_restart_and_nobody() {
    if Command::new("prlimit").arg("--version").output().is_err() {
        println!("SKIPPED: there is no prlimit here to take memory from a program that runs");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let mut known = 0;
    let mut back = Vec::new();
    let mut running = endless(folder.path());
    for round in 0..5 {
        wait_for("somebody", || messages(&out).iter().any(|message| !message["identity"].is_null()));
        wait_for("a save", || folder.path().join("state/state.1").exists());
        // No room for one more page of addresses. The job itself asks for none; a reload does, for its second set of rooms.
        let limit = format!("--as={}", running.status_kb("VmSize:") * 1024);
        let set = Command::new("prlimit").args(["--pid", &running.0.id().to_string(), &limit]).status();
        assert!(set.expect("prlimit").success());
        let before = messages(&out).len();
        wait_for("frames without another page", || messages(&out).len() > before + 20);
        running.signal("HUP");
        let told = Instant::now();
        wait_for("an end", || !running.is_running());
        let died = Instant::now();
        let status = running.0.wait().expect("a process");
        assert!(!status.success(), "round {round}");
        ended_with_a_word(status, &log(folder.path()));
        let kept = stored(folder.path());
        assert!(kept > 0 && kept >= known, "round {round}: {kept} people of {known}");
        known = kept;
        // What the unit does, without its pause.
        running = endless(folder.path());
        wait_for("a sighting", || messages(&out).iter().any(|message| message["type"] == "sighting"));
        back.push(died.elapsed());
        assert!(log(folder.path()).contains(&format!("state: {known} identities")), "{}", log(folder.path()));
        assert!(died - told < Duration::from_secs(20));
    }
    back.sort();
    println!("back {:.1?} to {:.1?} after the end, median {:.1?}; {known} people", back[0], back[4], back[2]);
    assert!(running.stop().0.success());
    File::open(folder.path().join("state/state.0")).expect("a state");
}
