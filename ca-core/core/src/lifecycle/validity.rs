//! When a certificate begins and ends.

use std::time::Duration;

use crate::evidence::chain::Refusal;
use crate::model::ProblemType;
use crate::pki::Timestamp;

/// What bounds a certificate's times.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) now: Timestamp,
    pub(super) skew: Duration,
    pub(super) lifetime: Duration,
    /// The issuer's notAfter.
    pub(super) issuer_end: Timestamp,
}

/// notBefore and notAfter. The lifetime counts from the issue; notBefore lies `skew` before it, never further, and
/// notAfter is clamped to the issuer's (lesson 31).
pub(super) fn validity(
    bounds: Bounds,
    asked_not_before: Option<Timestamp>,
    asked_not_after: Option<Timestamp>,
) -> Result<(Timestamp, Timestamp), Refusal> {
    let Bounds { now, skew, lifetime, issuer_end } = bounds;
    let refused = |detail: &str| Refusal::new(ProblemType::Malformed, detail);
    let earliest = now.minus(skew);
    let not_before = asked_not_before.unwrap_or(earliest).max(earliest);
    if not_before > now.plus(lifetime) {
        return Err(refused("`notBefore` lies further ahead than the profile's lifetime"));
    }
    let latest = not_before.max(now).plus(lifetime);
    let not_after = asked_not_after.unwrap_or(latest);
    if not_after > latest {
        return Err(refused("`notAfter` lies beyond the profile's lifetime"));
    }
    let not_after = not_after.min(issuer_end);
    if not_after <= not_before.max(now) {
        return Err(refused("the certificate would have ended before it begins"));
    }
    Ok((not_before, not_after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_stay_within_bounds() {
        let at = |seconds: i64| Timestamp::from_unix(1_000_000 + seconds);
        let check = |lifetime: u64, end: i64, asked: (Option<i64>, Option<i64>), expected: Option<(i64, i64)>| {
            let bounds = Bounds { now: at(0), skew: Duration::from_secs(60), lifetime: Duration::from_secs(lifetime), issuer_end: at(end) };
            let got = validity(bounds, asked.0.map(at), asked.1.map(at)).ok();
            assert_eq!(got, expected.map(|(a, b)| (at(a), at(b))), "{lifetime} {end} {asked:?}");
        };
        check(600, 9000, (None, None), Some((-60, 600)));
        check(60, 9000, (None, None), Some((-60, 60)));
        check(600, 300, (None, None), Some((-60, 300)));
        check(600, -1, (None, None), None);
        check(600, 9000, (Some(-500), None), Some((-60, 600)));
        check(600, 9000, (Some(100), None), Some((100, 700)));
        check(600, 9000, (Some(601), None), None);
        check(600, 9000, (None, Some(300)), Some((-60, 300)));
        check(600, 9000, (None, Some(601)), None);
        check(600, 9000, (None, Some(0)), None);
        check(600, 9000, (Some(100), Some(50)), None);
    }
}
