//! From channels side by side to planes and back: what a reshape of an ONNX picture to a row means.

use super::edges::{FromPicture, Same, ToPicture};
use super::{Layout, Order, Wide};

/// `[H, W, C]` to a row `[1, 1, C H W]` in the order of the file, `[C, H, W]`.
#[derive(Clone, Copy, Debug)]
pub(in crate::int8) struct FlattenNchw {
    wide: Wide,
}

/// A row `[1, 1, C H W]` in the order of the file, `[C, H, W]`, to `[H, W, C]`.
#[derive(Clone, Copy, Debug)]
pub(in crate::int8) struct UnflattenNchw {
    wide: Wide,
}

impl FlattenNchw {
    pub(in crate::int8) fn new() -> Self {
        Self { wide: Wide::detect() }
    }

    /// With these instructions.
    #[cfg(test)]
    pub(in crate::int8) fn with(self, wide: Wide) -> Self {
        Self { wide }
    }

    pub(in crate::int8) fn run(self, x: &[u8], from: &Layout, y: &mut [u8], to: &Layout) {
        assert_row(to, from);
        let y = &mut y[to.start..][..to.channels];
        let work = FromPicture { cast: Same, order: Order::Nchw, x, from, y };
        work.check();
        self.wide.run(work);
    }
}

impl UnflattenNchw {
    pub(in crate::int8) fn new() -> Self {
        Self { wide: Wide::detect() }
    }

    /// With these instructions.
    #[cfg(test)]
    pub(in crate::int8) fn with(self, wide: Wide) -> Self {
        Self { wide }
    }

    pub(in crate::int8) fn run(self, x: &[u8], from: &Layout, y: &mut [u8], to: &Layout) {
        assert_row(from, to);
        let x = &x[from.start..][..from.channels];
        let work = ToPicture { cast: Same, order: Order::Nchw, x, y, to };
        work.check();
        self.wide.run(work);
    }
}

fn assert_row(row: &Layout, picture: &Layout) {
    assert_eq!([row.height, row.width, row.channels], [1, 1, picture.len()], "a row that holds the picture");
}
