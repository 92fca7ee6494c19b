//! Outside -> [`Frame`](crate::frame::Frame): V4L2 cameras, recorded clips, and faults on purpose.
//!
//! | part | what |
//! |---|---|
//! | [`V4l2Camera`] | a camera: newest frame wins, damaged ones dropped, reconnects |
//! | [`Clip`] | MJPEG in AVI, Y4M, a folder of images, raw YUYV or Y4M on standard input |
//! | [`FaultInjector`] | any source with faults added, for tests |
//! | [`FreezeGuard`] | any source, watched for a picture that stands still |
//! | [`Throttle`] | how often the log is told of trouble that goes on |
//! | [`devices`] | which video devices there are |
//! | [`jpeg`] | JPEG decoding that refuses damaged pictures |
//!
//! [`open`] chooses among them. Everything is a [`FrameSource`]; the pipeline cannot tell them apart.

pub mod devices;
pub mod jpeg;

mod clip;
mod fault;
mod frozen;
mod live;
mod mode;
mod planes;
mod settings;
mod stream;
mod throttle;
mod v4l2;

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use crate::error::{Error, Result};
use crate::frame::FrameSource;

use devices::{DeviceInfo, DeviceKind};

pub use clip::{Clip, StillDecoder};
pub use fault::{FaultInjector, FaultRules};
pub use frozen::FreezeGuard;
pub use live::V4l2Camera;
pub use settings::{CameraSettings, ClipSettings, FormatChoice};
pub use throttle::{LeftOut, Throttle};

/// Opens a source and says why this one.
///
/// `source` is a device (`/dev/video0`), a clip (`.avi`, `.y4m`; told apart by their contents), a
/// folder of images, or `-` for standard input. Without one: the first camera, else `bundled_clip`.
///
/// # Errors
/// What [`V4l2Camera::open`] and [`Clip::open`] fail with; [`Error::DeviceMissing`] if nothing is
/// named, there is no camera, and no bundled clip.
pub fn open(
    source: Option<&str>,
    camera: &CameraSettings,
    clip: &ClipSettings,
    bundled_clip: Option<&Path>,
) -> Result<(Box<dyn FrameSource + Send>, String)> {
    open_until(source, camera, clip, bundled_clip, &AtomicBool::new(false))
}

/// [`open`], for a program that may be told to stop while standard input gives nothing.
///
/// # Errors
/// As [`open`]; [`Error::Read`] if `stop` was set before the first bytes came.
pub fn open_until(
    source: Option<&str>,
    camera: &CameraSettings,
    clip: &ClipSettings,
    bundled_clip: Option<&Path>,
    stop: &AtomicBool,
) -> Result<(Box<dyn FrameSource + Send>, String)> {
    match source {
        Some("-") => Ok((recorded(Clip::stdin(clip, stop)?, clip), "standard input, as asked for".into())),
        Some(name) => Ok((open_path(Path::new(name), camera, clip)?, format!("{name}, as asked for"))),
        None => open_any(&devices::list(), camera, clip, bundled_clip),
    }
}

fn open_path(path: &Path, camera: &CameraSettings, clip: &ClipSettings) -> Result<Box<dyn FrameSource + Send>> {
    let is_device = match fs::metadata(path) {
        Ok(metadata) => metadata.file_type().is_char_device(),
        // A missing device gets the list of those present, a missing clip the system's answer.
        Err(error) => error.kind() == io::ErrorKind::NotFound && path.starts_with("/dev"),
    };
    Ok(if is_device || looks_like_a_device(path) {
        watched(V4l2Camera::open(path, camera)?, camera)
    } else {
        recorded(Clip::open(path, clip)?, clip)
    })
}

fn watched(source: V4l2Camera, settings: &CameraSettings) -> Box<dyn FrameSource + Send> {
    match settings.frozen_ms {
        0 => Box::new(source),
        limit_ms => Box::new(FreezeGuard::new(source, limit_ms, settings.frozen_reopen)),
    }
}

/// A clip with what its settings ask for around it.
fn recorded(clip: Clip, settings: &ClipSettings) -> Box<dyn FrameSource + Send> {
    let source: Box<dyn FrameSource + Send> = match settings.faults {
        0 => Box::new(clip),
        seed => Box::new(FaultInjector::new(clip, FaultRules::soak(seed.into()))),
    };
    match settings.frozen_ms {
        0 => source,
        limit_ms => Box::new(FreezeGuard::new(source, limit_ms, false)),
    }
}

/// Whether a path has the name of a camera: what lies there is expected to be one.
fn looks_like_a_device(path: &Path) -> bool {
    path.parent() == Some(Path::new("/dev"))
        && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("video"))
}

/// The first camera of `present`, else the clip.
fn open_any(
    present: &[DeviceInfo],
    camera: &CameraSettings,
    clip: &ClipSettings,
    bundled_clip: Option<&Path>,
) -> Result<(Box<dyn FrameSource + Send>, String)> {
    if let Some(first) = present.iter().find(|device| device.is_camera()) {
        let why = format!("{} ({}), the first camera found", first.path.display(), first.card);
        return Ok((watched(V4l2Camera::open(&first.path, camera)?, camera), why));
    }
    let Some(bundled) = bundled_clip else {
        return Err(Error::DeviceMissing { path: "/dev/video*".into(), present: others_in_words(present) });
    };
    let why = format!("the bundled clip {}, because cameras found: {}", bundled.display(), others_in_words(present));
    Ok((recorded(Clip::open(bundled, clip)?, clip), why))
}

/// Why none of the devices is of use.
fn others_in_words(present: &[DeviceInfo]) -> String {
    let closed = present.iter().find_map(|device| match &device.kind {
        DeviceKind::Unreadable(reason) => Some(reason),
        _ => None,
    });
    match (closed, present) {
        (Some(reason), _) => format!("none that can be opened ({reason})"),
        (None, []) => "none".into(),
        (None, [first, ..]) => {
            format!("none among {} video devices ({}: {})", present.len(), first.path.display(), first.kind)
        }
    }
}

#[cfg(test)]
mod tests;
