//! How the board is: memory of the process, temperature, throttling. Read from `/proc` and `/sys`;
//! what a system does not offer is `None`.

use std::fs;
use std::path::Path;

/// Resident set of this process in bytes: now, and the most it ever was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resident {
    /// Now (`VmRSS`).
    pub now: u64,
    /// Peak since the process started (`VmHWM`).
    pub peak: u64,
}

/// Temperature and throttling of the board.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Board {
    /// Hottest thermal zone, in degrees Celsius.
    pub temperature_c: Option<f32>,
    /// Whether the firmware lowers the clock right now (Raspberry Pi only).
    pub throttled: Option<bool>,
}

/// Reads the process's resident set.
pub fn resident() -> Option<Resident> {
    parse_status(&fs::read_to_string("/proc/self/status").ok()?)
}

/// Reads the board's state.
pub fn board() -> Board {
    Board {
        temperature_c: hottest(Path::new("/sys/class/thermal")),
        throttled: fs::read_to_string("/sys/devices/platform/soc/soc:firmware/get_throttled")
            .ok()
            .and_then(|text| parse_throttled(&text)),
    }
}

/// Whether the wall clock was set from the network since the board started: many boards have no clock of their own.
pub fn clock_synchronised() -> bool {
    Path::new("/run/systemd/timesync/synchronized").exists()
}

fn parse_status(status: &str) -> Option<Resident> {
    let field = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kilobytes * 1024)
    };
    Some(Resident { now: field("VmRSS:")?, peak: field("VmHWM:")? })
}

fn hottest(zones: &Path) -> Option<f32> {
    let zones = fs::read_dir(zones).ok()?;
    zones
        .filter_map(|zone| fs::read_to_string(zone.ok()?.path().join("temp")).ok())
        .filter_map(|text| text.trim().parse::<f32>().ok())
        .map(|millidegrees| millidegrees / 1000.0)
        .max_by(f32::total_cmp)
}

/// The low four bits say what holds now: under-voltage, capped, throttled, soft temperature limit.
fn parse_throttled(text: &str) -> Option<bool> {
    let text = text.trim();
    let bits = u32::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()?;
    Some(bits & 0b1110 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resident_set_of_this_process_is_read() {
        let resident = resident().expect("Linux has /proc");
        assert!(resident.now > 1 << 20, "a test binary is larger than a megabyte");
        assert!(resident.peak >= resident.now);
    }

    #[test]
    fn a_status_without_the_fields_is_none() {
        assert_eq!(parse_status("Name:\tx\nVmRSS:\t12 kB\n"), None);
        assert_eq!(parse_status("VmHWM:\t  30 kB\nVmRSS:\t12 kB\n"), Some(Resident { now: 12288, peak: 30720 }));
    }

    #[test]
    fn throttling_bits_of_now_count_and_those_of_the_past_do_not() {
        assert_eq!(parse_throttled("50000\n"), Some(false));
        assert_eq!(parse_throttled("0x50004"), Some(true));
        assert_eq!(parse_throttled("?"), None);
    }

    #[test]
    fn the_hottest_zone_counts() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (zone, text) in [("a", "41000\n"), ("b", "52500\n"), ("c", "broken")] {
            fs::create_dir(folder.path().join(zone)).expect("a folder");
            fs::write(folder.path().join(zone).join("temp"), text).expect("a file");
        }
        assert_eq!(hottest(folder.path()), Some(52.5));
        assert_eq!(hottest(&folder.path().join("none")), None);
    }
}
