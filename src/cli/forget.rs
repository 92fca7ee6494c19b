//! `nformer-edge forget`: people out of the state on the disk.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use nformer_edge::gallery::IdentityId;
use nformer_edge::state::{self, Whom};

use super::keys::KeyArgs;
use super::out::say;

/// Arguments of `forget`.
#[derive(Args)]
#[command(group = clap::ArgGroup::new("whom").required(true).multiple(false))]
pub(crate) struct ForgetArgs {
    /// The identity to forget; may be given several times
    #[arg(long, value_name = "N", group = "whom")]
    id: Vec<u32>,
    /// Forget everybody, and erase what was set aside
    #[arg(long, group = "whom")]
    all: bool,
    #[command(flatten)]
    keys: KeyArgs,
}

/// Erases and says what was erased. Somebody who is not there is no failure: they are forgotten.
pub(crate) fn forget(args: &ForgetArgs) -> Result<ExitCode> {
    let settings = args.keys.settings()?;
    let ids: Vec<IdentityId> = args.id.iter().copied().map(IdentityId).collect();
    let whom = if args.all { Whom::All } else { Whom::These(&ids) };
    let forgotten = state::forget(&settings.state, &whom)?;
    say!("forgot {} identities with {} embeddings", forgotten.identities, forgotten.rows);
    if forgotten.aside > 0 {
        say!("erased {} files that were set aside", forgotten.aside);
    }
    if !args.all && forgotten.identities < ids.len() {
        say!("the others are not known (expired, or merged into an older number)");
    }
    Ok(ExitCode::SUCCESS)
}
