//! Settings of every room: defaults, then the configuration file, then flags; validated once.

mod keys;

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::backbone::BackboneSettings;
use crate::camera::{CameraSettings, ClipSettings};
use crate::crop::CropSettings;
use crate::detector::DetectorSettings;
use crate::error::{Error, Result};
use crate::gallery::GallerySettings;
use crate::neighbors::NeighborSettings;
use crate::nformer::NFormerSettings;
use crate::report::ReportSettings;
use crate::state::StateSettings;
use crate::tracks::TrackSettings;

pub use keys::{KEYS, Key};

/// Where a board keeps its configuration; read if no other is named and it exists.
pub const SYSTEM_FILE: &str = "/etc/nformer-edge/nformer-edge.toml";

/// The clip that is played where no camera is found, below the folder that holds `models`.
const BUNDLED_CLIP: &str = "tests/clips/pedestrians.avi";

/// Where an installed package keeps models and clip.
const INSTALLED: &str = "/usr/share/nformer-edge";

/// Which models to use.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelSettings {
    /// Folder with one folder a model; by default the one nearest above the program, else the installed one.
    pub dir: Option<PathBuf>,
    /// Detector: a folder of `dir`, or the path of a card.
    pub detector: String,
    /// Backbone: a folder of `dir`, or the path of a card.
    pub backbone: String,
    /// Fusion weights: a folder of `dir`, or the path of a card.
    pub fusion: String,
}

impl Default for ModelSettings {
    fn default() -> Self {
        Self {
            dir: None,
            detector: "person_detector".into(),
            backbone: "reid_backbone".into(),
            fusion: "nformer".into(),
        }
    }
}

/// Settings of the whole program.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Camera, clip, folder of images, or `-`; by default the first camera, else the bundled clip.
    pub source: Option<String>,
    /// Whether the program gives up, before the first frame, what it does not need: network, other programs, files that
    /// are not its own.
    pub sandbox: bool,
    /// Which models to use.
    pub models: ModelSettings,
    /// V4L2 cameras.
    pub camera: CameraSettings,
    /// Recorded clips.
    pub clip: ClipSettings,
    /// Finding people.
    pub detector: DetectorSettings,
    /// Following people.
    pub tracks: TrackSettings,
    /// Cutting people out.
    pub crop: CropSettings,
    /// Making embeddings.
    pub backbone: BackboneSettings,
    /// Keeping embeddings.
    pub neighbors: NeighborSettings,
    /// Fusing embeddings.
    pub nformer: NFormerSettings,
    /// Recognising people.
    pub gallery: GallerySettings,
    /// Remembering people across restarts.
    pub state: StateSettings,
    /// Saying so.
    pub report: ReportSettings,
}

impl Settings {
    /// Reads `file` (or [`SYSTEM_FILE`] if none is named and that exists), lays `flags` (dotted key, value as
    /// written) over it, and validates the result.
    ///
    /// # Errors
    /// [`Error::Read`] if the file cannot be read, [`Error::BadToml`] if it or a value does not parse,
    /// [`Error::UnknownSetting`] with the nearest valid key, [`Error::BadSetting`] for a value out of range.
    pub fn load(file: Option<&Path>, flags: &[(&'static str, String)]) -> Result<Self> {
        let file = file.or_else(|| present(Path::new(SYSTEM_FILE)));
        let mut table = match file {
            Some(path) => read(path)?,
            None => Table::new(),
        };
        for (key, value) in flags {
            put(&mut table, key, parse_value(key, value));
        }
        let settings: Self = Value::Table(table).try_into().map_err(|error: toml::de::Error| Error::BadToml {
            path: file.unwrap_or_else(|| Path::new("settings")).into(),
            reason: error.to_string().trim().into(),
        })?;
        settings.validate()?;
        Ok(settings)
    }

    /// Checks every range.
    ///
    /// # Errors
    /// [`Error::BadSetting`] naming the first key out of range.
    pub fn validate(&self) -> Result<()> {
        self.camera.validate()?;
        self.clip.validate()?;
        self.detector.validate()?;
        self.tracks.validate()?;
        self.crop.validate()?;
        self.backbone.validate()?;
        self.neighbors.validate()?;
        self.nformer.validate()?;
        self.gallery.validate()?;
        self.state.validate()?;
        self.report.validate()
    }

    /// The keys whose values are other ones in `other`.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        // Cannot fail: settings are a table, or they would not have been read from one.
        let [own, others] = [self, other].map(|settings| Table::try_from(settings).unwrap_or_default());
        let value = |table: &Table, key: &str| {
            let mut parts = key.split('.');
            let first = table.get(parts.next()?)?.clone();
            parts.try_fold(first, |value, part| value.get(part).cloned())
        };
        KEYS.iter().map(|key| key.name).filter(|key| value(&own, key) != value(&others, key)).collect()
    }

    /// The folder of models.
    ///
    /// # Errors
    /// [`Error::Read`] if there is none.
    pub fn models_dir(&self) -> Result<PathBuf> {
        match &self.models.dir {
            Some(dir) => Ok(dir.clone()),
            None => root().map(|root| root.join("models")).ok_or_else(|| Error::Read {
                what: "the models (name their folder with --models.dir)",
                path: Path::new(INSTALLED).join("models"),
                source: std::io::ErrorKind::NotFound.into(),
            }),
        }
    }

    /// The card of `model`: a folder of [`Settings::models_dir`], or a path of its own.
    ///
    /// # Errors
    /// [`Error::Read`] if there is no folder of models.
    pub fn card_path(&self, model: &str) -> Result<PathBuf> {
        if Path::new(model).extension().is_some_and(|extension| extension == "toml") {
            return Ok(model.into());
        }
        Ok(self.models_dir()?.join(model).join("card.toml"))
    }

    /// The clip that comes with the program, if it is there.
    pub fn bundled_clip(&self) -> Option<PathBuf> {
        Some(root()?.join(BUNDLED_CLIP)).filter(|clip| clip.is_file())
    }
}

/// `file` if it is there. One that cannot be looked at counts as there: reading it says why, and a configuration that is
/// passed over would be one that nobody wrote.
pub fn present(file: &Path) -> Option<&Path> {
    let absent = fs::metadata(file).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
    (!absent).then_some(file)
}

/// The nearest folder above the program that holds `models/`, else the installed one.
fn root() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let above = program.ancestors().skip(1).map(Path::to_path_buf);
    above.chain([PathBuf::from(INSTALLED)]).find(|folder| folder.join("models").is_dir())
}

/// The file as a table whose keys are all known.
fn read(path: &Path) -> Result<Table> {
    let text = fs::read_to_string(path).map_err(|source| Error::Read {
        what: "the configuration",
        path: path.into(),
        source,
    })?;
    let table: Table = text.parse().map_err(|error: toml::de::Error| Error::BadToml {
        path: path.into(),
        reason: error.to_string().trim().into(),
    })?;
    check_keys(&table, "", path)?;
    Ok(table)
}

/// Refuses the first key that is not in [`KEYS`].
fn check_keys(table: &Table, prefix: &str, path: &Path) -> Result<()> {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        let section = format!("{key}.");
        if KEYS.iter().any(|known| known.name == key) {
            continue;
        }
        match value {
            Value::Table(inner) if KEYS.iter().any(|known| known.name.starts_with(&section)) => {
                check_keys(inner, &key, path)?;
            }
            _ => {
                return Err(Error::UnknownSetting {
                    nearest: nearest(&key).into(),
                    key,
                    place: path.display().to_string(),
                });
            }
        }
    }
    Ok(())
}

/// The known key (or section) that looks most like `key`.
fn nearest(key: &str) -> &'static str {
    let sections = KEYS.iter().filter_map(|known| known.name.rsplit_once('.').map(|(section, _)| section));
    let candidates = KEYS.iter().map(|known| known.name).chain(sections);
    let mut best = ("", f64::NEG_INFINITY);
    for candidate in candidates {
        let likeness = strsim::jaro_winkler(key, candidate);
        if likeness > best.1 {
            best = (candidate, likeness);
        }
    }
    best.0
}

/// The text of a flag as a TOML value: what parses as one is one, everything else is a string.
fn parse_value(key: &str, text: &str) -> Value {
    let is_text = KEYS.iter().any(|known| known.name == key && known.is_text);
    if is_text {
        return Value::String(text.into());
    }
    text.parse().unwrap_or_else(|_| Value::String(text.into()))
}

/// Sets the dotted `key`, making the tables on the way.
fn put(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            table.insert(key.into(), value);
        }
        Some((section, rest)) => {
            let inner = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests;
