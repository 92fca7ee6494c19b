//! Pictures side by side along the channels.

use std::ops::Range;

use super::{Layout, Table};

/// Each input goes to its channels of the output, through a table where its quantisation is not the output's.
///
/// The inputs are copied one by one, so whoever writes an input straight into its channels of the output leaves it out.
#[derive(Clone, Debug)]
pub(in crate::int8) struct Concat {
    parts: Vec<(Range<usize>, Option<Table>)>,
}

impl Concat {
    /// The channels of each input, in order, and its table.
    pub(in crate::int8) fn new(inputs: impl IntoIterator<Item = (usize, Option<Table>)>) -> Self {
        let mut end = 0;
        let parts = inputs.into_iter().map(|(channels, table)| {
            let start = end;
            end += channels;
            (start..end, table)
        });
        Self { parts: parts.collect() }
    }

    /// Channels of the output.
    pub(in crate::int8) fn channels(&self) -> usize {
        self.parts.last().map_or(0, |(range, _)| range.end)
    }

    /// Where input `part` lies in the output.
    pub(in crate::int8) fn part(&self, part: usize, to: &Layout) -> Layout {
        to.channels(self.parts[part].0.clone())
    }

    /// Copies input `part`. `to` is the whole output.
    pub(in crate::int8) fn run(&self, part: usize, x: &[u8], from: &Layout, y: &mut [u8], to: &Layout) {
        assert_eq!(to.channels, self.channels(), "channels of the output");
        let to = self.part(part, to);
        match &self.parts[part].1 {
            Some(table) => table.run(x, from, y, &to),
            None => Table::copy(x, from, y, &to),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::*;
    use super::*;

    proptest! {
        #[test]
        fn each_input_goes_to_its_channels(
            (inputs, y) in ([1..=9_usize, 1..=9_usize], prop::collection::vec(1..=40_usize, 1..=4)).prop_flat_map(
                |([height, width], channels)| {
                    let inputs: Vec<_> = channels.iter().map(|channels| picture([height, width, *channels])).collect();
                    (inputs, picture([height, width, channels.iter().sum()]))
                }
            ),
        ) {
            let table = || Table::new(std::array::from_fn(|byte| 255 - byte as u8));
            let second = |part: usize| part % 2 == 1;
            let concat = Concat::new(
                inputs.iter().enumerate().map(|(part, x)| (x.layout.channels, second(part).then(table))),
            );
            let expected = y.expected(|row, column, channel| {
                let (mut part, mut channel) = (0, channel);
                while channel >= inputs[part].layout.channels {
                    channel -= inputs[part].layout.channels;
                    part += 1;
                }
                let byte = inputs[part].at(row, column, channel);
                if second(part) { 255 - byte } else { byte }
            });
            let found = y.found(|y, to| {
                for (part, x) in inputs.iter().enumerate() {
                    concat.run(part, &x.bytes, &x.layout, y, to);
                }
            });
            prop_assert!(found == expected);
        }
    }
}
