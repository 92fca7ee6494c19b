//! Where a camera is: its device file, which may get another number while it is away.

use std::path::{Path, PathBuf};

use crate::camera::devices::{self, DeviceInfo};
use crate::camera::v4l2::Capability;
use crate::error::{Error, Result};

/// Attempts for which the camera that ran before is waited for where another one has its name: behind a hub that starts
/// anew the other one may be the first to come back. With the waits between attempts that is three seconds.
const WAIT_FOR_IT: u32 = 5;

/// A camera's place, and how to know it again.
pub(super) struct Place {
    path: PathBuf,
    /// Known once it ran.
    identity: Option<Identity>,
    /// Attempts since it ran that found another camera under its name, and it nowhere.
    strangers: u32,
}

/// How to know a camera again.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    card: String,
    bus: String,
}

impl Identity {
    fn of(capability: &Capability) -> Self {
        Self { card: capability.card.clone(), bus: capability.bus.clone() }
    }

    /// The same camera among `devices`.
    fn among(&self, devices: &[DeviceInfo]) -> Option<PathBuf> {
        let same = |device: &&DeviceInfo| device.is_camera() && device.card == self.card && device.bus == self.bus;
        devices.iter().find(same).map(|device| device.path.clone())
    }
}

impl Place {
    /// A camera that has not run yet.
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.into(), identity: None, strangers: 0 }
    }

    /// Its device file, as of the last time it ran.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The name that it gives itself.
    pub(super) fn card(&self) -> Option<&str> {
        self.identity.as_ref().map(|identity| identity.card.as_str())
    }

    /// Opens the camera: the file named or, after the first time, the camera that ran before, under whatever number it has
    /// now.
    ///
    /// A camera that is plugged in again while something still holds its old file gets another number, and numbers of
    /// several cameras, or of the nodes of one, change places. Where only another camera is left, it is taken after
    /// [`WAIT_FOR_IT`] attempts. `open` opens a device file and says what it is, `list` says what there is.
    pub(super) fn open<N>(
        &mut self,
        open: impl Fn(&Path) -> Result<(N, Capability)>,
        list: impl Fn() -> Vec<DeviceInfo>,
    ) -> Result<(PathBuf, N, Capability)> {
        let path = self.path.clone();
        let Some(known) = &self.identity else {
            return open(&path).map(|(node, capability)| (path, node, capability));
        };
        let named = match path.exists().then(|| open(&path)) {
            Some(Ok((node, capability))) if Identity::of(&capability) == *known => return Ok((path, node, capability)),
            other => other,
        };
        let present = list();
        if let Some(moved) = known.among(&present) {
            let (node, capability) = open(&moved)?;
            return Ok((moved, node, capability));
        }
        let Some(named) = named else {
            return Err(Error::DeviceMissing { path, present: devices::in_words(&present) });
        };
        let (node, capability) = named?;
        self.strangers += 1;
        let Capability { card, bus, .. } = &capability;
        if self.strangers < WAIT_FOR_IT {
            let found = format!("another one than before, {card} at {bus}");
            return Err(Error::NotACamera { path, found });
        }
        tracing::warn!(path = %path.display(), %card, %bus, before = %known.card, at = %known.bus, "another camera than before");
        Ok((path, node, capability))
    }

    /// Notes that the camera runs.
    pub(super) fn runs(&mut self, path: PathBuf, capability: &Capability) {
        (self.path, self.identity, self.strangers) = (path, Some(Identity::of(capability)), 0);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;

    use super::*;
    use crate::camera::devices::DeviceKind;

    /// Device files of a folder; each is what is written in it: a camera's place on the bus, or something else.
    struct Board {
        folder: tempfile::TempDir,
        listed: Cell<u32>,
    }

    impl Board {
        fn new() -> Self {
            Self { folder: tempfile::tempdir().unwrap(), listed: Cell::new(0) }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        /// One whose only camera, the first on the bus, runs as `video0`; and its place.
        fn running() -> (Self, Place) {
            let board = Self::new();
            let mut place = Place::new(&board.path("video0"));
            board.set(&[("video0", "usb-1")]);
            board.find(&mut place).unwrap();
            (board, place)
        }

        /// What is there from now on.
        fn set(&self, devices: &[(&str, &str)]) {
            for entry in fs::read_dir(self.folder.path()).unwrap() {
                fs::remove_file(entry.unwrap().path()).unwrap();
            }
            for (name, bus) in devices {
                fs::write(self.path(name), bus).unwrap();
            }
        }

        fn open(path: &Path) -> Result<((), Capability)> {
            let bus = fs::read_to_string(path).unwrap();
            if bus == "metadata" {
                return Err(Error::NotACamera { path: path.into(), found: bus });
            }
            Ok(((), Capability { driver: "uvcvideo".into(), card: "webcam".into(), bus, flags: 0 }))
        }

        fn list(&self) -> Vec<DeviceInfo> {
            self.listed.set(self.listed.get() + 1);
            let entries = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path());
            let device = |path: PathBuf| {
                let bus = fs::read_to_string(&path).unwrap();
                let kind = if bus == "metadata" { DeviceKind::Metadata } else { DeviceKind::Camera };
                let (card, driver) = ("webcam".into(), "uvcvideo".into());
                DeviceInfo { path, card, driver, bus, kind, formats: Vec::new() }
            };
            entries.map(device).collect()
        }

        /// Opens what `place` says; the name of the file, or why not.
        fn find(&self, place: &mut Place) -> Result<String> {
            let (path, (), capability) = place.open(Self::open, || self.list())?;
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            place.runs(path, &capability);
            Ok(name)
        }
    }

    #[test]
    fn a_camera_is_known_again_under_another_number() {
        let board = Board::new();
        let mut place = Place::new(&board.path("video0"));
        board.set(&[("video0", "usb-1"), ("video2", "usb-2")]);
        assert_eq!(board.find(&mut place).unwrap(), "video0");
        assert_eq!(board.find(&mut place).unwrap(), "video0");
        assert_eq!(board.listed.get(), 0, "where it is still there, nobody is asked");
        // Gone from its place; swapped with another one; its own metadata node has its number.
        for (devices, expected) in [
            (vec![("video2", "usb-2"), ("video3", "usb-1")], "video3"),
            (vec![("video3", "usb-2"), ("video0", "usb-1")], "video0"),
            (vec![("video0", "metadata"), ("video1", "usb-1")], "video1"),
        ] {
            board.set(&devices);
            assert_eq!(board.find(&mut place).unwrap(), expected);
        }
        assert_eq!(board.listed.get(), 3);
    }

    #[test]
    fn one_that_is_away_is_waited_for_and_the_list_is_made_once_an_attempt() {
        let (board, mut place) = Board::running();
        board.set(&[("video2", "usb-2")]);
        for attempt in 1..9 {
            let error = board.find(&mut place).unwrap_err();
            assert!(matches!(error, Error::DeviceMissing { .. }) && error.to_string().contains("video2"), "{error}");
            assert_eq!(board.listed.get(), attempt);
        }
        board.set(&[("video2", "usb-2"), ("video5", "usb-1")]);
        assert_eq!(board.find(&mut place).unwrap(), "video5");
    }

    #[test]
    fn another_camera_under_its_name_is_taken_after_a_while() {
        let (board, mut place) = Board::running();
        board.set(&[("video0", "usb-2")]);
        for _ in 1..WAIT_FOR_IT {
            let error = board.find(&mut place).unwrap_err();
            assert!(error.to_string().contains("another one than before, webcam at usb-2"), "{error}");
        }
        assert_eq!(board.find(&mut place).unwrap(), "video0");
        // Now this is the one to know again.
        board.set(&[("video0", "usb-1"), ("video4", "usb-2")]);
        assert_eq!(board.find(&mut place).unwrap(), "video4");
    }
}
