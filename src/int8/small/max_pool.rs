//! The largest byte of a window.

use super::{Layout, Table, Wide, Window, Work, check, pixel};

/// The largest of each window, channel by channel. Padding is left out, as its number is minus infinity; a window of
/// nothing but padding gives byte 0. Then a table, where the output's quantisation is not the input's.
#[derive(Clone, Debug)]
pub(in crate::int8) struct MaxPool {
    wide: Wide,
    window: Window,
    table: Option<Table>,
}

impl MaxPool {
    pub(in crate::int8) fn new(window: Window, table: Option<Table>) -> Self {
        Self { wide: Wide::detect(), window, table }
    }

    /// With these instructions.
    #[cfg(test)]
    pub(in crate::int8) fn with(self, wide: Wide) -> Self {
        Self { wide, ..self }
    }

    /// The height and width of `y` are the caller's, so it also decides how far windows reach beyond the bottom.
    pub(in crate::int8) fn run(&self, x: &[u8], from: &Layout, y: &mut [u8], to: &Layout) {
        assert_eq!(from.channels, to.channels, "a pool keeps the channels");
        check(x.len(), from);
        check(y.len(), to);
        self.wide.run(Pool { window: &self.window, x, from, y, to });
        if let Some(table) = &self.table {
            for row in 0..to.height {
                for column in 0..to.width {
                    table.apply_in_place(&mut y[pixel(to, row, column)..][..to.channels]);
                }
            }
        }
    }
}

struct Pool<'a> {
    window: &'a Window,
    x: &'a [u8],
    from: &'a Layout,
    y: &'a mut [u8],
    to: &'a Layout,
}

impl Work for Pool<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { window, x, from, y, to } = self;
        let steps = [window.dilation[0] * from.row, window.dilation[1] * from.pixel];
        for row in 0..to.height {
            let (first_row, rows) = window.taps(0, row, from.height);
            for column in 0..to.width {
                let (first_column, columns) = window.taps(1, column, from.width);
                let y = &mut y[pixel(to, row, column)..][..to.channels];
                if rows == 0 || columns == 0 {
                    y.fill(0);
                    continue;
                }
                let seen = Seen { x: &x[pixel(from, first_row, first_column)..], taps: [rows, columns], steps };
                let (blocks, rest) = y.as_chunks_mut::<64>();
                for (number, y) in blocks.iter_mut().enumerate() {
                    *y = seen.largest(64 * number);
                }
                let mut done = 64 * blocks.len();
                let (blocks, rest) = rest.as_chunks_mut::<16>();
                for y in blocks {
                    *y = seen.largest(done);
                    done += 16;
                }
                let (blocks, rest) = rest.as_chunks_mut::<4>();
                for y in blocks {
                    *y = seen.largest(done);
                    done += 4;
                }
                for y in rest {
                    [*y] = seen.largest(done);
                    done += 1;
                }
            }
        }
    }
}

/// What one window sees: bytes from its first pixel on, pixels of each axis, and bytes from one to the next.
#[derive(Clone, Copy)]
struct Seen<'a> {
    x: &'a [u8],
    taps: [usize; 2],
    steps: [usize; 2],
}

impl Seen<'_> {
    #[inline(always)]
    fn largest<const N: usize>(self, channel: usize) -> [u8; N] {
        let mut largest = [0; N];
        for row in 0..self.taps[0] {
            for column in 0..self.taps[1] {
                let at = row * self.steps[0] + column * self.steps[1] + channel;
                let Some(x) = self.x[at..].first_chunk::<N>() else { continue };
                for lane in 0..N {
                    largest[lane] = largest[lane].max(x[lane]);
                }
            }
        }
        largest
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::*;
    use super::*;

    proptest! {
        #[test]
        fn equals_its_definition(
            (window, x, y) in pooled(), turn in any::<bool>(),
        ) {
            let table = || Table::new(std::array::from_fn(|byte| 255 - byte as u8));
            let expected = y.expected(|row, column, channel| {
                let seen = seen_by(&window, &x, row, column, channel);
                let largest = seen.into_iter().max();
                match largest {
                    Some(byte) if turn => 255 - byte,
                    Some(byte) => byte,
                    None if turn => 255,
                    None => 0,
                }
            });
            let pool = MaxPool::new(window, turn.then(table));
            for wide in Wide::all() {
                let found = y.found(|y, to| pool.clone().with(wide).run(&x.bytes, &x.layout, y, to));
                prop_assert!(found == expected, "{wide:?}");
            }
        }
    }
}
