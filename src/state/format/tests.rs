//! Bytes of a state: round trips, and everything that a disk or an enemy may make of them.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::kernels::l2_normalise;

const FINGERPRINT: Fingerprint = Fingerprint([7; 32]);

pub(in crate::state) fn key(number: u8) -> Key {
    Key::from_bytes(std::array::from_fn(|at| at as u8 ^ number))
}

/// The bytes of `contents`, ready for the disk.
pub(in crate::state) fn bytes_of(contents: &Contents, sequence: u64, key: Option<&Key>) -> Vec<u8> {
    let mut bytes = Vec::new();
    draft(&mut bytes);
    let rows = contents.rows.iter().map(Row::as_slice);
    let identities = contents.identities.iter().map(SavedIdentity::as_slice);
    encode(&mut bytes, &contents.head, rows, identities, |one, other| contents.met.met(one, other));
    let reserved = IdentityId(contents.head.next_identity.0 + 1000);
    let header = Header { sealed: key.is_some(), sequence, reserved, fingerprint: FINGERPRINT };
    finish(&mut bytes, &header, key).unwrap();
    bytes
}

fn read(bytes: &[u8], key: Option<&Key>) -> Result<(Header, Contents), Refusal> {
    open(&mut bytes.to_vec(), key, None)
}

fn any_floats(width: usize) -> impl Strategy<Value = Vec<f32>> {
    vec(-1.0_f32..1.0, width).prop_map(|mut values| {
        values[0] += 2.0;
        assert!(l2_normalise(&mut values));
        values
    })
}

fn any_clocks() -> impl Strategy<Value = Clocks> {
    let known = || prop::option::of(0..u64::MAX);
    (prop::option::of(any::<[u8; 16]>()), known(), known()).prop_map(|(boot, uptime_ms, wall_ms)| Clocks {
        boot: boot.filter(|boot| *boot != [0; 16]),
        uptime_ms,
        wall_ms,
    })
}

/// Any state that this program can save, with ages and numbers that differ.
pub(in crate::state) fn any_contents() -> impl Strategy<Value = Contents> {
    (1_usize..6, any_clocks(), 0..u64::MAX / 2, 0_usize..12, 0_usize..9).prop_flat_map(
        |(width, clocks, now, rows, identities)| {
            let sum = (1e-3_f32..=MAX_LENGTH, 1_u32..=u32::MAX);
            let row = (prop::option::of(1_u32..500), 1_u32..300, 0..=now, sum, any_floats(width));
            let identity = (1_u32..40, 0..=now, 0.0_f32..=8.0, any_floats(APPEARANCE * width));
            let bits = vec(any::<u8>(), Met::bytes(identities));
            (vec(row, rows), vec(identity, identities), bits).prop_map(move |(rows, identities, bits)| {
                let head = Head {
                    width,
                    clock: Duration::from_nanos(now),
                    clocks,
                    next_identity: IdentityId(500),
                    next_track: TrackId(300),
                };
                let places = identities.len();
                let rows = rows.into_iter().enumerate().map(|(at, (owner, track, time, sum, embedding))| Row {
                    owner: owner.map(IdentityId),
                    row: SavedRow {
                        tag: Tag { track: TrackId(track), time: Duration::from_nanos(time) },
                        age: at as u64 * 7 % 13,
                        length: sum.0,
                        embeddings: sum.1,
                        embedding,
                    },
                });
                let identities =
                    identities.into_iter().enumerate().map(|(at, (id, seen, weight, retired))| SavedIdentity {
                        id: IdentityId(id + 50 * at as u32),
                        last_seen: Duration::from_nanos(seen),
                        retired_weight: weight,
                        retired,
                    });
                Contents { head, rows: rows.collect(), identities: identities.collect(), met: whole(&bits, places) }
            })
        },
    )
}

/// The pairs of `places` in these bytes; bits beyond the last pair are zero.
fn whole(bits: &[u8], places: usize) -> Met {
    let pairs = places * places.saturating_sub(1) / 2;
    let mut bits = bits.to_vec();
    for at in pairs..bits.len() * 8 {
        bits[at / 8] &= !(1 << (at % 8));
    }
    Met::from_bytes(&bits)
}

/// A small state with something of everything.
pub(in crate::state) fn sample() -> Contents {
    let embedding = |lean: f32| {
        let mut values = vec![1.0, lean, -0.5];
        assert!(l2_normalise(&mut values));
        values
    };
    let head = Head {
        width: 3,
        clock: Duration::from_secs(500),
        clocks: Clocks { boot: Some([1; 16]), uptime_ms: Some(9_000), wall_ms: None },
        next_identity: IdentityId(4),
        next_track: TrackId(8),
    };
    let row = |owner, track: u32, age| Row {
        owner,
        row: SavedRow {
            tag: Tag { track: TrackId(track), time: Duration::from_secs(u64::from(track)) },
            age,
            length: track as f32 + 0.5,
            embeddings: track + 3,
            embedding: embedding(track as f32),
        },
    };
    let identity = |id, seen, weight| SavedIdentity {
        id: IdentityId(id),
        last_seen: Duration::from_secs(seen),
        retired_weight: weight,
        retired: [embedding(id as f32), embedding(-1.0)].concat(),
    };
    Contents {
        head,
        rows: vec![row(Some(IdentityId(1)), 1, 0), row(None, 7, 4), row(Some(IdentityId(3)), 5, 2)],
        identities: vec![identity(1, 1, 0.0), identity(3, 500, 8.0), identity(2, 300, 2.5)],
        met: Met::from_bytes(&[0b101]),
    }
}

proptest! {
    #[test]
    fn every_state_comes_back_as_it_was(contents in any_contents(), sequence in 0..u64::MAX / 2, sealed: bool) {
        let key = sealed.then(|| key(1));
        let bytes = bytes_of(&contents, sequence, key.as_ref());
        prop_assert!(bytes.len() <= max_bytes(contents.rows.len(), contents.identities.len(), contents.head.width));
        let (header, found) = read(&bytes, key.as_ref()).unwrap();
        prop_assert_eq!((header.sequence, header.sealed), (sequence, sealed));
        prop_assert_eq!(header.reserved, IdentityId(1500));
        prop_assert_eq!(found, contents);
    }

    /// What an enemy would do: the checksums are right, the body is not. Never a panic, never something impossible.
    #[test]
    fn a_body_changed_on_purpose_is_refused_or_makes_sense(
        contents in any_contents(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut: prop::sample::Index,
    ) {
        let mut bytes = bytes_of(&contents, 1, None);
        for (at, value) in changes {
            let at = HEADER + at.index(bytes.len() - HEADER);
            bytes[at] = value;
        }
        if cut.index(4) == 0 {
            bytes.truncate(HEADER + cut.index(bytes.len() - HEADER));
        }
        let header = Header { sealed: false, sequence: 1, reserved: IdentityId(1000), fingerprint: FINGERPRINT };
        finish(&mut bytes, &header, None).unwrap();
        match read(&bytes, None) {
            Err(refusal) => prop_assert!(matches!(refusal, Refusal::Senseless(_)), "{}", refusal),
            Ok((_, found)) => {
                prop_assert!(found.rows.iter().all(|row| Embedding::kept(&row.row.embedding).is_ok()));
                prop_assert!(found.identities.iter().all(|identity| identity.last_seen <= found.head.clock));
                prop_assert!(found.identities.iter().all(|identity| identity.id < found.head.next_identity));
            }
        }
    }

    #[test]
    fn any_bytes_are_refused(mut bytes in vec(any::<u8>(), 0..400), with_magic: bool) {
        if with_magic && bytes.len() > 12 {
            bytes[..8].copy_from_slice(&MAGIC);
            bytes[8..12].copy_from_slice(&[VERSION as u8, 0, 0, 0]);
        }
        prop_assert!(read(&bytes, None).is_err());
        prop_assert!(header(&bytes).is_err());
    }

    #[test]
    fn whoever_is_taken_out_leaves_no_trace(contents in any_contents(), gone: prop::sample::Index) {
        prop_assume!(!contents.identities.is_empty());
        let gone = contents.identities[gone.index(contents.identities.len())].id;
        let mut left = contents.clone();
        let rows_of = |id| contents.rows.iter().filter(|row| row.owner == Some(id)).count();
        prop_assert_eq!(left.remove(|id| id == gone), (1, rows_of(gone)));
        prop_assert!(left.identities.iter().all(|identity| identity.id != gone));
        prop_assert!(left.rows.iter().all(|row| row.owner != Some(gone)));
        prop_assert_eq!(left.rows.len(), contents.rows.len() - rows_of(gone));
        // Who met whom is told of the others as before.
        let place = |of: &Contents, id| of.identities.iter().position(|identity| identity.id == id).unwrap();
        for one in &left.identities {
            for other in &left.identities {
                let met = |of: &Contents| of.met.met(place(of, one.id), place(of, other.id));
                prop_assert_eq!(met(&left), met(&contents));
            }
        }
        let (_, found) = read(&bytes_of(&left, 2, None), None).unwrap();
        prop_assert_eq!(found, left);
    }
}

#[test]
fn cut_short_at_every_length_it_is_refused() {
    for key in [None, Some(key(1))] {
        let bytes = bytes_of(&sample(), 1, key.as_ref());
        for length in 0..bytes.len() {
            let refusal = read(&bytes[..length], key.as_ref()).unwrap_err();
            assert!(matches!(refusal, Refusal::Foreign | Refusal::Length), "{length}: {refusal}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(read(&longer, key.as_ref()).unwrap_err(), Refusal::Length);
    }
}

#[test]
fn with_any_bit_of_any_byte_wrong_it_is_refused() {
    for key in [None, Some(key(1))] {
        let bytes = bytes_of(&sample(), 1, key.as_ref());
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut wrong = bytes.clone();
                wrong[at] ^= 1 << bit;
                assert!(read(&wrong, key.as_ref()).is_err(), "byte {at}, bit {bit}");
            }
        }
    }
}

#[test]
fn a_header_tells_the_numbers_where_the_body_is_lost() {
    let mut bytes = bytes_of(&sample(), 3, Some(&key(1)));
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    assert_eq!(read(&bytes, Some(&key(1))).unwrap_err(), Refusal::Damaged);
    let header = header(&bytes[..HEADER]).unwrap();
    assert_eq!((header.sequence, header.reserved), (3, IdentityId(1004)));
}

/// After an update the people of the version before are forgotten, but their numbers are not given again.
#[test]
fn an_older_version_tells_its_numbers() {
    let mut older = bytes_of(&sample(), 3, None);
    older[8] = 1;
    let crc = CRC.checksum(&older[..CRC_AT]).to_le_bytes();
    older[CRC_AT..SHA_AT].copy_from_slice(&crc);
    assert_eq!(read(&older, None).unwrap_err(), Refusal::Version(1));
    let header = header(&older).unwrap();
    assert_eq!((header.sequence, header.reserved), (3, IdentityId(1004)));
}

#[test]
fn each_reason_has_its_words() {
    let plain = bytes_of(&sample(), 1, None);
    let sealed = bytes_of(&sample(), 1, Some(&key(1)));
    assert_eq!(read(&sealed, None).unwrap_err(), Refusal::NoKey);
    assert_eq!(read(&sealed, Some(&key(2))).unwrap_err(), Refusal::OtherKey);
    assert!(read(&plain, Some(&key(2))).is_ok(), "a key may be given later");

    let maker = |number, width| Maker { fingerprint: Fingerprint([number; 32]), width };
    let made = |maker| open(&mut plain.clone(), None, Some(&maker)).map(drop);
    assert_eq!(made(maker(7, 3)), Ok(()));
    assert_eq!(made(maker(8, 3)), Err(Refusal::OtherModels));
    assert_eq!(made(maker(7, 4)), Err(Refusal::OtherModels));

    let mut newer = plain.clone();
    newer[8] = VERSION as u8 + 1;
    let crc = CRC.checksum(&newer[..CRC_AT]).to_le_bytes();
    newer[CRC_AT..SHA_AT].copy_from_slice(&crc);
    assert_eq!(read(&newer, None).unwrap_err(), Refusal::Version(VERSION + 1));
    assert_eq!(header(&newer).unwrap_err(), Refusal::Version(VERSION + 1));
    for (sequence, reserved) in [(u64::MAX, 4), (1, u32::MAX), (1, 3)] {
        let mut hostile = plain.clone();
        let reserved = IdentityId(reserved);
        finish(&mut hostile, &Header { sealed: false, sequence, reserved, fingerprint: FINGERPRINT }, None).unwrap();
        assert_eq!(read(&hostile, None).unwrap_err(), Refusal::Senseless("numbers"));
    }
    assert_eq!(read(b"PK\x03\x04 something else", None).unwrap_err(), Refusal::Foreign);

    let all = [
        Refusal::Foreign,
        Refusal::Version(2),
        Refusal::Length,
        Refusal::Damaged,
        Refusal::OtherModels,
        Refusal::NoKey,
        Refusal::OtherKey,
        Refusal::Senseless("rows"),
    ];
    assert!(all.iter().all(|refusal| refusal.to_string().starts_with("it")));
}

#[test]
fn nothing_of_the_contents_shows_in_a_sealed_body_and_no_two_are_alike() {
    let plain = bytes_of(&sample(), 1, None);
    let sealed = [(); 2].map(|()| bytes_of(&sample(), 1, Some(&key(1))));
    assert_eq!(plain.len(), sealed[0].len());
    let shared = |one: &[u8], other: &[u8]| one.windows(8).filter(|part| other.windows(8).any(|o| o == *part)).count();
    assert_eq!(shared(&plain[HEADER..], &sealed[0][HEADER..]), 0);
    assert_eq!(shared(&sealed[0][HEADER..], &sealed[1][HEADER..]), 0);
}

#[test]
fn what_contradicts_itself_makes_no_sense() {
    type Change = fn(&mut Contents);
    let changes: [(&str, Change); 13] = [
        ("rows", |contents| contents.rows[0].row.embedding[0] = 5.0),
        ("rows", |contents| contents.rows[0].row.embedding[1] = f32::NAN),
        ("rows", |contents| contents.rows[0].row.tag.track = TrackId(8)),
        ("rows", |contents| contents.rows[0].row.age = 4),
        ("rows", |contents| contents.rows[0].row.length = 0.0),
        ("rows", |contents| contents.rows[0].row.length = f32::NAN),
        ("rows", |contents| contents.rows[0].row.length = 2.0 * MAX_LENGTH),
        ("rows", |contents| contents.rows[0].row.embeddings = 0),
        ("rows", |contents| contents.rows[0].row.tag.time = Duration::from_secs(501)),
        ("identities", |contents| contents.identities[0].id = IdentityId(3)),
        ("identities", |contents| contents.identities[0].retired_weight = f32::NAN),
        ("identities", |contents| contents.identities[0].retired[2] = f32::INFINITY),
        ("rows", |contents| contents.head.next_identity = IdentityId(3)),
    ];
    for (what, change) in changes {
        let mut contents = sample();
        change(&mut contents);
        assert_eq!(read(&bytes_of(&contents, 1, None), None).unwrap_err(), Refusal::Senseless(what));
    }
    let mut empty = sample();
    empty.clear();
    assert_eq!(read(&bytes_of(&empty, 1, None), None).unwrap().1, empty);
    empty.head.width = MAX_EMBEDDING + 1;
    assert_eq!(read(&bytes_of(&empty, 1, None), None).unwrap_err(), Refusal::Senseless("sizes"));
}
