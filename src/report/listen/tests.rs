use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::report::codec::tests::any_message;
use crate::report::codec::{MAX_FRAME, Packet};
use crate::report::message::{Event, EventKind, Hello, WIRE_VERSION, text};

fn hello() -> Message {
    Message::Hello(Hello {
        v: WIRE_VERSION,
        program: text("0.1.0"),
        board: text("host"),
        models: heapless::Vec::new(),
        source: text("clip"),
    })
}

fn event(track: u32) -> Message {
    // Number 10 is a line feed inside the binary frame.
    Message::Event(Event { kind: EventKind::Entered, time_ms: 10, frame: 10, track, identity: None, other: None })
}

fn encoded(format: Format, packets: impl IntoIterator<Item = (u32, Message)>) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(format);
    packets.into_iter().map(|(seq, message)| encoder.encode(seq, &message).unwrap().to_vec()).collect()
}

fn decoded(format: Option<Format>, bytes: &[u8]) -> (Vec<Packet>, Counts, Option<Format>) {
    let mut decoder = Decoder::new(format);
    let mut packets = Vec::new();
    decoder.push(bytes, |packet| packets.push(packet));
    decoder.finish();
    (packets, decoder.counts(), decoder.format())
}

const BOTH: [Format; 2] = [Format::Ndjson, Format::Binary];

#[test]
fn the_format_is_found_out() {
    for format in BOTH {
        let bytes = encoded(format, (0..20).map(|n| (n, event(n)))).concat();
        let (packets, counts, found) = decoded(None, &bytes);
        assert_eq!(found, Some(format));
        assert_eq!(packets.len(), 20);
        assert_eq!(counts, Counts { messages: 20, ..Counts::default() });
    }
}

#[test]
fn boot_messages_before_the_first_message_are_foreign() {
    let mut bytes = b"U-Boot 2024.01\r\n[    0.0] Booting Linux\r\nlogin: \r\n".repeat(200);
    bytes.extend(encoded(Format::Ndjson, (0..3).map(|n| (n, event(n)))).concat());
    let (packets, counts, _) = decoded(None, &bytes);
    assert_eq!(packets.len(), 3);
    // The first line of all is not counted: the listener may have come in the middle of it.
    assert_eq!((counts.foreign, counts.corrupt, counts.lost), (599, 0, 0));

    let mut bytes = b"U-Boot 2024.01\r\nlogin: \r\n".to_vec();
    bytes.push(0);
    bytes.extend(encoded(Format::Binary, (0..3).map(|n| (n, event(n)))).concat());
    let (packets, counts, found) = decoded(None, &bytes);
    assert_eq!((packets.len(), found), (3, Some(Format::Binary)));
    assert_eq!((counts.foreign, counts.corrupt, counts.lost), (0, 0, 0));
}

#[test]
fn gaps_are_counted_and_a_restart_is_none() {
    for format in BOTH {
        let numbers = [0, 1, 5, 6, 0, 1, 2, 4];
        let packets = numbers.map(|n| (n, if n == 0 { hello() } else { event(n) }));
        let (_, counts, _) = decoded(None, &encoded(format, packets).concat());
        assert_eq!(counts, Counts { messages: 8, lost: 4, restarts: 1, ..Counts::default() });
    }
}

#[test]
fn the_numbers_may_wrap_and_a_repeated_hello_is_no_restart() {
    let packets = [(u32::MAX - 1, event(1)), (u32::MAX, hello()), (0, event(3)), (2, event(4)), (3, hello())];
    let (_, counts, _) = decoded(None, &encoded(Format::Binary, packets).concat());
    assert_eq!(counts, Counts { messages: 5, lost: 1, ..Counts::default() });
}

#[test]
fn a_restart_whose_hello_was_lost_is_not_billions_of_losses() {
    let (_, counts, _) = decoded(None, &encoded(Format::Ndjson, [(5000, event(1)), (3, event(2))]).concat());
    assert_eq!(counts, Counts { messages: 2, restarts: 1, ..Counts::default() });
}

#[test]
fn memory_is_fixed_whatever_comes() {
    for format in [None, Some(Format::Ndjson), Some(Format::Binary)] {
        let mut decoder = Decoder::new(format);
        for filler in [b'a', b'{', b'\n', 0xff] {
            decoder.push(b"\n", |_| unreachable!());
            (0..100).for_each(|_| decoder.push(&[filler; 1000], |_| unreachable!()));
        }
        assert!(decoder.capacity() <= 2 * MAX_FRAME);
        let bytes = encoded(Format::Binary, [(1, event(1)), (2, event(2))]).concat();
        let lines = encoded(Format::Ndjson, [(1, event(1)), (2, event(2))]).concat();
        let mut found = 0;
        let (end, rest) = if format == Some(Format::Ndjson) { (b'\n', &lines) } else { (0, &bytes) };
        decoder.push(&[end], |_| ());
        decoder.push(rest, |_| found += 1);
        assert_eq!(found, 2);
    }
}

#[test]
fn an_end_in_the_middle_of_a_message_is_damage() {
    for format in BOTH {
        let bytes = encoded(format, (0..3).map(|n| (n, event(n)))).concat();
        let (packets, counts, _) = decoded(None, &bytes[..bytes.len() - 3]);
        assert_eq!((packets.len(), counts.corrupt, counts.lost), (2, 1, 0));
    }
}

#[test]
fn coming_in_the_middle_is_no_damage() {
    for format in BOTH {
        let bytes = encoded(format, (0..3).map(|n| (n, event(n)))).concat();
        for known in [None, Some(format)] {
            let (packets, counts, _) = decoded(known, &bytes[4..]);
            assert_eq!(packets.len(), 2);
            assert_eq!(counts, Counts { messages: 2, ..Counts::default() });
        }
    }
}

#[test]
fn listening_prints_lines_and_a_summary() {
    let bytes = encoded(Format::Binary, [(0, hello()), (1, event(1)), (3, event(2))]).concat();
    let stop = AtomicBool::new(false);
    let mut out = Vec::new();
    let summary = listen(&mut &bytes[..], None, Style::Ndjson, &mut out, &stop).unwrap();
    assert_eq!(out, encoded(Format::Ndjson, [(0, hello()), (1, event(1)), (3, event(2))]).concat());
    assert_eq!(
        summary.to_string(),
        "received 3 (hello 1, sighting 0, event 2, health 0), lost 1, corrupt 0, foreign 0, restarts 0"
    );
    let mut out = Vec::new();
    listen(&mut &bytes[..], Some(Format::Binary), Style::Human, &mut out, &stop).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.starts_with("hello: nformer-edge 0.1.0 on host"), "{text}");
    assert_eq!(text.lines().count(), 3);
}

#[test]
fn a_set_flag_stops_listening() {
    let stop = AtomicBool::new(true);
    let summary = listen(&mut io::repeat(b'x'), None, Style::Human, &mut io::sink(), &stop).unwrap();
    assert_eq!(summary, Summary::default());
}

#[test]
fn a_place_that_cannot_be_read_is_named() {
    let error = open("/no/such/place", 115_200).err().unwrap();
    assert!(error.to_string().contains("/no/such/place"), "{error}");
    let mut nothing = String::new();
    open("/dev/null", 115_200).unwrap().read_to_string(&mut nothing).unwrap();
    assert_eq!(nothing, "");
}

#[derive(Clone, Debug)]
enum Damage {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index, usize),
    Insert(prop::sample::Index, Vec<u8>),
}

fn any_damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        (any::<prop::sample::Index>(), 1..=255_u8).prop_map(|(at, bits)| Damage::Flip(at, bits)),
        (any::<prop::sample::Index>(), 1..80_usize).prop_map(|(at, length)| Damage::Cut(at, length)),
        (any::<prop::sample::Index>(), vec(any::<u8>(), 1..80)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
    ]
}

fn apply(damage: &Damage, bytes: &mut Vec<u8>) {
    match damage {
        Damage::Flip(at, bits) => {
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
        }
        Damage::Cut(at, length) => {
            let at = at.index(bytes.len());
            bytes.drain(at..(at + length).min(bytes.len()));
        }
        Damage::Insert(at, more) => {
            let at = at.index(bytes.len());
            bytes.splice(at..at, more.iter().copied());
        }
    }
}

proptest! {
    #[test]
    fn pieces_of_any_size_give_the_same(messages in vec(any_message(), 1..8), sizes in vec(1..50_usize, 1..9), binary: bool) {
        let format = BOTH[usize::from(binary)];
        let bytes = encoded(format, (0..).zip(messages.iter().cloned())).concat();
        let mut decoder = Decoder::new(None);
        let mut packets = Vec::new();
        let mut rest = &bytes[..];
        for size in sizes.iter().cycle() {
            let (piece, later) = rest.split_at((*size).min(rest.len()));
            decoder.push(piece, |packet| packets.push(packet));
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        let expected: Vec<_> = (0..).zip(messages).map(|(seq, message)| Packet { seq, message }).collect();
        prop_assert_eq!(packets, expected);
    }

    /// Damage anywhere in the middle: what stands before and after it arrives, and every message is either
    /// received or counted as lost.
    #[test]
    fn messages_after_the_damage_are_found_again(
        middle in vec(any_message(), 3..8), damage in vec(any_damage(), 1..5), binary: bool, known: bool,
    ) {
        let format = BOTH[usize::from(binary)];
        let count = middle.len() as u32;
        let before = encoded(format, [(0, event(0))]).concat();
        let mut bytes = encoded(format, (1..).zip(middle)).concat();
        for damage in &damage {
            if !bytes.is_empty() {
                apply(damage, &mut bytes);
            }
        }
        // The delimiter of the last damaged message may be gone too: the first message after it pays for that.
        let after = encoded(format, (count + 1..count + 4).map(|n| (n, event(n)))).concat();
        let stream = [before, bytes, after].concat();
        let (packets, counts, _) = decoded(known.then_some(format), &stream);
        let tail: Vec<_> = packets.iter().rev().take(2).rev().map(|p| p.seq).collect();
        prop_assert_eq!(tail, vec![count + 2, count + 3]);
        prop_assert_eq!(packets[0].seq, 0);
        prop_assert_eq!(counts.messages as usize, packets.len());
        // Two good frames may stand in the damaged part in the wrong order only by a changed number,
        // which the checksum of a frame does not let through.
        if binary {
            prop_assert_eq!(counts.messages + counts.lost, u64::from(count) + 4);
        }
    }

    #[test]
    fn random_streams_never_panic(bytes in vec(prop_oneof![Just(0_u8), Just(b'\n'), Just(b'{'), any::<u8>()], 0..9000)) {
        for format in [None, Some(Format::Ndjson), Some(Format::Binary)] {
            decoded(format, &bytes);
        }
    }
}
