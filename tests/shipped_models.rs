//! The models of this repository are what their cards say, and tell real people apart.
#![expect(clippy::unwrap_used, reason = "a test that lacks what it needs stops there")]

#[path = "support/shared.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use nformer_edge::Error;
use nformer_edge::backbone::Backbone;
use nformer_edge::frame::{Frame, PixelFormat};
use nformer_edge::model::{Card, Network};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;

use support::{shared, there};

fn manifest() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_card_of_this_repository_is_read_and_its_file_is_the_right_one() {
    let Some(models) = there(manifest().join("models")) else { return };
    let mut read = 0;
    for folder in fs::read_dir(models).unwrap().map(|entry| entry.unwrap().path()) {
        let foreign = fs::read_dir(folder.join("foreign")).into_iter().flatten().map(|entry| entry.unwrap().path());
        let cards = foreign.chain([folder.join("card.toml")]);
        for path in cards.filter(|path| path.extension().is_some_and(|end| end == "toml") && path.exists()) {
            let card = Card::read(&path).unwrap();
            read += 1;
            if card.file_path().exists() {
                card.verify().unwrap();
            }
        }
    }
    println!("{read} cards");
}

/// Two crops, by different cameras, of each of the first validation identities.
fn pairs(identities: usize) -> Option<Vec<[PathBuf; 2]>> {
    let folder = shared("data/market1501")?;
    let splits: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(folder.join("splits.json")).unwrap()).unwrap();
    let mut crops: BTreeMap<String, BTreeMap<String, PathBuf>> = BTreeMap::new();
    let mut names: Vec<_> = fs::read_dir(folder.join("images")).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    for path in names {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        crops.entry(name[..4].to_owned()).or_default().entry(name[5..7].to_owned()).or_insert(path);
    }
    let ids = splits["val_ids"].as_array().unwrap().iter().filter_map(|id| crops.remove(id.as_str().unwrap()));
    let pairs = ids.filter_map(|cameras| {
        let mut crops = cameras.into_values();
        Some([crops.next()?, crops.next()?])
    });
    Some(pairs.take(identities).collect())
}

fn embed_crop(backbone: &mut Backbone, path: &Path) -> Vec<f32> {
    let mut decoder = JpegDecoder::new(ZCursor::new(fs::read(path).unwrap()));
    let pixels = decoder.decode().unwrap();
    let (width, height) = decoder.dimensions().unwrap();
    let frame = Frame::new(&pixels, PixelFormat::Rgb, (width as u32, height as u32), width * 3).unwrap();
    backbone.embed(&frame, frame.region()).unwrap().as_slice().to_vec()
}

/// Mean similarity of the same and of different people, and how many first crops are nearest to their second one.
fn check_people(card: &Card) {
    const PEOPLE: usize = 10;
    let Some(pairs) = pairs(PEOPLE) else { return };
    let mut backbone = Backbone::load(card).unwrap();
    let mut all = |side: usize| -> Vec<_> { pairs.iter().map(|pair| embed_crop(&mut backbone, &pair[side])).collect() };
    let (first, second) = (all(0), all(1));
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
    let (mut same, mut different, mut nearest) = (0.0, 0.0, 0);
    for (i, a) in first.iter().enumerate() {
        let row: Vec<_> = second.iter().map(|b| dot(a, b)).collect();
        same += row[i] / PEOPLE as f32;
        different += (row.iter().sum::<f32>() - row[i]) / (PEOPLE * (PEOPLE - 1)) as f32;
        nearest += usize::from(row.iter().all(|value| *value <= row[i]));
    }
    println!("{}: same {same:.3} different {different:.3} nearest {nearest} of {PEOPLE}", card.name);
    assert!(same > different + 0.1, "{}: {same} {different}", card.name);
    // Chance is 1 of 10.
    assert!(nearest >= 5, "{}: {nearest} of {PEOPLE}", card.name);
}

#[test]
fn our_backbones_tell_people_apart() {
    for name in ["reid_backbone", "reid_backbone_tiny"] {
        let Some(card) = there(manifest().join(format!("models/{name}/card.toml"))) else { continue };
        let card = Card::read(&card).unwrap();
        if there(card.file_path().to_owned()).is_some() {
            check_people(&card);
        }
    }
}

/// The tiny backbone learned to give the other one's embeddings, so one fusion file and one gallery serve both.
#[test]
fn our_backbones_share_one_space() {
    const PEOPLE: usize = 10;
    let cards = ["reid_backbone", "reid_backbone_tiny"].map(|name| {
        let card = Card::read(&there(manifest().join(format!("models/{name}/card.toml")))?).unwrap();
        there(card.file_path().to_owned()).map(|_| card)
    });
    let ([Some(large), Some(tiny)], Some(pairs)) = (cards, pairs(PEOPLE)) else { return };
    let (mut large, mut tiny) = (Backbone::load(&large).unwrap(), Backbone::load(&tiny).unwrap());
    for [first, second] in &pairs {
        for path in [first, second] {
            let (a, b) = (embed_crop(&mut large, path), embed_crop(&mut tiny, path));
            let cosine: f32 = a.iter().zip(&b).map(|(x, y)| x * y).sum();
            // Two networks of spaces of their own give about 0; 256 random directions, 0.06.
            assert!(cosine > 0.5, "{}: {cosine}", path.display());
        }
    }
}

#[test]
fn backbones_of_others_tell_people_apart_through_their_cards() {
    for name in ["osnet_x0_25_msmt17", "person-reidentification-retail-0287", "person-reidentification-retail-0288"] {
        let card = there(manifest().join(format!("models/reid_backbone/foreign/{name}.toml")));
        let (Some(card), Some(file)) = (card, shared(&format!("models/{name}.onnx"))) else { continue };
        check_people(&Card::read_with_file(&card, &file).unwrap());
    }
}

#[test]
fn a_real_network_is_not_taken_for_another() {
    let card = there(manifest().join("models/reid_backbone/foreign/osnet_x0_25_msmt17.toml"));
    let (Some(card), Some(file)) = (card, shared("models/person-reidentification-retail-0288.onnx")) else { return };
    let card = Card::read_with_file(&card, &file).unwrap();
    assert!(matches!(Network::load(&card), Err(Error::ModelChecksum { .. })));
}
