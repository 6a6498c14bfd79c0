//! What a transfer costs.

use serde::Deserialize;

use crate::amount::{Cents, of_text};

/// Hundredths of a percent in the whole.
const WHOLE: i128 = 10_000;

/// A share of the amount and a fixed sum, together rounded half up to two decimals. Defaults to nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fees {
    /// How many percent, with two decimals: `Cents(150)` is 1.5 %.
    #[serde(deserialize_with = "of_text")]
    pub percent: Cents,
    /// What comes on top.
    #[serde(deserialize_with = "of_text")]
    pub fixed: Cents,
}

impl Fees {
    /// The fee of an amount; `None` when it does not fit.
    pub fn of(&self, amount: Cents) -> Option<Cents> {
        let share = i128::from(amount.0) * i128::from(self.percent.0);
        let rounded = (share + WHOLE / 2).div_euclid(WHOLE);
        i64::try_from(rounded + i128::from(self.fixed.0)).ok().map(Cents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fee_is_rounded_half_up() {
        let fees = |percent, fixed| Fees { percent: Cents(percent), fixed: Cents(fixed) };
        assert_eq!(fees(100, 50).of(Cents::units(100)), Some(Cents(150)));
        assert_eq!(fees(50, 0).of(Cents(100)), Some(Cents(1)), "half a hundredth goes up");
        assert_eq!(fees(49, 0).of(Cents(100)), Some(Cents(0)));
        assert_eq!(fees(0, 0).of(Cents(i64::MAX)), Some(Cents(0)));
        assert_eq!(fees(10_000, 1).of(Cents(i64::MAX)), None);
    }
}
