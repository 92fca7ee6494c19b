//! A safetensors file as named, checked tensors.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

use safetensors::tensor::{Dtype, Metadata, SafeTensors};

use crate::error::{Error, Result};

/// Largest file read into memory: four times what the largest network of `size.rs` is likely to need.
const MAX_BYTES: u64 = 512 << 20;

/// Reads a whole file, if it is one and not too large.
pub(super) fn read_bytes(what: &'static str, path: &Path) -> Result<Vec<u8>> {
    let failed = |source| Error::Read { what, path: path.into(), source };
    let file = File::open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    // A pipe or a device could go on for ever.
    if !about.is_file() {
        return Err(broken(path, "it is not a regular file"));
    }
    if about.len() > MAX_BYTES {
        return Err(broken(path, &format!("it has {} bytes, more than the {MAX_BYTES} read here", about.len())));
    }
    let mut bytes = Vec::with_capacity(about.len() as usize);
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// The error of a file that cannot be used as a whole.
pub(super) fn broken(path: &Path, reason: &str) -> Error {
    Error::ModelLoad { path: path.into(), reason: reason.into() }
}

/// The tensors and metadata of one file.
pub(super) struct Tensors<'a> {
    path: &'a Path,
    content: SafeTensors<'a>,
    metadata: Metadata,
    unread: BTreeSet<String>,
}

impl<'a> Tensors<'a> {
    /// Parses `bytes`; `path` is for messages.
    pub(super) fn parse(bytes: &'a [u8], path: &'a Path) -> Result<Self> {
        let failed = |reason: &dyn std::fmt::Display| broken(path, &format!("not a safetensors file ({reason})"));
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|reason| failed(&reason))?;
        let content = SafeTensors::deserialize(bytes).map_err(|reason| failed(&reason))?;
        let unread = content.names().into_iter().map(String::from).collect();
        Ok(Self { path, content, metadata, unread })
    }

    /// The file.
    pub(super) fn path(&self) -> &'a Path {
        self.path
    }

    /// Shape of a tensor, if there is one of this name.
    pub(super) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.metadata.info(name).map(|info| info.shape.as_slice())
    }

    /// A number of the metadata, if there is one of this name.
    pub(super) fn number<T: FromStr>(&self, key: &str, expected: &str) -> Result<Option<T>> {
        let Some(text) = self.metadata.metadata().as_ref().and_then(|entries| entries.get(key)) else {
            return Ok(None);
        };
        let number = text.parse().map_err(|_| self.mismatch(&format!("metadata `{key}`"), expected, text))?;
        Ok(Some(number))
    }

    /// A tensor of finite floats.
    pub(super) fn floats(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let values = self.floats_of_any_value(name, shape)?;
        if values.iter().all(|value| value.is_finite()) { Ok(values) } else { Err(self.not_finite(name)) }
    }

    /// A tensor of floats, NaN and infinity among them.
    pub(super) fn floats_of_any_value(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        Ok(self.values(name, Dtype::F32, shape)?.map(f32::from_le_bytes).collect())
    }

    /// A tensor of whole numbers.
    pub(super) fn integers(&mut self, name: &str, shape: &[usize]) -> Result<Vec<i32>> {
        Ok(self.values(name, Dtype::I32, shape)?.map(i32::from_le_bytes).collect())
    }

    fn values(&mut self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<impl Iterator<Item = [u8; 4]> + use<'a>> {
        let view = self.content.tensor(name).map_err(|_| broken(self.path, &format!("tensor `{name}` is missing")))?;
        if view.dtype() != dtype || view.shape() != shape {
            let found = format!("{:?} {:?}", view.dtype(), view.shape());
            return Err(self.mismatch(&format!("tensor `{name}`"), &format!("{dtype:?} {shape:?}"), &found));
        }
        self.unread.remove(name);
        Ok(view.data().as_chunks().0.iter().copied())
    }

    /// Refuses what nobody asked for: leaving a term out in silence would give wrong numbers.
    pub(super) fn all_read(&self) -> Result<()> {
        match self.unread.first() {
            None => Ok(()),
            Some(name) => {
                Err(broken(self.path, &format!("tensor `{name}` is not part of the network this program knows")))
            }
        }
    }

    /// The error of something other than expected.
    pub(super) fn mismatch(&self, what: &str, expected: &str, found: &str) -> Error {
        Error::ModelShape { path: self.path.into(), what: what.into(), expected: expected.into(), found: found.into() }
    }

    /// The error of a tensor with, or leading to, values that are no numbers.
    pub(super) fn not_finite(&self, name: &str) -> Error {
        Error::WeightsNotFinite { path: self.path.into(), tensor: name.into() }
    }
}
