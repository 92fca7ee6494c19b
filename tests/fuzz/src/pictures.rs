//! Recordings and still pictures: sound ones made here, then damaged.

use std::fs;
use std::path::Path;

use arbitrary::{Result, Unstructured};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use nformer_edge::camera::{Clip, ClipSettings, StillDecoder};
use nformer_edge::frame::{FrameSource, Next};

use crate::mutate;

/// Most pictures that are played of one recording.
const PLAYED: usize = 200;

/// Small files of pictures, in all the ways that a JPEG may be written, or a PNG.
pub fn still(u: &mut Unstructured, seeds: &[Vec<u8>]) -> Result<Vec<u8>> {
    let whole = sound_still(u, seeds)?;
    let other = sound_still(u, seeds)?;
    match u.int_in_range(0..=7)? {
        0 => mutate::bytes(u, whole, &other, 8),
        1 if whole.starts_with(b"\x89PNG") => damaged_png(u, &whole),
        _ => {
            let shuffled = segments(u, &whole, &other)?;
            mutate::bytes(u, shuffled, &other, 2)
        }
    }
}

fn sound_still(u: &mut Unstructured, seeds: &[Vec<u8>]) -> Result<Vec<u8>> {
    if !seeds.is_empty() && u.ratio(1, 8)? {
        return Ok(u.choose(seeds)?.clone());
    }
    let (width, height) = (u.int_in_range(1..=40_u16)?, u.int_in_range(1..=40_u16)?);
    let shade = u.int_in_range(0..=255_u16)?;
    let pixel = |at: usize| (at * usize::from(shade) / 7) as u8;
    let count = usize::from(width) * usize::from(height);
    let mut file = Vec::new();
    if u.ratio(1, 4)? {
        let (colour, channels) = *u.choose(&[
            (png::ColorType::Grayscale, 1),
            (png::ColorType::Rgb, 3),
            (png::ColorType::Rgba, 4),
            (png::ColorType::GrayscaleAlpha, 2),
        ])?;
        let mut encoder = png::Encoder::new(&mut file, width.into(), height.into());
        encoder.set_color(colour);
        let pixels: Vec<u8> = (0..count * channels).map(pixel).collect();
        let mut writer = encoder.write_header().expect("a header in memory");
        writer.write_image_data(&pixels).expect("pixels of the size said");
        writer.finish().expect("an end in memory");
        return Ok(file);
    }
    let (colour, channels) =
        *u.choose(&[(ColorType::Luma, 1), (ColorType::Rgb, 3), (ColorType::Rgb, 3), (ColorType::Cmyk, 4)])?;
    let mut encoder = Encoder::new(&mut file, u.int_in_range(1..=100)?);
    encoder.set_progressive(u.ratio(1, 3)?);
    encoder.set_optimized_huffman_tables(u.ratio(1, 3)?);
    encoder.set_sampling_factor(*u.choose(&[
        SamplingFactor::F_1_1,
        SamplingFactor::F_2_1,
        SamplingFactor::F_1_2,
        SamplingFactor::F_2_2,
        SamplingFactor::F_4_1,
    ])?);
    if u.ratio(1, 3)? {
        encoder.set_restart_interval(u.int_in_range(1..=6)?);
    }
    let pixels: Vec<u8> = (0..count * channels).map(pixel).collect();
    encoder.encode(&pixels, width, height, colour).expect("pixels of the size said");
    Ok(file)
}

/// A chunk of a PNG changed, its checksum made right again.
fn damaged_png(u: &mut Unstructured, file: &[u8]) -> Result<Vec<u8>> {
    let mut chunks = Vec::new();
    let mut rest = &file[8..];
    while let Some(length) = rest.first_chunk().map(|length| u32::from_be_bytes(*length) as usize) {
        let Some((chunk, behind)) = rest.split_at_checked(12 + length) else { break };
        chunks.push(chunk[4..8 + length].to_vec());
        rest = behind;
    }
    for _ in 0..u.int_in_range(1..=3)? {
        let at = u.int_in_range(0..=chunks.len() - 1)?;
        match u.int_in_range(0..=5)? {
            0 => chunks.swap(0, at),
            1 => chunks.insert(at, chunks[at].clone()),
            _ => {
                let inside = u.int_in_range(0..=chunks[at].len() - 1)?;
                let value = mutate::edge(u, chunks[at][inside].into())?.to_be_bytes();
                chunks[at].iter_mut().skip(inside).zip(value).for_each(|(byte, new)| *byte = new);
            }
        }
    }
    let mut made = file[..8].to_vec();
    for chunk in chunks {
        made.extend((chunk.len() as u32 - 4).to_be_bytes());
        made.extend(&chunk);
        made.extend(crc32(&chunk).to_be_bytes());
    }
    Ok(made)
}

/// As PNG and the wire format have it, a bit at a time.
pub fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
    })
}

/// Segments of a JPEG left out, doubled, moved, taken from another picture, or changed in length or contents.
fn segments(u: &mut Unstructured, file: &[u8], other: &[u8]) -> Result<Vec<u8>> {
    let (mut parts, others) = (split(file), split(other));
    if parts.is_empty() || others.is_empty() {
        return Ok(file.to_vec());
    }
    for _ in 0..u.int_in_range(1..=3)? {
        let at = u.int_in_range(0..=parts.len() - 1)?;
        match u.int_in_range(0..=9)? {
            0 => drop(parts.remove(at)),
            1 => parts.insert(at, parts[at].clone()),
            2 => parts.swap(0, at),
            3 => parts.insert(at, u.choose(&others)?.clone()),
            4 => parts[at] = u.choose(&others)?.clone(),
            _ => {
                // Behind marker and length lie sizes, counts and table numbers.
                let inside = u.int_in_range(1..=parts[at].len().clamp(2, 20) - 1)?;
                let near = parts[at].get(inside).copied().unwrap_or(0);
                let value = mutate::edge(u, near.into())? as u16;
                let value = if u.ratio(1, 2)? { value.to_be_bytes() } else { [value as u8; 2] };
                let taken = 1 + usize::from(u.ratio(1, 2)?);
                parts[at].iter_mut().skip(inside).zip(value).take(taken).for_each(|(byte, new)| *byte = new);
            }
        }
        if parts.is_empty() {
            break;
        }
    }
    Ok(parts.concat())
}

/// The segments of a JPEG, each with its marker; the data behind a scan belongs to it.
fn split(file: &[u8]) -> Vec<Vec<u8>> {
    let mut parts: Vec<Vec<u8>> = Vec::new();
    let mut at = 0;
    while at < file.len() {
        let starts = file[at] == 0xff && file.get(at + 1).is_some_and(|kind| !matches!(kind, 0 | 0xd0..=0xd7 | 0xff));
        let length = match file.get(at + 1..at + 4) {
            Some(&[kind, high, low]) if starts && !matches!(kind, 0xd8 | 0xd9) => {
                2 + usize::from(u16::from_be_bytes([high, low]))
            }
            _ if starts => 2,
            _ => 1,
        };
        let part = &file[at..(at + length).min(file.len())];
        match parts.last_mut() {
            Some(last) if !starts => last.extend(part),
            _ => parts.push(part.to_vec()),
        }
        at += length;
    }
    parts
}

/// Decodes one picture twice, as a folder of images does.
pub fn try_still(file: &[u8]) -> bool {
    let mut decoder = StillDecoder::new();
    let first = decoder.decode(file).map(|frame| (frame.width(), frame.height(), checksum(frame.pixels())));
    let again = decoder.decode(file).map(|frame| (frame.width(), frame.height(), checksum(frame.pixels())));
    assert_eq!(first.is_ok(), again.is_ok(), "a picture is sound or it is not");
    if let (Ok(first), Ok(again)) = (&first, &again) {
        assert_eq!(first, again, "a picture has one meaning");
    }
    first.is_ok()
}

fn checksum(pixels: &[u8]) -> u64 {
    pixels.iter().fold(0, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)))
}

fn chunk(u: &mut Unstructured, name: &[u8], body: &[u8]) -> Result<Vec<u8>> {
    let length = body.len() as u32;
    let said = if u.ratio(1, 24)? { mutate::edge(u, length)? } else { length };
    let name =
        if u.ratio(1, 40)? { *u.choose(&[b"LIST", b"RIFF", b"01dc", b"00db", b"JUNK", b"\0\0\0\0"])? } else { name };
    let mut bytes = [name, &said.to_le_bytes(), body].concat();
    if length % 2 == 1 && u.ratio(31, 32)? {
        bytes.push(0);
    }
    Ok(bytes)
}

fn words(u: &mut Unstructured, words: &[u32]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for word in words {
        bytes.extend(if u.ratio(1, 40)? { mutate::edge(u, *word)? } else { *word }.to_le_bytes());
    }
    Ok(bytes)
}

fn avi(u: &mut Unstructured, seeds: &[Vec<u8>]) -> Result<Vec<u8>> {
    let code = u32::from_le_bytes(**u.choose(&[b"MJPG", b"MJPG", b"MJPG", b"dmb1", b"H264"])?);
    let (vids, auds) = (u32::from_le_bytes(*b"vids"), u32::from_le_bytes(*b"auds"));
    let mut streams = Vec::new();
    for _ in 0..u.int_in_range(0..=2)? {
        let sound = words(u, &[auds, 0, 0, 0, 0, 1, 8000, 0, 0, 0, 0, 0, 0, 0])?;
        streams.push(chunk(u, b"strh", &sound)?);
    }
    let sound_streams = streams.len();
    let video = words(u, &[vids, code, 0, 0, 0, 2, 15, 0, 0, 0, 0, 0, 0, 0])?;
    streams.push(chunk(u, b"strh", &video)?);
    let picture = words(u, &[40, 24, 16, 1 | 24 << 16, code, 0, 0, 0, 0, 0])?;
    streams.push(chunk(u, b"strf", &picture)?);
    let streams = chunk(u, b"LIST", &[&b"strl"[..], &streams.concat()].concat())?;
    let main = words(u, &[100_000, 0, 0, 0, 0, 0, 2, 0, 24, 16, 0, 0, 0, 0])?;
    let main = chunk(u, b"avih", &main)?;
    let header = chunk(u, b"LIST", &[&b"hdrl"[..], &main, &streams].concat())?;
    let name = [b'0', b'0' + sound_streams as u8, b'd', b'c'];
    let mut movie = b"movi".to_vec();
    for _ in 0..u.int_in_range(0..=4)? {
        let picture = if u.ratio(1, 6)? { still(u, &[])? } else { sound_still(u, seeds)? };
        let picture = chunk(u, &name, &picture)?;
        let beep = chunk(u, b"00wb", b"beep!")?;
        movie.extend([if u.ratio(1, 4)? { beep } else { vec![] }, picture].concat());
    }
    let movie = chunk(u, b"LIST", &movie)?;
    let index = chunk(u, b"idx1", &[0; 32])?;
    chunk(u, b"RIFF", &[&b"AVI "[..], &header, &movie, &index].concat())
}

fn y4m(u: &mut Unstructured) -> Result<Vec<u8>> {
    let (width, height) = (u.int_in_range(1..=12_u32)?, u.int_in_range(1..=12_u32)?);
    let colour = *u.choose(&["420", "420jpeg", "mono", "422", ""])?;
    let bytes = match colour {
        "mono" => width * height,
        _ => width * height + 2 * width.div_ceil(2) * height.div_ceil(2),
    };
    let mut tags = vec![format!("W{width}"), format!("H{height}"), "F30000:1001".to_owned(), format!("C{colour}")];
    for _ in 0..u.int_in_range(0..=2)? {
        let at = u.int_in_range(0..=tags.len() - 1)?;
        let number = mutate::edge(u, width)?;
        tags[at] = match u.int_in_range(0..=5)? {
            0 => format!("W{number}"),
            1 => format!("H{number}"),
            2 => format!("F{number}:{}", mutate::edge(u, 1)?),
            3 => format!("F-{number}:0"),
            4 => "X\u{fffd}ü".to_owned(),
            _ => String::new(),
        };
    }
    let mut file = format!("YUV4MPEG2 {}\n", tags.join(" ")).into_bytes();
    for _ in 0..u.int_in_range(0..=4)? {
        file.extend(u.choose(&["FRAME\n", "FRAME Ip\n", "FRAME\n", "FRAMES\n"])?.as_bytes());
        file.resize(file.len() + bytes as usize, 77);
    }
    Ok(file)
}

/// An AVI or a Y4M, or a piece of a real one.
pub fn clip(u: &mut Unstructured, seeds: &[Vec<u8>]) -> Result<Vec<u8>> {
    let made = match u.int_in_range(0..=9)? {
        0..=5 => avi(u, &[])?,
        6..=8 => y4m(u)?,
        _ if seeds.is_empty() => Vec::new(),
        _ => {
            let seed = u.choose(seeds)?;
            seed[..u.int_in_range(0..=seed.len().min(80_000))?].to_vec()
        }
    };
    let other = made.clone();
    mutate::bytes(u, made, &other, 3)
}

/// Plays the recording that lies at `path`, twice over; whether it showed a picture.
pub fn try_clip(path: &Path) -> bool {
    let settings = ClipSettings { loops: 1, ..ClipSettings::default() };
    let Ok(mut clip) = Clip::open(path, &settings) else { return false };
    assert!(!clip.describe().is_empty());
    let mut shown = false;
    for _ in 0..PLAYED {
        match clip.next_frame() {
            Ok(Next::Frame(frame)) => {
                assert!(!frame.pixels().is_empty());
                std::hint::black_box(checksum(frame.pixels()));
                shown = true;
            }
            Ok(Next::Idle(_)) => {}
            Ok(Next::End) | Err(_) => break,
        }
    }
    // The same bytes as a stream: they cannot be gone back in.
    let stream = fs::File::open(path).map(|file| Clip::from_reader(file, "stream", &ClipSettings::default()));
    if let Ok(Ok(mut stream)) = stream {
        while let Ok(Next::Frame(_) | Next::Idle(_)) = stream.next_frame() {}
    }
    shown
}
