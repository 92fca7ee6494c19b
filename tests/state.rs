//! Identity across restarts: in the library to the bit, and as a user and a power cut meet it.
#![expect(clippy::expect_used, reason = "helpers of tests: what cannot be set up has failed")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nformer_edge::camera;
use nformer_edge::detector::DetectorKind;
use nformer_edge::frame::{Frame, Next, PixelFormat};
use nformer_edge::gallery::IdentityId;
use nformer_edge::neighbors::{SavedRow, Tag};
use nformer_edge::pipeline::Pipeline;
use nformer_edge::report::message::Sighting;
use nformer_edge::settings::Settings;
use nformer_edge::size::NEIGHBORS;
use nformer_edge::state::{self, Clocks, Contents, Head, Header, Met, Row};
use nformer_edge::tracks::TrackId;
use serde_json::Value;

const CLIP: &str = "tests/clips/pedestrians.avi";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.models.dir = Some(root().join("models"));
    settings
}

fn pipeline(settings: &Settings) -> Pipeline {
    Pipeline::open(settings).expect("the shipped models").0
}

/// What `pipeline` would save now, read back from the bytes on the disk.
fn saved(pipeline: &Pipeline, clocks: Clocks) -> Contents {
    let mut bytes = Vec::with_capacity(pipeline.state_bytes());
    state::draft(&mut bytes);
    pipeline.save(clocks, &mut bytes);
    assert!(bytes.len() <= pipeline.state_bytes(), "the buffer grew");
    let (sequence, reserved, fingerprint) = (1, pipeline.next_identity(), pipeline.maker().fingerprint);
    state::finish(&mut bytes, &Header { sealed: false, sequence, reserved, fingerprint }, None).expect("no key");
    state::open(&mut bytes, None, Some(&pipeline.maker())).expect("what was just written").1
}

/// The clocks of a board that has run for so long since its start number `boot`.
fn clocks(boot: u8, uptime: Duration, wall: Option<Duration>) -> Clocks {
    let millis = |time: Duration| u64::try_from(time.as_millis()).expect("not that long");
    Clocks { boot: Some([boot; 16]), uptime_ms: Some(millis(uptime)), wall_ms: wall.map(millis) }
}

/// Leads the frames `from..to` of the clip, at the time that `at` makes of each, through `pipelines`; their sightings.
fn play(range: std::ops::Range<u64>, pipelines: &mut [(&mut Pipeline, i64)]) -> Vec<Vec<Sighting>> {
    let settings = settings();
    let clip = root().join(CLIP).display().to_string();
    let mut source = camera::open(Some(&clip), &settings.camera, &settings.clip, None).expect("the clip").0;
    let mut sightings = vec![Vec::new(); pipelines.len()];
    while let Next::Frame(frame) = source.next_frame().expect("a frame") {
        let number = frame.sequence();
        if number >= range.end {
            break;
        }
        if number < range.start {
            continue;
        }
        for ((pipeline, shift_ms), sightings) in pipelines.iter_mut().zip(&mut sightings) {
            let time = Duration::from_millis(
                u64::try_from(i64::try_from(frame.time().as_millis()).expect("short") + *shift_ms)
                    .expect("not negative"),
            );
            let seen = pipeline.process(&frame.at(number, time)).expect("the models run");
            // The time is that of the source, which starts anew.
            sightings.extend(seen.sightings.iter().map(|sighting| Sighting { time_ms: 0, ..sighting.clone() }));
        }
    }
    sightings
}

/// One pipeline sees both halves of a piece of the clip, half a minute apart, so that nobody is followed from one to the
/// other. Another one sees the second half only, with the state that the first one had saved. What they say and what
/// they would save at the end is the same to the bit: identities, similarities, track numbers, times, embeddings.
///
/// Where somebody stands before the camera at the restart it cannot be the same: tracks are not kept, so that person is
/// a new track, is embedded anew and recognised, which changes the buffer.
#[test]
fn after_a_restart_the_same_frames_give_the_same_answers() {
    const CUT: u64 = 50;
    const GAP_MS: i64 = 30_000;
    let settings = settings();
    let mut whole = pipeline(&settings);
    let first = play(25..CUT, &mut [(&mut whole, 0)]);
    assert!(first[0].iter().any(|sighting| sighting.identity.is_some()));
    let start = Instant::now();
    let contents = saved(&whole, clocks(1, Duration::from_secs(1000), None));
    println!(
        "{} rows, {} identities, saved and read in {:?}",
        contents.rows.len(),
        contents.identities.len(),
        start.elapsed()
    );
    // A row a track, or more where somebody turned round.
    assert!(contents.identities.len() > 2 && contents.rows.len() > contents.identities.len());

    let mut second = pipeline(&settings);
    // From the last frame of the first half to the first one of the second: the gap and 200 ms, the clip's rate.
    let later = clocks(1, Duration::from_secs(1000) + Duration::from_millis(30_200), None);
    let restored = second.restore(&contents, &later, whole.next_identity()).expect("a state");
    assert_eq!((restored.identities, restored.expired), (contents.identities.len(), 0));

    let shift = -i64::try_from(CUT * 200).expect("small");
    let sightings = play(CUT..68, &mut [(&mut whole, GAP_MS), (&mut second, shift)]);
    assert!(!sightings[0].is_empty() && sightings[0] == sightings[1]);
    let known: BTreeSet<u32> = first[0].iter().filter_map(|sighting| sighting.identity).collect();
    let again = sightings[1].iter().filter_map(|sighting| sighting.identity).filter(|id| known.contains(id)).count();
    assert!(again > 0, "nobody was known from before");
    assert_eq!(saved(&whole, later), saved(&second, later));
}

const WIDTH: u32 = 64;
const HEIGHT: u32 = 128;

/// A picture that is one person, to the detector `whole`.
fn person() -> Vec<u8> {
    let pixel = |at: u32| [(at * 7 % 251) as u8, (at / WIDTH) as u8, 90];
    (0..WIDTH * HEIGHT).flat_map(pixel).collect()
}

/// Shows the person from `start` on, in 8 frames.
fn show(pipeline: &mut Pipeline, pixels: &[u8], start: Duration) {
    for number in 0..8 {
        let frame = Frame::new(pixels, PixelFormat::Rgb, (WIDTH, HEIGHT), WIDTH as usize * 3).expect("a picture");
        pipeline.process(&frame.at(number, start + Duration::from_millis(200 * number))).expect("the models run");
    }
}

#[test]
fn what_is_kept_expires_by_what_the_clocks_can_tell_and_no_jump_wipes_it() {
    const HOUR: Duration = Duration::from_hours(1);
    let mut settings = settings();
    settings.detector.kind = DetectorKind::Whole;
    settings.gallery.ttl_s = 1800;
    let mut first = pipeline(&settings);
    let pixels = person();
    show(&mut first, &pixels, Duration::from_secs(5));
    assert_eq!(first.identities(), 1);
    let then = clocks(1, HOUR, Some(100 * HOUR));
    let contents = saved(&first, then);
    assert!(!contents.rows.is_empty());

    let mut second = pipeline(&settings);
    let minute = Duration::from_mins(1);
    for (what, now, kept) in [
        ("a minute", clocks(1, HOUR + minute, None), true),
        ("an hour, the board ran through", clocks(1, 2 * HOUR, Some(100 * HOUR)), false),
        ("a minute, and the clock jumped ahead", clocks(1, HOUR + minute, Some(900 * HOUR)), true),
        ("a minute, and the clock jumped back", clocks(1, HOUR + minute, Some(HOUR)), true),
        ("a restart without a clock", clocks(2, minute, None), true),
        ("a restart, and the clock is an hour ahead", clocks(2, minute, Some(101 * HOUR)), true),
        ("a restart, and the clock is an hour back", clocks(2, minute, Some(99 * HOUR)), true),
        ("a restart after two hours", clocks(2, minute, Some(102 * HOUR)), false),
        ("a board that tells nothing", Clocks::default(), true),
    ] {
        second = if second.identities() == 0 { second } else { pipeline(&settings) };
        let restored = second.restore(&contents, &now, IdentityId(2)).expect("a state");
        assert_eq!((restored.identities == 1, restored.rows > 0), (kept, kept), "{what}: {restored:?}");
        assert_eq!(restored.expired, usize::from(!kept), "{what}");
        assert_eq!(second.next_identity(), IdentityId(2), "{what}: numbers are never given twice");
    }
    // The time that was left counts from the restart. What is saved then holds nothing of what expired.
    assert_eq!(second.identities(), 1);
    let empty = vec![90; (WIDTH * HEIGHT * 3) as usize];
    let frame = Frame::new(&empty, PixelFormat::Rgb, (WIDTH, HEIGHT), WIDTH as usize * 3).expect("a picture");
    second.process(&frame.at(0, Duration::from_secs(1700))).expect("the models run");
    assert_eq!(second.identities(), 1);
    let frame = Frame::new(&empty, PixelFormat::Rgb, (WIDTH, HEIGHT), WIDTH as usize * 3).expect("a picture");
    second.process(&frame.at(1, Duration::from_secs(1900))).expect("the models run");
    assert_eq!(second.identities(), 0);
    assert!(saved(&second, then).rows.iter().all(|row| row.row.tag.time > contents.head.clock));
}

#[test]
fn time_without_a_frame_counts_and_so_does_a_time_away_that_is_told_late() {
    let (hour, minute, mut settings) = (Duration::from_hours(1), Duration::from_mins(1), settings());
    settings.detector.kind = DetectorKind::Whole;
    settings.gallery.ttl_s = 1800;
    let (mut first, pixels, unknown) = (pipeline(&settings), person(), Clocks::default());
    show(&mut first, &pixels, Duration::from_secs(5));
    let contents = saved(&first, unknown);
    // The camera is silent, and saves go on. The time of its frames knew of the silence, or not.
    for start in [Duration::from_secs(10), 2 * hour] {
        first.pass(29 * minute);
        assert!(first.identities() == 1 && !saved(&first, unknown).rows.is_empty());
        first.pass(2 * minute);
        assert!(first.identities() == 0 && saved(&first, unknown).rows.is_empty());
        show(&mut first, &pixels, start);
        assert!(first.identities() == 1 && !saved(&first, unknown).rows.is_empty());
    }
    for seen_again in [false, true] {
        let mut second = pipeline(&settings);
        second.restore(&contents, &unknown, IdentityId(2)).expect("a state");
        if seen_again {
            show(&mut second, &pixels, Duration::from_secs(5));
        }
        second.count_away(hour);
        let now = saved(&second, unknown);
        assert_eq!((second.identities() == 1, now.rows.is_empty()), (seen_again, !seen_again));
        assert!(now.rows.iter().all(|row| row.row.tag.time >= contents.head.clock + hour), "only what was seen since");
    }
}

/// Of a state made with larger sizes the newest rows are taken.
#[test]
fn a_state_of_a_larger_build_fits() {
    let mut settings = settings();
    settings.detector.kind = DetectorKind::Whole;
    let mut pipeline = pipeline(&settings);
    let mut embedding = vec![0.0; pipeline.maker().width];
    embedding[1] = 1.0;
    let row = |age| Row {
        owner: None,
        row: SavedRow {
            tag: Tag { track: TrackId(1), time: Duration::ZERO },
            age,
            length: 1.0,
            embeddings: 1,
            embedding: embedding.clone(),
        },
    };
    let head = Head {
        width: embedding.len(),
        clock: Duration::ZERO,
        clocks: Clocks::default(),
        next_identity: IdentityId(5),
        next_track: TrackId(2),
    };
    let rows = (0..NEIGHBORS as u64 + 5).rev().map(row).collect();
    let contents = Contents { head, rows, identities: Vec::new(), met: Met::default() };
    let restored = pipeline.restore(&contents, &Clocks::default(), IdentityId(9)).expect("a state");
    assert_eq!(restored.rows, NEIGHBORS);
    let kept = saved(&pipeline, Clocks::default());
    assert!(kept.rows.iter().all(|row| row.row.age >= 5));
    assert_eq!((kept.head.next_identity, kept.head.next_track), (IdentityId(9), TrackId(2)));
    // After the last number a track gets the first one again: older rows would look as if they came from the future.
    let contents = Contents { head: Head { next_track: TrackId(1), ..contents.head }, ..contents };
    pipeline.restore(&contents, &Clocks::default(), IdentityId(9)).expect("a state");
    assert!(saved(&pipeline, Clocks::default()).rows.is_empty());
}

/// The program on the clip with a state in `dir`.
fn command(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nformer-edge"));
    command.current_dir(root()).args(["run", "--source", CLIP, "--state.dir"]).arg(dir).args(arguments);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn forget(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nformer-edge"));
    command.arg("forget").arg("--state.dir").arg(dir).args(arguments).output().expect("the program was built by cargo")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The generations of a folder that are there; all of them must be whole.
fn generations(dir: &Path) -> Vec<(Header, Contents)> {
    let files = (0..state::GENERATIONS).map(|number| dir.join(format!("state.{number}")));
    let mut found: Vec<_> = files
        .filter_map(|file| fs::read(file).ok())
        .map(|mut bytes| state::open(&mut bytes, None, None).expect("a whole state"))
        .collect();
    found.sort_by_key(|(header, _)| header.sequence);
    found
}

/// A run without an end, killed if it is dropped.
struct Running(Child);

impl Running {
    fn start(dir: &Path, arguments: &[&str]) -> Self {
        let mut command = command(dir, &["--clip.loops", "1000000", "--report.health_interval_s", "0"]);
        Self(command.args(arguments).stderr(Stdio::null()).spawn().expect("the program was built by cargo"))
    }

    /// Tells it to stop, as a service manager does.
    fn stop(mut self) {
        let kill = Command::new("sh").args(["-c", &format!("kill -TERM {}", self.0.id())]).status();
        assert!(kill.expect("a shell").success() && self.0.wait().expect("a process").success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !there() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_folder_in_use_is_refused_with_a_word_on_whose_it_is_and_then_forgotten() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("state");
    let run = Running::start(&dir, &["--detector.kind", "whole", "--state.interval_s", "0.05"]);
    wait_for("somebody is kept", || generations_now(&dir).iter().any(|(_, contents)| !contents.identities.is_empty()));
    let pid = run.0.id().to_string();
    let second = command(&dir, &["--detector.kind", "whole"]).output().expect("the program was built by cargo");
    for output in [second, forget(&dir, &["--all"])] {
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains(&format!("in use by process {pid}")), "{}", text(&output.stderr));
    }
    run.stop();
    let newest = generations(&dir).pop().expect("a state");
    assert_eq!(newest.0.reserved, newest.1.head.next_identity, "told to stop, it gives back what it reserved");

    let output = forget(&dir, &["--id", "1", "--id", "77"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).starts_with("forgot 1 identities with "), "{}", text(&output.stdout));
    let found = generations(&dir);
    assert_eq!(found.len(), 2);
    for (header, contents) in found {
        assert!(contents.identities.iter().all(|identity| identity.id != IdentityId(1)));
        assert!(contents.rows.iter().all(|row| row.owner != Some(IdentityId(1))));
        assert!(header.reserved > IdentityId(1));
    }
    let output = forget(&dir, &["--all"]);
    assert!(output.status.success());
    let found = generations(&dir);
    assert!(found.iter().all(|(_, contents)| contents.rows.is_empty() && contents.identities.is_empty()));
    assert_eq!(forget(&dir, &[]).status.code(), Some(2), "whom?");
}

/// As [`generations`], while a process writes: what is being replaced is passed over.
fn generations_now(dir: &Path) -> Vec<(Header, Contents)> {
    let files = (0..state::GENERATIONS).map(|number| dir.join(format!("state.{number}")));
    files.filter_map(|file| state::open(&mut fs::read(file).ok()?, None, None).ok()).collect()
}

#[test]
fn a_full_disk_stops_nothing_and_costs_nothing_that_was_stored() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("state");
    // No file larger than 8 (or, with some shells, 4) KB: a state of a few rows does not fit, and there is one an embedding.
    let script = format!(
        "trap '' XFSZ; ulimit -f 8; exec {} run --source {CLIP} --detector.kind whole --neighbors.rows embedding --state.dir {} --state.interval_s 0.05 \
         --report.health_on_stdout always --report.health_interval_s 1",
        env!("CARGO_BIN_EXE_nformer-edge"),
        dir.display()
    );
    let output = Command::new("sh").args(["-c", &script]).current_dir(root()).output().expect("a shell");
    let log = text(&output.stderr);
    assert!(output.status.success(), "{log}");
    assert_eq!(log.matches("cannot be saved").count(), 1, "{log}");
    let health = text(&output.stdout);
    let last: Value = serde_json::from_str(health.lines().last().expect("health")).expect("JSON");
    assert!(last["state_failures"].as_u64() > Some(0) && last["state_saved"].as_u64() > Some(0), "{last}");
    assert!(last["state_age_s"].is_u64(), "{last}");
    assert!(!generations(&dir).is_empty(), "the last one that fitted is there");
    assert!(!dir.join("state.new").exists(), "no rest takes up the space");
}

#[test]
fn a_key_that_everybody_can_read_is_refused_at_once() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("key");
    fs::write(&key, "0123456789abcdef".repeat(4)).expect("a file");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("permissions");
    let output = command(folder.path(), &["--state.key_file"]).arg(&key).output().expect("the program");
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("chmod 600"), "{}", text(&output.stderr));
}

/// The same numbers each time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// Identities that the lines of a run call new.
fn made(lines: &Path) -> Vec<u64> {
    let text = fs::read_to_string(lines).expect("lines");
    // The last line may be cut off.
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    messages.filter(|message| message["state"] == "new").filter_map(|message| message["identity"].as_u64()).collect()
}

/// Kills a run at a random moment, again and again on one state. Each time both generations are whole, nothing is set
/// aside, the newest is not older than the last interval, and no identity number is ever given twice.
fn kill(times: u32) {
    const INTERVAL: f64 = 0.05;
    /// A save is handed over between two frames, and a frame of this build with four embeddings takes its time on a
    /// machine that does other things too; so does the disk.
    const SLACK: Duration = Duration::from_secs(3);
    let folder = tempfile::tempdir().expect("a folder");
    let (dir, lines): (PathBuf, PathBuf) = (folder.path().join("state"), folder.path().join("lines"));
    let mut random = Random(7);
    let mut given = BTreeSet::new();
    let (mut newest, mut running, mut oldest_age, mut cut_off) = (0, 0, 0, 0);
    for round in 0..times {
        // The frame as one person shows somebody all the time; motion shows many.
        let detector = if round % 2 == 0 { "whole" } else { "motion" };
        let interval = INTERVAL.to_string();
        let mut run = command(&dir, &["--clip.loops", "1000000", "--state.interval_s", &interval]);
        // Hardly anybody is ever alike, so that there are many identities.
        run.args([
            "--gallery.similarity",
            "0.995",
            "--gallery.doubt",
            "0",
            "--gallery.lead",
            "0",
            "--gallery.merge",
            "1",
        ]);
        run.args(["--gallery.min_embeddings", "1", "--detector.kind", detector]);
        run.stdout(File::create(&lines).expect("a file")).stderr(Stdio::null());
        let mut run = Running(run.spawn().expect("the program was built by cargo"));
        let before = generations_now(&dir).iter().map(|(header, _)| header.sequence).max().unwrap_or(0);
        if round % 4 != 3 {
            // Three of four are killed while they run, the others at any moment of their start.
            wait_for("a save", || generations_now(&dir).iter().any(|(header, _)| header.sequence > before + 1));
        }
        thread::sleep(Duration::from_millis(random.below(1500)));
        assert!(run.0.try_wait().expect("a process").is_none(), "round {round}: it ended on its own");
        run.0.kill().expect("a process");
        let killed = Clocks::now(false);
        run.0.wait().expect("a process");
        drop(run);

        cut_off += u32::from(dir.join("state.new").exists());
        let found = generations(&dir);
        let aside = ["state.0.aside", "state.1.aside"].iter().any(|name| dir.join(name).exists());
        assert!(!aside, "round {round}: something was set aside");
        let Some((header, contents)) = found.last() else {
            assert_eq!(newest, 0, "round {round}: the state is gone");
            continue;
        };
        assert!(header.sequence >= newest, "round {round}: an older state than before");
        if header.sequence > before + 2 && detector == "whole" {
            let age = killed.since(&contents.head.clocks);
            assert!(age <= Duration::from_secs_f64(INTERVAL) + SLACK, "round {round}: the state is {age:?} old");
            oldest_age = oldest_age.max(age.as_millis());
        }
        running += u32::from(header.sequence > newest);
        newest = header.sequence;
        for identity in made(&lines) {
            assert!(given.insert(identity), "round {round}: identity {identity} was given before");
            assert!(identity < u64::from(header.reserved.0), "round {round}: {identity} is not reserved");
        }
    }
    println!(
        "killed {times} times, {running} of them after a save, {cut_off} in the middle of one; {newest} saves, {} identities; \
         oldest state {oldest_age} ms",
        given.len()
    );
    assert!(running >= times / 2 && !given.is_empty());
    // And it goes on.
    let output = command(&dir, &["--detector.kind", "whole", "--detector.every", "20"]).output().expect("the program");
    assert!(output.status.success());
    assert!(text(&output.stderr).contains("are known again"), "{}", text(&output.stderr));
}

#[test]
fn killed_at_any_moment_it_comes_back_with_a_whole_state() {
    kill(10);
}

/// `cargo test --test state -- --ignored --nocapture`
#[test]
#[ignore = "takes minutes"]
fn killed_two_hundred_times_it_comes_back_with_a_whole_state() {
    kill(200);
}
