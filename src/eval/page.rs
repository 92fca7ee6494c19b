//! The report: one HTML page that needs nothing beside itself.

mod chart;
mod map;
mod rankings;

use std::collections::BTreeMap;

use super::market::Split;
use super::outcome::Outcome;
use super::re_entry::{Curve, ReEntryFigures};
use super::rows::Rows;
use super::stream::{StreamFigures, Tally};
use super::table::{Method, Protocol};
use crate::error::Result;
use crate::neighbors::RowKind;
use crate::nformer::Precision;
use chart::{Chart, Line, Series, put};

const STYLE: &str = include_str!("page/style.css");

const PRIVACY: &str = "This page contains pictures of people: crops of the dataset that was named to \
<code>nformer-edge eval</code>, put in because a report was asked for. Treat it as you treat the dataset.";

/// Colours of the rows as they are, of the mean without training, and of the network.
const COLOURS: [&str; 3] = ["#777", "#d97706", "#2563eb"];

/// Rows of both kinds for the same crops.
#[derive(Clone, Copy, Debug)]
pub struct Pictures<'a> {
    /// The crops.
    pub split: &'a Split,
    /// Embeddings as they are.
    pub before: &'a Rows,
    /// Fused by the network.
    pub after: &'a Rows,
    /// How they were fused, in words.
    pub how: &'a str,
}

/// The page: tables, accuracy against N and cost, maps of the same people before and after fusion, ranking lists.
///
/// # Errors
/// [`Error::Read`](crate::Error::Read) if a crop cannot be read again.
pub fn page(outcome: &Outcome, pictures: &Pictures<'_>) -> Result<String> {
    let mut html = head(outcome);
    for (protocol, title) in [
        (Protocol::Transductive, "Transductive: query and gallery in one pool"),
        (Protocol::Online, "Online: each crop once, when it comes"),
    ] {
        let methods: Vec<&Method> = outcome.methods.iter().filter(|method| method.protocol == protocol).collect();
        if !methods.is_empty() {
            put(&mut html, format_args!("<h2>{title}</h2>{}", table(&methods)));
        }
    }
    html.push_str(&charts(outcome));
    if let Some(figures) = &outcome.stream {
        html.push_str(&re_entry(figures));
    }
    html.push_str(&pictures.html()?);
    html.push_str("<h2>Notes</h2><ul>");
    for note in &outcome.notes {
        put(&mut html, format_args!("<li>{}</li>", escape(note)));
    }
    html.push_str("</ul>");
    if !outcome.sweep.is_empty() {
        let points = table(&outcome.sweep.iter().collect::<Vec<_>>());
        put(&mut html, format_args!("<details><summary>All points of the sweep</summary>{points}</details>"));
    }
    html.push_str("</body></html>\n");
    Ok(html)
}

/// From the first line to where the tables begin.
fn head(outcome: &Outcome) -> String {
    let Outcome { dataset, split, queries, gallery, identities, backbone, .. } = outcome;
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>nformer-edge eval: {name}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head><body>\
         <h1>Who is told apart, and at what cost</h1>\
         <p class=\"lead\">{dataset}, split <b>{name}</b>: {queries} queries, {gallery} in the gallery, {identities} people. Backbone \
         {backbone}: {mmac:.1} M multiply-adds a crop, {megabytes:.1} MB.</p><p class=\"privacy\">{PRIVACY}</p>",
        name = escape(split),
        dataset = escape(&dataset.display().to_string()),
        backbone = escape(&backbone.name),
        mmac = backbone.mmac,
        megabytes = backbone.bytes as f64 / 1e6,
    )
}

impl Pictures<'_> {
    /// Maps and ranking lists.
    fn html(&self) -> Result<String> {
        let [before, after] = map::maps(self.split, self.before, self.after)?;
        let rankings = rankings::rankings(self.split, self.before, self.after)?;
        let how = escape(self.how);
        Ok(format!(
            "<h2>The same people before and after NFormer</h2><p>t-SNE of up to 600 crops; colour and shape are the person. NFormer: {how}.</p>\
             <div class=\"pair\"><figure>{before}<figcaption>embedding as it is</figcaption></figure>\
             <figure>{after}<figcaption>NFormer</figcaption></figure></div>\
             <h2>Ranking lists</h2><p>The ten best answers: above the embedding as it is, below NFormer ({how}). Wrong ones have a red \
             frame. Crops of the person by the query's own camera are not ranked.</p>{rankings}"
        ))
    }
}

fn table(methods: &[&Method]) -> String {
    let mut html = String::from(
        "<table><tr><th>method<th>row<th>N<th>k<th>layers<th>numbers<th>mAP<th>R1<th>R5<th>R10<th>mINP<th>M multiply-adds added\
         <th>kB added</tr>",
    );
    let best = methods.iter().map(|method| method.scores.map).fold(f64::NEG_INFINITY, f64::max);
    for method in methods {
        let scores = &method.scores;
        let class = if scores.map >= best { " class=\"best\"" } else { "" };
        put(
            &mut html,
            format_args!(
                "<tr{class}><td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{:.1}<td>{:.1}<td>{:.1}<td>{:.1}<td>{:.1}<td>{:.3}<td>{}</tr>",
                escape(&method.name),
                row(method),
                number(method.neighbors),
                number(method.top_k),
                number(method.layers),
                precision(method),
                scores.map,
                scores.rank1,
                scores.rank5,
                scores.rank10,
                scores.minp,
                method.mmac_added,
                method.bytes_added / 1000
            ),
        );
    }
    html + "</table>"
}

/// Accuracy against N, and against cost, of the sweep.
fn charts(outcome: &Outcome) -> String {
    if outcome.sweep.is_empty() {
        return String::new();
    }
    let plain = outcome.methods.iter().find(|method| method.neighbors.is_none()).map(|method| method.scores);
    let buffers: Vec<usize> = outcome.sweep.iter().filter_map(|method| method.neighbors).collect();
    let marks = |values: &[f64]| values.iter().map(|value| (*value, value.to_string())).collect();
    let mut sizes: Vec<f64> = buffers.iter().map(|buffer| *buffer as f64).collect();
    sizes.sort_by(f64::total_cmp);
    sizes.dedup();
    let mut html = String::from("<h2>Accuracy against N and cost (online)</h2><div class=\"pair\">");
    for (up, of) in [
        ("mAP, %", (|method: &Method| method.scores.map) as fn(&Method) -> f64),
        ("Rank-1, %", |method| method.scores.rank1),
    ] {
        let mut series = by_size(&outcome.sweep, of);
        if let (Some(plain), Some(first), Some(last)) = (plain, sizes.first(), sizes.last()) {
            let value = if up.starts_with("mAP") { plain.map } else { plain.rank1 };
            let points = [first, last].map(|size| (*size, value, format!("embedding as it is: {value:.1}")));
            series.push(Series {
                name: "embedding as it is".into(),
                colour: COLOURS[0],
                line: Line::Solid,
                points: points.into(),
            });
        }
        let chart = Chart { across: "rows N of the buffer", up, log: true, marks: marks(&sizes), series };
        put(&mut html, format_args!("<figure>{}</figure>", chart.svg()));
    }
    let chart = Chart {
        across: "M multiply-adds added to the backbone, a crop",
        up: "mAP, %",
        log: true,
        marks: marks(&[0.02, 0.05, 0.1, 0.2, 0.5, 1.0]),
        series: clouds(&outcome.sweep, |method| method.mmac_added),
    };
    put(&mut html, format_args!("<figure>{}</figure>", chart.svg()));
    let chart = Chart {
        across: "kB added to the backbone",
        up: "mAP, %",
        log: true,
        marks: marks(&[100.0, 300.0, 1000.0, 3000.0, 10000.0]),
        series: clouds(&outcome.sweep, |method| method.bytes_added as f64 / 1000.0),
    };
    put(
        &mut html,
        format_args!(
            "<figure>{}</figure></div><p>Points say what they are when the mouse rests on them.</p>",
            chart.svg()
        ),
    );
    html
}

/// For each method, precision and k one line over N.
fn by_size(sweep: &[Method], of: fn(&Method) -> f64) -> Vec<Series> {
    const KS: [usize; 3] = [3, 5, 8];
    let mut lines: BTreeMap<(bool, usize, String), Vec<&Method>> = BTreeMap::new();
    for method in sweep.iter().filter(|method| method.precision == Precision::F32) {
        if let Some(k) = method.top_k.filter(|k| KS.contains(k)) {
            lines.entry((method.layers.is_some(), k, method.name.clone())).or_default().push(method);
        }
    }
    let series = |((network, k, name), methods): ((bool, usize, String), Vec<&Method>)| Series {
        name: format!("{}, k {k}", escape(&name)),
        colour: shade(network, k),
        line: if network { Line::Solid } else { Line::Dashed },
        points: methods
            .iter()
            .map(|method| (method.neighbors.unwrap_or(1) as f64, of(method), words(method)))
            .collect(),
    };
    lines.into_iter().map(series).collect()
}

/// The network's lines are blue, the mean's orange; a larger k is darker.
fn shade(network: bool, k: usize) -> &'static str {
    match (network, k) {
        (true, 0..=3) => "#93c5fd",
        (true, 4..=5) => "#2563eb",
        (true, _) => "#1e3a8a",
        (false, 0..=3) => "#fdba74",
        (false, 4..=5) => "#ea8a0c",
        (false, _) => "#9a3412",
    }
}

/// All points, by kind.
fn clouds(sweep: &[Method], cost: impl Fn(&Method) -> f64) -> Vec<Series> {
    let kinds = [
        ("mean over reciprocal neighbours", COLOURS[1], false, Precision::F32),
        ("network, f32", COLOURS[2], true, Precision::F32),
        ("network, int8", "#059669", true, Precision::Int8),
    ];
    let series = |(name, colour, network, precision): (&str, &'static str, bool, Precision)| Series {
        name: name.into(),
        colour,
        line: Line::None,
        points: sweep
            .iter()
            .filter(|method| (method.layers.is_some(), method.precision) == (network, precision))
            .map(|method| (cost(method), method.scores.map, words(method)))
            .collect(),
    };
    kinds.into_iter().map(series).collect()
}

fn words(method: &Method) -> String {
    let scores = &method.scores;
    format!(
        "{}, N {}, k {}, {}: mAP {:.1}, R1 {:.1}, +{:.3} M, +{} kB",
        escape(&method.name),
        number(method.neighbors),
        number(method.top_k),
        precision(method),
        scores.map,
        scores.rank1,
        method.mmac_added,
        method.bytes_added / 1000
    )
}

/// Re-entry and the curve of thresholds.
fn re_entry(figures: &ReEntryFigures) -> String {
    let mut html = String::from(
        "<h2>Who keeps the number when coming back</h2><p>Tracks through buffer, network and gallery with the program's \
         settings; gaps within a sequence.</p>",
    );
    let runs =
        [("settings as given", Some(&figures.product)), ("threshold of the other split", figures.calibrated.as_ref())];
    for (title, run) in runs {
        if let Some(StreamFigures { similarity, tally, forgotten }) = run {
            put(
                &mut html,
                format_args!(
                    "<h3>{title}: known from {similarity:.2}</h3><p>{} crops in {} tracks ({} too short to be answered for) of {} people got {} numbers \
                 ({forgotten} forgotten). IDF1 {:.1}, identity precision {:.1}, identity recall {:.1}; {} switches; {:.1} % of the answers unsure. Old number after a minute and more {:.1} %, somebody else's {:.2} % of all visits.</p>\
                 <table><tr><th>back after<th>times<th>old number<th>%<th>% of those answered<th>new number<th>somebody else's<th>none</tr>",
                    tally.crops,
                    tally.tracks,
                    tally.too_short,
                    tally.people,
                    tally.numbers,
                    tally.idf1,
                    tally.idp,
                    tally.idr,
                    tally.switches,
                    tally.unsure,
                    tally.recall,
                    tally.false_matches
                ),
            );
            for entry in &tally.re_entries {
                let until = entry.max_gap_s.map_or("and more".into(), |until| format!("to {until} s"));
                put(
                    &mut html,
                    format_args!(
                        "<tr><td>{} s {until}<td>{}<td>{}<td>{:.1}<td>{:.1}<td>{}<td>{}<td>{}</tr>",
                        entry.min_gap_s,
                        entry.events,
                        entry.recalled,
                        entry.recall,
                        entry.recall_of_answered,
                        entry.new,
                        entry.confused,
                        entry.unsure
                    ),
                );
            }
            html.push_str("</table>");
        }
    }
    for curve in figures.calibration.iter().chain([&figures.curve]) {
        html.push_str(&thresholds(curve));
    }
    html
}

/// One split at every threshold.
fn thresholds(curve: &Curve) -> String {
    let line = |name: &str, colour, of: fn(&Tally) -> f64| {
        let point = |StreamFigures { similarity, tally, .. }: &StreamFigures| {
            (f64::from(*similarity), of(tally), format!("{similarity:.2}: {:.1} %", of(tally)))
        };
        Series { name: name.into(), colour, line: Line::Solid, points: curve.points.iter().map(point).collect() }
    };
    let chart = Chart {
        across: "score from which a person is known",
        up: "%",
        log: false,
        marks: [0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2].map(|mark| (mark, format!("{mark:.1}"))).into(),
        series: vec![
            line("old number after a minute", COLOURS[2], |tally| tally.recall),
            line("IDF1", COLOURS[1], |tally| tally.idf1),
            line("unsure", COLOURS[0], |tally| tally.unsure),
            line("somebody else's number", "#dc2626", |tally| tally.false_matches),
        ],
    };
    let chosen = &curve.at_1_percent;
    let mut html = String::new();
    put(
        &mut html,
        format_args!(
            "<h3>Thresholds on {}</h3><p>{} people: 1 % of all visits get somebody else's number at <b>{:.2}</b>, where {:.1} % get the old one \
         after a minute and more.</p><figure class=\"half\">{}</figure>",
            escape(&curve.split),
            curve.identities,
            chosen.similarity,
            chosen.tally.recall,
            chart.svg()
        ),
    );
    html
}

fn number(number: Option<usize>) -> String {
    number.map_or("–".into(), |number| number.to_string())
}

fn row(method: &Method) -> &'static str {
    match method.rows {
        None => "–",
        Some(RowKind::Track) => "a&nbsp;track",
        Some(RowKind::Embedding) => "a&nbsp;crop",
    }
}

fn precision(method: &Method) -> &'static str {
    match method.precision {
        Precision::F32 => "f32",
        Precision::Int8 => "int8",
    }
}

/// Text that stands for itself in HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
