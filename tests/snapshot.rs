//! Pictures of a made-up scene: what is drawn where, and folders that cannot be written.

#![expect(clippy::unwrap_used, reason = "helpers of tests: a panic is how they fail")]

use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

use nformer_edge::Error;
use nformer_edge::detector::BBox;
use nformer_edge::frame::{Frame, PixelFormat};
use nformer_edge::snapshot::{Mark, Snapshot};

const BACKGROUND: [u8; 3] = [20, 40, 60];

/// Width and height of the scene.
const SIZE: (u32, u32) = (160, 120);

struct Decoded {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Decoded {
    fn read(path: &Path) -> Self {
        let mut reader = png::Decoder::new(BufReader::new(File::open(path).unwrap())).read_info().unwrap();
        let mut rgb = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut rgb).unwrap();
        assert_eq!((info.color_type, info.bit_depth), (png::ColorType::Rgb, png::BitDepth::Eight));
        Self { width: info.width as usize, height: info.height as usize, rgb }
    }

    fn at(&self, x: usize, y: usize) -> [u8; 3] {
        self.rgb[(y * self.width + x) * 3..][..3].try_into().unwrap()
    }
}

/// A scene whose people are filled boxes of a colour.
fn scene(people: &[(BBox, [u8; 3])]) -> Vec<u8> {
    let mut rgb = BACKGROUND.repeat((SIZE.0 * SIZE.1) as usize);
    for (bbox, colour) in people {
        for y in bbox.y as usize..(bbox.y + bbox.height) as usize {
            for x in bbox.x as usize..(bbox.x + bbox.width) as usize {
                rgb[(y * SIZE.0 as usize + x) * 3..][..3].copy_from_slice(colour);
            }
        }
    }
    rgb
}

fn frame(rgb: &[u8], ms: u64) -> Frame<'_> {
    Frame::new(rgb, PixelFormat::Rgb, SIZE, SIZE.0 as usize * 3).unwrap().at(ms / 100, Duration::from_millis(ms))
}

fn person(x: f32) -> BBox {
    BBox { x, y: 40.0, width: 30.0, height: 60.0 }
}

const GREEN: [u8; 3] = [10, 200, 10];
const BLUE: [u8; 3] = [10, 10, 220];

#[test]
fn the_frame_with_the_most_identified_people_is_kept_with_boxes_and_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let mut snapshot = Snapshot::create(folder.path()).unwrap();
    let (one, two) = (person(10.0), person(100.0));
    let mark = |bbox, track, identity| Mark { bbox, track, identity };
    let busy = scene(&[(one, GREEN), (two, BLUE)]);
    snapshot.observe(&frame(&scene(&[(one, GREEN)]), 0), &[mark(one, 1, Some(1))]);
    snapshot.observe(&frame(&busy, 100), &[mark(one, 1, Some(1)), mark(two, 2, Some(2))]);
    // As many people, but one is not known: the frame before stays.
    snapshot.observe(&frame(&scene(&[]), 200), &[mark(one, 1, Some(1)), mark(two, 2, None)]);
    let written = snapshot.finish().unwrap();
    assert_eq!(written, ["frame.png", "identities.png"].map(|name| folder.path().join(name)));

    let picture = Decoded::read(&written[0]);
    assert_eq!((picture.width, picture.height), (SIZE.0 as usize, SIZE.1 as usize));
    assert_eq!(picture.at(5, 5), BACKGROUND);
    // The inside of each person is untouched, the lower border has the identity's colour, and no two are the same.
    assert_eq!(picture.at(25, 90), GREEN);
    assert_eq!(picture.at(115, 90), BLUE);
    let (first, second) = (picture.at(25, 99), picture.at(115, 99));
    assert!(first != second && ![first, second].contains(&GREEN) && ![first, second].contains(&BLUE));
    assert_eq!(picture.at(10, 80), first, "left border");
    assert_eq!(picture.at(39, 80), first, "right border");
    assert_eq!(picture.at(9, 80), BACKGROUND, "nothing outside of the box");
    // The number stands in the upper left corner: the foot of the 1 at double size, black on the colour.
    assert_eq!(picture.at(10 + 2 + 2, 40 + 2 + 12), [0, 0, 0]);
    assert_eq!(picture.at(10 + 2, 40 + 2 + 12), first);
}

#[test]
fn a_person_without_identity_is_grey_and_has_no_number() {
    let folder = tempfile::tempdir().unwrap();
    let mut snapshot = Snapshot::create(folder.path()).unwrap();
    let one = person(10.0);
    snapshot.observe(&frame(&scene(&[(one, GREEN)]), 0), &[Mark { bbox: one, track: 1, identity: None }]);
    let written = snapshot.finish().unwrap();
    // Nobody was identified: no sheet.
    assert_eq!(written, [folder.path().join("frame.png")]);
    let picture = Decoded::read(&written[0]);
    let [r, g, b] = picture.at(10, 80);
    assert!(r == g && g == b);
    assert_eq!(picture.at(15, 45), GREEN, "no number");
}

#[test]
fn the_sheet_has_a_row_an_identity_and_its_crops_in_time_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut snapshot = Snapshot::create(folder.path()).unwrap();
    // Identity 5 comes first and changes its colour; identity 2 is known only from its second sight on.
    for (n, level) in [50, 100, 150].into_iter().enumerate() {
        let (one, two) = (person(10.0), person(100.0));
        let pixels = scene(&[(one, [level, 0, 0]), (two, [0, level, 0])]);
        let late = (n > 0).then_some(2);
        let marks = [Mark { bbox: one, track: 1, identity: Some(5) }, Mark { bbox: two, track: 2, identity: late }];
        snapshot.observe(&frame(&pixels, n as u64 * 1000), &marks);
    }
    let written = snapshot.finish().unwrap();
    let sheet = Decoded::read(&written[1]);
    // 4 + 64 for the number, then 52 a crop; 115 a row.
    assert_eq!((sheet.width, sheet.height), (4 + 64 + 3 * 52, 4 + 2 * 115));
    let cell = |column: usize, row: usize| (4 + 64 + column * 52 + 24, 4 + row * 115 + 48);
    for (column, level) in [50, 100, 150].into_iter().enumerate() {
        let (x, y) = cell(column, 0);
        assert_eq!(sheet.at(x, y), [0, level, 0], "identity 2 comes first, column {column}");
        let (x, y) = cell(column, 1);
        assert_eq!(sheet.at(x, y), [level, 0, 0], "identity 5, column {column}");
        // The time under the crop: something white.
        let label = (x - 24..x + 24).any(|x| (y + 52..y + 59).any(|y| sheet.at(x, y) == [255; 3]));
        assert!(label, "no time under column {column}");
    }
    // A box of 1:2 fills its cell, up to the blend with what lies beside the box.
    let (x, y) = cell(0, 1);
    assert_eq!((sheet.at(x - 22, y), sheet.at(x + 21, y + 45)), ([50, 0, 0], [50, 0, 0]));
    // The number of the row stands at its left.
    assert!((4..60).any(|x| (4..20).any(|y| sheet.at(x, y) == [255; 3])));
}

#[test]
fn a_large_frame_is_scaled_down() {
    let folder = tempfile::tempdir().unwrap();
    let mut snapshot = Snapshot::create(folder.path()).unwrap();
    let pixels = vec![90; 4096 * 1024];
    let frame = Frame::new(&pixels, PixelFormat::Grey, (4096, 1024), 4096).unwrap();
    let bbox = BBox { x: 2048.0, y: 256.0, width: 1024.0, height: 512.0 };
    snapshot.observe(&frame, &[Mark { bbox, track: 1, identity: Some(1) }]);
    let written = snapshot.finish().unwrap();
    let picture = Decoded::read(&written[0]);
    assert_eq!((picture.width, picture.height), (1280, 320));
    assert_eq!(picture.at(10, 10), [90; 3]);
    assert_ne!(picture.at(640, 200), [90; 3], "left border of the box, scaled");
    assert_eq!(picture.at(643, 200), [90; 3]);
}

#[test]
fn without_a_frame_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let snapshot = Snapshot::create(&folder.path().join("made/on/the/way")).unwrap();
    assert_eq!(snapshot.finish().unwrap(), [""; 0].map(std::path::PathBuf::from));
    assert_eq!(fs::read_dir(folder.path().join("made/on/the/way")).unwrap().count(), 0);
}

#[test]
fn nothing_touches_the_disk_before_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut snapshot = Snapshot::create(folder.path()).unwrap();
    let pixels = scene(&[]);
    (0..50)
        .for_each(|n| snapshot.observe(&frame(&pixels, n), &[Mark { bbox: person(1.0), track: 1, identity: Some(1) }]));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_at_once() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("file");
    fs::write(&file, b"here already").unwrap();
    // Under a file, on a file, and in a file system that takes no files: true for root too.
    for folder in [file.join("folder"), file.clone(), "/proc/nformer-edge".into()] {
        let error = Snapshot::create(&folder).err().unwrap();
        assert!(matches!(&error, Error::Write { path, .. } if *path == folder), "{error}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"here already");
}

#[test]
fn a_read_only_folder_is_refused_at_once() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
    if File::create(folder.path().join("probe")).is_ok() {
        println!("SKIPPED: permissions do not bind this user (root)");
        return;
    }
    assert!(matches!(Snapshot::create(folder.path()), Err(Error::Write { .. })));
}

#[test]
fn a_picture_that_cannot_be_written_is_left_out_and_the_other_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut snapshot = Snapshot::create(folder.path()).unwrap();
    let one = person(10.0);
    snapshot.observe(&frame(&scene(&[(one, GREEN)]), 0), &[Mark { bbox: one, track: 1, identity: Some(1) }]);
    // A folder of that name cannot be replaced by a file.
    fs::create_dir_all(folder.path().join("frame.png/occupied")).unwrap();
    let written = snapshot.finish().unwrap();
    assert_eq!(written, [folder.path().join("identities.png")]);
    assert!(!folder.path().join("frame.png.part").exists(), "nothing half written stays");
}

#[test]
fn an_error_is_given_if_no_picture_could_be_written() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("pictures");
    let mut snapshot = Snapshot::create(&folder).unwrap();
    snapshot.observe(&frame(&scene(&[]), 0), &[]);
    fs::remove_dir(&folder).unwrap();
    assert!(matches!(snapshot.finish(), Err(Error::Write { .. })));
}

#[test]
fn pictures_are_for_the_user_alone_and_no_link_is_followed() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let outer = tempfile::tempdir().unwrap();
    let (folder, victim) = (outer.path().join("a/pictures"), outer.path().join("victim"));
    fs::write(&victim, b"precious").unwrap();
    drop(Snapshot::create(&folder).unwrap());
    for name in ["frame.png", "frame.png.part", ".nformer-edge-probe"] {
        symlink(&victim, folder.join(name)).unwrap();
    }
    let mut snapshot = Snapshot::create(&folder).unwrap();
    snapshot.observe(&frame(&scene(&[]), 0), &[]);
    let written = snapshot.finish().unwrap();
    assert_eq!(written, [folder.join("frame.png")]);
    let mode = |path: &Path| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&written[0])), (0o700, 0o600));
    assert_eq!((fs::read(&victim).unwrap(), Decoded::read(&written[0]).width), (b"precious".into(), 160));
}
