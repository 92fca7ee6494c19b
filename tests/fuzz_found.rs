//! What the fuzz targets found (`tests/fuzz/found`), each once as the product meets it: an error, and nothing worse.

use std::fs;
use std::path::{Path, PathBuf};

use nformer_edge::Error;
use nformer_edge::camera::{Clip, ClipSettings, StillDecoder};
use nformer_edge::frame::{FrameSource, Next};
use nformer_edge::model::{explain, try_out};

fn found(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/found").join(name)
}

/// `allocation.onnx`: a constant of more than 10^16 numbers that no output needs. `tract` computes those too.
#[test]
fn a_huge_constant_that_nothing_reads_is_refused_before_it_is_computed() {
    let reason = try_out(&fs::read(found("allocation.onnx")).unwrap()).unwrap_err();
    assert!(reason.contains("`ConstantOfShape_23` makes") && reason.contains("too large"), "{reason}");
    let told = explain(&found("allocation.onnx")).unwrap_err();
    assert!(matches!(told, Error::ModelLoad { .. }), "{told}");
}

/// `idct.jpg`: the decoder of JPEG pictures panics where a block leaves the picture's buffer.
#[test]
fn a_picture_that_makes_the_decoder_panic_is_a_damaged_picture() {
    let mut decoder = StillDecoder::new();
    let picture = fs::read(found("idct.jpg")).unwrap();
    for _ in 0..2 {
        assert!(matches!(decoder.decode(&picture), Err(Error::BadPicture { kind: "JPEG", .. })));
    }
}

/// `gather_nd.onnx`: places without an axis, over which `tract` counted without end.
#[test]
fn places_without_an_axis_are_refused() {
    let reason = try_out(&fs::read(found("gather_nd.onnx")).unwrap()).unwrap_err();
    assert!(reason.contains("places without an axis"), "{reason}");
}

/// `dft.onnx`: the spectrum of a single number, over whose axes `tract` counted without end.
#[test]
fn operators_on_sounds_are_refused() {
    let reason = try_out(&fs::read(found("dft.onnx")).unwrap()).unwrap_err();
    assert!(reason.contains("for sounds"), "{reason}");
}

/// `idct.avi`: the same inside a clip, which plays on.
#[test]
fn a_clip_with_a_picture_that_makes_the_decoder_panic_counts_it() {
    let mut clip = Clip::open(&found("idct.avi"), &ClipSettings::default()).unwrap();
    for _ in 0..100 {
        match clip.next_frame() {
            Ok(Next::Frame(_) | Next::Idle(_)) => {}
            Ok(Next::End) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(clip.health().corrupt > 0);
}
