//! Forgetting people, and the keeper afterwards.

use super::*;
use crate::state::Forgotten;

#[test]
fn whoever_is_forgotten_is_in_neither_generation() {
    let (_outer, dir) = folder();
    for settings in [settings(&dir), with_key(&dir, "key", 1)] {
        for next in [10, 11] {
            save_and_close(&settings, next);
        }
        let forgotten = forget(&settings, &Whom::These(&[IdentityId(3), IdentityId(9)])).unwrap();
        assert_eq!((forgotten.identities, forgotten.rows, forgotten.aside), (1, 1, 0));
        let secret = sample().rows[2].row.embedding[0].to_le_bytes();
        for name in ["state.0", "state.1"] {
            let mut bytes = fs::read(dir.join(name)).unwrap();
            let key = settings.key_file.as_ref().map(|_| key(1));
            let (header, contents) = format::open(&mut bytes, key.as_ref(), Some(&MAKER)).unwrap();
            assert_eq!((contents.identities.len(), contents.rows.len(), header.reserved), (2, 2, IdentityId(11)));
            assert!(!bytes.windows(4).any(|part| part == secret));
        }
        // Numbers go on, and so do the saves.
        let (keeper, found) = open(&settings);
        assert_eq!((found.next_identity, found.contents.unwrap().identities.len()), (IdentityId(11), 2));
        drop(keeper);
        fs::remove_dir_all(&dir).unwrap();
    }
}

#[test]
fn forgetting_all_erases_what_cannot_be_read_too_and_keeps_the_numbers() {
    let (_outer, dir) = folder();
    let (mine, other) = (with_key(&dir, "mine", 1), with_key(&dir, "other", 2));
    save_and_close(&mine, 70);
    save_and_close(&mine, 71);
    let refused = forget(&other, &Whom::These(&[IdentityId(3)])).unwrap_err();
    assert!(matches!(&refused, Error::StateUnreadable { reason, .. } if reason.contains("another key")), "{refused}");
    assert_eq!(open(&mine).1.next_identity, IdentityId(71), "nothing changed");

    drop(open(&other));
    assert_eq!(names(&dir), ["lock", "state.0.aside", "state.1.aside"]);
    save_and_close(&other, 80);
    let forgotten = forget(&mine, &Whom::All).unwrap();
    assert_eq!(forgotten.aside, 2);
    assert_eq!(names(&dir), ["lock", "state.0", "state.1"]);
    let (_keeper, found) = open(&mine);
    assert_eq!(found.next_identity, IdentityId(80));
    assert!(found.contents.is_none_or(|contents| contents.identities.is_empty() && contents.rows.is_empty()));
}

#[test]
fn forgetting_overwrites_what_was_cut_off() {
    let (outer, dir) = folder();
    save_and_close(&settings(&dir), 10);
    fs::write(dir.join("state.new"), b"secret").unwrap();
    let other = outer.path().join("other");
    fs::hard_link(dir.join("state.new"), &other).unwrap();
    forget(&settings(&dir), &Whom::All).unwrap();
    assert_eq!(fs::read(other).unwrap(), [0; 6]);
}

#[test]
fn who_is_forgotten_in_a_folder_made_anew_does_not_come_back() {
    for save_first in [true, false] {
        let (_outer, dir) = folder();
        let (mut keeper, _) = open(&settings(&dir));
        fs::remove_dir_all(&dir).unwrap();
        fs::create_dir(&dir).unwrap();
        let mut save = || {
            keeper.save(IdentityId(4), fill(&sample()));
            assert!(keeper.wait());
        };
        if save_first {
            save();
        }
        let outcome = forget(&settings(&dir), &Whom::All);
        (0..4).for_each(|_| save());
        assert_eq!(matches!(outcome, Err(Error::StateBusy { .. })), save_first, "{outcome:?}");
        assert_eq!(keeper.saves().saved, if save_first { 5 } else { 0 });
        drop(keeper);
        let kept = open(&settings(&dir)).1.contents;
        assert_eq!(kept.is_some_and(|contents| !contents.identities.is_empty()), save_first);
    }
}

#[test]
fn forgetting_where_there_is_nothing_is_no_failure_but_a_wrong_folder_is() {
    let (outer, dir) = folder();
    assert!(matches!(forget(&StateSettings::default(), &Whom::All), Err(Error::BadSetting { .. })));
    assert!(matches!(forget(&settings(&dir), &Whom::All), Err(Error::Read { .. })));
    assert!(!dir.exists());
    fs::create_dir(&dir).unwrap();
    assert_eq!(forget(&settings(&dir), &Whom::These(&[IdentityId(1)])).unwrap(), Forgotten::default());
    drop(outer);
}

#[test]
fn whoever_is_forgotten_leaves_no_row_of_their_tracks() {
    let mut contents = sample();
    let owned = contents.rows.iter().find(|row| row.owner == Some(IdentityId(3))).unwrap().clone();
    let of_all = contents.rows.len();
    contents.rows.push(Row { owner: None, ..owned.clone() });
    assert_eq!(contents.remove(|id| id == IdentityId(3)), (1, 2));
    assert_eq!(contents.rows.len(), of_all - 1);
    assert!(contents.rows.iter().all(|row| row.row.tag.track != owned.row.tag.track));
}
