//! Plain against the formula, and every version against plain.

use proptest::prelude::*;

use super::super::conv::tests::{Case, Fill, cases, first_difference};
use super::*;

/// Checks one case (its inputs are one a channel): plain against the formula, and all versions against plain, margins and
/// gaps included.
fn check(case: &Case) {
    let channels = case.outputs;
    // In the formula each output has one input.
    let case = &Case { inputs: channels, ..case.clone() };
    let Some(to) = case.to() else { return };
    let (from, x) = (case.from(), case.x());
    let [kh, kw] = case.window.kernel;
    let (values, bias, scales) = (case.weights(kh * kw), case.bias(), case.scales(kh * kw));
    let weights = Weights { values: &values, outputs: channels, scales: &scales, bias: Some(&bias) };
    let untouched: Vec<u8> = (0..to.bytes()).map(|at| at as u8).collect();

    let mut expected = untouched.clone();
    for row in 0..to.height {
        for column in 0..to.width {
            for channel in 0..channels {
                let sum = Case { inputs: 1, ..case.clone() }
                    .sum(&from, &x, [row, column], |_, ky, kx| (channel, values[(channel * kh + ky) * kw + kx]));
                let byte = case.byte(bias[channel] + sum, scales[channel]);
                expected[to.at(row.cast_signed(), column.cast_signed()) + channel] = byte;
            }
        }
    }
    let conv = Depthwise::new(&case.window, &weights, case.input, case.output);
    for conv in conv.versions() {
        let mut found = untouched.clone();
        conv.run(&x, &from, &mut found, &to);
        let name = conv.name();
        assert!(found == expected, "{name}, {case:?}: {:?}", first_difference(&found, &expected));
    }
    let mut found = untouched.clone();
    conv.plain().run(&x, &from, &mut found, &to);
    assert!(found == expected, "plain, {case:?}");
}

#[test]
fn every_number_of_channels() {
    for channels in (1..=130).chain([144, 160, 176, 192, 193]) {
        check(&Case { seed: channels as u64, ..Case::new([4, 3], 3, 1, [1, channels]) });
    }
    for channels in [1, 15, 16, 17, 32, 33, 48, 63, 64, 65, 80, 96, 97] {
        check(&Case::new([5, 6], 3, 2, [1, channels]));
        check(&Case::new([5, 6], 5, 1, [1, channels]));
        check(&Case::new([6, 5], 5, 2, [1, channels]));
        check(&Case { gaps: [[5, 3]; 2], ..Case::new([5, 6], 3, 1, [1, channels]) });
    }
}

#[test]
fn every_width() {
    for width in 1..=20 {
        for stride in 1..=3 {
            check(&Case::new([3, width], 3, stride, [1, 40]));
            check(&Case::new([3, width], 5, stride, [1, 40]));
        }
    }
}

#[test]
fn extremes() {
    for byte in [0, 1, 127, 128, 255] {
        for weight in [i8::MIN, -127, 0, i8::MAX] {
            for zero_point in [0, 128, 255] {
                for kernel in [3, 5] {
                    let input = Quantisation { scale: 0.02, zero_point };
                    let fill = Fill::Constant(byte, weight);
                    check(&Case { input, fill, ..Case::new([4, 3], kernel, 1, [1, 72]) });
                }
            }
        }
    }
}

#[test]
#[should_panic(expected = "leave their buffer")]
fn a_short_buffer_is_refused() {
    let case = Case::new([3, 4], 3, 1, [4, 4]);
    let weights = Weights { values: &case.weights(9), outputs: 4, scales: &[1.0], bias: None };
    let conv = Depthwise::new(&case.window, &weights, case.input, case.output);
    let (to, from) = (Layout::new(3, 4, 4, 0), case.from());
    conv.run(&case.x()[..from.bytes() - 80], &from, &mut vec![0; to.bytes()], &to);
}

#[test]
#[should_panic(expected = "leave their buffer")]
fn a_short_output_is_refused() {
    let case = Case::new([3, 4], 3, 1, [4, 4]);
    let weights = Weights { values: &case.weights(9), outputs: 4, scales: &[1.0], bias: None };
    let conv = Depthwise::new(&case.window, &weights, case.input, case.output);
    conv.run(&case.x(), &case.from(), &mut [0; 47], &Layout::new(3, 4, 4, 0));
}

proptest! {
    #[test]
    fn any_depthwise_convolution(
        case in cases(prop_oneof![4 => Just([3, 3]), 2 => Just([5, 5]), 2 => [1_usize..=7, 1_usize..=9]], true)
    ) {
        check(&case);
    }
}
