//! Money in minor units, exact: never a binary float on its way from the wire to the ledger and back.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// Minor units in a unit.
const SCALE: i64 = 100;

/// An amount of money: hundredths, any `i64` of them.
///
/// In JSON it is a number with at most two decimals, read and written digit by digit. `1e2` is a hundred; `0.001`, `1e400000` and
/// what does not fit are refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cents(pub i64);

impl Cents {
    /// Nothing.
    pub const ZERO: Cents = Cents(0);

    /// An amount of whole units.
    ///
    /// # Panics
    /// When it does not fit; for constants.
    pub const fn units(units: i64) -> Self {
        match units.checked_mul(SCALE) {
            Some(cents) => Cents(cents),
            None => panic!("an amount that fits"),
        }
    }
}

/// A text that is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAmount {
    /// Not a number in the grammar of JSON.
    #[error("an amount is a number")]
    NotANumber,
    /// It has a part smaller than a hundredth.
    #[error("an amount has at most two decimals")]
    TooFine,
    /// It does not fit 63 bits of hundredths.
    #[error("an amount is below 92233720368547758.08")]
    TooLarge,
}

impl FromStr for Cents {
    type Err = NoAmount;

    fn from_str(text: &str) -> Result<Self, NoAmount> {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, shift(exponent)?),
            None => (rest, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = || whole.bytes().chain(fraction.bytes());
        if whole.is_empty() || mantissa.ends_with('.') || !digits().all(|digit| digit.is_ascii_digit()) {
            return Err(NoAmount::NotANumber);
        }
        if digits().all(|digit| digit == b'0') {
            return Ok(Cents::ZERO);
        }
        // The place of the last digit of hundredths among all digits.
        let point = i64::try_from(whole.len()).map_err(|_| NoAmount::TooLarge)?;
        let end = point.saturating_add(exponent).saturating_add(2);
        let mut cents = 0_i64;
        let mut places = 0_i64;
        for digit in digits() {
            places += 1;
            if places > end {
                if digit != b'0' {
                    return Err(NoAmount::TooFine);
                }
                continue;
            }
            cents = append(cents, digit - b'0')?;
        }
        while cents != 0 && places < end {
            cents = append(cents, 0)?;
            places += 1;
        }
        // Collected as a negative number, whose range is the greater.
        if negative { Ok(Cents(cents)) } else { cents.checked_neg().map(Cents).ok_or(NoAmount::TooLarge) }
    }
}

/// The exponent, bounded: beyond that only zero is an amount, and nothing may loop for as long as somebody else says.
fn shift(text: &str) -> Result<i64, NoAmount> {
    let (sign, digits) = match text.as_bytes() {
        [b'-', ..] => (-1, text.get(1..)),
        [b'+', ..] => (1, text.get(1..)),
        _ => (1, Some(text)),
    };
    let digits = digits.filter(|digits| !digits.is_empty()).ok_or(NoAmount::NotANumber)?;
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(NoAmount::NotANumber);
    }
    let digits = digits.trim_start_matches('0');
    let size = if digits.len() > 9 { 1_000_000_000 } else { digits.parse().unwrap_or(0) };
    Ok(sign * size)
}

fn append(negative: i64, digit: u8) -> Result<i64, NoAmount> {
    negative.checked_mul(10).and_then(|number| number.checked_sub(i64::from(digit))).ok_or(NoAmount::TooLarge)
}

impl fmt::Display for Cents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let size = self.0.unsigned_abs();
        let (whole, part) = (size / SCALE.unsigned_abs(), size % SCALE.unsigned_abs());
        match part {
            0 => write!(f, "{sign}{whole}"),
            part if part % 10 == 0 => write!(f, "{sign}{whole}.{}", part / 10),
            part => write!(f, "{sign}{whole}.{part:02}"),
        }
    }
}

/// An amount that is a text, as in a file of settings.
pub(crate) fn of_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Cents, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

impl Serialize for Cents {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = RawValue::from_string(self.to_string()).map_err(serde::ser::Error::custom)?;
        text.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Cents {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        raw.get().parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_has_more_than_two_decimals_or_does_not_fit_is_refused() {
        for (text, wanted) in [
            ("0.001", Err(NoAmount::TooFine)),
            ("1e-3", Err(NoAmount::TooFine)),
            ("1e400000", Err(NoAmount::TooLarge)),
            ("1e99999999999999999999", Err(NoAmount::TooLarge)),
            ("0e400000", Ok(0)),
            ("-0", Ok(0)),
            ("1e2", Ok(10_000)),
            ("1.50e1", Ok(1_500)),
            ("12.3400", Ok(1_234)),
            ("100e-4", Ok(1)),
            ("92233720368547758.07", Ok(i64::MAX)),
            ("92233720368547758.08", Err(NoAmount::TooLarge)),
            ("-92233720368547758.08", Ok(i64::MIN)),
            ("9007199254740993", Ok(900_719_925_474_099_300)),
            ("", Err(NoAmount::NotANumber)),
            ("\"1\"", Err(NoAmount::NotANumber)),
            ("1.", Err(NoAmount::NotANumber)),
            ("1e", Err(NoAmount::NotANumber)),
            ("null", Err(NoAmount::NotANumber)),
        ] {
            assert_eq!(text.parse::<Cents>().map(|cents| cents.0), wanted, "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_amount_that_is_written_reads_as_itself(cents: i64) {
            let json = serde_json::to_string(&Cents(cents)).unwrap();
            prop_assert_eq!(serde_json::from_str::<Cents>(&json).unwrap(), Cents(cents));
        }
    }
}
