//! The program as a process: started, told something by a signal, looked at from outside.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest wait for something that has to happen, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_mins(2);

/// A run that is killed if the test ends before it.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    /// Starts `command` with standard output and log in files of `folder`.
    pub(crate) fn start(mut command: Command, folder: &Path) -> Self {
        let file = |name| fs::File::create(folder.join(name)).expect("a file");
        Self::spawn(command.stdout(file("out")).stderr(file("log")))
    }

    pub(crate) fn spawn(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).spawn().expect("the program was built by cargo"))
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let kill = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.0.id())]).status();
        assert!(kill.expect("a shell").success(), "it has ended");
    }

    /// Tells it to stop and says how it ended, and how long that took.
    pub(crate) fn stop(mut self) -> (ExitStatus, Duration) {
        let told = Instant::now();
        self.signal("TERM");
        let mut status = None;
        wait_for("it does not stop", || {
            status = self.0.try_wait().expect("a process");
            status.is_some()
        });
        (status.expect("it has ended"), told.elapsed())
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.0.try_wait().expect("a process").is_none()
    }

    /// Resident set in KB; 0 if it has just ended.
    pub(crate) fn resident_kb(&self) -> u64 {
        self.status_kb("VmRSS:")
    }

    /// A line of `/proc/PID/status` in KB; 0 if it has just ended.
    pub(crate) fn status_kb(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).expect("it is not waited for");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.map_or(0, |line| line.trim().trim_end_matches("kB").trim().parse().expect("a number"))
    }

    /// Open files.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.0.id())).expect("it runs").count()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !there() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The messages in a file that is still written to.
pub(crate) fn messages(file: &Path) -> Vec<Value> {
    let text = fs::read(file).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// How often an event of this kind was reported.
pub(crate) fn events(messages: &[Value], kind: &str) -> usize {
    messages.iter().filter(|message| message["type"] == "event" && message["kind"] == kind).count()
}
