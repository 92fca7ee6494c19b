//! What the pipeline saw -> pictures, only when asked for.
//!
//! The only room through which pixels may leave the process. It keeps a bounded copy of one frame and some
//! small crops in memory, and writes two files at the end:
//!
//! | file | shows |
//! |---|---|
//! | `frame.png` | the frame with the most identified people, a box and a number each |
//! | `identities.png` | a row an identity, its crops from first to last with their times |
//!
//! The files, and a folder that is made for them, are for the user alone.

mod picture;
mod rows;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::detector::BBox;
use crate::error::{Error, Result};
use crate::frame::{Frame, Region, Sampler};
use crate::size::MAX_PEOPLE;

use picture::{Picture, Rect, colour};
use rows::Rows;

/// Longest side of `frame.png`; a larger frame is scaled down, so that its copy takes 5 MB at most.
const MAX_SIDE: u32 = 1280;

const FRAME_FILE: &str = "frame.png";
const SHEET_FILE: &str = "identities.png";

/// Colour of people without an identity.
const NOBODY: [u8; 3] = [150, 150, 150];
const BLACK: [u8; 3] = [0, 0, 0];

/// One person in a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mark {
    /// Where, in frame pixels.
    pub bbox: BBox,
    /// Number of the track.
    pub track: u32,
    /// Number of the identity, if it is known by now.
    pub identity: Option<u32>,
}

/// Collects pictures during a run and writes them at its end.
pub struct Snapshot {
    folder: PathBuf,
    sampler: Sampler,
    best: Option<Best>,
    rows: Rows,
}

/// The frame shown by `frame.png`.
struct Best {
    picture: Picture,
    marks: heapless::Vec<Mark, MAX_PEOPLE>,
    /// Pixels of the picture to a pixel of the frame.
    scale: f32,
    rank: (usize, usize),
}

impl Snapshot {
    /// Makes the folder if it is not there, and makes sure that it can be written.
    ///
    /// # Errors
    /// [`Error::Write`] if it cannot.
    pub fn create(folder: &Path) -> Result<Self> {
        let probe = folder.join(".nformer-edge-probe");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .and_then(|()| create(&probe).map(drop))
            .and_then(|()| fs::remove_file(&probe))
            .map_err(|source| unwritable("snapshot folder", folder, source))?;
        let folder = folder.to_path_buf();
        Ok(Self { folder, sampler: Sampler::default(), best: None, rows: Rows::default() })
    }

    /// Looks at one frame and the people in it. Writes nothing.
    ///
    /// People beyond [`MAX_PEOPLE`] and boxes without a pixel inside the frame are left out.
    pub fn observe(&mut self, frame: &Frame<'_>, marks: &[Mark]) {
        let marks = &marks[..marks.len().min(MAX_PEOPLE)];
        let identified = marks.iter().filter(|mark| mark.identity.is_some()).count();
        let rank = (identified, marks.len());
        if self.best.as_ref().is_none_or(|best| rank > best.rank) {
            self.keep(frame, marks, rank);
        }
        for mark in marks {
            self.rows.observe(frame, mark, &mut self.sampler);
        }
    }

    /// Writes the pictures; the files that were written. Without a frame there is no `frame.png`, without an identity
    /// no `identities.png`. A picture that cannot be written (a full disk) is left out and logged.
    ///
    /// # Errors
    /// [`Error::Write`] if none of the pictures could be written.
    pub fn finish(mut self) -> Result<Vec<PathBuf>> {
        let frame = self.best.take().map(|best| (FRAME_FILE, best.draw()));
        let sheet = self.rows.draw().map(|sheet| (SHEET_FILE, sheet));
        let mut written = Vec::new();
        let mut failed = None;
        for (name, picture) in [frame, sheet].into_iter().flatten() {
            let path = self.folder.join(name);
            match write(&picture, &path) {
                Ok(()) => written.push(path),
                Err(source) => {
                    let error = unwritable("snapshot", &path, source);
                    tracing::warn!(%error);
                    failed = Some(error);
                }
            }
        }
        match failed {
            Some(error) if written.is_empty() => Err(error),
            _ => Ok(written),
        }
    }

    fn keep(&mut self, frame: &Frame<'_>, marks: &[Mark], rank: (usize, usize)) {
        let scale = (MAX_SIDE as f32 / frame.width().max(frame.height()) as f32).min(1.0);
        let side = |length: u32| ((length as f32 * scale).round() as usize).max(1);
        // The copy before is used again: frames of one source are of one size.
        let mut picture = match self.best.take() {
            Some(best) if best.picture.size() == (side(frame.width()), side(frame.height())) => best.picture,
            _ => Picture::new(side(frame.width()), side(frame.height()), BLACK),
        };
        picture.paste(frame, frame.region(), Rect::whole(&picture), &mut self.sampler);
        self.best = Some(Best { picture, marks: marks.iter().copied().collect(), scale, rank });
    }
}

impl Best {
    /// The frame with its boxes; those of known people lie on top.
    fn draw(mut self) -> Picture {
        let scale = self.scale;
        self.marks.sort_by_key(|mark| mark.identity);
        for Mark { bbox, identity, .. } in &self.marks {
            let region = Region { x: bbox.x, y: bbox.y, width: bbox.width, height: bbox.height };
            let rect = Rect::around(region, scale);
            self.picture.outline(rect, 2, identity.map_or(NOBODY, colour));
            if let Some(identity) = identity {
                self.picture.tag(rect.x, rect.y, &identity.to_string(), 2, colour(*identity));
            }
        }
        self.picture
    }
}

/// Writes beside the target and renames, so that a full disk leaves no half picture under its name.
fn write(picture: &Picture, path: &Path) -> io::Result<()> {
    let unfinished = path.with_extension("png.part");
    let outcome = create(&unfinished)
        .and_then(|file| picture.write_png(BufWriter::new(file)))
        .and_then(|()| fs::rename(&unfinished, path));
    if outcome.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    outcome
}

/// A new file for the user alone, in the place of what an earlier run left; no link is followed.
fn create(path: &Path) -> io::Result<File> {
    let _ = fs::remove_file(path);
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn unwritable(what: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Write { what, path: path.into(), source }
}
