//! Other settings while running: new rooms take over what the old ones know.

use std::mem;
use std::path::Path;

use super::{Pipeline, Restored};
use crate::error::{Error, Result};
use crate::state::{self, Clocks, Header};

impl Pipeline {
    /// Goes on where `old` stopped: its rows and identities (to the bit, as over a restart), its tracks and who they are,
    /// its clock and counters. What expired by the settings of this one is left out; a detector of motion learns its
    /// background anew. `old` is of no use afterwards.
    ///
    /// # Errors
    /// [`Error::StateUnreadable`] if the embeddings of `old` are of other models; `old` is as before, then.
    pub fn take_over(&mut self, old: &mut Self) -> Result<Restored> {
        let refused = |reason: String| Error::StateUnreadable { dir: Path::new("memory").into(), reason };
        let mut bytes = Vec::with_capacity(old.state_bytes());
        state::draft(&mut bytes);
        old.save(Clocks::default(), &mut bytes);
        let (reserved, fingerprint) = (old.next_identity(), old.maker().fingerprint);
        let header = Header { sealed: false, sequence: 1, reserved, fingerprint };
        state::finish(&mut bytes, &header, None).map_err(|error| refused(error.to_string()))?;
        let (_, contents) =
            state::open(&mut bytes, None, Some(&self.maker())).map_err(|refusal| refused(refusal.to_string()))?;
        let restored = self.restore(&contents, &Clocks::default(), reserved)?;
        // The source runs on, and its time with it.
        (self.epoch, self.clock, self.passed, self.restored) = (old.epoch, old.clock, old.passed, old.restored);
        self.counters = old.counters();
        self.peopled = old.changes();
        self.timing = mem::take(&mut old.timing);
        self.tracks.take_over(&mut old.tracks);
        self.recognition.take_people(&mut old.recognition);
        Ok(restored)
    }
}
