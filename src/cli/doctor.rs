//! `nformer-edge doctor`: what is there, what is missing, and how to mend it.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use nformer_edge::camera::devices::{self, DeviceInfo, DeviceKind};
use nformer_edge::model::Card;
use nformer_edge::report::{try_port, vitals};
use nformer_edge::settings::Settings;
use nformer_edge::state::Key;

use super::keys::KeyArgs;
use super::out::say;
use super::sandbox;

/// Arguments of `doctor`.
#[derive(Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    keys: KeyArgs,
}

/// How one check ended.
#[derive(Debug, PartialEq)]
enum Finding {
    /// All is well.
    Good(String),
    /// Works, but not as well as it could.
    Note(String),
    /// Will not work; the second text is the remedy.
    Bad(String, String),
}

use Finding::{Bad, Good, Note};

/// Runs all checks; fails if one did.
pub(crate) fn doctor(args: &DoctorArgs) -> Result<ExitCode> {
    let settings = args.keys.settings()?;
    let checks = [
        ("camera", cameras(&settings, &devices::list())),
        ("serial port", serial(&settings)),
        ("models", models(&settings)),
        ("state", vec![state(&settings)]),
        ("sandbox", vec![sandbox()]),
        ("processor", vec![processor()]),
        ("temperature", vec![temperature()]),
        ("memory", vec![memory()]),
    ];
    let mut healthy = true;
    for (topic, findings) in checks {
        for finding in findings {
            match finding {
                Good(text) => say!("ok    {topic}: {text}"),
                Note(text) => say!("note  {topic}: {text}"),
                Bad(text, remedy) => {
                    healthy = false;
                    say!("BAD   {topic}: {text}\n      remedy: {remedy}");
                }
            }
        }
    }
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::from(super::FAILED) })
}

/// The cameras among the video devices. Boards have a dozen codecs and picture processors beside them, which see nothing;
/// a device that cannot be opened may be a camera.
fn cameras(settings: &Settings, devices: &[DeviceInfo]) -> Vec<Finding> {
    let found: Vec<Finding> = devices
        .iter()
        .filter_map(|device| match &device.kind {
            DeviceKind::Camera => Some(Good(format!("{} ({}), can be opened", device.path.display(), device.card))),
            // It names the device.
            DeviceKind::Unreadable(reason) => Some(Bad(
                reason.clone(),
                "add your user to the group `video` (`sudo usermod -aG video $USER`) and log in again; \
                 if it is busy, stop the program that uses it (`fuser -v /dev/video*`)"
                    .into(),
            )),
            _ => None,
        })
        .collect();
    if !found.is_empty() {
        return found;
    }
    if let Some(sensor) = devices.iter().find(|device| device.kind == DeviceKind::MediaController) {
        let remedy = "use a USB camera, or put v4l2loopback between; `nformer-edge devices` lists what is there";
        return vec![Bad(format!("{} ({}) is {}", sensor.path.display(), sensor.card, sensor.kind), remedy.into())];
    }
    let clip = settings.bundled_clip().map_or("and no bundled clip either".into(), |clip| {
        format!("`run` will play the bundled clip {}", clip.display())
    });
    vec![Note(format!("none found; {clip}"))]
}

fn serial(settings: &Settings) -> Vec<Finding> {
    let Some(port) = &settings.report.serial.port else {
        return vec![Note(
            "none configured; set report.serial.port, for example /dev/ttyUSB0, or /dev/serial0 on a Raspberry Pi"
                .into(),
        )];
    };
    vec![match try_port(port) {
        Ok(()) => Good(format!("{port} can be opened, {} baud", settings.report.serial.baud)),
        Err(error) => Bad(format!("{port} cannot be opened: {error}"), port_remedy(&error).into()),
    }]
}

fn port_remedy(error: &std::io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EBUSY) => {
            "another program has it for itself (`fuser -v` with this path names it); if that is the service of this program, \
             all is well"
        }
        _ => {
            "check the name (`ls /dev/tty*`), plug the adapter in, or add your user to the group `dialout`; on a \
             Raspberry Pi free the port from the console with `raspi-config`"
        }
    }
}

fn models(settings: &Settings) -> Vec<Finding> {
    let names = [&settings.models.detector, &settings.models.backbone, &settings.models.fusion];
    names
        .into_iter()
        .map(|name| {
            let checked = settings.card_path(name).and_then(|path| Card::read(&path)).and_then(|card| {
                card.verify()?;
                Ok(card)
            });
            match checked {
                Ok(card) => Good(format!("{} is what its card says (sha256 {})", card.name, card.digest())),
                Err(error) => Bad(
                    error.to_string(),
                    "restore the file from the package, or name a folder of models with --models.dir".into(),
                ),
            }
        })
        .collect()
}

fn state(settings: &Settings) -> Finding {
    let Some(dir) = &settings.state.dir else {
        return Note("not kept across restarts; set state.dir, for example /var/lib/nformer-edge".into());
    };
    if let Some(Err(error)) = settings.state.key_file.as_deref().map(Key::read) {
        return Bad(error.to_string(), "mend the file that state.key_file names".into());
    }
    if !dir.exists() {
        return Note(format!("{} is not there yet; `run` makes it", dir.display()));
    }
    match OpenOptions::new().read(true).write(true).create(true).truncate(false).open(dir.join("lock")) {
        Ok(_) => Good(format!("{} can be written", dir.display())),
        Err(error) => Bad(
            format!("{} cannot be written: {error}", dir.display()),
            "give the folder to the user of the program (`chown`), and look for a full or read-only disk (`df`, `mount`)"
                .into(),
        ),
    }
}

/// What the kernel can do for `--sandbox`.
fn sandbox() -> Finding {
    let (text, all) = sandbox::available();
    if all { Good(text) } else { Note(format!("{text}; --sandbox goes without what is missing")) }
}

/// What the processor offers to the kernels, by the names of the Rust target features.
fn processor() -> Finding {
    const OF_USE: [&str; 7] = ["avx2", "fma", "avx512vnni", "neon", "dotprod", "fp16", "i8mm"];
    let mut found = super::processor::present();
    found.retain(|name| OF_USE.contains(name));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let text = format!("{}, {cores} cores, {}", std::env::consts::ARCH, found.join(" "));
    let vector_unit = ["avx2", "neon"].iter().any(|name| found.contains(name));
    if vector_unit { Good(text) } else { Note(format!("{text}: no vector unit known here, expect it to be slow")) }
}

fn temperature() -> Finding {
    let board = vitals::board();
    let Some(celsius) = board.temperature_c else {
        return Note("this system does not tell".into());
    };
    if board.throttled == Some(true) {
        return Bad(
            format!("{celsius:.0} degrees, and the firmware lowers the clock now"),
            "add a heat sink or fan, and use a power supply that holds 5.1 V under load".into(),
        );
    }
    if celsius > 80.0 {
        return Bad(format!("{celsius:.0} degrees"), "add a heat sink or fan before the clock is lowered".into());
    }
    Good(format!("{celsius:.0} degrees"))
}

/// Least free memory, in MB, that the main job should find.
const NEEDED_MB: u64 = 200;

fn memory() -> Finding {
    let available = fs::read_to_string(Path::new("/proc/meminfo")).ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    });
    match available {
        None => Note("this system does not tell".into()),
        Some(kilobytes) if kilobytes / 1000 < NEEDED_MB => Bad(
            format!("{} MB available", kilobytes / 1000),
            format!(
                "stop other programs until {NEEDED_MB} MB are free, or build with smaller sizes (targets/BOARD/cargo.toml)"
            ),
        ),
        Some(kilobytes) => Good(format!("{} MB available", kilobytes / 1000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(number: usize, kind: DeviceKind) -> DeviceInfo {
        let path = format!("/dev/video{number}").into();
        DeviceInfo { path, card: "card".into(), driver: "driver".into(), bus: "bus".into(), kind, formats: Vec::new() }
    }

    /// As text: only their kind and what they name matters here.
    fn findings(kinds: &[DeviceKind]) -> Vec<String> {
        let devices: Vec<_> = kinds.iter().cloned().enumerate().map(|(number, kind)| device(number, kind)).collect();
        cameras(&Settings::default(), &devices).iter().map(|finding| format!("{finding:?}")).collect()
    }

    #[test]
    fn codecs_and_metadata_are_no_cameras() {
        let board = [DeviceKind::Processor, DeviceKind::Metadata, DeviceKind::Output, DeviceKind::Other];
        let found = findings(&board);
        assert!(found.len() == 1 && found[0].starts_with("Note(\"none found"), "{found:?}");
        assert_eq!(found, findings(&[]));
    }

    #[test]
    fn a_camera_is_found_among_them() {
        let found = findings(&[DeviceKind::Processor, DeviceKind::MediaController, DeviceKind::Camera]);
        assert_eq!(found, ["Good(\"/dev/video2 (card), can be opened\")"]);
    }

    #[test]
    fn a_raw_sensor_alone_will_not_work() {
        let found = findings(&[DeviceKind::Processor, DeviceKind::MediaController]);
        assert!(found.len() == 1 && found[0].starts_with("Bad(\"/dev/video1"), "{found:?}");
        assert!(found[0].contains("libcamera") && found[0].contains("USB camera"), "{found:?}");
    }

    #[test]
    fn what_cannot_be_opened_is_told() {
        let found = findings(&[DeviceKind::Unreadable("no right".into()), DeviceKind::Processor]);
        assert!(found.len() == 1 && found[0].starts_with("Bad("), "{found:?}");
        assert!(found[0].contains("no right") && found[0].contains("group `video`"), "{found:?}");
    }
}
