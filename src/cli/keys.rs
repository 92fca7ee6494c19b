//! Every key of the configuration as a flag of the same name.

use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use nformer_edge::settings::{KEYS, Settings};

/// Configuration file and flags, in the order in which they override each other.
pub(crate) struct KeyArgs {
    config: Option<PathBuf>,
    flags: Vec<(&'static str, String)>,
}

impl KeyArgs {
    /// The file named, if one is.
    pub(crate) fn config(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// The settings these arguments ask for.
    pub(crate) fn settings(&self) -> nformer_edge::error::Result<Settings> {
        Settings::load(self.config.as_deref(), &self.flags)
    }
}

impl Args for KeyArgs {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("Configuration file (TOML) [default: /etc/nformer-edge/nformer-edge.toml if it exists]");
        let keys = KEYS.iter().map(|key| {
            let section = key.name.split_once('.').map_or(key.name, |(section, _)| section);
            let arg = Arg::new(key.name).long(key.name).value_name(key.value).help(key.help).help_heading(section);
            match key.value {
                // `--sandbox` alone says yes.
                "BOOL" => arg.num_args(0..=1).default_missing_value("true"),
                _ => arg.allow_hyphen_values(true),
            }
        });
        command.arg(config).args(keys)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for KeyArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let flags = KEYS
            .iter()
            .filter_map(|key| matches.get_one::<String>(key.name).map(|value| (key.name, value.clone())))
            .collect();
        Ok(Self { config: matches.get_one::<PathBuf>("config").cloned(), flags })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
