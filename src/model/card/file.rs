//! The card as it stands in its file, and the checks that turn it into a contract.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;

use super::{Contract, DetectionOutput, Fusion, Head, Task};
use crate::error::{Error, Result};
use crate::model::input::Input;
use crate::size::{MAX_EMBEDDING, MAX_HEADS, MAX_LANDMARKS, MAX_LAYERS, MAX_TOP_K};

/// A card is a page of text; more is a mistake.
const MAX_CARD_BYTES: u64 = 64 * 1024;
/// Largest side of a network's input: beyond it no board keeps up.
const MAX_INPUT_SIDE: usize = 2048;
/// Most classes (COCO has 80, Objects365 has 365).
const MAX_CLASSES: usize = 4096;
/// Most grids of a detector.
const MAX_STRIDES: usize = 8;
/// Largest `reg_max` (`NanoDet` uses 7 or 10, larger heads 16).
const MAX_REG_MAX: usize = 64;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CardFile {
    pub(super) name: String,
    task: Task,
    pub(super) file: String,
    pub(super) sha256: String,
    head: Head,
    #[serde(default)]
    pub(super) quantisation: String,
    #[serde(default)]
    pub(super) licence: String,
    #[serde(default)]
    pub(super) source: String,
    #[serde(default)]
    pub(super) metric: String,
    input: Option<Input>,
    output: OutputFile,
    fusion: Option<FusionFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OutputFile {
    classes: Option<usize>,
    class: Option<usize>,
    strides: Option<Vec<u32>>,
    reg_max: Option<usize>,
    centre_offset: Option<f32>,
    threshold: Option<f32>,
    nms_iou: Option<f32>,
    width: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FusionFile {
    input_width: usize,
    layers: usize,
    heads: usize,
    landmarks: usize,
    top_k: usize,
}

/// Why a card is refused: which key, what is expected, what stands there.
type Checked<T> = std::result::Result<T, String>;

/// Reads the text of a card and the keys in it; the values are not checked yet.
pub(super) fn read(path: &Path) -> Result<CardFile> {
    let failed = |source| Error::Read { what: "model card", path: path.to_owned(), source };
    let bad = |reason: String| Error::BadToml { path: path.to_owned(), reason };
    let mut text = Vec::new();
    File::open(path).map_err(failed)?.take(MAX_CARD_BYTES + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_CARD_BYTES {
        return Err(bad(format!("expected at most {MAX_CARD_BYTES} bytes, found more")));
    }
    let text = String::from_utf8(text).map_err(|error| bad(error.to_string()))?;
    toml::from_str(&text).map_err(|error| bad(error.to_string()))
}

impl CardFile {
    /// What goes in and comes out, if all of it is within bounds and fits the task.
    pub(super) fn contract(&self) -> Checked<Contract> {
        self.check_file()?;
        match (self.task, self.head) {
            (Task::Detection, Head::Yolox | Head::NanoDet | Head::FastestDet) => {
                let input = self.input()?;
                let output = self.output.detection(self.head, &input)?;
                Ok(Contract::Detection { input, output })
            }
            (Task::Reid, Head::Embedding) => Ok(Contract::Reid { input: self.input()?, width: self.output.width()? }),
            (Task::Fusion, Head::NFormer) => self.fusion().map(Contract::Fusion),
            (task, head) => Err(format!("task {task:?} has no head {head:?}")),
        }
    }

    fn check_file(&self) -> Checked<()> {
        let escapes = |c: char| c == '/' || c == '\\' || c == '\0';
        if self.file.is_empty() || self.file == "." || self.file == ".." || self.file.contains(escapes) {
            return Err(format!("file: expected the name of a file beside the card, found {:?}", self.file));
        }
        let digits = self.sha256.len() == 64 && self.sha256.bytes().all(|c| c.is_ascii_hexdigit());
        if !digits {
            return Err(format!("sha256: expected 64 hexadecimal digits, found {:?}", self.sha256));
        }
        if self.name.is_empty() {
            return Err("name: expected a short name, found none".to_owned());
        }
        Ok(())
    }

    fn input(&self) -> Checked<Input> {
        let input = self.input.clone().ok_or("input: this section is missing")?;
        within("input.width", input.width, 1, MAX_INPUT_SIDE)?;
        within("input.height", input.height, 1, MAX_INPUT_SIDE)?;
        for (key, values, least) in [("input.mean", input.mean, 0.0), ("input.std", input.std, 1e-3)] {
            for value in values {
                within(key, value, least, 1e6)?;
            }
        }
        within("input.pad", input.pad, 0.0, 255.0)?;
        Ok(input)
    }

    fn fusion(&self) -> Checked<Fusion> {
        let sizes = self.fusion.as_ref().ok_or("fusion: this section is missing")?;
        within("fusion.input_width", sizes.input_width, 1, MAX_EMBEDDING)?;
        within("fusion.layers", sizes.layers, 1, MAX_LAYERS)?;
        within("fusion.heads", sizes.heads, 1, MAX_HEADS)?;
        within("fusion.landmarks", sizes.landmarks, 1, MAX_LANDMARKS)?;
        within("fusion.top_k", sizes.top_k, 1, MAX_TOP_K)?;
        let FusionFile { input_width, layers, heads, landmarks, top_k } = *sizes;
        Ok(Fusion { width: self.output.width()?, input_width, layers, heads, landmarks, top_k })
    }
}

impl OutputFile {
    fn width(&self) -> Checked<usize> {
        let width = present("output.width", self.width)?;
        within("output.width", width, 1, MAX_EMBEDDING)?;
        Ok(width)
    }

    fn detection(&self, head: Head, input: &Input) -> Checked<DetectionOutput> {
        let classes = present("output.classes", self.classes)?;
        within("output.classes", classes, 1, MAX_CLASSES)?;
        let class = present("output.class", self.class)?;
        within("output.class", class, 0, classes - 1)?;
        let threshold = present("output.threshold", self.threshold)?;
        within("output.threshold", threshold, 0.01, 1.0)?;
        let nms_iou = present("output.nms_iou", self.nms_iou)?;
        within("output.nms_iou", nms_iou, 0.0, 1.0)?;
        let reg_max = if head == Head::NanoDet { present("output.reg_max", self.reg_max)? } else { 0 };
        within("output.reg_max", reg_max, usize::from(head == Head::NanoDet), MAX_REG_MAX)?;
        let centre_offset = self.centre_offset.unwrap_or(0.5);
        within("output.centre_offset", centre_offset, 0.0, 1.0)?;
        let strides = self.strides(head, input)?;
        Ok(DetectionOutput { head, classes, class, strides, reg_max, centre_offset, threshold, nms_iou })
    }

    fn strides(&self, head: Head, input: &Input) -> Checked<Vec<u32>> {
        let strides = self.strides.clone().ok_or("output.strides: this key is missing")?;
        let most = if head == Head::FastestDet { 1 } else { MAX_STRIDES };
        within("number of output.strides", strides.len(), 1, most)?;
        for stride in &strides {
            let cells = *stride as usize;
            if cells == 0 || !input.width.is_multiple_of(cells) || !input.height.is_multiple_of(cells) {
                let (width, height) = (input.width, input.height);
                return Err(format!("output.strides: expected divisors of {width} and {height}, found {stride}"));
            }
        }
        Ok(strides)
    }
}

fn present<T>(key: &str, value: Option<T>) -> Checked<T> {
    value.ok_or_else(|| format!("{key}: this key is missing"))
}

/// Not a number is never within.
fn within<T: Copy + PartialOrd + std::fmt::Display>(key: &str, value: T, least: T, most: T) -> Checked<()> {
    if value >= least && value <= most {
        return Ok(());
    }
    Err(format!("{key}: expected {least} to {most}, found {value}"))
}
