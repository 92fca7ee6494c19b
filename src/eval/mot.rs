//! Filmed clips with ground truth, as the MOT Challenge lays them out: pictures, `seqinfo.ini` and `gt/gt.txt`.
//!
//! Source: Milan et al., "MOT16: A Benchmark for Multi-Object Tracking", 2016, whose classes these are, and Leal-Taixe et
//! al., "MOT Challenge 2015", whose ground truth has none.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::detector::BBox;
use crate::error::{Error, Result};

/// The file that makes a folder a sequence.
const INFO: &str = "seqinfo.ini";

/// The ground truth.
const TRUTH: &str = "gt/gt.txt";

/// People on foot.
const PEDESTRIAN: i64 = 1;

/// What looks like a person and is none to be found: on a vehicle, standing still, a mannequin or poster, a reflection.
const LIKE_A_PERSON: [i64; 4] = [2, 7, 8, 12];

/// Columns of a line that ends with class and visibility; one with more ends with a place in the world, and has no class.
const WITH_CLASS: usize = 9;

/// Columns needed at least: frame, identity, box, and whether it counts.
const LEAST: usize = 7;

/// A box of the ground truth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Truth {
    /// Who.
    pub person: u32,
    /// Where, in pixels of the picture; may reach beyond it.
    pub bbox: BBox,
    /// Whether it is to be found. If not, whoever is found there is neither right nor wrong.
    pub counts: bool,
}

/// One filmed sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct Sequence {
    /// Its name.
    pub name: String,
    /// The folder with the pictures.
    pub pictures: PathBuf,
    /// How many there are.
    pub frames: u64,
    /// Pictures a second.
    pub fps: f64,
    /// By number of the picture, from 1.
    truth: BTreeMap<u64, Vec<Truth>>,
}

impl Sequence {
    /// Whether `path` is a sequence, or a folder of such.
    pub fn is_at(path: &Path) -> bool {
        !folders(path).is_empty()
    }

    /// The sequence at `path`, or those in it by name. No picture is read.
    ///
    /// # Errors
    /// [`Error::Read`] if something cannot be read, [`Error::BadDataset`] naming what is not as it should be.
    pub fn open_all(path: &Path) -> Result<Vec<Self>> {
        let found = folders(path);
        if found.is_empty() {
            return Err(bad(path, format!("a folder with `{INFO}`, or folders with it"), "none"));
        }
        found.iter().map(|folder| Self::open(folder)).collect()
    }

    /// The boxes of picture `number`, from 1.
    pub fn truth(&self, number: u64) -> &[Truth] {
        self.truth.get(&number).map_or(&[], Vec::as_slice)
    }

    fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(INFO);
        let text =
            fs::read_to_string(&path).map_err(|source| Error::Read { what: "sequence", path: path.clone(), source })?;
        let value = |key: &str| {
            let lines = text.lines().filter_map(|line| line.split_once('='));
            lines
                .map(|(name, value)| (name.trim(), value.trim()))
                .find(|(name, _)| *name == key)
                .map(|(_, value)| value)
        };
        let rate = value("frameRate").unwrap_or("no such line");
        let fps = rate.parse().ok().filter(|fps| (0.01..=1000.0).contains(fps));
        let fps = fps.ok_or_else(|| bad(&path, "frameRate from 0.01 to 1000".into(), rate))?;
        let pictures = folder.join(value("imDir").unwrap_or("img1"));
        let frames = count_pictures(&pictures)?;
        let file = folder.join(TRUTH);
        let truth = fs::read_to_string(&file).map_err(|source| Error::Read {
            what: "ground truth",
            path: file.clone(),
            source,
        })?;
        let name = value("name").map_or_else(|| folder.display().to_string(), Into::into);
        Ok(Self { name, pictures, frames, fps, truth: parse(&truth, &file)? })
    }
}

/// `path` if it is a sequence, else the sequences in it by name.
fn folders(path: &Path) -> Vec<PathBuf> {
    let is_sequence = |folder: &PathBuf| folder.join(INFO).is_file();
    if is_sequence(&path.to_owned()) {
        return vec![path.into()];
    }
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_sequence).collect();
    found.sort();
    found
}

/// How many pictures there are. They are numbered from 1 without a gap, so that a picture's place is its number.
fn count_pictures(folder: &Path) -> Result<u64> {
    let entries =
        fs::read_dir(folder).map_err(|source| Error::Read { what: "pictures", path: folder.into(), source })?;
    let mut numbers = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        if !matches!(extension.as_deref(), Some("jpg" | "jpeg" | "png")) {
            continue;
        }
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        numbers.push(number.ok_or_else(|| bad(&path, "a number as name of the picture".into(), "another name"))?);
    }
    numbers.sort_unstable();
    let gap = numbers.iter().zip(1..).find(|(number, place)| *number != place);
    if let Some((number, place)) = gap {
        return Err(bad(folder, format!("picture {place}: numbers from 1 without a gap"), &format!("{number}")));
    }
    if numbers.is_empty() {
        return Err(bad(folder, "pictures .jpg or .png".into(), "none"));
    }
    Ok(numbers.len() as u64)
}

/// The lines `frame, identity, left, top, width, height, counts, class, visibility`.
fn parse(text: &str, file: &Path) -> Result<BTreeMap<u64, Vec<Truth>>> {
    let mut truth: BTreeMap<u64, Vec<Truth>> = BTreeMap::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let Some((number, found)) = parse_line(line) else {
            let expected = format!("line {}: frame, identity, left, top, width, height, counts, class", at + 1);
            return Err(bad(file, expected, &format!("`{}`", line.chars().take(80).collect::<String>())));
        };
        let Some(found) = found else { continue };
        let boxes = truth.entry(number).or_default();
        if boxes.iter().any(|other| other.person == found.person && other.counts && found.counts) {
            let expected = format!("line {}: one box a frame and person", at + 1);
            return Err(bad(file, expected, &format!("a second one of {} in frame {number}", found.person)));
        }
        boxes.push(found);
    }
    Ok(truth)
}

/// The number of the picture and the box of a line: nothing for a line that makes no sense, and no box for one about
/// neither people nor what looks like them.
fn parse_line(line: &str) -> Option<(u64, Option<Truth>)> {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    if fields.len() < LEAST {
        return None;
    }
    let whole = |at: usize| -> Option<u32> { fields[at].parse().ok() };
    let pixels = |at: usize| fields[at].parse::<f32>().ok().filter(|value| value.abs() <= 1e6);
    let (number, person) = (whole(0).filter(|number| *number > 0)?, whole(1)?);
    let bbox = BBox { x: pixels(2)?, y: pixels(3)?, width: pixels(4)?, height: pixels(5)? };
    let mark = fields[6].parse::<f32>().ok().filter(|mark| mark.is_finite())?;
    let class = if (LEAST + 1..=WITH_CLASS).contains(&fields.len()) { fields[7].parse().ok()? } else { PEDESTRIAN };
    let person_like = class == PEDESTRIAN || LIKE_A_PERSON.contains(&class);
    let counts = class == PEDESTRIAN && mark > 0.0;
    Some((number.into(), person_like.then_some(Truth { person, bbox, counts })))
}

fn bad(place: &Path, expected: String, found: &str) -> Error {
    Error::BadDataset { place: place.into(), expected, found: found.into() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A sequence of `pictures` empty files.
    fn written(info: &str, truth: &str, pictures: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for inside in ["img1", "gt"] {
            fs::create_dir(folder.path().join(inside)).unwrap();
        }
        fs::write(folder.path().join(INFO), info).unwrap();
        fs::write(folder.path().join(TRUTH), truth).unwrap();
        for picture in pictures {
            fs::write(folder.path().join("img1").join(picture), "").unwrap();
        }
        folder
    }

    const SEQUENCE: &str = "[Sequence]\r\nname=Square\r\nimDir=img1\r\nframeRate=14\r\n";

    #[test]
    fn people_count_what_looks_like_them_does_not_and_cars_are_passed_over() {
        let lines = "1,3,10.5,20,30,60,1,1,0.8\n1,4,-5,0,9,9,0,7,1.0\n\n2,5,1,1,2,2,0,3,1\n2,3,11,20,30,60,1,1,1\n2,6,0,0,1,1,0,1,0\n";
        let folder = written(SEQUENCE, lines, &["000002.jpg", "000001.jpg", "notes.txt"]);
        assert!(Sequence::is_at(folder.path()));
        let found = Sequence::open_all(folder.path()).unwrap().remove(0);
        assert_eq!((found.name.as_str(), found.frames, found.fps), ("Square", 2, 14.0));
        let bbox = |x, y, width, height| BBox { x, y, width, height };
        let box_of = |person, bbox, counts| Truth { person, bbox, counts };
        let first = [box_of(3, bbox(10.5, 20.0, 30.0, 60.0), true), box_of(4, bbox(-5.0, 0.0, 9.0, 9.0), false)];
        assert_eq!(found.truth(1), first);
        let second = [box_of(3, bbox(11.0, 20.0, 30.0, 60.0), true), box_of(6, bbox(0.0, 0.0, 1.0, 1.0), false)];
        assert_eq!(found.truth(2), second, "a car is nothing, a person not marked counts neither way");
        assert_eq!(found.truth(3), []);
    }

    #[test]
    fn without_classes_everybody_marked_is_a_person() {
        let folder = written(SEQUENCE, "1,3,0,0,10,20,1,-1,-1,-1\n1,4,0,0,10,20,0,-1,-1,-1", &["1.png"]);
        let found = Sequence::open_all(folder.path()).unwrap().remove(0);
        assert_eq!(found.truth(1).iter().map(|truth| truth.counts).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn sequences_in_a_folder_come_by_name() {
        let parent = tempfile::tempdir().unwrap();
        assert!(!Sequence::is_at(parent.path()));
        assert!(matches!(Sequence::open_all(parent.path()), Err(Error::BadDataset { .. })));
        let folder = written(SEQUENCE, "", &["1.jpg"]);
        for name in ["b", "a"] {
            let copy = parent.path().join(name);
            fs::create_dir_all(copy.join("img1")).unwrap();
            fs::create_dir_all(copy.join("gt")).unwrap();
            fs::copy(folder.path().join(TRUTH), copy.join(TRUTH)).unwrap();
            fs::write(copy.join("img1/1.jpg"), "").unwrap();
            fs::write(copy.join(INFO), format!("name={name}\nframeRate=25\n")).unwrap();
        }
        let names: Vec<String> =
            Sequence::open_all(parent.path()).unwrap().into_iter().map(|found| found.name).collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let message = |info: &str, truth: &str, pictures: &[&str]| {
            let folder = written(info, truth, pictures);
            Sequence::open_all(folder.path()).unwrap_err().to_string()
        };
        assert!(message("frameRate=0", "", &["1.jpg"]).contains("frameRate"));
        assert!(message("name=x", "", &["1.jpg"]).contains("frameRate"));
        assert!(message(SEQUENCE, "", &[]).contains("none"));
        assert!(message(SEQUENCE, "", &["1.jpg", "3.jpg"]).contains("picture 2"));
        assert!(message(SEQUENCE, "", &["1.jpg", "b.jpg"]).contains("b.jpg"));
        for wrong in ["1,2,3", "0,1,0,0,1,1,1,1,1", "1,1,NaN,0,1,1,1,1,1", "1,1,0,0,1,inf,1,1,1", "1,-1,0,0,1,1,1,1,1"]
        {
            assert!(
                message(SEQUENCE, &format!("1,1,0,0,1,1,1,1,1\n{wrong}"), &["1.jpg"]).contains("line 2"),
                "{wrong}"
            );
        }
        let twice = message(SEQUENCE, "1,1,0,0,1,1,1,1,1\n1,1,5,0,1,1,1,1,1", &["1.jpg"]);
        assert!(twice.contains("a second one of 1 in frame 1"), "{twice}");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[0-9,.\\-NaInf \\n]{0,200}") {
            let _ = parse(&text, Path::new("gt.txt"));
        }
    }
}
