//! One check of every version, stamped: the same bits as the definition.

use super::super::LANES;
use super::super::reference::{bytes, matrix};
use super::*;

/// What kernels are made of: lanes and their sum, and a loop that the compiler turns into vector instructions.
struct Everything<'a> {
    a: &'a [f32],
    b: &'a [f32],
}

impl Work for Everything<'_> {
    type Output = Vec<u32>;

    #[inline(always)]
    fn run<A: Arithmetic>(self) -> Vec<u32> {
        let mut results = Vec::new();
        let mut lanes = A::zeros();
        for (a, b) in self.a.as_chunks().0.iter().zip(self.b.as_chunks().0) {
            lanes = A::mul_add_lanes(a, b, lanes);
            results.push(A::sum(lanes).to_bits());
        }
        for (a, b) in self.a.iter().zip(self.b) {
            results.push(A::mul_add(*a, *b, 0.1).to_bits());
        }
        results
    }
}

#[test]
fn every_version_does_the_same_arithmetic() {
    let (a, b) = (matrix(1, 400, 3), matrix(1, 400, 4));
    let results = each_version(|| Everything { a: &a, b: &b });
    assert!(results.iter().all(|result| *result == results[0]), "{} versions", results.len());
    // A rounding less shows: two definitions that agreed would test nothing.
    assert_ne!(Everything { a: &a, b: &b }.run::<Separate>(), results[0]);
}

/// Rows and panels of a tile, with the definition's sums beside those of `tiles`.
fn compare_int8<const ROWS: usize, const PANELS: usize, T: Int8Tile>(
    tiles: T,
    groups: usize,
    mut value: impl FnMut() -> i8,
) {
    let mut group = || std::array::from_fn(|_| value());
    let x: Box<[Piece<Group>; ROWS]> = Box::new(std::array::from_fn(|_| std::array::from_fn(|_| group())));
    let mut weight = || group().map(|byte| byte.max(-127));
    let panels: [Vec<Line<Group>>; PANELS] =
        std::array::from_fn(|_| (0..groups).map(|_| Line(std::array::from_fn(|_| weight()))).collect());
    let panels = panels.each_ref().map(Vec::as_slice);

    let start = [[Line(std::array::from_fn(|lane| 1000 * lane as i32 - 5000)); PANELS]; ROWS];
    let (mut expected, mut found) = (start, start);
    PlainInt8.tile(&x, panels, &mut expected);
    tiles.tile(&x, panels, &mut found);
    for row in 0..ROWS {
        for panel in 0..PANELS {
            for lane in 0..LANES {
                let weights: i32 = panels[panel].iter().flat_map(|line| line.0[lane]).map(i32::from).sum();
                let offset = T::OFFSET * weights;
                assert_eq!(
                    found[row][panel].0[lane],
                    expected[row][panel].0[lane] + offset,
                    "{ROWS}x{PANELS}, {groups} groups, row {row}, panel {panel}, lane {lane}"
                );
            }
        }
    }
}

/// `$check` for the tiles of every shape, with these arguments.
macro_rules! every_shape {
    ($check:ident, $tiles:expr, $($argument:expr),+) => {
        every_shape!($check, $tiles, ($($argument),+),
            1 1, 1 4, 1 8, 2 1, 2 2, 2 8, 3 1, 3 8, 4 1, 4 4, 5 1, 5 4, 6 1, 6 4, 7 1, 7 2, 8 1, 8 2, 9 1, 9 2, 10 1, 10 2,
            11 1, 11 2, 12 1, 12 2);
    };
    ($check:ident, $tiles:expr, $arguments:tt, $($rows:literal $panels:literal),+) => {
        $(every_shape!(one $check, $tiles, $arguments, $rows, $panels);)+
    };
    (one $check:ident, $tiles:expr, ($($argument:expr),+), $rows:literal, $panels:literal) => {
        $check::<$rows, $panels, _>($tiles, $($argument),+)
    };
}

fn all_int8_shapes<T: Int8Tile>(tiles: T, groups: usize, mut value: impl FnMut() -> i8) {
    every_shape!(compare_int8, tiles, groups, &mut value);
}

#[cfg(target_arch = "x86_64")]
fn compare_float<const ROWS: usize, const PANELS: usize, T: FloatTile>(tiles: T, inputs: usize) {
    let values = matrix(ROWS, BLOCK + LANES, 7);
    let (x, _) = values.as_chunks::<{ BLOCK + LANES }>();
    let x: &[Piece<f32>; ROWS] = x.first_chunk().unwrap();
    let weights = matrix(PANELS * inputs, LANES, 99 + inputs as u64);
    let lines: Vec<Line<f32>> = weights.as_chunks::<LANES>().0.iter().map(|line| Line(*line)).collect();
    let panels: [&[Line<f32>]; PANELS] = std::array::from_fn(|panel| &lines[panel * inputs..][..inputs]);
    let start = [[Line(std::array::from_fn(|lane| lane as f32 * 0.1 - 0.7)); PANELS]; ROWS];
    let (mut expected, mut found) = (start, start);
    Plain.tile(x, panels, &mut expected);
    tiles.tile(x, panels, &mut found);
    let bits = |sums: &Sums<f32, ROWS, PANELS>| sums.map(|row| row.map(|line| line.0.map(f32::to_bits)));
    assert_eq!(bits(&found), bits(&expected), "{ROWS}x{PANELS}, {inputs} inputs");
}

/// Every version: the same checks. A version that this processor lacks says so.
macro_rules! stamp {
    (int8 $name:ident, $tiles:expr) => {
        mod $name {
            use super::*;

            fn version() -> Option<impl Int8Tile> {
                let version = $tiles;
                if version.is_none() {
                    eprintln!("SKIPPED: this processor has no {}", stringify!($name));
                }
                version
            }

            #[test]
            fn every_length() {
                let Some(tiles) = version() else { return };
                let mut random = bytes(3);
                for groups in (0..=2 * LANES + 2).step_by(2) {
                    all_int8_shapes(tiles, groups, || random.next().unwrap_or_default());
                }
            }

            #[test]
            fn extremes() {
                let Some(tiles) = version() else { return };
                for constant in [i8::MIN, -127, -1, 0, 1, i8::MAX] {
                    all_int8_shapes(tiles, 34, || constant);
                }
                // Both signs against each other, in the rhythm of bytes, pairs and groups; and rows of one sign only.
                for rhythm in [1, 2, 3, 4, 8, 34 * 4 * 4] {
                    let mut at = 0;
                    all_int8_shapes(tiles, 34, || {
                        at += 1;
                        if at / rhythm % 2 == 0 { i8::MIN } else { i8::MAX }
                    });
                }
                // A whole block.
                compare_int8::<1, 1, _>(tiles, BLOCK, || i8::MIN);
                compare_int8::<2, 1, _>(tiles, BLOCK, || i8::MAX);
            }
        }
    };
    (float $name:ident, $tiles:expr) => {
        #[test]
        fn $name() {
            let Some(tiles) = $tiles else {
                eprintln!("SKIPPED: this processor has no {}", stringify!($name));
                return;
            };
            for inputs in (0..=2 * LANES + 1).chain([SHORT - 1, SHORT, SHORT + 1, 2 * SHORT + 1, BLOCK - 1, BLOCK]) {
                every_shape!(compare_float, tiles, inputs);
            }
        }
    };
}

stamp!(int8 plain_bytes, Some(PlainInt8));
#[cfg(target_arch = "x86_64")]
stamp!(int8 sse2, Some(x86_64::Sse2));
#[cfg(target_arch = "x86_64")]
stamp!(int8 avx2_bytes, x86_64::Avx2::detect());
#[cfg(target_arch = "x86_64")]
stamp!(int8 avx512_vnni, x86_64::Avx512Vnni::detect());
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
stamp!(int8 neon, Some(aarch64::Neon::new()));
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
stamp!(int8 dot_product, aarch64::DotProduct::detect());
#[cfg(target_arch = "x86_64")]
stamp!(float avx2_floats, x86_64::Avx2::detect());
#[cfg(target_arch = "x86_64")]
stamp!(float avx512_floats, x86_64::Avx512::detect());
