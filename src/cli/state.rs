//! The state on the disk: taken back at the start, saved while running and at the end.

use std::time::{Duration, Instant};

use anyhow::Result;
use nformer_edge::pipeline::Pipeline;
use nformer_edge::report::vitals;
use nformer_edge::settings::Settings;
use nformer_edge::state::{Clocks, Found, Keeper, Saves};
use tracing::{info, warn};

/// Takes the folder of the settings and gives the pipeline what is kept there; none without a folder.
pub(crate) fn open(settings: &Settings, pipeline: &mut Pipeline) -> Result<Option<Keeper>> {
    if settings.state.dir.is_none() && settings.state.key_file.is_some() {
        warn!("state: there is a key, but no folder; set state.dir if people are to be known after a restart");
    }
    let trusted = vitals::clock_synchronised();
    let ttl = Duration::from_secs(settings.gallery.ttl_s);
    let opened = Keeper::open(&settings.state, pipeline.maker(), pipeline.state_bytes(), ttl, trusted)?;
    let Some((mut keeper, Found { contents, next_identity })) = opened else { return Ok(None) };
    if let Some(contents) = contents {
        let restored = pipeline.restore(&contents, &Clocks::now(trusted), next_identity)?;
        info!(
            "state: {} identities and {} embeddings are known again after {:.0?}; {} expired",
            restored.identities, restored.rows, restored.away, restored.expired
        );
    } else {
        pipeline.number_from(next_identity);
        info!("state: nothing kept; identities count from {}", next_identity.0);
    }
    // Before the first identity is given: this save reserves its number.
    save_if_due(&mut keeper, pipeline);
    if !keeper.wait() {
        warn!("state: the disk does not answer; going on without it");
    }
    Ok(Some(keeper))
}

/// Hands the state over to be saved, if that is due.
pub(crate) fn save_if_due(keeper: &mut Keeper, pipeline: &Pipeline) {
    if keeper.due(Instant::now(), pipeline.changes(), pipeline.next_identity()) {
        keeper.save(pipeline.next_identity(), |buffer| pipeline.save(clocks(), buffer));
    }
}

/// Saves a last time.
pub(crate) fn close(keeper: Keeper, pipeline: &Pipeline) -> Saves {
    keeper.close(pipeline.next_identity(), |buffer| pipeline.save(clocks(), buffer))
}

fn clocks() -> Clocks {
    Clocks::now(vitals::clock_synchronised())
}
