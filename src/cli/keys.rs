//! Every key of the configuration as a flag of the same name.

use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use nformer_edge::settings::{KEYS, SYSTEM_FILE, Settings, present};

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

    /// The same with the file named that is read without a name, if it is there: from then on it is needed. A reload while it is
    /// missing would else be one to all defaults.
    pub(crate) fn pinned(&self) -> Self {
        self.pinned_to(Path::new(SYSTEM_FILE))
    }

    fn pinned_to(&self, unnamed: &Path) -> Self {
        let config = self.config.as_deref().or_else(|| present(unnamed));
        Self { config: config.map(Path::to_owned), flags: self.flags.clone() }
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_file_that_was_read_without_a_name_is_needed_from_then_on() {
        let folder = tempfile::tempdir().unwrap();
        let system = folder.path().join("nformer-edge.toml");
        let keys = KeyArgs { config: None, flags: Vec::new() };
        assert_eq!(keys.pinned_to(&system).config(), None);
        fs::write(&system, "[gallery]\nttl_s = 7\n").unwrap();
        let pinned = keys.pinned_to(&system);
        assert_eq!(pinned.settings().unwrap().gallery.ttl_s, 7);
        fs::remove_file(&system).unwrap();
        assert!(pinned.settings().is_err(), "a file that is missing is not one with all defaults");
        // Whoever names a file means that one.
        let named = KeyArgs { config: Some("other.toml".into()), flags: Vec::new() };
        fs::write(&system, "").unwrap();
        assert_eq!(named.pinned_to(&system).config(), Some(Path::new("other.toml")));
    }
}
