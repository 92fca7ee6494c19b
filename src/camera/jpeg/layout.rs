//! Where the parts of a JPEG are, and whether all of them are there.

use crate::size::MAX_FRAME_SIDE;

/// Markers of ITU T.81 table B.1 that matter here.
mod marker {
    pub(super) const SOF_BASELINE: u8 = 0xc0;
    pub(super) const SOF_EXTENDED: u8 = 0xc1;
    pub(super) const SOF_PROGRESSIVE: u8 = 0xc2;
    pub(super) const HUFFMAN: u8 = 0xc4;
    pub(super) const RESTART_FIRST: u8 = 0xd0;
    pub(super) const RESTART_LAST: u8 = 0xd7;
    pub(super) const START: u8 = 0xd8;
    pub(super) const END: u8 = 0xd9;
    pub(super) const SCAN: u8 = 0xda;
    pub(super) const RESTART_INTERVAL: u8 = 0xdd;
}

/// Positions in a picture whose markers are all in place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// The marker of the first scan.
    pub(super) scan_header: usize,
    /// The first entropy-coded byte.
    pub(super) entropy: usize,
    /// The marker of the end.
    pub(super) end: usize,
    /// Whether the picture brings Huffman tables before its first scan.
    pub(super) has_huffman: bool,
    /// One scan, not progressive: everything between `entropy` and `end` is one run of data and restart markers.
    pub(super) one_sequential_scan: bool,
}

/// What the segments before the first scan say.
#[derive(Default)]
struct Header {
    progressive: bool,
    has_huffman: bool,
    restart_interval: usize,
    /// Minimum coded units of the picture, from the frame header; 0 while there was none.
    units: usize,
}

/// Walks the markers of `jpeg`.
pub(super) fn read(jpeg: &[u8]) -> Result<Layout, &'static str> {
    if jpeg.get(..2) != Some(&[0xff, marker::START]) {
        return Err("it does not start as a JPEG");
    }
    let mut header = Header::default();
    let mut at = 2;
    loop {
        if *jpeg.get(at).ok_or("cut short in its header")? != 0xff {
            return Err("bytes between its segments");
        }
        let kind = *jpeg.get(at + 1).ok_or("cut short in its header")?;
        match kind {
            // Fill byte.
            0xff => {
                at += 1;
                continue;
            }
            marker::START | marker::END | 0 | 1 | marker::RESTART_FIRST..=marker::RESTART_LAST => {
                return Err("it ends before its first scan");
            }
            _ => {}
        }
        let length = jpeg.get(at + 2..at + 4).map(|two| usize::from(u16::from_be_bytes([two[0], two[1]])));
        let length = length.ok_or("cut short in its header")?;
        let body = jpeg.get(at + 4..at + 2 + length.max(2)).ok_or("cut short in its header")?;
        if length < 2 {
            return Err("a segment of impossible length");
        }
        if kind == marker::SCAN {
            return scan(jpeg, at, at + 2 + length, &header);
        }
        header.take(kind, body)?;
        at += 2 + length;
    }
}

impl Header {
    fn take(&mut self, kind: u8, body: &[u8]) -> Result<(), &'static str> {
        match kind {
            marker::HUFFMAN => self.has_huffman = true,
            marker::RESTART_INTERVAL => {
                let &[high, low] = body else { return Err("a restart interval of impossible length") };
                self.restart_interval = usize::from(u16::from_be_bytes([high, low]));
            }
            marker::SOF_BASELINE | marker::SOF_EXTENDED | marker::SOF_PROGRESSIVE => {
                self.progressive = kind == marker::SOF_PROGRESSIVE;
                self.units = units(body)?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Minimum coded units of a frame header (T.81 B.2.2 and A.2), with the size checked.
fn units(body: &[u8]) -> Result<usize, &'static str> {
    let (&[_, h1, h0, w1, w0, count], components) =
        body.split_first_chunk::<6>().ok_or("a frame header of impossible length")?;
    let (width, height) = (u16::from_be_bytes([w1, w0]), u16::from_be_bytes([h1, h0]));
    if width == 0 || height == 0 || u32::from(width.max(height)) > MAX_FRAME_SIDE {
        return Err("a side of zero or above the largest frame side");
    }
    let mut most = (1, 1);
    // One component alone is never interleaved: its unit is a block of 8x8 whatever it says.
    if count > 1 {
        for component in components.chunks_exact(3) {
            most = (most.0.max(component[1] >> 4), most.1.max(component[1] & 15));
        }
    }
    let across = usize::from(width).div_ceil(8 * usize::from(most.0));
    let down = usize::from(height).div_ceil(8 * usize::from(most.1));
    Ok(across * down)
}

/// Follows the entropy-coded data from `entropy` to the end of the picture.
fn scan(jpeg: &[u8], scan_header: usize, entropy: usize, header: &Header) -> Result<Layout, &'static str> {
    if header.units == 0 {
        return Err("a scan without a frame header");
    }
    let mut at = entropy;
    let mut restarts = 0;
    loop {
        at += find_marker(&jpeg[at..]).ok_or("cut short: its end is missing")?;
        let kind = jpeg[at + 1];
        if !(marker::RESTART_FIRST..=marker::RESTART_LAST).contains(&kind) {
            break;
        }
        if usize::from(kind - marker::RESTART_FIRST) != restarts % 8 {
            return Err("a part is missing: its restart markers are out of order");
        }
        restarts += 1;
        at += 2;
    }
    let last_scan = jpeg[at + 1] == marker::END;
    let end = if last_scan {
        at
    } else {
        let found = jpeg[at..].windows(2).rposition(|two| two == [0xff, marker::END]);
        at + found.ok_or("cut short: its end is missing")?
    };
    let one_sequential_scan = last_scan && !header.progressive;
    if one_sequential_scan && header.restart_interval > 0 {
        let expected = header.units.div_ceil(header.restart_interval) - 1;
        // Some encoders put a restart marker behind the last interval too.
        if restarts != expected && restarts != expected + 1 {
            return Err("a part is missing: it has too few or too many restart markers");
        }
    }
    Ok(Layout { scan_header, entropy, end, has_huffman: header.has_huffman, one_sequential_scan })
}

/// Position of the first marker in entropy-coded data: an `ff` that is neither stuffed nor a fill byte.
pub(super) fn find_marker(data: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += data.get(at..)?.iter().position(|&byte| byte == 0xff)?;
        match *data.get(at + 1)? {
            0 => at += 2,
            0xff => at += 1,
            _ => return Some(at),
        }
    }
}
