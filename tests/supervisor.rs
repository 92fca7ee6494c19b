//! The main job under a service manager: it says when it is ready, that its loop goes round, and that it stops.
#![expect(clippy::expect_used, reason = "helpers of tests: what cannot be set up has failed")]

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Command, Output};

/// The bundled clip without a detector's model, in the sandbox as the unit runs it, with the environment that a service manager sets.
fn run(socket: &OsStr, watchdog_us: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nformer-edge"))
        .args(["run", "--source", "tests/clips/pedestrians.avi", "--detector.kind", "motion", "--sandbox"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("NOTIFY_SOCKET", socket)
        .env("WATCHDOG_USEC", watchdog_us)
        .output()
        .expect("the program was built by cargo")
}

fn said(manager: &UnixDatagram) -> Vec<String> {
    manager.set_nonblocking(true).expect("a socket");
    let mut text = [0; 256];
    let mut said = Vec::new();
    while let Ok(length) = manager.recv(&mut text) {
        said.push(String::from_utf8_lossy(&text[..length]).into_owned());
    }
    said
}

#[test]
fn a_manager_hears_ready_then_signs_of_life_then_stopping() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    // As often as the loop goes round and the socket holds: nobody reads while the program runs.
    let output = run(path.as_os_str(), "1");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = said(&manager);
    assert_eq!(said.first().map(String::as_str), Some("READY=1"), "{said:?}");
    assert!(said.len() >= 3 && said[1..said.len() - 1].iter().all(|word| word == "WATCHDOG=1"), "{said:?}");
}

#[test]
fn the_abstract_name_space_is_known_and_a_long_period_is_kept_to() {
    let name = format!("nformer-edge-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let manager = UnixDatagram::bind_addr(&address).expect("a socket");
    let output = run(OsStr::new(&format!("@{name}")), "3600000000");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said(&manager), ["READY=1", "WATCHDOG=1", "STOPPING=1"]);
}

#[test]
fn a_manager_that_is_not_there_costs_a_line_in_the_log() {
    let output = run(OsStr::new("/nowhere/notify"), "30000000");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    assert!(log.contains("/nowhere/notify cannot be reached"), "{log}");
}
