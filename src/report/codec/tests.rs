use postcard::ser_flavors::Flavor;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::report::Decimal;
use crate::report::message::{
    EventKind, MAX_MODELS, MAX_ROOMS, ModelDigest, Room, RoomTime, State, Text, WIRE_VERSION, text,
};

/// Any message that this program can make.
pub(in crate::report) fn any_message() -> impl Strategy<Value = Message> {
    prop_oneof![
        1 => any_hello().prop_map(Message::Hello),
        5 => any_sighting().prop_map(Message::Sighting),
        2 => any_event().prop_map(Message::Event),
        1 => any_health().prop_map(Message::Health),
    ]
}

fn any_text<const N: usize>() -> impl Strategy<Value = Text<N>> {
    any::<String>().prop_map(|value| text(&value))
}

fn any_decimal<const SCALE: i32>() -> impl Strategy<Value = Decimal<SCALE>> {
    any::<f32>().prop_map(Decimal::from)
}

fn any_hello() -> impl Strategy<Value = Hello> {
    let model = (any_text(), any_text()).prop_map(|(name, digest)| ModelDigest { name, digest });
    (any_text(), any_text(), vec(model, 0..=MAX_MODELS), any_text()).prop_map(|(program, board, models, source)| {
        Hello { v: WIRE_VERSION, program, board, models: models.into_iter().collect(), source }
    })
}

fn any_sighting() -> impl Strategy<Value = Sighting> {
    use State::{Known, New, Tracked, Unsure};
    let who =
        (any::<u32>(), option::of(any::<u32>()), prop_oneof![Just(Known), Just(New), Just(Unsure), Just(Tracked)]);
    let measured =
        (option::of(any_decimal()), [any_decimal(), any_decimal(), any_decimal(), any_decimal()], any_decimal());
    (any::<u64>(), any::<u64>(), option::of(any::<u64>()), who, measured).prop_map(
        |(frame, time_ms, wall, who, measured)| {
            let ((track, identity, state), (similarity, bbox, score)) = (who, measured);
            Sighting { frame, time_ms, wall, track, identity, state, similarity, bbox, score }
        },
    )
}

fn any_event() -> impl Strategy<Value = Event> {
    use EventKind::{CameraFrozen, CameraMoving, Entered, Identified, Left, Merged, ReloadRefused, Reloaded};
    let kinds = [Entered, Identified, Merged, Left, CameraFrozen, CameraMoving, Reloaded, ReloadRefused];
    let kind = proptest::sample::select(kinds.to_vec());
    (kind, any::<u64>(), any::<u64>(), any::<u32>(), option::of(any::<u32>()), option::of(any::<u32>())).prop_map(
        |(kind, time_ms, frame, track, identity, other)| Event { kind, time_ms, frame, track, identity, other },
    )
}

fn any_health() -> impl Strategy<Value = Health> {
    let room = prop_oneof![Just(Room::Camera), Just(Room::Backbone), Just(Room::Frame)];
    let timed =
        (room, any_decimal(), any_decimal()).prop_map(|(room, p50_ms, p95_ms)| RoomTime { room, p50_ms, p95_ms });
    let counters = any::<[u64; 15]>();
    (
        counters,
        any_decimal(),
        vec(timed, 0..=MAX_ROOMS),
        option::of(any_decimal()),
        any::<(Option<bool>, Option<u64>, bool)>(),
    )
        .prop_map(|(n, fps, rooms, temperature_c, (throttled, state_age_s, frozen))| Health {
            time_ms: n[0],
            fps,
            frames: n[1],
            rooms: rooms.into_iter().collect(),
            stale: n[2],
            corrupt: n[3],
            timeouts: n[4],
            reconnects: n[5],
            report_dropped: n[6],
            evictions: n[7],
            refused_embeddings: n[8],
            recomputed: n[..3].iter().copied().collect(),
            resident_bytes: n[9],
            temperature_c,
            throttled,
            state_saved: n[10],
            state_failures: n[11],
            state_age_s,
            freezes: n[12],
            frozen,
            ignored: n[13],
            log_dropped: n[14],
        })
}

/// A sighting late in a long run, with every field filled in.
fn late_sighting() -> Message {
    Message::Sighting(Sighting {
        frame: 12_345_678,
        // Two weeks: ten frames a second make the frame number above.
        time_ms: 1_234_567_890,
        wall: Some(1_900_000_000_000),
        track: 1_234_567,
        identity: Some(12_345),
        state: State::Known,
        similarity: Some(0.8123_f32.into()),
        bbox: [1801.2_f32, 902.3, 119.7, 353.9].map(Into::into),
        score: 0.8765_f32.into(),
    })
}

#[test]
fn a_line_has_fixed_fields_in_a_fixed_order() {
    let mut encoder = Encoder::new(Format::Ndjson);
    let line = encoder.encode(7, &late_sighting()).unwrap();
    assert_eq!(
        std::str::from_utf8(line).unwrap(),
        concat!(
            r#"{"type":"sighting","seq":7,"frame":12345678,"time_ms":1234567890,"wall":1900000000000,"track":1234567,"#,
            r#""identity":12345,"state":"known","similarity":0.8123,"bbox":[1801.2,902.3,119.7,353.9],"score":0.8765}"#,
            "\n"
        )
    );
    let hello = Message::Hello(Hello {
        v: WIRE_VERSION,
        program: text("0.1.0"),
        board: text("rpi5"),
        models: std::iter::once(ModelDigest { name: text("person"), digest: text("0123abcd") }).collect(),
        source: text("/dev/video0"),
    });
    let line = encoder.encode(0, &hello).unwrap();
    assert_eq!(
        std::str::from_utf8(line).unwrap(),
        concat!(
            r#"{"type":"hello","seq":0,"v":1,"program":"0.1.0","board":"rpi5","#,
            r#""models":[{"name":"person","digest":"0123abcd"}],"source":"/dev/video0"}"#,
            "\n"
        )
    );
    let event = Event { kind: EventKind::Left, time_ms: 1, frame: 2, track: 3, identity: None, other: None };
    let line = encoder.encode(1, &Message::Event(event)).unwrap();
    let expected =
        r#"{"type":"event","seq":1,"kind":"left","time_ms":1,"frame":2,"track":3,"identity":null,"other":null}"#;
    assert_eq!(std::str::from_utf8(line).unwrap().trim_end(), expected);
}

/// The bytes on the wire are fixed for version 1: a change here is a new version.
#[test]
fn a_frame_has_the_bytes_of_version_1() {
    let event = Event { kind: EventKind::Merged, time_ms: 300, frame: 2, track: 3, identity: Some(4), other: None };
    let mut encoder = Encoder::new(Format::Binary);
    let frame = encoder.encode(5, &Message::Event(event)).unwrap().to_vec();
    // seq 5, variant 2 (event), kind 2 (merged), 300 as varint, frame 2, track 3, some 4, none; then the CRC.
    let body = [5, 2, 2, 0xac, 2, 2, 3, 1, 4, 0];
    let crc = CRC.checksum(&body).to_le_bytes();
    assert!(!crc.contains(&0), "choose other values: the stuffing below assumes it");
    let mut expected = vec![10, 5, 2, 2, 0xac, 2, 2, 3, 1, 4, 5];
    expected.extend(crc);
    expected.push(0);
    assert_eq!(frame, expected);
}

#[test]
fn the_checksum_is_the_common_one() {
    // The check value of CRC-32/ISO-HDLC, the same as `zlib.crc32(b"123456789")`.
    assert_eq!(CRC.checksum(b"123456789"), 0xcbf4_3926);
}

#[test]
fn ten_people_at_ten_hertz_fit_in_115200_baud() {
    let mut encoder = Encoder::new(Format::Binary);
    let bytes = encoder.encode(u32::MAX, &late_sighting()).unwrap().len();
    // 8N1 sends ten bits a byte. A fifth of the line stays free for events, health and bad luck.
    let line = 115_200 / 10;
    assert!(bytes * 100 <= line * 4 / 5, "{bytes} bytes a sighting");
    // What the documentation says.
    assert!(bytes <= 51, "{bytes} bytes a sighting");
}

#[test]
fn the_longest_messages_fit() {
    let long = "\"".repeat(200);
    let model = ModelDigest { name: text(&long), digest: text(&long) };
    let hello = Message::Hello(Hello {
        v: WIRE_VERSION,
        program: text(&long),
        board: text(&long),
        models: std::iter::repeat_n(model, MAX_MODELS).collect(),
        source: text(&long),
    });
    let ms = Decimal::from(f32::MIN);
    let room = RoomTime { room: Room::Neighbors, p50_ms: ms, p95_ms: ms };
    let health = Message::Health(Health {
        time_ms: u64::MAX,
        frames: u64::MAX,
        rooms: std::iter::repeat_n(room, MAX_ROOMS).collect(),
        resident_bytes: u64::MAX,
        state_age_s: Some(u64::MAX),
        freezes: u64::MAX,
        frozen: true,
        ignored: u64::MAX,
        log_dropped: u64::MAX,
        ..Health::default()
    });
    for format in [Format::Ndjson, Format::Binary] {
        for message in [&hello, &health] {
            let bytes = Encoder::new(format).encode(u32::MAX, message).unwrap().len();
            assert!(bytes <= MAX_FRAME / 2, "{bytes}");
        }
    }
}

#[test]
fn other_versions_and_other_objects_are_foreign() {
    let mut hello = Hello { v: 2, program: text(""), board: text(""), models: heapless::Vec::new(), source: text("") };
    let mut encoder = Encoder::new(Format::Binary);
    let mut frame = encoder.encode(0, &Message::Hello(hello.clone())).unwrap().to_vec();
    frame.pop();
    assert_eq!(decode_frame(&mut frame), Err(Bad::Foreign));
    hello.v = WIRE_VERSION;
    let mut frame = encoder.encode(0, &Message::Hello(hello)).unwrap().to_vec();
    frame.pop();
    assert!(decode_frame(&mut frame).is_ok());

    for foreign in ["[    0.000000] Booting Linux", "", "{}", r#"{"type":"weather"}"#, r#"{"type":"event","seq":-1}"#] {
        assert_eq!(decode_line(foreign.as_bytes()), Err(Bad::Foreign), "{foreign}");
    }
    for corrupt in ["{", r#"{"type":"event","seq":1,"#, r#"{"type"~"event"}"#] {
        assert_eq!(decode_line(corrupt.as_bytes()), Err(Bad::Corrupt), "{corrupt}");
    }
}

proptest! {
    #[test]
    fn both_encodings_give_every_message_back(seq: u32, message in any_message()) {
        let packet = Packet { seq, message };
        let line = Encoder::new(Format::Ndjson).encode(seq, &packet.message).unwrap().to_vec();
        let (end, line) = line.split_last().unwrap();
        prop_assert_eq!(*end, b'\n');
        prop_assert!(!line.contains(&b'\n') && !line.contains(&0));
        prop_assert_eq!(decode_line(line), Ok(packet.clone()));

        let mut frame = Encoder::new(Format::Binary).encode(seq, &packet.message).unwrap().to_vec();
        prop_assert_eq!(frame.pop(), Some(0));
        prop_assert!(!frame.contains(&0));
        prop_assert_eq!(decode_frame(&mut frame), Ok(packet));
    }

    #[test]
    fn stuffing_of_any_bytes_is_undone(bytes in vec(prop_oneof![Just(0_u8), Just(1), Just(255), any::<u8>()], 0..700)) {
        let mut buffer = vec![0; 1000];
        let mut stuffed = Cobs::try_new(Slice::new(&mut buffer)).unwrap();
        for byte in &bytes {
            stuffed.try_push(*byte).unwrap();
        }
        let stuffed = stuffed.finalize().unwrap();
        let (_, frame) = stuffed.split_last_mut().unwrap();
        let length = unstuff(frame).unwrap();
        prop_assert_eq!(&frame[..length], &bytes[..]);
    }

    #[test]
    fn random_bytes_never_panic(mut bytes in vec(any::<u8>(), 0..600)) {
        let _ = decode_line(&bytes);
        let _ = postcard::from_bytes::<Packet>(&bytes);
        let _ = decode_frame(&mut bytes);
        let mut as_object = b"{\"type\":\"sighting\",".to_vec();
        as_object.extend(&bytes);
        prop_assert!(decode_line(&as_object).is_err());
    }

    #[test]
    fn a_right_checksum_over_random_bytes_never_panics(body in vec(any::<u8>(), 0..200)) {
        // What a hostile sender would do: the checksum protects against accidents only.
        let mut buffer = vec![0; 400];
        let mut writer = CrcModifier::new(Cobs::try_new(Slice::new(&mut buffer)).unwrap(), CRC.digest());
        for byte in &body {
            writer.try_push(*byte).unwrap();
        }
        let frame = writer.finalize().unwrap();
        let (_, frame) = frame.split_last_mut().unwrap();
        prop_assert!(decode_frame(frame) != Err(Bad::Corrupt));
    }

    #[test]
    fn one_wrong_bit_is_always_found(message in any_message(), at: prop::sample::Index, bit in 0..8_u8) {
        let mut frame = Encoder::new(Format::Binary).encode(1, &message).unwrap().to_vec();
        frame.pop();
        let at = at.index(frame.len());
        frame[at] ^= 1 << bit;
        // The bit may make a zero, which cuts the frame in two.
        for piece in frame.split_mut(|b| *b == 0) {
            prop_assert!(decode_frame(piece).is_err());
        }
    }
}
