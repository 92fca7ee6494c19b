//! What the generations on the disk say.

use std::io;

use super::Contents;
use super::folder::{Folder, GENERATIONS};
use super::format::{self, Fingerprint, Maker};
use super::seal::Key;
use crate::error::Result;
use crate::gallery::IdentityId;

/// All that can be read in a folder.
#[derive(Debug)]
pub(super) struct Loaded {
    /// The newest state that can be used.
    pub(super) contents: Option<Contents>,
    /// Its models, or else those that a generation which cannot be used was made with.
    pub(super) fingerprint: Fingerprint,
    /// The generation to be replaced next.
    pub(super) older: usize,
    /// Sequence number of the newest save, whether or not it can be used.
    pub(super) sequence: u64,
    /// Identity numbers from here on were never given, as far as any generation tells.
    pub(super) reserved: IdentityId,
    /// Whether one is not encrypted.
    pub(super) any_plain: bool,
    /// The generations that cannot be used, and why.
    pub(super) refused: Vec<(usize, String)>,
}

/// Reads both generations and takes the newest that can be used, with a `maker` only of that.
///
/// # Errors
/// [`Error::StateFile`](crate::Error::StateFile) if one may not be read, or cannot be and no other one tells which
/// numbers were given.
pub(super) fn load(folder: &Folder, key: Option<&Key>, maker: Option<&Maker>) -> Result<Loaded> {
    let mut loaded = Loaded {
        contents: None,
        fingerprint: Fingerprint::default(),
        older: 0,
        sequence: 0,
        reserved: IdentityId(1),
        any_plain: false,
        refused: Vec::new(),
    };
    let (mut newest, mut numbered) = (None, false);
    let mut failed: Option<(usize, io::Error)> = None;
    for generation in 0..GENERATIONS {
        let mut bytes = match folder.read(generation) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => continue,
            Err(error) => {
                loaded.refused.push((generation, error.to_string()));
                failed.get_or_insert((generation, error));
                continue;
            }
        };
        if let Ok(header) = format::header(&bytes) {
            // Where only the body is unusable, numbers go on all the same.
            numbered = true;
            loaded.sequence = loaded.sequence.max(header.sequence);
            loaded.reserved = loaded.reserved.max(header.reserved);
            loaded.any_plain |= !header.sealed;
            if newest.is_none() {
                loaded.fingerprint = header.fingerprint;
            }
        }
        match format::open(&mut bytes, key, maker) {
            Err(refusal) => loaded.refused.push((generation, refusal.to_string())),
            Ok((header, contents)) => {
                loaded.reserved = loaded.reserved.max(contents.head.next_identity);
                if newest.is_none_or(|newest| newest < header.sequence) {
                    newest = Some(header.sequence);
                    loaded.fingerprint = header.fingerprint;
                    loaded.older = (generation + 1) % GENERATIONS;
                    loaded.contents = Some(contents);
                }
            }
        }
    }
    match failed {
        // The reserve of the other generation holds out: see `EARLY` of the keeper.
        Some((_, error)) if numbered && error.kind() != io::ErrorKind::PermissionDenied => Ok(loaded),
        Some((generation, error)) => Err(folder.unreadable(generation, error)),
        None => Ok(loaded),
    }
}
