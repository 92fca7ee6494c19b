//! Numbers with a fixed count of decimal places: the same value in both encodings, never NaN.

use std::fmt;

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

/// A number kept as a whole count of `1 / SCALE`.
///
/// In text it is a plain decimal number (`12.3`), in binary a zigzag varint of the count (`123`).
/// Made from a float it is rounded to the nearest step; values beyond the range are clamped, and a
/// value that is no number becomes 0 (use [`Decimal::known`] where "unknown" can be said).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal<const SCALE: i32>(i32);

impl<const SCALE: i32> Decimal<SCALE> {
    /// `value` if it is finite.
    pub fn known(value: f32) -> Option<Self> {
        value.is_finite().then(|| value.into())
    }

    /// The number of steps of `1 / SCALE`.
    pub fn steps(self) -> i32 {
        self.0
    }

    /// The value, `steps / SCALE`.
    pub fn get(self) -> f64 {
        f64::from(self.0) / f64::from(SCALE)
    }
}

impl<const SCALE: i32> From<f64> for Decimal<SCALE> {
    fn from(value: f64) -> Self {
        // `as` clamps and turns NaN into 0, which is what the type promises.
        Self((value * f64::from(SCALE)).round() as i32)
    }
}

impl<const SCALE: i32> From<f32> for Decimal<SCALE> {
    fn from(value: f32) -> Self {
        f64::from(value).into()
    }
}

impl<const SCALE: i32> fmt::Display for Decimal<SCALE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `pad`-free on purpose: a given precision applies, otherwise the shortest form is printed.
        self.get().fmt(f)
    }
}

impl<const SCALE: i32> Serialize for Decimal<SCALE> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.serialize_f64(self.get()) } else { self.0.serialize(serializer) }
    }
}

impl<'de, const SCALE: i32> Deserialize<'de> for Decimal<SCALE> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            f64::deserialize(deserializer).map(Self::from)
        } else {
            i32::deserialize(deserializer).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Decimal;

    #[test]
    fn floats_are_rounded_clamped_and_never_nan() {
        assert_eq!(Decimal::<10>::from(12.34_f32).steps(), 123);
        assert_eq!(Decimal::<10>::from(-0.06_f32).steps(), -1);
        assert_eq!(Decimal::<10>::from(f32::NAN).steps(), 0);
        assert_eq!(Decimal::<10>::from(f32::INFINITY).steps(), i32::MAX);
        assert_eq!(Decimal::<10_000>::from(f32::NEG_INFINITY).steps(), i32::MIN);
        assert_eq!(Decimal::<10>::known(f32::NAN), None);
        assert_eq!(Decimal::<10>::known(0.1).map(Decimal::steps), Some(1));
        assert_eq!(Decimal::<10>::from(12.34_f32).to_string(), "12.3");
        assert_eq!(serde_json::to_string(&Decimal::<10>::from(f32::NAN)).unwrap(), "0.0");
    }

    proptest! {
        #[test]
        fn text_and_binary_give_the_same_steps_back(steps: i32) {
            let value = Decimal::<10_000>(steps);
            let text = serde_json::to_string(&value).unwrap();
            prop_assert_eq!(serde_json::from_str::<Decimal<10_000>>(&text).unwrap(), value);
            let bytes = postcard::to_stdvec(&value).unwrap();
            prop_assert_eq!(postcard::from_bytes::<Decimal<10_000>>(&bytes).unwrap(), value);
            prop_assert_eq!(Decimal::<10_000>::from(value.get()), value);
        }
    }
}
