//! Exact decimals: never a binary float on their way from the wire to the database and back.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// Degrees of latitude or longitude.
pub type Degrees = Decimal<8>;
/// An amount of money, or a rating.
pub type Hundredths = Decimal<2>;

/// A decimal with `SCALE` digits behind the point.
///
/// In JSON it is written as a text with all its digits, and read from a number or a text, digit by digit. Finer parts are rounded half away
/// from zero, as a column of a database does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal<const SCALE: u32>(i64);

/// A text that is no decimal, or does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a decimal number is expected")]
pub struct NoDecimal;

impl<const SCALE: u32> Decimal<SCALE> {
    /// One.
    const ONE: i64 = 10_i64.pow(SCALE);

    /// So many of its smallest part.
    pub const fn of_parts(parts: i64) -> Self {
        Decimal(parts)
    }

    /// A whole number.
    ///
    /// # Panics
    /// When it does not fit; for constants.
    pub const fn whole(number: i64) -> Self {
        match number.checked_mul(Self::ONE) {
            Some(parts) => Decimal(parts),
            None => panic!("a number that fits"),
        }
    }

    /// How many of its smallest part it is.
    pub const fn parts(self) -> i64 {
        self.0
    }

    /// The nearest float, to calculate with.
    pub fn to_f64(self) -> f64 {
        self.0 as f64 / Self::ONE as f64
    }

    /// The nearest decimal. What does not fit becomes the greatest one.
    pub fn of_f64(number: f64) -> Self {
        Decimal((number * Self::ONE as f64).round() as i64)
    }
}

impl<const SCALE: u32> FromStr for Decimal<SCALE> {
    type Err = NoDecimal;

    fn from_str(text: &str) -> Result<Self, NoDecimal> {
        let (negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| NoDecimal)?),
            None => (rest, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = || whole.bytes().chain(fraction.bytes());
        if whole.is_empty() || mantissa.ends_with('.') || !digits().all(|digit| digit.is_ascii_digit()) {
            return Err(NoDecimal);
        }
        if digits().all(|digit| digit == b'0') {
            return Ok(Decimal(0));
        }
        // How many digits are kept; the one behind them rounds.
        let point = i64::try_from(whole.len()).map_err(|_| NoDecimal)?;
        let kept = point + i64::from(exponent) + i64::from(SCALE);
        let (mut parts, mut place) = (0_i64, 0_i64);
        for digit in digits().take_while(|_| kept >= 0) {
            let value = i64::from(digit - b'0');
            if place == kept {
                parts += i64::from(value >= 5);
                place += 1;
                break;
            }
            parts = parts.checked_mul(10).and_then(|parts| parts.checked_add(value)).ok_or(NoDecimal)?;
            place += 1;
        }
        while parts != 0 && place < kept {
            parts = parts.checked_mul(10).ok_or(NoDecimal)?;
            place += 1;
        }
        Ok(Decimal(if negative { -parts } else { parts }))
    }
}

impl<const SCALE: u32> fmt::Display for Decimal<SCALE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, parts) = (if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs());
        let one = Self::ONE.unsigned_abs();
        write!(f, "{sign}{}.{:0width$}", parts / one, parts % one, width = SCALE as usize)
    }
}

impl<const SCALE: u32> Serialize for Decimal<SCALE> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const SCALE: u32> Deserialize<'de> for Decimal<SCALE> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let text = raw.get();
        let inner = match text.starts_with('"') {
            true => serde_json::from_str(text).map_err(D::Error::custom)?,
            false => text.to_owned(),
        };
        inner.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decimals_are_read_digit_by_digit_rounded_as_a_column_does_and_written_with_their_scale() {
        let money = |text: &str| text.parse::<Hundredths>().map(|amount| amount.to_string());
        for (text, shown) in [
            ("15.5", "15.50"),
            ("0", "0.00"),
            ("-0.0", "0.00"),
            ("-0.05", "-0.05"),
            ("0.005", "0.01"),
            ("-0.005", "-0.01"),
            ("0.0049999", "0.00"),
            ("9.995", "10.00"),
            ("1e2", "100.00"),
            ("15e-1", "1.50"),
            ("5e-3", "0.01"),
            ("1e-2000000000", "0.00"),
            ("0e2000000000", "0.00"),
            ("92233720368547758.07", "92233720368547758.07"),
        ] {
            assert_eq!(money(text).as_deref(), Ok(shown), "{text}");
        }
        for text in ["", "-", ".5", "5.", "+5", " 5", "1e", "0x5", "1e30", "NaN", "92233720368547758.08"] {
            assert_eq!(money(text), Err(NoDecimal), "{text}");
        }
        assert_eq!("40.7128".parse::<Degrees>().unwrap().to_string(), "40.71280000");
        assert_eq!(serde_json::from_str::<Degrees>("\"-74.006\"").unwrap().to_string(), "-74.00600000");
        assert!(serde_json::from_str::<Degrees>("true").is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(parts in -i64::MAX..=i64::MAX) {
            let decimal = Degrees::of_parts(parts);
            prop_assert_eq!(decimal.to_string().parse::<Degrees>(), Ok(decimal));
        }
    }
}
