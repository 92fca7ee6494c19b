//! The command `nformer-edge`. See `nformer-edge --help`.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
