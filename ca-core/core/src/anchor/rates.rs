//! Certificates within the hour, by minute: the fuse against a runaway client or a stolen grant.
//!
//! It counts attempts, released or not, over sixty minutes in steps of one.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::pki::Timestamp;

/// How many minutes count.
const WINDOW: i64 = 60;

/// One authority's counts.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Rate(BTreeMap<i64, u32>);

fn minute(at: Timestamp) -> i64 {
    at.unix().div_euclid(60)
}

impl Rate {
    /// Takes one of the `cap` in an hour.
    ///
    /// # Errors
    /// How long to wait, when there is none.
    pub(super) fn take(&mut self, cap: u32, now: Timestamp) -> Result<(), Duration> {
        self.prune(now);
        if self.total() >= u64::from(cap) {
            let next = self.0.keys().next().map_or(minute(now) + WINDOW, |m| m + WINDOW);
            return Err(Timestamp::from_unix(next.saturating_mul(60)).since(now).max(Duration::from_secs(1)));
        }
        // A clock that was set back a little counts on in the minute where it was.
        let at = self.0.keys().next_back().map_or(minute(now), |last| minute(now).max(*last));
        *self.0.entry(at).or_default() += 1;
        Ok(())
    }

    /// Raises each minute's count to at least what the record shows.
    pub(super) fn raise(&mut self, minutes: &[(i64, u32)], now: Timestamp) {
        self.prune(now);
        let window = minute(now) - WINDOW + 1..=minute(now);
        for (at, count) in minutes.iter().filter(|(at, _)| window.contains(at)) {
            let known = self.0.entry(*at).or_default();
            *known = (*known).max(*count);
        }
    }

    /// Forgets what lies after `now`: only officers set the clock back that far.
    pub(super) fn forget_after(&mut self, now: Timestamp) {
        self.0.retain(|at, _| *at <= minute(now));
    }

    /// How many count at `now`.
    pub(super) fn within(&self, now: Timestamp) -> u64 {
        self.0.range(minute(now) - WINDOW + 1..).map(|(_, count)| u64::from(*count)).sum()
    }

    fn total(&self) -> u64 {
        self.0.values().map(|count| u64::from(*count)).sum()
    }

    fn prune(&mut self, now: Timestamp) {
        self.0 = self.0.split_off(&(minute(now) - WINDOW + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cap_in_any_sixty_minutes() {
        let at = |seconds: i64| Timestamp::from_unix(6_000_000 + seconds);
        let mut rate = Rate::default();
        rate.raise(&[(minute(at(-3000)), 2), (minute(at(-4000)), 1), (minute(at(600)), 9)], at(0));
        assert_eq!(rate.take(3, at(0)), Ok(()));
        // The one from 4000 seconds ago no longer counts; those from 3000 ago do, for 600 more.
        assert_eq!(rate.take(3, at(1)), Err(Duration::from_secs(599)));
        assert_eq!(rate.take(3, at(600)), Ok(()));
        assert_eq!(rate.within(at(600)), 2);
        // What the record shows never lowers a count.
        rate.raise(&[(minute(at(600)), 0)], at(601));
        assert_eq!(rate.within(at(601)), 2);
    }
}
