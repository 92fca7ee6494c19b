use super::super::LANES;
use super::super::reference;
use super::*;
use proptest::prelude::*;

/// Most rows of a tile.
const ROWS: usize = 12;

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// A map with random weights in both precisions, and rows for it.
fn maps(rows: usize, inputs: usize, outputs: usize, seed: u64) -> ([Linear; 2], Vec<f32>) {
    let weight = reference::matrix(outputs, inputs, !seed);
    let bias = reference::matrix(1, outputs, seed.rotate_left(7));
    let x = reference::matrix(rows, inputs, seed);
    ([Linear::new(&weight, &bias, inputs), Linear::int8(&weight, &bias, inputs)], x)
}

fn apply(linear: &Linear, x: &[f32]) -> Vec<f32> {
    let mut y = vec![f32::NAN; x.len() / linear.inputs() * linear.outputs()];
    linear.apply(x, &mut y);
    y
}

/// All remainders of rows, inputs and outputs that one property cannot meet often.
fn each_size(mut check: impl FnMut(usize, usize, usize)) {
    for inputs in (1..=2 * LANES + 1).chain([64, 127, 256, 257]) {
        for outputs in [1, LANES - 1, LANES, LANES + 1, 4 * LANES + 3, 9 * LANES] {
            for rows in if inputs % 16 < 2 { 0..=13 } else { 4..=5 } {
                check(rows, inputs, outputs);
            }
        }
    }
}

proptest! {
    /// Every remainder of rows, inputs and outputs. Tolerance: the inputs are at most 300 products below 1.
    #[test]
    fn linear_equals_its_plain_twin(
        rows in 0..=2 * ROWS + 1, inputs in 1..=300_usize, outputs in 1..=2 * LANES + 1, seed in any::<u64>()
    ) {
        let x = reference::matrix(rows, inputs, seed);
        let weight = reference::matrix(outputs, inputs, !seed);
        let bias = reference::matrix(1, outputs, seed.rotate_left(7));
        for linear in [Linear::new(&weight, &bias, inputs), Linear::new(&weight, &bias, inputs).plain()] {
            for (found, expected) in apply(&linear, &x).iter().zip(reference::linear(&x, &weight, &bias)) {
                prop_assert!((f64::from(*found) - expected).abs() < 2e-5, "{found} {expected}");
            }
        }
    }

    /// Tolerance: each product is off by half a step of x (1 / 127 wide at most) times w and half a step of w (1 / 127)
    /// times x, all errors in one direction at the very worst.
    #[test]
    fn int8_is_within_the_bound_of_its_steps(
        rows in 0..=2 * ROWS + 1, inputs in 1..=300_usize, outputs in 1..=2 * LANES + 1, seed in any::<u64>()
    ) {
        let x = reference::matrix(rows, inputs, seed);
        let weight = reference::matrix(outputs, inputs, !seed);
        let bias = reference::matrix(1, outputs, seed.rotate_left(7));
        let bound = inputs as f64 * (0.51 / 127.0 + 0.51 / 127.0) + 1e-5;
        let found = apply(&Linear::int8(&weight, &bias, inputs), &x);
        for (found, expected) in found.iter().zip(reference::linear(&x, &weight, &bias)) {
            prop_assert!((f64::from(*found) - expected).abs() < bound, "{found} {expected}");
        }
    }

    /// What the incremental fusion relies on.
    #[test]
    fn a_row_alone_gives_the_same_bits_as_among_others(
        rows in 2..=2 * ROWS + 1, inputs in 1..=130_usize, outputs in 1..=5 * LANES + 1, seed in any::<u64>()
    ) {
        let (maps, x) = maps(rows, inputs, outputs, seed);
        for linear in maps.into_iter().flat_map(|linear| [linear.clone().plain(), linear]) {
            let together = apply(&linear, &x);
            for (x, expected) in x.chunks(inputs).zip(together.chunks(outputs)) {
                prop_assert_eq!(bits(&apply(&linear, x)), bits(expected));
            }
        }
    }
}

/// The version of this processor and the definition.
#[test]
fn versions_give_the_bits_of_the_definition() {
    each_size(|rows, inputs, outputs| {
        let (maps, x) = maps(rows, inputs, outputs, 13);
        for linear in maps {
            let found = apply(&linear, &x);
            let expected = apply(&linear.plain(), &x);
            assert_eq!(bits(&found), bits(&expected), "[{rows}, {inputs}] x [{outputs}, {inputs}]");
        }
    });
}

#[test]
fn int8_gives_the_same_bits_everywhere() {
    let ([_, linear], x) = maps(9, 203, 77, 17);
    let hash = apply(&linear, &x)
        .iter()
        .flat_map(|value| value.to_bits().to_le_bytes())
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    assert_eq!(hash, 0x0cce_ce68_5f9d_3cda, "{hash:#x}");
}

/// More rows and wider ones than are worked on together.
#[test]
fn blocks_of_rows_do_not_show() {
    for (rows, inputs) in [(140, 16), (67, 1024), (9, 8192), (3, 32768)] {
        let (maps, x) = maps(rows, inputs, 17, 19);
        for linear in maps {
            let together = apply(&linear, &x);
            for (x, expected) in x.chunks(inputs).zip(together.chunks(17)) {
                assert_eq!(bits(&apply(&linear, x)), bits(expected), "{rows} rows of {inputs}");
            }
        }
    }
}

#[test]
fn a_wide_row_stays_exact_enough() {
    let (x, weight) = (reference::matrix(3, 2048, 5), reference::matrix(17, 2048, 6));
    let bias = [1.0; 17];
    let found = apply(&Linear::new(&weight, &bias, 2048), &x);
    for (found, expected) in found.iter().zip(reference::linear(&x, &weight, &bias)) {
        assert!((f64::from(*found) - expected).abs() < 5e-5, "{found} {expected}");
    }
}

#[test]
fn a_row_that_is_not_finite_says_so_and_leaves_others_alone() {
    let (maps, x) = maps(6, 40, 19, 23);
    for linear in maps {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut spoilt = x.clone();
            spoilt[3 * 40 + 7] = bad;
            let (clean, found) = (apply(&linear, &x), apply(&linear, &spoilt));
            assert!(found[3 * 19..4 * 19].iter().all(|value| !value.is_finite()));
            assert_eq!(bits(&found[..3 * 19]), bits(&clean[..3 * 19]));
            assert_eq!(bits(&found[4 * 19..]), bits(&clean[4 * 19..]));
        }
    }
}

#[test]
fn a_row_of_zeros_gives_the_bias() {
    let ([float, int8], _) = maps(0, 33, 18, 29);
    assert_eq!(bits(&apply(&float, &[0.0; 33])), bits(&apply(&int8, &[0.0; 33])));
}

/// A quarter, and three numbers an output.
#[test]
fn bytes_count_what_is_packed() {
    let ([float, int8], _) = maps(0, 1024, 256, 31);
    assert_eq!(float.bytes(), 4 * (256 * 1024 + 256));
    assert_eq!(int8.bytes(), 256 * 1024 + 3 * 4 * 256);
}

#[test]
fn no_inputs_or_outputs_do_nothing() {
    for linear in [Linear::new(&[], &[], 3), Linear::int8(&[], &[], 3)] {
        linear.apply(&[1.0; 6], &mut []);
    }
    for linear in [Linear::new(&[], &[1.0; 2], 0), Linear::int8(&[], &[1.0; 2], 0)] {
        linear.apply(&[], &mut []);
    }
}

#[test]
#[should_panic(expected = "differ in rows")]
fn other_rows_are_refused() {
    Linear::new(&[1.0; 6], &[0.0; 2], 3).apply(&[1.0; 6], &mut [0.0; 6]);
}

#[test]
#[should_panic(expected = "at most 32768 as bytes")]
fn a_row_too_wide_for_bytes_is_refused() {
    let _ = Linear::int8(&vec![0.0; 32769], &[0.0], 32769);
}
