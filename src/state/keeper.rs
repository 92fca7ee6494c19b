//! Saving while the program runs: the loop writes the state into memory, a thread of its own takes that to the disk.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::folder::{Disk, Folder, GENERATIONS};
use super::format::{self, Fingerprint, Header, Maker};
use super::load::{Loaded, load};
use super::seal::Key;
use super::{Contents, StateSettings};
use crate::error::{Error, Result};
use crate::gallery::IdentityId;

/// Identity numbers that a save sets aside for those given after it, so that none is given twice even if the process
/// is killed. After that they go on behind them; a process that ends on its own gives them back. Only where the disk takes
/// no save for as long as it takes to give all of them can a number come twice after a kill.
pub const RESERVE: u32 = 1024;

/// New identities after which a save comes before its time. Half of the reserve, so that the older generation's holds
/// out too.
const EARLY: u32 = RESERVE / 2;

/// Intervals in which nothing changed after which there is a save all the same: it carries the clock on, by which things
/// expire.
const IDLE: u32 = 15;

/// How often the thread looks for what has expired since it was set aside, at its next save.
const TIDY: Duration = Duration::from_hours(1);

/// Longest wait for the disk at the start and at the end.
const PATIENCE: Duration = Duration::from_secs(5);

/// How the saving goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Saves {
    /// Saves that are on the disk.
    pub saved: u64,
    /// Saves that failed, or were left out because the disk was not done with the one before.
    pub failures: u64,
    /// How old the last state on the disk is; none if there is none of this process.
    pub age: Option<Duration>,
}

/// What an earlier process left.
#[derive(Debug)]
pub struct Found {
    /// The state, if there is one that can be used.
    pub contents: Option<Contents>,
    /// The number for the next new identity.
    pub next_identity: IdentityId,
}

/// Saves the state now and then. The loop never waits for the disk while it runs.
pub struct Keeper {
    interval: Duration,
    /// When the last save was asked for; none before the first.
    asked: Option<Instant>,
    /// What [`Keeper::due`] was told then.
    changes: u64,
    next_identity: IdentityId,
    /// Intervals without a change since then.
    idle: u32,
    /// The one buffer, while the thread does not have it.
    spare: Option<Vec<u8>>,
    /// None once nothing more comes.
    work: Option<SyncSender<Draft>>,
    done: Receiver<Vec<u8>>,
    told: Arc<Told>,
    skipped: u64,
    /// Whether the last save was left out, so that what it should have held is not on the disk.
    left_out: bool,
}

/// A state on its way to the disk.
struct Draft {
    bytes: Vec<u8>,
    reserved: IdentityId,
    taken: Instant,
}

/// What the thread tells.
#[derive(Default)]
struct Told {
    saved: AtomicU64,
    failures: AtomicU64,
    failing: AtomicBool,
    /// The other way round: what the thread is told.
    wall_trusted: AtomicBool,
    last: Mutex<Option<Instant>>,
}

impl Keeper {
    /// Takes the folder of the settings, reads what is there and sets aside what cannot be used, with a word in the log.
    /// `bytes` is the largest state that there will be ([`max_bytes`](super::max_bytes)), `ttl` how long it may live,
    /// `wall_trusted` whether the wall clock is right.
    ///
    /// None without a folder in the settings. Nothing on the disk, and no disk, is an error.
    ///
    /// # Errors
    /// [`Error::StateBusy`], [`Error::StateKey`], [`Error::StateFile`], and [`Error::Report`] if there is no thread to be
    /// had.
    pub fn open(
        settings: &StateSettings,
        maker: Maker,
        bytes: usize,
        ttl: Duration,
        wall_trusted: bool,
    ) -> Result<Option<(Self, Found)>> {
        let Some(dir) = &settings.dir else { return Ok(None) };
        let key = settings.key_file.as_deref().map(Key::read).transpose()?;
        let mut folder = Folder::open(dir)?;
        folder.tidy(ttl, wall_trusted, false);
        let loaded = load(&folder, key.as_ref(), Some(&maker))?;
        for (generation, reason) in &loaded.refused {
            match folder.set_aside(*generation) {
                Ok(path) => tracing::warn!("state: set aside as {}: {reason}", path.display()),
                Err(error) => tracing::warn!("state: generation {generation}: {reason}; it stays there: {error}"),
            }
        }
        let seal = loaded.any_plain && key.is_some();
        let Loaded { contents, older, sequence, reserved, .. } = loaded;
        let fingerprint = maker.fingerprint;
        let writer = Writer { disk: folder, key, fingerprint, older, sequence, erase_both: seal, ttl, tidied: None };
        let keeper = Self::start(Duration::from_secs_f32(settings.interval_s), bytes, writer)?;
        keeper.trust_wall(wall_trusted);
        Ok(Some((keeper, Found { contents, next_identity: reserved })))
    }

    fn start(interval: Duration, bytes: usize, mut writer: Writer<impl Disk + 'static>) -> Result<Self> {
        let (work, drafts) = sync_channel::<Draft>(1);
        let (back, done) = sync_channel(1);
        let told = Arc::new(Told::default());
        let ours = Arc::clone(&told);
        let run = move || {
            for mut draft in drafts {
                let written = writer.write(&mut draft);
                if written.is_ok() {
                    writer.tidy(ours.wall_trusted.load(Ordering::Relaxed));
                }
                ours.note(written, draft.taken);
                if back.send(draft.bytes).is_err() {
                    break;
                }
            }
        };
        let thread = thread::Builder::new().name("state".into()).spawn(run);
        thread.map_err(|source| Error::Report { sink: "state", source })?;
        Ok(Self {
            interval,
            asked: None,
            changes: 0,
            next_identity: IdentityId(1),
            idle: 0,
            spare: Some(Vec::with_capacity(bytes)),
            work: Some(work),
            done,
            told,
            skipped: 0,
            left_out: false,
        })
    }

    /// Whether to call [`Keeper::save`] now: at once for the first time, then each interval in which `changes` became
    /// another number, and before its time if many identities are new. Saying yes starts the next interval.
    pub fn due(&mut self, now: Instant, changes: u64, next_identity: IdentityId) -> bool {
        let Some(asked) = self.asked else {
            self.begin(now, changes, next_identity);
            return true;
        };
        let early = next_identity.0.saturating_sub(self.next_identity.0) >= EARLY;
        if !early && now.saturating_duration_since(asked) < self.interval {
            return false;
        }
        let same = changes == self.changes && !self.left_out && !self.told.failing.load(Ordering::Relaxed);
        if !early && same && self.idle + 1 < IDLE {
            self.idle += 1;
            self.asked = Some(now);
            return false;
        }
        self.begin(now, changes, next_identity);
        true
    }

    fn begin(&mut self, now: Instant, changes: u64, next_identity: IdentityId) {
        (self.asked, self.changes, self.next_identity, self.idle) = (Some(now), changes, next_identity, 0);
    }

    /// Takes the state that `fill` writes behind the header ([`encode`](super::encode)) and has it saved. Returns at once; if the disk
    /// is not done with the last one, this one is left out and counted.
    pub fn save(&mut self, next_identity: IdentityId, fill: impl FnOnce(&mut Vec<u8>)) {
        self.hand_over(IdentityId(next_identity.0.saturating_add(RESERVE)), fill);
    }

    /// Says whether the wall clock is right, by which expires what was set aside.
    pub fn trust_wall(&self, trusted: bool) {
        self.told.wall_trusted.store(trusted, Ordering::Relaxed);
    }

    /// Waits until the save handed over is done, some seconds at most; whether it is.
    pub fn wait(&mut self) -> bool {
        if self.spare.is_none() {
            self.spare = self.done.recv_timeout(PATIENCE).ok();
        }
        self.spare.is_some()
    }

    /// How it goes.
    pub fn saves(&self) -> Saves {
        let last = *self.told.last.lock().unwrap_or_else(PoisonError::into_inner);
        Saves {
            saved: self.told.saved.load(Ordering::Relaxed),
            failures: self.told.failures.load(Ordering::Relaxed) + self.skipped,
            age: last.map(|last| last.elapsed()),
        }
    }

    /// Saves a last time and ends. No identity comes after `next_identity`, so none is reserved.
    ///
    /// A disk that hangs is left alone after some seconds.
    pub fn close(mut self, next_identity: IdentityId, fill: impl FnOnce(&mut Vec<u8>)) -> Saves {
        self.wait();
        self.hand_over(next_identity, fill);
        if !self.wait() {
            tracing::warn!("state: the disk did not take the last state in time");
        }
        self.saves()
    }

    fn hand_over(&mut self, reserved: IdentityId, fill: impl FnOnce(&mut Vec<u8>)) {
        let Some(mut bytes) = self.spare.take().or_else(|| self.done.try_recv().ok()) else {
            if self.skipped == 0 {
                tracing::warn!("state: the disk is not done with the last save; this one is left out");
            }
            self.skipped += 1;
            self.left_out = true;
            return;
        };
        self.left_out = false;
        format::draft(&mut bytes);
        fill(&mut bytes);
        if let Some(work) = &self.work {
            // Cannot fail while the thread lives: it has given back the only buffer.
            let _ = work.try_send(Draft { bytes, reserved, taken: Instant::now() });
        }
    }
}

impl Drop for Keeper {
    /// Waits for the thread, so that the folder is free afterwards; not for ever.
    fn drop(&mut self) {
        self.work = None;
        let deadline = Instant::now() + PATIENCE;
        while self.done.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok() {}
    }
}

impl Told {
    fn note(&self, outcome: io::Result<()>, taken: Instant) {
        match outcome {
            Ok(()) => {
                self.saved.fetch_add(1, Ordering::Relaxed);
                *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(taken);
                if self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("state: saved again");
                }
            }
            Err(error) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                // Once, not each time.
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        "state: cannot be saved: {error}; what is on the disk stays, and each interval tries again"
                    );
                }
            }
        }
    }
}

/// The thread's half.
struct Writer<D> {
    disk: D,
    key: Option<Key>,
    fingerprint: Fingerprint,
    /// The generation that is replaced next.
    older: usize,
    /// Of the last save.
    sequence: u64,
    /// Whether what is there was written without a key and has to go.
    erase_both: bool,
    /// How long what was set aside may stay.
    ttl: Duration,
    /// When that was last looked after.
    tidied: Option<Instant>,
}

impl<D: Disk> Writer<D> {
    fn write(&mut self, draft: &mut Draft) -> io::Result<()> {
        let sequence = self.sequence.saturating_add(1);
        let header =
            Header { sealed: self.key.is_some(), sequence, reserved: draft.reserved, fingerprint: self.fingerprint };
        format::finish(&mut draft.bytes, &header, self.key.as_ref())?;
        self.disk.replace(self.older, &draft.bytes, self.erase_both)?;
        // Only now: a save that failed is tried again in the same place, and the other generation stays.
        (self.sequence, self.older) = (sequence, (self.older + 1) % GENERATIONS);
        if self.erase_both {
            self.disk.replace(self.older, &draft.bytes, true)?;
            self.erase_both = false;
        }
        Ok(())
    }

    /// Erases what has expired, once an hour; with a key also what was set aside without one.
    fn tidy(&mut self, wall_trusted: bool) {
        if self.tidied.is_none_or(|tidied| tidied.elapsed() >= TIDY) {
            self.tidied = Some(Instant::now());
            self.disk.tidy(self.ttl, wall_trusted, self.key.is_some());
        }
    }
}

#[cfg(test)]
mod tests;
