//! Which mode of a camera to take: pure decisions, apart from the device.

use std::fmt::Write as _;

use crate::error::{Error, Result};
use crate::frame::PixelFormat;
use crate::size::MAX_FRAME_SIDE;

use super::settings::{CameraSettings, FormatChoice};

/// The supported formats in words, for messages.
pub(super) const SUPPORTED: &str = "YUYV, UYVY, NV12, NM12, YU12, YM12, MJPG, JPEG, RGB3, GREY";

/// A pixel format's four characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FourCc(pub [u8; 4]);

impl FourCc {
    /// How frames in this format reach the pipeline; `None` where this program cannot read it.
    pub(super) fn encoding(self) -> Option<Encoding> {
        Some(match &self.0 {
            b"YUYV" => Encoding::Raw(PixelFormat::Yuyv),
            b"UYVY" => Encoding::Raw(PixelFormat::Uyvy),
            b"NV12" | b"NM12" => Encoding::Raw(PixelFormat::Nv12),
            b"YU12" | b"YM12" => Encoding::Raw(PixelFormat::I420),
            b"RGB3" => Encoding::Raw(PixelFormat::Rgb),
            b"GREY" => Encoding::Raw(PixelFormat::Grey),
            b"MJPG" | b"JPEG" => Encoding::Jpeg,
            _ => return None,
        })
    }
}

impl std::fmt::Display for FourCc {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for byte in self.0 {
            // Some formats end in spaces; a hostile one may hold anything.
            formatter.write_char(if byte.is_ascii_graphic() || byte == b' ' { byte.into() } else { '?' })?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for FourCc {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{self}")
    }
}

/// What lies in a camera's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Pixels that are lent as they are.
    Raw(PixelFormat),
    /// A JPEG picture, decoded to RGB.
    Jpeg,
}

/// A frame size that a camera offers in some format.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OfferedSize {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Fastest rate at this size in frames per second, where the camera says it.
    pub fps: Option<f32>,
}

/// Sizes of one format.
#[derive(Clone, Debug, PartialEq)]
pub enum Sizes {
    /// The camera does not say.
    Unknown,
    /// These and no others.
    Listed(Vec<OfferedSize>),
    /// Any from the smallest to the largest.
    Range {
        /// Smallest width and height.
        least: (u32, u32),
        /// Largest width and height.
        most: (u32, u32),
    },
}

/// One pixel format that a camera offers.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// Its four characters.
    pub fourcc: FourCc,
    /// The driver's words for it.
    pub description: String,
    /// Its sizes.
    pub sizes: Sizes,
}

/// What to ask the device for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) fourcc: FourCc,
    pub(super) width: u32,
    pub(super) height: u32,
}

/// What the device answered: the mode it has taken, which may be another than asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) fourcc: FourCc,
    pub(super) width: u32,
    pub(super) height: u32,
    /// Bytes of a row of the first plane; 0 where the driver leaves it open.
    pub(super) stride: usize,
}

/// The mode of a running camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mode {
    pub(super) fourcc: FourCc,
    pub(super) encoding: Encoding,
    pub(super) width: u32,
    pub(super) height: u32,
    /// Bytes of a row of the first plane; of no meaning for JPEG.
    pub(super) stride: usize,
}

/// Formats in the order of preference. Raw ones first: decoding JPEG costs a small board milliseconds a frame.
/// `NM12` and `YM12` are `NV12` and `YU12` in planes apart, which have to be put together.
const PREFERENCE: [&[u8; 4]; 10] =
    [b"YUYV", b"NV12", b"UYVY", b"YU12", b"NM12", b"YM12", b"RGB3", b"MJPG", b"JPEG", b"GREY"];

/// Position in [`PREFERENCE`], or `None` where the setting excludes the format.
fn preference(fourcc: FourCc, choice: FormatChoice) -> Option<usize> {
    let wanted: &[&[u8; 4]] = match choice {
        FormatChoice::Auto => &PREFERENCE,
        FormatChoice::Yuyv => &[b"YUYV"],
        FormatChoice::Uyvy => &[b"UYVY"],
        FormatChoice::Nv12 => &[b"NV12", b"NM12"],
        FormatChoice::I420 => &[b"YU12", b"YM12"],
        FormatChoice::Nm12 => &[b"NM12"],
        FormatChoice::Ym12 => &[b"YM12"],
        FormatChoice::Mjpeg => &[b"MJPG", b"JPEG"],
        FormatChoice::Rgb => &[b"RGB3"],
        FormatChoice::Grey => &[b"GREY"],
    };
    wanted.iter().position(|&name| *name == fourcc.0)
}

/// Modes to try, best first: those that reach the size and rate asked for in order of preference, then the nearest sizes.
pub(super) fn candidates(offers: &[Offer], settings: &CameraSettings) -> Vec<Candidate> {
    let mut ranked: Vec<(_, Candidate)> = offers
        .iter()
        .filter_map(|offer| {
            let order = preference(offer.fourcc, settings.format)?;
            let (width, height, fast_enough) = nearest(&offer.sizes, settings);
            let asked = u64::from(settings.width) * u64::from(settings.height);
            let distance = (u64::from(width) * u64::from(height)).abs_diff(asked);
            let misses = !fast_enough || (width, height) != (settings.width, settings.height);
            // Colour beats the exact size: grey only where nothing else is offered.
            let grey = &offer.fourcc.0 == b"GREY";
            Some(((grey, misses, distance, order), Candidate { fourcc: offer.fourcc, width, height }))
        })
        .collect();
    ranked.sort_by_key(|&(rank, _)| rank);
    ranked.into_iter().map(|(_, candidate)| candidate).collect()
}

/// The size of `sizes` to ask for, and whether it is fast enough as far as the camera says.
///
/// The size asked for if it is offered, else the smallest that covers it, else the largest.
fn nearest(sizes: &Sizes, settings: &CameraSettings) -> (u32, u32, bool) {
    let (width, height) = (settings.width, settings.height);
    match sizes {
        Sizes::Unknown => (width, height, true),
        Sizes::Range { least, most } => {
            // A range that is upside down is a broken driver's; it is asked for the size as it stands.
            let within =
                |value: u32, least: u32, most: u32| if least <= most { value.clamp(least, most) } else { value };
            (within(width, least.0, most.0), within(height, least.1, most.1), true)
        }
        Sizes::Listed(list) => {
            let area = |size: &&OfferedSize| u64::from(size.width) * u64::from(size.height);
            let usable = || list.iter().filter(|size| size.width.max(size.height) <= MAX_FRAME_SIDE);
            let covering = usable().filter(|size| size.width >= width && size.height >= height).min_by_key(area);
            let Some(size) = covering.or_else(|| usable().max_by_key(area)) else { return (width, height, true) };
            let fast_enough = size.fps.is_none_or(|fps| fps + 0.5 >= settings.fps as f32);
            (size.width, size.height, fast_enough)
        }
    }
}

/// Tries the candidates in turn until the device takes one as asked.
///
/// A driver may answer "done" and have set another format (asked for MJPG, given YUYV): only what it
/// returned counts. Another size is taken as it is, another format moves on to the next candidate.
///
/// `set` asks the device; it gives `None` where the device refuses the mode.
///
/// # Errors
/// [`Error::UnsupportedFormat`] if no candidate is taken, and what `set` fails with.
pub(super) fn negotiate(
    place: &str,
    offers: &[Offer],
    settings: &CameraSettings,
    mut set: impl FnMut(Candidate) -> Result<Option<Granted>>,
) -> Result<Mode> {
    for candidate in candidates(offers, settings) {
        let Some(granted) = set(candidate)? else { continue };
        match accept(candidate, granted) {
            Ok(mode) => return Ok(mode),
            Err(reason) => tracing::debug!(place, asked = %candidate.fourcc, reason, "mode not taken"),
        }
    }
    Err(Error::UnsupportedFormat {
        place: place.into(),
        offered: offered(offers, settings.format),
        supported: SUPPORTED,
    })
}

/// The mode that the device has taken, or why it is of no use.
fn accept(asked: Candidate, granted: Granted) -> Result<Mode, &'static str> {
    if granted.fourcc != asked.fourcc {
        return Err("the driver set another format than asked");
    }
    let encoding = granted.fourcc.encoding().ok_or("not a format of this program")?;
    let sides = 1..=MAX_FRAME_SIDE;
    if !sides.contains(&granted.width) || !sides.contains(&granted.height) {
        return Err("the driver set a size beyond the largest frame");
    }
    let stride = match encoding {
        Encoding::Raw(format) if granted.stride == 0 => format.row_bytes(granted.width),
        Encoding::Raw(format) if granted.stride < format.row_bytes(granted.width) => {
            return Err("the driver set a stride shorter than a row");
        }
        _ => granted.stride,
    };
    let Granted { fourcc, width, height, .. } = granted;
    Ok(Mode { fourcc, encoding, width, height, stride })
}

/// What a camera offers, in words.
fn offered(offers: &[Offer], choice: FormatChoice) -> String {
    let mut words = offers.iter().map(|offer| offer.fourcc.to_string()).collect::<Vec<_>>().join(", ");
    if words.is_empty() {
        words = "nothing".into();
    }
    if choice != FormatChoice::Auto {
        let _ = write!(words, " (camera.format asks for {choice:?} only; `auto` takes any)");
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(fourcc: [u8; 4], sizes: &[(u32, u32, f32)]) -> Offer {
        let sizes = sizes.iter().map(|&(width, height, fps)| OfferedSize { width, height, fps: Some(fps) }).collect();
        Offer { fourcc: FourCc(fourcc), description: String::new(), sizes: Sizes::Listed(sizes) }
    }

    fn wanted(width: u32, height: u32, fps: u32) -> CameraSettings {
        CameraSettings { width, height, fps, ..CameraSettings::default() }
    }

    fn first(offers: &[Offer], settings: &CameraSettings) -> (String, u32, u32) {
        let best = candidates(offers, settings)[0];
        (best.fourcc.to_string(), best.width, best.height)
    }

    /// As a USB camera offers them: raw only at small sizes or low rates.
    fn usb_camera() -> Vec<Offer> {
        vec![
            offer(*b"MJPG", &[(1920, 1080, 30.0), (1280, 720, 30.0), (640, 480, 30.0)]),
            offer(*b"YUYV", &[(640, 480, 30.0), (1280, 720, 10.0)]),
        ]
    }

    #[test]
    fn raw_comes_first_where_it_reaches_size_and_rate() {
        assert_eq!(first(&usb_camera(), &wanted(640, 480, 30)), ("YUYV".into(), 640, 480));
        assert_eq!(first(&usb_camera(), &wanted(1280, 720, 5)), ("YUYV".into(), 1280, 720));
    }

    #[test]
    fn mjpeg_comes_first_where_raw_is_too_small_or_too_slow() {
        assert_eq!(first(&usb_camera(), &wanted(1920, 1080, 0)), ("MJPG".into(), 1920, 1080));
        assert_eq!(first(&usb_camera(), &wanted(1280, 720, 30)), ("MJPG".into(), 1280, 720));
    }

    #[test]
    fn a_size_that_is_not_offered_becomes_the_nearest() {
        assert_eq!(first(&usb_camera(), &wanted(800, 600, 0)), ("YUYV".into(), 1280, 720));
        assert_eq!(first(&usb_camera(), &wanted(4000, 3000, 0)), ("MJPG".into(), 1920, 1080));
        let range = Offer { sizes: Sizes::Range { least: (32, 32), most: (320, 240) }, ..offer(*b"NV12", &[]) };
        assert_eq!(first(&[range], &wanted(640, 100, 0)), ("NV12".into(), 320, 100));
        let upside_down = Offer { sizes: Sizes::Range { least: (9, 9), most: (1, 1) }, ..offer(*b"NV12", &[]) };
        assert_eq!(first(&[upside_down], &wanted(640, 480, 0)), ("NV12".into(), 640, 480));
    }

    #[test]
    fn grey_is_the_last_resort_and_unknown_formats_are_never_asked_for() {
        let offers = [offer(*b"GREY", &[(640, 480, 30.0)]), offer(*b"YUYV", &[(320, 240, 30.0)]), offer(*b"H264", &[])];
        let order: Vec<String> =
            candidates(&offers, &wanted(640, 480, 0)).iter().map(|one| one.fourcc.to_string()).collect();
        assert_eq!(order, ["GREY", "YUYV"].map(String::from).into_iter().rev().collect::<Vec<_>>());
    }

    #[test]
    fn a_named_format_excludes_all_others() {
        let settings = CameraSettings { format: FormatChoice::Mjpeg, ..wanted(640, 480, 0) };
        let all = candidates(&usb_camera(), &settings);
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].fourcc, FourCc(*b"MJPG"));
    }

    #[test]
    fn a_driver_that_says_done_and_sets_another_format_is_not_believed() {
        let offers = usb_camera();
        let mut asked = Vec::new();
        let mode = negotiate("/dev/video0", &offers, &wanted(1920, 1080, 0), |candidate| {
            asked.push(candidate.fourcc.to_string());
            Ok(Some(Granted { fourcc: FourCc(*b"YUYV"), width: 640, height: 480, stride: 1280 }))
        });
        let mode = mode.unwrap();
        assert_eq!(asked, ["MJPG", "YUYV"]);
        assert_eq!((mode.encoding, mode.width), (Encoding::Raw(PixelFormat::Yuyv), 640));

        let only_mjpeg = CameraSettings { format: FormatChoice::Mjpeg, ..wanted(1920, 1080, 0) };
        let refused = negotiate("/dev/video0", &offers, &only_mjpeg, |_| {
            Ok(Some(Granted { fourcc: FourCc(*b"YUYV"), width: 640, height: 480, stride: 1280 }))
        });
        let message = refused.unwrap_err().to_string();
        assert!(message.contains("MJPG, YUYV") && message.contains("auto"), "{message}");
    }

    #[test]
    fn what_no_camera_of_ours_offers_is_named() {
        let offers = [offer(*b"H264", &[]), offer(*b"pRAA", &[])];
        let refused = negotiate("/dev/video0", &offers, &wanted(640, 480, 0), |_| panic!("nothing to ask for"));
        assert!(refused.unwrap_err().to_string().contains("it offers H264, pRAA, supported are YUYV"));
        let refused = negotiate("/dev/video0", &[], &wanted(640, 480, 0), |_| panic!("nothing to ask for"));
        assert!(refused.unwrap_err().to_string().contains("it offers nothing"));
    }

    #[test]
    fn refusals_move_on_and_other_failures_end_the_search() {
        let offers = usb_camera();
        let mut calls = 0;
        let busy = negotiate("/dev/video0", &offers, &wanted(640, 480, 30), |_| {
            calls += 1;
            if calls == 1 { Ok(None) } else { Err(Error::BadEmbedding { found: "stands for any error" }) }
        });
        assert!(matches!(busy, Err(Error::BadEmbedding { .. })));
        assert_eq!(calls, 2);
    }

    #[test]
    fn strides_and_sizes_of_the_driver_are_checked() {
        let asked = Candidate { fourcc: FourCc(*b"YUYV"), width: 640, height: 480 };
        let granted = Granted { fourcc: asked.fourcc, width: 640, height: 480, stride: 0 };
        assert_eq!(accept(asked, granted).unwrap().stride, 1280);
        assert_eq!(accept(asked, Granted { stride: 1344, ..granted }).unwrap().stride, 1344);
        accept(asked, Granted { stride: 640, ..granted }).unwrap_err();
        accept(asked, Granted { width: 0, ..granted }).unwrap_err();
        accept(asked, Granted { height: 100_000, ..granted }).unwrap_err();
    }
}
