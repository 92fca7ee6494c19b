//! Where tests find material that cannot be published: photographs of people, other people's weights.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A path below `$NFORMER_EDGE_SHARED` or else `../shared`, if it is there; else nothing, and a line that says so.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let folder = std::env::var_os("NFORMER_EDGE_SHARED").map_or_else(beside, PathBuf::from);
    there(folder.join(path))
}

/// `path` if it is there; else nothing, and a line that says so.
pub(crate) fn there(path: PathBuf) -> Option<PathBuf> {
    if path.exists() {
        return Some(path);
    }
    // Past the capture of passing tests: what was not tested must be seen.
    let _ = writeln!(io::stderr(), "SKIPPED: {} is not there (set NFORMER_EDGE_SHARED)", path.display());
    None
}
