//! The folder of a state and what needs another program to set up: pipes in it, and files of another user.
//!
//! By themselves, because a process that is being started holds all locks of its parent for a moment.
#![expect(clippy::unwrap_used, reason = "helpers of tests: a panic is how they fail")]

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nformer_edge::Error;
use nformer_edge::gallery::IdentityId;
use nformer_edge::state::{self, Clocks, Disk, Folder, Found, Head, Keeper, Maker, Row, StateSettings, Whom, forget};
use nformer_edge::tracks::TrackId;

/// One test at a time.
static ALONE: Mutex<()> = Mutex::new(());

const INSIDE: &str = "NFORMER_EDGE_TEST_STATE";
const USER: u32 = 65534;

fn settings(dir: &Path) -> StateSettings {
    StateSettings { dir: Some(dir.into()), ..StateSettings::default() }
}

fn open(dir: &Path) -> Result<(Keeper, Found), Error> {
    let maker = Maker { width: 3, ..Maker::default() };
    Ok(Keeper::open(&settings(dir), maker, 4096, Duration::from_hours(1), false)?.unwrap())
}

fn save(dir: &Path, next_identity: IdentityId) {
    let (width, clock, clocks, next_track) = (3, Duration::ZERO, Clocks::default(), TrackId(1));
    let head = Head { width, clock, clocks, next_identity, next_track };
    let rows = std::iter::empty::<Row<&[f32]>>();
    let saves = open(dir).unwrap().0.close(next_identity, |buffer| {
        state::encode(buffer, &head, rows, std::iter::empty(), |_, _| false);
    });
    assert_eq!((saves.saved, saves.failures), (1, 0));
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_pipe_in_the_place_of_any_file_is_not_waited_for() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let outer = tempfile::tempdir().unwrap();
    let mut folder = Folder::open(outer.path()).unwrap();
    for name in ["state.0", "state.0.aside", "state.new"] {
        assert!(Command::new("mkfifo").arg(outer.path().join(name)).status().unwrap().success());
    }
    assert_eq!(folder.read(0).unwrap().unwrap(), b"");
    folder.tidy(Duration::MAX, false, true);
    folder.replace(0, b"state", true).unwrap();
    assert_eq!((folder.read(0).unwrap().unwrap(), folder.erase_aside().unwrap()), (b"state".into(), 0));
}

/// `sudo nformer-edge forget` in the folder of a service that runs as another user. Without root there is only the half
/// about files that may not be read.
#[test]
fn whom_root_forgets_the_service_goes_on_without() {
    if let Some(dir) = env::var_os(INSIDE) {
        match open(Path::new(&dir)) {
            Ok((_, found)) => println!("found {:?} {}", found.next_identity, found.contents.is_some()),
            Err(error) => println!("refused {error}"),
        }
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let outer = tempfile::tempdir().unwrap();
    let dir = outer.path().join("state");
    save(&dir, IdentityId(70));
    save(&dir, IdentityId(71));
    if fs::metadata(&dir).unwrap().uid() != 0 {
        println!("SKIPPED: whom_root_forgets_the_service_goes_on_without: half of it, not run as root");
        fs::set_permissions(dir.join("state.0"), Permissions::from_mode(0o000)).unwrap();
        assert!(matches!(open(&dir).map(drop), Err(Error::StateFile { .. })));
        assert_eq!(names(&dir), ["lock", "state.0", "state.1"]);
        return;
    }
    for path in [outer.path(), &dir, &dir.join("lock")] {
        chown(path, Some(USER), Some(USER)).unwrap();
    }
    let service = || {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "whom_root_forgets_the_service_goes_on_without", "--nocapture"]);
        let output = command.env(INSIDE, &dir).uid(USER).gid(USER).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    // Files that root left: nothing is lost, and the way out is told.
    let told = service();
    assert!(told.contains("refused") && told.contains(&format!("`chown {USER}:{USER} ")), "{told}");
    assert_eq!(names(&dir), ["lock", "state.0", "state.1"]);

    fs::remove_file(dir.join("lock")).unwrap();
    forget(&settings(&dir), &Whom::These(&[IdentityId(3)])).unwrap();
    let told = service();
    assert!(told.contains("found IdentityId(71) true"), "{told}");
    assert_eq!(names(&dir), ["lock", "state.0", "state.1"]);
}

#[test]
fn a_folder_that_cannot_be_made_or_read_stops_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("state");
    fs::create_dir_all(dir.join("state.new/full")).unwrap();
    fs::write(dir.join("state.0"), "nothing of ours").unwrap();
    for dir in [&dir, Path::new("/dev/null/state")] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nformer-edge"));
        command.current_dir(env!("CARGO_MANIFEST_DIR")).args(["run", "--source", "tests/clips/pedestrians.avi"]);
        command.args(["--detector.kind", "motion", "--detector.every", "50", "--state.dir"]).arg(dir);
        let output = command.output().unwrap();
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{log}");
        assert!(log.contains("cannot be saved") && log.contains("state saved 0 times"), "{log}");
    }
    assert_eq!(fs::read(dir.join("state.0.aside")).unwrap(), b"nothing of ours");
}
