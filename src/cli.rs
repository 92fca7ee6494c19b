//! The command line: parses it, sets up logging, and hands over to one file a command.
//!
//! Data goes to standard output, the log to standard error. Exit codes: 0 done, 1 failed,
//! 2 wrong usage or configuration, 3 no usable source, 4 model or weights refused.

mod devices;
mod doctor;
mod eval;
mod forget;
mod fuse;
mod health;
mod job;
mod keys;
mod listen;
mod memory;
mod models;
mod out;
mod processor;
mod progress;
mod reload;
mod run;
mod sandbox;
mod signals;
mod stack;
mod state;
mod supervisor;
mod wall;

use std::process::ExitCode;

use anyhow::Result;
use clap::{ArgAction, Args, Parser, Subcommand};
use nformer_edge::Error;
use nformer_edge::report::log;

/// Exit codes as the help text states them.
const FAILED: u8 = 1;
const USAGE: u8 = 2;
const SOURCE: u8 = 3;
const MODEL: u8 = 4;

const EXAMPLES: &str = "\
Examples:
  nformer-edge                                   the first camera, else the bundled clip
  nformer-edge run --source /dev/video0 --report.serial.port /dev/ttyUSB0
  nformer-edge run --source clip.avi --snapshot pictures/
  ffmpeg -i in.mp4 -f yuv4mpegpipe -pix_fmt yuv420p - | nformer-edge run --source -
  nformer-edge listen /dev/ttyUSB0               what a board says on its serial line
  nformer-edge run --state.dir /var/lib/nformer-edge    know people again after a restart
  nformer-edge doctor                            what is missing, and how to mend it

Every key of the configuration file is also a flag, under its full name.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 no usable source, 4 model refused.";

/// Person re-identification on a small board: camera in, identities out.
#[derive(Parser)]
#[command(name = "nformer-edge", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: run::RunArgs,
    #[command(flatten)]
    verbosity: Verbosity,
}

#[derive(Args)]
struct Verbosity {
    /// Say more (twice: everything)
    #[arg(short, long, action = ArgAction::Count, global = true)]
    verbose: u8,
    /// Say less (twice: errors only)
    #[arg(short, long, action = ArgAction::Count, global = true)]
    quiet: u8,
}

#[derive(Subcommand)]
enum Command {
    /// Watch a camera or a clip and say who is there (default)
    Run(run::RunArgs),
    /// Decode what a board says: from a serial port, a file or standard input
    Listen(listen::ListenArgs),
    /// List the cameras and what they offer
    Devices,
    /// Print every fixed buffer, the models, and the resident set of a run
    Memory(memory::MemoryArgs),
    /// List the models, or verify their files against their cards
    Models(models::ModelsArgs),
    /// Check camera, serial port, permissions, processor and models, each with its remedy
    Doctor(doctor::DoctorArgs),
    /// Erase people from the state on the disk, while nothing runs on it
    Forget(forget::ForgetArgs),
    /// Run the fusion network over a safetensors file
    Fuse(fuse::FuseArgs),
    /// Measure how well people are told apart, on crops whose people are known
    Eval(eval::EvalArgs),
}

/// Parses the command line and runs the command.
pub(crate) fn main() -> ExitCode {
    if let Err(error) = processor::check() {
        // Nothing that is not needed for these words runs before them.
        eprintln!("{error}");
        return ExitCode::from(FAILED);
    }
    stack::take();
    let cli = Cli::parse();
    log::start(log::level(cli.verbosity.verbose, cli.verbosity.quiet));
    let code = dispatch(cli.command.unwrap_or(Command::Run(cli.run))).unwrap_or_else(|error| {
        tracing::error!("{error:#}");
        ExitCode::from(exit_code(&error))
    });
    log::close();
    code
}

fn dispatch(command: Command) -> Result<ExitCode> {
    match command {
        Command::Run(args) => run::run(&args),
        Command::Listen(args) => listen::listen(&args),
        Command::Devices => Ok(devices::devices()),
        Command::Memory(args) => memory::memory(&args),
        Command::Models(args) => models::models(&args),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Forget(args) => forget::forget(&args),
        Command::Fuse(args) => fuse::fuse(&args),
        Command::Eval(args) => eval::eval(&args),
    }
}

fn exit_code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<Error>() {
        Some(
            Error::UnknownSetting { .. }
            | Error::BadSetting { .. }
            | Error::BadToml { .. }
            | Error::StateKey { .. }
            | Error::Read { what: "the configuration", .. },
        ) => USAGE,
        Some(
            Error::DeviceMissing { .. }
            | Error::NotACamera { .. }
            | Error::UnsupportedFormat { .. }
            | Error::Device { .. }
            | Error::BadClip { .. }
            | Error::BadDataset { .. }
            | Error::Read { what: "clip" | "folder of images" | "image", .. },
        ) => SOURCE,
        Some(
            Error::ModelChecksum { .. }
            | Error::ModelLoad { .. }
            | Error::ModelShape { .. }
            | Error::ModelRun { .. }
            | Error::WeightsNotFinite { .. }
            | Error::EmbeddingWidth { .. }
            | Error::TooLarge { .. },
        ) => MODEL,
        _ => FAILED,
    }
}
