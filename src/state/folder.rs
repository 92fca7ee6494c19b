//! The folder of a state: two generations, replaced one after the other, and a lock.
//!
//! | file | |
//! |---|---|
//! | `state.0`, `state.1` | the generations; a save replaces the older one |
//! | `state.new` | a save that is not complete; means nothing after a restart |
//! | `state.0.aside`, `state.1.aside` | what could not be used |
//! | `lock` | held (`flock`) by the process that uses the folder; the kernel lets go when that ends, however it ends |

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::files::{self, absent, overwrite};
use super::format;
use super::lock::Lock;
use crate::error::{Error, Result};
use crate::size::{MAX_EMBEDDING, MAX_IDENTITIES, NEIGHBORS};

/// Whole states on the disk.
pub const GENERATIONS: usize = 2;

/// Most bytes that are read: states of builds with larger sizes fit too, and memory does not run out.
const MAX_FILE: usize = 4 * format::max_bytes(NEIGHBORS, MAX_IDENTITIES, MAX_EMBEDDING);

const NEW: &str = "state.new";

/// Where generations are written to.
pub trait Disk: Send {
    /// Puts `bytes` in the place of a generation: all of them or nothing, and there for good when this returns. With
    /// `erase`, the blocks of what was there before are overwritten.
    ///
    /// # Errors
    /// Whatever the disk says. The generation is what it was, then, or what it should be and not erased.
    fn replace(&mut self, generation: usize, bytes: &[u8], erase: bool) -> io::Result<()>;

    /// Erases what a save left that was cut off, what was set aside longer ago than `ttl` (by a wall clock that is
    /// trusted, or because this process is as old), and with `encrypt` whatever was set aside and is not encrypted.
    fn tidy(&mut self, ttl: Duration, wall_trusted: bool, encrypt: bool);
}

/// A folder that this process holds.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// None where the folder could not be written at the start.
    lock: Option<Lock>,
    /// Whatever is set aside is older.
    opened: Instant,
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
        Ok(Self { path: path.into(), lock: Lock::take(path)?, opened: Instant::now() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The bytes of a generation, if it is there; no bytes where something else than a file has its name.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn read(&self, generation: usize) -> io::Result<Option<Vec<u8>>> {
        let name = self.generation(generation);
        let Some(file) = files::open(OpenOptions::new().read(true), &name)? else {
            return Ok(files::is_odd(&name).then(Vec::new));
        };
        let mut bytes = Vec::new();
        let mut file = file.take(format::HEADER as u64);
        file.read_to_end(&mut bytes)?;
        // Only what begins as a state is read to its end.
        if format::header(&bytes).is_ok() {
            file.set_limit(MAX_FILE as u64);
            file.read_to_end(&mut bytes)?;
        }
        Ok(Some(bytes))
    }

    /// What to tell of a generation that could not be read.
    pub(super) fn unreadable(&self, generation: usize, source: io::Error) -> Error {
        let path = self.generation(generation);
        let remedy = match (fs::symlink_metadata(&path), fs::metadata(&self.path)) {
            (Ok(file), Ok(folder)) if source.kind() == io::ErrorKind::PermissionDenied => {
                let (owner, user, group) = (file.uid(), folder.uid(), folder.gid());
                format!(
                    "it is of user {owner}, its folder of user {user}: `chown {user}:{group} {0} && chmod 600 {0}`",
                    path.display()
                )
            }
            (Err(_), _) => {
                format!("let the user of this program into the folder: `chown -R USER {}`", self.path.display())
            }
            _ => "mend the disk, or remove the file if numbers may begin with 1 again".into(),
        };
        Error::StateFile { path, source, remedy }
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

    /// Overwrites and removes what was set aside; says how many files that were.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn erase_aside(&self) -> io::Result<usize> {
        let mut erased = 0;
        for generation in 0..GENERATIONS {
            erased += usize::from(files::erase(&self.aside(generation))?);
        }
        Ok(erased)
    }

    fn generation(&self, number: usize) -> PathBuf {
        self.path.join(format!("state.{number}"))
    }

    fn aside(&self, generation: usize) -> PathBuf {
        self.path.join(format!("state.{generation}.aside"))
    }

    /// Makes sure of the lock: a folder that was made anew has another one, or none.
    fn hold(&mut self) -> io::Result<()> {
        if !self.lock.as_ref().is_some_and(|lock| lock.is_of(&self.path)) {
            self.lock = Some(Lock::make(&self.path)?);
        }
        Ok(())
    }

    /// Whether what is in this file is certainly encrypted.
    fn is_sealed(path: &Path) -> bool {
        let mut header = Vec::new();
        let file = files::open(OpenOptions::new().read(true), path).ok().flatten();
        let read = file.map(|file| file.take(format::HEADER as u64).read_to_end(&mut header));
        matches!(read, Some(Ok(_))) && format::header(&header).is_ok_and(|header| header.sealed)
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

impl Disk for Folder {
    fn replace(&mut self, generation: usize, bytes: &[u8], erase: bool) -> io::Result<()> {
        self.hold()?;
        let (new, name) = (self.path.join(NEW), self.generation(generation));
        let _ = absent(fs::remove_file(&new))?;
        // Opened by its name now, overwritten when it has none any more: at no time is there half a generation.
        let before = if erase { files::open(OpenOptions::new().write(true), &name)? } else { None };
        let written = files::write(&self.path, NEW, bytes).and_then(|()| fs::rename(&new, name));
        if written.is_err() {
            // A full disk gets its space back.
            let _ = fs::remove_file(&new);
        }
        written?;
        self.sync()?;
        before.map_or(Ok(()), |mut before| overwrite(&mut before))
    }

    fn tidy(&mut self, ttl: Duration, wall_trusted: bool, encrypt: bool) {
        if self.lock.is_none() {
            return;
        }
        // Nothing is lost if one of these fails: the next save tells.
        let _ = files::erase(&self.path.join(NEW));
        let age = |path: &Path| SystemTime::now().duration_since(fs::metadata(path).ok()?.modified().ok()?).ok();
        let by_wall = |path: &Path| wall_trusted && age(path) > Some(ttl.saturating_add(super::WALL_TOLERANCE));
        for aside in (0..GENERATIONS).map(|generation| self.aside(generation)).filter(|aside| aside.exists()) {
            let why = if self.opened.elapsed() > ttl || by_wall(&aside) {
                "older than gallery.ttl_s"
            } else if encrypt && !Self::is_sealed(&aside) {
                "not encrypted"
            } else {
                continue;
            };
            match files::erase(&aside) {
                Ok(_) => tracing::info!("state: {} is {why} and erased", aside.display()),
                Err(error) => tracing::warn!("state: {} is {why}, but stays there: {error}", aside.display()),
            }
        }
    }
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

    #[test]
    fn a_save_that_was_cut_off_is_in_nobodys_way() {
        let (_outer, mut folder) = folder();
        fs::write(folder.path().join(NEW), b"half").unwrap();
        folder.replace(0, b"whole", false).unwrap();
        assert_eq!(folder.read(0).unwrap().unwrap(), b"whole");
        fs::write(folder.path().join(NEW), b"half").unwrap();
        folder.tidy(Duration::MAX, false, false);
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
    fn a_link_in_the_place_of_any_file_is_replaced_and_its_target_left_alone() {
        let outer = tempfile::tempdir().unwrap();
        let (dir, victim) = (outer.path().join("state"), outer.path().join("victim"));
        let link = |name: &str| {
            fs::write(&victim, b"precious").unwrap();
            std::os::unix::fs::symlink(&victim, dir.join(name)).unwrap();
        };
        fs::create_dir(&dir).unwrap();
        link("lock");
        let mut folder = Folder::open(&dir).unwrap();
        assert!(folder.replace(0, b"state", false).is_err(), "without a lock nobody writes");
        fs::remove_file(dir.join("lock")).unwrap();
        folder.replace(1, b"state", false).unwrap();
        for name in ["state.0", "state.0.aside", "state.new"] {
            link(name);
        }
        assert_eq!(folder.read(0).unwrap().unwrap(), b"");
        folder.tidy(Duration::MAX, false, false);
        folder.replace(0, b"new", true).unwrap();
        assert_eq!(folder.erase_aside().unwrap(), 1);
        assert_eq!((fs::read(&victim).unwrap(), folder.read(0).unwrap().unwrap()), (b"precious".into(), b"new".into()));
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
        folder.tidy(Duration::ZERO, true, true);
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
        folder.tidy(Duration::from_mins(1), false, false);
        folder.tidy(Duration::from_mins(150), true, false);
        assert!(aside.exists());
        folder.tidy(Duration::from_mins(1), true, false);
        assert!(!aside.exists());

        folder.replace(0, b"old", false).unwrap();
        let aside = folder.set_aside(0).unwrap();
        folder.opened = Instant::now().checked_sub(Duration::from_secs(61)).unwrap();
        folder.tidy(Duration::from_secs(62), false, false);
        assert!(aside.exists());
        folder.tidy(Duration::from_mins(1), false, false);
        assert!(!aside.exists(), "this process is older than that, whatever the wall clock says");
    }

    #[test]
    fn a_folder_made_anew_is_locked_again_but_not_taken_from_whoever_used_it() {
        let (_outer, mut folder) = folder();
        let path = folder.path().to_owned();
        let renew = || {
            fs::remove_dir_all(&path).unwrap();
            fs::create_dir(&path).unwrap();
        };
        renew();
        folder.replace(0, b"state", false).unwrap();
        assert!(matches!(Folder::open(&path), Err(Error::StateBusy { .. })));
        renew();
        drop(Folder::open(&path).unwrap());
        let refused = folder.replace(0, b"state", false).unwrap_err();
        assert!(refused.to_string().contains("restart"), "{refused}");
        assert_eq!(folder.read(0).unwrap(), None);
    }
}
