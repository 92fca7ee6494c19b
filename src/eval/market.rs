//! Crops in folders or lists, with Market-1501 names: who, which camera, when.
//!
//! A name is `IDENTITY_cCAMERAsSEQUENCE_FRAME_BOX.jpg` (or `.png`). Source: Zheng et al., "Scalable Person
//! Re-identification: A Benchmark", ICCV 2015. Identity `-1` marks crops that nobody judged: they are left out. Identity 0
//! are other people, each seen by chance: they stand in the gallery and are nobody's match.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::metrics::Label;
use crate::error::{Error, Result};

/// The file with lists.
const LISTS: &str = "splits.json";

/// Folders that hold a gallery, in the order in which they are looked for.
const GALLERIES: [&str; 2] = ["gallery", "bounding_box_test"];

/// The split that figures are reported for.
const REPORTED: &str = "test";

/// The split that settings are chosen on.
const TUNING: &str = "val";

const NAMES: &str = "crops named IDENTITY_cCAMERAsSEQUENCE_FRAME_BOX.jpg";

/// One picture of one person, and what its name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crop {
    /// The file.
    pub path: PathBuf,
    /// Who; 0 for somebody who is looked for by nobody.
    pub identity: i32,
    /// Which camera.
    pub camera: u32,
    /// Which recording; the cameras ran through one at the same time.
    pub sequence: u32,
    /// Frame of the recording.
    pub frame: u32,
}

impl Crop {
    /// What the name of `path` says; none if it is not a Market-1501 name.
    pub fn parse(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let (stem, kind) = name.split_once('.')?;
        if !kind.rsplit('.').next().is_some_and(|last| ["jpg", "jpeg", "png"].contains(&last)) {
            return None;
        }
        let mut parts = stem.split('_');
        let identity = parts.next()?.parse().ok().filter(|identity| *identity >= -1)?;
        let (camera, sequence) = parts.next()?.strip_prefix('c')?.split_once('s')?;
        Some(Self {
            identity,
            camera: camera.parse().ok()?,
            sequence: sequence.parse().ok()?,
            frame: parts.next()?.parse().ok()?,
            path: path.into(),
        })
    }

    /// Who and where, for retrieval.
    pub fn label(&self) -> Label {
        Label { identity: self.identity, camera: self.camera }
    }

    /// Order of capture, cameras interleaved; the name decides among crops of one frame.
    fn order(&self) -> impl Ord + '_ {
        (self.sequence, self.frame, self.camera, self.path.file_name())
    }
}

/// Crops of one split in order of capture, and which of them ask and are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Its name.
    pub name: String,
    /// All crops, in order of capture.
    pub crops: Vec<Crop>,
    /// Places of the queries in `crops`.
    pub query: Vec<usize>,
    /// Places of the gallery in `crops`.
    pub gallery: Vec<usize>,
}

impl Split {
    /// Sorts the crops by time; `limit` keeps the first that many identities, by number.
    fn new(name: &str, query: Vec<Crop>, gallery: Vec<Crop>, limit: Option<usize>) -> Self {
        let kept: BTreeSet<i32> = query.iter().map(|crop| crop.identity).collect();
        let kept: BTreeSet<i32> = kept.into_iter().take(limit.unwrap_or(usize::MAX)).collect();
        let wanted = |crop: &Crop| crop.identity >= 0 && (limit.is_none() || kept.contains(&crop.identity));
        let query: Vec<Crop> = query.into_iter().filter(|crop| wanted(crop)).collect();
        let gallery: Vec<Crop> = gallery.into_iter().filter(|crop| wanted(crop)).collect();

        // A crop of both lists is one crop.
        let mut crops: Vec<&Crop> = query.iter().chain(&gallery).collect();
        crops.sort_by(|one, other| one.order().cmp(&other.order()).then_with(|| one.path.cmp(&other.path)));
        crops.dedup();
        let places: HashMap<&Path, usize> =
            crops.iter().enumerate().map(|(place, crop)| (crop.path.as_path(), place)).collect();
        let places_of =
            |list: &[Crop]| list.iter().filter_map(|crop| places.get(crop.path.as_path()).copied()).collect();
        Self {
            name: name.into(),
            query: places_of(&query),
            gallery: places_of(&gallery),
            crops: crops.into_iter().cloned().collect(),
        }
    }

    /// Who and where the crops at `places` are.
    pub fn labels(&self, places: &[usize]) -> Vec<Label> {
        places.iter().map(|place| self.crops[*place].label()).collect()
    }

    /// When each crop was taken, at `fps` frames a second. Sequences follow each other without a pause: how long the recorder
    /// stood still between two is not known.
    pub fn times(&self, fps: f64) -> Vec<Duration> {
        let (mut start, mut end, mut sequence) = (0.0, 0.0, None);
        let time = |crop: &Crop| {
            if sequence.replace(crop.sequence) != Some(crop.sequence) {
                start = end;
            }
            end = start + f64::from(crop.frame) / fps;
            Duration::from_secs_f64(end)
        };
        self.crops.iter().map(time).collect()
    }

    /// Different people among the crops.
    pub fn identities(&self) -> usize {
        self.crops.iter().map(|crop| crop.identity).filter(|identity| *identity > 0).collect::<BTreeSet<_>>().len()
    }
}

/// Names of the files that ask and are asked for.
#[derive(Clone, Debug, Deserialize)]
struct Lists {
    query: Vec<String>,
    gallery: Vec<String>,
}

/// A folder with `query/` and `gallery/` (or `bounding_box_test/`), or with the lists of a `splits.json`.
#[derive(Clone, Debug)]
pub struct Dataset {
    root: PathBuf,
    /// By name of the split; nothing if the folders are the lists.
    lists: Option<BTreeMap<String, Lists>>,
}

impl Dataset {
    /// Looks at `path`: a folder, or a `splits.json`. No picture is read.
    ///
    /// # Errors
    /// [`Error::Read`] if it cannot be read, [`Error::BadDataset`] if it is none of the two layouts.
    pub fn open(path: &Path) -> Result<Self> {
        let file = if path.is_file() { path.to_owned() } else { path.join(LISTS) };
        if file.is_file() {
            let root = file.parent().map(Path::to_owned).unwrap_or_default();
            return Ok(Self { root, lists: Some(read_lists(&file)?) });
        }
        fs::read_dir(path).map_err(|source| Error::Read { what: "dataset", path: path.into(), source })?;
        let dataset = Self { root: path.into(), lists: None };
        if dataset.root.join("query").is_dir() && dataset.gallery_folder().is_some() {
            return Ok(dataset);
        }
        let expected = format!("a `{LISTS}`, or folders `query` and `gallery`");
        Err(Error::BadDataset { place: path.into(), expected, found: "none of them".into() })
    }

    /// Names of the splits.
    pub fn splits(&self) -> Vec<&str> {
        self.lists.as_ref().map_or(vec![REPORTED], |lists| lists.keys().map(String::as_str).collect())
    }

    /// The split that is evaluated if none is named: `test`, else the first.
    pub fn default_split(&self) -> &str {
        let names = self.splits();
        names.iter().find(|name| **name == REPORTED).or(names.first()).copied().unwrap_or(REPORTED)
    }

    /// The split to choose settings on: `val`, if there is one and it is not `reported` itself.
    pub fn tuning_split(&self, reported: &str) -> Option<&str> {
        self.splits().into_iter().find(|name| *name == TUNING && *name != reported)
    }

    /// The crops of a split; `limit` keeps the first that many identities of its queries.
    ///
    /// # Errors
    /// [`Error::BadDataset`] for a split or file name that is not there, or a list without a crop; [`Error::Read`] if
    /// a folder cannot be read.
    pub fn split(&self, name: &str, limit: Option<usize>) -> Result<Split> {
        let (query, gallery) = match &self.lists {
            Some(lists) => {
                let Some(found) = lists.get(name) else {
                    let expected = format!("one of the splits {}", self.splits().join(", "));
                    return Err(self.bad(expected, format!("`{name}`")));
                };
                (self.listed(&found.query)?, self.listed(&found.gallery)?)
            }
            None if name == REPORTED => {
                let gallery = self.gallery_folder().unwrap_or_else(|| self.root.join(GALLERIES[0]));
                (in_folder(&self.root.join("query"))?, in_folder(&gallery)?)
            }
            None => return Err(self.bad(format!("the split {REPORTED}: folders make one"), format!("`{name}`"))),
        };
        let split = Split::new(name, query, gallery, limit);
        if split.query.is_empty() || split.gallery.is_empty() {
            let found = format!("{} queries, {} in the gallery", split.query.len(), split.gallery.len());
            return Err(self.bad(format!("a query and a gallery of {NAMES}"), found));
        }
        Ok(split)
    }

    fn gallery_folder(&self) -> Option<PathBuf> {
        GALLERIES.iter().map(|name| self.root.join(name)).find(|folder| folder.is_dir())
    }

    fn listed(&self, names: &[String]) -> Result<Vec<Crop>> {
        let images = self.root.join("images");
        let folder = if images.is_dir() { &images } else { &self.root };
        let crop = |name: &String| {
            Crop::parse(&folder.join(name)).ok_or_else(|| self.bad(NAMES.into(), format!("`{name}` in `{LISTS}`")))
        };
        names.iter().map(crop).collect()
    }

    fn bad(&self, expected: String, found: String) -> Error {
        Error::BadDataset { place: self.root.clone(), expected, found }
    }
}

/// The entries of `splits.json` that are lists; others (such as lists of identities) are passed over.
fn read_lists(file: &Path) -> Result<BTreeMap<String, Lists>> {
    let bad = |found: String| Error::BadDataset {
        place: file.into(),
        expected: "an object of splits, each with the lists `query` and `gallery`".into(),
        found,
    };
    let text = fs::read_to_string(file).map_err(|source| Error::Read { what: "lists", path: file.into(), source })?;
    let splits: BTreeMap<String, Value> = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
    let mut lists = BTreeMap::new();
    for (name, value) in splits {
        if value.is_object() {
            let found = serde_json::from_value(value).map_err(|error| bad(format!("`{name}`: {error}")))?;
            lists.insert(name, found);
        }
    }
    if lists.is_empty() { Err(bad("no split".into())) } else { Ok(lists) }
}

/// The crops in a folder; files with other names are passed over.
fn in_folder(folder: &Path) -> Result<Vec<Crop>> {
    let failed = |source| Error::Read { what: "folder of crops", path: folder.into(), source };
    let mut crops = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        crops.extend(Crop::parse(&entry.map_err(failed)?.path()));
    }
    crops.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(crops)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crop(name: &str) -> Option<Crop> {
        Crop::parse(Path::new(name))
    }

    #[test]
    fn a_name_says_who_where_and_when() {
        let found = crop("images/0002_c1s2_050821_02.jpg").unwrap();
        assert_eq!((found.identity, found.camera, found.sequence, found.frame), (2, 1, 2, 50821));
        assert_eq!(crop("-1_c3s1_000001_00.jpg").unwrap().identity, -1);
        assert_eq!(crop("0001_c1s1_001051_00.jpg.jpg").unwrap().frame, 1051);
        assert_eq!(crop("0017_c12s3_000007_01.png").unwrap().camera, 12);
    }

    #[test]
    fn other_names_are_not_crops() {
        for name in
            ["Thumbs.db", "0002_c1s1_x_01.jpg", "0002_1s1_000001_01.jpg", "0002_c1_000001.jpg", "-2_c1s1_1_1.jpg"]
        {
            assert_eq!(crop(name), None, "{name}");
        }
        assert_eq!(crop("0002_c1s1_000001_01.txt"), None);
        assert_eq!(crop("0002_c1s1_99999999999_01.jpg"), None);
        assert_eq!(crop(""), None);
    }

    #[test]
    fn a_split_is_in_order_of_capture_with_cameras_interleaved() {
        let names = ["0002_c2s1_000010_01.jpg", "0001_c1s2_000005_01.jpg", "0001_c1s1_000020_01.jpg"];
        let crops: Vec<Crop> = names.iter().filter_map(|name| crop(name)).collect();
        let split = Split::new("test", vec![crops[1].clone()], vec![crops[2].clone(), crops[0].clone()], None);
        let order: Vec<u32> = split.crops.iter().map(|crop| crop.frame).collect();
        assert_eq!(order, [10, 20, 5]);
        assert_eq!((split.query, split.gallery), (vec![2], vec![1, 0]));
    }

    #[test]
    fn unjudged_crops_are_left_out_and_a_limit_keeps_the_first_identities() {
        let list = |names: &[&str]| names.iter().filter_map(|name| crop(name)).collect::<Vec<_>>();
        let query = list(&["0009_c1s1_000001_01.jpg", "0004_c1s1_000002_01.jpg"]);
        let gallery = list(&[
            "-1_c2s1_000003_01.jpg",
            "0000_c2s1_000004_01.jpg",
            "0009_c2s1_000005_01.jpg",
            "0004_c2s1_000006_01.jpg",
        ]);
        let all = Split::new("test", query.clone(), gallery.clone(), None);
        assert_eq!((all.crops.len(), all.identities()), (5, 2));
        let one = Split::new("test", query, gallery, Some(1));
        assert!(one.crops.iter().all(|crop| crop.identity == 4), "{:?}", one.crops);
        assert_eq!((one.query.len(), one.gallery.len()), (1, 1));
    }
}
