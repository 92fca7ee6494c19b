//! Standard input, read without waiting longer than a source may.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;

use crate::camera::v4l2::poll;
use crate::frame::LONGEST_WAIT;

/// Reads standard input; where nothing comes within [`LONGEST_WAIT`] it gives [`ErrorKind::WouldBlock`], and at once where a
/// signal comes.
///
/// A handle of its own: the one of the standard library keeps bytes that nobody can wait for.
pub(super) struct Standard(File);

impl Standard {
    pub(super) fn open() -> io::Result<Self> {
        io::stdin().as_fd().try_clone_to_owned().map(|handle| Self(handle.into()))
    }
}

impl Read for Standard {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match poll(self.0.as_fd(), LONGEST_WAIT) {
            Ok(0) => Err(ErrorKind::WouldBlock.into()),
            Err(error) if error.kind() == ErrorKind::Interrupted => Err(ErrorKind::WouldBlock.into()),
            Ok(_) => self.0.read(buffer),
            Err(error) => Err(error),
        }
    }
}
