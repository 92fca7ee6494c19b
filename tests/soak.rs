//! A long run under faults by chance: memory, open files and identities stay what they are.
//!
//! `SOAK_SECONDS=3600 cargo test --test soak -- --ignored --nocapture`; ten minutes without the variable.
//! `SOAK_PROGRAM=target/release/nformer-edge` takes another build of the program than the one of the tests.
#![expect(clippy::expect_used, reason = "helpers of tests: what cannot be set up has failed")]

#[path = "support/process.rs"]
mod process;

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use process::{Running, events, messages};
use serde_json::Value;

/// What one look at the process showed.
struct Look {
    after: Duration,
    resident_kb: u64,
    files: usize,
}

/// Highest identity number, counted over all sightings.
fn highest_identity(messages: &[Value]) -> u64 {
    messages.iter().filter_map(|message| message["identity"].as_u64()).max().unwrap_or(0)
}

#[test]
#[ignore = "takes ten minutes"]
fn a_long_run_under_faults_takes_no_more_memory_and_loses_nobody() {
    let seconds = env::var("SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(600);
    let duration = Duration::from_secs(seconds);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    let program = env::var("SOAK_PROGRAM").unwrap_or_else(|_| env!("CARGO_BIN_EXE_nformer-edge").into());
    let mut command = Command::new(root.join(program));
    command.current_dir(root).args(["run", "--source", "tests/clips/pedestrians.avi", "--clip.loops", "4000000000"]);
    command.args(["--clip.faults", "7", "--clip.frozen_ms", "2000", "--sandbox", "--state.interval_s", "5"]);
    // A program from elsewhere has no models beside it.
    command.args(["--models.dir", "models"]);
    // Sightings of hours need not be kept: one a second and track says enough.
    command.args([
        "--report.rate_hz",
        "0.2",
        "--report.health_on_stdout",
        "always",
        "--report.health_interval_s",
        "10",
    ]);
    command.arg("--state.dir").arg(&state);
    let mut running = Running::start(command, folder.path());
    // After minute five, or the first third of a shorter run, everything has been used once.
    let settled = Duration::from_mins(5).min(duration / 3);
    let started = Instant::now();
    let mut looks = Vec::new();
    let mut reloads = 0;
    while started.elapsed() < duration {
        thread::sleep(duration / 120);
        assert!(running.is_running(), "{}", fs::read_to_string(folder.path().join("log")).unwrap_or_default());
        looks.push(Look { after: started.elapsed(), resident_kb: running.resident_kb(), files: running.descriptors() });
        // Rooms that are built anew leave gaps in the heap, which fill up after some times.
        if looks.len() % 10 == 0 && started.elapsed() < settled {
            running.signal("HUP");
            reloads += 1;
        }
    }
    let (status, stop) = running.stop();
    let said = messages(&folder.path().join("out"));
    let health = said.iter().rfind(|message| message["type"] == "health").expect("health");
    let late: Vec<&Look> = looks.iter().filter(|look| look.after >= settled).collect();
    let (first, end) = (late[0], late[late.len() - 1]);
    let (least, most) = late
        .iter()
        .fold((u64::MAX, 0), |(least, most), look| (least.min(look.resident_kb), most.max(look.resident_kb)));
    let growth = (end.resident_kb as f64 / first.resident_kb as f64 - 1.0) * 100.0;
    println!(
        "{seconds} s, {} frames: resident set {} KB after {} s, {} KB at the end ({growth:+.2} %), {least} to {most} KB between; \
         {} files at first, {} at the end; stopped in {} ms",
        health["frames"],
        first.resident_kb,
        first.after.as_secs(),
        end.resident_kb,
        first.files,
        end.files,
        stop.as_millis(),
    );
    println!(
        "{} identities given, {} told as identified, {} as merged; {reloads} reloads asked for, {} done",
        highest_identity(&said),
        events(&said, "identified"),
        events(&said, "merged"),
        events(&said, "reloaded"),
    );
    println!("last health: {health}");
    assert!(status.success());
    // Less is nobody's fault: a kernel that is short of memory takes back pages of files.
    assert!(growth <= 1.0, "the resident set grew by {growth:.2} %");
    assert_eq!(first.files, end.files, "open files");
    assert_eq!(events(&said, "reloaded"), reloads);
    for fault in ["timeouts", "reconnects", "corrupt", "freezes"] {
        assert!(health[fault].as_u64() > Some(0), "{fault}: {health}");
    }
    assert_eq!(
        (&health["report_dropped"], &health["state_failures"], &health["log_dropped"]),
        (&0.into(), &0.into(), &0.into())
    );
}
