use super::*;

fn device(kind: DeviceKind) -> DeviceInfo {
    DeviceInfo {
        path: "/dev/video7".into(),
        card: "Card".into(),
        driver: "driver".into(),
        bus: "bus".into(),
        kind,
        formats: Vec::new(),
    }
}

fn any(present: &[DeviceInfo], bundled: Option<&Path>) -> Result<String> {
    open_any(present, &CameraSettings::default(), &ClipSettings::default(), bundled).map(|(_, why)| why)
}

/// A folder with one picture serves as the bundled clip.
fn clip() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    jpeg_encoder::Encoder::new_file(folder.path().join("1.jpg"), 80)
        .unwrap()
        .encode(&[90; 16 * 16], 16, 16, jpeg_encoder::ColorType::Luma)
        .unwrap();
    folder
}

#[test]
fn without_a_camera_the_clip_is_played_and_the_reason_said() {
    let folder = clip();
    let bundled = Some(folder.path());
    assert!(any(&[], bundled).unwrap().ends_with("because cameras found: none"));
    let codec = any(&[device(DeviceKind::Processor)], bundled).unwrap();
    assert!(codec.contains("none among 1 video devices (/dev/video7: a picture processor"), "{codec}");
    let closed = any(&[device(DeviceKind::Unreadable("add your user to group video".into()))], bundled).unwrap();
    assert!(closed.contains("none that can be opened (add your user to group video)"), "{closed}");
}

#[test]
fn the_first_camera_is_preferred_to_the_clip() {
    // It does not exist, so that the failure tells which one was tried.
    let present = [device(DeviceKind::Metadata), device(DeviceKind::Camera)];
    let folder = clip();
    assert!(matches!(any(&present, Some(folder.path())), Err(Error::DeviceMissing { .. } | Error::NotACamera { .. })));
}

#[test]
fn with_neither_camera_nor_clip_the_error_lists_what_is_there() {
    let message = any(&[], None).unwrap_err().to_string();
    assert!(message.contains("no camera at /dev/video*; present: none"), "{message}");
}

#[test]
fn device_names_are_not_taken_for_clips() {
    assert!(looks_like_a_device(Path::new("/dev/video0")));
    assert!(!looks_like_a_device(Path::new("/dev/shm/video.avi")));
    assert!(!looks_like_a_device(Path::new("video0")));
}
