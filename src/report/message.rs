//! The messages of wire format version 1: one set of structs for both encodings.
//!
//! Every message is of a fixed size in memory, so that a queue of them is allocated once and cloning
//! one never allocates. Fields are written in the order in which they stand here; a field is never
//! left out, an unknown value is `null`.

use serde::{Deserialize, Serialize};

use super::decimal::Decimal;
use crate::detector::BBox;
use crate::size::MAX_LAYERS;

pub use crate::recognition::State;

/// Version of the wire format, the first field of [`Hello`].
pub const WIRE_VERSION: u8 = 1;

/// Most models named in a [`Hello`].
pub const MAX_MODELS: usize = 4;

/// Most rooms timed in a [`Health`].
pub const MAX_ROOMS: usize = 12;

/// Text of at most `N` bytes of UTF-8; make one with [`text`].
pub type Text<const N: usize> = heapless::String<N>;

/// Pixels, in steps of 0.1.
pub type Pixels = Decimal<10>;

/// A similarity or score, in steps of 0.0001.
pub type Ratio = Decimal<10_000>;

/// Milliseconds of a measurement or frames a second, in steps of 0.01.
pub type Measured = Decimal<100>;

/// One thing to report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Who is sending.
    Hello(Hello),
    /// One person in one frame.
    Sighting(Sighting),
    /// Something happened to a track or an identity.
    Event(Event),
    /// How the device is doing.
    Health(Health),
}

/// Who is sending: the first message of a run. Serial sinks repeat it when the port was opened again
/// and with each [`Health`], for readers that come later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`WIRE_VERSION`].
    pub v: u8,
    /// Version of the program.
    pub program: Text<24>,
    /// Board this was built for.
    pub board: Text<32>,
    /// The models in use.
    pub models: heapless::Vec<ModelDigest, MAX_MODELS>,
    /// Where the frames come from.
    pub source: Text<96>,
}

/// A model file by its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelDigest {
    /// Name on its card.
    pub name: Text<32>,
    /// First hexadecimal digits of its sha256.
    pub digest: Text<16>,
}

/// One person in one frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// Sequence number of the frame in its source.
    pub frame: u64,
    /// Time of the frame since the source started, in ms.
    pub time_ms: u64,
    /// Unix time in ms; none for a recorded clip, and as long as the system's clock is not synchronised (looked up with each
    /// [`Health`]).
    pub wall: Option<u64>,
    /// The track.
    pub track: u32,
    /// The identity, if one is known.
    pub identity: Option<u32>,
    /// How the identity came about.
    pub state: State,
    /// Cosine similarity to the identity, fused embedding and embedding side by side, -1 to 1; none where nothing was
    /// compared.
    pub similarity: Option<Ratio>,
    /// Left, top, width, height of the box in frame pixels.
    pub bbox: [Pixels; 4],
    /// How sure the detector is, 0 to 1.
    pub score: Ratio,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What.
    pub kind: EventKind,
    /// Time of the frame since the source started, in ms.
    pub time_ms: u64,
    /// Sequence number of the frame in its source.
    pub frame: u64,
    /// The track it happened to; 0 where it happened to none.
    pub track: u32,
    /// The identity of the track, if one is known.
    pub identity: Option<u32>,
    /// [`EventKind::Merged`]: the identity that was given up for `identity`.
    pub other: Option<u32>,
}

/// Kinds of [`Event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// A track began.
    Entered,
    /// A track got its identity, or another one.
    Identified,
    /// Two identities turned out to be one person.
    Merged,
    /// A track ended.
    Left,
    /// The camera hands out the same picture again and again.
    #[serde(rename = "camera_frozen")]
    CameraFrozen,
    /// The camera's pictures change again.
    #[serde(rename = "camera_moving")]
    CameraMoving,
    /// The configuration was read again and is in force.
    Reloaded,
    /// The configuration was read again and is wrong: the one before stays in force.
    #[serde(rename = "reload_refused")]
    ReloadRefused,
}

/// How the device is doing. Counters run from the start of the program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Time since the source started, in ms.
    pub time_ms: u64,
    /// Frames a second since the last such message.
    pub fps: Measured,
    /// Frames handled.
    pub frames: u64,
    /// Time spent in each room.
    pub rooms: heapless::Vec<RoomTime, MAX_ROOMS>,
    /// Frames skipped because a newer one was waiting.
    pub stale: u64,
    /// Damaged frames dropped.
    pub corrupt: u64,
    /// Waits for the camera that ended without a frame.
    pub timeouts: u64,
    /// Times the camera was opened again.
    pub reconnects: u64,
    /// Messages that sinks dropped.
    pub report_dropped: u64,
    /// Rows of the neighbour buffer that made place for others.
    pub evictions: u64,
    /// Embeddings refused at the door.
    pub refused_embeddings: u64,
    /// Rows that the fusion network computed, by layer.
    pub recomputed: heapless::Vec<u64, MAX_LAYERS>,
    /// Resident memory of the process, in bytes.
    pub resident_bytes: u64,
    /// Temperature of the processor in degrees Celsius, if the board tells it.
    pub temperature_c: Option<Decimal<10>>,
    /// Whether the board runs slower than it could (heat, voltage), if it tells.
    pub throttled: Option<bool>,
    /// Times the state was saved to the disk.
    #[serde(default)]
    pub state_saved: u64,
    /// Saves that failed or were left out because the disk was not done.
    #[serde(default)]
    pub state_failures: u64,
    /// Age of the last save, in s; none without one. Where nobody comes there is one in 15 intervals only.
    #[serde(default)]
    pub state_age_s: Option<u64>,
    /// Times the camera's picture was found to stand still.
    #[serde(default)]
    pub freezes: u64,
    /// Whether it stands still now.
    #[serde(default)]
    pub frozen: bool,
    /// People that found no place: more than a frame may hold.
    #[serde(default)]
    pub ignored: u64,
    /// Lines of the log that could not be written.
    #[serde(default)]
    pub log_dropped: u64,
}

/// Time spent in one room, a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomTime {
    /// Which room.
    pub room: Room,
    /// Median, in ms.
    pub p50_ms: Measured,
    /// 95th percentile, in ms.
    pub p95_ms: Measured,
}

/// Rooms that are timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Room {
    /// Waiting for and decoding a frame.
    Camera,
    /// Detector.
    Detector,
    /// Tracks.
    Tracks,
    /// Backbone, crops included.
    Backbone,
    /// Neighbour buffer.
    Neighbors,
    /// Fusion.
    Nformer,
    /// Gallery.
    Gallery,
    /// Handing messages to the sinks.
    Report,
    /// A frame from end to end, without waiting for it.
    Frame,
}

impl Room {
    /// All rooms, in the order of the data.
    pub const ALL: [Self; 9] = [
        Self::Camera,
        Self::Detector,
        Self::Tracks,
        Self::Backbone,
        Self::Neighbors,
        Self::Nformer,
        Self::Gallery,
        Self::Report,
        Self::Frame,
    ];

    /// The room's name, as in the messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Camera => "camera",
            Self::Detector => "detector",
            Self::Tracks => "tracks",
            Self::Backbone => "backbone",
            Self::Neighbors => "neighbors",
            Self::Nformer => "nformer",
            Self::Gallery => "gallery",
            Self::Report => "report",
            Self::Frame => "frame",
        }
    }
}

/// The first bytes of `value` that fit in `N`, cut between characters; control characters become `?`,
/// so that a name from outside cannot steer a reader's terminal.
pub fn text<const N: usize>(value: &str) -> Text<N> {
    let mut short = Text::new();
    for c in value.chars() {
        if short.push(if c.is_control() { '?' } else { c }).is_err() {
            break;
        }
    }
    short
}

/// A box as it goes on the wire: left, top, width, height.
pub fn pixels(bbox: &BBox) -> [Pixels; 4] {
    [bbox.x, bbox.y, bbox.width, bbox.height].map(Pixels::from)
}

impl Message {
    /// Time of the message since the source started, in ms; 0 for [`Hello`].
    pub fn time_ms(&self) -> u64 {
        match self {
            Self::Hello(_) => 0,
            Self::Sighting(sighting) => sighting.time_ms,
            Self::Event(event) => event.time_ms,
            Self::Health(health) => health.time_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters_and_holds_no_control_character() {
        assert_eq!(text::<4>("abcdef").as_str(), "abcd");
        assert_eq!(text::<4>("aäöü").as_str(), "aä");
        assert_eq!(text::<8>("a\u{1b}[2J\n").as_str(), "a?[2J?");
        assert_eq!(text::<4>("").as_str(), "");
    }
}
