//! Memory of a camera: the driver's buffers, mapped into this process.
#![expect(unsafe_code, reason = "mmap has no safe wrapper among the dependencies")]

use std::io;
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};
use std::slice;

use v4l::v4l_sys::{v4l2_memory_V4L2_MEMORY_MMAP as MAPPED, v4l2_requestbuffers};
use v4l::v4l2::vidioc;

use super::{Node, zeroed};
use crate::camera::planes::{Fill, Layout, MOST_PLANES};

/// The driver's buffers, mapped into this process until dropped.
#[derive(Debug, Default)]
pub(in crate::camera) struct Buffers {
    slots: Vec<Slot>,
}

/// One buffer.
#[derive(Debug)]
struct Slot {
    /// One, or several of the multi-planar API.
    planes: Vec<Mapping>,
    /// First byte of the picture in the first plane.
    start: usize,
    /// The picture in one piece, where the planes are several.
    joined: Vec<u8>,
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
    pub(in crate::camera) fn map(node: &Node, count: u32) -> io::Result<Self> {
        let mut request = v4l2_requestbuffers { count, type_: node.kind(), memory: MAPPED, ..zeroed() };
        node.request(vidioc::VIDIOC_REQBUFS, &mut request)?;
        if request.count < 2 {
            return Err(io::Error::from_raw_os_error(libc::ENOMEM));
        }
        let slots = (0..request.count).map(|index| Slot::map(node, index)).collect::<io::Result<_>>()?;
        Ok(Self { slots })
    }

    pub(in crate::camera) fn count(&self) -> u32 {
        self.slots.len() as u32
    }

    /// The bytes of a buffer, from the picture's first one on; empty where there is no such buffer.
    pub(in crate::camera) fn get(&self, index: u32) -> &[u8] {
        let Some(slot) = self.slots.get(index as usize) else { return &[] };
        match slot.planes.as_slice() {
            [plane] => plane.bytes().get(slot.start..).unwrap_or_default(),
            _ => &slot.joined,
        }
    }

    /// Notes where the picture of a filled buffer lies, or puts it together; the bytes it has, 0 if it is not whole.
    pub(super) fn gather(&mut self, index: u32, fills: &[Fill], layout: &Layout) -> usize {
        let Some(slot) = self.slots.get_mut(index as usize) else { return 0 };
        if !layout.joins() {
            slot.start = fills[0].start;
            return fills[0].end.saturating_sub(fills[0].start);
        }
        let planes = slot.planes.iter().zip(fills).map_while(|(plane, fill)| fill.of(plane.bytes()));
        // Allocated once: the mode stays as long as the buffers.
        slot.joined.resize(layout.bytes(), 0);
        layout.join(planes, &mut slot.joined).map_or(0, |()| layout.bytes())
    }
}

impl Slot {
    fn map(node: &Node, index: u32) -> io::Result<Self> {
        let (buffer, planes) = node.exchange(vidioc::VIDIOC_QUERYBUF, index)?;
        let mappable: Vec<(u32, u32)> = if node.multi {
            let count = (buffer.length as usize).min(MOST_PLANES);
            // SAFETY: the kernel has filled in the offset of each mapped plane; any bits are a valid `u32`.
            planes[..count].iter().map(|plane| (unsafe { plane.m.mem_offset }, plane.length)).collect()
        } else {
            // SAFETY: for a mapped single-planar buffer the driver has filled in the offset; any bits are a valid `u32`.
            vec![(unsafe { buffer.m.offset }, buffer.length)]
        };
        let planes = mappable.into_iter().map(|(offset, bytes)| Mapping::new(node, offset, bytes as usize));
        Ok(Self { planes: planes.collect::<io::Result<_>>()?, start: 0, joined: Vec::new() })
    }
}

impl Mapping {
    fn new(node: &Node, offset: u32, bytes: usize) -> io::Result<Self> {
        // With an offset of 64 bits everywhere: some drivers give more than the 31 that are left in one of 32 with a sign.
        let (fd, offset) = (node.file.as_raw_fd(), libc::off64_t::from(offset));
        // SAFETY: a new shared mapping at an address of the kernel's choice touches no memory of ours. It is
        // readable only; length and offset are the driver's own, and the kernel refuses a wrong pair.
        let start = unsafe { libc::mmap64(ptr::null_mut(), bytes, libc::PROT_READ, libc::MAP_SHARED, fd, offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        Ok(Self { start, bytes })
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: `start` is a readable mapping of `bytes` bytes until `self` is dropped. The driver writes to it only
        // while the buffer is queued; the streaming loop asks for the bytes of dequeued buffers only and ends the
        // borrow before it queues the buffer again.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.bytes) }
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
