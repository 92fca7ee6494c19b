//! What a failed device call means, and how long to wait before the next attempt.

use std::io;
use std::time::Duration;

/// What to do about a failed call on a running stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Interrupted by a signal or nothing ready: call again.
    Again,
    /// The device or its stream is gone: close everything and open it again.
    Lost,
    /// The kernel does not take the call at all: opening again gives the same.
    Hopeless,
}

/// Sorts the errors of poll, QBUF, DQBUF and STREAMON.
///
/// `ENODEV` is an unplugged device, `EIO` a stream that has died; `EINVAL`, `ENOMEM`, `EBUSY`, `EPROTO` and
/// whatever else drivers come up with have all been seen to pass after a fresh start.
pub(super) fn classify(error: &io::Error) -> Fault {
    match error.raw_os_error() {
        Some(libc::EINTR | libc::EAGAIN) => Fault::Again,
        Some(libc::ENOTTY | libc::EFAULT | libc::EBADF | libc::ENOSYS) => Fault::Hopeless,
        _ if error.kind() == io::ErrorKind::Interrupted => Fault::Again,
        _ => Fault::Lost,
    }
}

/// How long frames must come after an opening before the next loss counts as a new one: a camera that dies after its first
/// frame, each time, is opened with ever longer waits too.
pub(super) const STEADY: Duration = Duration::from_secs(1);

/// Waiting times that double from 100 ms to 5 s.
#[derive(Debug)]
pub(super) struct BackOff {
    next: Duration,
}

impl BackOff {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(5);

    /// The time to wait now; the next one is twice as long.
    pub(super) fn next_delay(&mut self) -> Duration {
        let delay = self.next;
        self.next = (delay * 2).min(Self::LONGEST);
        delay
    }
}

impl Default for BackOff {
    fn default() -> Self {
        Self { next: Self::FIRST }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_five_seconds() {
        let mut back_off = BackOff::default();
        let delays: Vec<u128> = (0..9).map(|_| back_off.next_delay().as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
    }

    #[test]
    fn errors_are_sorted() {
        let sorted = |errno| classify(&io::Error::from_raw_os_error(errno));
        assert_eq!([libc::EINTR, libc::EAGAIN].map(sorted), [Fault::Again; 2]);
        let lost = [libc::ENODEV, libc::EIO, libc::EINVAL, libc::ENXIO, libc::EPROTO, libc::ENOMEM, libc::EBUSY];
        assert_eq!(lost.map(sorted), [Fault::Lost; 7]);
        assert_eq!([libc::ENOTTY, libc::EFAULT, libc::EBADF].map(sorted), [Fault::Hopeless; 3]);
        assert_eq!(classify(&io::Error::other("anything")), Fault::Lost);
    }
}
