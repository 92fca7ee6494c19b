//! Being told to stop or to read the configuration again: SIGINT and SIGTERM end the loop after the frame at hand,
//! SIGHUP has the configuration read.

use std::io::{IsTerminal, stderr, stdin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Becomes true when the process is told to stop.
#[derive(Clone)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Listens for the signals. A second one ends the process at once, should the loop hang.
    pub(crate) fn listen() -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        // Not `stop` itself, which is also set from within: the first signal after that must not cut off the last save.
        let signalled = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // Armed by the first signal: the order of these two lines is what makes the second one final.
            signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&signalled))?;
            signal_hook::flag::register(signal, Arc::clone(&signalled))?;
            signal_hook::flag::register(signal, Arc::clone(&stop))?;
        }
        Ok(Self(stop))
    }

    /// The flag itself, for those who cannot know this type.
    pub(crate) fn flag(&self) -> &Arc<AtomicBool> {
        &self.0
    }

    /// Stops from within.
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether to stop.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Becomes true when the process is told to read its configuration again.
pub(crate) struct Reload {
    asked: Arc<AtomicBool>,
    /// Whether there was a terminal at the start.
    terminal: bool,
}

/// What SIGHUP asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HangUp {
    /// Read the configuration again.
    Reload,
    /// The terminal was closed: end.
    Stop,
}

impl Reload {
    /// Listens for SIGHUP.
    pub(crate) fn listen() -> std::io::Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(SIGHUP, Arc::clone(&asked))?;
        Ok(Self { asked, terminal: has_terminal() })
    }

    /// What was asked for since the last call.
    pub(crate) fn take(&self) -> Option<HangUp> {
        if !self.asked.swap(false, Ordering::Relaxed) {
            return None;
        }
        Some(meaning(self.terminal, has_terminal()))
    }
}

/// The same signal says that a terminal was closed; that is none any more then.
fn meaning(at_start: bool, now: bool) -> HangUp {
    if at_start && !now { HangUp::Stop } else { HangUp::Reload }
}

fn has_terminal() -> bool {
    stdin().is_terminal() || stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::process::Command;

    use super::*;

    const INSIDE: &str = "NFORMER_EDGE_TEST_SIGNALS";

    #[test]
    fn the_first_signal_after_a_stop_from_within_cuts_nothing_off_and_the_second_does() {
        if env::var_os(INSIDE).is_some() {
            let stop = Stop::listen().unwrap();
            stop.set();
            signal_hook::low_level::raise(SIGTERM).unwrap();
            println!("still there");
            signal_hook::low_level::raise(SIGTERM).unwrap();
            unreachable!("the second one ends the process");
        }
        let name =
            "cli::signals::tests::the_first_signal_after_a_stop_from_within_cuts_nothing_off_and_the_second_does";
        let mut again = Command::new(env::current_exe().unwrap());
        let output = again.args(["--exact", name, "--nocapture"]).env(INSIDE, "").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("still there"), "{said}");
        assert_eq!(output.status.code(), Some(1), "{said}");
    }

    #[test]
    fn only_a_terminal_that_was_there_and_is_gone_ends_the_run() {
        assert_eq!(meaning(true, false), HangUp::Stop);
        for (had, has) in [(true, true), (false, false), (false, true)] {
            assert_eq!(meaning(had, has), HangUp::Reload);
        }
    }
}
