//! V4L2 devices: the system calls, made safe.
//!
//! This is the one file of the room with `unsafe`. It hands out a [`Node`] (an open device) and
//! [`Buffers`] (its memory, mapped); what to do with them is decided elsewhere. The `v4l` crate gives
//! the structures and request numbers. Its own types are left aside: its stream does not survive
//! a timeout, and names that are not UTF-8, unknown colour spaces and unknown control types make it panic.
//!
//! Only the single-planar API is spoken. A second one would have its own request type in
//! [`Node::set_mode`], [`Buffers::map`], [`Node::queue`] and [`Node::dequeue`], and nowhere else.
#![expect(unsafe_code, reason = "ioctl, mmap and poll have no safe wrapper among the dependencies")]

use std::fs::{File, OpenOptions};
use std::io;
use std::mem;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::slice;
use std::time::Duration;

use v4l::v4l_sys::{
    V4L2_BUF_FLAG_ERROR, V4L2_BUF_FLAG_TIMESTAMP_MASK, V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC, V4L2_CAP_DEVICE_CAPS,
    v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE as CAPTURE, v4l2_buffer, v4l2_capability,
    v4l2_field_V4L2_FIELD_NONE as PROGRESSIVE, v4l2_fmtdesc, v4l2_format, v4l2_fract, v4l2_frmivalenum,
    v4l2_frmivaltypes_V4L2_FRMIVAL_TYPE_DISCRETE as ONE_INTERVAL, v4l2_frmsizeenum,
    v4l2_frmsizetypes_V4L2_FRMSIZE_TYPE_DISCRETE as ONE_SIZE, v4l2_memory_V4L2_MEMORY_MMAP as MAPPED,
    v4l2_requestbuffers, v4l2_streamparm,
};
use v4l::v4l2::vidioc;

use super::mode::{Candidate, FourCc, Granted, Offer, OfferedSize, Sizes};
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
}

impl Node {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).map(|file| Self { file })
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
            // hold afterwards are valid for a `Plain` type. No request used here keeps the pointer.
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
            let mut answer = v4l2_fmtdesc { index, type_: CAPTURE, ..zeroed() };
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

    /// Asks for a mode and gives the one that the driver has set.
    ///
    /// The request is built anew each time: the stride of an earlier answer must not come along.
    pub(super) fn set_mode(&self, asked: Candidate) -> io::Result<Granted> {
        let mut format = v4l2_format { type_: CAPTURE, ..zeroed() };
        format.fmt.pix = v4l::v4l_sys::v4l2_pix_format {
            width: asked.width,
            height: asked.height,
            pixelformat: u32::from_le_bytes(asked.fourcc.0),
            field: PROGRESSIVE,
            // SAFETY: the zeroed request is a valid value of every variant.
            ..unsafe { format.fmt.pix }
        };
        self.request(vidioc::VIDIOC_S_FMT, &mut format)?;
        // SAFETY: every variant consists of integers, so whatever is there may be read as any of them.
        let set = unsafe { format.fmt.pix };
        let fourcc = FourCc(set.pixelformat.to_le_bytes());
        Ok(Granted { fourcc, width: set.width, height: set.height, stride: set.bytesperline as usize })
    }

    /// Asks for a rate and gives the one that the driver has set, if it says so.
    pub(super) fn set_rate(&self, fps: u32) -> io::Result<Option<f32>> {
        let mut parameters = v4l2_streamparm { type_: CAPTURE, ..zeroed() };
        parameters.parm.capture.timeperframe = v4l2_fract { numerator: 1, denominator: fps };
        self.request(vidioc::VIDIOC_S_PARM, &mut parameters)?;
        // SAFETY: every variant consists of integers, so whatever is there may be read as any of them.
        Ok(rate(unsafe { parameters.parm.capture.timeperframe }))
    }

    /// Gives buffer `index` to the driver to be filled.
    pub(super) fn queue(&self, index: u32) -> io::Result<()> {
        let mut buffer = v4l2_buffer { index, type_: CAPTURE, memory: MAPPED, ..zeroed() };
        self.request(vidioc::VIDIOC_QBUF, &mut buffer)
    }

    /// Takes the oldest filled buffer; `None` if none is filled.
    pub(super) fn dequeue(&self) -> io::Result<Option<Filled>> {
        let mut buffer = v4l2_buffer { type_: CAPTURE, memory: MAPPED, ..zeroed() };
        match self.request(vidioc::VIDIOC_DQBUF, &mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            other => other?,
        }
        let monotonic = buffer.flags & V4L2_BUF_FLAG_TIMESTAMP_MASK == V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
        let stamp = Duration::from_secs(buffer.timestamp.tv_sec.max(0) as u64)
            + Duration::from_micros(buffer.timestamp.tv_usec.clamp(0, 999_999) as u64);
        Ok(Some(Filled {
            index: buffer.index,
            bytes_used: buffer.bytesused as usize,
            sequence: buffer.sequence,
            // A stamp of another clock would jump: the time of taking the buffer is the next best.
            time: if monotonic && !stamp.is_zero() { stamp } else { monotonic_now() },
            damaged: buffer.flags & V4L2_BUF_FLAG_ERROR != 0,
        }))
    }

    pub(super) fn stream_on(&self) -> io::Result<()> {
        self.request(vidioc::VIDIOC_STREAMON, &mut libc::c_int::from(CAPTURE as u8))
    }

    pub(super) fn stream_off(&self) -> io::Result<()> {
        self.request(vidioc::VIDIOC_STREAMOFF, &mut libc::c_int::from(CAPTURE as u8))
    }

    /// Waits until a buffer is filled; `false` if none was within `timeout`.
    pub(super) fn wait(&self, timeout: Duration) -> io::Result<bool> {
        // Rounded up, so that the end of a wait is not spent in a busy loop of zero milliseconds.
        let milliseconds = timeout.as_micros().div_ceil(1000).min(60_000) as libc::c_int;
        let mut watched = libc::pollfd { fd: self.file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one live `pollfd`, and the length says one.
        let ready = unsafe { libc::poll(&raw mut watched, 1, milliseconds) };
        match ready {
            0 => Ok(false),
            1.. if watched.revents & libc::POLLIN != 0 => Ok(true),
            // An error without a filled buffer: the stream is dead, and waiting again would return at once.
            1.. => Err(io::Error::from_raw_os_error(libc::EIO)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// The driver's buffers, mapped into this process until dropped.
#[derive(Debug)]
pub(super) struct Buffers {
    mappings: Vec<Mapping>,
}

#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a mapping belongs to the process and not to a thread; it is only read, and only through a
// borrow of its owner.
unsafe impl Send for Mapping {}

impl Buffers {
    /// Asks the driver for `count` buffers (it may give another number) and maps them.
    pub(super) fn map(node: &Node, count: u32) -> io::Result<Self> {
        let mut request = v4l2_requestbuffers { count, type_: CAPTURE, memory: MAPPED, ..zeroed() };
        node.request(vidioc::VIDIOC_REQBUFS, &mut request)?;
        if request.count < 2 {
            return Err(io::Error::from_raw_os_error(libc::ENOMEM));
        }
        let mappings = (0..request.count).map(|index| Mapping::new(node, index)).collect::<io::Result<_>>()?;
        Ok(Self { mappings })
    }

    pub(super) fn count(&self) -> u32 {
        self.mappings.len() as u32
    }

    /// The bytes of a buffer; empty where there is no such buffer.
    pub(super) fn get(&self, index: u32) -> &[u8] {
        self.mappings.get(index as usize).map_or(&[], |mapping| {
            // SAFETY: `start` is a readable mapping of `bytes` bytes until `self` is dropped. The driver
            // writes to it only while the buffer is queued; the streaming loop asks for the bytes of
            // dequeued buffers only and ends the borrow before it queues the buffer again.
            unsafe { slice::from_raw_parts(mapping.start.as_ptr(), mapping.bytes) }
        })
    }
}

impl Mapping {
    fn new(node: &Node, index: u32) -> io::Result<Self> {
        let mut buffer = v4l2_buffer { index, type_: CAPTURE, memory: MAPPED, ..zeroed() };
        node.request(vidioc::VIDIOC_QUERYBUF, &mut buffer)?;
        // SAFETY: for a mapped single-planar buffer the driver has filled in the offset; any bits are a valid `u32`.
        let offset = libc::off_t::from(unsafe { buffer.m.offset });
        let bytes = buffer.length as usize;
        let fd = node.file.as_raw_fd();
        // SAFETY: a new shared mapping at an address of the kernel's choice touches no memory of ours. It is
        // readable only; length and offset are the driver's own, and the kernel refuses a wrong pair.
        let start = unsafe { v4l::v4l2::mmap(ptr::null_mut(), bytes, libc::PROT_READ, libc::MAP_SHARED, fd, offset) }?;
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        Ok(Self { start, bytes })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `Mapping::new`, unmapped once; no borrow of it outlives its owner.
        if let Err(error) = unsafe { v4l::v4l2::munmap(self.start.as_ptr().cast(), self.bytes) } {
            tracing::warn!(%error, "camera buffer not unmapped");
        }
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
        assert!(node.dequeue().is_err() && node.queue(0).is_err() && node.stream_on().is_err());
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
