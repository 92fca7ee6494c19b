//! The same people before and after fusion, as two maps.

use std::collections::BTreeMap;

use super::chart::put;
use crate::error::Result;
use crate::eval::market::Split;
use crate::eval::rows::Rows;
use crate::eval::tsne::tsne;

const SIDE: f64 = 440.0;
/// Crops of a person at most, and crops in all.
const OF_ONE: usize = 15;
const IN_ALL: usize = 600;
/// Fewer crops of a person make no cluster.
const LEAST: usize = 5;

/// Crops on the map: their rows, and whose they are, counted from 0.
struct Chosen {
    places: Vec<usize>,
    people: Vec<usize>,
}

/// Two SVG elements: `before` and `after`.
pub(super) fn maps(split: &Split, before: &Rows, after: &Rows) -> Result<[String; 2]> {
    let chosen = choose(split);
    Ok([chosen.map(before)?, chosen.map(after)?])
}

/// People spread evenly over those with enough crops, so that [`IN_ALL`] crops are not exceeded.
fn choose(split: &Split) -> Chosen {
    let mut crops: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
    for (place, crop) in split.crops.iter().enumerate().filter(|(_, crop)| crop.identity > 0) {
        crops.entry(crop.identity).or_default().push(place);
    }
    let people: Vec<&Vec<usize>> = crops.values().filter(|crops| crops.len() >= LEAST).collect();
    let each = people.len().div_ceil((IN_ALL / OF_ONE).min(people.len()).max(1)).max(1);
    let mut chosen = Chosen { places: Vec::new(), people: Vec::new() };
    for (person, crops) in people.into_iter().step_by(each).enumerate() {
        // Spread over the person's time too.
        for place in crops.iter().step_by(crops.len().div_ceil(OF_ONE)) {
            chosen.places.push(*place);
            chosen.people.push(person);
        }
    }
    chosen
}

impl Chosen {
    fn map(&self, rows: &Rows) -> Result<String> {
        let mut shown = Rows::with_capacity(rows.width(), self.places.len());
        for place in &self.places {
            shown.push(rows.row(*place))?;
        }
        let places = tsne(&shown);
        let bound = |axis: usize| {
            let values = || places.iter().map(move |place| place[axis]);
            (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max))
        };
        let bounds = [bound(0), bound(1)];
        let scaled = |place: &[f64; 2], axis: usize| {
            12.0 + (SIDE - 24.0) * (place[axis] - bounds[axis].0) / (bounds[axis].1 - bounds[axis].0).max(1e-9)
        };
        let mut svg = format!("<svg viewBox=\"0 0 {SIDE} {SIDE}\" role=\"img\">");
        for (place, person) in places.iter().zip(&self.people) {
            let (x, y) = (scaled(place, 0), scaled(place, 1));
            // The golden angle keeps neighbours in the list far apart in colour; shapes tell apart what is left.
            let colour = format!("hsl({:.0} 70% {}%)", (*person as f64 * 137.508) % 360.0, 38 + 14 * (person % 2));
            match person % 3 {
                0 => put(&mut svg, format_args!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"/>")),
                1 => put(
                    &mut svg,
                    format_args!(
                        "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"7\" height=\"7\" fill=\"{colour}\"/>",
                        x - 3.5,
                        y - 3.5
                    ),
                ),
                _ => put(&mut svg, format_args!("<path d=\"M{x:.1} {:.1}l4.5 8h-9z\" fill=\"{colour}\"/>", y - 5.0)),
            }
        }
        svg.push_str("</svg>");
        Ok(svg)
    }
}
