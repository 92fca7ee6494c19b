//! Everything that can go wrong, one variant per remedy.
//!
//! Each message says what was expected, what was found and what to do. A fault that the program
//! survives on its own (a corrupt picture, a silent camera) is not an error but a counted
//! [`crate::frame::Idle`].

pub(crate) mod guard;

use std::fmt::Display;
use std::io;
use std::path::PathBuf;

/// Result of this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // ---- settings ----
    /// A key of the configuration that this program does not know.
    #[error("unknown setting `{key}` in {place}; did you mean `{nearest}`? (`nformer-edge run --help` lists all)")]
    UnknownSetting {
        /// The key as written.
        key: String,
        /// File or flag.
        place: String,
        /// The valid key nearest to it.
        nearest: String,
    },
    /// A setting whose value is out of its range.
    #[error("setting `{key}`: expected {expected}, found {found}; change it in the configuration or by its flag")]
    BadSetting {
        /// Dotted key.
        key: &'static str,
        /// What is allowed.
        expected: String,
        /// What was given.
        found: String,
    },
    /// A text file (configuration, card) that is not valid TOML or does not fit its schema.
    #[error("{path}: not a valid file of its kind: {reason}; correct it at the place named", path = path.display())]
    BadToml {
        /// The file.
        path: PathBuf,
        /// What the parser says, with line and column.
        reason: String,
    },

    // ---- files ----
    /// A file or folder that cannot be read.
    #[error("cannot read {what} {path}: {source}; check the path and its permissions", path = path.display())]
    Read {
        /// What the file is for.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file or folder that cannot be written.
    #[error("cannot write {what} {path}: {source}; choose a folder that can be written, with space left", path = path.display())]
    Write {
        /// What the file is for.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },

    // ---- camera and clips ----
    /// No such device file.
    #[error("no camera at {path}; present: {present}; plug it in or name another with --source", path = path.display())]
    DeviceMissing {
        /// The path asked for.
        path: PathBuf,
        /// The capture devices that do exist, or "none".
        present: String,
    },
    /// A file that is not a V4L2 capture device.
    #[error("{path} is not a camera: {found}; `nformer-edge devices` lists the cameras", path = path.display())]
    NotACamera {
        /// The path asked for.
        path: PathBuf,
        /// What it is.
        found: String,
    },
    /// The device offers no pixel format that this program reads.
    #[error(
        "{place}: no pixel format in common: it offers {offered}, supported are {supported}; choose another camera or mode"
    )]
    UnsupportedFormat {
        /// Device or file.
        place: String,
        /// What it offers.
        offered: String,
        /// What is read here.
        supported: &'static str,
    },
    /// A device operation failed in a way that reconnecting does not mend.
    #[error("{path}: {operation} failed: {source}; {remedy}", path = path.display())]
    Device {
        /// The device.
        path: PathBuf,
        /// What was asked of it.
        operation: &'static str,
        /// The system's answer.
        source: io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// A recorded clip that is not what its name says.
    #[error(
        "{place}: expected {expected}, found {found}; convert it, for example `ffmpeg -i IN -c:v mjpeg -q:v 4 OUT.avi`"
    )]
    BadClip {
        /// File, folder or "standard input".
        place: String,
        /// What a clip of this kind has here.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// Pixels that do not fit the size, format and stride said of them.
    #[error("frame: expected {expected}, found {found}; the source describes its frames wrongly")]
    BadFrame {
        /// What the description asks for.
        expected: String,
        /// What came.
        found: String,
    },

    /// A compressed picture that is damaged, cut short or too large. A source drops and counts it.
    #[error("damaged {kind} picture: {reason}; if it happens often, check the cable, the bandwidth or the storage")]
    BadPicture {
        /// "JPEG" or "PNG".
        kind: &'static str,
        /// What is wrong with it.
        reason: String,
    },

    // ---- models ----
    /// The file's digest is not the card's.
    #[error("{path}: expected sha256 {expected}, found {found}; restore the file, or run `sha256sum` and write the new digest on its card if you replaced it on purpose", path = path.display())]
    ModelChecksum {
        /// The model file.
        path: PathBuf,
        /// Digest on the card.
        expected: String,
        /// Digest of the file.
        found: String,
    },
    /// A model file that cannot be parsed or prepared.
    #[error("{path}: not a model this program can run: {reason}; export it again with fixed input size (see models/README.md)", path = path.display())]
    ModelLoad {
        /// The model file.
        path: PathBuf,
        /// What the loader says.
        reason: String,
    },
    /// Input or output of a model are not what its card says.
    #[error("{path}: {what}: expected {expected}, found {found}; correct the card or export the model to match it", path = path.display())]
    ModelShape {
        /// The model file.
        path: PathBuf,
        /// Which side or tensor.
        what: String,
        /// As the card says.
        expected: String,
        /// As the file has it.
        found: String,
    },
    /// A model failed while running.
    #[error("model {name} failed while running: {reason}; the model file does not fit this program, choose another")]
    ModelRun {
        /// The card's name.
        name: String,
        /// What the runtime says.
        reason: String,
    },
    /// A weight that is not a finite number.
    #[error("{path}: tensor `{tensor}` holds a value that is not finite; the file is damaged or badly trained, restore or retrain it", path = path.display())]
    WeightsNotFinite {
        /// The weights file.
        path: PathBuf,
        /// Which tensor.
        tensor: String,
    },
    /// Something larger than this build was made for.
    #[error(
        "{what}: {found}, but this build holds at most {max}; choose a smaller one or build with a larger `{constant}` (src/size.rs)"
    )]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        found: usize,
        /// The limit.
        max: usize,
        /// Name of the build-time constant.
        constant: &'static str,
    },

    // ---- embeddings ----
    /// Two parts whose embedding widths differ.
    #[error(
        "{what}: expected embeddings of {expected} floats, found {found}; use a backbone and fusion weights of one width, or weights with an input projection"
    )]
    EmbeddingWidth {
        /// Who complains.
        what: &'static str,
        /// The width it needs.
        expected: usize,
        /// The width it got.
        found: usize,
    },
    /// An embedding that is zero or not finite. It is refused at the door and never stored.
    #[error(
        "embedding refused: {found}; it is dropped and counted, look at the picture and the model if it happens often"
    )]
    BadEmbedding {
        /// "all zero" or "not finite".
        found: &'static str,
    },
    /// Rows, landmarks or sizes that the fusion network cannot work on.
    #[error("fusion input: expected {expected}, found {found}; correct the rows or settings given to the network")]
    FusionInput {
        /// What the network needs.
        expected: String,
        /// What it was given, with the row's index where it is one row.
        found: String,
    },

    // ---- state ----
    /// The folder of the state is used by another process.
    #[error(
        "state folder {dir} is in use by process {holder}; stop that one first (`systemctl stop nformer-edge` or `kill {holder}`), or give this one another --state.dir", dir = dir.display()
    )]
    StateBusy {
        /// The folder.
        dir: PathBuf,
        /// Number of the process, as it wrote it there.
        holder: String,
    },
    /// A key file that holds no key, or shows it to everybody.
    #[error("key file {path}: {reason}", path = path.display())]
    StateKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it and what to do.
        reason: String,
    },
    /// A state in which something is to be erased and that cannot be read.
    #[error("the state in {dir} cannot be read: {reason}; set state.key_file to its key, or erase all of it with `nformer-edge forget --all`", dir = dir.display())]
    StateUnreadable {
        /// The folder.
        dir: PathBuf,
        /// Why not.
        reason: String,
    },

    // ---- evaluation ----
    /// A folder, list or picture that cannot be evaluated on.
    #[error("dataset {place}: expected {expected}, found {found}; `nformer-edge eval --help` shows all layouts", place = place.display())]
    BadDataset {
        /// The folder or file.
        place: PathBuf,
        /// What it should hold.
        expected: String,
        /// What it holds.
        found: String,
    },

    // ---- reports ----
    /// The serial port cannot be opened.
    #[error(
        "serial port {port}: {reason}; check the name (`nformer-edge doctor`), the cable, and that you are in the group `dialout`"
    )]
    Serial {
        /// Device name.
        port: String,
        /// The system's answer.
        reason: String,
    },
    /// A place to report to that failed.
    #[error("cannot report to {sink}: {source}; check that the reader is alive")]
    Report {
        /// Which sink.
        sink: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

/// Whether the value of the setting `key` lies between `least` and `most`, both included. Not a number never does.
///
/// # Errors
/// [`Error::BadSetting`] if it does not.
pub(crate) fn in_range<T: Copy + PartialOrd + Display>(key: &'static str, value: T, least: T, most: T) -> Result<()> {
    if value >= least && value <= most {
        return Ok(());
    }
    Err(Error::BadSetting { key, expected: format!("{least} to {most}"), found: value.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_in_range_up_to_its_ends() {
        in_range("a", 1, 1, 3).unwrap();
        in_range("a", 3, 1, 3).unwrap();
        for outside in [0.0, 3.5, f32::NAN, f32::INFINITY] {
            let message = in_range("room.key", outside, 1.0, 3.0).unwrap_err().to_string();
            assert!(message.contains("`room.key`: expected 1 to 3, found"), "{message}");
        }
    }
}
