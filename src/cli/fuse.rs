//! `nformer-edge fuse`: the fusion network over a file, for research and for checks.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use nformer_edge::nformer;

use super::out::say;

/// Arguments of `fuse`.
#[derive(Args)]
pub(crate) struct FuseArgs {
    /// Fusion weights
    #[arg(long, value_name = "W.safetensors")]
    weights: PathBuf,
    /// `input [N, D]`, and `landmarks [layers, l]` unless the weights bring fixed agents
    #[arg(long, value_name = "CASE.safetensors")]
    input: PathBuf,
    /// Receives `layer0`.., `output` (after the last normalisation) and `final` (for retrieval)
    #[arg(long, value_name = "OUT.safetensors")]
    out: PathBuf,
    /// Neighbours of a row [default: `top_k` of the input's metadata, else of the weights']
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
}

/// Fuses the file and says what was done.
pub(crate) fn fuse(args: &FuseArgs) -> Result<ExitCode> {
    let summary = nformer::fuse(&args.weights, &args.input, &args.out, args.top_k)?;
    let landmarks = if summary.agents { "the weights' fixed agents" } else { "the rows given" };
    say!(
        "fused {} rows, {} layers, k = {}, landmarks: {landmarks}; wrote {}",
        summary.rows,
        summary.layers,
        summary.top_k,
        args.out.display()
    );
    Ok(ExitCode::SUCCESS)
}
