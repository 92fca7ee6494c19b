//! Files of the folder, of which nobody but this program should be the author, though somebody else may be: no link is
//! followed and no pipe waited for.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

/// Opens a file of that name; none where there is nothing, or something else than a file.
pub(super) fn open(options: &mut OpenOptions, path: &Path) -> io::Result<Option<File>> {
    match options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path) {
        Ok(file) => Ok(file.metadata()?.is_file().then_some(file)),
        Err(_) if is_odd(path) => Ok(None),
        Err(error) => absent(Err(error)),
    }
}

/// Whether a link, a pipe, a folder or a device has that name.
pub(super) fn is_odd(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| !found.is_file())
}

/// A new file of that name in `folder`, for the user alone to whom that belongs.
pub(super) fn create(folder: &Path, name: &str) -> io::Result<File> {
    // `create_new` follows no link that somebody may have put there.
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(folder.join(name))?;
    give(&file, folder);
    Ok(file)
}

/// Gives a file that root made to the owner of `folder`, who has to read it later.
pub(super) fn give(file: &File, folder: &Path) {
    if let (Ok(made), Ok(folder)) = (file.metadata(), fs::metadata(folder))
        && made.uid() == 0
        && folder.uid() != 0
        // A root that may not do that is no superuser, and reads the file itself.
        && let Err(error) = fchown(file, Some(folder.uid()), Some(folder.gid()))
    {
        tracing::warn!("state: a file stays with root, and not with the folder's owner: {error}");
    }
}

/// A new file with these bytes, on the disk when this returns.
pub(super) fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut file = create(folder, name)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Overwrites and removes a file; whether it was there. Of what is no file only the name goes.
pub(super) fn erase(path: &Path) -> io::Result<bool> {
    if let Some(mut file) = open(OpenOptions::new().write(true), path)? {
        overwrite(&mut file)?;
    }
    Ok(absent(fs::remove_file(path))?.is_some())
}

/// Zeros in the place of all bytes, on the disk when this returns.
pub(super) fn overwrite(file: &mut File) -> io::Result<()> {
    let length = file.metadata()?.len();
    file.rewind()?;
    io::copy(&mut io::repeat(0).take(length), file)?;
    file.sync_all()
}

/// Nothing where the file, or its folder, is not there.
pub(super) fn absent<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}
