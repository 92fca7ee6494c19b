//! Damage to bytes, guided by their structure where that is known.

use arbitrary::{Result, Unstructured};

/// Numbers at which sizes and counts go wrong.
const EDGES: &[u32] =
    &[0, 1, 2, 3, 7, 8, 127, 128, 255, 256, 4095, 4096, 4097, 65_535, 65_536, 1 << 24, 1 << 31, u32::MAX];

/// Any place in `bytes`; 0 where there are none.
pub fn place(u: &mut Unstructured, bytes: &[u8]) -> Result<usize> {
    u.int_in_range(0..=bytes.len().saturating_sub(1))
}

/// One of the numbers at which sizes go wrong, or one next to `near`.
pub fn edge(u: &mut Unstructured, near: u32) -> Result<u32> {
    Ok(if u.ratio(1, 3)? { near.wrapping_add(u.int_in_range(0..=16)?).wrapping_sub(8) } else { *u.choose(EDGES)? })
}

/// `bytes` with up to `most` changes: cut off, taken out, doubled, taken from `other`, or a byte set.
pub fn bytes(u: &mut Unstructured, mut bytes: Vec<u8>, other: &[u8], most: u32) -> Result<Vec<u8>> {
    for _ in 0..u.int_in_range(0..=most)? {
        let at = place(u, &bytes)?;
        match u.int_in_range(0..=9)? {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..(at + u.int_in_range(1..=8)?).min(bytes.len()))),
            2 => {
                let from = place(u, other)?;
                let part = other[from..(from + u.int_in_range(1..=64)?).min(other.len())].to_vec();
                drop(bytes.splice(at..at, part));
            }
            3 => {
                let part = bytes[at..(at + u.int_in_range(1..=64)?).min(bytes.len())].to_vec();
                drop(bytes.splice(at..at, part));
            }
            4 => {
                let number = edge(u, 0)?.to_le_bytes();
                bytes.iter_mut().skip(at).zip(number).for_each(|(byte, new)| *byte = new);
            }
            _ => {
                let new = *u.choose(&[0, 1, 2, 127, 128, 255, u8::MAX - 1])? ^ u.int_in_range(0..=1)?;
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = if u.ratio(1, 2)? { *byte ^ (1 << u.int_in_range(0..=7)?) } else { new };
                }
            }
        }
    }
    Ok(bytes)
}
