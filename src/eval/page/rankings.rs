//! The best answers of some queries, before and after fusion, one above the other.

use std::fs;

use super::chart::put;
use crate::error::{Error, Result};
use crate::eval::market::{Crop, Split};
use crate::eval::metrics::{average_precision, ranking};
use crate::eval::rows::Rows;
use crate::kernels::dot;

/// Answers shown of a query.
const SHOWN: usize = 10;
/// Queries of each kind.
const OF_KIND: usize = 4;

/// One query, ranked by two kinds of rows.
struct Compared {
    query: usize,
    before: Ranked,
    after: Ranked,
}

struct Ranked {
    /// Places of the best answers.
    best: Vec<usize>,
    /// Average precision, 0 to 1.
    precision: f64,
}

/// HTML of queries that gain most, lose most, and lie evenly spread between first and last.
pub(super) fn rankings(split: &Split, before: &Rows, after: &Rows) -> Result<String> {
    let gallery = split.labels(&split.gallery);
    let mut order = Vec::new();
    let mut ranked = |rows: &Rows, query: usize| -> Option<Ranked> {
        let similarity: Vec<f32> = split.gallery.iter().map(|place| dot(rows.row(query), rows.row(*place))).collect();
        let asked = split.crops[query].label();
        ranking(asked, &gallery, &similarity, &mut order);
        let precision = average_precision(order.iter().map(|at| gallery[*at].identity == asked.identity))?;
        Some(Ranked { best: order.iter().take(SHOWN).map(|at| split.gallery[*at]).collect(), precision })
    };
    let mut all: Vec<Compared> = Vec::new();
    for query in &split.query {
        if let (Some(before), Some(after)) = (ranked(before, *query), ranked(after, *query)) {
            all.push(Compared { query: *query, before, after });
        }
    }
    let mut html = String::new();
    let spread = all.len().div_ceil(OF_KIND).max(1);
    let evenly: Vec<&Compared> = all.iter().step_by(spread).collect();
    let mut by_gain: Vec<&Compared> = all.iter().collect();
    by_gain.sort_by(|one, other| other.gain().total_cmp(&one.gain()));
    let gained: Vec<&Compared> = by_gain.iter().copied().take(OF_KIND).filter(|one| one.gain() > 0.0).collect();
    let lost: Vec<&Compared> = by_gain.iter().rev().copied().take(OF_KIND).filter(|one| one.gain() < 0.0).collect();
    for (title, some) in [("evenly spread over the queries", evenly), ("gained most", gained), ("lost most", lost)] {
        if some.is_empty() {
            continue;
        }
        put(&mut html, format_args!("<h3>Queries: {title}</h3>"));
        for one in some {
            one.draw(split, &mut html)?;
        }
    }
    Ok(html)
}

impl Compared {
    fn gain(&self) -> f64 {
        self.after.precision - self.before.precision
    }

    fn draw(&self, split: &Split, html: &mut String) -> Result<()> {
        let asked = &split.crops[self.query];
        put(
            html,
            format_args!(
                "<div class=\"query\"><figure>{}<figcaption>person {}, camera {}</figcaption></figure><div>",
                picture(asked, "")?,
                asked.identity,
                asked.camera
            ),
        );
        for (name, ranked) in [("embedding", &self.before), ("NFormer", &self.after)] {
            put(
                html,
                format_args!("<div class=\"row\"><b>{name}<br><small>AP {:.0} %</small></b>", 100.0 * ranked.precision),
            );
            for place in &ranked.best {
                let crop = &split.crops[*place];
                html.push_str(&picture(crop, if crop.identity == asked.identity { "right" } else { "wrong" })?);
            }
            html.push_str("</div>");
        }
        html.push_str("</div></div>");
        Ok(())
    }
}

/// A crop as an image element that holds its bytes.
fn picture(crop: &Crop, class: &str) -> Result<String> {
    let bytes = fs::read(&crop.path).map_err(|source| Error::Read { what: "crop", path: crop.path.clone(), source })?;
    let kind = if bytes.starts_with(b"\x89PNG") { "png" } else { "jpeg" };
    let words = format!("{class} person {}, camera {}", crop.identity, crop.camera);
    Ok(format!(
        "<img class=\"{class}\" alt=\"{words}\" title=\"{words}\" src=\"data:image/{kind};base64,{}\">",
        base64(&bytes)
    ))
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let at = |place: usize| u32::from(three.get(place).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            let value = bits >> (18 - 6 * digit) & 63;
            text.push(if digit > three.len() { '=' } else { char::from(DIGITS[value as usize]) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_in_its_standard() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
