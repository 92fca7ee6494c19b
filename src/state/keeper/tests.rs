//! The keeper on disks that work, fail and hang.

mod forgetting;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};

use super::super::format::tests::{bytes_of, key, sample};
use super::super::{Row, Whom, forget, max_bytes};
use super::*;
use crate::gallery::{APPEARANCE, SavedIdentity};
use crate::size::{MAX_IDENTITIES, NEIGHBORS};
use crate::state::Fingerprint;

const TTL: Duration = Duration::from_hours(1);
const MAKER: Maker = Maker { fingerprint: Fingerprint([7; 32]), width: 3 };

fn settings(dir: &Path) -> StateSettings {
    StateSettings { dir: Some(dir.into()), ..StateSettings::default() }
}

fn with_key(dir: &Path, name: &str, byte: u8) -> StateSettings {
    let path = dir.parent().unwrap().join(name);
    fs::write(&path, std::array::from_fn::<u8, 32, _>(|at| at as u8 ^ byte)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    StateSettings { key_file: Some(path), ..settings(dir) }
}

fn open(settings: &StateSettings) -> (Keeper, Found) {
    Keeper::open(settings, MAKER, 4096, TTL, true).unwrap().unwrap()
}

fn fill(contents: &Contents) -> impl FnOnce(&mut Vec<u8>) {
    let bytes = bytes_of(contents, 0, None);
    move |buffer| buffer.extend_from_slice(&bytes[format::HEADER..])
}

/// Saves the sample with `next` as its next number, and ends.
fn save_and_close(settings: &StateSettings, next: u32) -> Saves {
    let (keeper, _) = open(settings);
    let mut contents = sample();
    contents.head.next_identity = IdentityId(next);
    keeper.close(IdentityId(next), fill(&contents))
}

fn folder() -> (tempfile::TempDir, std::path::PathBuf) {
    let outer = tempfile::tempdir().unwrap();
    let dir = outer.path().join("state");
    (outer, dir)
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

#[test]
fn what_is_saved_is_found_and_numbers_go_on() {
    let (_outer, dir) = folder();
    let settings = settings(&dir);
    assert!(open(&settings).1.contents.is_none());
    let (mut keeper, found) = open(&settings);
    assert_eq!(found.next_identity, IdentityId(1));
    keeper.save(IdentityId(4), fill(&sample()));
    assert!(keeper.wait());
    assert_eq!((keeper.saves().saved, keeper.saves().failures), (1, 0));
    assert!(keeper.saves().age.is_some());
    // As if killed: numbers given since the save are not given again.
    drop(keeper);
    let (keeper, found) = open(&settings);
    assert_eq!((found.contents, found.next_identity), (Some(sample()), IdentityId(4 + RESERVE)));
    drop(keeper);

    save_and_close(&settings, 9);
    assert_eq!(open(&settings).1.next_identity, IdentityId(4 + RESERVE), "the other generation still says so");
    save_and_close(&settings, 5000);
    save_and_close(&settings, 5001);
    assert_eq!(open(&settings).1.next_identity, IdentityId(5001), "who ends on its own gives back what was reserved");
}

#[test]
fn without_a_folder_nothing_is_kept() {
    assert!(Keeper::open(&StateSettings::default(), MAKER, 100, TTL, true).unwrap().is_none());
}

#[test]
fn the_newest_generation_counts_and_the_older_one_steps_in() {
    let (_outer, dir) = folder();
    let settings = settings(&dir);
    for next in [10, 11, 12] {
        save_and_close(&settings, next);
    }
    let next = |found: &Found| found.contents.as_ref().map(|contents| contents.head.next_identity.0);
    assert_eq!(next(&open(&settings).1), Some(12));
    // The third save replaced the first.
    fs::write(dir.join("state.0"), b"garbage").unwrap();
    let (keeper, found) = open(&settings);
    assert_eq!(next(&found), Some(11));
    drop(keeper);
    assert_eq!(fs::read(dir.join("state.0.aside")).unwrap(), b"garbage");
    save_and_close(&settings, 13);
    assert_eq!(next(&open(&settings).1), Some(13));
    assert_eq!(names(&dir), ["lock", "state.0", "state.0.aside", "state.1"]);
}

#[test]
fn cut_or_flipped_anywhere_it_is_set_aside_and_the_other_one_used() {
    let (_outer, dir) = folder();
    let settings = settings(&dir);
    save_and_close(&settings, 10);
    save_and_close(&settings, 11);
    let (one, two) = (dir.join("state.0"), dir.join("state.1"));
    let newest = fs::read(&two).unwrap();
    let damaged = (0..newest.len()).flat_map(|at| {
        let mut flipped = newest.clone();
        flipped[at] ^= 0x10;
        [newest[..at].to_vec(), flipped]
    });
    for bytes in damaged {
        fs::write(&two, &bytes).unwrap();
        let (_keeper, found) = open(&settings);
        assert_eq!(found.contents.unwrap().head.next_identity, IdentityId(10));
        assert!(!two.exists() && fs::read(dir.join("state.1.aside")).unwrap() == bytes);
    }
    fs::write(&one, b"").unwrap();
    assert!(open(&settings).1.contents.is_none());
    assert_eq!(names(&dir), ["lock", "state.0.aside", "state.1.aside"]);
}

#[test]
fn what_is_not_ours_is_set_aside_and_its_numbers_are_not_given_again() {
    let (_outer, dir) = folder();
    let plain = settings(&dir);
    let (mine, other) = (with_key(&dir, "mine", 1), with_key(&dir, "other", 2));
    save_and_close(&mine, 70);
    let (keeper, found) = open(&other);
    assert_eq!((found.contents, found.next_identity), (None, IdentityId(70)));
    keeper.close(IdentityId(80), fill(&sample()));
    let (keeper, found) = open(&plain);
    assert_eq!((found.contents, found.next_identity), (None, IdentityId(80)), "no key any more");
    keeper.close(IdentityId(90), fill(&sample()));
    let maker = Maker { fingerprint: Fingerprint([8; 32]), ..MAKER };
    let (_keeper, found) = Keeper::open(&plain, maker, 4096, TTL, true).unwrap().unwrap();
    assert_eq!((found.contents, found.next_identity), (None, IdentityId(90)), "other models");
}

#[test]
fn with_a_key_given_later_nothing_readable_stays() {
    let (_outer, dir) = folder();
    save_and_close(&settings(&dir), 10);
    save_and_close(&settings(&dir), 11);
    let sealed = with_key(&dir, "key", 1);
    let (mut keeper, found) = open(&sealed);
    assert_eq!(found.next_identity, IdentityId(11));
    keeper.save(IdentityId(11), fill(&sample()));
    assert!(keeper.wait());
    for name in ["state.0", "state.1"] {
        assert!(format::header(&fs::read(dir.join(name)).unwrap()).unwrap().sealed, "{name}");
    }
}

#[test]
fn two_processes_do_not_share_a_folder() {
    let (_outer, dir) = folder();
    let (_keeper, _) = open(&settings(&dir));
    let second = Keeper::open(&settings(&dir), MAKER, 4096, TTL, true).map(drop);
    assert!(matches!(second, Err(Error::StateBusy { .. })));
    assert!(matches!(forget(&settings(&dir), &Whom::All), Err(Error::StateBusy { .. })));
}

#[test]
fn with_a_key_given_later_nothing_readable_stays_aside() {
    let (_outer, dir) = folder();
    save_and_close(&settings(&dir), 10);
    let maker = Maker { fingerprint: Fingerprint([8; 32]), ..MAKER };
    drop(Keeper::open(&settings(&dir), maker, 4096, TTL, true).unwrap());
    assert_eq!(names(&dir), ["lock", "state.0.aside"]);
    save_and_close(&with_key(&dir, "key", 1), 11);
    assert_eq!(names(&dir), ["lock", "state.0"]);
    // What is encrypted may stay.
    drop(Keeper::open(&with_key(&dir, "key", 1), maker, 4096, TTL, true).unwrap());
    save_and_close(&with_key(&dir, "key", 1), 12);
    assert_eq!(names(&dir), ["lock", "state.0", "state.0.aside"]);
}

#[test]
fn odd_things_in_place_of_a_state_stop_nobody() {
    let (_outer, dir) = folder();
    fs::create_dir_all(dir.join("state.0/full")).unwrap();
    std::os::unix::fs::symlink("/dev/full", dir.join("state.1")).unwrap();
    let settings = settings(&dir);
    assert_eq!(save_and_close(&settings, 10).saved, 1);
    assert_eq!(open(&settings).1.next_identity, IdentityId(10));
}

/// A disk that does what it is told to.
struct Odd {
    orders: Receiver<io::Result<()>>,
    written: Sender<(usize, u64)>,
}

impl Disk for Odd {
    fn replace(&mut self, generation: usize, bytes: &[u8], _: bool) -> io::Result<()> {
        // Hangs until there is an order.
        self.orders.recv().unwrap_or(Ok(()))?;
        let _ = self.written.send((generation, format::header(bytes).unwrap().sequence));
        Ok(())
    }

    fn tidy(&mut self, _: Duration, _: bool, _: bool) {}
}

fn odd() -> (Keeper, Sender<io::Result<()>>, Receiver<(usize, u64)>) {
    let ((order, orders), (written, log)) = (channel(), channel());
    let writer = Writer {
        disk: Odd { orders, written },
        key: None,
        fingerprint: MAKER.fingerprint,
        older: 1,
        sequence: 40,
        erase_both: false,
        ttl: TTL,
        tidied: None,
    };
    (Keeper::start(Duration::from_mins(1), 4096, writer).unwrap(), order, log)
}

#[test]
fn a_full_disk_costs_no_generation_and_is_counted() {
    let (mut keeper, order, log) = odd();
    for outcome in [Ok(()), Err(io::ErrorKind::StorageFull), Err(io::ErrorKind::ReadOnlyFilesystem), Ok(())] {
        keeper.save(IdentityId(4), fill(&sample()));
        order.send(outcome.map_err(Into::into)).unwrap();
        assert!(keeper.wait());
    }
    let saves = keeper.saves();
    assert_eq!((saves.saved, saves.failures), (2, 2));
    drop(keeper);
    assert_eq!(log.iter().collect::<Vec<_>>(), [(1, 41), (0, 42)], "never twice in a row the same generation");
}

#[test]
fn after_a_failure_it_is_tried_again_though_nothing_changed() {
    let (mut keeper, order, _log) = odd();
    let start = Instant::now();
    let after = |intervals: u64| start + Duration::from_secs(60 * intervals);
    assert!(keeper.due(start, 1, IdentityId(1)));
    keeper.save(IdentityId(4), fill(&sample()));
    order.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
    assert!(keeper.wait());
    assert!(keeper.due(after(1), 1, IdentityId(1)));
    keeper.save(IdentityId(4), fill(&sample()));
    order.send(Ok(())).unwrap();
    assert!(keeper.wait());
    assert!(!keeper.due(after(2), 1, IdentityId(1)));
}

#[test]
fn what_was_left_out_is_made_up_for_though_nothing_changed_since() {
    let (mut keeper, order, _log) = odd();
    let start = Instant::now();
    let after = |intervals: u64| start + Duration::from_secs(60 * intervals);
    assert!(keeper.due(start, 1, IdentityId(1)));
    keeper.save(IdentityId(4), fill(&sample()));
    assert!(keeper.due(after(1), 2, IdentityId(1)));
    // The disk hangs.
    keeper.save(IdentityId(4), fill(&sample()));
    order.send(Ok(())).unwrap();
    assert!(keeper.wait());
    assert_eq!(keeper.saves().failures, 1);
    assert!(keeper.due(after(2), 2, IdentityId(1)));
    keeper.save(IdentityId(4), fill(&sample()));
    assert!(!keeper.due(after(3), 2, IdentityId(1)));
    drop(order);
}

#[test]
fn a_disk_that_hangs_holds_nobody_up() {
    let (mut keeper, order, _log) = odd();
    let start = Instant::now();
    for _ in 0..4 {
        keeper.save(IdentityId(4), fill(&sample()));
    }
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!((keeper.saves().saved, keeper.saves().failures, keeper.saves().age), (0, 3, None));
    // It comes back.
    order.send(Ok(())).unwrap();
    assert!(keeper.wait());
    order.send(Ok(())).unwrap();
    let saves = keeper.close(IdentityId(4), fill(&sample()));
    assert_eq!((saves.saved, saves.failures), (2, 3));
}

#[test]
fn it_is_due_at_once_then_each_interval_that_brought_something() {
    let (mut keeper, _order, _log) = odd();
    let start = Instant::now();
    let at = |seconds: u64| start + Duration::from_secs(seconds);
    assert!(keeper.due(at(0), 0, IdentityId(1)));
    assert!(!keeper.due(at(59), 1, IdentityId(1)));
    assert!(keeper.due(at(60), 1, IdentityId(1)));
    assert!(!keeper.due(at(61), 2, IdentityId(1)));
    assert!(keeper.due(at(130), 2, IdentityId(1)));
    // Nobody comes: only each fifteenth interval.
    let idle: Vec<u64> = (1..=31).filter(|n| keeper.due(at(130 + 60 * n), 2, IdentityId(1))).collect();
    assert_eq!(idle, [15, 30]);
    // Everybody comes: half of the reserve is gone.
    assert!(!keeper.due(at(1991), 3, IdentityId(512)));
    assert!(keeper.due(at(1992), 3, IdentityId(513)));
    assert!(!keeper.due(at(1993), 3, IdentityId(514)));
}

#[test]
fn the_buffer_does_not_grow() {
    let (mut keeper, order, _log) = odd();
    let needed = max_bytes(3, 3, 3);
    keeper.spare = Some(Vec::with_capacity(needed));
    keeper.save(IdentityId(4), fill(&sample()));
    order.send(Ok(())).unwrap();
    assert!(keeper.wait());
    assert_eq!(keeper.spare.as_ref().map(Vec::capacity), Some(needed));
    assert_eq!(keeper.spare.as_ref().map(Vec::len), Some(needed));
}

/// A state as large as it gets with the sizes of this build, and embeddings of 256 floats. The times are told, not held.
#[test]
fn the_largest_state_is_as_large_as_was_said() {
    const WIDTH: usize = 256;
    let mut contents = sample();
    (contents.head.width, contents.head.next_identity) = (WIDTH, IdentityId(70_000));
    let mut embedding = vec![0.0; WIDTH];
    embedding[7] = 1.0;
    let mut row = contents.rows.remove(0);
    row.row.embedding.clone_from(&embedding);
    contents.rows = vec![row; NEIGHBORS];
    (0..).zip(&mut contents.rows).for_each(|(age, row)| row.row.age = age);
    let identity = SavedIdentity { retired: embedding.repeat(APPEARANCE), ..contents.identities.remove(0) };
    contents.identities = vec![identity; MAX_IDENTITIES];
    (1..).zip(&mut contents.identities).for_each(|(id, identity)| identity.id = IdentityId(id));

    let best = |work: &mut dyn FnMut()| {
        let times = (0..20).map(|_| {
            let start = Instant::now();
            work();
            start.elapsed()
        });
        times.min().unwrap()
    };
    let bytes = max_bytes(NEIGHBORS, MAX_IDENTITIES, WIDTH);
    let mut buffer = Vec::with_capacity(bytes);
    let encoding = best(&mut || {
        format::draft(&mut buffer);
        let rows = contents.rows.iter().map(Row::as_slice);
        let identities = contents.identities.iter().map(SavedIdentity::as_slice);
        format::encode(&mut buffer, &contents.head, rows, identities, |one, other| contents.met.met(one, other));
    });
    assert_eq!((buffer.len(), buffer.capacity()), (bytes, bytes));
    let header = Header { sealed: false, sequence: 1, reserved: IdentityId(70_000), fingerprint: MAKER.fingerprint };
    let finishing = best(&mut || format::finish(&mut buffer, &header, None).unwrap());
    let (_outer, dir) = folder();
    let mut folder = Folder::open(&dir).unwrap();
    let writing = best(&mut || folder.replace(0, &buffer, false).unwrap());
    let opening = best(&mut || {
        format::open(&mut folder.read(0).unwrap().unwrap(), None, None).unwrap();
    });
    let header = Header { sealed: true, ..header };
    let key = key(1);
    let sealing = best(&mut || format::finish(&mut buffer, &header, Some(&key)).unwrap());
    println!(
        "{bytes} bytes: in the loop {encoding:?}; in the thread checksum {finishing:?} (sealed {sealing:?}), disk \
         {writing:?}; at the start {opening:?}"
    );
}
