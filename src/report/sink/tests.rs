use std::io::Write;
use std::sync::Mutex;
use std::sync::mpsc::SyncSender;
use std::time::Instant;

use super::*;
use crate::report::codec::{Packet, decode_line};
use crate::report::message::{Event, EventKind, Health, Hello, WIRE_VERSION, text};
use crate::report::tests::Page;

fn event(track: u32) -> Message {
    Message::Event(Event { kind: EventKind::Entered, time_ms: 0, frame: 0, track, identity: None, other: None })
}

fn hello() -> Message {
    let models = heapless::Vec::new();
    Message::Hello(Hello { v: WIRE_VERSION, program: text("1"), board: text("b"), models, source: text("s") })
}

fn packets(bytes: &[u8]) -> Vec<Packet> {
    let lines = bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| decode_line(line).unwrap()).collect()
}

/// What the next calls of a [`Scripted`] output answer; `Whole` and `Ready` once the script is over.
#[derive(Clone, Default)]
struct Scripted {
    page: Page,
    script: Arc<Mutex<Vec<(Prepared, Written)>>>,
    now: Option<(Prepared, Written)>,
}

impl Output for Scripted {
    fn prepare(&mut self, _: &Phase) -> Prepared {
        let mut script = self.script.lock().unwrap();
        self.now = if script.is_empty() { None } else { Some(script.remove(0)) };
        self.now.map_or(Prepared::Ready, |now| now.0)
    }

    fn write(&mut self, frame: &[u8], _: &Phase) -> Written {
        let written = self.now.map_or(Written::Whole, |now| now.1);
        if written == Written::Whole {
            self.page.write_all(frame).unwrap();
        }
        written
    }

    fn repeats_hello(&self) -> bool {
        true
    }
}

/// Writes block until the test hands out a permit; without one for ever, as a reader that stopped does.
struct Gate(Receiver<()>, Page);

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.recv();
        self.1.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn gated(capacity: usize, overflow: Overflow) -> (Sink, SyncSender<()>, Page) {
    let (permit, permits) = std::sync::mpsc::sync_channel(10_000);
    let page = Page::default();
    let output = Plain::new(Gate(permits, page.clone()));
    (Sink::start("test", output, Format::Ndjson, capacity, overflow).unwrap(), permit, page)
}

fn close(sink: &Sink) {
    sink.drain();
    sink.finish();
}

#[test]
fn everything_arrives_in_order() {
    let page = Page::default();
    let sink = Sink::start("test", Plain::new(page.clone()), Format::Ndjson, 8, Overflow::Block).unwrap();
    (0..500).for_each(|n| sink.send(&event(n)));
    close(&sink);
    let got = packets(&page.0.lock().unwrap());
    assert_eq!(got, (0..500).map(|n| Packet { seq: n, message: event(n) }).collect::<Vec<_>>());
    assert_eq!(sink.dropped(), 0);
}

#[test]
fn a_reader_that_stopped_costs_the_oldest_and_the_numbers_tell() {
    let (sink, permit, page) = gated(10, Overflow::DropOldest);
    (0..100).for_each(|n| sink.send(&event(n)));
    (0..10_000).for_each(|_| permit.send(()).unwrap());
    close(&sink);
    let got = packets(&page.0.lock().unwrap());
    let newest: Vec<_> = got.iter().rev().take(10).rev().map(|p| p.seq).collect();
    assert_eq!(newest, (90..100).collect::<Vec<_>>());
    assert!(got.iter().all(|p| p.message == event(p.seq)), "a message took another's number");
    assert_eq!(got.len() as u64 + sink.dropped(), 100);
}

#[test]
fn closing_does_not_wait_for_a_reader_that_never_comes_back() {
    let (sink, permit, _page) = gated(10, Overflow::DropOldest);
    (0..5).for_each(|n| sink.send(&event(n)));
    let start = Instant::now();
    sink.drain();
    sink.finish();
    // Generous: the machine may be busy. Without the deadline this would never end.
    assert!(start.elapsed() < Duration::from_secs(20));
    assert!(sink.dropped() >= 4);
    drop(permit);
}

#[test]
fn a_reader_that_went_away_is_noticed_and_frees_the_sender() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let sink = Sink::start("test", Plain::new(Gone), Format::Ndjson, 2, Overflow::Block).unwrap();
    (0..100).for_each(|n| sink.send(&event(n)));
    close(&sink);
    assert!(sink.reader_gone());
    assert_eq!(sink.dropped(), 100);
}

#[test]
fn a_full_disk_is_survived_with_whole_lines() {
    /// Takes half of the third write, then refuses, then is well again.
    struct Disk(Page, u32);
    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1 += 1;
            match self.1 {
                3 => self.0.write(&bytes[..bytes.len() / 2]),
                4 | 5 => Err(io::ErrorKind::StorageFull.into()),
                _ => self.0.write(bytes),
            }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let page = Page::default();
    let sink = Sink::start("test", Plain::new(Disk(page.clone(), 0)), Format::Ndjson, 8, Overflow::Block).unwrap();
    (0..6).for_each(|n| sink.send(&event(n)));
    close(&sink);
    let bytes = page.0.lock().unwrap().clone();
    let whole: Vec<_> = bytes.split(|b| *b == b'\n').filter_map(|line| decode_line(line).ok()).map(|p| p.seq).collect();
    assert_eq!(whole, [0, 1, 4, 5]);
    assert_eq!(sink.dropped(), 2);
}

#[test]
fn a_reader_who_may_be_new_gets_hello_first() {
    let output = Scripted::default();
    *output.script.lock().unwrap() = vec![
        (Prepared::Ready, Written::Whole),
        (Prepared::Ready, Written::Lost),
        (Prepared::Reopened, Written::Whole),
        (Prepared::Absent, Written::Whole),
    ];
    let page = output.page.clone();
    let sink = Sink::start("test", output, Format::Ndjson, 8, Overflow::Block).unwrap();
    let health = Message::Health(Health::default());
    for message in [hello(), event(1), event(2), event(3), event(4), health.clone()] {
        sink.send(&message);
    }
    close(&sink);
    let got: Vec<_> = packets(&page.0.lock().unwrap()).into_iter().map(|p| (p.seq, p.message)).collect();
    let expected = [(0, hello()), (2, hello()), (3, event(2)), (5, event(4)), (6, hello()), (7, health)];
    assert_eq!(got, expected);
    assert_eq!(sink.dropped(), 2, "one was not written, one found nobody");
}

#[test]
fn a_flag_frees_a_sender_that_waits_for_a_reader() {
    let (mut sink, permit, _page) = gated(2, Overflow::Block);
    let flag = Arc::new(AtomicBool::new(false));
    sink.hurry_on(&flag);
    let signal = {
        let flag = Arc::clone(&flag);
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            flag.store(true, Ordering::Relaxed);
        })
    };
    // Without the flag this would wait for ever: nobody hands out a permit.
    (0..20).for_each(|n| sink.send(&event(n)));
    signal.join().unwrap();
    assert!(sink.dropped() >= 17);
    drop(permit);
    close(&sink);
}
