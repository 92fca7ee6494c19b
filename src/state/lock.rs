//! Who holds a folder: the file `lock`, held (`flock`) until it is dropped or the process ends, however it ends.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::files;
use crate::error::{Error, Result};

const NAME: &str = "lock";

/// A lock that is held.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    /// Takes the lock of `folder`; none, with a word in the log, where there can be no such file.
    ///
    /// # Errors
    /// [`Error::StateBusy`] if another process holds it.
    pub(super) fn take(folder: &Path) -> Result<Option<Self>> {
        match open(folder) {
            Ok(file) => hold(file, folder).map(Some),
            Err(error) => {
                tracing::warn!("state: cannot lock {}: {error}; nothing can be saved there", folder.display());
                Ok(None)
            }
        }
    }

    /// Makes and takes the lock of a folder that has none: it is new. Where there is one, somebody else used the folder.
    pub(super) fn make(folder: &Path) -> io::Result<Self> {
        let file = files::create(folder, NAME).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => io::Error::other(
                "its lock is not the one of the start, so somebody else may have used it: restart the program",
            ),
            _ => error,
        })?;
        hold(file, folder).map_err(io::Error::other)
    }

    /// Whether this is still the lock of `folder`, which may have been made anew.
    pub(super) fn is_of(&self, folder: &Path) -> bool {
        let place = |found: fs::Metadata| (found.dev(), found.ino());
        let there = fs::symlink_metadata(folder.join(NAME)).map(place);
        there.is_ok_and(|there| self.0.metadata().is_ok_and(|held| place(held) == there))
    }
}

fn open(folder: &Path) -> io::Result<File> {
    let name = folder.join(NAME);
    let mut change = OpenOptions::new();
    change.read(true).write(true).create(true).truncate(false).mode(0o600);
    match files::open(&mut change, &name) {
        Ok(Some(file)) => {
            files::give(&file, folder);
            Ok(file)
        }
        Ok(None) if files::is_odd(&name) => Err(io::Error::other("`lock` is not a file; remove it")),
        Ok(None) => Err(io::ErrorKind::NotFound.into()),
        // What can only be read can be locked too.
        Err(error) => files::open(OpenOptions::new().read(true), &name)?.ok_or(error),
    }
}

fn hold(mut file: File, folder: &Path) -> Result<Lock> {
    match file.try_lock() {
        Ok(()) => {
            // For the message to whoever comes second; of no other use.
            let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
        }
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.take(20).read_to_string(&mut holder);
            return Err(Error::StateBusy { dir: folder.into(), holder: holder.trim().into() });
        }
        Err(TryLockError::Error(error)) => tracing::warn!("state: this file system knows no locks: {error}"),
    }
    Ok(Lock(file))
}
