//! The cap on certificates an hour, per authority.
//!
//! It is a fuse against a runaway client or a stolen grant, counted in memory over sixty minutes in steps of one. It
//! counts attempts, released or not. At a start it is seeded from the record, with at most
//! [`super::SEED_LIMIT`] certificates read; the anchor against rollback, which makes it survive an edited database,
//! comes with the issue on keys and ceremonies.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::model::AuthorityName;
use crate::pki::Timestamp;

const WINDOW: i64 = 60;

#[derive(Default)]
pub(super) struct Rates {
    authorities: HashMap<AuthorityName, VecDeque<(i64, u64)>>,
}

impl Rates {
    pub(super) fn is_seeded(&self, authority: &AuthorityName) -> bool {
        self.authorities.contains_key(authority)
    }

    /// Counts certificates issued before this process began.
    pub(super) fn seed(&mut self, authority: &AuthorityName, issued: &[Timestamp]) {
        let minutes = self.authorities.entry(authority.clone()).or_default();
        for at in issued {
            let minute = at.unix().div_euclid(60);
            match minutes.iter_mut().find(|(m, _)| *m == minute) {
                Some((_, count)) => *count += 1,
                None => minutes.push_back((minute, 1)),
            }
        }
        minutes.make_contiguous().sort_unstable();
    }

    /// Takes one of the `cap` in an hour.
    ///
    /// # Errors
    /// How long to wait, when there is none.
    pub(super) fn take(&mut self, authority: &AuthorityName, cap: u32, now: Timestamp) -> Result<(), Duration> {
        let minute = now.unix().div_euclid(60);
        let minutes = self.authorities.entry(authority.clone()).or_default();
        while minutes.front().is_some_and(|(m, _)| *m <= minute - WINDOW) {
            minutes.pop_front();
        }
        let taken: u64 = minutes.iter().map(|(_, count)| count).sum();
        if taken >= u64::from(cap) {
            let next = minutes.front().map_or(minute + WINDOW, |(m, _)| m + WINDOW);
            return Err(Timestamp::from_unix(next.saturating_mul(60)).since(now).max(Duration::from_secs(1)));
        }
        match minutes.back_mut() {
            Some((m, count)) if *m >= minute => *count += 1,
            _ => minutes.push_back((minute, 1)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cap_in_any_sixty_minutes() {
        let demo: AuthorityName = "demo".parse().unwrap();
        let at = |seconds: i64| Timestamp::from_unix(6_000_000 + seconds);
        let mut rates = Rates::default();
        rates.seed(&demo, &[at(-3000), at(-3000), at(-4000)]);
        assert_eq!(rates.take(&demo, 3, at(0)), Ok(()));
        // The one from 4000 seconds ago no longer counts; those from 3000 ago do, for 600 more.
        assert_eq!(rates.take(&demo, 3, at(1)), Err(Duration::from_secs(599)));
        assert_eq!(rates.take(&demo, 3, at(600)), Ok(()));
        assert_eq!(rates.take(&"other".parse().unwrap(), 1, at(1)), Ok(()));
        assert!(rates.take(&"other".parse().unwrap(), 1, at(2)).is_err());
    }
}
