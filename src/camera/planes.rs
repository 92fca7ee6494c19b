//! Pictures whose planes lie in memory of their own, as only the multi-planar API has them: put together into one.

use super::mode::FourCc;

/// Most planes that the API allows (`VIDEO_MAX_PLANES`).
pub(super) const MOST_PLANES: usize = 8;

/// What the driver wrote into one plane of a buffer. Both count from the start of the plane's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fill {
    /// First byte of the picture; a header of the driver's may stand in front of it.
    pub(super) start: usize,
    /// One past the last byte.
    pub(super) end: usize,
}

impl Fill {
    /// The picture's part of a plane; `None` where the driver's figures do not fit the memory.
    pub(super) fn of(self, plane: &[u8]) -> Option<&[u8]> {
        plane.get(self.start..self.end)
    }
}

/// How the planes of one picture follow each other in one piece of memory.
///
/// The luma rows keep the driver's stride; chroma rows get the one that [`Frame`](crate::frame::Frame) expects after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    /// Empty where the picture is in one piece as it is.
    parts: Vec<Part>,
}

/// One plane of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    rows: usize,
    /// Bytes of a row without padding.
    row: usize,
    /// Bytes from row to row in the driver's memory.
    from: usize,
    /// Bytes from row to row in the joined picture.
    to: usize,
}

impl Layout {
    /// The layout of a mode whose planes have rows of `strides` bytes (0: the driver leaves it open).
    ///
    /// `None` if the number of planes is not that of the format, a row does not fit its stride, or memory could not hold it.
    pub(super) fn of(fourcc: FourCc, (width, height): (u32, u32), strides: &[usize]) -> Option<Self> {
        let (width, height) = (width as usize, height as usize);
        let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
        // Rows, and bytes of a row, of each plane.
        let planes: &[(usize, usize)] = match &fourcc.0 {
            b"NM12" => &[(height, width), (half_height, half_width.saturating_mul(2))],
            b"YM12" => &[(height, width), (half_height, half_width), (half_height, half_width)],
            _ => return (strides.len() == 1).then(Self::default),
        };
        if strides.len() != planes.len() {
            return None;
        }
        let part = |(&(rows, row), &stride): (&(usize, usize), &usize)| {
            let from = if stride == 0 { row } else { stride };
            (from >= row).then_some(Part { rows, row, from, to: from })
        };
        let mut parts = planes.iter().zip(strides).map(part).collect::<Option<Vec<_>>>()?;
        let half = parts[0].to.div_ceil(2);
        for chroma in &mut parts[1..] {
            chroma.to = if planes.len() == 2 { half.saturating_mul(2) } else { half };
        }
        let bytes = |part: &Part| part.rows.checked_mul(part.from.max(part.to));
        parts.iter().try_fold(0, |sum: usize, part| sum.checked_add(bytes(part)?))?;
        Some(Self { parts })
    }

    /// Whether pictures have to be put together.
    pub(super) fn joins(&self) -> bool {
        !self.parts.is_empty()
    }

    /// Bytes of a picture that was put together.
    pub(super) fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.rows * part.to).sum()
    }

    /// Puts a picture together in `out`, which has [`Layout::bytes`] of room; `None` if a plane is missing or too short.
    pub(super) fn join<'a>(&self, mut planes: impl Iterator<Item = &'a [u8]>, out: &mut [u8]) -> Option<()> {
        let mut at = 0;
        for part in &self.parts {
            let plane = planes.next()?;
            for row in 0..part.rows {
                let source = plane.get(row * part.from..)?.get(..part.row)?;
                out.get_mut(at + row * part.to..)?.get_mut(..part.row)?.copy_from_slice(source);
            }
            at += part.rows * part.to;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::frame::{Frame, PixelFormat};

    const TWO: FourCc = FourCc(*b"NM12");
    const THREE: FourCc = FourCc(*b"YM12");

    #[test]
    fn formats_of_one_plane_stay_as_they_are() {
        let layout = Layout::of(FourCc(*b"NV12"), (640, 480), &[640]).unwrap();
        assert!(!layout.joins() && layout.bytes() == 0);
        assert_eq!(Layout::of(FourCc(*b"YUYV"), (640, 480), &[1280, 640]), None);
    }

    #[test]
    fn planes_that_do_not_fit_their_format_are_refused() {
        assert_eq!(Layout::of(TWO, (640, 480), &[640]), None);
        assert_eq!(Layout::of(THREE, (640, 480), &[640, 320]), None);
        assert_eq!(Layout::of(TWO, (640, 480), &[640, 320]), None);
        assert_eq!(Layout::of(TWO, (640, 480), &[639, 640]), None);
        assert!(Layout::of(TWO, (640, 480), &[640, 640]).unwrap().joins());
        // More than memory holds, where a `usize` has 32 bits as where it has 64.
        let long = usize::MAX / 400;
        assert_eq!(Layout::of(TWO, (640, 480), &[long, 640]), None);
        assert_eq!(Layout::of(TWO, (u32::MAX, u32::MAX), &[usize::MAX, usize::MAX]), None);
    }

    #[test]
    fn two_planes_become_nv12() {
        let layout = Layout::of(TWO, (4, 2), &[6, 8]).unwrap();
        let luma = [1, 2, 3, 4, 0, 0, 5, 6, 7, 8];
        let chroma = [11, 12, 13, 14];
        let mut out = vec![255; layout.bytes()];
        layout.join([&luma[..], &chroma[..]].into_iter(), &mut out).unwrap();
        assert_eq!(out, [1, 2, 3, 4, 255, 255, 5, 6, 7, 8, 255, 255, 11, 12, 13, 14, 255, 255]);
    }

    #[test]
    fn what_a_driver_says_of_a_plane_is_checked() {
        let plane = [7; 10];
        assert_eq!(Fill { start: 2, end: 10 }.of(&plane).unwrap().len(), 8);
        assert_eq!(Fill { start: 2, end: 11 }.of(&plane), None);
        assert_eq!(Fill { start: 11, end: 3 }.of(&plane), None);
    }

    proptest! {
        /// Whatever the sizes and paddings, the joined picture is one that a frame takes, and each sample is where it belongs.
        #[test]
        fn joined_pictures_are_whole(
            width in 1_u32..40, height in 1_u32..20, pads in vec(0_usize..9, 3), three: bool, seed: u8,
        ) {
            let (fourcc, format) = if three { (THREE, PixelFormat::I420) } else { (TWO, PixelFormat::Nv12) };
            let (rows, half) = (height as usize, (width as usize).div_ceil(2));
            let widths = if three { vec![width as usize, half, half] } else { vec![width as usize, 2 * half] };
            let strides: Vec<usize> = widths.iter().zip(&pads).map(|(row, pad)| row + pad).collect();
            // A chroma row of the picture that a frame takes has room for the pairs only if the luma row has.
            prop_assume!(strides[0].div_ceil(2) >= half);
            let layout = Layout::of(fourcc, (width, height), &strides).unwrap();
            let value = |plane: usize, row: usize, column: usize| {
                (plane * 89 + row * 31 + column * 7) as u8 ^ seed
            };
            let planes: Vec<Vec<u8>> = strides.iter().enumerate().map(|(plane, &stride)| {
                let rows = if plane == 0 { rows } else { rows.div_ceil(2) };
                (0..rows * stride).map(|at| value(plane, at / stride, at % stride)).collect()
            }).collect();
            let mut out = vec![0; layout.bytes()];
            prop_assert!(layout.join(planes.iter().map(Vec::as_slice), &mut out).is_some());
            prop_assert!(Frame::new(&out, format, (width, height), strides[0]).is_ok());
            prop_assert_eq!(out.len(), format.picture_bytes(height, strides[0]));
            let chroma = strides[0] * rows;
            let to = strides[0].div_ceil(2) * if three { 1 } else { 2 };
            for row in 0..rows {
                for column in 0..width as usize {
                    prop_assert_eq!(out[row * strides[0] + column], value(0, row, column));
                }
            }
            for row in 0..rows.div_ceil(2) {
                for column in 0..widths[1] {
                    prop_assert_eq!(out[chroma + row * to + column], value(1, row, column));
                }
            }
            // A plane that lacks its last sample is noticed, and so is one that is not there.
            let cut = planes[0].len() - (strides[0] - width as usize) - 1;
            let cut = [&planes[0][..cut]].into_iter().chain(planes[1..].iter().map(Vec::as_slice));
            prop_assert!(layout.join(cut, &mut out).is_none());
            prop_assert!(layout.join(planes[..1].iter().map(Vec::as_slice), &mut out).is_none());
        }
    }
}
