//! Line and point charts as SVG.

use std::fmt::Write;

/// Size of the picture, and the space around the plot: left, right, top, bottom.
const SIZE: (f64, f64) = (560.0, 340.0);
const SPACE: [f64; 4] = [48.0, 26.0, 12.0, 42.0];

/// One line or cloud of points.
pub(super) struct Series {
    pub(super) name: String,
    pub(super) colour: &'static str,
    pub(super) line: Line,
    /// Where, and what to say there.
    pub(super) points: Vec<(f64, f64, String)>,
}

/// How points are joined.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    Solid,
    Dashed,
    None,
}

/// A chart with a logarithmic or plain horizontal axis.
pub(super) struct Chart {
    pub(super) across: &'static str,
    pub(super) up: &'static str,
    pub(super) log: bool,
    /// Where the horizontal axis is marked, with the words there.
    pub(super) marks: Vec<(f64, String)>,
    pub(super) series: Vec<Series>,
}

impl Chart {
    /// The chart as an SVG element; nothing where there is no point.
    pub(super) fn svg(&self) -> String {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let place = |x: f64| if self.log { x.max(1e-9).ln() } else { x };
        let xs = || points().map(|point| place(point.0)).chain(self.marks.iter().map(|mark| place(mark.0)));
        let Some((left, right)) = range(xs()) else { return String::new() };
        let Some((low, high)) = range(points().map(|point| point.1)) else { return String::new() };
        let step = if high - low > 25.0 {
            10.0
        } else if high - low > 8.0 {
            5.0
        } else {
            1.0
        };
        let (low, high) = ((low / step).floor() * step, (high / step).ceil() * step);
        let (width, height) = (SIZE.0 - SPACE[0] - SPACE[1], SIZE.1 - SPACE[2] - SPACE[3]);
        let x = |value: f64| SPACE[0] + width * (place(value) - left) / (right - left).max(1e-9);
        let y = |value: f64| SPACE[2] + height * (high - value) / (high - low).max(1e-9);

        let mut svg = format!("<svg viewBox=\"0 0 {} {}\" role=\"img\">", SIZE.0, SIZE.1);
        let mut line = low;
        while line <= high + 1e-9 {
            let at = y(line);
            put(
                &mut svg,
                format_args!(
                    "<line class=\"grid\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>",
                    SPACE[0],
                    SIZE.0 - SPACE[1]
                ),
            );
            put(
                &mut svg,
                format_args!(
                    "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{line:.0}</text>",
                    SPACE[0] - 6.0,
                    at + 4.0
                ),
            );
            line += step;
        }
        for (value, text) in &self.marks {
            let (at, bottom) = (x(*value), SIZE.1 - SPACE[3]);
            put(
                &mut svg,
                format_args!(
                    "<line class=\"tick\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{bottom:.1}\" y2=\"{:.1}\"/>",
                    bottom + 4.0
                ),
            );
            put(
                &mut svg,
                format_args!("<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{text}</text>", bottom + 17.0),
            );
        }
        put(
            &mut svg,
            format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                SPACE[0] + width / 2.0,
                SIZE.1 - 6.0,
                self.across
            ),
        );
        put(
            &mut svg,
            format_args!(
                "<text transform=\"translate(13 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
                SPACE[2] + height / 2.0,
                self.up
            ),
        );
        for series in &self.series {
            series.draw(&mut svg, x, y);
        }
        svg.push_str("</svg>");
        svg.push_str(&self.legend());
        svg
    }

    fn legend(&self) -> String {
        let entry = |series: &Series| {
            let style = if series.line == Line::Dashed { "dashed" } else { "solid" };
            format!("<span><i style=\"border-top:3px {style} {}\"></i>{}</span>", series.colour, series.name)
        };
        format!("<div class=\"legend\">{}</div>", self.series.iter().map(entry).collect::<String>())
    }
}

impl Series {
    fn draw(&self, svg: &mut String, x: impl Fn(f64) -> f64, y: impl Fn(f64) -> f64) {
        if self.line != Line::None {
            let corners: Vec<String> =
                self.points.iter().map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1))).collect();
            let dashes = if self.line == Line::Dashed { " stroke-dasharray=\"5 4\"" } else { "" };
            put(
                svg,
                format_args!(
                    "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"{dashes}/>",
                    corners.join(" "),
                    self.colour
                ),
            );
        }
        for (at, value, words) in &self.points {
            put(
                svg,
                format_args!(
                    "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\" fill=\"{}\" fill-opacity=\"0.8\"><title>{words}</title></circle>",
                    x(*at),
                    y(*value),
                    self.colour
                ),
            );
        }
    }
}

/// Adds to a string, which cannot fail.
pub(super) fn put(to: &mut String, words: std::fmt::Arguments<'_>) {
    let _ = to.write_fmt(words);
}

/// The least and the largest number; none of none.
fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |range, value| match range {
        None => Some((value, value)),
        Some((low, high)) => Some((f64::min(low, value), f64::max(high, value))),
    })
}
