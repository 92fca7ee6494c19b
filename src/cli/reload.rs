//! SIGHUP: the configuration is read again, and put in force if it is right.
//!
//! The rooms from the detector to the gallery are built anew and take over what the old ones know: rows, identities,
//! tracks, clock. The source, the serial port and the state's folder stay open as they are.

use anyhow::{Result, bail};
use nformer_edge::pipeline::{Models, Pipeline};
use nformer_edge::report::Reporter;
use nformer_edge::settings::Settings;

use super::keys::KeyArgs;

/// Sections, and single keys, that need a restart.
const AT_START: [&str; 8] =
    ["source", "sandbox", "camera.", "clip.", "state.", "report.stdout", "report.queue", "report.serial."];

/// Reads the configuration of `keys` and puts it in force. Gives the models in use now, and what differs from `started`,
/// the settings of the start, and needs a restart. After an error everything is as before.
pub(crate) fn reload(
    keys: &KeyArgs,
    started: &Settings,
    pipeline: &mut Pipeline,
    reporter: &mut Reporter,
) -> Result<(Models, Vec<&'static str>)> {
    let wanted = keys.settings()?;
    let (mut rebuilt, models) = Pipeline::open(&wanted)?;
    if rebuilt.maker().fingerprint != pipeline.maker().fingerprint {
        bail!("another backbone or other fusion weights make other embeddings; restart the program to use them");
    }
    rebuilt.take_over(pipeline)?;
    *pipeline = rebuilt;
    reporter.adjust(&wanted.report);
    let needs_restart = |key: &&str| AT_START.iter().any(|start| key.starts_with(start));
    Ok((models, started.differences(&wanted).into_iter().filter(needs_restart).collect()))
}
