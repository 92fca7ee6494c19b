//! Frame pixels -> the numbers a network takes, and the way back for what it finds.

use serde::Deserialize;

use crate::frame::{Frame, Region, Sampler};

/// Order of the colour planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// Red first.
    Rgb,
    /// Blue first.
    Bgr,
}

/// How a region is brought to the size of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resize {
    /// The same scale along both axes; what is left over is padded.
    Letterbox,
    /// Each axis by its own scale.
    Stretch,
}

/// Where a letterboxed picture lies in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Align {
    /// In the middle.
    #[serde(alias = "center")]
    Centre,
    /// At the top left corner.
    TopLeft,
}

/// The picture a network takes, as its card describes it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Order of the colour planes.
    pub colour: Colour,
    /// Subtracted from each plane, in the order of `colour`, levels of 0 to 255.
    pub mean: [f32; 3],
    /// Each plane is divided by it after that.
    pub std: [f32; 3],
    /// How a region is brought to size.
    pub resize: Resize,
    /// Level of the padding, 0 to 255, the same in all planes; normalised like a pixel.
    #[serde(default = "Input::default_pad")]
    pub pad: f32,
    /// Where a letterboxed picture lies.
    #[serde(default = "Input::default_align")]
    pub align: Align,
}

impl Input {
    fn default_pad() -> f32 {
        114.0
    }

    fn default_align() -> Align {
        Align::Centre
    }

    /// The shape `[1, 3, height, width]`.
    pub fn shape(&self) -> [usize; 4] {
        [1, 3, self.height, self.width]
    }

    /// How `region` comes to lie in the input.
    ///
    /// Letterboxing takes the largest scale `s` at which the region fits, rounds `s * side` to whole
    /// pixels (at least 1), and places that in the middle (rounded down) or at the top left.
    pub fn letterbox(&self, region: Region) -> Letterbox {
        let (width, height) = match self.resize {
            Resize::Stretch => (self.width, self.height),
            Resize::Letterbox => {
                // In f64: in f32 a side of exactly k + 0.5 pixels could round either way.
                let (width, height) = (f64::from(region.width), f64::from(region.height));
                let scale = (self.width as f64 / width).min(self.height as f64 / height);
                let side = |length: f64, most: usize| ((length * scale).round() as usize).clamp(1, most);
                (side(width, self.width), side(height, self.height))
            }
        };
        let (left, top) = match self.align {
            Align::Centre => ((self.width - width) / 2, (self.height - height) / 2),
            Align::TopLeft => (0, 0),
        };
        Letterbox { region, left, top, width, height }
    }

    /// Fills `out`, `[3, height, width]`, with `region` of `frame` in one pass: resampled, planes in
    /// the order of `colour`, `(level - mean) / std`. Says where the region came to lie.
    ///
    /// A buffer of another size than the input's is left as it is.
    pub fn fill(&self, sampler: &mut Sampler, frame: &Frame, region: Region, out: &mut [f32]) -> Letterbox {
        let place = self.letterbox(region);
        let area = self.width * self.height;
        if area == 0 || out.len() != 3 * area {
            return place;
        }
        let normalise = |c: usize, level: f32| (level - self.mean[c]) / self.std[c];
        if place.width * place.height < area {
            for (c, plane) in out.chunks_exact_mut(area).enumerate() {
                plane.fill(normalise(c, self.pad));
            }
        }
        let order: [usize; 3] = match self.colour {
            Colour::Rgb => [0, 1, 2],
            Colour::Bgr => [2, 1, 0],
        };
        sampler.resample(frame, region, (place.width, place.height), |y, row| {
            let start = (place.top + y) * self.width + place.left;
            for (c, plane) in out.chunks_exact_mut(area).enumerate() {
                let (mean, scale, source) = (self.mean[c], 1.0 / self.std[c], order[c]);
                for (value, pixel) in plane[start..start + row.len()].iter_mut().zip(row) {
                    *value = (pixel[source] - mean) * scale;
                }
            }
        });
        place
    }
}

/// Where a region of the frame lies in a network's input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Letterbox {
    /// The region, in pixels of the frame.
    pub region: Region,
    /// Padding left of it, in pixels of the input.
    pub left: usize,
    /// Padding above it.
    pub top: usize,
    /// Its width in the input.
    pub width: usize,
    /// Its height in the input.
    pub height: usize,
}

impl Letterbox {
    /// A point of the frame -> the same point in the input.
    pub fn to_input(&self, x: f32, y: f32) -> (f32, f32) {
        let (sx, sy) = self.scale();
        ((x - self.region.x) * sx + self.left as f32, (y - self.region.y) * sy + self.top as f32)
    }

    /// A point of the input -> the same point in the frame.
    pub fn to_frame(&self, x: f32, y: f32) -> (f32, f32) {
        let (sx, sy) = self.scale();
        ((x - self.left as f32) / sx + self.region.x, (y - self.top as f32) / sy + self.region.y)
    }

    /// Pixels of the input for one of the frame, along each axis. They differ a little even when
    /// letterboxed, because the region is fitted to whole pixels.
    pub fn scale(&self) -> (f32, f32) {
        (self.width as f32 / self.region.width, self.height as f32 / self.region.height)
    }
}

#[cfg(test)]
mod tests;
