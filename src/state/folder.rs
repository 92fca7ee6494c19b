//! The folder of a state: two generations, replaced one after the other, and a lock.
//!
//! | file | |
//! |---|---|
//! | `state.0`, `state.1` | the generations; a save replaces the older one |
//! | `state.new` | a save that is not complete; means nothing after a restart |
//! | `state.0.aside`, `state.1.aside` | what could not be used |
//! | `lock` | held (`flock`) by the process that uses the folder; the kernel lets go when that ends, however it ends |

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::format;
use crate::error::{Error, Result};
use crate::size::{MAX_EMBEDDING, MAX_IDENTITIES, NEIGHBORS};

/// Whole states on the disk.
pub const GENERATIONS: usize = 2;

/// Most bytes that are read: states of builds with larger sizes fit too, and memory does not run out.
const MAX_FILE: usize = 4 * format::max_bytes(NEIGHBORS, MAX_IDENTITIES, MAX_EMBEDDING);

const NEW: &str = "state.new";
const LOCK: &str = "lock";

/// Where generations are written to.
pub trait Disk: Send {
    /// Puts `bytes` in the place of a generation: all of them or nothing, and there for good when this returns. With
    /// `erase`, the blocks of what was there before are overwritten. Owner and mode stay those of the file that stood
    /// there, as far as this user may give them: who else uses the state can go on reading it.
    ///
    /// # Errors
    /// Whatever the disk says. The generation is what it was, then, or what it should be and not erased.
    fn replace(&mut self, generation: usize, bytes: &[u8], erase: bool) -> io::Result<()>;
}

/// A folder that this process holds.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Held until it is dropped; none where the folder cannot be written, and then nobody writes.
    _lock: Option<File>,
}

impl Folder {
    /// Makes the folder where there is none, for the user alone, and locks it. A folder that can only be read is
    /// taken as it is.
    ///
    /// # Errors
    /// [`Error::StateBusy`] if another process holds it.
    pub fn open(path: &Path) -> Result<Self> {
        if let Err(error) = DirBuilder::new().recursive(true).mode(0o700).create(path) {
            tracing::warn!("state: cannot make {}: {error}", path.display());
        }
        Ok(Self { path: path.into(), _lock: lock(path)? })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The bytes of a generation, if it is there.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn read(&self, generation: usize) -> io::Result<Option<Vec<u8>>> {
        // A pipe in the place of a file must not be waited for.
        let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(self.generation(generation));
        let Some(file) = absent(opened)? else { return Ok(None) };
        let mut bytes = Vec::new();
        let mut file = file.take(format::HEADER as u64);
        file.read_to_end(&mut bytes)?;
        // Only what begins as a state is read to its end, which a device may not have.
        if format::header(&bytes).is_ok() {
            file.set_limit(MAX_FILE as u64);
            file.read_to_end(&mut bytes)?;
        }
        Ok(Some(bytes))
    }

    /// Moves a generation out of the way, over the one that was moved so before, and says where it lies now.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn set_aside(&self, generation: usize) -> io::Result<PathBuf> {
        let aside = self.aside(generation);
        fs::rename(self.generation(generation), &aside)?;
        self.sync()?;
        Ok(aside)
    }

    /// Removes what a save left that was cut off, and what was set aside longer ago than `ttl` by a wall clock that is
    /// trusted.
    pub fn tidy(&self, ttl: Duration, wall_trusted: bool) {
        // Nothing is lost if one of these fails: the next save tells.
        let _ = fs::remove_file(self.path.join(NEW));
        let too_old = |path: &Path| {
            let age = SystemTime::now().duration_since(fs::metadata(path).ok()?.modified().ok()?).ok()?;
            Some(wall_trusted && age > ttl.saturating_add(super::WALL_TOLERANCE))
        };
        for aside in (0..GENERATIONS).map(|generation| self.aside(generation)) {
            if too_old(&aside) == Some(true) {
                tracing::info!("state: {} is older than gallery.ttl_s and erased", aside.display());
                let _ = erase(&aside);
            }
        }
    }

    /// Overwrites and removes what was set aside; says how many files that were.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn erase_aside(&self) -> io::Result<usize> {
        let mut erased = 0;
        for generation in 0..GENERATIONS {
            erased += usize::from(erase(&self.aside(generation))?);
        }
        Ok(erased)
    }

    fn generation(&self, number: usize) -> PathBuf {
        self.path.join(format!("state.{number}"))
    }

    fn aside(&self, generation: usize) -> PathBuf {
        self.path.join(format!("state.{generation}.aside"))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

impl Disk for Folder {
    fn replace(&mut self, generation: usize, bytes: &[u8], erase: bool) -> io::Result<()> {
        let (new, name) = (self.path.join(NEW), self.generation(generation));
        let _ = absent(fs::remove_file(&new))?;
        // Opened by its name now, overwritten when it has none any more: at no time is there half a generation.
        let before = if erase { absent(OpenOptions::new().write(true).open(&name))? } else { None };
        let like = fs::symlink_metadata(&name).ok().filter(fs::Metadata::is_file);
        let written = write(&new, bytes, &self.path, like.as_ref()).and_then(|()| fs::rename(&new, name));
        if written.is_err() {
            // A full disk gets its space back.
            let _ = fs::remove_file(&new);
        }
        written?;
        self.sync()?;
        before.map_or(Ok(()), |mut before| overwrite(&mut before))
    }
}

/// A new file with these bytes, on the disk when this returns; with owner and mode of `like`, else for the owner of
/// `folder` alone.
fn write(new: &Path, bytes: &[u8], folder: &Path, like: Option<&fs::Metadata>) -> io::Result<()> {
    // `create_new` follows no link that somebody may have put there.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
    match like {
        Some(like) => {
            give(&file, like);
            // After the owner: until here nobody else could read it.
            let _ = file.set_permissions(fs::Permissions::from_mode(like.mode() & 0o777));
        }
        None => give_to_owner_of(folder, &file),
    }
    file.write_all(bytes)?;
    file.sync_all()
}

/// Gives `file` to the user and group of `like`. Only a superuser can, and only one has to: an operator who erases people
/// as root must leave files that the service reads.
fn give(file: &File, like: &fs::Metadata) {
    let own = file.metadata().is_ok_and(|own| (own.uid(), own.gid()) == (like.uid(), like.gid()));
    if !own && let Err(error) = fchown(file, Some(like.uid()), Some(like.gid())) {
        tracing::debug!("state: a file keeps the user that wrote it: {error}");
    }
}

fn give_to_owner_of(folder: &Path, file: &File) {
    if let Ok(like) = fs::metadata(folder) {
        give(file, &like);
    }
}

/// The lock of the folder `path`.
fn lock(path: &Path) -> Result<Option<File>> {
    let name = path.join(LOCK);
    let made = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&name);
    let mut file = match made.or_else(|_| File::open(&name)) {
        Ok(file) => file,
        Err(error) => {
            tracing::warn!("state: cannot lock {}: {error}; nothing can be saved there", path.display());
            return Ok(None);
        }
    };
    match file.try_lock() {
        Ok(()) => {
            // Made just now by root in the folder of another user, that one could not lock it later.
            give_to_owner_of(path, &file);
            // For the message to whoever comes second; of no other use.
            let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
        }
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.take(20).read_to_string(&mut holder);
            return Err(Error::StateBusy { dir: path.into(), holder: holder.trim().into() });
        }
        Err(TryLockError::Error(error)) => tracing::warn!("state: this file system knows no locks: {error}"),
    }
    Ok(Some(file))
}

/// Overwrites and removes a file; whether it was there.
fn erase(path: &Path) -> io::Result<bool> {
    let Some(mut file) = absent(OpenOptions::new().write(true).open(path))? else { return Ok(false) };
    overwrite(&mut file)?;
    fs::remove_file(path)?;
    Ok(true)
}

/// Nothing where the file is not there.
fn absent<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn overwrite(file: &mut File) -> io::Result<()> {
    let length = file.metadata()?.len();
    file.rewind()?;
    io::copy(&mut io::repeat(0).take(length), file)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let outer = tempfile::tempdir().unwrap();
        let folder = Folder::open(&outer.path().join("a/b")).unwrap();
        (outer, folder)
    }

    #[test]
    fn a_generation_is_replaced_as_a_whole_and_for_the_user_alone() {
        let (_outer, mut folder) = folder();
        assert_eq!(folder.read(0).unwrap(), None);
        folder.replace(0, b"one", false).unwrap();
        folder.replace(1, b"two", false).unwrap();
        folder.replace(0, b"three", false).unwrap();
        assert_eq!(
            (folder.read(0).unwrap().unwrap(), folder.read(1).unwrap().unwrap()),
            (b"three".into(), b"two".into())
        );
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(folder.path()), mode(&folder.generation(0))), (0o700, 0o600));
        assert!(!folder.path().join(NEW).exists());
    }

    /// Who has a file, and what each may do with it.
    fn owner_and_mode(path: &Path) -> (u32, u32, u32) {
        let metadata = fs::metadata(path).unwrap();
        (metadata.uid(), metadata.gid(), metadata.mode() & 0o777)
    }

    #[test]
    fn owner_and_mode_of_a_generation_stay() {
        let (_outer, mut folder) = folder();
        let name = folder.generation(0);
        folder.replace(0, b"one", false).unwrap();
        fs::set_permissions(&name, fs::Permissions::from_mode(0o640)).unwrap();
        let before = owner_and_mode(&name);
        folder.replace(0, b"two", true).unwrap();
        assert_eq!((owner_and_mode(&name), fs::read(&name).unwrap()), (before, b"two".into()));
        assert_eq!(before.2, 0o640);
        // What could run as its owner before does not so any more.
        fs::set_permissions(&name, fs::Permissions::from_mode(0o4600)).unwrap();
        folder.replace(0, b"three", false).unwrap();
        assert_eq!(fs::metadata(&name).unwrap().mode() & 0o7777, 0o600);
    }

    /// `forget` by an operator on the state of a service.
    #[test]
    fn root_leaves_the_files_to_the_user_of_the_service() {
        let outer = tempfile::tempdir().unwrap();
        let dir = outer.path().join("state");
        fs::create_dir(&dir).unwrap();
        let service = Some(54321);
        if let Err(error) = std::os::unix::fs::chown(&dir, service, service) {
            println!("SKIPPED: only root can give files away: {error}");
            return;
        }
        let mut folder = Folder::open(&dir).unwrap();
        // No generation yet: the folder tells whose they are.
        folder.replace(0, b"one", false).unwrap();
        folder.replace(0, b"two", true).unwrap();
        folder.replace(1, b"three", true).unwrap();
        for name in [folder.generation(0), folder.generation(1), dir.join(LOCK)] {
            assert_eq!(owner_and_mode(&name), (54321, 54321, 0o600), "{}", name.display());
        }
        // Another group is kept too.
        std::os::unix::fs::chown(folder.generation(1), None, Some(54322)).unwrap();
        folder.replace(1, b"four", true).unwrap();
        assert_eq!(owner_and_mode(&folder.generation(1)), (54321, 54322, 0o600));
    }

    #[test]
    fn a_save_that_was_cut_off_is_in_nobodys_way() {
        let (_outer, mut folder) = folder();
        fs::write(folder.path().join(NEW), b"half").unwrap();
        folder.replace(0, b"whole", false).unwrap();
        assert_eq!(folder.read(0).unwrap().unwrap(), b"whole");
        fs::write(folder.path().join(NEW), b"half").unwrap();
        folder.tidy(Duration::ZERO, false);
        assert!(!folder.path().join(NEW).exists());
    }

    #[test]
    fn a_link_that_somebody_put_there_is_not_followed() {
        let (outer, mut folder) = folder();
        let victim = outer.path().join("victim");
        fs::write(&victim, b"precious").unwrap();
        std::os::unix::fs::symlink(&victim, folder.path().join(NEW)).unwrap();
        folder.replace(0, b"state", false).unwrap();
        assert_eq!(
            (fs::read(victim).unwrap(), folder.read(0).unwrap().unwrap()),
            (b"precious".into(), b"state".into())
        );
    }

    #[test]
    fn where_nothing_can_be_written_the_generations_stay() {
        let (_outer, mut folder) = folder();
        folder.replace(0, b"old", false).unwrap();
        // A folder in the place of the file stops everybody, also a superuser.
        fs::create_dir_all(folder.path().join(NEW).join("full")).unwrap();
        assert!(folder.replace(0, b"new", false).is_err());
        assert_eq!(folder.read(0).unwrap().unwrap(), b"old");
    }

    #[test]
    fn a_folder_below_a_file_is_no_folder_and_no_panic() {
        let mut folder = Folder::open(Path::new("/dev/null/state")).unwrap();
        assert!(folder.replace(0, b"x", false).is_err() && folder.set_aside(0).is_err());
        assert_eq!(folder.read(0).ok().flatten(), None);
        folder.tidy(Duration::ZERO, true);
    }

    #[test]
    fn only_one_holds_a_folder() {
        let (_outer, folder) = folder();
        let error = Folder::open(folder.path()).unwrap_err();
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
        let path = folder.path().to_owned();
        drop(folder);
        Folder::open(&path).unwrap();
    }

    #[test]
    fn what_is_erased_is_overwritten_and_gone() {
        let (_outer, mut folder) = folder();
        folder.replace(0, b"secret", false).unwrap();
        // A second name for the same blocks shows what becomes of them.
        let (name, other) = (folder.generation(0), folder.path().join("other"));
        fs::hard_link(&name, &other).unwrap();
        folder.replace(0, b"public", true).unwrap();
        assert_eq!((fs::read(&other).unwrap(), fs::read(&name).unwrap()), (vec![0; 6], b"public".into()));
        folder.replace(1, b"first", true).unwrap();

        let aside = folder.set_aside(0).unwrap();
        fs::remove_file(&other).unwrap();
        fs::hard_link(&aside, &other).unwrap();
        assert_eq!(folder.erase_aside().unwrap(), 1);
        assert!(!aside.exists());
        assert_eq!(fs::read(&other).unwrap(), [0; 6]);
        assert_eq!(folder.erase_aside().unwrap(), 0);
    }

    #[test]
    fn what_was_set_aside_expires_where_the_clock_is_trusted() {
        let (_outer, mut folder) = folder();
        folder.replace(0, b"old", false).unwrap();
        let aside = folder.set_aside(0).unwrap();
        let file = File::options().write(true).open(&aside).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(10_000)).unwrap();
        folder.tidy(Duration::from_mins(1), false);
        folder.tidy(Duration::from_mins(150), true);
        assert!(aside.exists());
        folder.tidy(Duration::from_mins(1), true);
        assert!(!aside.exists());
    }
}
