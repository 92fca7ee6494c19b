//! Standard output of the commands that print for people.

use std::fmt;
use std::io::{self, Write};
use std::process;

use super::FAILED;

/// As `println!`, without its panic: whoever reads along may have seen enough (`| head`), and a disk may be full.
macro_rules! say {
    ($($text:tt)*) => { $crate::cli::out::line(format_args!($($text)*)) };
}

pub(super) use say;

/// One line to standard output. Ends the program where nobody reads it any more, and with a word where it cannot be
/// written.
pub(super) fn line(text: fmt::Arguments<'_>) {
    match writeln!(io::stdout().lock(), "{text}") {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => process::exit(0),
        Err(error) => {
            // What cannot be said here either is seen in the exit code.
            let _ = writeln!(io::stderr(), "error: standard output cannot be written: {error}");
            process::exit(FAILED.into());
        }
    }
}
