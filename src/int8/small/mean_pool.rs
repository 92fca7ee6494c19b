//! The mean of a window.

use super::{Layout, Output, Quantisation, Rounding, Wide, Window, Work, check, pixel};

/// The mean of each window, channel by channel: `t = (sum - n zx) (sx / (so count))` with `n` the pixels in the picture
/// and the sum exact, then rounded as everywhere.
///
/// `count` is `n`, or all pixels of the window where the padding counts (as zeros). A window of nothing but padding has
/// the mean 0.
#[derive(Clone, Copy, Debug)]
pub(in crate::int8) struct MeanPool {
    wide: Wide,
    window: Window,
    count_padding: bool,
    zero_point: i32,
    scale_in: f32,
    scale_out: f32,
    rounding: Rounding,
}

/// Pixels of a window: so many bytes of 255 that an `i32` holds their sum.
const MOST: usize = i32::MAX as usize / 255;

impl MeanPool {
    /// `count_padding` is meant for windows that do not reach beyond the padding of the file (no `ceil_mode`).
    pub(in crate::int8) fn new(window: Window, count_padding: bool, input: Quantisation, output: &Output) -> Self {
        Self {
            wide: Wide::detect(),
            window,
            count_padding,
            zero_point: input.zero_point.into(),
            scale_in: input.scale,
            scale_out: output.quantisation.scale,
            rounding: Rounding::new(output),
        }
    }

    /// With these instructions.
    #[cfg(test)]
    pub(in crate::int8) fn with(self, wide: Wide) -> Self {
        Self { wide, ..self }
    }

    /// The height and width of `y` are the caller's.
    pub(in crate::int8) fn run(&self, x: &[u8], from: &Layout, y: &mut [u8], to: &Layout) {
        assert_eq!(from.channels, to.channels, "a pool keeps the channels");
        assert!(from.height.saturating_mul(from.width) <= MOST, "a picture too large for its sum");
        check(x.len(), from);
        check(y.len(), to);
        self.wide.run(Pool { of: *self, x, from, y, to });
    }
}

struct Pool<'a> {
    of: MeanPool,
    x: &'a [u8],
    from: &'a Layout,
    y: &'a mut [u8],
    to: &'a Layout,
}

impl Work for Pool<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { of: pool, x, from, y, to } = self;
        let window = &pool.window;
        let steps = [window.dilation[0] * from.row, window.dilation[1] * from.pixel];
        for row in 0..to.height {
            let (first_row, rows) = window.taps(0, row, from.height);
            for column in 0..to.width {
                let (first_column, columns) = window.taps(1, column, from.width);
                let y = &mut y[pixel(to, row, column)..][..to.channels];
                let pixels = rows * columns;
                let count = if pool.count_padding { window.kernel[0] * window.kernel[1] } else { pixels };
                if pixels == 0 {
                    y.fill(pool.rounding.byte::<true>(0.0));
                    continue;
                }
                let mean = Mean {
                    x: &x[pixel(from, first_row, first_column)..],
                    taps: [rows, columns],
                    steps,
                    zeros: pixels as i32 * pool.zero_point,
                    factor: pool.scale_in / (pool.scale_out * count as f32),
                    rounding: pool.rounding,
                };
                let (blocks, rest) = y.as_chunks_mut::<32>();
                for (number, y) in blocks.iter_mut().enumerate() {
                    *y = mean.of(32 * number);
                }
                let mut done = 32 * blocks.len();
                let (blocks, rest) = rest.as_chunks_mut::<8>();
                for y in blocks {
                    *y = mean.of(done);
                    done += 8;
                }
                for y in rest {
                    [*y] = mean.of(done);
                    done += 1;
                }
            }
        }
    }
}

/// One window: bytes from its first pixel on, pixels of each axis, and bytes from one to the next.
#[derive(Clone, Copy)]
struct Mean<'a> {
    x: &'a [u8],
    taps: [usize; 2],
    steps: [usize; 2],
    zeros: i32,
    factor: f32,
    rounding: Rounding,
}

impl Mean<'_> {
    #[inline(always)]
    fn of<const N: usize>(self, channel: usize) -> [u8; N] {
        let mut sums = [0_i32; N];
        for row in 0..self.taps[0] {
            for column in 0..self.taps[1] {
                let at = row * self.steps[0] + column * self.steps[1] + channel;
                let Some(x) = self.x[at..].first_chunk::<N>() else { continue };
                for lane in 0..N {
                    sums[lane] += i32::from(x[lane]);
                }
            }
        }
        let mut means = [0; N];
        for lane in 0..N {
            means[lane] = self.rounding.byte::<true>((sums[lane] - self.zeros) as f32 * self.factor);
        }
        means
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::*;
    use super::*;

    fn compare(
        window: Window,
        count_padding: bool,
        x: &Picture,
        y: &Picture,
        input: Quantisation,
        output: &Output,
    ) -> Result<(), TestCaseError> {
        let pool = MeanPool::new(window, count_padding, input, output);
        let expected = y.expected(|row, column, channel| {
            let seen = seen_by(&window, x, row, column, channel);
            let count = if count_padding { window.kernel.iter().product() } else { seen.len() };
            let sum: i32 = seen.iter().map(|byte| i32::from(*byte) - i32::from(input.zero_point)).sum();
            let steps = sum as f32 * (input.scale / (output.quantisation.scale * count as f32));
            rounded(if seen.is_empty() { 0.0 } else { steps }, output)
        });
        for wide in Wide::all() {
            let found = y.found(|y, to| pool.with(wide).run(&x.bytes, &x.layout, y, to));
            prop_assert!(found == expected, "{wide:?}");
        }
        // Slack: four roundings of numbers below 2^9 steps, and a slope of at most 2.
        let mean: Vec<f64> = seen_by(&window, x, 0, 0, 0).into_iter().map(|byte| real(byte, input)).collect();
        let count = if count_padding { window.kernel.iter().product() } else { mean.len() };
        let mean = mean.iter().sum::<f64>() / count.max(1) as f64;
        let byte = expected[y.layout.at(0, 0)];
        prop_assert!(is_near(byte, mean, output, 1e-3), "{mean}: {byte}");
        Ok(())
    }

    proptest! {
        #[test]
        fn equals_its_definition(
            (window, x, y) in pooled(), input in quantisation(), output in output(), count_padding in any::<bool>(),
        ) {
            compare(window, count_padding, &x, &y, input, &output)?;
        }

        #[test]
        fn all_of_a_picture(
            (x, y) in sizes().prop_flat_map(|sizes| (picture(sizes), picture([1, 1, sizes[2]]))),
            input in quantisation(), output in output(),
        ) {
            compare(Window::global(x.layout.height, x.layout.width), true, &x, &y, input, &output)?;
        }
    }
}
