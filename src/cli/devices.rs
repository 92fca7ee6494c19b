//! `nformer-edge devices`: the cameras and what they offer.

use std::process::ExitCode;

use nformer_edge::camera::devices::{self, DeviceInfo, Sizes};

use super::out::say;

/// Prints one block a video device, and fails if none of them is a camera.
pub(crate) fn devices() -> ExitCode {
    let devices = devices::list();
    for device in &devices {
        print(device);
    }
    if devices.iter().any(DeviceInfo::is_camera) {
        return ExitCode::SUCCESS;
    }
    say!("no camera found; plug one in, or load its driver (`dmesg | tail` tells what the kernel saw)");
    ExitCode::from(super::SOURCE)
}

fn print(device: &DeviceInfo) {
    say!("{}: {}", device.path.display(), device.kind);
    if !device.card.is_empty() {
        say!("  {} (driver {}, {})", device.card, device.driver, device.bus);
    }
    for offer in &device.formats {
        say!("  {} {}: {}", offer.fourcc, offer.description, sizes(&offer.sizes));
    }
}

fn sizes(sizes: &Sizes) -> String {
    match sizes {
        Sizes::Unknown => "sizes not told".into(),
        Sizes::Range { least, most } => format!("{}x{} to {}x{}", least.0, least.1, most.0, most.1),
        Sizes::Listed(sizes) => {
            let sizes = sizes.iter().map(|size| match size.fps {
                Some(fps) => format!("{}x{} at {fps:.0}", size.width, size.height),
                None => format!("{}x{}", size.width, size.height),
            });
            sizes.collect::<Vec<_>>().join(", ")
        }
    }
}
