#![expect(clippy::float_cmp, reason = "the values compared exactly are exact in f32")]

use proptest::prelude::*;

use super::*;

/// A picture in YUV whose chroma is constant over blocks of 2x2, and its bytes in every format.
struct Picture {
    width: usize,
    height: usize,
    luma: Vec<u8>,
    /// One pair a block, `[ceil(height / 2), ceil(width / 2)]`.
    chroma: Vec<[u8; 2]>,
}

const FORMATS: [PixelFormat; 6] =
    [PixelFormat::Yuyv, PixelFormat::Uyvy, PixelFormat::Nv12, PixelFormat::I420, PixelFormat::Rgb, PixelFormat::Grey];

impl Picture {
    /// Reproducible noise whose colours lie inside the RGB cube, so that no conversion clamps.
    fn noise(width: usize, height: usize, seed: u32) -> Self {
        let mut state = seed;
        let mut next = |low: u8, span: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            low + (state >> 16) as u8 % span as u8
        };
        let luma = (0..width * height).map(|_| next(60, 130)).collect();
        let blocks = width.div_ceil(2) * height.div_ceil(2);
        let chroma = (0..blocks).map(|_| [next(110, 36), next(110, 36)]).collect();
        Self { width, height, luma, chroma }
    }

    fn yuv(&self, x: usize, y: usize) -> [u8; 3] {
        let [u, v] = self.chroma[y / 2 * self.width.div_ceil(2) + x / 2];
        [self.luma[y * self.width + x], u, v]
    }

    /// The textbook conversion with its derivation: `Kr` 0.299, `Kb` 0.114, excursions 219 and 224.
    fn rgb(&self, x: usize, y: usize) -> [f64; 3] {
        let [y, u, v] = self.yuv(x, y).map(f64::from);
        let (y, pb, pr) = ((y - 16.0) / 219.0, (u - 128.0) / 224.0, (v - 128.0) / 224.0);
        let (r, b) = (y + 2.0 * (1.0 - 0.299) * pr, y + 2.0 * (1.0 - 0.114) * pb);
        let g = (y - 0.299 * r - 0.114 * b) / 0.587;
        [r * 255.0, g * 255.0, b * 255.0]
    }

    fn bytes(&self, format: PixelFormat, stride: usize) -> Vec<u8> {
        // The filler shows up in the results if padding is ever read.
        let mut bytes = vec![255; format.picture_bytes(self.height as u32, stride)];
        let plane = stride * self.height;
        let half = stride.div_ceil(2);
        for y in 0..self.height {
            for x in 0..self.width {
                let [luma, u, v] = self.yuv(x, y);
                let (row, block) = (y * stride, y / 2);
                match format {
                    PixelFormat::Yuyv | PixelFormat::Uyvy => {
                        let swap = usize::from(format == PixelFormat::Uyvy);
                        bytes[row + 2 * x + swap] = luma;
                        bytes[row + x / 2 * 4 + 1 - swap] = u;
                        bytes[row + x / 2 * 4 + 3 - swap] = v;
                    }
                    PixelFormat::Nv12 => {
                        bytes[row + x] = luma;
                        bytes[plane + block * half * 2 + x / 2 * 2] = u;
                        bytes[plane + block * half * 2 + x / 2 * 2 + 1] = v;
                    }
                    PixelFormat::I420 => {
                        bytes[row + x] = luma;
                        bytes[plane + block * half + x / 2] = u;
                        bytes[plane + half * self.height.div_ceil(2) + block * half + x / 2] = v;
                    }
                    PixelFormat::Rgb => {
                        for (c, value) in self.rgb(x, y).into_iter().enumerate() {
                            bytes[row + 3 * x + c] = value.round() as u8;
                        }
                    }
                    PixelFormat::Grey => bytes[row + x] = luma,
                }
            }
        }
        bytes
    }

    fn resampled(&self, format: PixelFormat, padding: usize, region: Region, size: (usize, usize)) -> Vec<[f32; 3]> {
        let stride = format.row_bytes(self.width as u32) + padding;
        let bytes = self.bytes(format, stride);
        let frame = Frame::new(&bytes, format, (self.width as u32, self.height as u32), stride).unwrap();
        resample(&frame, region, size)
    }

    fn region(&self) -> Region {
        Region { x: 0.0, y: 0.0, width: self.width as f32, height: self.height as f32 }
    }
}

fn resample(frame: &Frame, region: Region, size: (usize, usize)) -> Vec<[f32; 3]> {
    let mut out = Vec::new();
    Sampler::default().resample(frame, region, size, |y, row| {
        assert_eq!((y * size.0, row.len()), (out.len(), size.0), "rows come in order and whole");
        out.extend_from_slice(row);
    });
    out
}

fn grey(bytes: &[u8], width: u32, region: Region, size: (usize, usize)) -> Vec<f32> {
    let height = bytes.len() as u32 / width;
    let frame = Frame::new(bytes, PixelFormat::Grey, (width, height), width as usize).unwrap();
    resample(&frame, region, size).into_iter().map(|[r, ..]| r).collect()
}

#[test]
fn doubling_matches_values_computed_by_hand() {
    // Output 0..8 of 4 pixels reads -0.25, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.25, clamped to 0..3.
    let whole = Region { x: 0.0, y: 0.0, width: 4.0, height: 1.0 };
    let expected = [0.0, 10.0, 30.0, 40.0, 40.0, 60.0, 100.0, 120.0];
    assert_eq!(grey(&[0, 40, 40, 120], 4, whole, (8, 1)), expected);
}

#[test]
fn halving_averages_pairs_and_a_part_is_cut_exactly() {
    let whole = Region { x: 0.0, y: 0.0, width: 4.0, height: 2.0 };
    assert_eq!(grey(&[0, 40, 40, 120, 10, 50, 50, 130], 4, whole, (2, 1)), [25.0, 85.0]);
    let part = Region { x: 1.0, y: 1.0, width: 2.0, height: 1.0 };
    assert_eq!(grey(&[0, 40, 40, 120, 10, 50, 60, 130], 4, part, (2, 1)), [50.0, 60.0]);
}

#[test]
fn beyond_the_border_the_border_continues() {
    let beside = Region { x: -10.0, y: -10.0, width: 4.0, height: 4.0 };
    assert_eq!(grey(&[7, 9, 11, 13], 2, beside, (2, 2)), [7.0; 4]);
    let beyond = Region { x: 100.0, y: 100.0, width: 4.0, height: 4.0 };
    assert_eq!(grey(&[7, 9, 11, 13], 2, beyond, (2, 2)), [13.0; 4]);
}

#[test]
fn an_empty_output_gives_no_rows_of_pixels() {
    let whole = Region { x: 0.0, y: 0.0, width: 2.0, height: 2.0 };
    assert!(grey(&[7, 9, 11, 13], 2, whole, (0, 3)).is_empty());
    assert!(grey(&[7, 9, 11, 13], 2, whole, (3, 0)).is_empty());
}

#[test]
fn extreme_yuv_is_clamped_to_the_cube() {
    let bytes = [255, 255, 255, 255];
    let frame = Frame::new(&bytes, PixelFormat::Yuyv, (2, 1), 4).unwrap();
    // Y 255 U 255 V 255: R and B overshoot, G = 1.1644 * 239 - (0.3918 + 0.8130) * 127 = 125.28.
    let [r, g, b] = resample(&frame, frame.region(), (1, 1))[0];
    assert_eq!([r, b], [255.0, 255.0]);
    assert!((g - 125.28).abs() < 0.01, "{g}");
}

#[test]
fn a_sampler_used_again_leaks_nothing_from_the_last_frame() {
    let mut sampler = Sampler::default();
    let (bright, dark) = ([200; 16], [20; 16]);
    let mut seen = Vec::new();
    for bytes in [&bright, &dark] {
        let frame = Frame::new(bytes, PixelFormat::Grey, (4, 4), 4).unwrap();
        sampler.resample(&frame, frame.region(), (3, 3), |_, row| seen.extend(row.iter().map(|p| p[0])));
    }
    assert_eq!(seen, [[200.0; 9], [20.0; 9]].concat());
}

fn side() -> impl Strategy<Value = usize> {
    1_usize..14
}

proptest! {
    #[test]
    fn a_constant_picture_stays_constant(
        (w, h, padding) in (side(), side(), 0_usize..9), size in (side(), side()), luma in 16_u8..=235,
        (x, y, rw, rh) in (-20.0_f32..20.0, -20.0_f32..20.0, 0.1_f32..40.0, 0.1_f32..40.0),
    ) {
        let picture = Picture { width: w, height: h, luma: vec![luma; w * h], chroma: vec![[128; 2]; w * h] };
        let expected = 255.0 / 219.0 * (f32::from(luma) - 16.0);
        for format in FORMATS {
            for pixel in picture.resampled(format, padding, Region { x, y, width: rw, height: rh }, size) {
                // RGB bytes are rounded, grey bytes are the luma itself.
                let (expected, tolerance) = match format {
                    PixelFormat::Grey => (f32::from(luma), 1e-3),
                    PixelFormat::Rgb => (expected, 0.501),
                    _ => (expected, 1e-2),
                };
                for value in pixel {
                    prop_assert!((value - expected).abs() <= tolerance, "{format:?} {value} {expected}");
                }
            }
        }
    }

    #[test]
    fn the_same_size_returns_the_pixels((w, h, padding) in (side(), side(), 0_usize..9), seed: u32) {
        let picture = Picture::noise(w, h, seed);
        for format in FORMATS {
            let out = picture.resampled(format, padding, picture.region(), (w, h));
            prop_assert_eq!(out.len(), w * h);
            for (at, pixel) in out.into_iter().enumerate() {
                let (x, y) = (at % w, at / w);
                let (expected, tolerance) = match format {
                    PixelFormat::Grey => ([f64::from(picture.yuv(x, y)[0]); 3], 1e-9),
                    PixelFormat::Rgb => (picture.rgb(x, y).map(f64::round), 1e-9),
                    _ => (picture.rgb(x, y), 1e-3),
                };
                for (value, expected) in pixel.into_iter().zip(expected) {
                    prop_assert!((f64::from(value) - expected).abs() <= tolerance, "{format:?} {value} {expected}");
                }
            }
        }
    }

    #[test]
    fn every_format_shows_the_same_picture(
        (w, h, padding) in (side(), side(), 0_usize..9), size in (side(), side()), seed: u32,
        (x, y, rw, rh) in (-3.0_f32..10.0, -3.0_f32..10.0, 0.5_f32..15.0, 0.5_f32..15.0),
    ) {
        let picture = Picture::noise(w, h, seed);
        let region = Region { x, y, width: rw, height: rh };
        let reference = picture.resampled(PixelFormat::Rgb, padding, region, size);
        for format in [PixelFormat::Yuyv, PixelFormat::Uyvy, PixelFormat::Nv12, PixelFormat::I420] {
            let out = picture.resampled(format, padding, region, size);
            for (a, b) in out.iter().flatten().zip(reference.iter().flatten()) {
                // The reference was rounded to bytes: half a level.
                prop_assert!((a - b).abs() <= 0.51, "{format:?} {a} {b}");
            }
        }
    }

    #[test]
    fn no_region_panics(
        (w, h) in (side(), side()), size in (0_usize..9, 0_usize..9),
        x in proptest::num::f32::ANY, y in proptest::num::f32::ANY,
        width in proptest::num::f32::ANY, height in proptest::num::f32::ANY,
    ) {
        let picture = Picture::noise(w, h, 1);
        for format in FORMATS {
            let out = picture.resampled(format, 0, Region { x, y, width, height }, size);
            prop_assert!(out.iter().flatten().all(|value| (0.0..=255.0).contains(value)));
        }
    }

    #[test]
    fn a_frame_without_the_padding_of_its_last_row_reads_to_its_end(
        (w, h, padding) in (side(), side(), 0_usize..9), seed: u32,
    ) {
        let picture = Picture::noise(w, h, seed);
        for format in FORMATS {
            let stride = format.row_bytes(w as u32) + padding;
            let bytes = picture.bytes(format, stride);
            let size = (w as u32, h as u32);
            let shortest = (0..=bytes.len()).find(|n| Frame::new(&bytes[..*n], format, size, stride).is_ok()).unwrap();
            let whole = Frame::new(&bytes, format, size, stride).unwrap();
            let cut = Frame::new(&bytes[..shortest], format, size, stride).unwrap();
            prop_assert_eq!(resample(&whole, whole.region(), (w, h)), resample(&cut, cut.region(), (w, h)));
        }
    }
}
