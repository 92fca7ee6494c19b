//! `nformer-edge listen`: what a board says, on the host.

use std::io::{Write, stdout};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, ValueEnum};
use nformer_edge::report::Format;
use nformer_edge::report::listen::{self as listener, Style};
use tracing::info;

use super::signals::Stop;

/// Arguments of `listen`.
#[derive(Args)]
pub(crate) struct ListenArgs {
    /// Serial port, file, or - for standard input
    place: String,
    /// Symbols a second of a serial port
    #[arg(long, default_value_t = 115_200)]
    baud: u32,
    /// Encoding; without it the first good message tells
    #[arg(long, value_enum)]
    format: Option<Encoding>,
    /// Print short lines for people instead of NDJSON
    #[arg(long)]
    human: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Encoding {
    Ndjson,
    Binary,
}

/// Prints what comes until it ends or a signal comes; the counts of lost and damaged messages go to the log.
pub(crate) fn listen(args: &ListenArgs) -> Result<ExitCode> {
    let stop = Stop::listen()?;
    let mut input = listener::open(&args.place, args.baud)?;
    let format = args.format.map(|encoding| match encoding {
        Encoding::Ndjson => Format::Ndjson,
        Encoding::Binary => Format::Binary,
    });
    let style = if args.human { Style::Human } else { Style::Ndjson };
    let mut out = stdout().lock();
    let summary = listener::listen(input.as_mut(), format, style, &mut out, stop.flag())?;
    // A reader that is gone has said so already: `listen` ended.
    let _ = out.flush();
    info!("{summary}");
    Ok(ExitCode::SUCCESS)
}
