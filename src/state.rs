//! Identity across restarts: buffer and gallery on the disk, in a folder that one process holds.
//!
//! Glossary: a *generation* is one whole state on the disk; there are two, so that one is always complete. What cannot
//! be used (cut short, damaged, of another program, of other models, sealed with another key) is *set aside*: renamed,
//! reported, and the program goes on without it. *Sealed* means encrypted and authenticated with the key file.
//!
//! What a state holds are embeddings, track and identity numbers and times: no picture. It lives as long as an
//! identity does (`gallery.ttl_s`), and [`forget()`] erases it.

mod clock;
mod contents;
mod files;
mod folder;
mod forget;
mod format;
mod keeper;
mod load;
mod lock;
mod seal;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Result, in_range};

pub use clock::{Away, Clocks, WALL_TOLERANCE};
pub use contents::{Contents, Head, Met, Row};
pub use folder::{Disk, Folder, GENERATIONS};
pub use forget::{Forgotten, Whom, forget};
pub use format::{
    Fingerprint, HEADER, Header, Maker, Refusal, VERSION, draft, encode, finish, header, max_bytes, open,
};
pub use keeper::{Found, Keeper, RESERVE, Saves};
pub use seal::Key;

/// Where the state is kept, and how often it is written.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct StateSettings {
    /// Folder of this process alone; without it nothing is kept.
    pub dir: Option<PathBuf>,
    /// Seconds between two saves, 0.05 to 86400. Flash wears out by writing: keep it long.
    pub interval_s: f32,
    /// File with the key, 32 bytes or 64 hexadecimal digits, that others cannot read; without it the state is not
    /// encrypted.
    pub key_file: Option<PathBuf>,
}

impl Default for StateSettings {
    fn default() -> Self {
        Self { dir: None, interval_s: 60.0, key_file: None }
    }
}

impl StateSettings {
    /// Checks every range.
    ///
    /// # Errors
    /// [`Error::BadSetting`](crate::Error::BadSetting) naming the first key out of range.
    pub fn validate(&self) -> Result<()> {
        in_range("state.interval_s", self.interval_s, 0.05, 86_400.0)
    }
}
