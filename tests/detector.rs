//! Detectors on real pictures: people against ground truth, and one detector against another.
//!
//! The pictures and the two foreign networks are not part of this repository; a test that lacks them says so.

#![expect(clippy::float_cmp, reason = "columns of the ground truth are whole numbers")]
#![expect(clippy::unwrap_used, reason = "a test that lacks what it needs stops there")]

#[path = "support/shared.rs"]
mod support;

use std::fs;
use std::path::Path;

use nformer_edge::detector::{BBox, Detection, Detector, DetectorSettings};
use nformer_edge::frame::{Frame, PixelFormat};
use nformer_edge::model::Card;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;

use support::{shared, there};

fn manifest() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

struct Picture {
    pixels: Vec<u8>,
    width: u32,
    height: u32,
}

impl Picture {
    fn read(path: &Path) -> Self {
        let mut decoder = JpegDecoder::new(ZCursor::new(fs::read(path).unwrap()));
        let pixels = decoder.decode().unwrap();
        let (width, height) = decoder.dimensions().unwrap();
        Self { pixels, width: width as u32, height: height as u32 }
    }

    fn frame(&self) -> Frame<'_> {
        let stride = self.width as usize * 3;
        Frame::new(&self.pixels, PixelFormat::Rgb, (self.width, self.height), stride).unwrap()
    }
}

/// A person of the ground truth, or something that may be found or not.
struct Truth {
    bbox: BBox,
    wanted: bool,
}

/// People less than this high once the frame is fitted into 416 x 416 are neither right nor wrong.
const TALL: f32 = 40.0;

/// Pictures of MOT17-mini with their ground truth: pedestrians (class 1) with the mark set and at least a quarter
/// visible are wanted; everything else that looks like a person is neither right nor wrong.
fn mot17(folder: &Path) -> Vec<(Picture, Vec<Truth>)> {
    let mut pictures = Vec::new();
    let mut sequences: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    sequences.sort();
    for sequence in sequences {
        let table = fs::read_to_string(sequence.join("gt/gt.txt")).unwrap();
        let rows: Vec<Vec<f32>> =
            table.lines().map(|line| line.split(',').map(|field| field.parse().unwrap()).collect()).collect();
        for number in 1.. {
            let path = sequence.join(format!("img1/{number:06}.jpg"));
            if !path.exists() {
                break;
            }
            let picture = Picture::read(&path);
            let sides = (picture.width as f32, picture.height as f32);
            let scale = 416.0 / sides.0.max(sides.1);
            let truths = rows.iter().filter(|row| row[0] == number as f32).filter_map(|row| {
                let (x, y) = (row[2] - 1.0, row[3] - 1.0);
                let bbox = BBox::inside([x, y, x + row[4], y + row[5]], sides)?;
                let person_like = [1.0, 2.0, 7.0, 8.0, 12.0].contains(&row[7]);
                let wanted = row[6] == 1.0 && row[7] == 1.0 && row[8] >= 0.25 && bbox.height * scale >= TALL;
                person_like.then_some(Truth { bbox, wanted })
            });
            let truths = truths.collect();
            pictures.push((picture, truths));
        }
    }
    pictures
}

fn shared_part(a: &BBox, b: &BBox) -> f32 {
    let width = (a.x + a.width).min(b.x + b.width) - a.x.max(b.x);
    let height = (a.y + a.height).min(b.y + b.height) - a.y.max(b.y);
    width.max(0.0) * height.max(0.0)
}

#[derive(Debug, Default)]
struct Tally {
    wanted: usize,
    right: usize,
    wrong: usize,
}

impl Tally {
    fn recall(&self) -> f32 {
        self.right as f32 / self.wanted as f32
    }

    fn precision(&self) -> f32 {
        self.right as f32 / (self.right + self.wrong) as f32
    }

    /// Each detection takes the free wanted box that it overlaps most, from 0.5 on; one that takes none and is not
    /// small, nor half inside a box that does not count, is wrong.
    fn add(&mut self, found: &[Detection], truths: &[Truth], scale: f32) {
        let mut free: Vec<&Truth> = truths.iter().filter(|truth| truth.wanted).collect();
        self.wanted += free.len();
        for detection in found {
            let overlap = |truth: &Truth| detection.bbox.iou(&truth.bbox);
            let best = (0..free.len()).max_by(|a, b| overlap(free[*a]).total_cmp(&overlap(free[*b])));
            if let Some(best) = best.filter(|best| overlap(free[*best]) >= 0.5) {
                free.swap_remove(best);
                self.right += 1;
            } else {
                let half = detection.bbox.area() / 2.0;
                let mut ignored = truths.iter().filter(|truth| !truth.wanted);
                let excused = ignored.any(|truth| shared_part(&detection.bbox, &truth.bbox) >= half);
                self.wrong += usize::from(!excused && detection.bbox.height * scale >= TALL);
            }
        }
    }
}

fn tally(card: &Card) -> Option<Tally> {
    let folder = shared("data/mot17-mini")?;
    let settings = DetectorSettings { min_height: 0.0, max_aspect: 10.0, ..DetectorSettings::default() };
    let mut detector = Detector::new(&settings, Some(card)).unwrap();
    let mut tally = Tally::default();
    for (picture, truths) in mot17(&folder) {
        let scale = 416.0 / (picture.width.max(picture.height) as f32);
        tally.add(detector.detect(&picture.frame()).unwrap(), &truths, scale);
    }
    println!("{}: recall {:.3} precision {:.3} {tally:?}", card.name, tally.recall(), tally.precision());
    Some(tally)
}

fn own_card() -> Option<Card> {
    let card = Card::read(&there(manifest().join("models/person_detector/card.toml"))?).unwrap();
    there(card.file_path().to_owned()).map(|_| card)
}

fn foreign_card(card: &str, file: &str) -> Option<Card> {
    let card = there(manifest().join("models/person_detector/foreign").join(card))?;
    Some(Card::read_with_file(&card, &shared("models")?.join(file)).unwrap())
}

// The bounds below are a little under what models/person_detector/README.md reports for ONNX Runtime on the same 130
// people: JPEG decoders and resizing differ by a level here and there, and one person is 0.008.

#[test]
fn our_detector_finds_the_people_of_mot17() {
    let Some(tally) = own_card().and_then(|card| tally(&card)) else { return };
    assert_eq!(tally.wanted, 130);
    assert!(tally.recall() >= 0.74 && tally.precision() >= 0.86, "0.769 and 0.893 are reported: {tally:?}");
}

#[test]
fn yolox_finds_the_people_of_mot17() {
    let Some(tally) = foreign_card("yolox_nano.toml", "yolox_nano.onnx").and_then(|card| tally(&card)) else { return };
    assert!(tally.recall() >= 0.64 && tally.precision() >= 0.91, "0.662 and 0.945 are reported: {tally:?}");
}

#[test]
fn fastestdet_finds_the_people_of_mot17() {
    let Some(tally) = foreign_card("fastestdet.toml", "FastestDet.onnx").and_then(|card| tally(&card)) else { return };
    assert!(tally.recall() >= 0.35 && tally.precision() >= 0.81, "0.377 and 0.845 are reported: {tally:?}");
}

#[test]
fn detectors_agree_on_scenes_and_pixel_formats_do_not_matter() {
    let (Some(folder), Some(ours)) = (shared("data/scenes"), own_card()) else { return };
    let Some(other) = foreign_card("yolox_nano.toml", "yolox_nano.onnx") else { return };
    let settings = DetectorSettings { min_height: 180.0, ..DetectorSettings::default() };
    let mut ours = Detector::new(&settings, Some(&ours)).unwrap();
    let mut other = Detector::new(&settings, Some(&other)).unwrap();
    let mut pictures: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    pictures.sort();
    let (mut seen, mut agreed, mut as_yuyv) = (0, 0, 0);
    for path in pictures.iter().step_by(4) {
        let picture = Picture::read(path);
        let found = ours.detect(&picture.frame()).unwrap().to_vec();
        let matches =
            |boxes: &[Detection]| found.iter().filter(|a| boxes.iter().any(|b| a.bbox.iou(&b.bbox) >= 0.5)).count();
        seen += found.len();
        agreed += matches(other.detect(&picture.frame()).unwrap());
        let yuyv = yuyv(&picture);
        let size = (picture.width, picture.height);
        let frame = Frame::new(&yuyv, PixelFormat::Yuyv, size, picture.width as usize * 2).unwrap();
        as_yuyv += matches(ours.detect(&frame).unwrap());
    }
    println!("{seen} found, {agreed} by YOLOX too, {as_yuyv} in YUYV too");
    assert!(seen >= 8, "{seen}");
    assert!(agreed as f32 >= 0.8 * seen as f32, "{agreed} of {seen}");
    assert!(as_yuyv as f32 >= 0.9 * seen as f32, "{as_yuyv} of {seen}");
}

/// The picture as a camera would give it (BT.601, limited range; chroma of the left pixel of each pair).
fn yuyv(picture: &Picture) -> Vec<u8> {
    let luma = |[r, g, b]: [f32; 3]| 16.0 + 219.0 / 255.0 * (0.299 * r + 0.587 * g + 0.114 * b);
    let mut bytes = Vec::with_capacity(picture.pixels.len());
    for pair in picture.pixels.as_chunks::<6>().0 {
        let [r, g, b, r2, g2, b2] = pair.map(f32::from);
        let y = 0.299 * r + 0.587 * g + 0.114 * b;
        let u = 128.0 + 224.0 / 255.0 * (b - y) / (2.0 * (1.0 - 0.114));
        let v = 128.0 + 224.0 / 255.0 * (r - y) / (2.0 * (1.0 - 0.299));
        bytes.extend([luma([r, g, b]), u, luma([r2, g2, b2]), v].map(|level| level.round() as u8));
    }
    bytes
}

#[test]
fn a_card_of_another_task_is_refused() {
    let Some(path) = there(manifest().join("models/reid_backbone/foreign/osnet_x0_25_msmt17.toml")) else { return };
    let card = Card::read(&path).unwrap();
    let text = Detector::new(&DetectorSettings::default(), Some(&card)).unwrap_err().to_string();
    assert!(text.contains("detection") && text.contains("reid"), "{text}");
}
