//! The card of a model: read from TOML, checked once, typed from then on.

mod file;

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::input::Input;
use super::onnx::MAX_MODEL_BYTES;
use crate::error::{Error, Result};

/// What a model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Picture -> boxes.
    Detection,
    /// Picture of one person -> embedding.
    Reid,
    /// Embeddings -> embeddings.
    Fusion,
}

impl fmt::Display for Task {
    /// As the card writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Detection => "detection",
            Self::Reid => "reid",
            Self::Fusion => "fusion",
        })
    }
}

/// How the output of a model is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Head {
    /// One output `[1, A, 5 + classes]`: box relative to its grid cell, objectness, class scores.
    Yolox,
    /// Two outputs: class scores `[1, A, classes]` and side distributions `[1, A, 4 * (reg_max + 1)]`.
    NanoDet,
    /// One output `[1, 5 + classes, rows, columns]`: objectness, box, class shares.
    FastestDet,
    /// One vector `[1, width]`.
    Embedding,
    /// The weights of `NFormer`, a safetensors file.
    NFormer,
}

/// A card that was read and found consistent.
#[derive(Clone, Debug)]
pub struct Card {
    /// Short name, for messages.
    pub name: String,
    /// SHA-256 of the model file, 64 hexadecimal digits in lower case.
    pub sha256: String,
    /// What numbers the weights are kept in.
    pub quantisation: String,
    /// Licence of the weights.
    pub licence: String,
    /// Where the weights come from.
    pub source: String,
    /// What was measured with them.
    pub metric: String,
    /// What goes in and comes out.
    pub contract: Contract,
    path: PathBuf,
    file: PathBuf,
}

/// What goes into a model and comes out, by task.
#[derive(Clone, Debug, PartialEq)]
pub enum Contract {
    /// Picture -> boxes.
    Detection {
        /// The picture.
        input: Input,
        /// The boxes.
        output: DetectionOutput,
    },
    /// Picture of one person -> embedding.
    Reid {
        /// The picture.
        input: Input,
        /// Floats of the embedding.
        width: usize,
    },
    /// Embeddings -> embeddings.
    Fusion(Fusion),
}

/// The output of a detector.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectionOutput {
    /// Layout: one of [`Head::Yolox`], [`Head::NanoDet`], [`Head::FastestDet`].
    pub head: Head,
    /// Class columns in the output.
    pub classes: usize,
    /// The column of the class "person".
    pub class: usize,
    /// Pixels from one grid cell to the next, one grid after the other; each divides both sides of the input.
    pub strides: Vec<u32>,
    /// Last bin of the side distributions (`NanoDet`; 0 for the others).
    pub reg_max: usize,
    /// Where in its cell a position lies, in strides (`NanoDet`).
    pub centre_offset: f32,
    /// Least score, 0 to 1, that counts as a detection.
    pub threshold: f32,
    /// Intersection over union above which the weaker of two boxes is dropped.
    pub nms_iou: f32,
}

/// The sizes of a fusion file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fusion {
    /// Floats of the embeddings that come out.
    pub width: usize,
    /// Floats of the embeddings that go in.
    pub input_width: usize,
    /// Layers.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Landmarks (agents) of a layer.
    pub landmarks: usize,
    /// Neighbours a row attends to (`k`).
    pub top_k: usize,
}

impl Contract {
    /// The task this is the contract of.
    pub fn task(&self) -> Task {
        match self {
            Self::Detection { .. } => Task::Detection,
            Self::Reid { .. } => Task::Reid,
            Self::Fusion(_) => Task::Fusion,
        }
    }

    /// The picture that goes in; none for a fusion file.
    pub fn input(&self) -> Option<&Input> {
        match self {
            Self::Detection { input, .. } | Self::Reid { input, .. } => Some(input),
            Self::Fusion(_) => None,
        }
    }

    /// The shapes of the outputs for a batch of one picture; none for a fusion file.
    pub fn output_shapes(&self) -> Vec<Vec<usize>> {
        match self {
            Self::Detection { input, output } => output.shapes(input),
            Self::Reid { width, .. } => vec![vec![1, *width]],
            Self::Fusion(_) => Vec::new(),
        }
    }
}

impl DetectionOutput {
    /// Columns, rows and stride of each grid over the input, in the order of the output.
    pub fn grids(&self, input: &Input) -> impl Iterator<Item = (usize, usize, f32)> + use<'_> {
        let (width, height) = (input.width, input.height);
        self.strides.iter().map(move |stride| {
            let cells = *stride as usize;
            (width / cells, height / cells, *stride as f32)
        })
    }

    fn shapes(&self, input: &Input) -> Vec<Vec<usize>> {
        let positions = self.grids(input).map(|(columns, rows, _)| columns * rows).sum();
        match self.head {
            Head::NanoDet => vec![vec![1, positions, self.classes], vec![1, positions, 4 * (self.reg_max + 1)]],
            Head::FastestDet => {
                let (columns, rows, _) = self.grids(input).next().unwrap_or_default();
                vec![vec![1, 5 + self.classes, rows, columns]]
            }
            Head::Yolox | Head::Embedding | Head::NFormer => vec![vec![1, positions, 5 + self.classes]],
        }
    }
}

impl Card {
    /// Reads the card at `path`; the model file lies beside it.
    ///
    /// # Errors
    /// [`Error::Read`] if it cannot be read, [`Error::BadToml`] if it is not a card: unknown or missing key,
    /// value out of range, file name with a path in it.
    pub fn read(path: &Path) -> Result<Self> {
        let file = file::read(path)?;
        let model = path.with_file_name(&file.file);
        Self::checked(file, path, model)
    }

    /// Reads the card at `path` for the model file at `model`, wherever that lies.
    ///
    /// # Errors
    /// As [`Card::read`].
    pub fn read_with_file(path: &Path, model: &Path) -> Result<Self> {
        Self::checked(file::read(path)?, path, model.to_owned())
    }

    fn checked(file: file::CardFile, path: &Path, model: PathBuf) -> Result<Self> {
        let contract = file.contract().map_err(|reason| Error::BadToml { path: path.to_owned(), reason })?;
        Ok(Self {
            name: file.name,
            sha256: file.sha256.to_ascii_lowercase(),
            quantisation: file.quantisation,
            licence: file.licence,
            source: file.source,
            metric: file.metric,
            contract,
            path: path.to_owned(),
            file: model,
        })
    }

    /// Where the card was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the model file lies.
    pub fn file_path(&self) -> &Path {
        &self.file
    }

    /// What the model is for.
    pub fn task(&self) -> Task {
        self.contract.task()
    }

    /// The first 8 hexadecimal digits of the file's SHA-256: enough to tell versions apart.
    pub fn digest(&self) -> &str {
        self.sha256.get(..8).unwrap_or(&self.sha256)
    }

    /// Checks that the model file is there and is the one the card describes.
    ///
    /// # Errors
    /// As [`Card::read_model`].
    pub fn verify(&self) -> Result<()> {
        self.read_model().map(drop)
    }

    /// The bytes of the model file, read once and checked.
    ///
    /// # Errors
    /// [`Error::Read`] if it cannot be read, [`Error::TooLarge`] above [`MAX_MODEL_BYTES`],
    /// [`Error::ModelChecksum`] if it is another file than the card describes.
    pub fn read_model(&self) -> Result<Vec<u8>> {
        let failed = |source| Error::Read { what: "model file", path: self.file.clone(), source };
        let file = File::open(&self.file).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        if length > MAX_MODEL_BYTES as u64 {
            return Err(Error::TooLarge {
                what: "bytes of the model file",
                found: usize::try_from(length).unwrap_or(usize::MAX),
                max: MAX_MODEL_BYTES,
                constant: "MAX_MODEL_BYTES",
            });
        }
        let mut bytes = Vec::with_capacity(length as usize);
        // What is no plain file has no length; it is cut here and fails the digest.
        file.take(MAX_MODEL_BYTES as u64).read_to_end(&mut bytes).map_err(failed)?;
        let found = hex(&Sha256::digest(&bytes));
        if found != self.sha256 {
            return Err(Error::ModelChecksum { path: self.file.clone(), expected: self.sha256.clone(), found });
        }
        Ok(bytes)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).filter_map(|d| char::from_digit(u32::from(d), 16)).collect()
}

#[cfg(test)]
mod tests;
