//! Health messages, the log line of each, and the closing summary.

use std::time::Duration;

use nformer_edge::frame::SourceHealth;
use nformer_edge::pipeline::Pipeline;
use nformer_edge::pipeline::timing::Histogram;
use nformer_edge::report::message::{Health, Room, RoomTime};
use nformer_edge::report::{log, vitals};
use nformer_edge::state::Saves;

/// How the device is doing since the last such message.
pub(crate) fn health(
    pipeline: &Pipeline,
    source: SourceHealth,
    dropped: u64,
    saves: Saves,
    stream_time: Duration,
    fps: f32,
) -> Health {
    let counters = pipeline.counters();
    let board = vitals::board();
    Health {
        time_ms: u64::try_from(stream_time.as_millis()).unwrap_or(u64::MAX),
        fps: fps.into(),
        frames: counters.frames,
        rooms: Room::ALL
            .iter()
            .filter_map(|&room| {
                let histogram = pipeline.timing().interval().room(room);
                let (p50, p95) = percentiles(histogram)?;
                Some(RoomTime { room, p50_ms: p50.into(), p95_ms: p95.into() })
            })
            .collect(),
        stale: source.stale,
        corrupt: source.corrupt,
        timeouts: source.timeouts,
        reconnects: source.reconnects,
        report_dropped: dropped,
        evictions: counters.evictions,
        refused_embeddings: counters.refused,
        recomputed: pipeline.recomputed().iter().map(|layer| layer.total).collect(),
        resident_bytes: vitals::resident().map_or(0, |resident| resident.now),
        temperature_c: board.temperature_c.map(Into::into),
        throttled: board.throttled,
        state_saved: saves.saved,
        state_failures: saves.failures,
        state_age_s: saves.age.map(|age| age.as_secs()),
        freezes: source.freezes,
        frozen: source.frozen,
        ignored: counters.ignored,
        log_dropped: log::lost(),
    }
}

/// What a run did, a line each.
pub(crate) fn summary(pipeline: &Pipeline, source: SourceHealth, fps: f32, dropped: u64) -> Vec<String> {
    let counters = pipeline.counters();
    let mut lines = vec![format!(
        "summary: {} frames at {fps:.1} fps, {} embeddings, {} identities",
        counters.frames,
        counters.embeddings,
        pipeline.identities(),
    )];
    for room in Room::ALL {
        if let Some((p50, p95)) = percentiles(pipeline.timing().total().room(room)) {
            let count = pipeline.timing().total().room(room).len();
            lines.push(format!("summary: {:<9} p50 {p50:8.2} ms  p95 {p95:8.2} ms  x {count}", room.name()));
        }
    }
    lines.push(format!(
        "summary: dropped {} corrupt and {} stale frames, {} timeouts, {} reconnects, {} freezes, \
         {dropped} report lines, {} log lines; refused {} embeddings; {} people found no place, {} identities forgotten",
        source.corrupt,
        source.stale,
        source.timeouts,
        source.reconnects,
        source.freezes,
        log::lost(),
        counters.refused,
        counters.ignored,
        counters.forgotten,
    ));
    let layers: Vec<String> = pipeline.recomputed().iter().map(|layer| layer.total.to_string()).collect();
    lines.push(format!(
        "summary: fusion computed {} rows by layer for {} embeddings",
        layers.join(", "),
        counters.embeddings
    ));
    if let Some(resident) = vitals::resident() {
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        lines.push(format!(
            "summary: resident set {:.1} MB, peak {:.1} MB",
            megabytes(resident.now),
            megabytes(resident.peak)
        ));
    }
    lines
}

fn percentiles(histogram: &Histogram) -> Option<(f32, f32)> {
    Some((histogram.percentile_ms(0.5)?, histogram.percentile_ms(0.95)?))
}
