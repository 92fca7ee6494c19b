//! Readers and writers around the program that stall: a log and a standard output that nobody reads, a standard input that
//! falls silent. Nothing may wait for them for ever, and what may be lost is counted.
#![expect(clippy::expect_used, reason = "helpers of tests: what cannot be set up has failed")]

#[path = "support/process.rs"]
mod process;

use std::fs::{self, File, OpenOptions};
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nformer_edge::report::message::{Event, EventKind, Message};
use nformer_edge::report::{ReportSettings, Reporter};
use process::{Running, messages, wait_for};
use serde_json::Value;
use serialport::{SerialPort, TTYPort};

const CLIP: &str = "tests/clips/pedestrians.avi";

/// Limits in which a stop has to be done, whatever stalls.
const STOPPED: Duration = Duration::from_secs(2);
const STOPPED_INPUT: Duration = Duration::from_secs(1);

/// A run with little to compute.
fn run(source: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nformer-edge"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(["run", "--source", source, "--detector.kind", "whole"]);
    command.args(["--report.health_interval_s", "1", "--report.health_on_stdout", "always"]).args(arguments);
    command
}

/// On the bundled clip without end.
fn endless(arguments: &[&str]) -> Command {
    let mut command = run(CLIP, &["--clip.loops", "1000000"]);
    command.args(arguments);
    command
}

/// A pipe that is full already, and stays so until somebody reads it.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, writer) = pipe().expect("a pipe");
    let mut filler = writer.try_clone().expect("a pipe");
    // More than a pipe holds: the thread waits for the reader as well. Blank lines are in nobody's way.
    thread::spawn(move || filler.write_all(&vec![b'\n'; 100_000]));
    thread::sleep(Duration::from_millis(100));
    (reader, writer)
}

/// What comes out of a pipe, read by a thread.
fn collect(mut reader: impl Read + Send + 'static) -> Arc<Mutex<Vec<u8>>> {
    let page = Arc::new(Mutex::new(Vec::new()));
    let collected = Arc::clone(&page);
    thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = reader.read(&mut bytes) {
            collected.lock().expect("no panic").extend_from_slice(&bytes[..count]);
        }
    });
    page
}

fn text(page: &Mutex<Vec<u8>>) -> String {
    String::from_utf8_lossy(&page.lock().expect("no panic")).into_owned()
}

fn health(out: &Path) -> Vec<Value> {
    messages(out).into_iter().filter(|message| message["type"] == "health").collect()
}

/// Stops five runs, each within `limit`.
fn stop_five(limit: Duration, start: impl Fn() -> Running) {
    let mut times: Vec<Duration> = (0..5)
        .map(|_| {
            let (status, took) = start().stop();
            assert!(status.success(), "{status}");
            assert!(took < limit, "{took:?}");
            took
        })
        .collect();
    times.sort();
    println!("stopped within {:.0?}, median {:.0?}", times[4], times[2]);
}

// ---- the log ----

#[test]
fn a_log_that_nobody_reads_costs_its_lines_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let (reader, writer) = full_pipe();
    let mut command = endless(&["-vv"]);
    command.stdout(File::create(&out).expect("a file")).stderr(writer);
    let mut running = Running::spawn(&mut command);
    drop(command);
    // Frames go on, and lines are dropped and counted.
    let stuck = || health(&out).iter().filter(|message| message["log_dropped"].as_u64() > Some(0)).count();
    wait_for("health while the log is stuck", || stuck() >= 3);
    let told = health(&out);
    let frames: Vec<_> = told.iter().map(|message| message["frames"].as_u64().unwrap_or(0)).collect();
    assert!(frames.is_sorted_by(|one, next| one < next), "{frames:?}");
    let (memory, files) = (running.resident_kb(), running.descriptors());
    wait_for("more health", || stuck() >= 6);
    let grown = running.resident_kb().saturating_sub(memory);
    assert!(grown < 2048, "{grown} KB more while lines were dropped");
    assert_eq!(running.descriptors(), files);
    // The reader is back: it hears how many are missing, and each line after that is whole.
    let back = Instant::now();
    let log = collect(reader);
    wait_for("a word on it", || text(&log).contains("lines of the log are lost"));
    println!("log taken up again after {:.0?}", back.elapsed());
    assert!(running.is_running());
    assert!(running.stop().0.success());
    // At level `trace` the reader may fall behind again and again; the last word is said by the summary.
    let log = text(&log);
    let lines = log.lines().filter(|line| !line.is_empty());
    let lines: Vec<Value> = lines.map(|line| serde_json::from_str(line).expect(line)).collect();
    let lost = lines.iter().filter_map(|line| line["lost"].as_u64()).sum::<u64>();
    let dropped = health(&out).last().expect("health")["log_dropped"].as_u64().expect("a number");
    assert!(lost > 0 && lost >= dropped, "{lost} told, {dropped} counted by the last health message");
    assert!(lines.iter().any(|line| line["message"].as_str().is_some_and(|text| text.starts_with("summary"))));
}

#[test]
fn a_terminal_that_is_not_read_holds_up_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    // As after Ctrl-S, with the line of progress and a log for people on it.
    let (_master, slave) = TTYPort::pair().expect("a terminal");
    let name = slave.name().expect("a name");
    let terminal = OpenOptions::new().write(true).open(name).expect("a terminal");
    let mut running = Running::spawn(endless(&["-vv"]).stdout(File::create(&out).expect("a file")).stderr(terminal));
    wait_for("health while the log is stuck", || {
        health(&out).iter().filter(|message| message["log_dropped"].as_u64() > Some(0)).count() >= 3
    });
    assert!(running.is_running());
    let (status, took) = running.stop();
    assert!(status.success() && took < STOPPED, "{status}, {took:?}");
}

#[test]
fn a_log_that_nobody_reads_does_not_hold_up_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    stop_five(STOPPED, || {
        let (reader, writer) = full_pipe();
        let mut command = endless(&["-vv", "--sandbox"]);
        let running = Running::spawn(command.stdout(File::create(&out).expect("a file")).stderr(writer));
        wait_for("health", || health(&out).len() > 1);
        std::mem::forget(reader);
        running
    });
    // An error at the start neither.
    let (_reader, writer) = full_pipe();
    let mut running = Running::spawn(run("no/such/clip", &[]).stderr(writer));
    let start = Instant::now();
    wait_for("the end", || !running.is_running());
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(running.0.wait().expect("a process").code(), Some(3), "no usable source");
}

// ---- standard output ----

#[test]
fn standard_output_that_nobody_reads_does_not_hold_up_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    stop_five(STOPPED, || {
        let (reader, writer) = full_pipe();
        let running = Running::spawn(endless(&[]).stdout(writer).stderr(File::create(&log).expect("a file")));
        wait_for("the source", || fs::read_to_string(&log).is_ok_and(|log| log.contains("source:")));
        thread::sleep(Duration::from_secs(1));
        std::mem::forget(reader);
        running
    });
    assert!(fs::read_to_string(&log).expect("a log").contains("the rest is dropped"));
    // Both at once, on one pipe.
    stop_five(STOPPED, || {
        let (reader, writer) = full_pipe();
        let both = writer.try_clone().expect("a pipe");
        let running = Running::spawn(endless(&["-vv"]).stdout(writer).stderr(both));
        thread::sleep(Duration::from_secs(2));
        std::mem::forget(reader);
        running
    });
}

#[test]
fn a_late_reader_of_a_recorded_clip_misses_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let clip = folder.path().join("clip.y4m");
    fs::write(&clip, [&b"YUV4MPEG2 W64 H48 F10:1 Cmono\nFRAME\n"[..], &[90; 64 * 48]].concat()).expect("a file");
    let (reader, writer) = full_pipe();
    let mut command = run(&clip.display().to_string(), &[]);
    command.stdout(writer).stderr(File::create(folder.path().join("log")).expect("a file"));
    let mut running = Running::spawn(&mut command);
    drop(command);
    // The clip is over long since; its few lines wait.
    thread::sleep(Duration::from_secs(6));
    assert!(running.is_running(), "it gave up a reader that may come yet");
    let page = collect(reader);
    wait_for("the end", || !running.is_running());
    assert!(running.0.wait().expect("a process").success());
    wait_for("the last line", || text(&page).lines().any(|line| line.contains("\"health\"")));
    assert!(text(&page).contains("\"hello\""), "{}", text(&page));
}

#[test]
fn standard_output_of_a_live_source_never_holds_up_the_sender() {
    let (_reader, writer) = full_pipe();
    let mut reporter = Reporter::open_with(&ReportSettings::default(), true, writer).expect("a reporter");
    let start = Instant::now();
    for frame in 0..20_000 {
        let kind = EventKind::Entered;
        reporter.send(&Message::Event(Event { kind, time_ms: 0, frame, track: 1, identity: None, other: None }));
    }
    let sent = start.elapsed();
    assert!(sent < Duration::from_secs(10), "{sent:?}");
    let start = Instant::now();
    // But for one that hangs in the pipe.
    assert!(reporter.close() >= 19_999);
    let closed = start.elapsed();
    println!("20000 messages in {sent:.0?}, closed in {closed:.0?}");
    assert!(closed < Duration::from_millis(1500), "{closed:?}");
}

// ---- standard input ----

/// A run on standard input, with the pipe that feeds it.
fn fed(arguments: &[&str], folder: &Path) -> (Running, PipeWriter) {
    let (reader, writer) = pipe().expect("a pipe");
    let file = |name: &str| File::create(folder.join(name)).expect("a file");
    let mut command = run("-", arguments);
    command.stdin(reader).stdout(file("out")).stderr(file("log"));
    (Running(command.spawn().expect("the program was built by cargo")), writer)
}

/// A Y4M stream of 64x48 pixels with so many pictures.
fn y4m(pictures: u8) -> Vec<u8> {
    let mut bytes = b"YUV4MPEG2 W64 H48 F10:1 C420\n".to_vec();
    for shade in 0..pictures {
        bytes.extend_from_slice(b"FRAME\n");
        bytes.extend_from_slice(&[shade.wrapping_mul(20); 64 * 48 * 3 / 2]);
    }
    bytes
}

#[test]
fn a_silent_standard_input_does_not_hold_up_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let (out, log) = (folder.path().join("out"), folder.path().join("log"));
    let whole = y4m(3);
    let raw = ["--clip.width", "64", "--clip.height", "48"];
    for (what, arguments, bytes, frames) in [
        ("nothing at all", &[][..], &whole[..0], None),
        ("half a header", &[], &whole[..20], None),
        ("a header", &[], &whole[..30], Some(0)),
        ("half a frame's line", &[], &whole[..33], Some(0)),
        ("two and a half pictures", &[], &whole[..12_000], Some(2)),
        ("raw, half a picture", &raw[..], &[50; 3000], Some(0)),
        ("raw, one and a half", &raw[..], &[50; 9000], Some(1)),
    ] {
        print!("{what}: ");
        let feeders = Mutex::new(Vec::new());
        stop_five(STOPPED_INPUT, || {
            let (running, mut feeder) = fed(arguments, folder.path());
            feeder.write_all(bytes).expect("a pipe");
            match frames {
                // Health comes while the input is silent.
                Some(frames) => wait_for("health", || {
                    health(&out).last().is_some_and(|message| message["frames"].as_u64() == Some(frames))
                }),
                None => thread::sleep(Duration::from_millis(500)),
            }
            feeders.lock().expect("no panic").push(feeder);
            running
        });
        let log = fs::read_to_string(&log).expect("a log");
        assert!(frames.is_some() || log.contains("stopped before the source was open"), "{what}: {log}");
    }
}

#[test]
fn a_stalled_standard_input_costs_nothing_and_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let (out, log) = (folder.path().join("out"), folder.path().join("log"));
    let bytes = y4m(12);
    let sightings = |out: &Path| {
        let mut kept: Vec<Value> = messages(out).into_iter().filter(|message| message["type"] != "health").collect();
        // Health takes numbers of its own.
        for message in &mut kept {
            message["seq"] = Value::Null;
        }
        kept
    };
    let (mut running, mut feeder) = fed(&[], folder.path());
    feeder.write_all(&bytes).expect("a pipe");
    drop(feeder);
    assert!(running.0.wait().expect("a process").success());
    let undisturbed = sightings(&out);
    assert!(undisturbed.len() > 12, "{undisturbed:?}");

    let (mut running, mut feeder) = fed(&[], folder.path());
    // In the middle of a picture, for longer than what is worth a word; then byte by byte.
    feeder.write_all(&bytes[..20_000]).expect("a pipe");
    wait_for("a timeout in health", || health(&out).iter().any(|message| message["timeouts"].as_u64() > Some(0)));
    let stalled = Instant::now();
    for byte in &bytes[20_000..20_020] {
        feeder.write_all(std::slice::from_ref(byte)).expect("a pipe");
        thread::sleep(Duration::from_millis(50));
    }
    feeder.write_all(&bytes[20_020..]).expect("a pipe");
    wait_for("frames again", || fs::read_to_string(&log).is_ok_and(|log| log.contains("frames come again")));
    println!("frames come again {:.0?} after the first new byte, 1 s of which was dripping", stalled.elapsed());
    drop(feeder);
    assert!(running.0.wait().expect("a process").success());
    assert_eq!(sightings(&out), undisturbed);
    assert_eq!(fs::read_to_string(&log).expect("a log").matches("no frame within the timeout").count(), 1);
}

#[test]
fn waiting_for_standard_input_takes_no_processor_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let (running, mut feeder) = fed(&[], folder.path());
    feeder.write_all(&y4m(1)).expect("a pipe");
    wait_for("health", || !health(&folder.path().join("out")).is_empty());
    let ticks = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", running.0.id())).expect("it runs");
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        [fields[11], fields[12]].iter().map(|ticks| ticks.parse::<u64>().expect("a number")).sum::<u64>()
    };
    let before = ticks();
    thread::sleep(Duration::from_secs(3));
    // A hundred ticks a second: a busy loop takes three hundred.
    assert!(ticks() - before < 30, "{} ticks in 3 s", ticks() - before);
    assert!(running.stop().0.success());
}
