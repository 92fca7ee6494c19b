use std::io::Write;
use std::sync::{Arc, Mutex};

use super::message::{Health, Sighting, State};
use super::*;

/// What a sink wrote.
#[derive(Clone, Default)]
pub(super) struct Page(pub(super) Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn sighting(time_ms: u64) -> Message {
    Message::Sighting(Sighting {
        frame: time_ms / 100,
        time_ms,
        wall: None,
        track: 1,
        identity: None,
        state: State::Tracked,
        similarity: None,
        bbox: [0.0_f32.into(); 4],
        score: 1.0_f32.into(),
    })
}

/// The types of the lines that come out for two sightings 100 ms apart and a health message.
fn printed(settings: &ReportSettings, live: bool) -> Vec<String> {
    let page = Page::default();
    let mut reporter = Reporter::open_with(settings, live, page.clone()).unwrap();
    for message in [sighting(0), sighting(100), Message::Health(Health::default())] {
        reporter.send(&message);
    }
    assert_eq!(reporter.close(), 0);
    let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
    let line_type = |line: &str| line.split('"').nth(3).unwrap().to_owned();
    text.lines().map(line_type).collect()
}

#[test]
fn health_goes_to_standard_output_as_set() {
    for (choice, live, count) in [
        (HealthOnStdout::Auto, true, 3),
        (HealthOnStdout::Auto, false, 2),
        (HealthOnStdout::Always, false, 3),
        (HealthOnStdout::Never, true, 2),
    ] {
        let settings = ReportSettings { health_on_stdout: choice, ..ReportSettings::default() };
        assert_eq!(printed(&settings, live).len(), count, "{choice:?} live: {live}");
    }
}

#[test]
fn the_rate_limit_holds_for_sightings_only() {
    let settings = ReportSettings { rate_hz: 1.0, ..ReportSettings::default() };
    assert_eq!(printed(&settings, true), ["sighting", "health"]);
}

#[test]
fn nothing_is_printed_when_standard_output_is_off() {
    let settings = ReportSettings { stdout: false, ..ReportSettings::default() };
    assert_eq!(printed(&settings, true), [""; 0]);
    assert_eq!(settings.queue_bytes(), 0);
}

#[test]
fn health_is_due_each_interval() {
    let settings = ReportSettings { stdout: false, ..ReportSettings::default() };
    let mut reporter = Reporter::open(&settings, true).unwrap();
    let due: Vec<_> = (0..60_000).step_by(100).filter(|t| reporter.health_due(*t)).collect();
    assert_eq!(due, [10_000, 20_000, 30_000, 40_000, 50_000]);
    assert!(!reporter.health_due(5), "the clock went back");
    assert!(reporter.health_due(10_005));
    let never = ReportSettings { health_interval_s: 0, ..settings };
    let mut reporter = Reporter::open(&never, true).unwrap();
    assert!((0..60_000).all(|t| !reporter.health_due(t)));
}

#[test]
fn settings_out_of_range_name_their_key() {
    let good = ReportSettings::default();
    assert!(good.validate().is_ok());
    for (settings, key) in [
        (ReportSettings { health_interval_s: 90_000, ..good.clone() }, "report.health_interval_s"),
        (ReportSettings { rate_hz: f32::NAN, ..good.clone() }, "report.rate_hz"),
        (ReportSettings { rate_hz: -1.0, ..good.clone() }, "report.rate_hz"),
        (ReportSettings { queue: 0, ..good.clone() }, "report.queue"),
        (ReportSettings { serial: SerialSettings { baud: 1, ..good.serial.clone() }, ..good }, "report.serial.baud"),
    ] {
        assert!(settings.validate().unwrap_err().to_string().contains(key));
        assert!(Reporter::open(&settings, true).is_err());
    }
}

#[test]
fn settings_are_read_from_toml_and_unknown_keys_are_refused() {
    let settings: ReportSettings = toml::from_str(
        "rate_hz = 5.0\nhealth_on_stdout = \"never\"\n[serial]\nport = \"/dev/ttyS0\"\nformat = \"binary\"",
    )
    .unwrap();
    assert_eq!(settings.serial.format, Format::Binary);
    assert_eq!(settings.health_on_stdout, HealthOnStdout::Never);
    assert_eq!(settings.queue, 256);
    assert!(toml::from_str::<ReportSettings>("rate = 5").is_err());
}
