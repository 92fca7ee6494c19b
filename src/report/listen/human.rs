//! Messages as lines for people.

use std::fmt;

use crate::report::message::{Event, EventKind, Health, Hello, Message, Sighting, State};

/// One message as one line. Text from the other side is printed with its control characters escaped.
pub(super) struct Line<'a>(pub(super) &'a Message);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Message::Hello(hello) => write_hello(f, hello),
            Message::Sighting(sighting) => write_sighting(f, sighting),
            Message::Event(event) => write_event(f, event),
            Message::Health(health) => write_health(f, health),
        }
    }
}

fn write_hello(f: &mut fmt::Formatter<'_>, hello: &Hello) -> fmt::Result {
    let (program, board, source) =
        (hello.program.escape_debug(), hello.board.escape_debug(), hello.source.escape_debug());
    write!(f, "hello: nformer-edge {program} on {board}, wire version {}, source {source}", hello.v)?;
    for model in &hello.models {
        write!(f, ", {} {}", model.name.escape_debug(), model.digest.escape_debug())?;
    }
    Ok(())
}

fn write_sighting(f: &mut fmt::Formatter<'_>, seen: &Sighting) -> fmt::Result {
    write!(f, "{:>9} frame {} track {} ", Seconds(seen.time_ms), seen.frame, seen.track)?;
    let state = match seen.state {
        State::Known => "known",
        State::New => "new",
        State::Unsure => "unsure",
        State::Tracked => "tracked",
    };
    write!(f, "{}{state}", Identity(seen.identity))?;
    if let Some(similarity) = seen.similarity {
        write!(f, " {similarity:.4}")?;
    }
    let [x, y, width, height] = seen.bbox;
    write!(f, ", box {x:.1},{y:.1} {width:.1}x{height:.1}, score {:.4}", seen.score)
}

fn write_event(f: &mut fmt::Formatter<'_>, event: &Event) -> fmt::Result {
    write!(f, "{:>9} frame {} ", Seconds(event.time_ms), event.frame)?;
    if event.track != 0 {
        write!(f, "track {} ", event.track)?;
    }
    write!(f, "{}", Identity(event.identity))?;
    match event.kind {
        EventKind::Entered => f.write_str("entered"),
        EventKind::Identified => f.write_str("identified"),
        EventKind::Left => f.write_str("left"),
        EventKind::Merged => match event.other {
            Some(other) => write!(f, "merged with identity {other}"),
            None => f.write_str("merged"),
        },
        EventKind::CameraFrozen => f.write_str("the camera's picture stands still"),
        EventKind::CameraMoving => f.write_str("the camera's picture moves again"),
        EventKind::Reloaded => f.write_str("configuration read again"),
        EventKind::ReloadRefused => f.write_str("configuration read again and refused"),
    }
}

fn write_health(f: &mut fmt::Formatter<'_>, health: &Health) -> fmt::Result {
    write!(f, "{:>9} health: {:.1} fps, {} frames", Seconds(health.time_ms), health.fps, health.frames)?;
    for room in &health.rooms {
        write!(f, ", {:?} {:.1}/{:.1} ms", room.room, room.p50_ms, room.p95_ms)?;
    }
    let Health { stale, corrupt, timeouts, reconnects, report_dropped, .. } = health;
    write!(
        f,
        ", stale {stale}, corrupt {corrupt}, timeouts {timeouts}, reconnects {reconnects}, dropped {report_dropped}"
    )?;
    write!(f, ", {} MiB", health.resident_bytes >> 20)?;
    if let Some(temperature) = health.temperature_c {
        write!(f, ", {temperature:.1} C")?;
    }
    f.write_str(if health.throttled == Some(true) { ", throttled" } else { "" })?;
    if let Some(age) = health.state_age_s {
        write!(f, ", state saved {age} s ago")?;
    }
    if health.state_failures > 0 {
        write!(f, ", {} saves failed", health.state_failures)?;
    }
    f.write_str(if health.frozen { ", picture stands still" } else { "" })?;
    for (count, what) in [(health.ignored, "people without a place"), (health.log_dropped, "log lines lost")] {
        if count > 0 {
            write!(f, ", {count} {what}")?;
        }
    }
    Ok(())
}

struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{:03} s", self.0 / 1000, self.0 % 1000))
    }
}

struct Identity(Option<u32>);

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |identity| write!(f, "identity {identity} "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::message::{WIRE_VERSION, text};

    #[test]
    fn a_sighting_and_an_event_read_well() {
        let sighting = Message::Sighting(Sighting {
            frame: 12,
            time_ms: 1234,
            wall: None,
            track: 3,
            identity: Some(7),
            state: State::Known,
            similarity: Some(0.81237_f32.into()),
            bbox: [10.0_f32, 20.06, 30.0, 40.0].map(Into::into),
            score: 0.9_f32.into(),
        });
        assert_eq!(
            Line(&sighting).to_string(),
            "  1.234 s frame 12 track 3 identity 7 known 0.8124, box 10.0,20.1 30.0x40.0, score 0.9000"
        );
        let event =
            Event { kind: EventKind::Merged, time_ms: 5, frame: 1, track: 2, identity: Some(1), other: Some(4) };
        assert_eq!(
            Line(&Message::Event(event)).to_string(),
            "  0.005 s frame 1 track 2 identity 1 merged with identity 4"
        );
        let event =
            Event { kind: EventKind::CameraFrozen, track: 0, identity: None, other: None, time_ms: 5, frame: 1 };
        assert_eq!(Line(&Message::Event(event)).to_string(), "  0.005 s frame 1 the camera's picture stands still");
        assert!(Line(&Message::Health(Health::default())).to_string().contains("health: 0.0 fps, 0 frames"));
    }

    #[test]
    fn text_from_outside_cannot_steer_the_terminal() {
        // Not made by `text`, which would have replaced the control character already.
        let program = "\u{1b}[2J".try_into().unwrap();
        let hello =
            Hello { v: WIRE_VERSION, program, board: text("b"), models: heapless::Vec::new(), source: text("s") };
        assert!(!Line(&Message::Hello(hello)).to_string().contains('\u{1b}'));
    }
}
