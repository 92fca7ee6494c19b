//! A line that tells how far long work has come, where somebody watches a terminal.

use std::io::{IsTerminal, stderr, stdout};
use std::time::{Duration, Instant};

use nformer_edge::report::log;

/// Redrawn at most this often.
const REDRAW: Duration = Duration::from_millis(250);

/// Counts frames on one line of standard error.
pub(crate) struct Progress {
    /// Drawn only if the log goes to a terminal and the data does not: lines of data show progress themselves.
    shown: bool,
    frames: u64,
    started: Instant,
    drawn: Option<Instant>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let shown = stderr().is_terminal() && !stdout().is_terminal();
        Self { shown, frames: 0, started: Instant::now(), drawn: None }
    }

    /// Counts one frame.
    pub(crate) fn frame(&mut self, identities: usize) {
        self.frames += 1;
        if !self.shown || self.drawn.is_some_and(|drawn| drawn.elapsed() < REDRAW) {
            return;
        }
        let fps = self.frames as f64 / self.started.elapsed().as_secs_f64().max(1e-3);
        log::draw(&format!("\r\x1b[Kframe {}, {fps:.1} fps, {identities} identities", self.frames));
        self.drawn = Some(Instant::now());
    }

    /// Removes the line.
    pub(crate) fn clear(&self) {
        if self.drawn.is_some() {
            log::draw("\r\x1b[K");
        }
    }
}

/// A bar on one line of standard error, for work whose end is known.
pub(crate) struct Bar {
    shown: bool,
    drawn: Option<Instant>,
}

impl Bar {
    pub(crate) fn new() -> Self {
        Self { shown: stderr().is_terminal(), drawn: None }
    }

    /// Says that `done` of `total` parts of `what` are done.
    pub(crate) fn draw(&mut self, what: &str, done: usize, total: usize) {
        const WIDTH: usize = 30;
        if !self.shown || self.drawn.is_some_and(|drawn| drawn.elapsed() < REDRAW) {
            return;
        }
        let filled = WIDTH * done.min(total) / total.max(1);
        log::draw(&format!("\r\x1b[K[{:<WIDTH$}] {done}/{total} {what}", "#".repeat(filled)));
        self.drawn = Some(Instant::now());
    }

    /// Removes the line.
    pub(crate) fn clear(&self) {
        if self.drawn.is_some() {
            log::draw("\r\x1b[K");
        }
    }
}
