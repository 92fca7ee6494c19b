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
    pub(in crate::int8) fn with(mut self, wide: Wide) -> Self {
        self.wide = wide;
        self
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
    pub(in crate::int8) fn with(mut self, wide: Wide) -> Self {
        self.wide = wide;
        self
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::*;
    use super::*;

    proptest! {
        #[test]
        fn planes_and_back(
            (x, row, y) in sizes().prop_flat_map(|sizes| {
                (picture(sizes), picture([1, 1, sizes.iter().product()]), picture(sizes))
            }),
        ) {
            let Layout { height, width, .. } = x.layout;
            let flat = row.expected(|_, _, at| x.at(at / width % height, at % width, at / (width * height)));
            let back = y.expected(|row, column, channel| x.at(row, column, channel));
            for wide in Wide::all() {
                let found = row.found(|y, to| FlattenNchw::new().with(wide).run(&x.bytes, &x.layout, y, to));
                prop_assert!(found == flat, "{wide:?}");
                let found = y.found(|y, to| UnflattenNchw::new().with(wide).run(&flat, &row.layout, y, to));
                prop_assert!(found == back, "{wide:?}");
            }
        }
    }
}
