//! Telling systemd how the loop is doing: ready, alive, stopping (the `sd_notify` protocol, see `sd_notify(3)`).
//!
//! The socket is opened once and kept, so that a process that gave up the right to open sockets still reaches it.
//! Without `$NOTIFY_SOCKET` everything here does nothing.

use std::env;
use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use tracing::{debug, warn};

/// Signs of life a watchdog's period.
const SIGNS: u32 = 4;

/// The service manager, if one started this process.
pub(crate) struct Supervisor {
    socket: Option<UnixDatagram>,
    /// Between two signs of life; none where no watchdog waits for them.
    every: Option<Duration>,
    told: Option<Instant>,
}

impl Supervisor {
    /// Finds the service manager by its environment.
    pub(crate) fn find() -> Self {
        let path = env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty());
        let socket = path.and_then(|path| {
            connect(&path)
                .map_err(|error| {
                    warn!("the service manager's socket {} cannot be reached: {error}", path.display());
                })
                .ok()
        });
        let every = watchdog(env::var("WATCHDOG_USEC").ok().as_deref(), env::var("WATCHDOG_PID").ok().as_deref());
        Self { socket, every: every.map(|period| period / SIGNS), told: None }
    }

    /// Everything is open: the loop begins.
    pub(crate) fn ready(&self) {
        self.tell("READY=1");
    }

    /// The loop went round once more. This and nothing else feeds the watchdog: a thread of its own would go on feeding
    /// it while the loop hangs.
    pub(crate) fn alive(&mut self) {
        let Some(every) = self.every else { return };
        if self.told.is_none_or(|told| told.elapsed() >= every) {
            self.tell("WATCHDOG=1");
            self.told = Some(Instant::now());
        }
    }

    /// The loop has ended; what is left takes a moment.
    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    fn tell(&self, what: &str) {
        let Some(socket) = &self.socket else { return };
        // A manager that does not listen is its own trouble, never the loop's.
        if let Err(error) = socket.send(what.as_bytes()) {
            debug!("{what} did not reach the service manager: {error}");
        }
    }
}

/// A leading `@` means the abstract name space.
fn connect(path: &OsStr) -> std::io::Result<UnixDatagram> {
    let address = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(path)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The watchdog's period, if it watches this process.
fn watchdog(period_us: Option<&str>, pid: Option<&str>) -> Option<Duration> {
    if pid.is_some_and(|pid| pid.parse() != Ok(std::process::id())) {
        return None;
    }
    period_us?.parse().ok().filter(|&period| period > 0).map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchdog_of_another_process_or_without_a_period_is_none_of_ours() {
        let own = std::process::id().to_string();
        assert_eq!(watchdog(Some("30000000"), None), Some(Duration::from_secs(30)));
        assert_eq!(watchdog(Some("30000000"), Some(&own)), Some(Duration::from_secs(30)));
        assert_eq!(watchdog(Some("30000000"), Some("1")), None);
        for period in [None, Some("0"), Some(""), Some("soon")] {
            assert_eq!(watchdog(period, None), None, "{period:?}");
        }
    }

    #[test]
    fn signs_of_life_keep_to_their_rate() {
        let (ours, theirs) = UnixDatagram::pair().unwrap_or_else(|error| panic!("{error}"));
        theirs.set_nonblocking(true).unwrap_or_else(|error| panic!("{error}"));
        let mut supervisor = Supervisor { socket: Some(ours), every: Some(Duration::from_hours(1)), told: None };
        for _ in 0..1000 {
            supervisor.alive();
        }
        let mut text = [0; 64];
        let first = theirs.recv(&mut text).map(|length| text[..length].to_vec());
        assert_eq!(first.ok().as_deref(), Some(b"WATCHDOG=1".as_slice()));
        assert!(theirs.recv(&mut text).is_err(), "one sign for a thousand turns of the loop");
    }
}
