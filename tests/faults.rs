//! What goes wrong around the program while it runs, as a user meets it: a camera that hangs, a disk that is full, a
//! reader that leaves, a configuration that is wrong.
#![expect(clippy::expect_used, reason = "helpers of tests: what cannot be set up has failed")]

#[path = "support/process.rs"]
mod process;

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use nformer_edge::camera;
use nformer_edge::frame::{FrameSource, Next};
use nformer_edge::pipeline::Pipeline;
use nformer_edge::report::message::Sighting;
use nformer_edge::settings::Settings;
use process::{Running, events, messages, wait_for};
use serde_json::Value;
use serialport::{SerialPort, TTYPort};

const CLIP: &str = "tests/clips/pedestrians.avi";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn run(source: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nformer-edge"));
    command.current_dir(root()).args(["run", "--source", source]).args(arguments);
    command
}

/// A run on the bundled clip without end, with little to compute.
fn endless(arguments: &[&str]) -> Command {
    let mut command = run(CLIP, &["--clip.loops", "1000000", "--detector.kind", "whole"]);
    command.args(arguments);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn read(path: &Path) -> String {
    text(&fs::read(path).expect("a file"))
}

fn last(messages: &[Value]) -> &Value {
    messages.last().expect("a message")
}

/// A Y4M clip of 64x48 pixels, each picture of one shade.
fn write_clip(path: &Path, rate: &str, shades: impl IntoIterator<Item = u8>) -> String {
    let mut file = File::create(path).expect("a file");
    writeln!(file, "YUV4MPEG2 W64 H48 F{rate} C420").expect("a file");
    for shade in shades {
        file.write_all(b"FRAME\n").expect("a file");
        file.write_all(&[shade; 64 * 48 * 3 / 2]).expect("a file");
    }
    path.display().to_string()
}

// ---- a camera that hangs ----

#[test]
fn a_picture_that_stands_still_is_told_once_and_taken_back() {
    let folder = tempfile::tempdir().expect("a folder");
    // Three seconds of change, three of the same, one of change.
    let shades = (0..30).chain([200; 30]).chain(60..70);
    let clip = write_clip(&folder.path().join("clip.y4m"), "10:1", shades);
    let asked = ["--detector.kind", "motion", "--report.health_on_stdout", "always"];
    let output = run(&clip, &asked).args(["--clip.frozen_ms", "1000"]).output().expect("the program");
    let log = text(&output.stderr);
    assert!(output.status.success(), "{log}");
    let lines: Vec<Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let story: Vec<_> =
        lines.iter().filter(|line| line["track"] == 0).map(|line| (&line["kind"], &line["frame"])).collect();
    assert_eq!(story, [(&"camera_frozen".into(), &40.into()), (&"camera_moving".into(), &60.into())]);
    assert_eq!((&last(&lines)["freezes"], &last(&lines)["frozen"]), (&1.into(), &false.into()));
    assert_eq!(log.matches("the picture stands still").count(), 1, "{log}");

    // A clip is not looked at unless asked for.
    let output = run(&clip, &asked).output().expect("the program");
    assert!(!text(&output.stdout).contains("camera_frozen"));
}

#[test]
fn it_stops_at_once_while_no_picture_comes() {
    let folder = tempfile::tempdir().expect("a folder");
    // A picture each hundred seconds.
    let clip = write_clip(&folder.path().join("clip.y4m"), "1:100", [1, 2, 3]);
    let quiet = ["--clip.realtime", "--detector.kind", "motion", "--report.health_interval_s", "1"];
    let command = |folder| {
        let mut command = run(&clip, &quiet);
        command.args(["--report.health_on_stdout", "always"]);
        Running::start(command, folder)
    };
    let mut slowest = Duration::ZERO;
    for _ in 0..5 {
        let running = command(folder.path());
        // Health comes all the same.
        let out = folder.path().join("out");
        wait_for("health", || messages(&out).iter().filter(|message| message["type"] == "health").count() > 1);
        let (status, took) = running.stop();
        assert!(status.success(), "{}", read(&folder.path().join("log")));
        slowest = slowest.max(took);
    }
    println!("stopped within {} ms", slowest.as_millis());
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
}

// ---- places to write to ----

#[test]
fn a_full_disk_behind_standard_output_costs_lines_and_one_word() {
    let full = OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let output =
        run(CLIP, &["--detector.kind", "motion"]).stdout(full).stderr(Stdio::piped()).output().expect("the program");
    let log = text(&output.stderr);
    assert!(output.status.success(), "{log}");
    assert_eq!(log.matches("standard output does not take").count(), 1, "{log}");
    let dropped = log.split("freezes, ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a summary");
    assert!(dropped.parse::<u64>().expect("a number") > 10, "{log}");
}

#[test]
fn a_full_disk_behind_the_log_costs_the_log_and_nothing_else() {
    let asked = ["--detector.kind", "motion", "--report.health_on_stdout", "always"];
    let with = |log: Stdio| run(CLIP, &asked).stderr(log).output().expect("the program");
    let sightings = |output: &Output| {
        assert!(output.status.success(), "{:?}", output.status);
        let lines = text(&output.stdout);
        (lines.lines().filter(|line| !line.contains("\"health\"")).map(str::to_owned).collect::<Vec<_>>(), lines)
    };
    let full = || OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let (undisturbed, _) = sightings(&with(Stdio::piped()));
    let (disturbed, lines) = sightings(&with(full().into()));
    assert_eq!(disturbed, undisturbed);
    let health: Value = serde_json::from_str(lines.lines().last().expect("health")).expect("JSON");
    assert!(health["log_dropped"].as_u64() > Some(1), "{health}");
    // Both at once, and a log that nobody reads.
    let mut both = run(CLIP, &asked);
    let status = both.stdout(full()).stderr(full()).status().expect("the program");
    assert!(status.success(), "{status}");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    assert_eq!(sightings(&with(writer.into())).0, undisturbed);
}

#[test]
fn when_there_is_room_again_it_writes_again() {
    for (redirect, flags, full, again) in [
        (">> out 2>> log", "", "standard output does not take", "takes messages again"),
        (">> other 2>> log", "-vv", "", "lines of the log are lost"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        // No file larger than 16 (or, with some shells, 8) KB.
        let script = format!(
            "trap '' XFSZ; ulimit -f 16; exec {} run {flags} --source {} --clip.loops 1000000 --detector.kind whole \
             --report.health_interval_s 0 {redirect}",
            env!("CARGO_BIN_EXE_nformer-edge"),
            root().join(CLIP).display(),
        );
        let mut running = Running::spawn(Command::new("sh").args(["-c", &script]).current_dir(folder.path()));
        let grown = |name: &str| fs::metadata(path(name)).map_or(0, |file| file.len());
        let watched = if full.is_empty() { "log" } else { "out" };
        wait_for("a full file", || {
            let before = grown(watched);
            thread::sleep(Duration::from_millis(300));
            before > 4096 && before == grown(watched) && (full.is_empty() || read(&path("log")).contains(full))
        });
        assert!(running.is_running());
        OpenOptions::new().write(true).truncate(true).open(path(watched)).expect("a file");
        wait_for(again, || read(&path("log")).contains(again));
        if watched == "out" {
            wait_for("whole lines", || !messages(&path("out")).is_empty());
        }
        assert!(running.stop().0.success());
    }
}

#[test]
fn a_reader_that_leaves_does_not_silence_the_serial_port() {
    let (mut master, slave) = TTYPort::pair().expect("a terminal");
    master.set_timeout(Duration::from_millis(100)).expect("a terminal");
    let port = slave.name().expect("a name");
    drop(slave);
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = endless(&["--report.serial.port", &port, "--sandbox"]);
    let log = File::create(folder.path().join("log")).expect("a file");
    let mut running = Running::spawn(command.stdout(Stdio::piped()).stderr(log));
    drop(running.0.stdout.take());
    wait_for("a word on it", || read(&folder.path().join("log")).contains("nobody reads standard output any more"));
    let mut heard = 0;
    let mut bytes = [0; 4096];
    wait_for("sightings on the serial port", || {
        heard += master.read(&mut bytes).unwrap_or(0);
        heard > 50_000
    });
    assert!(running.is_running());
    // Somebody has to read, or the last lines wait for their timeout.
    let reader = thread::spawn(move || while master.read(&mut bytes).is_ok() {});
    assert!(running.stop().0.success());
    reader.join().expect("a thread");
}

#[test]
fn a_state_folder_that_is_taken_away_and_comes_back_is_used_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let (dir, log) = (folder.path().join("state"), folder.path().join("log"));
    let dir_name = dir.display().to_string();
    let command = endless(&["--state.dir", &dir_name, "--state.interval_s", "0.05"]);
    let mut running = Running::start(command, folder.path());
    wait_for("a state", || dir.join("state.1").exists());
    // A save may be under way and write into the folder that is being removed.
    wait_for("the folder to go", || fs::remove_dir_all(&dir).is_ok());
    // A file where a folder is expected stops everybody, also a superuser.
    File::create(&dir).expect("a file");
    wait_for("a word on it", || read(&log).contains("cannot be saved"));
    thread::sleep(Duration::from_millis(300));
    assert!(running.is_running());
    fs::remove_file(&dir).expect("a file");
    fs::create_dir(&dir).expect("a folder");
    wait_for("a save", || read(&log).contains("saved again"));
    assert!(running.stop().0.success());
    assert_eq!(read(&log).matches("cannot be saved").count(), 1, "{}", read(&log));
    assert!(dir.join("state.0").exists() || dir.join("state.1").exists());
}

// ---- the configuration, read again ----

#[test]
fn rooms_that_are_built_anew_go_on_to_the_bit() {
    let mut settings = Settings::default();
    settings.models.dir = Some(root().join("models"));
    let open = || Pipeline::open(&settings).expect("the shipped models").0;
    let clip = root().join(CLIP).display().to_string();
    let mut source = camera::open(Some(&clip), &settings.camera, &settings.clip, None).expect("the clip").0;
    let (mut steady, mut rebuilt) = (open(), open());
    let mut expected: Vec<Sighting> = Vec::new();
    let mut found = Vec::new();
    while let Next::Frame(frame) = source.next_frame().expect("a frame") {
        if [20, 21, 60].contains(&frame.sequence()) {
            let mut next = open();
            next.take_over(&mut rebuilt).expect("the same models");
            rebuilt = next;
        }
        if frame.sequence() == 90 {
            break;
        }
        expected.extend_from_slice(steady.process(&frame).expect("a frame").sightings);
        found.extend_from_slice(rebuilt.process(&frame).expect("a frame").sightings);
    }
    assert!(expected.iter().any(|sighting| sighting.frame > 60 && sighting.identity.is_some()));
    assert_eq!(found, expected);
    assert_eq!(rebuilt.counters(), steady.counters());
    // What it computes anew after each rebuilding comes on top.
    let totals = |pipeline: &Pipeline| pipeline.recomputed().iter().map(|layer| layer.total).collect::<Vec<_>>();
    let pairs: Vec<_> = totals(&rebuilt).into_iter().zip(totals(&steady)).collect();
    assert!(!pairs.is_empty() && pairs.iter().all(|(rebuilt, steady)| rebuilt >= steady && *steady > 0), "{pairs:?}");
}

#[test]
fn a_configuration_read_again_keeps_everybody_and_a_wrong_one_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (config, out, log) = (folder.path().join("c.toml"), folder.path().join("out"), folder.path().join("log"));
    fs::write(&config, "[tracks]\nrefresh = 15\n").expect("a file");
    let config_name = config.display().to_string();
    let mut running = Running::start(endless(&["--config", &config_name, "--sandbox"]), folder.path());
    wait_for("somebody", || events(&messages(&out), "identified") > 0);

    fs::write(&config, "[tracks]\nrefresh = \"often\"\n").expect("a file");
    running.signal("HUP");
    wait_for("a refusal", || events(&messages(&out), "reload_refused") == 1);
    // The log has a thread of its own.
    wait_for("the reason in the log", || read(&log).contains("refused, the one before stays in force"));
    assert!(running.is_running());

    // Another file under the same name, as editors do it.
    fs::write(folder.path().join("new"), "[tracks]\nrefresh = 3\n[camera]\nwidth = 320\n[report]\nrate_hz = 50\n")
        .expect("a file");
    fs::rename(folder.path().join("new"), &config).expect("a file");
    running.signal("HUP");
    wait_for("a reload", || events(&messages(&out), "reloaded") == 1);
    wait_for("what needs a restart", || read(&log).contains("not in force before a restart: camera.width"));
    let position = |messages: &[Value]| messages.iter().position(|line| line["kind"] == "reloaded");
    let later = |messages: &[Value]| messages.len() > position(messages).unwrap_or(usize::MAX).saturating_add(50);
    wait_for("more sightings", || later(&messages(&out)));
    let said = messages(&out);
    let at = position(&said).expect("it was there");
    let person = |line: &&Value| line["type"] == "sighting" && !line["identity"].is_null();
    let before = said[..at].iter().rfind(person).expect("somebody before");
    let after = said[at..].iter().find(person).expect("somebody after");
    assert_eq!((&before["track"], &before["identity"]), (&after["track"], &after["identity"]));
    assert_eq!(after["frame"].as_u64(), before["frame"].as_u64().map(|frame| frame + 1), "without a pause");

    let mut reloads = 1;
    let mut again = |running: &Running, times| {
        for _ in 0..times {
            running.signal("HUP");
            reloads += 1;
            wait_for("a reload", || events(&messages(&out), "reloaded") == reloads);
        }
        (running.resident_kb(), running.descriptors())
    };
    let (settled, files) = again(&running, 5);
    let (now, files_now) = again(&running, 15);
    println!("resident set {settled} KB after 6 reloads, {now} KB after 21");
    // The heap keeps gaps until it is level, a few MB; one set of rooms that stayed would be half of the resident set.
    assert!(now < settled + settled / 8, "{settled} KB, {now} KB");
    assert_eq!(files, files_now);
    assert!(running.stop().0.success());
}

#[test]
fn another_detector_is_told_to_the_readers() {
    let folder = tempfile::tempdir().expect("a folder");
    let (config, out) = (folder.path().join("c.toml"), folder.path().join("out"));
    fs::write(&config, "[detector]\nkind = \"whole\"\n").expect("a file");
    let config_name = config.display().to_string();
    let command = run(CLIP, &["--clip.loops", "1000000", "--config", &config_name]);
    let running = Running::start(command, folder.path());
    let models = || -> Vec<usize> {
        let hellos = messages(&out).into_iter().filter(|message| message["type"] == "hello");
        hellos.map(|hello| hello["models"].as_array().map_or(0, Vec::len)).collect()
    };
    wait_for("a start", || models() == [2]);
    // With the same models there is nothing new to say.
    for (reloads, kind, expected) in [(1, "motion", vec![2]), (2, "model", vec![2, 3])] {
        fs::write(&config, format!("[detector]\nkind = \"{kind}\"\n")).expect("a file");
        running.signal("HUP");
        wait_for("a reload", || events(&messages(&out), "reloaded") == reloads);
        assert_eq!(models(), expected);
    }
    assert!(running.stop().0.success());
}

// ---- the sandbox ----

#[test]
fn a_run_in_the_sandbox_gives_the_same_bytes_and_writes_what_it_should() {
    let folder = tempfile::tempdir().expect("a folder");
    let with = |name: &str, more: &[&str]| {
        let [state, pictures] = ["state", "pictures"].map(|kind| folder.path().join(format!("{name}-{kind}")));
        let mut command = run(CLIP, &["--detector.kind", "motion", "--state.interval_s", "0.5", "--state.dir"]);
        let output = command.arg(&state).arg("--snapshot").arg(&pictures).args(more).output().expect("the program");
        let log = text(&output.stderr);
        assert!(output.status.success(), "{log}");
        assert!(state.join("state.0").exists() && pictures.join("identities.png").exists(), "{log}");
        assert!(!log.contains("cannot be saved"), "{log}");
        (text(&output.stdout), log)
    };
    let (free, free_log) = with("free", &[]);
    let (confined, log) = with("confined", &["--sandbox"]);
    assert_eq!(free, confined);
    assert!(free.contains("\"identity\":1"));
    assert!(
        log.contains("sandbox: files") && log.contains("sandbox: system calls") && !free_log.contains("sandbox"),
        "{log}"
    );
}
