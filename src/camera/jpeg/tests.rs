use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use proptest::prelude::*;

use super::*;

/// What sets one encoded picture apart from another.
type Change = fn(&mut Encoder<&mut Vec<u8>>);

/// A picture with something to see in every block.
fn rgb(width: u16, height: u16) -> Vec<u8> {
    let mut pixels = Vec::new();
    for y in 0..u32::from(height) {
        for x in 0..u32::from(width) {
            pixels.extend_from_slice(&[(x * 5 + y) as u8, (y * 7) as u8, (x ^ y) as u8]);
        }
    }
    pixels
}

fn encode(width: u16, height: u16, change: impl Fn(&mut Encoder<&mut Vec<u8>>)) -> Vec<u8> {
    let mut jpeg = Vec::new();
    let mut encoder = Encoder::new(&mut jpeg, 90);
    change(&mut encoder);
    encoder.encode(&rgb(width, height), width, height, ColorType::Rgb).unwrap();
    jpeg
}

fn reason(result: Result<(u32, u32)>) -> String {
    match result {
        Err(Error::BadPicture { reason, .. }) => reason,
        other => panic!("expected a bad picture, got {other:?}"),
    }
}

/// The same picture without its DHT segments, as in an AVI file.
fn without_huffman(jpeg: &[u8]) -> Vec<u8> {
    let mut stripped = jpeg[..2].to_vec();
    let mut at = 2;
    loop {
        let length = usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
        if jpeg[at + 1] == 0xda {
            stripped.extend_from_slice(&jpeg[at..]);
            return stripped;
        }
        if jpeg[at + 1] != 0xc4 {
            stripped.extend_from_slice(&jpeg[at..at + 2 + length]);
        }
        at += 2 + length;
    }
}

fn mean_difference(one: &[u8], other: &[u8]) -> f64 {
    assert_eq!(one.len(), other.len());
    let sum: f64 = one.iter().zip(other).map(|(&a, &b)| f64::from(a.abs_diff(b))).sum();
    sum / one.len() as f64
}

#[test]
fn pictures_of_every_kind_come_out_as_they_went_in() {
    let kinds: [(&str, Change); 7] = [
        ("4:4:4", |encoder| encoder.set_sampling_factor(SamplingFactor::F_1_1)),
        ("4:2:2", |encoder| encoder.set_sampling_factor(SamplingFactor::F_2_1)),
        ("4:2:0", |encoder| encoder.set_sampling_factor(SamplingFactor::F_2_2)),
        ("4:2:0 with restarts", |encoder| {
            encoder.set_sampling_factor(SamplingFactor::F_2_2);
            encoder.set_restart_interval(2);
        }),
        ("own tables", |encoder| encoder.set_optimized_huffman_tables(true)),
        ("progressive", |encoder| encoder.set_progressive(true)),
        ("progressive 4:2:0", |encoder| {
            encoder.set_sampling_factor(SamplingFactor::F_2_2);
            encoder.set_progressive(true);
        }),
    ];
    let mut decoder = JpegDecoder::new();
    for (name, change) in kinds {
        // Also sizes that are no multiple of a block, and pictures smaller than one.
        for (width, height) in [(64, 48), (61, 47), (8, 64), (1, 1), (3, 40)] {
            let jpeg = encode(width, height, change);
            let size = decoder.decode(&jpeg).unwrap_or_else(|error| panic!("{name} {width}x{height}: {error}"));
            assert_eq!(size, (u32::from(width), u32::from(height)), "{name}");
            // Quality 90 with halved chroma: wrong colour order or a shifted row gives over 30.
            let difference = mean_difference(decoder.pixels(), &rgb(width, height));
            assert!(difference < 16.0, "{name} {width}x{height}: {difference}");
        }
    }
}

#[test]
fn a_grey_picture_becomes_rgb() {
    let grey: Vec<u8> = (0..32 * 24).map(|at| (at % 32 * 8) as u8).collect();
    let mut jpeg = Vec::new();
    Encoder::new(&mut jpeg, 95).encode(&grey, 32, 24, ColorType::Luma).unwrap();
    let mut decoder = JpegDecoder::new();
    assert_eq!(decoder.decode(&jpeg).unwrap(), (32, 24));
    for (pixel, &luma) in decoder.pixels().chunks_exact(3).zip(&grey) {
        assert!(pixel.iter().all(|&channel| channel.abs_diff(luma) <= 6), "{pixel:?} for {luma}");
    }
}

#[test]
fn missing_huffman_tables_are_the_standard_ones() {
    let jpeg = encode(64, 48, |_| {});
    let stripped = without_huffman(&jpeg);
    assert!(stripped.len() + 400 < jpeg.len());
    let (mut with, mut without) = (JpegDecoder::new(), JpegDecoder::new());
    with.decode(&jpeg).unwrap();
    without.decode(&stripped).unwrap();
    assert_eq!(with.pixels(), without.pixels());
}

#[test]
fn padding_behind_the_picture_does_not_matter() {
    let mut jpeg = encode(40, 40, |_| {});
    jpeg.extend_from_slice(&[0; 100]);
    jpeg.extend_from_slice(&[0xff; 100]);
    assert_eq!(JpegDecoder::new().decode(&jpeg).unwrap(), (40, 40));
}

#[test]
fn every_cut_is_an_error() {
    for interval in [0, 3] {
        let jpeg = encode(64, 48, |encoder| encoder.set_restart_interval(interval));
        let mut decoder = JpegDecoder::new();
        for cut in 0..jpeg.len() {
            reason(decoder.decode(&jpeg[..cut]));
        }
    }
}

#[test]
fn data_missing_before_the_end_marker_is_an_error_and_not_a_grey_half() {
    // The case that a plain decoder hides: the end marker is there, the data before it is not.
    for (name, interval) in [("plain", 0), ("restarts", 3)] {
        let jpeg = encode(64, 48, |encoder| encoder.set_restart_interval(interval));
        let end = jpeg.len() - 2;
        let start = layout::read(&jpeg).unwrap().entropy;
        let mut decoder = JpegDecoder::new();
        // The last bytes may be padding bits of the last block.
        for cut in start..end - 3 {
            let mut shorter = jpeg[..cut].to_vec();
            // A cut between the halves of a stuffed byte would make another marker.
            if shorter.last() == Some(&0xff) {
                continue;
            }
            shorter.extend_from_slice(&END_OF_IMAGE);
            assert!(decoder.decode(&shorter).is_err(), "{name}: {cut} of {end} bytes passed as a whole picture");
        }
    }
}

#[test]
fn a_lost_restart_interval_is_seen() {
    let jpeg = encode(64, 64, |encoder| encoder.set_restart_interval(2));
    let start = layout::read(&jpeg).unwrap().entropy;
    let first = start + layout::find_marker(&jpeg[start..]).unwrap();
    let second = first + 2 + layout::find_marker(&jpeg[first + 2..]).unwrap();
    let lost = [&jpeg[..first], &jpeg[second..]].concat();
    assert!(reason(JpegDecoder::new().decode(&lost)).contains("out of order"));
}

#[test]
fn sizes_beyond_the_limit_are_refused_before_anything_is_allocated() {
    let mut jpeg = encode(16, 16, |_| {});
    let frame = jpeg.windows(2).position(|two| two == [0xff, 0xc0]).unwrap();
    for (height, width) in [(60000_u16, 16_u16), (16, 4097), (0, 16), (16, 0)] {
        jpeg[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
        jpeg[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
        let mut decoder = JpegDecoder::new();
        assert!(reason(decoder.decode(&jpeg)).contains("side"));
        assert_eq!(decoder.pixels.capacity(), 0);
    }
}

#[test]
fn what_is_no_jpeg_is_said_so() {
    let mut decoder = JpegDecoder::new();
    for bytes in [&b""[..], b"\xff", b"\xff\xd8", b"\xff\xd8\xff\xd9", b"RIFF....", &[0; 64], &[0xff; 64]] {
        reason(decoder.decode(bytes));
    }
}

#[test]
fn buffers_are_kept_from_picture_to_picture() {
    let jpeg = encode(64, 48, |_| {});
    let mut decoder = JpegDecoder::new();
    decoder.decode(&jpeg).unwrap();
    let before = (decoder.pixels.as_ptr(), decoder.prepared.as_ptr());
    decoder.decode(&encode(32, 16, |_| {})).unwrap();
    decoder.decode(&jpeg).unwrap();
    assert_eq!(before, (decoder.pixels.as_ptr(), decoder.prepared.as_ptr()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn damage_never_panics(
        kind in 0..4_u8,
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
    ) {
        let mut jpeg = encode(48, 40, |encoder| match kind {
            0 => encoder.set_sampling_factor(SamplingFactor::F_2_2),
            1 => encoder.set_restart_interval(2),
            2 => encoder.set_progressive(true),
            _ => encoder.set_sampling_factor(SamplingFactor::F_4_1),
        });
        for (place, value) in places {
            let at = place.index(jpeg.len());
            jpeg[at] = value;
        }
        let mut decoder = JpegDecoder::new();
        if let Ok((width, height)) = decoder.decode(&jpeg) {
            prop_assert_eq!(decoder.pixels().len(), width as usize * height as usize * 3);
        }
    }
}
