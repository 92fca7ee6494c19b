//! What `eval` prints for people.

use nformer_edge::eval::{Method, Outcome, Protocol, ReEntry, ReEntryFigures, Setup, StreamFigures};
use nformer_edge::neighbors::RowKind;
use nformer_edge::nformer::Precision;

use crate::cli::out::say;

/// Prints the tables.
pub(super) fn table(outcome: &Outcome) {
    let Outcome { split, queries, gallery, identities, backbone, methods, sweep, notes, .. } = outcome;
    say!("split {split}: {queries} queries, {gallery} in the gallery, {identities} identities");
    say!("backbone {}: {:.1} M multiply-adds a crop, {} kB", backbone.name, backbone.mmac, backbone.bytes / 1000);
    for (protocol, title) in [(Protocol::Transductive, "transductive (one pool)"), (Protocol::Online, "online")] {
        lines(title, methods.iter().filter(|method| method.protocol == protocol));
    }
    lines("sweep, online", sweep.iter());
    if let Some(figures) = &outcome.stream {
        stream(figures);
    }
    say!("");
    for note in notes {
        say!("- {note}");
    }
}

/// One part of the table, if it has lines.
fn lines<'a>(title: &str, methods: impl Iterator<Item = &'a Method>) {
    let mut methods = methods.peekable();
    if methods.peek().is_none() {
        return;
    }
    say!("\n{title}");
    say!(
        "{:<32} {:>9} {:>5} {:>3} {:>4} {:>5} {:>5} {:>5} {:>5} {:>5} {:>9} {:>9}",
        "",
        "row",
        "N",
        "k",
        "",
        "mAP",
        "R1",
        "R5",
        "R10",
        "mINP",
        "+MMAC",
        "+kB"
    );
    for method in methods {
        let scores = &method.scores;
        say!(
            "{:<32} {:>9} {:>5} {:>3} {:>4} {:>5.1} {:>5.1} {:>5.1} {:>5.1} {:>5.1} {:>9.3} {:>9}",
            method.name,
            method.rows.map_or("-", row_of),
            or_dash(method.neighbors),
            or_dash(method.top_k),
            precision(method.precision),
            scores.map,
            scores.rank1,
            scores.rank5,
            scores.rank10,
            scores.minp,
            method.mmac_added,
            method.bytes_added / 1000
        );
    }
}

/// Re-entry and thresholds.
fn stream(figures: &ReEntryFigures) {
    say!("\nstream: tracks through buffer, network and gallery");
    replayed("settings as given", &figures.product);
    if let Some(calibrated) = &figures.calibrated {
        replayed("threshold of the other split", calibrated);
    }
    for curve in figures.calibration.iter().chain([&figures.curve]) {
        say!(
            "\n{} ({} identities) by gallery.similarity; 1 % false matches at {:.2}",
            curve.split,
            curve.identities,
            curve.at_1_percent.similarity
        );
        say!(
            "{:>10} {:>16} {:>13} {:>24} {:>6} {:>9}",
            "similarity",
            "false matches %",
            "newcomers %",
            "recall after 1 min %",
            "IDF1",
            "unsure %"
        );
        for StreamFigures { similarity, tally, .. } in &curve.points {
            say!(
                "{similarity:>10.2} {:>16.2} {:>13.1} {:>24.1} {:>6.1} {:>9.1}",
                tally.false_matches,
                tally.false_newcomers,
                tally.recall,
                tally.idf1,
                tally.unsure
            );
        }
    }
}

fn replayed(title: &str, figures: &StreamFigures) {
    let StreamFigures { similarity, tally, forgotten } = figures;
    say!("{title}: known from {similarity:.2}");
    say!(
        "  {} crops, {} tracks ({} too short to be answered for), {} people, {} numbers given, {forgotten} forgotten; {} switches, {:.1} % unsure",
        tally.crops,
        tally.tracks,
        tally.too_short,
        tally.people,
        tally.numbers,
        tally.switches,
        tally.unsure
    );
    say!("  IDF1 {:.1}, identity precision {:.1}, identity recall {:.1}", tally.idf1, tally.idp, tally.idr);
    say!(
        "  old number after a minute and more {:.1} %; somebody else's number {:.2} % of all visits, {:.1} % of newcomers",
        tally.recall,
        tally.false_matches,
        tally.false_newcomers
    );
    tally.re_entries.iter().for_each(returned);
}

/// A line about those who came back after gaps of one length.
pub(super) fn returned(entry: &ReEntry) {
    say!(
        "  back after {:>3} s and more: {:>4}, old number {:>4} ({:.1} %, of those answered {:.1} %), new number {}, somebody else's {}, none {}",
        entry.min_gap_s,
        entry.events,
        entry.recalled,
        entry.recall,
        entry.recall_of_answered,
        entry.new,
        entry.confused,
        entry.unsure
    );
}

fn or_dash(number: Option<usize>) -> String {
    number.map_or("-".into(), |number| number.to_string())
}

/// What a row stands for, in words.
pub(super) fn row_of(rows: RowKind) -> &'static str {
    match rows {
        RowKind::Track => "a track",
        RowKind::Embedding => "a crop",
    }
}

pub(super) fn precision(precision: Precision) -> &'static str {
    match precision {
        Precision::F32 => "f32",
        Precision::Int8 => "int8",
    }
}

/// What a reader must know to read the figures right.
pub(super) fn notes(setup: &Setup, tuned: bool) -> Vec<String> {
    let k = if tuned { "chosen on `val`" } else { "not tuned: no other split `val`, or given by hand" };
    vec![
        "+MMAC and +kB are what a method adds to the backbone, a crop; comparing with the gallery is not in them"
            .into(),
        format!("k of the mean over reciprocal neighbours: {k}"),
        format!(
            "tracks, and their running mean: the names say which crops are one track (one identity, camera and sequence, at most {} s \
             apart), as a tracker without a mistake would; a real one does worse. They are left out of the transductive table: \
             a track has an order, a pool has none. A row that is a track holds the running mean; every crop of the \
             track changes it, is fused as the row is then, and ranked as that",
            setup.track_gap.as_secs()
        ),
        format!(
            "stream: as above for tracks; all cameras share one gallery; a return counts for somebody who had a number before, \
             within a sequence, and is decided when its track ends; an error counts where it is made, not each time it is repeated; gaps end where the next line begins ({} frames a second)",
            setup.fps
        ),
        "NFormer, untrained: random weights of the same shape, one seed, no path for the mean".into(),
    ]
}
