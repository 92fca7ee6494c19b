use proptest::prelude::*;

use super::super::testing::*;
use super::*;

const MODES: [Coordinates; 4] =
    [Coordinates::HalfPixel, Coordinates::PytorchHalfPixel, Coordinates::AlignCorners, Coordinates::Asymmetric];

const NEAREST: [Nearest; 4] = [Nearest::Floor, Nearest::Ceil, Nearest::RoundPreferFloor, Nearest::RoundPreferCeil];

/// A resize with its input and output; by 2 half of the time.
fn resized() -> impl Strategy<Value = (Sizes, Picture, Picture)> {
    let to = prop_oneof![Just(None), [1..=12_usize, 1..=12_usize].prop_map(Some)];
    ([1..=9_usize, 1..=9_usize], to, 1..=70_usize, prop::sample::select(&MODES)).prop_flat_map(
        |(from, to, channels, mode)| {
            let to = to.unwrap_or(from.map(|length| 2 * length));
            let sizes = Sizes::new(from, to, mode);
            (Just(sizes), picture([from[0], from[1], channels]), picture([to[0], to[1], channels]))
        },
    )
}

/// The definition of the operator, in its words.
fn original(sizes: &Sizes, axis: usize, at: usize) -> f64 {
    let scale = f64::from(sizes.scale[axis]);
    let (resized, length, length_resized) = (at as f64, sizes.from[axis] as f64, sizes.to[axis] as f64);
    match sizes.coordinates {
        Coordinates::HalfPixel => (resized + 0.5) / scale - 0.5,
        Coordinates::PytorchHalfPixel if length_resized > 1.0 => (resized + 0.5) / scale - 0.5,
        Coordinates::AlignCorners if length_resized > 1.0 => resized * (length - 1.0) / (length_resized - 1.0),
        Coordinates::PytorchHalfPixel | Coordinates::AlignCorners => 0.0,
        Coordinates::Asymmetric => resized / scale,
    }
}

/// The pixel nearest to `place`, or none where rounding decides which it is.
fn nearest_pixel(place: f64, nearest: Nearest, length: usize) -> Option<usize> {
    let half = place - place.floor();
    let edge =
        if matches!(nearest, Nearest::Floor | Nearest::Ceil) { half.min(1.0 - half) } else { (half - 0.5).abs() };
    // Ties that floats hold exactly are part of the definition.
    let exact = (place * 64.0).fract() == 0.0;
    let down = match nearest {
        Nearest::Floor => true,
        Nearest::Ceil => false,
        Nearest::RoundPreferFloor => half <= 0.5,
        Nearest::RoundPreferCeil => half < 0.5,
    };
    let found = if down { place.floor() } else { place.ceil() };
    (exact || edge > 1e-5).then_some(found.clamp(0.0, length as f64 - 1.0) as usize)
}

proptest! {
    #[test]
    fn nearest_equals_its_definition(
        (sizes, x, y) in resized(), nearest in prop::sample::select(&NEAREST), turn in any::<bool>(),
    ) {
        let table = || Table::new(std::array::from_fn(|byte| 255 - byte as u8));
        let resize = Resize::nearest(&sizes, nearest, turn.then(table));
        for (axis, taps) in [&resize.rows, &resize.columns].into_iter().enumerate() {
            for (at, tap) in taps.iter().enumerate() {
                let expected = nearest_pixel(original(&sizes, axis, at), nearest, sizes.from[axis]);
                prop_assert!(expected.is_none_or(|expected| expected == tap.first), "{sizes:?} {axis} {at} {tap:?}");
            }
        }
        let expected = y.expected(|row, column, channel| {
            let byte = x.at(resize.rows[row].first, resize.columns[column].first, channel);
            if turn { 255 - byte } else { byte }
        });
        prop_assert!(y.found(|y, to| resize.run(&x.bytes, &x.layout, y, to)) == expected);
    }

    /// The bits of the formula, and the number by the definition. Slack: places below 12 are exact to 2e-6, times a step
    /// of 255 between neighbours, times the ratio of the scales.
    #[test]
    fn linear_equals_its_definition((sizes, x, y) in resized(), input in quantisation(), output in output()) {
        let resize = Resize::linear(&sizes, input, &output);
        let factor = input.scale / output.quantisation.scale;
        let expected = y.expected(|row, column, channel| {
            let (down, right) = (resize.rows[row], resize.columns[column]);
            let byte = |row, column| f32::from(x.at(row, column, channel));
            let (left, up) = (1.0 - right.weight, 1.0 - down.weight);
            let upper = byte(down.first, right.first) * left + byte(down.first, right.second) * right.weight;
            let lower = byte(down.second, right.first) * left + byte(down.second, right.second) * right.weight;
            let blend = upper * up + lower * down.weight;
            rounded((blend - f32::from(input.zero_point)) * factor, &output)
        });
        for wide in Wide::all() {
            let found = y.found(|y, to| resize.clone().with(wide).run(&x.bytes, &x.layout, y, to));
            prop_assert!(found == expected, "{wide:?}");
        }
        let slack = 2e-3 * f64::from(factor).max(1.0) * f64::from(output.slope.abs().max(1.0));
        for row in 0..sizes.to[0] {
            for column in 0..sizes.to[1] {
                let place = [original(&sizes, 0, row), original(&sizes, 1, column)];
                let mut blend = 0.0;
                for (y, weight_y) in hats(place[0], sizes.from[0]) {
                    for (x_at, weight_x) in hats(place[1], sizes.from[1]) {
                        blend += weight_y * weight_x * real(x.at(y, x_at, 0), input);
                    }
                }
                let byte = expected[y.layout.at(row as isize, column as isize)];
                prop_assert!(is_near(byte, blend, &output, slack), "{sizes:?} {row} {column}: {blend} {byte}");
            }
        }
    }
}

/// The two pixels around a place and their weights, what lies outside replaced by the edge.
fn hats(place: f64, length: usize) -> [(usize, f64); 2] {
    let weight = place - place.floor();
    let inside = |at: f64| at.clamp(0.0, length as f64 - 1.0) as usize;
    [(inside(place.floor()), 1.0 - weight), (inside(place.floor() + 1.0), weight)]
}

fn plane(height: usize, width: usize) -> Picture {
    let layout = Layout::new(height, width, 1, 0);
    let mut picture = Picture::new(layout, 0);
    for (at, byte) in picture.bytes.iter_mut().enumerate() {
        *byte = at as u8 + 1;
    }
    picture
}

fn result(resize: &Resize, x: &Picture, [height, width]: [usize; 2]) -> Vec<u8> {
    let y = Picture::new(Layout::new(height, width, 1, 0), 1);
    let mut bytes = y.found(|y, to| resize.run(&x.bytes, &x.layout, y, to));
    bytes.truncate(height * width);
    bytes
}

/// The examples of the operator's page, by their names there.
#[test]
fn examples_of_the_definition_nearest() {
    let check = |sizes: Sizes, nearest, expected: &[u8]| {
        let x = plane(sizes.from[0], sizes.from[1]);
        assert_eq!(result(&Resize::nearest(&sizes, nearest, None), &x, sizes.to), expected, "{sizes:?} {nearest:?}");
    };
    let rows =
        |rows: &[(usize, &[u8])]| -> Vec<u8> { rows.iter().flat_map(|(times, row)| row.repeat(*times)).collect() };
    // upsample_scales_nearest
    let sizes = Sizes::new([2, 2], [4, 6], Coordinates::HalfPixel);
    let expected = rows(&[(2, &[1, 1, 1, 2, 2, 2]), (2, &[3, 3, 3, 4, 4, 4])]);
    check(sizes, Nearest::RoundPreferFloor, &expected);
    // upsample_sizes_nearest
    let sizes = Sizes::new([2, 2], [7, 8], Coordinates::HalfPixel);
    let expected = rows(&[(4, &[1, 1, 1, 1, 2, 2, 2, 2]), (3, &[3, 3, 3, 3, 4, 4, 4, 4])]);
    check(sizes, Nearest::RoundPreferFloor, &expected);
    // downsample_scales_nearest
    let sizes = Sizes { scale: [0.6, 0.6], ..Sizes::new([2, 4], [1, 2], Coordinates::HalfPixel) };
    check(sizes, Nearest::RoundPreferFloor, &[1, 3]);
    // downsample_sizes_nearest
    check(Sizes::new([2, 4], [1, 3], Coordinates::HalfPixel), Nearest::RoundPreferFloor, &[1, 2, 4]);
    // upsample_sizes_nearest_floor_align_corners
    let floor = rows(&[
        (3, &[1, 1, 1, 2, 2, 3, 3, 4]),
        (2, &[5, 5, 5, 6, 6, 7, 7, 8]),
        (2, &[9, 9, 9, 10, 10, 11, 11, 12]),
        (1, &[13, 13, 13, 14, 14, 15, 15, 16]),
    ]);
    check(Sizes::new([4, 4], [8, 8], Coordinates::AlignCorners), Nearest::Floor, &floor);
    // upsample_sizes_nearest_round_prefer_ceil_asymmetric, upsample_sizes_nearest_ceil_half_pixel
    let ceil = rows(&[
        (1, &[1, 2, 2, 3, 3, 4, 4, 4]),
        (2, &[5, 6, 6, 7, 7, 8, 8, 8]),
        (2, &[9, 10, 10, 11, 11, 12, 12, 12]),
        (3, &[13, 14, 14, 15, 15, 16, 16, 16]),
    ]);
    check(Sizes::new([4, 4], [8, 8], Coordinates::Asymmetric), Nearest::RoundPreferCeil, &ceil);
    check(Sizes::new([4, 4], [8, 8], Coordinates::HalfPixel), Nearest::Ceil, &ceil);
}

#[test]
fn examples_of_the_definition_linear() {
    // In steps of a twelfth, all results are whole.
    let twelfth = 1.0 / 12.0;
    let output = Output { quantisation: Quantisation { scale: twelfth, zero_point: 0 }, low: 0, high: 255, slope: 1.0 };
    let input = Quantisation { scale: 1.0, zero_point: 0 };
    let check = |sizes: Sizes, expected: &[f64]| {
        let x = plane(sizes.from[0], sizes.from[1]);
        let expected: Vec<u8> = expected.iter().map(|value| (12.0 * value).round() as u8).collect();
        assert_eq!(result(&Resize::linear(&sizes, input, &output), &x, sizes.to), expected, "{sizes:?}");
    };
    // upsample_scales_linear
    let expected = [[1.0, 1.25, 1.75, 2.0], [1.5, 1.75, 2.25, 2.5], [2.5, 2.75, 3.25, 3.5], [3.0, 3.25, 3.75, 4.0]];
    check(Sizes::new([2, 2], [4, 4], Coordinates::HalfPixel), expected.as_flattened());
    // upsample_scales_linear_align_corners
    let thirds = |numerators: [f64; 4]| numerators.map(|value| value / 3.0);
    let expected = [
        thirds([3.0, 4.0, 5.0, 6.0]),
        thirds([5.0, 6.0, 7.0, 8.0]),
        thirds([7.0, 8.0, 9.0, 10.0]),
        thirds([9.0, 10.0, 11.0, 12.0]),
    ];
    check(Sizes::new([2, 2], [4, 4], Coordinates::AlignCorners), expected.as_flattened());
    // downsample_scales_linear
    let sizes = Sizes { scale: [0.6, 0.6], ..Sizes::new([2, 4], [1, 2], Coordinates::HalfPixel) };
    check(sizes, &[8.0 / 3.0, 13.0 / 3.0]);
}

/// A resize by nothing changes nothing, and a scale that is no number stays inside the picture.
#[test]
fn same_size_and_broken_scales() {
    let quantisation = Quantisation { scale: 0.1, zero_point: 77 };
    let output = Output { quantisation, low: 0, high: 255, slope: 1.0 };
    let x = plane(5, 7);
    for mode in MODES {
        let sizes = Sizes::new([5, 7], [5, 7], mode);
        assert_eq!(result(&Resize::linear(&sizes, quantisation, &output), &x, [5, 7]), x.bytes[..35]);
        for broken in [f32::NAN, 0.0, -1.0, f32::INFINITY, f32::MIN_POSITIVE] {
            let sizes = Sizes { scale: [broken; 2], ..sizes };
            result(&Resize::linear(&sizes, quantisation, &output), &x, [5, 7]);
            for nearest in NEAREST {
                result(&Resize::nearest(&sizes, nearest, None), &x, [5, 7]);
            }
        }
    }
}
