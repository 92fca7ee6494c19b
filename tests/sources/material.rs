//! Clips made by hand, and a way to read a source to its end.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jpeg_encoder::{ColorType, Encoder};
use nformer_edge::Error;
use nformer_edge::camera::{self, CameraSettings, Clip, ClipSettings};
use nformer_edge::error::Result;
use nformer_edge::frame::{FrameSource, Idle, Next, PixelFormat, SourceHealth};

/// A picture as it came out of a source.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shown {
    pub(crate) format: PixelFormat,
    pub(crate) size: (u32, u32),
    pub(crate) sequence: u64,
    pub(crate) time: Duration,
    /// Mean of the first row's bytes: enough to tell the test pictures apart.
    pub(crate) shade: u8,
}

/// Everything a source gives until its end.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Played {
    pub(crate) shown: Vec<Shown>,
    pub(crate) idle: Vec<Idle>,
}

pub(crate) fn play(source: &mut dyn FrameSource) -> Played {
    let mut played = Played::default();
    for _ in 0..10_000 {
        match source.next_frame().unwrap() {
            Next::Frame(frame) => {
                let row = &frame.pixels()[..frame.format().row_bytes(frame.width())];
                let sum: usize = row.iter().map(|&byte| usize::from(byte)).sum();
                played.shown.push(Shown {
                    format: frame.format(),
                    size: (frame.width(), frame.height()),
                    sequence: frame.sequence(),
                    time: frame.time(),
                    shade: (sum / row.len()) as u8,
                });
            }
            Next::Idle(idle) => played.idle.push(idle),
            Next::End => return played,
        }
    }
    panic!("the source does not end");
}

impl Played {
    pub(crate) fn shades(&self) -> Vec<u8> {
        self.shown.iter().map(|shown| shown.shade).collect()
    }

    pub(crate) fn sequences(&self) -> Vec<u64> {
        self.shown.iter().map(|shown| shown.sequence).collect()
    }
}

/// A grey picture of one shade.
pub(crate) fn jpeg(shade: u8, (width, height): (u16, u16)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let pixels = vec![shade; usize::from(width) * usize::from(height)];
    Encoder::new(&mut bytes, 100).encode(&pixels, width, height, ColorType::Luma).unwrap();
    bytes
}

pub(crate) fn jpegs(shades: &[u8]) -> Vec<Vec<u8>> {
    shades.iter().map(|&shade| jpeg(shade, (24, 16))).collect()
}

pub(crate) fn png(shade: u8, (width, height): (u32, u32)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Grayscale);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&vec![shade; (width * height) as usize]).unwrap();
    writer.finish().unwrap();
    bytes
}

pub(crate) fn chunk(name: &[u8], body: &[u8]) -> Vec<u8> {
    let mut bytes = [name, &(body.len() as u32).to_le_bytes(), body].concat();
    if body.len() % 2 == 1 {
        bytes.push(0);
    }
    bytes
}

pub(crate) fn list(kind: &[u8], body: &[u8]) -> Vec<u8> {
    chunk(b"LIST", &[kind, body].concat())
}

pub(crate) fn riff(kind: &[u8], body: &[u8]) -> Vec<u8> {
    chunk(b"RIFF", &[kind, body].concat())
}

pub(crate) fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Header list of a file with sound as stream 0 and video as stream 1.
pub(crate) fn avi_header(codec: [u8; 4], (rate, scale): (u32, u32)) -> Vec<u8> {
    let code = u32::from_le_bytes(codec);
    let (auds, vids) = (u32::from_le_bytes(*b"auds"), u32::from_le_bytes(*b"vids"));
    let sound = chunk(b"strh", &words(&[auds, 0, 0, 0, 0, 1, 8000, 0, 0, 0, 0, 0, 0, 0]));
    let video = chunk(b"strh", &words(&[vids, code, 0, 0, 0, scale, rate, 0, 0, 0, 0, 0, 0, 0]));
    let picture = chunk(b"strf", &words(&[40, 24, 16, 1 | 24 << 16, code, 0, 0, 0, 0, 0]));
    let main = chunk(b"avih", &words(&[100_000, 0, 0, 0, 0, 0, 2, 0, 24, 16, 0, 0, 0, 0]));
    let streams = [
        list(b"strl", &[sound, chunk(b"strf", &[0; 18])].concat()),
        list(b"strl", &[video, chunk(b"JUNK", b"odd"), picture].concat()),
    ];
    list(b"hdrl", &[main, streams.concat()].concat())
}

/// The chunks of pictures, each with some sound before it.
pub(crate) fn movie(pictures: &[Vec<u8>]) -> Vec<u8> {
    pictures.iter().flat_map(|picture| [chunk(b"00wb", b"beep!"), chunk(b"01dc", picture)].concat()).collect()
}

pub(crate) fn avi(pictures: &[Vec<u8>]) -> Vec<u8> {
    let body = [avi_header(*b"MJPG", (15, 2)), list(b"INFO", b"ISFTtest"), list(b"movi", &movie(pictures))].concat();
    riff(b"AVI ", &[body, chunk(b"idx1", &[0; 32])].concat())
}

pub(crate) fn y4m(header: &str, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format!("YUV4MPEG2 {header}\n").into_bytes();
    for (number, frame) in frames.iter().enumerate() {
        // Frame headers may carry parameters.
        bytes.extend_from_slice(if number % 2 == 0 { &b"FRAME\n"[..] } else { b"FRAME Ip\n" });
        bytes.extend_from_slice(frame);
    }
    bytes
}

/// A folder that is gone at the end of the test.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn clip(&self, bytes: &[u8], settings: &ClipSettings) -> Result<Clip> {
        Clip::open(&self.write("clip", bytes), settings)
    }
}

pub(crate) fn play_bytes(bytes: &[u8], settings: &ClipSettings) -> (Played, SourceHealth) {
    let mut clip = Folder::new().clip(bytes, settings).unwrap();
    let played = play(&mut clip);
    assert!(matches!(clip.next_frame().unwrap(), Next::End), "the end stays the end");
    (played, clip.health())
}

pub(crate) fn open(source: &Path) -> Result<(Box<dyn FrameSource + Send>, String)> {
    camera::open(source.to_str(), &CameraSettings::default(), &ClipSettings::default(), None)
}

pub(crate) fn refusal<T>(result: Result<T>) -> Error {
    match result {
        Err(error) => error,
        Ok(_) => panic!("expected a refusal"),
    }
}
