//! The log: human readable on a terminal, JSON lines otherwise, always on standard error.

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::time::uptime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::message::{Event, EventKind, Hello, Message};

/// Level of the log for a number of `-v` and `-q`: errors and warnings and what happens by default,
/// one step quieter or louder for each flag.
pub fn level(verbose: u8, quiet: u8) -> LevelFilter {
    match i16::from(verbose) - i16::from(quiet) {
        ..=-3 => LevelFilter::OFF,
        -2 => LevelFilter::ERROR,
        -1 => LevelFilter::WARN,
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        2.. => LevelFilter::TRACE,
    }
}

/// Starts the log of the process at `level`. Other crates are heard from warnings up only: the model
/// runtime alone would fill a page a second. Returns false if a log was started before; that one stays.
pub fn start(level: LevelFilter) -> bool {
    let only_ours = Targets::new().with_target("nformer_edge", level).with_default(level.min(LevelFilter::WARN));
    let to_stderr = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_timer(uptime());
    let layer = if io::stderr().is_terminal() {
        to_stderr.with_target(false).boxed()
    } else {
        to_stderr.with_ansi(false).json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
    };
    tracing_subscriber::registry().with(layer.with_filter(only_ours)).try_init().is_ok()
}

/// Writes `message` to the log. `alone` says that no other sink is on: then what happens to people is
/// said at the usual level, otherwise one level down, since it stands elsewhere already.
pub(super) fn record(message: &Message, alone: bool) {
    match message {
        Message::Hello(Hello { program, board, source, .. }) => tracing::info!(%program, %board, %source, "reporting"),
        Message::Sighting(seen) => {
            tracing::trace!(
                frame = seen.frame,
                track = seen.track,
                identity = seen.identity,
                state = ?seen.state,
                "sighting"
            );
        }
        Message::Event(event) if alone => {
            let Event { track, identity, other, .. } = event;
            tracing::info!(track, identity, other, "{}", happened(event.kind));
        }
        Message::Event(event) => {
            let Event { track, identity, other, .. } = event;
            tracing::debug!(track, identity, other, "{}", happened(event.kind));
        }
        Message::Health(health) => {
            tracing::debug!(
                fps = health.fps.get(),
                frames = health.frames,
                stale = health.stale,
                corrupt = health.corrupt,
                timeouts = health.timeouts,
                reconnects = health.reconnects,
                report_dropped = health.report_dropped,
                resident_mib = health.resident_bytes >> 20,
                temperature_c = health.temperature_c.map(super::decimal::Decimal::get),
                throttled = health.throttled,
                "health"
            );
        }
    }
}

fn happened(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Entered => "entered",
        EventKind::Identified => "identified",
        EventKind::Merged => "merged",
        EventKind::Left => "left",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_move_the_level_and_stop_at_the_ends() {
        let levels = [(0, 0), (1, 0), (9, 0), (0, 1), (0, 2), (0, 3), (255, 255), (0, 255)].map(|(v, q)| level(v, q));
        assert_eq!(
            levels,
            [
                LevelFilter::INFO,
                LevelFilter::DEBUG,
                LevelFilter::TRACE,
                LevelFilter::WARN,
                LevelFilter::ERROR,
                LevelFilter::OFF,
                LevelFilter::INFO,
                LevelFilter::OFF
            ]
        );
    }
}
