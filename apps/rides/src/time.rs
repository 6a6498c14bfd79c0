//! Moments of the wall clock, for people: never for verdicts about locks.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const DAY: i64 = 86_400_000;

/// A moment in milliseconds since 1970. As a text it is ISO 8601 in UTC: `2026-11-21T18:51:06.123Z`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Now.
    #[expect(clippy::disallowed_methods, reason = "what is written down is told to people in their time")]
    pub fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// A moment earlier than this one by so much.
    #[must_use]
    pub fn minus(self, time: Duration) -> Self {
        Timestamp(self.0.saturating_sub(i64::try_from(time.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (day, time) = (self.0.div_euclid(DAY), self.0.rem_euclid(DAY));
        // Days since 0000-03-01, so that a leap day is the last of its year; eras of 400 years. Hinnant, "chrono-compatible
        // low-level date algorithms".
        let day = day + 719_468;
        let (era, of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let date = of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = year + era * 400 + i64::from(month <= 2);
        let (hour, minute, second) = (time / 3_600_000, time / 60_000 % 60, time / 1_000 % 60);
        write!(f, "{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", time % 1_000)
    }
}

/// A text that is no moment as [`Timestamp`] writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a moment is written as 2026-11-21T18:51:06.123Z")]
pub struct NoTimestamp;

impl FromStr for Timestamp {
    type Err = NoTimestamp;

    fn from_str(text: &str) -> Result<Self, NoTimestamp> {
        let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
        let parts = || {
            let (year, month, date) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
            let (hour, minute, second, milli) =
                (number(11, 13)?, number(14, 16)?, number(17, 19)?, number(20, 23)?);
            let year = year - i64::from(month <= 2);
            let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
            let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + date - 1;
            let day = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
            Some(Timestamp(day * DAY + hour * 3_600_000 + minute * 60_000 + second * 1_000 + milli))
        };
        parts().filter(|moment| moment.to_string() == text).ok_or(NoTimestamp)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn moments_are_written_as_people_know_them() {
        for (milliseconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(Timestamp(milliseconds).to_string(), text);
        }
        for text in ["", "2026-02-30T00:00:00.000Z", "2026-01-01T00:00:00Z", "2026-01-01 00:00:00.000Z"] {
            assert_eq!(text.parse::<Timestamp>(), Err(NoTimestamp), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(milliseconds in 0..253_402_300_800_000_i64) {
            let moment = Timestamp(milliseconds);
            prop_assert_eq!(moment.to_string().parse::<Timestamp>(), Ok(moment));
        }
    }
}
