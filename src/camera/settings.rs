//! What a user can set about cameras and clips.

use serde::{Deserialize, Serialize};

use crate::error::{Result, in_range};
use crate::size::MAX_FRAME_SIDE;

/// Pixel format asked of a camera.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FormatChoice {
    /// A raw format where it reaches the size and rate asked for, else MJPEG, else the nearest mode.
    #[default]
    Auto,
    /// Packed 4:2:2 `YUYV`.
    Yuyv,
    /// Packed 4:2:2 `UYVY`.
    Uyvy,
    /// Planar 4:2:0 `NV12`.
    Nv12,
    /// Planar 4:2:0 `YU12`.
    I420,
    /// `NV12` with its planes apart, of multi-planar devices.
    Nm12,
    /// `YU12` with its planes apart, of multi-planar devices.
    Ym12,
    /// JPEG pictures, decoded here.
    Mjpeg,
    /// Bytes R G B.
    Rgb,
    /// One luma byte.
    Grey,
}

/// Settings of a V4L2 camera.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct CameraSettings {
    /// Width asked for, in pixels; the camera may give another.
    pub width: u32,
    /// Height asked for, in pixels; the camera may give another.
    pub height: u32,
    /// Frames per second asked for; 0 leaves the camera's own rate.
    pub fps: u32,
    /// Pixel format: `auto`, `yuyv`, `uyvy`, `nv12`, `i420`, `nm12`, `ym12`, `mjpeg`, `rgb` or `grey`.
    pub format: FormatChoice,
    /// Frame buffers shared with the kernel, 2 to 32. One is lent to the pipeline, the others fill meanwhile.
    pub buffers: u32,
    /// Longest wait for a frame, in milliseconds, 10 to 60000.
    pub timeout_ms: u32,
    /// How long a picture may be the same to the bit before the camera counts as frozen, in milliseconds up to an hour;
    /// 0: not looked at.
    pub frozen_ms: u32,
    /// Whether a frozen camera is opened again, after each [`CameraSettings::frozen_ms`].
    pub frozen_reopen: bool,
}

/// An hour, in milliseconds.
const HOUR_MS: u32 = 3_600_000;

impl Default for CameraSettings {
    fn default() -> Self {
        Self {
            width: 640,
            height: 480,
            fps: 0,
            format: FormatChoice::Auto,
            buffers: 4,
            timeout_ms: 1000,
            frozen_ms: 5000,
            frozen_reopen: false,
        }
    }
}

impl CameraSettings {
    /// Checks every value against its range.
    ///
    /// # Errors
    /// [`Error::BadSetting`](crate::Error::BadSetting) naming the first key out of its range.
    pub fn validate(&self) -> Result<()> {
        in_range("camera.width", self.width, 16, MAX_FRAME_SIDE)?;
        in_range("camera.height", self.height, 16, MAX_FRAME_SIDE)?;
        in_range("camera.fps", self.fps, 0, 1000)?;
        in_range("camera.buffers", self.buffers, 2, 32)?;
        in_range("camera.timeout_ms", self.timeout_ms, 10, 60_000)?;
        in_range("camera.frozen_ms", self.frozen_ms, 0, HOUR_MS)
    }
}

/// Settings of a recorded clip.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClipSettings {
    /// How often the clip starts again after its end; 0 plays it once. Time and sequence go on.
    pub loops: u32,
    /// Whether to wait until each frame is due, as a camera would; otherwise as fast as possible.
    pub realtime: bool,
    /// Width of raw YUYV frames on standard input, in pixels; 0 where there are none.
    pub width: u32,
    /// Height of raw YUYV frames on standard input, in pixels; 0 where there are none.
    pub height: u32,
    /// Frames per second of clips that do not say it themselves: folders of images and raw frames.
    pub fps: f64,
    /// As [`CameraSettings::frozen_ms`], by the time of the clip; 0 (not looked at) unless asked for.
    pub frozen_ms: u32,
    /// Seed of faults that are added by chance ([`FaultRules::soak`](super::FaultRules::soak)), to try what is
    /// behind; 0: none.
    pub faults: u32,
}

impl Default for ClipSettings {
    fn default() -> Self {
        Self { loops: 0, realtime: false, width: 0, height: 0, fps: 10.0, frozen_ms: 0, faults: 0 }
    }
}

impl ClipSettings {
    /// Checks every value against its range.
    ///
    /// # Errors
    /// [`Error::BadSetting`](crate::Error::BadSetting) naming the first key out of its range.
    pub fn validate(&self) -> Result<()> {
        in_range("clip.width", self.width, 0, MAX_FRAME_SIDE)?;
        in_range("clip.height", self.height, 0, MAX_FRAME_SIDE)?;
        in_range("clip.fps", self.fps, 0.01, 1000.0)?;
        in_range("clip.frozen_ms", self.frozen_ms, 0, HOUR_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    fn key_of(result: Result<()>) -> &'static str {
        match result {
            Err(Error::BadSetting { key, .. }) => key,
            other => panic!("expected a bad setting, got {other:?}"),
        }
    }

    #[test]
    fn defaults_are_valid() {
        CameraSettings::default().validate().unwrap();
        ClipSettings::default().validate().unwrap();
    }

    #[test]
    fn each_value_out_of_range_names_its_key() {
        let camera = CameraSettings::default();
        assert_eq!(key_of(CameraSettings { width: 0, ..camera.clone() }.validate()), "camera.width");
        assert_eq!(key_of(CameraSettings { height: 4097, ..camera.clone() }.validate()), "camera.height");
        assert_eq!(key_of(CameraSettings { fps: 1001, ..camera.clone() }.validate()), "camera.fps");
        assert_eq!(key_of(CameraSettings { buffers: 1, ..camera.clone() }.validate()), "camera.buffers");
        assert_eq!(key_of(CameraSettings { timeout_ms: 0, ..camera.clone() }.validate()), "camera.timeout_ms");
        assert_eq!(key_of(CameraSettings { frozen_ms: 3_600_001, ..camera }.validate()), "camera.frozen_ms");
        let clip = ClipSettings::default();
        assert_eq!(key_of(ClipSettings { width: 5000, ..clip.clone() }.validate()), "clip.width");
        assert_eq!(key_of(ClipSettings { height: 5000, ..clip.clone() }.validate()), "clip.height");
        for fps in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(key_of(ClipSettings { fps, ..clip.clone() }.validate()), "clip.fps");
        }
    }

    #[test]
    fn formats_are_written_in_lower_case() {
        let settings: CameraSettings = toml::from_str("format = \"mjpeg\"\nwidth = 1280").unwrap();
        assert_eq!((settings.format, settings.width, settings.height), (FormatChoice::Mjpeg, 1280, 480));
        assert!(toml::from_str::<CameraSettings>("wdith = 3").is_err());
    }
}
