//! When a certificate begins and ends.

use std::time::Duration;

use crate::evidence::chain::Refusal;
use crate::model::ProblemType;
use crate::pki::Timestamp;
use crate::policy::judge_times;

/// What bounds a certificate's times.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) now: Timestamp,
    pub(super) skew: Duration,
    /// The shortest that an order may ask for; the issuer's end may make it shorter.
    pub(super) shortest: Duration,
    /// Where an order asks for no end.
    pub(super) lifetime: Duration,
    /// The longest that an order may ask for.
    pub(super) longest: Duration,
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
    let Bounds { now, skew, shortest, lifetime, longest, issuer_end } = bounds;
    let refused = |detail| Refusal::new(ProblemType::Malformed, detail);
    let (begin, end) = judge_times((shortest, lifetime, longest), now, asked_not_before, asked_not_after).map_err(refused)?;
    let earliest = now.minus(skew);
    let not_before = asked_not_before.unwrap_or(earliest).max(earliest);
    let not_after = end.min(issuer_end);
    if not_after <= begin {
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
            let seconds = Duration::from_secs;
            let (shortest, longest) = (seconds(0), seconds(lifetime));
            let bounds = Bounds { now: at(0), skew: seconds(60), shortest, lifetime: seconds(lifetime), longest, issuer_end: at(end) };
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

    #[test]
    fn orders_choose_within_the_profile_s_bounds() {
        let at = |seconds: i64| Timestamp::from_unix(1_000_000 + seconds);
        let check = |end: i64, asked: (Option<i64>, Option<i64>), expected: Result<(i64, i64), &str>| {
            let seconds = Duration::from_secs;
            let bounds = Bounds {
                now: at(0),
                skew: seconds(60),
                shortest: seconds(100),
                lifetime: seconds(200),
                longest: seconds(300),
                issuer_end: at(end),
            };
            let got = validity(bounds, asked.0.map(at), asked.1.map(at)).map_err(|r| r.cause);
            match expected {
                Ok((a, b)) => assert_eq!(got, Ok((at(a), at(b))), "{end} {asked:?}"),
                Err(part) => assert!(got.as_ref().is_err_and(|e| e.contains(part)), "{end} {asked:?}: {got:?}"),
            }
        };
        check(9000, (None, None), Ok((-60, 200)));
        check(9000, (None, Some(300)), Ok((-60, 300)));
        check(9000, (None, Some(301)), Err("beyond the profile's lifetime"));
        check(9000, (None, Some(100)), Ok((-60, 100)));
        check(9000, (None, Some(99)), Err("sooner than the profile's shortest"));
        check(9000, (Some(50), Some(350)), Ok((50, 350)));
        check(9000, (Some(50), Some(149)), Err("sooner than the profile's shortest"));
        check(9000, (Some(301), None), Err("further ahead"));
        // An issuer that ends cuts even the shortest life short (lesson 31).
        check(50, (None, None), Ok((-60, 50)));
    }
}
