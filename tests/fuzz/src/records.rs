//! Messages, settings and saved states: sound ones made here, then damaged.

use std::path::Path;
use std::time::Duration;

use arbitrary::{Arbitrary, Result, Unstructured};
use nformer_edge::gallery::{Gallery, GallerySettings, IdentityId, SavedIdentity};
use nformer_edge::neighbors::{SavedRow, Tag};
use nformer_edge::report::codec::{Encoder, Format, Packet};
use nformer_edge::report::listen::{Decoder, Style, listen};
use nformer_edge::report::message::{Event, EventKind, Health, Hello, Message, Sighting, State, text};
use nformer_edge::settings::{KEYS, Settings};
use nformer_edge::state::{self, Clocks, Head, Header, Key, Row};
use nformer_edge::tracks::TrackId;

use crate::mutate;
use crate::pictures::crc32;

const KEY: [u8; 32] = [7; 32];

// ---- wire ----

fn message(u: &mut Unstructured) -> Result<Message> {
    let number = u64::arbitrary(u)? >> u.int_in_range(0..=63_u32)?;
    let track = number as u32;
    let decimal = f32::from_bits(u32::arbitrary(u)?);
    Ok(match u.int_in_range(0..=3)? {
        0 => Message::Hello(Hello {
            v: u.int_in_range(0..=2)?,
            program: text("0.1"),
            board: text(*u.choose(&["rpi4", "", "\u{7f}ü\"\\", "a very long name of a board that does not fit"])?),
            models: heapless::Vec::new(),
            source: text("/dev/video0"),
        }),
        1 => Message::Sighting(Sighting {
            frame: number,
            time_ms: number,
            wall: Option::arbitrary(u)?,
            track,
            identity: Option::arbitrary(u)?,
            state: *u.choose(&[State::Known, State::New, State::Unsure, State::Tracked])?,
            similarity: Some(decimal.into()),
            bbox: [decimal.into(); 4],
            score: decimal.into(),
        }),
        2 => Message::Event(Event {
            kind: *u.choose(&[EventKind::Entered, EventKind::Identified, EventKind::Merged, EventKind::Left])?,
            time_ms: number,
            frame: number,
            track,
            identity: Option::arbitrary(u)?,
            other: Option::arbitrary(u)?,
        }),
        _ => Message::Health(Health { time_ms: number, frames: number, stale: number, ..Health::default() }),
    })
}

/// Stuffs bytes as a sender does, so that damage inside a frame arrives there.
fn stuffed(bytes: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    for run in bytes.split(|byte| *byte == 0) {
        let mut rest = run;
        while rest.len() >= 254 {
            frame.push(255);
            frame.extend(&rest[..254]);
            rest = &rest[254..];
        }
        frame.push(rest.len() as u8 + 1);
        frame.extend(rest);
    }
    frame.push(0);
    frame
}

/// A stream of messages in one format, or in both.
pub fn wire(u: &mut Unstructured) -> Result<Vec<u8>> {
    let mut stream = Vec::new();
    let mixed = u.ratio(1, 8)?;
    let format = *u.choose(&[Format::Ndjson, Format::Binary])?;
    let mut seq = u32::arbitrary(u)?;
    for _ in 0..u.int_in_range(1..=8)? {
        let format = if mixed { *u.choose(&[Format::Ndjson, Format::Binary])? } else { format };
        let message = message(u)?;
        let sound = Encoder::new(format).encode(seq, &message).expect("a message fits").to_vec();
        seq = seq.wrapping_add(if u.ratio(1, 8)? { u32::arbitrary(u)? } else { 1 });
        let other = stream.clone();
        stream.extend(match u.int_in_range(0..=5)? {
            0 => mutate::bytes(u, sound, &other, 4)?,
            // Damage that the checksum does not find.
            1 if format == Format::Binary => {
                let body = postcard_bytes(&sound);
                let mut body = mutate::bytes(u, body, &other, 3)?;
                body.extend(crc32(&body).to_le_bytes());
                stuffed(&body)
            }
            2 if u.ratio(1, 16)? => vec![*u.choose(&[0, 1, b'{', b'[', b'"', 255])?; u.int_in_range(1..=9000)?],
            _ => sound,
        });
    }
    mutate::bytes(u, stream, &[], 1)
}

/// What is inside a frame, without stuffing and checksum.
fn postcard_bytes(frame: &[u8]) -> Vec<u8> {
    let (mut body, mut at) = (Vec::new(), 0);
    while let Some(&code) = frame.get(at).filter(|code| **code != 0) {
        let end = (at + usize::from(code)).min(frame.len() - 1);
        body.extend(&frame[at + 1..end]);
        if code < 255 {
            body.push(0);
        }
        at += usize::from(code);
    }
    body.truncate(body.len().saturating_sub(5));
    body
}

/// Listens to the stream in every way that there is; whether a message came through.
pub fn try_wire(stream: &[u8]) -> bool {
    let mut found = false;
    for format in [None, Some(Format::Ndjson), Some(Format::Binary)] {
        let mut whole = Vec::new();
        let mut decoder = Decoder::new(format);
        decoder.push(stream, |packet| whole.push(packet));
        decoder.finish();
        // However the bytes come in pieces, the messages are the same.
        let mut pieces: Vec<Packet> = Vec::new();
        let mut again = Decoder::new(format);
        for piece in stream.chunks(7) {
            again.push(piece, |packet| pieces.push(packet));
        }
        again.finish();
        assert_eq!((&whole, decoder.counts()), (&pieces, again.counts()), "pieces matter");
        found |= !whole.is_empty();
    }
    let stop = std::sync::atomic::AtomicBool::new(false);
    for style in [Style::Ndjson, Style::Human] {
        let mut printed = Vec::new();
        listen(&mut &*stream, None, style, &mut printed, &stop).expect("bytes in memory can be read");
    }
    found
}

// ---- settings ----

/// A configuration: known keys, some unknown ones, values of every kind.
pub fn settings(u: &mut Unstructured) -> Result<Vec<u8>> {
    let mut file = String::new();
    for _ in 0..u.int_in_range(0..=6)? {
        let key = match u.int_in_range(0..=9)? {
            0 => *u.choose(&["a", "camera", "tracks.x.y.z", "\"\"", "état.dir", "gallery.\"\u{0}\"", "[x]", "= ="])?,
            _ => u.choose(KEYS)?.name,
        };
        let number = u32::arbitrary(u)? >> u.int_in_range(0..=31_u32)?;
        let value = match u.int_in_range(0..=15)? {
            0 => format!("-{number}"),
            1 => format!("{number}e{}", u.int_in_range(-400..=400)?),
            2 => "nan".to_owned(),
            3 => "-inf".to_owned(),
            4 => "9223372036854775807".to_owned(),
            5 => "\"auto\"".to_owned(),
            6 => "true".to_owned(),
            7 => "[".repeat(u.int_in_range(1..=4000)?),
            8 => format!("{{ a = {number} }}"),
            9 => "1979-05-27T07:32:00Z".to_owned(),
            10 => "\"\"\"\\u0000\\UFFFFFFFF\"\"\"".to_owned(),
            11 => format!("{}.5", number % 100),
            _ => (number % 100).to_string(),
        };
        let line = match u.int_in_range(0..=9)? {
            0 => format!("[{key}]\n"),
            1 => format!("[[{key}]]\n"),
            2 => match key.split_once('.') {
                Some((section, name)) => format!("[{section}]\n{name} = {value}\n"),
                None => format!("{key} = {value}\n"),
            },
            _ => format!("{key} = {value}\n"),
        };
        file.push_str(&line);
    }
    if u.ratio(1, 64)? {
        // Tables in tables.
        file.push_str(&format!("{} = 1\n", vec!["a"; u.int_in_range(1..=3000)?].join(".")));
    }
    let file = file.into_bytes();
    if u.ratio(1, 3)? { mutate::bytes(u, file, b"=[]{}\"'\n\\u\xff", 4) } else { Ok(file) }
}

/// Reads the configuration that lies at `path`, and says it in words where it is wrong.
pub fn try_settings(path: &Path) -> bool {
    let flags = [("tracks.min_score", "0.5".to_owned()), ("source", "[".to_owned())];
    let read = Settings::load(Some(path), &[]);
    let with_flags = Settings::load(Some(path), &flags);
    for outcome in [&read, &with_flags] {
        match outcome {
            Ok(settings) => settings.validate().expect("it was validated"),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    read.is_ok()
}

// ---- state ----

/// A saved state whose body is damaged and whose checksums are right, or one damaged as a whole.
pub fn saved(u: &mut Unstructured) -> Result<Vec<u8>> {
    let width = if u.ratio(1, 16)? { mutate::edge(u, 4)? as usize % 5000 } else { u.int_in_range(1..=8)? };
    let embedding: Vec<f32> = (0..width).map(|at| if at == 0 { 1.0 } else { 0.0 }).collect();
    let next = u.int_in_range(1..=40_u32)?;
    let head = Head {
        width,
        clock: Duration::from_nanos(u64::arbitrary(u)?),
        clocks: Clocks { boot: Some([3; 16]), uptime_ms: Option::arbitrary(u)?, wall_ms: Option::arbitrary(u)? },
        next_identity: IdentityId(next),
        next_track: TrackId(9),
    };
    let mut rows = Vec::new();
    for age in 0..u.int_in_range(0..=6_u64)? {
        let tag = Tag { track: TrackId(u.int_in_range(0..=9)?), time: Duration::ZERO };
        let owner = u.ratio(1, 2)?.then_some(IdentityId(u.int_in_range(0..=next)?));
        rows.push(Row { owner, row: SavedRow { tag, age, embedding: &*embedding } });
    }
    let mut identities = Vec::new();
    for id in 1..=u.int_in_range(0..=next.min(20))? {
        let retired_weight = if u.ratio(1, 16)? { f32::from_bits(u32::arbitrary(u)?) } else { 1.0 };
        identities.push(SavedIdentity {
            id: IdentityId(id),
            last_seen: Duration::ZERO,
            retired_weight,
            retired: &*embedding,
        });
    }
    let mut file = Vec::new();
    state::draft(&mut file);
    let met = u8::arbitrary(u)?;
    state::encode(&mut file, &head, rows.into_iter(), identities.into_iter(), |one, other| {
        met >> ((one ^ other) % 8) & 1 == 1
    });
    let body = mutate::bytes(u, file.split_off(state::HEADER), &[], 3)?;
    file.extend(body);
    let key = u.ratio(1, 4)?.then(|| Key::from_bytes(KEY));
    let (sequence, reserved) = (u64::arbitrary(u)? >> u.int_in_range(0..=63_u32)?, IdentityId(next + met as u32));
    let header = Header { sealed: key.is_some(), sequence, reserved, fingerprint: state::Fingerprint::default() };
    state::finish(&mut file, &header, key.as_ref()).expect("random numbers for the seal");
    if u.ratio(1, 4)? { mutate::bytes(u, file, &[], 3) } else { Ok(file) }
}

/// Reads a state and takes its identities back; whether it was a sound one.
pub fn try_saved(file: &[u8]) -> bool {
    let key = Key::from_bytes(KEY);
    let _ = state::open(&mut file.to_vec(), None, None);
    let opened = state::open(&mut file.to_vec(), Some(&key), None);
    let Ok((header, mut contents)) = opened else { return false };
    assert!(contents.head.next_identity <= header.reserved);
    let mut gallery = Gallery::new(GallerySettings::default(), contents.head.width);
    let met = contents.met.clone();
    gallery
        .restore(&contents.identities, |one, other| met.met(one, other), contents.head.next_identity)
        .expect("a state of the gallery's width");
    contents.remove(|id| id.0 % 2 == 0);
    contents.clear();
    true
}
