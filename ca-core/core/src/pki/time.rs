//! Points in time, in whole seconds, as certificates carry them.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Whole seconds since 1970-01-01T00:00:00Z, leap seconds not counted (RFC 5280 §4.1.2.5 has no finer unit).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

/// A text that is not an RFC 3339 time in UTC with whole seconds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a time of the form 2026-01-31T12:00:00Z")]
pub struct TimestampError;

impl Timestamp {
    /// From seconds since the epoch; negative values lie before 1970.
    pub const fn from_unix(seconds: i64) -> Self {
        Self(seconds)
    }

    /// Seconds since the epoch.
    pub const fn unix(self) -> i64 {
        self.0
    }

    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// 9999-12-31T23:59:59Z: the last second that a GeneralizedTime can say.
    pub const LAST: Self = Self(253_402_300_799);

    /// This time plus `by`, saturating at the end of the representable range.
    pub const fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(clamp_secs(by)))
    }

    /// This time minus `by`, saturating.
    pub const fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(clamp_secs(by)))
    }

    /// How long after `earlier` this is; zero when it is not after.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// From a date and a time of day in UTC: year, month, day, hour, minute, second. None: there is no such day or hour. The
    /// second may be 60, a leap second, which counts as the one after it.
    pub(super) fn from_civil([year, month, day, hour, minute, second]: [i64; 6]) -> Option<Self> {
        let days = days_from_civil(year, month, day);
        let exists = (0..24).contains(&hour) && (0..60).contains(&minute) && (0..=60).contains(&second);
        let exists = exists && civil_from_days(days) == (year, month, day);
        exists.then_some(Self(days * 86_400 + hour * 3600 + minute * 60 + second))
    }

    /// RFC 3339 in UTC, `2026-01-31T12:00:00Z`: the form that ACME objects carry (RFC 8555 §7.1).
    pub fn to_rfc3339(self) -> String {
        let (year, month, day) = civil_from_days(self.0.div_euclid(86_400));
        let s = self.0.rem_euclid(86_400);
        format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", s / 3600, s / 60 % 60, s % 60)
    }

    /// Reads RFC 3339; a fraction of a second is dropped, and a numeric offset is applied.
    ///
    /// # Errors
    /// When the text has another form or names a day or an hour that does not exist.
    pub fn parse_rfc3339(text: &str) -> Result<Self, TimestampError> {
        let digits = |range: std::ops::Range<usize>| -> Result<i64, TimestampError> {
            let part = text.get(range).ok_or(TimestampError)?;
            if part.bytes().all(|b| b.is_ascii_digit()) { part.parse().map_err(|_| TimestampError) } else { Err(TimestampError) }
        };
        let at = |index: usize, allowed: &[u8]| text.as_bytes().get(index).is_some_and(|b| allowed.contains(b));
        if !(at(4, b"-") && at(7, b"-") && at(10, b"Tt ") && at(13, b":") && at(16, b":")) {
            return Err(TimestampError);
        }
        let parts = [digits(0..4)?, digits(5..7)?, digits(8..10)?, digits(11..13)?, digits(14..16)?, digits(17..19)?];
        let local = Self::from_civil(parts).ok_or(TimestampError)?;
        let mut rest = text.get(19..).ok_or(TimestampError)?;
        if let Some(fraction) = rest.strip_prefix('.') {
            let end = fraction.find(|c: char| !c.is_ascii_digit()).ok_or(TimestampError)?;
            rest = &fraction[end..];
        }
        let offset = match (rest, rest.len()) {
            ("Z" | "z", _) => 0,
            (_, 6) if rest.is_ascii() && rest.as_bytes()[3] == b':' => {
                let number = |s: &str| s.parse::<u8>().map(i64::from).map_err(|_| TimestampError);
                let value = number(&rest[1..3])? * 3600 + number(&rest[4..6])? * 60;
                match rest.as_bytes()[0] {
                    b'+' => value,
                    b'-' => -value,
                    _ => return Err(TimestampError),
                }
            }
            _ => return Err(TimestampError),
        };
        Ok(Self(local.0 - offset))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

const fn clamp_secs(duration: Duration) -> i64 {
    let seconds = duration.as_secs();
    if seconds > i64::MAX as u64 { i64::MAX } else { seconds as i64 }
}

// Howard Hinnant's days-from-civil construction: proleptic Gregorian, day 0 is 1970-01-01.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days - era * 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted_month + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(unix: i64, text: &str) {
        assert_eq!(Timestamp::from_unix(unix).to_rfc3339(), text);
        assert_eq!(Timestamp::parse_rfc3339(text), Ok(Timestamp::from_unix(unix)));
    }

    #[test]
    fn rfc3339_round_trips() {
        check(0, "1970-01-01T00:00:00Z");
        check(951_782_400, "2000-02-29T00:00:00Z");
        check(1_795_489_602, "2026-11-24T03:06:42Z");
        check(253_402_300_799, "9999-12-31T23:59:59Z");
        check(-1, "1969-12-31T23:59:59Z");
    }

    #[test]
    fn offsets_and_fractions_are_read() {
        let expected = Ok(Timestamp::from_unix(1_795_489_602));
        assert_eq!(Timestamp::parse_rfc3339("2026-11-24T04:06:42.125+01:00"), expected);
        for bad in ["", "2026-02-30T00:00:00Z", "2026-11-24T03:06:42", "2026-11-24T25:06:42Z", "2026-11-24T03:06:42+1:00"] {
            assert_eq!(Timestamp::parse_rfc3339(bad), Err(TimestampError), "{bad}");
        }
    }
}
