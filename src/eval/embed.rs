//! Crops -> rows, through the backbone as it runs on a board.

use std::fs;

use super::market::Crop;
use super::rows::Rows;
use crate::backbone::Backbone;
use crate::camera::StillDecoder;
use crate::error::{Error, Result};

/// The embedding of each crop, in order; `done` hears how many there are after each. The picture is the region: no box is cut.
///
/// # Errors
/// [`Error::Read`] for a file that cannot be read, [`Error::BadDataset`] for one that is no picture or whose embedding is
/// refused, [`Error::ModelRun`] if the network fails.
pub fn embed(backbone: &mut Backbone, crops: &[Crop], mut done: impl FnMut(usize)) -> Result<Rows> {
    let mut decoder = StillDecoder::new();
    let mut rows = Rows::with_capacity(backbone.width(), crops.len());
    for (index, crop) in crops.iter().enumerate() {
        let bad = |error: Error| match error {
            Error::BadPicture { reason, .. } => Error::BadDataset {
                place: crop.path.clone(),
                expected: "a whole JPEG or PNG picture".into(),
                found: reason,
            },
            Error::BadEmbedding { found } => Error::BadDataset {
                place: crop.path.clone(),
                expected: "a picture the backbone can embed".into(),
                found: format!("an embedding that is {found}"),
            },
            other => other,
        };
        let bytes =
            fs::read(&crop.path).map_err(|source| Error::Read { what: "crop", path: crop.path.clone(), source })?;
        let picture = decoder.decode(&bytes).map_err(bad)?;
        rows.push(backbone.embed(&picture, picture.region()).map_err(bad)?.as_slice())?;
        done(index + 1);
    }
    Ok(rows)
}
