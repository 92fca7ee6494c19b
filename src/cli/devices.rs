//! `nformer-edge devices`: the cameras and what they offer.

use std::process::ExitCode;

use anyhow::Result;
use nformer_edge::camera::devices;

/// Prints one block a capture device.
pub(crate) fn devices() -> Result<ExitCode> {
    let devices = devices::list();
    if devices.is_empty() {
        println!("no camera found; plug one in, or load its driver (`dmesg | tail` tells what the kernel saw)");
        return Ok(ExitCode::from(super::SOURCE));
    }
    for device in devices {
        print!("{device}");
    }
    Ok(ExitCode::SUCCESS)
}
