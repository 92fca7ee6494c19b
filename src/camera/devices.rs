//! Which video devices there are, and what each of them is.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

use super::v4l2::{Capability, Node};

pub use super::mode::{FourCc, Offer, OfferedSize, Sizes};

/// What a device file under `/dev` turns out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// A camera (or something like it) that this program can read.
    Camera,
    /// A raw sensor whose pipeline another program (libcamera) must set up first.
    MediaController,
    /// A picture processor or codec of the board: it has a capture side but sees nothing on its own.
    Processor,
    /// Delivers data about pictures, no pictures.
    Metadata,
    /// Takes pictures and gives none.
    Output,
    /// A video device of another kind (radio, teletext, touch).
    Other,
    /// No V4L2 device; the reason stands here.
    NotVideo(String),
    /// It cannot be opened; the reason stands here.
    Unreadable(String),
}

impl std::fmt::Display for DeviceKind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Camera => "a camera",
            Self::MediaController => {
                "a raw sensor that only libcamera can set up (`libcamerify` or v4l2loopback make a plain camera of it)"
            }
            Self::Processor => "a picture processor or codec of the board",
            Self::Metadata => "a metadata node; the camera's other node gives the pictures",
            Self::Output => "a video output",
            Self::Other => "a video device without pictures",
            Self::NotVideo(reason) | Self::Unreadable(reason) => reason,
        })
    }
}

/// One device file and what it is.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceInfo {
    /// The device file.
    pub path: PathBuf,
    /// Name of the device, as it gives it.
    pub card: String,
    /// Name of the driver.
    pub driver: String,
    /// Where it is plugged in.
    pub bus: String,
    /// What it is.
    pub kind: DeviceKind,
    /// Its formats with their sizes; empty unless it is a camera.
    pub formats: Vec<Offer>,
}

impl DeviceInfo {
    /// Whether this program can read pictures from it.
    pub fn is_camera(&self) -> bool {
        self.kind == DeviceKind::Camera
    }
}

/// Every `/dev/video*`, by number. Those that are no cameras are listed too and say what they are.
pub fn list() -> Vec<DeviceInfo> {
    list_in(Path::new("/dev"))
}

/// [`list`] for another folder than `/dev`. A folder that cannot be read has no devices.
pub fn list_in(folder: &Path) -> Vec<DeviceInfo> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut numbered: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let number = path.file_name()?.to_str()?.strip_prefix("video")?.parse().ok()?;
            Some((number, path))
        })
        .collect();
    numbered.sort();
    numbered.into_iter().map(|(_, path)| examine(path)).collect()
}

/// The cameras among `devices` in words, or "none".
pub(super) fn in_words(devices: &[DeviceInfo]) -> String {
    let cameras: Vec<String> = devices
        .iter()
        .filter(|device| device.is_camera())
        .map(|device| format!("{} ({})", device.path.display(), device.card))
        .collect();
    if cameras.is_empty() { "none".into() } else { cameras.join(", ") }
}

fn examine(path: PathBuf) -> DeviceInfo {
    let (capability, kind, formats) = match open(&path) {
        Ok((node, capability)) => {
            let kind = kind_of(&capability);
            let formats = if kind == DeviceKind::Camera { node.offers() } else { Vec::new() };
            (capability, kind, formats)
        }
        Err(error) => {
            let kind = match error {
                Error::NotACamera { found, .. } => DeviceKind::NotVideo(found),
                other => DeviceKind::Unreadable(other.to_string()),
            };
            (Capability { driver: String::new(), card: String::new(), bus: String::new(), flags: 0 }, kind, Vec::new())
        }
    };
    let Capability { driver, card, bus, .. } = capability;
    DeviceInfo { path, card, driver, bus, kind, formats }
}

/// Opens a camera that this program can read.
pub(super) fn open_camera(path: &Path) -> Result<(Node, Capability)> {
    let (node, capability) = open(path)?;
    match kind_of(&capability) {
        // Asked for by name, a processor may be meant: something may feed it.
        DeviceKind::Camera | DeviceKind::Processor if captures(&capability) => Ok((node, capability)),
        kind => Err(Error::NotACamera { path: path.into(), found: kind.to_string() }),
    }
}

/// Opens any V4L2 device.
fn open(path: &Path) -> Result<(Node, Capability)> {
    let not_a_camera = |found: &str| Error::NotACamera { path: path.into(), found: found.into() };
    let file_type = match fs::metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::DeviceMissing { path: path.into(), present: in_words(&list()) });
        }
        Err(error) => return Err(device_error(path, "looking at it", error)),
    };
    if !file_type.is_char_device() {
        return Err(not_a_camera(if file_type.is_dir() { "a folder" } else { "a file and no device" }));
    }
    let node = Node::open(path).map_err(|error| match error.raw_os_error() {
        Some(libc::ENODEV | libc::ENXIO) => not_a_camera("a device file with no device behind it"),
        _ => device_error(path, "opening", error),
    })?;
    match node.capability() {
        Ok(capability) if capability.flags & flag::CAPTURE == 0 => Ok((node.multi_planar(), capability)),
        Ok(capability) => Ok((node, capability)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOTTY | libc::EINVAL)) => {
            Err(not_a_camera("a device that does not answer to V4L2"))
        }
        Err(error) => Err(device_error(path, "asking for its capabilities", error)),
    }
}

/// A failed operation on a device with the remedy that fits the system's answer.
pub(super) fn device_error(path: &Path, operation: &'static str, source: io::Error) -> Error {
    let remedy = match source.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => {
            "add your user to group video (`sudo usermod -aG video $USER`) and log in again"
        }
        Some(libc::EBUSY) => "another program uses the camera: close it (`fuser -v` with this path names it)",
        Some(libc::ENOMEM) => "too little memory for its buffers: ask for a smaller size or fewer camera.buffers",
        Some(libc::ENOSPC) => "the USB bus has no bandwidth left: ask for a smaller size, or use another port",
        _ => "unplug it and plug it in again, or name another with --source",
    };
    Error::Device { path: path.into(), operation, source, remedy }
}

/// `V4L2_CAP_*` of `videodev2.h`. Spelled out: headers of older boards lack some.
mod flag {
    pub(super) const CAPTURE: u32 = 0x0000_0001;
    pub(super) const OUTPUT: u32 = 0x0000_0002;
    pub(super) const CAPTURE_MULTI: u32 = 0x0000_1000;
    pub(super) const OUTPUT_MULTI: u32 = 0x0000_2000;
    pub(super) const M2M_MULTI: u32 = 0x0000_4000;
    pub(super) const M2M: u32 = 0x0000_8000;
    pub(super) const META_CAPTURE: u32 = 0x0080_0000;
    pub(super) const STREAMING: u32 = 0x0400_0000;
    pub(super) const META_OUTPUT: u32 = 0x0800_0000;
    pub(super) const MEDIA_CONTROLLER: u32 = 0x2000_0000;
}

/// Drivers of board parts whose capture nodes look like cameras.
const PROCESSORS: [&str; 4] = ["bcm2835-isp", "bcm2835-codec", "pispbe", "rpivid"];

/// Whether pictures come out of it, by either API.
fn captures(capability: &Capability) -> bool {
    capability.flags & (flag::CAPTURE | flag::CAPTURE_MULTI) != 0
}

fn kind_of(capability: &Capability) -> DeviceKind {
    let has = |flags| capability.flags & flags != 0;
    if has(flag::M2M | flag::M2M_MULTI) || PROCESSORS.iter().any(|name| capability.driver.starts_with(name)) {
        DeviceKind::Processor
    } else if has(flag::CAPTURE | flag::CAPTURE_MULTI) && has(flag::MEDIA_CONTROLLER) {
        DeviceKind::MediaController
    } else if captures(capability) && has(flag::STREAMING) {
        DeviceKind::Camera
    } else if has(flag::META_CAPTURE | flag::META_OUTPUT) {
        DeviceKind::Metadata
    } else if has(flag::OUTPUT | flag::OUTPUT_MULTI) {
        DeviceKind::Output
    } else {
        DeviceKind::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(driver: &str, flags: u32) -> DeviceKind {
        kind_of(&Capability { driver: driver.into(), card: String::new(), bus: String::new(), flags })
    }

    #[test]
    fn nodes_are_told_apart() {
        assert_eq!(kind("uvcvideo", flag::CAPTURE | flag::STREAMING), DeviceKind::Camera);
        assert_eq!(kind("uvcvideo", flag::META_CAPTURE | flag::STREAMING), DeviceKind::Metadata);
        assert_eq!(kind("bcm2835-codec", flag::M2M_MULTI | flag::STREAMING), DeviceKind::Processor);
        assert_eq!(kind("bcm2835-isp", flag::CAPTURE | flag::STREAMING), DeviceKind::Processor);
        assert_eq!(kind("vivid", flag::CAPTURE_MULTI | flag::STREAMING), DeviceKind::Camera);
        let sensor = flag::CAPTURE | flag::META_CAPTURE | flag::STREAMING | flag::MEDIA_CONTROLLER;
        assert_eq!(kind("rp1-cfe", sensor), DeviceKind::MediaController);
        assert_eq!(kind("vivid", flag::OUTPUT | flag::STREAMING), DeviceKind::Output);
        // Only read(), no streaming.
        assert_eq!(kind("old", flag::CAPTURE), DeviceKind::Other);
    }

    #[test]
    fn files_that_are_no_cameras_say_what_they_are() {
        let message = |path: &Path| open_camera(path).unwrap_err().to_string();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("video0");
        fs::write(&file, "text").unwrap();
        assert!(message(&file).contains("a file and no device"));
        assert!(message(folder.path()).contains("a folder"));
        assert!(message(Path::new("/dev/null")).contains("does not answer to V4L2"));
        assert!(matches!(open_camera(Path::new("/dev/video987")), Err(Error::DeviceMissing { .. })));
    }

    #[test]
    fn listing_goes_by_number_and_leaves_other_names_out() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["video10", "video2", "video", "videox", "vbi0", "video1.txt"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let devices = list_in(folder.path());
        let names: Vec<_> = devices.iter().map(|device| device.path.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["video2", "video10"]);
        assert!(devices.iter().all(|device| matches!(device.kind, DeviceKind::NotVideo(_))));
        assert_eq!(in_words(&devices), "none");
        assert!(list_in(&folder.path().join("missing")).is_empty());
    }

    #[test]
    fn each_failure_has_its_remedy() {
        let message = |errno| device_error(Path::new("/dev/video0"), "opening", io::Error::from_raw_os_error(errno));
        assert!(message(libc::EACCES).to_string().contains("add your user to group video"));
        assert!(message(libc::EBUSY).to_string().contains("another program"));
    }
}
