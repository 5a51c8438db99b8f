//! The certificates of an order that renews itself (RFC 8739 §3.5): which comes next, from when until when, and when it
//! is made.
//!
//! The state is the certificate that stands, which the authority itself signed: it ends where the next one's nominal
//! date is. So a restart just goes on, and what was missed while nothing ran is left out.

use std::time::Duration;

use crate::model::AutoRenewal;
use crate::pki::Timestamp;

/// notBefore and notAfter.
pub type Times = (Timestamp, Timestamp);

/// The first certificate's times, made at `now`; none: it would have ended.
pub fn first(terms: &AutoRenewal, now: Timestamp) -> Option<Times> {
    let nominal = terms.start_date.map_or(now, |start| start.max(now));
    let (begin, end) = times(terms, nominal);
    // §3.5: never before the start date.
    let begin = terms.start_date.map_or(begin, |start| begin.max(start));
    (now < end && begin < end).then_some((begin, end))
}

/// When the certificate after one that ends at `standing` is made: 7/12 of a life before that. It must be published by
/// half of it (§3.3); the rest is for a queue and for failures. None: the one that stands is the last.
pub fn due(terms: &AutoRenewal, standing: Timestamp) -> Option<Timestamp> {
    (standing < terms.end_date).then(|| standing.minus(Duration::from_secs(terms.lifetime.saturating_mul(7) / 12)))
}

/// The times of the certificate after one that ends at `standing`, made at `now`. None: there is none, because the last
/// one stands or the order has ended.
pub fn next(terms: &AutoRenewal, standing: Timestamp, now: Timestamp) -> Option<Times> {
    if standing >= terms.end_date {
        return None;
    }
    // Nominal dates whose certificates would have ended are passed over.
    let missed = now.since(standing).as_secs() / terms.lifetime;
    let (begin, end) = times(terms, standing.plus(Duration::from_secs(missed * terms.lifetime)));
    (now < end && begin < end).then_some((begin, end))
}

/// The times of the certificate that takes the place of one marked for replacement, made at `now`: those of the next one
/// where it would be valid already (§3.5), and until then, or where the marked one is the last, its own once more. So the
/// dates stay where they were. None: the order has ended.
pub fn instead(terms: &AutoRenewal, marked: Times, now: Timestamp) -> Option<Times> {
    let following = next(terms, marked.1, now).filter(|(begin, _)| *begin <= now);
    following.or(Some(marked)).filter(|(_, end)| now < *end)
}

fn times(terms: &AutoRenewal, nominal: Timestamp) -> Times {
    (nominal.minus(terms.padding()), nominal.plus(Duration::from_secs(terms.lifetime)).min(terms.end_date))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 86_400;

    fn day(number: i64) -> Timestamp {
        Timestamp::from_unix(number * DAY)
    }

    fn terms(start: Option<i64>, end: i64, lifetime: i64, adjust: i64) -> AutoRenewal {
        AutoRenewal {
            start_date: start.map(day),
            end_date: day(end),
            lifetime: (lifetime * DAY) as u64,
            lifetime_adjust: (adjust * DAY) as u64,
            allow_certificate_get: false,
        }
    }

    /// The example of RFC 8739 §3.5: 4 days from the 10th to the 20th, 3 days of padding.
    #[test]
    fn a21_the_example_of_rfc_8739() {
        let terms = terms(Some(10), 20, 4, 3);
        assert_eq!(first(&terms, day(10)), Some((day(10), day(14))));
        assert_eq!(next(&terms, day(14), day(12)), Some((day(11), day(18))));
        assert_eq!(next(&terms, day(18), day(16)), Some((day(15), day(20))));
        assert_eq!((next(&terms, day(20), day(18)), due(&terms, day(20))), (None, None), "nothing beyond the end date");
    }

    #[test]
    fn a21_the_next_certificate_is_due_before_half_of_the_standing_one() {
        let terms = terms(None, 100, 12, 0);
        assert_eq!(first(&terms, day(10)), Some((day(2), day(22))));
        assert_eq!(due(&terms, day(22)), Some(day(15)), "half would be the 16th");
        // The worker was away: what ended meanwhile is never made, and the dates stay on the order's own grid.
        assert_eq!(next(&terms, day(22), day(33)), Some((day(14), day(34))));
        assert_eq!(next(&terms, day(22), day(34)), Some((day(26), day(46))));
        assert_eq!(next(&terms, day(22), day(99)), Some((day(86), day(100))));
        assert_eq!(next(&terms, day(22), day(100)), None);
        assert_eq!(first(&terms, day(100)), None);
    }

    #[test]
    fn a21_what_takes_a_marked_one_s_place_is_valid_already_and_keeps_the_dates() {
        let terms = terms(None, 30, 12, 0);
        let marked = first(&terms, day(0)).unwrap();
        assert_eq!(marked, (day(-8), day(12)));
        // The next one begins on the 4th day: before that, the same dates once more.
        assert_eq!(instead(&terms, marked, day(3)), Some(marked));
        assert_eq!(instead(&terms, marked, day(4)), Some((day(4), day(24))));
        assert_eq!(instead(&terms, marked, day(11)), next(&terms, marked.1, day(11)));
        let second = (day(4), day(24));
        assert_eq!(instead(&terms, second, day(5)), Some(second));
        // The last one has its own once more, to the order's end.
        let last = next(&terms, day(24), day(17)).unwrap();
        assert_eq!(last, (day(16), day(30)));
        assert_eq!(instead(&terms, last, day(29)), Some(last));
        assert_eq!(instead(&terms, last, day(30)), None);
    }

    proptest! {
        /// Whatever was agreed: each certificate ends later than the one before, none goes beyond the order's dates, and
        /// the next is valid when it is due, which is by half the life of the one that stands.
        #[test]
        fn a21_the_chain_of_certificates_has_no_gap(
            start in proptest::option::of(0i64..100_000),
            length in 100i64..1_000_000,
            lifetime in 60u64..50_000,
            adjust in 0u64..100_000,
        ) {
            let now = Timestamp::from_unix(50_000);
            let begin = start.unwrap_or(50_000).max(50_000);
            let terms = AutoRenewal {
                start_date: start.map(Timestamp::from_unix),
                end_date: Timestamp::from_unix(begin + length),
                lifetime,
                lifetime_adjust: adjust,
                allow_certificate_get: false,
            };
            let mut standing = first(&terms, now).unwrap();
            prop_assert!(terms.start_date.is_none_or(|start| standing.0 >= start));
            let mut count = 1u64;
            while let Some(due) = due(&terms, standing.1) {
                let following = next(&terms, standing.1, due).unwrap();
                prop_assert!(following.0 <= due, "already valid when it is published");
                prop_assert!(standing.1.since(due).as_secs() * 2 >= lifetime, "by half the life");
                prop_assert!(following.1 > standing.1 && following.1 <= terms.end_date);
                prop_assert!(following.1.since(following.0).as_secs() <= 2 * lifetime);
                // Marked at any time since it was made: in its place comes what is valid then and lasts no less.
                for now in [due, standing.1.minus(Duration::from_secs(lifetime / 3)), now].map(|at| at.max(standing.0)) {
                    let instead = instead(&terms, standing, now).unwrap();
                    prop_assert!(instead.0 <= now && [standing, following].contains(&instead), "{:?}", instead);
                }
                standing = following;
                count += 1;
            }
            prop_assert_eq!(standing.1, terms.end_date);
            prop_assert_eq!(count, (length as u64).div_ceil(lifetime));
        }
    }
}
