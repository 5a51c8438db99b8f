//! The times that an order may ask for: one judgement for the front end, before an order is made or spent, and for the worker.

use std::time::Duration;

use crate::pki::Timestamp;

/// When a certificate begins that is issued at `now`, and when it ends, inside the shortest, the usual and the longest life of
/// its profile's (under its grant). The life counts from the issue, or from `not_before` where that comes later.
///
/// # Errors
/// Says which of the times asked for lies outside.
pub fn judge_times(
    (shortest, usual, longest): (Duration, Duration, Duration),
    now: Timestamp,
    not_before: Option<Timestamp>,
    not_after: Option<Timestamp>,
) -> Result<(Timestamp, Timestamp), &'static str> {
    let begin = not_before.unwrap_or(now).max(now);
    if begin > now.plus(longest) {
        return Err("`notBefore` lies further ahead than the profile's lifetime");
    }
    let end = not_after.unwrap_or_else(|| begin.plus(usual));
    if end > begin.plus(longest) {
        return Err("`notAfter` lies beyond the profile's lifetime");
    }
    if end <= begin {
        return Err("the certificate would have ended before it begins");
    }
    if end < begin.plus(shortest) {
        return Err("`notAfter` comes sooner than the profile's shortest lifetime");
    }
    Ok((begin, end))
}
