//! V4L2 devices: the system calls, made safe.
//!
//! This file and `v4l2/buffers.rs` are the room's only ones with `unsafe`. They hand out a [`Node`] (an open device) and
//! [`Buffers`] (its memory, mapped); what to do with them is decided elsewhere. The `v4l` crate gives
//! the structures and request numbers. Its own types are left aside: its stream does not survive
//! a timeout, and names that are not UTF-8, unknown colour spaces and unknown control types make it panic.
//!
//! Both APIs are spoken: the single-planar one of USB cameras, and the multi-planar one of CSI receivers and picture
//! processors, in which a buffer has a list of planes. Most formats have one plane there too; those that have more
//! are put together ([`Layout`]), because a frame is one piece of memory.
#![expect(unsafe_code, reason = "ioctl and poll have no safe wrapper among the dependencies")]

mod buffers;

use std::fs::{File, OpenOptions};
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::ptr;
use std::time::Duration;

use v4l::v4l_sys::{
    V4L2_BUF_FLAG_ERROR, V4L2_BUF_FLAG_TIMESTAMP_MASK, V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC, V4L2_CAP_DEVICE_CAPS,
    v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE as CAPTURE,
    v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE as CAPTURE_MULTI, v4l2_buffer, v4l2_capability,
    v4l2_field_V4L2_FIELD_NONE as PROGRESSIVE, v4l2_fmtdesc, v4l2_format, v4l2_fract, v4l2_frmivalenum,
    v4l2_frmivaltypes_V4L2_FRMIVAL_TYPE_DISCRETE as ONE_INTERVAL, v4l2_frmsizeenum,
    v4l2_frmsizetypes_V4L2_FRMSIZE_TYPE_DISCRETE as ONE_SIZE, v4l2_memory_V4L2_MEMORY_MMAP as MAPPED, v4l2_pix_format,
    v4l2_pix_format_mplane, v4l2_plane, v4l2_requestbuffers, v4l2_streamparm,
};
use v4l::v4l2::vidioc;

pub(super) use buffers::Buffers;

use super::mode::{Candidate, FourCc, Granted, Offer, OfferedSize, Sizes};
use super::planes::{Fill, Layout, MOST_PLANES};
use super::stream::Filled;

/// Most entries read of any list that a driver enumerates.
const LIST_LIMIT: u32 = 256;

/// C structures of the V4L2 API for which all bits zero is a valid value.
///
/// # Safety
/// The type consists of integers, arrays and unions of them, and raw pointers only.
unsafe trait Plain {}

macro_rules! plain {
    ($($name:ty),*) => {
        // SAFETY: generated from the kernel's headers; each is a `repr(C)` structure of integers, arrays,
        // unions of such, and raw pointers.
        $(unsafe impl Plain for $name {})*
    };
}

plain!(
    v4l2_capability,
    v4l2_fmtdesc,
    v4l2_frmsizeenum,
    v4l2_frmivalenum,
    v4l2_format,
    v4l2_streamparm,
    v4l2_requestbuffers,
    v4l2_buffer,
    v4l2_plane,
    libc::c_int
);

fn zeroed<T: Plain>() -> T {
    // SAFETY: all bits zero is a valid value of every `Plain` type.
    unsafe { mem::zeroed() }
}

/// What a device says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Capability {
    pub(super) driver: String,
    pub(super) card: String,
    pub(super) bus: String,
    /// `V4L2_CAP_*` of this node.
    pub(super) flags: u32,
}

/// An open device file.
#[derive(Debug)]
pub(super) struct Node {
    file: File,
    /// Of the multi-planar API.
    multi: bool,
    /// Of the mode that was set last.
    layout: Layout,
}

impl Node {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).map(|file| Self {
            file,
            multi: false,
            layout: Layout::default(),
        })
    }

    /// Goes over to the multi-planar API, for devices that speak no other.
    pub(super) fn multi_planar(mut self) -> Self {
        self.multi = true;
        self
    }

    /// The type of every buffer and format of this device.
    fn kind(&self) -> u32 {
        if self.multi { CAPTURE_MULTI } else { CAPTURE }
    }

    /// One request to the driver. An interrupted one is made again.
    fn request<T: Plain>(&self, request: vidioc::_IOC_TYPE, argument: &mut T) -> io::Result<()> {
        // The kernel reads and writes as many bytes as the request number says (bits 16 to 29).
        let bytes = (request >> 16) as usize & 0x3fff;
        if bytes != size_of::<T>() {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        loop {
            // SAFETY: the descriptor is open as long as `self`; `argument` is a live, exclusively borrowed
            // structure of exactly the size that the kernel reads and writes, and any bytes it may
            // hold afterwards are valid for a `Plain` type. The one pointer inside that the kernel follows, to the
            // planes of a buffer, is set in `exchange`. No request used here keeps a pointer.
            let result = unsafe { v4l::v4l2::ioctl(self.file.as_raw_fd(), request, ptr::from_mut(argument).cast()) };
            match result {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    pub(super) fn capability(&self) -> io::Result<Capability> {
        let mut answer: v4l2_capability = zeroed();
        self.request(vidioc::VIDIOC_QUERYCAP, &mut answer)?;
        let own_flags = answer.capabilities & V4L2_CAP_DEVICE_CAPS != 0;
        Ok(Capability {
            driver: text(&answer.driver),
            card: text(&answer.card),
            bus: text(&answer.bus_info),
            flags: if own_flags { answer.device_caps } else { answer.capabilities },
        })
    }

    /// Every format of the capture side with its sizes. A list that the driver does not give is empty.
    pub(super) fn offers(&self) -> Vec<Offer> {
        let mut offers = Vec::new();
        for index in 0..LIST_LIMIT {
            let mut answer = v4l2_fmtdesc { index, type_: self.kind(), ..zeroed() };
            if self.request(vidioc::VIDIOC_ENUM_FMT, &mut answer).is_err() {
                break;
            }
            let sizes = self.sizes(answer.pixelformat);
            let fourcc = FourCc(answer.pixelformat.to_le_bytes());
            offers.push(Offer { fourcc, description: text(&answer.description), sizes });
        }
        offers
    }

    fn sizes(&self, pixel_format: u32) -> Sizes {
        let mut list = Vec::new();
        for index in 0..LIST_LIMIT {
            let mut answer = v4l2_frmsizeenum { index, pixel_format, ..zeroed() };
            if self.request(vidioc::VIDIOC_ENUM_FRAMESIZES, &mut answer).is_err() {
                break;
            }
            if answer.type_ != ONE_SIZE {
                // SAFETY: every variant consists of integers, so whatever is there may be read as any of them.
                let range = unsafe { answer.__bindgen_anon_1.stepwise };
                return Sizes::Range {
                    least: (range.min_width, range.min_height),
                    most: (range.max_width, range.max_height),
                };
            }
            // SAFETY: as above.
            let size = unsafe { answer.__bindgen_anon_1.discrete };
            let fps = self.fastest(pixel_format, size.width, size.height);
            list.push(OfferedSize { width: size.width, height: size.height, fps });
        }
        if list.is_empty() { Sizes::Unknown } else { Sizes::Listed(list) }
    }

    /// The fastest rate of a size, in frames per second.
    fn fastest(&self, pixel_format: u32, width: u32, height: u32) -> Option<f32> {
        let mut fastest = None;
        for index in 0..LIST_LIMIT {
            let mut answer = v4l2_frmivalenum { index, pixel_format, width, height, ..zeroed() };
            if self.request(vidioc::VIDIOC_ENUM_FRAMEINTERVALS, &mut answer).is_err() {
                break;
            }
            // SAFETY: every variant consists of integers, so whatever is there may be read as any of them.
            // The shortest interval of a range is its `min`.
            let interval = unsafe {
                if answer.type_ == ONE_INTERVAL {
                    answer.__bindgen_anon_1.discrete
                } else {
                    answer.__bindgen_anon_1.stepwise.min
                }
            };
            let fps = rate(interval);
            fastest = fps.into_iter().chain(fastest).reduce(f32::max);
            if answer.type_ != ONE_INTERVAL {
                break;
            }
        }
        fastest
    }

    /// Asks for a mode and gives the one that the driver has set. Planes that do not fit its format are an `EINVAL`, as if
    /// the driver had refused.
    ///
    /// The request is built anew each time: the stride of an earlier answer must not come along.
    pub(super) fn set_mode(&mut self, asked: Candidate) -> io::Result<Granted> {
        let mut format = v4l2_format { type_: self.kind(), ..zeroed() };
        let Candidate { fourcc, width, height } = asked;
        let (pixelformat, field) = (u32::from_le_bytes(fourcc.0), PROGRESSIVE);
        // SAFETY: the zeroed request is a valid value of every variant.
        let (one, many) = unsafe { (format.fmt.pix, format.fmt.pix_mp) };
        if self.multi {
            format.fmt.pix_mp = v4l2_pix_format_mplane { width, height, pixelformat, field, ..many };
        } else {
            format.fmt.pix = v4l2_pix_format { width, height, pixelformat, field, ..one };
        }
        self.request(vidioc::VIDIOC_S_FMT, &mut format)?;
        // SAFETY: every variant consists of integers, so whatever is there may be read as any of them.
        let (one, many) = unsafe { (format.fmt.pix, format.fmt.pix_mp) };
        let mut strides = [0; MOST_PLANES];
        let (pixelformat, width, height, planes) = if self.multi {
            for (stride, plane) in strides.iter_mut().zip(many.plane_fmt) {
                *stride = plane.bytesperline as usize;
            }
            (many.pixelformat, many.width, many.height, usize::from(many.num_planes).min(MOST_PLANES))
        } else {
            strides[0] = one.bytesperline as usize;
            (one.pixelformat, one.width, one.height, 1)
        };
        let fourcc = FourCc(pixelformat.to_le_bytes());
        let layout = Layout::of(fourcc, (width, height), &strides[..planes]);
        self.layout = layout.ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
        Ok(Granted { fourcc, width, height, stride: strides[0] })
    }

    /// Asks for a rate and gives the one that the driver has set, if it says so.
    pub(super) fn set_rate(&self, fps: u32) -> io::Result<Option<f32>> {
        let mut parameters = v4l2_streamparm { type_: self.kind(), ..zeroed() };
        parameters.parm.capture.timeperframe = v4l2_fract { numerator: 1, denominator: fps };
        self.request(vidioc::VIDIOC_S_PARM, &mut parameters)?;
        // SAFETY: every variant consists of integers, so whatever is there may be read as any of them.
        Ok(rate(unsafe { parameters.parm.capture.timeperframe }))
    }

    /// One request about a buffer, with its planes where the API has such.
    fn exchange(&self, request: vidioc::_IOC_TYPE, index: u32) -> io::Result<(v4l2_buffer, [v4l2_plane; MOST_PLANES])> {
        let mut planes = [zeroed(); MOST_PLANES];
        let mut buffer = v4l2_buffer { index, type_: self.kind(), memory: MAPPED, ..zeroed() };
        if self.multi {
            // The kernel writes as many planes as the length says and refuses a length above its own limit, which is ours.
            buffer.m.planes = planes.as_mut_ptr();
            buffer.length = MOST_PLANES as u32;
        }
        self.request(request, &mut buffer)?;
        Ok((buffer, planes))
    }

    /// Gives buffer `index` to the driver to be filled.
    pub(super) fn queue(&self, index: u32) -> io::Result<()> {
        self.exchange(vidioc::VIDIOC_QBUF, index).map(drop)
    }

    /// Takes the oldest filled one of `buffers`; `None` if none is filled.
    pub(super) fn dequeue(&self, buffers: &mut Buffers) -> io::Result<Option<Filled>> {
        let (buffer, planes) = match self.exchange(vidioc::VIDIOC_DQBUF, 0) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            other => other?,
        };
        let damaged = buffer.flags & V4L2_BUF_FLAG_ERROR != 0;
        let bytes_used = if self.multi {
            let fills = planes.map(|plane| Fill { start: plane.data_offset as usize, end: plane.bytesused as usize });
            buffers.gather(buffer.index, &fills, &self.layout)
        } else {
            buffer.bytesused as usize
        };
        let monotonic = buffer.flags & V4L2_BUF_FLAG_TIMESTAMP_MASK == V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
        let stamp = Duration::from_secs(buffer.timestamp.tv_sec.max(0) as u64)
            + Duration::from_micros(buffer.timestamp.tv_usec.clamp(0, 999_999) as u64);
        Ok(Some(Filled {
            index: buffer.index,
            bytes_used,
            sequence: buffer.sequence,
            taken: monotonic_now(),
            stamp: (monotonic && !stamp.is_zero()).then_some(stamp),
            damaged,
        }))
    }

    pub(super) fn stream_on(&self) -> io::Result<()> {
        self.request(vidioc::VIDIOC_STREAMON, &mut libc::c_int::from(self.kind() as u8))
    }

    pub(super) fn stream_off(&self) -> io::Result<()> {
        self.request(vidioc::VIDIOC_STREAMOFF, &mut libc::c_int::from(self.kind() as u8))
    }

    /// Waits until a buffer is filled; `false` if none was within `timeout`.
    pub(super) fn wait(&self, timeout: Duration) -> io::Result<bool> {
        match poll(self.file.as_fd(), timeout)? {
            0 => Ok(false),
            events if events & libc::POLLIN != 0 => Ok(true),
            // An error without a filled buffer: the stream is dead, and waiting again would return at once.
            _ => Err(io::Error::from_raw_os_error(libc::EIO)),
        }
    }
}

/// Waits until there is something to read in `file`, or it has ended or failed; the events, none within `timeout`.
pub(super) fn poll(file: BorrowedFd<'_>, timeout: Duration) -> io::Result<libc::c_short> {
    // Rounded up, so that the end of a wait is not spent in a busy loop of zero milliseconds.
    let milliseconds = timeout.as_micros().div_ceil(1000).min(60_000) as libc::c_int;
    let mut watched = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one live `pollfd`, the length says one, and the descriptor is open as long as it is borrowed.
    match unsafe { libc::poll(&raw mut watched, 1, milliseconds) } {
        ..0 => Err(io::Error::last_os_error()),
        _ => Ok(watched.revents),
    }
}

/// The clock that V4L2 stamps its buffers with.
pub(super) fn monotonic_now() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a live `timespec` to write to. This clock exists on every Linux, so the call cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    Duration::new(now.tv_sec.max(0) as u64, now.tv_nsec.clamp(0, 999_999_999) as u32)
}

/// Frames per second of an interval in seconds.
fn rate(interval: v4l2_fract) -> Option<f32> {
    (interval.numerator > 0 && interval.denominator > 0)
        .then(|| interval.denominator as f32 / interval.numerator as f32)
}

/// A driver's text: up to the first zero byte, whatever its encoding.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).trim().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_video_device_answers_no_request() {
        let node = Node::open(Path::new("/dev/null")).unwrap();
        assert_eq!(node.capability().unwrap_err().raw_os_error(), Some(libc::ENOTTY));
        assert!(node.offers().is_empty());
        assert!(node.dequeue(&mut Buffers::default()).is_err() && node.queue(0).is_err() && node.stream_on().is_err());
        assert!(Buffers::map(&node, 4).is_err());
    }

    #[test]
    fn a_request_of_another_size_never_reaches_the_kernel() {
        let node = Node::open(Path::new("/dev/null")).unwrap();
        let mut wrong: v4l2_capability = zeroed();
        let error = node.request(vidioc::VIDIOC_S_FMT, &mut wrong).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    }

    #[test]
    fn texts_end_at_their_zero_and_survive_other_encodings() {
        assert_eq!(text(b"HD Webcam\0\0junk"), "HD Webcam");
        assert_eq!(text(b"no zero"), "no zero");
        assert_eq!(text(b"caf\xe9\0"), "caf\u{fffd}");
    }

    #[test]
    fn the_clock_moves_on() {
        let before = monotonic_now();
        std::thread::sleep(Duration::from_millis(2));
        assert!(monotonic_now() >= before + Duration::from_millis(2));
    }

    #[test]
    fn rates_of_broken_intervals_are_none() {
        assert_eq!(rate(v4l2_fract { numerator: 1, denominator: 30 }), Some(30.0));
        assert_eq!(rate(v4l2_fract { numerator: 0, denominator: 30 }), None);
        assert_eq!(rate(v4l2_fract { numerator: 1, denominator: 0 }), None);
    }
}
