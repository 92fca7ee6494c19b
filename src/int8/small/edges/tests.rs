use proptest::prelude::*;

use super::super::Output;
use super::super::testing::*;
use super::*;

const ORDERS: [Order; 2] = [Order::Nchw, Order::Nhwc];

/// The place of a value in a tensor.
fn index(layout: &Layout, order: Order, y: usize, x: usize, channel: usize) -> usize {
    match order {
        Order::Nchw => (channel * layout.height + y) * layout.width + x,
        Order::Nhwc => (y * layout.width + x) * layout.channels + channel,
    }
}

/// Values of a tensor in its order.
fn tensor<T: Clone + Default>(layout: &Layout, order: Order, value: impl Fn(usize, usize, usize) -> T) -> Vec<T> {
    let mut values = vec![T::default(); layout.len()];
    for y in 0..layout.height {
        for x in 0..layout.width {
            for channel in 0..layout.channels {
                values[index(layout, order, y, x, channel)] = value(y, x, channel);
            }
        }
    }
    values
}

/// Floats of every kind: in reach of the bytes, ties, and what is no number.
fn floats(count: usize, scale: f32, seed: u64) -> Vec<f32> {
    let extreme = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, 0.0, -0.0, f32::MIN_POSITIVE, 1e-40];
    let noise = Picture::new(Layout::new(1, 3 * count, 1, 0), seed).bytes;
    let one = |bytes: &[u8]| {
        let steps = f32::from(bytes[0]) * 2.0 - 255.0;
        match bytes[2] % 8 {
            0 => extreme[usize::from(bytes[1]) % extreme.len()],
            1..=3 => (steps + 0.5) * scale,
            4 => f32::from_bits((steps * scale).to_bits() ^ u32::from(bytes[1])),
            _ => (steps + f32::from(bytes[1]) / 256.0) * scale,
        }
    };
    noise.chunks_exact(3).take(count).map(one).collect()
}

proptest! {
    /// Beside the formula itself: the byte's number is nearer to `x` than its neighbours'. Slack: the division's rounding.
    #[test]
    fn quantise_equals_the_definition(
        y in sizes().prop_flat_map(picture), output in quantisation(), seed in any::<u64>(),
    ) {
        let x = floats(y.layout.len(), output.scale, seed);
        for order in ORDERS {
            let expected = y.expected(|row, column, channel| {
                output.byte(x[index(&y.layout, order, row, column, channel)])
            });
            for wide in Wide::all() {
                let found = y.found(|y, to| Quantise::new(output, order).with(wide).run(&x, y, to));
                prop_assert!(found == expected, "{order:?}, {wide:?}");
            }
        }
        for x in x {
            let bounds = Output { quantisation: output, low: 0, high: 255, slope: 1.0 };
            let byte = output.byte(x);
            let near = if x.is_nan() { byte == output.zero_point } else { is_near(byte, x.into(), &bounds, 1e-4) };
            prop_assert!(near, "{x} {output:?}: {byte}");
        }
    }

    #[test]
    fn dequantise_equals_the_definition(x in sizes().prop_flat_map(picture), input in quantisation()) {
        for order in ORDERS {
            let expected = tensor(&x.layout, order, |row, column, channel| input.real(x.at(row, column, channel)));
            for wide in Wide::all() {
                let mut found = vec![f32::NAN; x.layout.len()];
                Dequantise::new(input, order).with(wide).run(&x.bytes, &x.layout, &mut found);
                prop_assert!(found == expected, "{order:?}, {wide:?}");
            }
        }
    }

    #[test]
    fn tensors_of_bytes(x in sizes().prop_flat_map(picture)) {
        for order in ORDERS {
            let values = tensor(&x.layout, order, |row, column, channel| x.at(row, column, channel));
            let signed: Vec<i8> = values.iter().map(|byte| (i16::from(*byte) - 128) as i8).collect();

            let mut found = vec![0; values.len()];
            store(&x.bytes, &x.layout, &mut found, order);
            prop_assert!(found == values);
            let mut found = vec![0; values.len()];
            store_signed(&x.bytes, &x.layout, &mut found, order);
            prop_assert!(found == signed);

            let blank = Picture { bytes: vec![7; x.bytes.len()], layout: x.layout };
            let expected = blank.expected(|row, column, channel| x.at(row, column, channel));
            prop_assert!(blank.found(|y, to| load(&values, order, y, to)) == expected);
            prop_assert!(blank.found(|y, to| load_signed(&signed, order, y, to)) == expected);
        }
    }

    #[test]
    fn a_margin_and_nothing_else_is_filled(y in sizes().prop_flat_map(picture), zero_point in any::<u8>()) {
        let Layout { height, width, channels, margin, .. } = y.layout;
        let mut expected = y.bytes.clone();
        let (around, inside) = (margin as isize, |at: isize, length: usize| at >= 0 && at < length as isize);
        for row in -around..height as isize + around {
            for column in -around..width as isize + around {
                if !(inside(row, height) && inside(column, width)) {
                    expected[y.layout.at(row, column)..][..channels].fill(zero_point);
                }
            }
        }
        prop_assert!(y.found(|y, to| fill_margin(y, to, zero_point)) == expected);
    }
}

/// The sizes that matter most: channels of a camera's picture, in one pass.
#[test]
fn a_camera_picture() {
    let output = Quantisation { scale: 0.018_658_448, zero_point: 114 };
    for (height, width) in [(256, 128), (41, 97)] {
        for margin in [0, 1, 3] {
            let y = Picture::new(Layout::new(height, width, 3, margin), 5);
            let x = floats(y.layout.len(), output.scale, 9);
            let expected =
                y.expected(|row, column, channel| output.byte(x[index(&y.layout, Order::Nchw, row, column, channel)]));
            for wide in Wide::all() {
                let quantise = Quantise::new(output, Order::Nchw).with(wide);
                assert!(y.found(|y, to| quantise.run(&x, y, to)) == expected, "{height}x{width}+{margin}, {wide:?}");
            }
        }
    }
}

#[test]
#[should_panic(expected = "values of the tensor")]
fn a_tensor_of_another_size_is_refused() {
    let quantise = Quantise::new(Quantisation { scale: 1.0, zero_point: 0 }, Order::Nchw);
    quantise.run(&[0.0; 5], &mut [0; 6], &Layout::new(1, 2, 3, 0));
}
