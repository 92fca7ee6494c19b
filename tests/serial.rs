//! The serial sink on a real pseudo-terminal: both encodings, a reader that stops, a port that goes and comes back.

#![expect(clippy::unwrap_used, reason = "helpers of tests: a panic is how they fail")]

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nformer_edge::report::codec::Packet;
use nformer_edge::report::listen::{self, Counts, Decoder, Style};
use nformer_edge::report::message::{Hello, Message, Sighting, State, WIRE_VERSION, text};
use nformer_edge::report::{Format, ReportSettings, Reporter, SerialSettings};
use serialport::{SerialPort, TTYPort};

/// The machine may be busy: limits are far above what is needed, and below "for ever".
const PATIENCE: Duration = Duration::from_mins(1);

/// A pseudo-terminal: what we read from, and the name that the sink opens.
fn terminal() -> (TTYPort, String) {
    let (mut master, slave) = TTYPort::pair().unwrap();
    master.set_timeout(Duration::from_millis(20)).unwrap();
    // Our handle on the other side is closed here, and its lock with it: the sink opens it by its name.
    (master, slave.name().unwrap())
}

fn reporter(port: &str, format: Format, queue: usize, write_timeout_ms: u32) -> Reporter {
    let serial = SerialSettings { port: Some(port.into()), format, write_timeout_ms, ..SerialSettings::default() };
    Reporter::open(&ReportSettings { stdout: false, queue, serial, ..ReportSettings::default() }, true).unwrap()
}

fn hello() -> Message {
    Message::Hello(Hello {
        v: WIRE_VERSION,
        program: text("0.1.0"),
        board: text("host"),
        models: heapless::Vec::new(),
        source: text("test"),
    })
}

fn sighting(frame: u64) -> Message {
    Message::Sighting(Sighting {
        frame,
        time_ms: frame * 10,
        wall: None,
        track: frame as u32,
        identity: Some(3),
        state: State::Known,
        similarity: Some(0.75_f32.into()),
        bbox: [1.0_f32, 2.0, 3.0, 4.0].map(Into::into),
        score: 0.5_f32.into(),
    })
}

/// Reads until the sender has closed its side or the flag is set.
struct Listener {
    got: Arc<Mutex<Vec<Packet>>>,
    thread: JoinHandle<Counts>,
}

impl Listener {
    fn start(mut master: TTYPort, stop: Arc<AtomicBool>) -> Self {
        let got = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&got);
        let thread = thread::spawn(move || {
            let mut decoder = Decoder::new(None);
            let mut bytes = [0; 1024];
            let start = Instant::now();
            loop {
                assert!(start.elapsed() < 2 * PATIENCE, "the sender never closed the port");
                match master.read(&mut bytes) {
                    Ok(count) => {
                        decoder.push(&bytes[..count], |packet| shared.lock().unwrap().push(packet));
                    }
                    Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                    // The other side is closed, or not yet open.
                    Err(_) if decoder.counts().messages > 0 => break,
                    Err(_) => thread::sleep(Duration::from_millis(5)),
                }
            }
            decoder.counts()
        });
        Self { got, thread }
    }

    fn count(&self) -> usize {
        self.got.lock().unwrap().len()
    }

    fn wait_for(&self, count: usize) {
        let start = Instant::now();
        while self.count() < count {
            assert!(start.elapsed() < PATIENCE, "{} of {count} messages came", self.count());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends sightings from `next` on, one at a time, until one has arrived; its number. Nothing is under way then:
    /// `serialport` gives up what is not read when the port closes.
    fn hear_last(&self, reporter: &mut Reporter, next: u64) -> u64 {
        for frame in next.. {
            reporter.send(&sighting(frame));
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(500) {
                if self.got.lock().unwrap().last().is_some_and(|p| p.message == sighting(frame)) {
                    return frame;
                }
                thread::sleep(Duration::from_millis(5));
            }
            assert!(frame < next + 100, "nothing comes any more");
        }
        unreachable!()
    }

    fn end(self) -> (Vec<Packet>, Counts) {
        let counts = self.thread.join().unwrap();
        (Arc::into_inner(self.got).unwrap().into_inner().unwrap(), counts)
    }
}

fn never() -> Arc<AtomicBool> {
    Arc::default()
}

#[test]
fn every_message_arrives_in_both_encodings() {
    for format in [Format::Ndjson, Format::Binary] {
        let (master, port) = terminal();
        let mut reporter = reporter(&port, format, 1024, 30_000);
        let listener = Listener::start(master, never());
        reporter.send(&hello());
        (1..500).for_each(|n| reporter.send(&sighting(n)));
        listener.wait_for(500);
        assert_eq!(reporter.close(), 0);
        let (packets, counts) = listener.end();
        assert_eq!(counts, Counts { messages: 500, ..Counts::default() }, "{format:?}");
        assert_eq!(packets[0], Packet { seq: 0, message: hello() });
        assert!(packets.iter().skip(1).all(|p| p.message == sighting(u64::from(p.seq))));
    }
}

#[test]
fn a_reader_that_stops_never_holds_up_the_sender_and_losses_are_counted_exactly() {
    for format in [Format::Ndjson, Format::Binary] {
        let (master, port) = terminal();
        let mut reporter = reporter(&port, format, 16, 50);
        reporter.send(&hello());
        let start = Instant::now();
        let mut sent = 1;
        // The kernel takes some kilobytes; then nobody reads. Go on until a good many were dropped, by the full queue
        // and by writes that ran out of time.
        while reporter.dropped() < 500 || start.elapsed() < Duration::from_millis(400) {
            let before = Instant::now();
            reporter.send(&sighting(sent));
            assert!(before.elapsed() < Duration::from_secs(10), "sending waited for the reader");
            sent += 1;
            assert!(start.elapsed() < PATIENCE, "nothing was dropped");
            thread::sleep(Duration::from_micros(200));
        }
        let listener = Listener::start(master, never());
        // The reader is back. The message that arrives last shows it all gaps before.
        let last = listener.hear_last(&mut reporter, sent);
        let dropped = reporter.close();
        let (packets, counts) = listener.end();
        assert!(dropped >= 500);
        // On a busy machine the queue may be full before its thread runs for the first time: nobody can see what is
        // missing before the first message.
        let unseen = u64::from(packets[0].seq);
        assert_eq!(counts.lost + unseen, dropped, "{format:?}");
        assert_eq!(counts.messages + counts.lost + unseen, last + 1);
        assert_eq!(counts.restarts, 0);
        assert!(packets.iter().skip(1).all(|p| p.message == sighting(u64::from(p.seq))), "numbers do not fit");
    }
}

#[test]
fn a_reader_that_never_comes_back_does_not_hold_up_the_end() {
    let (_master, port) = terminal();
    let mut reporter = reporter(&port, Format::Ndjson, 64, 60_000);
    // Far more than the kernel takes, slow enough for the sink to keep up until then.
    for n in 0..2000 {
        reporter.send(&sighting(n));
        thread::sleep(Duration::from_micros(100));
    }
    let start = Instant::now();
    assert!(reporter.close() >= 64, "the queue was full and nobody read it");
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(450), "the reader had a fair time: {took:?}");
    assert!(took < Duration::from_secs(20), "closing took {took:?}");
}

#[test]
fn a_write_gives_up_after_its_timeout() {
    let (_master, port) = terminal();
    let mut reporter = reporter(&port, Format::Ndjson, 8, 20);
    let start = Instant::now();
    for n in 0.. {
        reporter.send(&sighting(n));
        if reporter.dropped() > 100 {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "nothing was dropped");
        thread::sleep(Duration::from_micros(500));
    }
    // Nothing is sent any more: what is dropped now was in a write that ran out of time. A write that hangs in the kernel
    // would drop nothing.
    let before = reporter.dropped();
    while reporter.dropped() < before + 4 {
        assert!(start.elapsed() < PATIENCE, "a write does not end");
        thread::sleep(Duration::from_millis(5));
    }
    reporter.close();
}

#[test]
fn a_port_that_goes_and_comes_back_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    // A name that stays while the device behind it changes, as udev's links do.
    let name = folder.path().join("reader");
    let (master, port) = terminal();
    symlink(&port, &name).unwrap();
    let mut reporter = reporter(name.to_str().unwrap(), Format::Binary, 64, 1000);
    let stop = never();
    let listener = Listener::start(master, Arc::clone(&stop));
    reporter.send(&hello());
    reporter.send(&sighting(1));
    listener.wait_for(2);

    stop.store(true, Ordering::Relaxed);
    let (before, _) = listener.end();
    // The sink finds out by writing; the name leads nowhere for a while.
    std::fs::remove_file(&name).unwrap();
    for n in 2..10 {
        reporter.send(&sighting(n));
        thread::sleep(Duration::from_millis(50));
    }
    let (master, port) = terminal();
    symlink(&port, &name).unwrap();
    let listener = Listener::start(master, never());
    let start = Instant::now();
    let mut n = 10;
    while listener.count() < 20 {
        assert!(start.elapsed() < PATIENCE, "the port was not opened again");
        reporter.send(&sighting(n));
        n += 1;
        thread::sleep(Duration::from_millis(20));
    }
    listener.hear_last(&mut reporter, n);
    let dropped = reporter.close();
    let (after, counts) = listener.end();
    assert_eq!(after[0].message, hello(), "a new reader has to know who is sending");
    assert!(after[0].seq > 1, "the numbers go on");
    // What the new reader cannot see is the gap between the two readers.
    let between = u64::from(after[0].seq - before.last().unwrap().seq - 1);
    assert_eq!(between + counts.lost, dropped);
    assert!(dropped >= 1, "the message that met the closed port is lost");
    assert_eq!((counts.corrupt, counts.restarts), (0, 0));
    let unique: BTreeSet<_> = after.iter().map(|p| p.seq).collect();
    assert_eq!(unique.len(), after.len());
}

/// Sets the flag once a line was printed.
struct StopAfterALine(Arc<AtomicBool>, Vec<u8>);

impl Write for StopAfterALine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.store(bytes.contains(&b'\n'), Ordering::Relaxed);
        self.1.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_listener_reads_a_port_by_name() {
    let (mut master, port) = terminal();
    let mut input = listen::open(&port, 115_200).unwrap();
    let line = "boot\n{\"type\":\"event\",\"seq\":4,\"kind\":\"left\",\"time_ms\":1,\"frame\":2,\"track\":3,\
                \"identity\":null,\"other\":null}\n";
    master.write_all(line.as_bytes()).unwrap();
    let stop = never();
    let mut out = StopAfterALine(Arc::clone(&stop), Vec::new());
    let summary = listen::listen(&mut *input, None, Style::Human, &mut out, &stop).unwrap();
    assert_eq!(summary.events, 1);
    let printed = String::from_utf8(out.1).unwrap();
    assert!(printed.contains("track 3 left"), "{printed}");
}

#[test]
fn a_wrong_port_is_known_at_the_start() {
    let serial = SerialSettings { port: Some("/dev/no-such-port".into()), ..SerialSettings::default() };
    let settings = ReportSettings { stdout: false, serial, ..ReportSettings::default() };
    let error = Reporter::open(&settings, true).err().unwrap();
    assert!(error.to_string().contains("/dev/no-such-port"), "{error}");
    assert!(!Path::new("/dev/no-such-port").exists());
}
