//! Erasing people from the disk while no process runs on it.

use std::io;
use std::time::Duration;

use super::folder::{Disk, Folder, GENERATIONS};
use super::format::{self, Header};
use super::load::{Loaded, load};
use super::seal::Key;
use super::{Clocks, Contents, Head, Met, Row, StateSettings};
use crate::error::{Error, Result};
use crate::gallery::{IdentityId, SavedIdentity};
use crate::tracks::TrackId;

/// Who is to be forgotten.
#[derive(Clone, Copy, Debug)]
pub enum Whom<'a> {
    /// These identities.
    These(&'a [IdentityId]),
    /// Everybody.
    All,
}

/// What was erased.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Identities.
    pub identities: usize,
    /// Their embeddings; with [`Whom::All`] also those of nobody.
    pub rows: usize,
    /// Files that were set aside, only with [`Whom::All`].
    pub aside: usize,
}

/// Erases people from both generations, and overwrites what stood there. Numbers given once are not given again.
///
/// With [`Whom::All`] everything goes, also what cannot be read. A flash card may keep old blocks that no program
/// reaches: only a key file that is destroyed too makes sure. Files that root writes get the owner of the folder.
///
/// # Errors
/// [`Error::BadSetting`] without a folder, [`Error::Read`] if there is none of that name, [`Error::StateBusy`],
/// [`Error::StateKey`], [`Error::StateFile`] if the disk does not give a state out, [`Error::StateUnreadable`] if somebody
/// is to be taken out of a state that cannot be read, and [`Error::Write`].
pub fn forget(settings: &StateSettings, whom: &Whom<'_>) -> Result<Forgotten> {
    let Some(dir) = &settings.dir else {
        let (expected, found) = ("the folder of the state".into(), "none".into());
        return Err(Error::BadSetting { key: "state.dir", expected, found });
    };
    let missing = |source| Error::Read { what: "the state folder", path: dir.clone(), source };
    std::fs::read_dir(dir).map_err(missing)?;
    let key = settings.key_file.as_deref().map(Key::read).transpose()?;
    let mut folder = Folder::open(dir)?;
    folder.tidy(Duration::MAX, false, false);
    let mut loaded = load(&folder, key.as_ref(), None)?;
    let mut forgotten = Forgotten::default();
    match whom {
        Whom::These(ids) => {
            let Some(contents) = &mut loaded.contents else {
                return match loaded.refused.pop() {
                    None => Ok(forgotten),
                    Some((_, reason)) => Err(Error::StateUnreadable { dir: dir.clone(), reason }),
                };
            };
            (forgotten.identities, forgotten.rows) = contents.remove(|id| ids.contains(&id));
        }
        Whom::All => {
            let contents = loaded.contents.get_or_insert_with(nothing);
            (forgotten.identities, forgotten.rows) = contents.clear();
        }
    }
    let failed = |source: io::Error| Error::Write { what: "the state", path: dir.clone(), source };
    write(&mut folder, &loaded, key.as_ref()).map_err(failed)?;
    if matches!(whom, Whom::All) {
        forgotten.aside = folder.erase_aside().map_err(failed)?;
    }
    Ok(forgotten)
}

/// Replaces both generations, the older one first.
fn write(folder: &mut Folder, loaded: &Loaded, key: Option<&Key>) -> io::Result<()> {
    let Some(Contents { head, rows, identities, met }) = &loaded.contents else { return Ok(()) };
    for step in 0..GENERATIONS {
        let mut bytes = Vec::new();
        format::draft(&mut bytes);
        let rows = rows.iter().map(Row::as_slice);
        let identities = identities.iter().map(SavedIdentity::as_slice);
        format::encode(&mut bytes, head, rows, identities, |one, other| met.met(one, other));
        let header = Header {
            sealed: key.is_some(),
            sequence: loaded.sequence.saturating_add(1 + step as u64),
            reserved: loaded.reserved,
            fingerprint: loaded.fingerprint,
        };
        format::finish(&mut bytes, &header, key)?;
        folder.replace((loaded.older + step) % GENERATIONS, &bytes, true)?;
    }
    Ok(())
}

fn nothing() -> Contents {
    let head = Head {
        width: 1,
        clock: Duration::ZERO,
        clocks: Clocks::default(),
        next_identity: IdentityId(1),
        next_track: TrackId(1),
    };
    Contents { head, rows: Vec::new(), identities: Vec::new(), met: Met::default() }
}
