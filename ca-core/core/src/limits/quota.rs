//! How many in which time.
//!
//! The generic cell rate algorithm keeps one number for each subject: the theoretical arrival time, at which all that it
//! did would have come in at the even rate. A subject that has been quiet may do the whole quota at once.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::pki::Timestamp;

/// A text that is not a quota.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not COUNT/SPAN: 1 to 1000000, in 1 s to 31 days (hint: \"300/1h\"; units s, m, h, d)")]
pub struct QuotaError(String);

/// How many in which time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Quota {
    count: u32,
    per: Duration,
}

const MAX_COUNT: u32 = 1_000_000;
const MAX_PER: Duration = Duration::from_secs(31 * 86_400);

/// Microseconds since the epoch; clocks before it count as at it.
pub(super) fn micros(now: Timestamp) -> u64 {
    u64::try_from(now.unix()).unwrap_or(0).saturating_mul(1_000_000)
}

impl Quota {
    /// `count` in `per`.
    ///
    /// # Errors
    /// When either is zero or more than 1,000,000 and 31 days.
    pub fn new(count: u32, per: Duration) -> Result<Self, QuotaError> {
        if (1..=MAX_COUNT).contains(&count) && (Duration::from_secs(1)..=MAX_PER).contains(&per) {
            Ok(Self { count, per })
        } else {
            Err(QuotaError(format!("{count}/{}s", per.as_secs())))
        }
    }

    pub(super) fn per_micros(&self) -> u64 {
        // At most 31 days.
        self.per.as_secs() * 1_000_000
    }

    /// Takes one at `now` from a subject whose theoretical arrival time is `state`; gives the next state.
    ///
    /// # Errors
    /// How long the subject must wait for the next one.
    pub(super) fn take(&self, state: u64, now: u64) -> Result<u64, Duration> {
        let (next, most) = (self.next(state, now), now.saturating_add(self.per_micros()));
        if next <= most { Ok(next) } else { Err(Duration::from_micros(next - most)) }
    }

    /// Takes one whether there is one or not; the debt is never more than the quota.
    pub(super) fn charge(&self, state: u64, now: u64) -> u64 {
        self.next(state, now).min(now.saturating_add(self.per_micros()))
    }

    fn next(&self, state: u64, now: u64) -> u64 {
        let per = self.per_micros();
        // Further ahead it can't be, unless the clock was set back: then the quota counts as spent, not as spent for longer.
        let state = state.clamp(now, now.saturating_add(per));
        state.saturating_add(per / u64::from(self.count))
    }
}

/// Reads a span: a number with `s`, `m`, `h` or `d`.
pub fn parse_span(text: &str) -> Option<Duration> {
    let (number, seconds) = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)]
        .into_iter()
        .find_map(|(unit, seconds)| text.strip_suffix(unit).map(|number| (number, seconds)))?;
    let plain = !number.is_empty() && number.len() <= 9 && number.bytes().all(|b| b.is_ascii_digit());
    let number: u64 = number.parse().ok().filter(|_| plain)?;
    number.checked_mul(seconds).map(Duration::from_secs)
}

impl FromStr for Quota {
    type Err = QuotaError;

    fn from_str(text: &str) -> Result<Self, QuotaError> {
        let wrong = || QuotaError(text.chars().take(40).collect());
        let (count, per) = text.split_once('/').ok_or_else(wrong)?;
        let plain = !count.is_empty() && count.bytes().all(|b| b.is_ascii_digit());
        let count = count.parse().ok().filter(|_| plain).ok_or_else(wrong)?;
        Self::new(count, parse_span(per).ok_or_else(wrong)?).map_err(|_| wrong())
    }
}

impl From<Quota> for String {
    fn from(quota: Quota) -> Self {
        quota.to_string()
    }
}

impl TryFrom<String> for Quota {
    type Error = QuotaError;
    fn try_from(text: String) -> Result<Self, QuotaError> {
        text.parse()
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.per.as_secs();
        let (number, unit) = match seconds {
            s if s % 86_400 == 0 => (s / 86_400, 'd'),
            s if s % 3600 == 0 => (s / 3600, 'h'),
            s if s % 60 == 0 => (s / 60, 'm'),
            s => (s, 's'),
        };
        write!(f, "{}/{number}{unit}", self.count)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quota(text: &str) -> Quota {
        text.parse().unwrap()
    }

    const S: u64 = 1_000_000;

    #[test]
    fn quotas_are_read_and_shown() {
        for text in ["300/1h", "1/1s", "1000000/31d", "5/90s", "20/7m"] {
            assert_eq!(quota(text).to_string(), text);
        }
        assert_eq!(quota("10/3600s").to_string(), "10/1h");
        for bad in ["", "/", "1", "1/", "/1h", "0/1h", "1/0h", "+1/1h", "1/+1h", "-1/1h", "1/1w", "1/32d", "1000001/1h", "1/1h ", "1/1hh"] {
            assert!(bad.parse::<Quota>().is_err(), "{bad}");
        }
        assert!(quota("1/1h").to_string().parse::<Quota>().is_ok());
        assert_eq!(parse_span("999999999d").map(|s| s.as_secs()), Some(999_999_999 * 86_400));
        assert_eq!(parse_span("99999999999999999999d"), None);
    }

    #[test]
    fn a23_a_quiet_subject_may_do_its_quota_at_once_and_then_one_at_a_time() {
        let (quota, now) = (quota("4/60s"), 1_000 * S);
        let mut state = 0;
        for _ in 0..4 {
            state = quota.take(state, now).unwrap();
        }
        assert_eq!(quota.take(state, now), Err(Duration::from_secs(15)));
        assert_eq!(quota.take(state, now + 14 * S), Err(Duration::from_secs(1)));
        let state = quota.take(state, now + 15 * S).unwrap();
        assert_eq!(quota.take(state, now + 15 * S), Err(Duration::from_secs(15)));
    }

    #[test]
    fn a23_a_clock_that_is_set_back_spends_the_quota_once() {
        let quota = quota("2/60s");
        let state = quota.take(0, 1_000_000 * S).unwrap();
        assert_eq!(quota.take(state, 1_000 * S), Err(Duration::from_secs(30)));
        assert_eq!(quota.charge(state, 1_000 * S), 1_060 * S);
    }

    #[test]
    fn a23_what_is_charged_past_the_quota_is_no_debt_beyond_it() {
        let quota = quota("2/60s");
        let mut state = 0;
        for _ in 0..100 {
            state = quota.charge(state, 100 * S);
        }
        assert_eq!(quota.take(state, 100 * S), Err(Duration::from_secs(30)));
        assert!(quota.take(state, 130 * S).is_ok());
    }

    proptest! {
        /// In no window of the quota's span are there more than twice the quota, and the even rate always passes.
        #[test]
        fn a23_no_window_has_more_than_the_quota_twice(count in 1u32..50, per in 1u64..1000, steps in prop::collection::vec(0u64..5_000_000, 1..300)) {
            let quota = Quota::new(count, Duration::from_secs(per)).unwrap();
            let (mut now, mut state, mut taken) = (1_000 * S, 0, Vec::new());
            for step in steps {
                now += step;
                match quota.take(state, now) {
                    Ok(next) => {
                        state = next;
                        taken.push(now);
                    }
                    Err(wait) => {
                        prop_assert!(!wait.is_zero() && quota.take(state, now + wait.as_micros() as u64).is_ok());
                    }
                }
            }
            for (i, start) in taken.iter().enumerate() {
                let within = taken[i..].iter().take_while(|at| **at < start + per * S).count();
                prop_assert!(within <= 2 * count as usize);
            }
        }
    }
}
