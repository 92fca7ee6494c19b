//! All methods in one table: accuracy beside cost.

use std::time::Duration;

use serde::Serialize;

use super::market::Split;
use super::metrics::Scores;
use super::rows::Rows;
use super::{Arrivals, FusedRows, fuse_online, fuse_pool, mean, rerank, untrained};
use crate::error::Result;
use crate::neighbors::RowKind;
use crate::nformer::{Precision, Weights};
use crate::size::MAX_TOP_K;

/// Neighbours that are tried for the mean without training, and its sweep.
pub const MEAN_KS: [usize; 9] = [2, 3, 4, 5, 6, 8, 10, 15, 20];

/// Neighbours of the network in a sweep.
const NETWORK_KS: [usize; 6] = [3, 5, 8, 10, 15, 20];

/// Rows of the buffer in a sweep.
const SWEPT_BUFFERS: [usize; 5] = [64, 128, 256, 512, 1024];

/// Which rows may see each other before they are ranked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Query and gallery in one pool.
    Transductive,
    /// In order of capture, each crop once, in a buffer of N rows.
    Online,
}

/// What one crop costs in the backbone.
#[derive(Clone, Debug, Serialize)]
pub struct BackboneCost {
    /// Name on its card.
    pub name: String,
    /// Millions of multiply-adds a crop; 0 if its file does not tell.
    pub mmac: f64,
    /// Bytes of weights and input.
    pub bytes: usize,
}

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Method {
    /// What was done to the rows.
    pub name: String,
    /// Which rows could see each other.
    pub protocol: Protocol,
    /// Rows held: N online, all of them in one pool; none where no row sees another.
    pub neighbors: Option<usize>,
    /// What a row of the buffer stands for; none in one pool, or where no row sees another.
    pub rows: Option<RowKind>,
    /// Neighbours k of a row.
    pub top_k: Option<usize>,
    /// Layers of a network.
    pub layers: Option<usize>,
    /// Numbers of what is done after the backbone.
    pub precision: Precision,
    /// Figures.
    #[serde(flatten)]
    pub scores: Scores,
    /// Millions of multiply-adds a crop, backbone included. The comparison with the gallery, which all need, is not.
    pub mmac_per_crop: f64,
    /// Those that the method adds to the backbone.
    pub mmac_added: f64,
    /// Bytes held: backbone, weights, rows and scratch.
    pub bytes: usize,
    /// Those that the method adds to the backbone.
    pub bytes_added: usize,
}

/// A fusion network to be measured.
#[derive(Clone, Debug)]
pub struct Network {
    /// Name on its card.
    pub name: String,
    /// Its weights.
    pub weights: Weights,
    /// Neighbours k.
    pub top_k: usize,
    /// How it is computed.
    pub precision: Precision,
}

/// A buffer of the online protocol.
#[derive(Clone, Copy, Debug)]
pub struct BufferSetup {
    /// Rows N.
    pub capacity: usize,
    /// What a row stands for.
    pub rows: RowKind,
    /// k of the mean without training.
    pub mean_k: usize,
}

/// What the table is made with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The buffers, one part of the table each.
    pub buffers: Vec<BufferSetup>,
    /// What a row of the buffer stands for in the sweep.
    pub swept_rows: RowKind,
    /// The fusion network.
    pub network: Network,
    /// k of the mean without training, in one pool.
    pub pool_k: usize,
    /// Longest gap within a track.
    pub track_gap: Duration,
    /// Frames a second of the recordings.
    pub fps: f64,
    /// Price of a crop before any of this.
    pub backbone: BackboneCost,
}

/// One split with its embeddings, and what figures are made with.
pub struct Bench<'a> {
    split: &'a Split,
    rows: &'a Rows,
    setup: &'a Setup,
}

/// What a method does besides ranking.
#[derive(Clone, Copy)]
struct Extra {
    neighbors: Option<usize>,
    rows: Option<RowKind>,
    top_k: Option<usize>,
    layers: Option<usize>,
    precision: Precision,
    multiply_adds: f64,
    bytes: usize,
}

impl Extra {
    const NONE: Self = Self {
        neighbors: None,
        rows: None,
        top_k: None,
        layers: None,
        precision: Precision::F32,
        multiply_adds: 0.0,
        bytes: 0,
    };
}

impl<'a> Bench<'a> {
    /// The embeddings `rows` of the crops of `split`.
    pub fn new(split: &'a Split, rows: &'a Rows, setup: &'a Setup) -> Self {
        Self { split, rows, setup }
    }

    /// The methods in one pool.
    ///
    /// # Errors
    /// What the fusion network refuses.
    pub fn transductive(&self) -> Result<Vec<Method>> {
        let Setup { network, pool_k, .. } = self.setup;
        let mut table = vec![self.plain(Protocol::Transductive)];
        table.extend(self.pool_means(&[*pool_k])?);
        table.push(self.reranked());
        let control = Network { weights: untrained(&network.weights, untrained::SEED)?, ..network.clone() };
        table.push(self.network("NFormer, untrained", &control, None)?);
        table.push(self.network("NFormer", network, None)?);
        Ok(table)
    }

    /// The methods online.
    ///
    /// # Errors
    /// What the fusion network refuses.
    pub fn online(&self) -> Result<Vec<Method>> {
        let Setup { network, buffers, .. } = self.setup;
        let mut table = vec![self.plain(Protocol::Online), self.track_means()?];
        let control = Network { weights: untrained(&network.weights, untrained::SEED)?, ..network.clone() };
        for buffer in buffers {
            let arrivals = self.arrivals(buffer.rows, buffer.capacity)?;
            table.extend(self.online_means(&arrivals, &[buffer.mean_k])?);
            table.push(self.network("NFormer, untrained", &control, Some(&arrivals))?);
            table.push(self.network("NFormer", network, Some(&arrivals))?);
        }
        Ok(table)
    }

    /// Every N, k and precision, for the mean without training and for each of `networks`; `step` hears what comes
    /// next, how much is done, and of how much.
    ///
    /// # Errors
    /// What the fusion network refuses.
    pub fn sweep(&self, networks: &[Network], step: &mut dyn FnMut(&str, usize, usize)) -> Result<Vec<Method>> {
        let parts = SWEPT_BUFFERS.len() * (1 + networks.len() * NETWORK_KS.len() * 2);
        let (mut done, mut table) = (0, Vec::new());
        let mut next = |what: &str| {
            step(what, done, parts);
            done += 1;
        };
        for buffer in SWEPT_BUFFERS {
            next(&format!("means, N {buffer}"));
            let arrivals = self.arrivals(self.setup.swept_rows, buffer)?;
            table.extend(self.online_means(&arrivals, &MEAN_KS)?);
            for network in networks {
                for top_k in NETWORK_KS {
                    for precision in [Precision::F32, Precision::Int8] {
                        next(&format!("{}, N {buffer}, k {top_k}", network.name));
                        let network = Network { top_k, precision, ..network.clone() };
                        table.push(self.network(&network.name, &network, Some(&arrivals))?);
                    }
                }
            }
        }
        Ok(table)
    }

    /// The k of [`MEAN_KS`] with the best mAP of the mean: in one pool of `rows`, or online.
    ///
    /// # Errors
    /// None for rows of one width.
    pub fn best_mean_k(split: &Split, rows: &Rows, online: Option<&Arrivals>) -> Result<usize> {
        let means = match online {
            None => mean::pool_means(rows, &MEAN_KS)?,
            Some(arrivals) => mean::online_means(arrivals, &MEAN_KS)?,
        };
        let best = MEAN_KS.iter().zip(&means).map(|(k, rows)| (*k, rows.scores(split).map));
        // The smaller k of equals.
        Ok(best.fold((1, f64::NEG_INFINITY), |best, next| if next.1 > best.1 { next } else { best }).0)
    }

    /// The crops as they come into a buffer of `capacity` rows.
    fn arrivals(&self, rows: RowKind, capacity: usize) -> Result<Arrivals> {
        let Setup { fps, track_gap, .. } = *self.setup;
        Arrivals::new(rows, capacity, self.split, self.rows, fps, track_gap)
    }

    fn method(&self, name: &str, protocol: Protocol, scores: Scores, extra: Extra) -> Method {
        let backbone = &self.setup.backbone;
        let mmac_added = extra.multiply_adds / 1e6;
        Method {
            name: name.into(),
            protocol,
            neighbors: extra.neighbors,
            rows: extra.rows,
            top_k: extra.top_k,
            layers: extra.layers,
            precision: extra.precision,
            scores,
            mmac_per_crop: backbone.mmac + mmac_added,
            mmac_added,
            bytes: backbone.bytes + extra.bytes,
            bytes_added: extra.bytes,
        }
    }

    fn plain(&self, protocol: Protocol) -> Method {
        self.method("embedding as it is", protocol, self.rows.scores(self.split), Extra::NONE)
    }

    fn track_means(&self) -> Result<Method> {
        let times = self.split.times(self.setup.fps);
        let means = mean::track_means(self.rows, &self.split.crops, &times, self.setup.track_gap)?;
        let extra = Extra { bytes: self.rows.width() * size_of::<f32>(), ..Extra::NONE };
        Ok(self.method("running mean per track", Protocol::Online, means.scores(self.split), extra))
    }

    fn pool_means(&self, ks: &[usize]) -> Result<Vec<Method>> {
        let (count, width) = (self.rows.len(), self.rows.width());
        let bytes = |k: usize| count * (width * size_of::<f32>() + k * size_of::<u32>());
        let extra = Extra { neighbors: Some(count), ..Extra::NONE };
        Ok(self.means(mean::pool_means(self.rows, ks)?, ks, Protocol::Transductive, extra, bytes))
    }

    fn online_means(&self, arrivals: &Arrivals, ks: &[usize]) -> Result<Vec<Method>> {
        let held = arrivals.capacity;
        let bytes = |_| held * (self.rows.width() + held) * size_of::<f32>();
        let extra = Extra { neighbors: Some(held), rows: Some(arrivals.kind), ..Extra::NONE };
        Ok(self.means(mean::online_means(arrivals, ks)?, ks, Protocol::Online, extra, bytes))
    }

    fn means(
        &self,
        means: Vec<Rows>,
        ks: &[usize],
        protocol: Protocol,
        extra: Extra,
        bytes: impl Fn(usize) -> usize,
    ) -> Vec<Method> {
        let multiply_adds = (extra.neighbors.unwrap_or(0) * self.rows.width()) as f64;
        let method = |(k, means): (&usize, Rows)| {
            let extra = Extra { top_k: Some(*k), multiply_adds, bytes: bytes(*k), ..extra };
            self.method("mean over reciprocal neighbours", protocol, means.scores(self.split), extra)
        };
        ks.iter().zip(means).map(method).collect()
    }

    fn reranked(&self) -> Method {
        let (scores, bytes) = rerank(self.rows, self.split);
        let count = self.rows.len();
        let extra = Extra {
            neighbors: Some(count),
            top_k: Some(rerank::K1),
            multiply_adds: (count * self.rows.width()) as f64,
            bytes: bytes + size_of_val(self.rows.as_slice()),
            ..Extra::NONE
        };
        self.method("k-reciprocal re-ranking", Protocol::Transductive, scores, extra)
    }

    /// The network online, or in one pool.
    fn network(&self, name: &str, network: &Network, online: Option<&Arrivals>) -> Result<Method> {
        let FusedRows { rows, multiply_adds, bytes } = network.fuse(self.rows, online)?;
        let extra = Extra {
            neighbors: Some(online.map_or(self.rows.len(), |arrivals| arrivals.capacity)),
            rows: online.map(|arrivals| arrivals.kind),
            top_k: Some(network.top_k),
            layers: Some(network.weights.layers()),
            precision: network.precision,
            multiply_adds,
            bytes,
        };
        let protocol = if online.is_some() { Protocol::Online } else { Protocol::Transductive };
        Ok(self.method(name, protocol, rows.scores(self.split), extra))
    }
}

impl Network {
    /// `rows` fused in one pool, or online as they come.
    ///
    /// # Errors
    /// What the fusion network refuses.
    pub fn fuse(&self, rows: &Rows, online: Option<&Arrivals>) -> Result<FusedRows> {
        let weights = self.weights.clone().with_precision(self.precision);
        let k = self.top_k.min(MAX_TOP_K);
        match online {
            None => fuse_pool(&weights, k, rows),
            Some(arrivals) => fuse_online(&weights, k, arrivals),
        }
    }
}
