//! `nformer-edge models`: which models there are, whether their files are what their cards say, and what of a file runs
//! as whole numbers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use nformer_edge::model::{Card, explain};

use super::keys::KeyArgs;
use super::out::say;

/// Arguments of `models`.
#[derive(Args)]
pub(crate) struct ModelsArgs {
    /// What to do
    #[arg(value_enum, default_value = "list")]
    action: Action,
    /// Say of each operator of an ONNX file whether it runs as whole numbers, and if not, why
    #[arg(long, value_name = "FILE", conflicts_with = "action")]
    explain: Option<PathBuf>,
    #[command(flatten)]
    keys: KeyArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Action {
    /// Name, task, licence and figure of each model
    List,
    /// Check each file against the digest on its card
    Verify,
}

/// Lists or verifies all models of the models folder, or explains one file.
pub(crate) fn models(args: &ModelsArgs) -> Result<ExitCode> {
    if let Some(path) = &args.explain {
        say!("{}", explain(path)?);
        return Ok(ExitCode::SUCCESS);
    }
    let settings = args.keys.settings()?;
    let root = settings.models_dir()?;
    let mut sound = true;
    for path in cards(&root)? {
        // One bad card must not hide the others.
        match Card::read(&path) {
            Ok(card) if args.action == Action::List => list(&card),
            Ok(card) => match card.verify() {
                Ok(()) => say!("ok      {}", card.name),
                Err(error) => {
                    sound = false;
                    say!("FAILED  {}: {error}", card.name);
                }
            },
            Err(error) => {
                sound = false;
                say!("FAILED  {error}");
            }
        }
    }
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::from(super::MODEL) })
}

/// The cards in the folders of `root`, by name.
fn cards(root: &Path) -> Result<Vec<PathBuf>> {
    let folders = fs::read_dir(root).with_context(|| format!("cannot list {}", root.display()))?;
    let mut cards: Vec<PathBuf> = folders
        .filter_map(|folder| Some(folder.ok()?.path().join("card.toml")))
        .filter(|card| card.is_file())
        .collect();
    cards.sort();
    Ok(cards)
}

fn list(card: &Card) {
    say!("{}", card.name);
    say!("  task     {:?}", card.task());
    say!("  file     {}", card.file_path().display());
    say!("  licence  {}", card.licence);
    say!("  source   {}", card.source);
    say!("  figure   {}", card.metric);
}
