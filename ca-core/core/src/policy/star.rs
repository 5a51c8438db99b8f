//! Orders that renew themselves (RFC 8739): whether a profile lets them, and how far.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::place::Fault;
use crate::model::{AutoRenewal, GrantLimits};
use crate::pki::Timestamp;

/// The shortest nominal life that can be renewed in time, in seconds.
const SHORTEST: u64 = 60;

/// The longest that an order renews itself, in seconds: five years.
const LONGEST: u64 = 5 * 366 * 86_400;

/// What a profile says of orders that renew themselves; without it there are none.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StarPolicy {
    /// The shortest nominal life of a certificate, in seconds.
    pub min_lifetime: u64,
    /// How long an order renews itself at most, from its start to its end date, in seconds.
    pub max_duration: u64,
    /// Whether clients may let anyone fetch the current certificate.
    #[serde(default)]
    pub certificate_get: bool,
}

impl StarPolicy {
    /// Judges the rules of a profile whose certificates live `longest` at most.
    pub(super) fn check(&self, longest: Duration) -> Result<(), Fault> {
        let fault = |key: &str, reason: &str| Err(Fault::new(reason).under(key));
        if self.min_lifetime < SHORTEST {
            return fault("min_lifetime", "a certificate that is renewed by itself lives 60 seconds at least");
        }
        let shortest = AutoRenewal {
            start_date: None,
            end_date: Timestamp::from_unix(0),
            lifetime: self.min_lifetime,
            lifetime_adjust: 0,
            allow_certificate_get: false,
        };
        if life(&shortest) > longest {
            return fault(
                "min_lifetime",
                "with what is added to its beginning, 2/3 of it, min_lifetime comes to more than certificates of the profile live",
            );
        }
        if !(self.min_lifetime..=LONGEST).contains(&self.max_duration) {
            return fault("max_duration", "max_duration is from min_lifetime to five years, in seconds");
        }
        Ok(())
    }
}

/// The bounds of a profile's orders that renew themselves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StarBounds {
    /// The shortest nominal life of a certificate.
    pub min_lifetime: Duration,
    /// The longest that a certificate lives, from notBefore to notAfter.
    pub longest: Duration,
    /// How long an order renews itself at most.
    pub max_duration: Duration,
    /// Whether clients may let anyone fetch the current certificate.
    pub certificate_get: bool,
}

impl StarBounds {
    /// The same for a grant that has limits.
    pub fn under(self, limits: &GrantLimits) -> Self {
        let (_, _, longest) = limits.lifetimes((Duration::ZERO, self.longest, self.longest));
        Self { longest, ..self }
    }

    /// Judges what an order asks for at `now`; what is left of it, where it stands already.
    ///
    /// # Errors
    /// What is wrong with it, for the client.
    pub fn judge(&self, terms: &AutoRenewal, now: Timestamp) -> Result<(), String> {
        let start = terms.start_date.map_or(now, |start| start.max(now));
        if terms.end_date <= start {
            return Err("`end-date` lies in the past or before `start-date`".to_owned());
        }
        if start > now.plus(self.longest) {
            return Err("`start-date` lies further ahead than the profile's certificates live".to_owned());
        }
        if terms.lifetime < self.min_lifetime.as_secs() {
            return Err(format!("`lifetime` is {} seconds at least (hint: see `meta` in the directory)", self.min_lifetime.as_secs()));
        }
        if life(terms) > self.longest {
            return Err(format!(
                "`lifetime`, with `lifetime-adjust` or 2/3 of itself added, is {} seconds at most",
                self.longest.as_secs()
            ));
        }
        if terms.end_date.since(start) > self.max_duration {
            let seconds = self.max_duration.as_secs();
            return Err(format!("`end-date` is {seconds} seconds after the start at most (hint: see `meta` in the directory)"));
        }
        Ok(())
    }
}

/// The whole life of one of the certificates.
fn life(terms: &AutoRenewal) -> Duration {
    Duration::from_secs(terms.lifetime).saturating_add(terms.padding())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a21_terms_stay_within_the_policy() {
        let seconds = Duration::from_secs;
        let bounds =
            StarBounds { min_lifetime: seconds(600), longest: seconds(6000), max_duration: seconds(100_000), certificate_get: true };
        let now = Timestamp::from_unix(1_000_000);
        let check = |start: Option<i64>, end: i64, lifetime: u64, adjust: u64, expected: Option<&str>| {
            let at = |seconds: i64| Timestamp::from_unix(1_000_000 + seconds);
            let terms = AutoRenewal {
                start_date: start.map(at),
                end_date: at(end),
                lifetime,
                lifetime_adjust: adjust,
                allow_certificate_get: false,
            };
            let got = bounds.judge(&terms, now);
            match expected {
                None => assert_eq!(got, Ok(())),
                Some(part) => assert!(got.as_ref().is_err_and(|e| e.contains(part)), "{got:?}, not {part}"),
            }
        };
        check(None, 50_000, 3600, 0, None);
        check(Some(-5000), 100_000, 3600, 0, None);
        check(Some(6000), 106_000, 600, 0, None);
        check(None, 0, 3600, 0, Some("in the past"));
        check(Some(500), 400, 3600, 0, Some("before `start-date`"));
        check(Some(6001), 50_000, 3600, 0, Some("further ahead"));
        check(None, 50_000, 599, 0, Some("600 seconds at least"));
        check(None, 50_000, 3601, 0, Some("6000 seconds at most"));
        check(None, 50_000, 3000, 3000, None);
        check(None, 50_000, 3001, 5000, Some("6000 seconds at most"));
        check(None, 50_000, u64::MAX, 0, Some("6000 seconds at most"));
        check(None, 100_001, 3600, 0, Some("100000 seconds after"));
    }

    #[test]
    fn a21_rules_that_cannot_be_kept_are_no_policy() {
        let check = |min_lifetime, max_duration, ok: bool| {
            let policy = StarPolicy { min_lifetime, max_duration, certificate_get: false };
            assert_eq!(policy.check(Duration::from_secs(6000)).is_ok(), ok, "{policy:?}");
        };
        check(60, 60, true);
        check(3600, 86_400, true);
        check(59, 86_400, false);
        check(3601, 86_400, false);
        check(3600, 3599, false);
        check(3600, LONGEST + 1, false);
    }
}
