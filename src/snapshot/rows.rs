//! The crops of each identity, few enough to fit in memory and spread over the whole time.

use std::time::Duration;

use super::picture::{GLYPH, Picture, Rect, colour, text_width};
use super::{BLACK, Mark};
use crate::frame::{Frame, Region, Sampler};

/// Width and height of a crop on the sheet. A box keeps its proportions in it.
pub(super) const CELL: (usize, usize) = (48, 96);

/// Crops in a row. Even, so that a thinned row goes on at its new stride.
pub(super) const ROW: usize = 10;

/// Identities with a row; later ones have none.
pub(super) const MAX_ROWS: usize = 32;

/// Tracks without an identity whose crops are kept in case they get one.
pub(super) const MAX_WAITING: usize = 16;

/// Most bytes of pixels kept: 6.6 MB.
#[cfg(test)]
pub(super) const MAX_BYTES: usize = (MAX_ROWS + MAX_WAITING) * ROW * CELL.0 * CELL.1 * 3;

/// Space between cells and around the sheet.
const GAP: usize = 4;

/// Width of the column with the identities' numbers: five digits at double size.
const LABEL: usize = 64;

/// Height of a row with its times.
const STEP: usize = CELL.1 + GLYPH.1 + 3 * GAP;

const WHITE: [u8; 3] = [255, 255, 255];

/// All crops.
#[derive(Default)]
pub(super) struct Rows {
    identities: Vec<Row>,
    waiting: Vec<Row>,
    full: bool,
}

struct Row {
    /// Identity, or track of a row that waits for its identity.
    owner: u32,
    crops: Vec<Crop>,
    /// Each `stride`-th sight is kept.
    stride: u64,
    seen: u64,
    last: Duration,
}

struct Crop {
    time: Duration,
    picture: Picture,
}

impl Rows {
    /// Keeps the crop of `mark` if it is its turn.
    pub(super) fn observe(&mut self, frame: &Frame<'_>, mark: &Mark, sampler: &mut Sampler) {
        let Some(region) = inside(frame, mark) else { return };
        let row = match mark.identity {
            Some(identity) => self.row_of(identity, mark.track),
            None => Some(self.waiting_row_of(mark.track)),
        };
        let Some(row) = row else { return };
        row.last = frame.time();
        if row.is_turn() {
            row.crops.push(Crop { time: frame.time(), picture: cut(frame, region, sampler) });
        }
        row.seen += 1;
    }

    /// The contact sheet, identities in the order of their numbers; none without an identity.
    pub(super) fn draw(&mut self) -> Option<Picture> {
        self.identities.sort_by_key(|row| row.owner);
        let columns = self.identities.iter().map(|row| row.crops.len()).max()?;
        let width = GAP + LABEL + columns * (CELL.0 + GAP);
        let mut sheet = Picture::new(width, GAP + self.identities.len() * STEP, BLACK);
        for (place, row) in self.identities.iter().enumerate() {
            row.draw(&mut sheet, GAP + place * STEP);
        }
        Some(sheet)
    }

    /// The row of `identity`, with what waited for it under `track`.
    fn row_of(&mut self, identity: u32, track: u32) -> Option<&mut Row> {
        let at = match self.identities.iter().position(|row| row.owner == identity) {
            Some(at) => at,
            None if self.identities.len() < MAX_ROWS => {
                self.identities.push(Row::new(identity));
                self.identities.len() - 1
            }
            None => {
                if !self.full {
                    tracing::warn!("more than {MAX_ROWS} identities: the later ones are not on the sheet");
                }
                self.full = true;
                return None;
            }
        };
        let waited = self.waiting.iter().position(|row| row.owner == track);
        let row = &mut self.identities[at];
        if let Some(waited) = waited {
            row.join(self.waiting.swap_remove(waited));
        }
        Some(row)
    }

    /// The row of a track without identity. The one not seen for longest makes place for a new one.
    fn waiting_row_of(&mut self, track: u32) -> &mut Row {
        let known = self.waiting.iter().position(|row| row.owner == track);
        let at = known.unwrap_or_else(|| {
            if self.waiting.len() == MAX_WAITING {
                let oldest = self.waiting.iter().enumerate().min_by_key(|(_, row)| row.last).map_or(0, |(at, _)| at);
                self.waiting.swap_remove(oldest);
            }
            self.waiting.push(Row::new(track));
            self.waiting.len() - 1
        });
        &mut self.waiting[at]
    }

    /// Bytes of pixels kept now.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.identities.iter().chain(&self.waiting).map(|row| row.crops.len() * CELL.0 * CELL.1 * 3).sum()
    }

    /// Times of the crops of an identity, in milliseconds.
    #[cfg(test)]
    pub(super) fn times(&self, identity: u32) -> Vec<u128> {
        let row = self.identities.iter().find(|row| row.owner == identity);
        row.map(|row| row.crops.iter().map(|crop| crop.time.as_millis()).collect()).unwrap_or_default()
    }
}

impl Row {
    fn new(owner: u32) -> Self {
        Self { owner, crops: Vec::new(), stride: 1, seen: 0, last: Duration::ZERO }
    }

    /// Whether this sight is kept; makes place for it.
    fn is_turn(&mut self) -> bool {
        if !self.seen.is_multiple_of(self.stride) {
            return false;
        }
        if self.crops.len() >= ROW {
            self.thin();
        }
        self.seen.is_multiple_of(self.stride)
    }

    /// Drops every second crop and keeps half as many from now on: the row still spans the whole time.
    fn thin(&mut self) {
        let mut place = 0;
        self.crops.retain(|_| {
            place += 1;
            place % 2 == 1
        });
        self.stride *= 2;
    }

    /// Takes over the crops of `other`, in the order of time.
    fn join(&mut self, other: Self) {
        self.crops.extend(other.crops);
        self.crops.sort_by_key(|crop| crop.time);
        self.stride = self.stride.max(other.stride);
        self.seen += other.seen;
        while self.crops.len() > ROW {
            self.thin();
        }
    }

    fn draw(&self, sheet: &mut Picture, top: usize) {
        let number = self.owner.to_string();
        // Numbers of more than five digits are written small.
        let scale = if text_width(&number) * 2 <= LABEL - GAP { 2 } else { 1 };
        let swatch = Rect { x: GAP as i64, y: (top + CELL.1 - 12) as i64, width: (LABEL - 2 * GAP) as i64, height: 12 };
        sheet.text(GAP as i64, top as i64, &number, scale, WHITE);
        sheet.fill(swatch, colour(self.owner));
        for (place, crop) in self.crops.iter().enumerate() {
            let left = GAP + LABEL + place * (CELL.0 + GAP);
            sheet.put(left, top, &crop.picture);
            let label = time_label(crop.time);
            let indent = CELL.0.saturating_sub(text_width(&label)) / 2;
            sheet.text((left + indent) as i64, (top + CELL.1 + GAP) as i64, &label, 1, WHITE);
        }
    }
}

/// Minutes, seconds and tenths; without the tenths from 100 minutes on, so that it fits under a crop.
fn time_label(time: Duration) -> String {
    let tenths = time.as_millis() / 100;
    let (minutes, seconds) = (tenths / 600, tenths / 10 % 60);
    if minutes < 100 { format!("{minutes}:{seconds:02}.{}", tenths % 10) } else { format!("{minutes}:{seconds:02}") }
}

/// What of the box lies inside the frame; none if that is less than a pixel.
fn inside(frame: &Frame<'_>, mark: &Mark) -> Option<Region> {
    let bbox = &mark.bbox;
    let right = (bbox.x + bbox.width).min(frame.width() as f32);
    let bottom = (bbox.y + bbox.height).min(frame.height() as f32);
    let (x, y) = (bbox.x.max(0.0), bbox.y.max(0.0));
    let region = Region { x, y, width: right - x, height: bottom - y };
    // `max` and `min` put the frame's border in the place of what is no number: ask the box itself.
    let numbers = [bbox.x, bbox.y, bbox.width, bbox.height].iter().all(|value| value.is_finite());
    (numbers && region.width >= 1.0 && region.height >= 1.0).then_some(region)
}

/// The region in the middle of a black cell, as large as its proportions allow.
fn cut(frame: &Frame<'_>, region: Region, sampler: &mut Sampler) -> Picture {
    let scale = (CELL.0 as f32 / region.width).min(CELL.1 as f32 / region.height);
    let side = |length: f32, limit: usize| ((length * scale).round() as usize).clamp(1, limit);
    let (width, height) = (side(region.width, CELL.0), side(region.height, CELL.1));
    let target = Rect {
        x: ((CELL.0 - width) / 2) as i64,
        y: ((CELL.1 - height) / 2) as i64,
        width: width as i64,
        height: height as i64,
    };
    let mut cell = Picture::new(CELL.0, CELL.1, BLACK);
    cell.paste(frame, region, target, sampler);
    cell
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::BBox;
    use crate::frame::PixelFormat;

    struct Scene {
        rows: Rows,
        sampler: Sampler,
    }

    impl Scene {
        fn new() -> Self {
            Self { rows: Rows::default(), sampler: Sampler::default() }
        }

        /// A grey frame at `ms` with one person.
        fn see(&mut self, ms: u64, track: u32, identity: Option<u32>) {
            let pixels = [100; 64 * 64];
            let frame = Frame::new(&pixels, PixelFormat::Grey, (64, 64), 64).unwrap().at(ms, Duration::from_millis(ms));
            let bbox = BBox { x: 8.0, y: 8.0, width: 12.0, height: 24.0 };
            self.rows.observe(&frame, &Mark { bbox, track, identity }, &mut self.sampler);
        }
    }

    #[test]
    fn a_row_spans_the_whole_time_however_long() {
        for count in [1, 9, 10, 11, 20, 21, 500, 1279, 1280, 5000] {
            let mut scene = Scene::new();
            (0..count).for_each(|ms| scene.see(ms, 1, Some(1)));
            let times = scene.rows.times(1);
            assert!(times.len() <= ROW);
            assert!(times.len() >= (count as usize).min(ROW / 2));
            assert_eq!(times[0], 0);
            let step = times.get(1).map_or(1, |second| second - times[0]);
            assert!(times.windows(2).all(|pair| pair[1] - pair[0] == step), "{count}: {times:?}");
            assert!(times[times.len() - 1] + step >= u128::from(count), "{count}: {times:?}");
        }
    }

    #[test]
    fn crops_seen_before_the_identity_was_known_join_its_row() {
        let mut scene = Scene::new();
        (0..4).for_each(|ms| scene.see(ms, 7, None));
        scene.see(4, 7, Some(2));
        assert_eq!(scene.rows.times(2), [0, 1, 2, 3, 4]);
        assert!(scene.rows.waiting.is_empty());
        // The same person on another track, with a long wait.
        (100..140).for_each(|ms| scene.see(ms, 9, None));
        scene.see(140, 9, Some(2));
        let times = scene.rows.times(2);
        assert!(times.len() <= ROW && times.is_sorted());
        assert!(times[0] < 5 && *times.last().unwrap() >= 130, "{times:?}");
    }

    #[test]
    fn memory_is_bounded_whoever_comes() {
        let mut scene = Scene::new();
        for n in 0..20_000_u64 {
            let who = n as u32 % 200;
            scene.see(n, who, who.is_multiple_of(3).then_some(who));
        }
        assert!(scene.rows.bytes() <= MAX_BYTES);
        assert_eq!(scene.rows.identities.len(), MAX_ROWS);
        assert_eq!(scene.rows.waiting.len(), MAX_WAITING);
        assert!(scene.rows.full);
    }

    #[test]
    fn boxes_outside_the_frame_are_left_out_and_others_clipped() {
        let pixels = [100; 64 * 64];
        let frame = Frame::new(&pixels, PixelFormat::Grey, (64, 64), 64).unwrap();
        let region = |x: f32, width: f32| {
            inside(&frame, &Mark { bbox: BBox { x, y: 0.0, width, height: 10.0 }, track: 1, identity: None })
        };
        assert_eq!(region(-10.0, 30.0), Some(Region { x: 0.0, y: 0.0, width: 20.0, height: 10.0 }));
        assert_eq!(region(60.0, 30.0), Some(Region { x: 60.0, y: 0.0, width: 4.0, height: 10.0 }));
        for (x, width) in [(64.0, 5.0), (-9.0, 9.0), (f32::NAN, 5.0), (1.0, f32::INFINITY), (1.0, -4.0), (1.0, 0.2)] {
            assert_eq!(region(x, width), None, "{x} {width}");
        }
    }

    #[test]
    fn times_fit_under_a_crop() {
        let label = |seconds: f64| time_label(Duration::from_secs_f64(seconds));
        assert_eq!(label(0.0), "0:00.0");
        assert_eq!(label(75.46), "1:15.4");
        assert_eq!(label(5999.9), "99:59.9");
        assert_eq!(label(6000.0), "100:00");
        assert!(text_width(&label(5_999_999.0)) <= CELL.0);
    }
}
