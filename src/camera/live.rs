//! A V4L2 camera as a source of frames.

mod place;

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::error::Result;
use crate::frame::{FrameSource, Next, SourceHealth};

use super::devices::{self, device_error};
use super::mode::{Mode, negotiate};
use super::settings::CameraSettings;
use super::stream::{CaptureDevice, Filled, Stream};
use super::v4l2::{Buffers, Node, monotonic_now};
use place::Place;

/// A camera behind a V4L2 device file.
///
/// The newest frame wins: those that waited behind it are skipped and counted. Damaged frames are
/// dropped and counted. A camera that is unplugged or whose stream dies is opened again with
/// back-off, for as long as it takes; [`FrameSource::next_frame`] gives
/// [`Idle::Reconnecting`](crate::frame::Idle::Reconnecting) meanwhile. Frames of MJPEG modes arrive as RGB.
pub struct V4l2Camera {
    stream: Stream<Device>,
}

impl V4l2Camera {
    /// Opens the camera at `path`, agrees on a mode near the one of `settings`, and starts it.
    ///
    /// # Errors
    /// [`Error::BadSetting`](crate::Error::BadSetting) for settings out of range;
    /// [`Error::DeviceMissing`](crate::Error::DeviceMissing) if there is no such file;
    /// [`Error::NotACamera`](crate::Error::NotACamera) if it is something else;
    /// [`Error::UnsupportedFormat`](crate::Error::UnsupportedFormat) if no mode is in common;
    /// [`Error::Device`](crate::Error::Device) if a call fails, with the remedy for missing permissions and busy cameras.
    pub fn open(path: &Path, settings: &CameraSettings) -> Result<Self> {
        settings.validate()?;
        let device = Device { place: Place::new(path), settings: settings.clone(), running: None };
        let timeout = Duration::from_millis(settings.timeout_ms.into());
        let stream = Stream::start(device, timeout)?;
        let Mode { width, height, .. } = *stream.mode();
        if (width, height) != (settings.width, settings.height) {
            let (wanted_width, wanted_height) = (settings.width, settings.height);
            tracing::warn!(width, height, wanted_width, wanted_height, "the camera gives another size than asked for");
        }
        Ok(Self { stream })
    }
}

impl FrameSource for V4l2Camera {
    fn next_frame(&mut self) -> Result<Next<'_>> {
        self.stream.next_frame()
    }

    fn health(&self) -> SourceHealth {
        self.stream.health()
    }

    fn describe(&self) -> String {
        match self.stream.device().place.card() {
            Some(card) => format!("{} ({card})", self.stream.describe()),
            None => self.stream.describe(),
        }
    }

    fn is_live(&self) -> bool {
        self.stream.is_live()
    }

    fn renew(&mut self) {
        self.stream.renew();
    }
}

/// A device file, opened and closed as the streaming loop asks for it.
struct Device {
    place: Place,
    settings: CameraSettings,
    running: Option<Running>,
}

/// Dropped in this order: the mappings go before the descriptor.
struct Running {
    buffers: Buffers,
    node: Node,
}

impl Device {
    fn running(&self) -> io::Result<&Running> {
        self.running.as_ref().ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))
    }
}

impl CaptureDevice for Device {
    fn start(&mut self) -> Result<Mode> {
        self.stop();
        let (path, mut node, capability) = self.place.open(devices::open_camera, devices::list)?;
        let failed = |operation| {
            let path = path.clone();
            move |error| device_error(&path, operation, error)
        };
        let offers = node.offers();
        let mode = negotiate(&path.display().to_string(), &offers, &self.settings, |candidate| {
            match node.set_mode(candidate) {
                Ok(granted) => Ok(Some(granted)),
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(None),
                Err(error) => Err(failed("setting its mode")(error)),
            }
        })?;
        if self.settings.fps > 0 {
            // Many cameras have one fixed rate: worth a line, not an error.
            match node.set_rate(self.settings.fps) {
                Ok(fps) => tracing::debug!(wanted = self.settings.fps, ?fps, "frame rate"),
                Err(error) => tracing::warn!(wanted = self.settings.fps, %error, "frame rate not taken"),
            }
        }
        let buffers = Buffers::map(&node, self.settings.buffers).map_err(failed("asking for its buffers"))?;
        (0..buffers.count()).try_for_each(|index| node.queue(index)).map_err(failed("queueing a buffer"))?;
        node.stream_on().map_err(failed("starting its stream"))?;
        self.running = Some(Running { buffers, node });
        self.place.runs(path, &capability);
        Ok(mode)
    }

    fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            // It may be gone already; the descriptor is closed in any case.
            if let Err(error) = running.node.stream_off() {
                tracing::debug!(path = %self.path().display(), %error, "stream not stopped");
            }
        }
    }

    fn wait(&mut self, timeout: Duration) -> io::Result<bool> {
        self.running()?.node.wait(timeout)
    }

    fn dequeue(&mut self) -> io::Result<Option<Filled>> {
        let gone = || io::Error::from_raw_os_error(libc::ENODEV);
        let Running { buffers, node } = self.running.as_mut().ok_or_else(gone)?;
        node.dequeue(buffers)
    }

    fn requeue(&mut self, index: u32) -> io::Result<()> {
        self.running()?.node.queue(index)
    }

    fn buffer(&self, index: u32) -> &[u8] {
        self.running.as_ref().map_or(&[], |running| running.buffers.get(index))
    }

    fn now(&self) -> Duration {
        monotonic_now()
    }

    fn sleep(&mut self, time: Duration) {
        std::thread::sleep(time);
    }

    fn path(&self) -> &Path {
        self.place.path()
    }
}
