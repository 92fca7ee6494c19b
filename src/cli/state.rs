//! The state on the disk: taken back at the start, saved while running and at the end.

use std::time::{Duration, Instant};

use anyhow::Result;
use nformer_edge::pipeline::Pipeline;
use nformer_edge::report::vitals;
use nformer_edge::settings::Settings;
use nformer_edge::state::{Away, Clocks, Found, Keeper, Saves};
use tracing::{info, warn};

/// The state of a run.
pub(crate) struct Kept {
    keeper: Keeper,
    /// A time away that waits for a clock: many boards are told the time by the network, after the start.
    away: Option<Away>,
}

/// Takes the folder of the settings and gives the pipeline what is kept there; none without a folder.
pub(crate) fn open(settings: &Settings, pipeline: &mut Pipeline) -> Result<Option<Kept>> {
    if settings.state.dir.is_none() && settings.state.key_file.is_some() {
        warn!("state: there is a key, but no folder; set state.dir if people are to be known after a restart");
    }
    let trusted = vitals::clock_synchronised();
    let ttl = Duration::from_secs(settings.gallery.ttl_s);
    let opened = Keeper::open(&settings.state, pipeline.maker(), pipeline.state_bytes(), ttl, trusted)?;
    let Some((keeper, Found { contents, next_identity })) = opened else { return Ok(None) };
    let mut kept = Kept { keeper, away: None };
    if let Some(contents) = contents {
        let now = Clocks::now(trusted);
        let restored = pipeline.restore(&contents, &now, next_identity)?;
        kept.away = Away::untold(&contents.head.clocks, &now);
        info!(
            "state: {} identities and {} embeddings are known again after {:.0?}; {} expired",
            restored.identities, restored.rows, restored.away, restored.expired
        );
    } else {
        pipeline.number_from(next_identity);
        info!("state: nothing kept; identities count from {}", next_identity.0);
    }
    // Before the first identity is given: this save reserves its number.
    kept.save_if_due(pipeline);
    if !kept.keeper.wait() {
        warn!("state: the disk does not answer; going on without it");
    }
    Ok(Some(kept))
}

impl Kept {
    /// Hands the state over to be saved, if that is due.
    pub(crate) fn save_if_due(&mut self, pipeline: &mut Pipeline) {
        if self.keeper.due(Instant::now(), pipeline.changes(), pipeline.next_identity()) {
            let clocks = self.clocks(pipeline);
            self.keeper.save(pipeline.next_identity(), |buffer| pipeline.save(clocks, buffer));
        }
    }

    /// How the saving goes.
    pub(crate) fn saves(&self) -> Saves {
        self.keeper.saves()
    }

    /// Saves a last time.
    pub(crate) fn close(mut self, pipeline: &mut Pipeline) -> Saves {
        let clocks = self.clocks(pipeline);
        self.keeper.close(pipeline.next_identity(), |buffer| pipeline.save(clocks, buffer))
    }

    /// The clocks now. Once they tell how long the program was away, that is counted, and not before.
    fn clocks(&mut self, pipeline: &mut Pipeline) -> Clocks {
        let trusted = vitals::clock_synchronised();
        self.keeper.trust_wall(trusted);
        let now = Clocks::now(trusted);
        if let Some(time) = self.away.and_then(|away| away.told(&now)) {
            self.away = None;
            pipeline.count_away(time);
            info!("state: the clock is set now: the program was away for {time:.0?}");
        }
        now
    }
}
