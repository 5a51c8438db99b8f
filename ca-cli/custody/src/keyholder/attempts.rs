//! How often a user may be wrong.
//!
//! A share is 512 bits, so nobody guesses one; the bound keeps a careless or hostile user from filling the record, and
//! makes what goes on stand out in it. It is kept for each user, so that one cannot lock out another.

use std::collections::HashMap;
use std::time::Duration;

use ca_core::pki::Timestamp;

/// After the first wrong share; doubled by each further one.
const FIRST: u64 = 1;
const LONGEST: u64 = 60;
/// So many in a row, and the user waits longer.
const MANY: u32 = 10;
const LOCKED: u64 = 15 * 60;

/// The users who were wrong lately.
#[derive(Debug, Default)]
pub(super) struct Attempts(HashMap<u32, (u32, Timestamp)>);

impl Attempts {
    /// How long this user must wait before the next share; none: not at all.
    pub(super) fn wait(&self, uid: u32, now: Timestamp) -> Option<Duration> {
        let (_, until) = self.0.get(&uid)?;
        (*until > now).then(|| until.since(now))
    }

    /// A wrong share. Only users of the configuration get this far, so the map is bounded.
    pub(super) fn wrong(&mut self, uid: u32, now: Timestamp) {
        let count = self.0.get(&uid).map_or(0, |(count, _)| *count).saturating_add(1);
        let seconds = if count >= MANY { LOCKED } else { (FIRST << (count - 1)).min(LONGEST) };
        self.0.insert(uid, (count, now.plus(Duration::from_secs(seconds))));
    }

    /// A good share.
    pub(super) fn good(&mut self, uid: u32) {
        self.0.remove(&uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_end() {
        let (mut attempts, mut now) = (Attempts::default(), Timestamp::from_unix(1_000_000));
        let mut waits = Vec::new();
        for _ in 0..11 {
            attempts.wrong(7, now);
            let wait = attempts.wait(7, now).unwrap();
            waits.push(wait.as_secs());
            assert_eq!(attempts.wait(8, now), None, "another user does not wait");
            now = now.plus(wait);
            assert_eq!(attempts.wait(7, now), None);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60, 900, 900]);
        attempts.good(7);
        attempts.wrong(7, now);
        assert_eq!(attempts.wait(7, now).unwrap().as_secs(), 1);
    }
}
