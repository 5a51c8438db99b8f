//! The states of many subjects in memory of a fixed size.
//!
//! A subject has eight places where it may stand. Where all are taken, the subject that has spent the smallest share of
//! its quota gives its place up, so the busiest ones are kept; one that owes nothing loses nothing by it. Which places
//! are whose depends on a secret, so nobody can choose names that push a certain subject out.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::quota::{Quota, micros};
use crate::pki::{Timestamp, sha256};
use crate::ports::Rng;

/// How many places a subject may have.
const WAYS: usize = 8;

/// A subject under a limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key(u128);

/// One subject's quota, named so that several processes mean the same one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Share {
    /// What is counted, and for whom.
    pub subject: String,
    /// How many in which time.
    pub quota: Quota,
    /// Whether one is taken; otherwise there only has to be one.
    pub takes: bool,
}

/// A quota that is spent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Exceeded {
    /// Which of those asked for: the one with the longest wait.
    pub index: usize,
    /// How long until there is one again.
    pub wait: Duration,
}

#[derive(Clone, Copy, Default)]
struct Place {
    key: u128,
    /// The theoretical arrival time, in microseconds; at or before now: free.
    state: u64,
    /// The quota's span, in microseconds.
    per: u64,
}

impl Place {
    /// How much of its quota is spent, in millionths.
    fn spent(&self, now: u64) -> u64 {
        let owed = u128::from(self.state.saturating_sub(now)) * 1_000_000;
        u64::try_from(owed / u128::from(self.per.max(1))).unwrap_or(u64::MAX)
    }
}

/// The table.
pub struct Table {
    secret: [u8; 32],
    places: Box<[Place]>,
    displaced: u64,
}

impl Table {
    /// A table for at least `subjects` at once, at most 2^24; 32 octets each.
    pub fn new(subjects: usize, rng: &dyn Rng) -> Self {
        let mut secret = [0u8; 32];
        rng.fill(&mut secret);
        let places = subjects.clamp(WAYS, 1 << 24).next_power_of_two();
        Self { secret, places: vec![Place::default(); places].into_boxed_slice(), displaced: 0 }
    }

    /// The subject that `parts` name: each part counts for itself.
    pub fn key(&self, parts: &[&str]) -> Key {
        let mut text = self.secret.to_vec();
        for part in parts {
            text.extend_from_slice(&(part.len() as u64).to_be_bytes());
            text.extend_from_slice(part.as_bytes());
        }
        let mut first = [0u8; 16];
        first.copy_from_slice(&sha256(&text).0[..16]);
        Key(u128::from_be_bytes(first))
    }

    /// Takes one from each of the quotas, or from none.
    ///
    /// # Errors
    /// When one of them is spent.
    pub fn take(&mut self, wanted: &[(Key, Quota)], now: Timestamp) -> Result<(), Exceeded> {
        self.take_where(wanted, |_| true, now)
    }

    fn take_where(&mut self, wanted: &[(Key, Quota)], takes: impl Fn(usize) -> bool, now: Timestamp) -> Result<(), Exceeded> {
        let now = micros(now);
        let mut next = Vec::with_capacity(wanted.len());
        let mut exceeded: Option<Exceeded> = None;
        for (index, (key, quota)) in wanted.iter().enumerate() {
            match quota.take(self.state(*key), now) {
                Ok(state) => next.push(state),
                Err(wait) if exceeded.is_none_or(|longest| wait > longest.wait) => exceeded = Some(Exceeded { index, wait }),
                Err(_) => {}
            }
        }
        match exceeded {
            Some(exceeded) => Err(exceeded),
            None => {
                for (_, ((key, quota), state)) in wanted.iter().zip(next).enumerate().filter(|(index, _)| takes(*index)) {
                    self.put(*key, quota, state, now);
                }
                Ok(())
            }
        }
    }

    /// The same of subjects that others name; from some one may be taken, and of others there only has to be one.
    ///
    /// # Errors
    /// When one of them is spent.
    pub fn take_shares(&mut self, wanted: &[Share], now: Timestamp) -> Result<(), Exceeded> {
        let pairs: Vec<(Key, Quota)> = wanted.iter().map(|share| (self.key(&[&share.subject]), share.quota)).collect();
        self.take_where(&pairs, |index| wanted[index].takes, now)
    }

    /// Takes one whether there is one or not: something happened.
    pub fn charge(&mut self, key: Key, quota: &Quota, now: Timestamp) {
        let now = micros(now);
        let state = quota.charge(self.state(key), now);
        self.put(key, quota, state, now);
    }

    /// Whether there is one to take, without taking it.
    ///
    /// # Errors
    /// How long until there is one again.
    pub fn check(&self, key: Key, quota: &Quota, now: Timestamp) -> Result<(), Duration> {
        quota.take(self.state(key), micros(now)).map(|_| ())
    }

    /// How many subjects owe something at `now`.
    pub fn busy(&self, now: Timestamp) -> usize {
        let now = micros(now);
        self.places.iter().filter(|place| place.state > now).count()
    }

    /// How many subjects that owed something were forgotten for want of room, since this was asked last.
    pub const fn take_displaced(&mut self) -> u64 {
        std::mem::replace(&mut self.displaced, 0)
    }

    /// How many subjects there is room for.
    pub const fn capacity(&self) -> usize {
        self.places.len()
    }

    fn range(&self, key: Key) -> std::ops::Range<usize> {
        let groups = self.places.len() / WAYS;
        // The remainder is below the number of places.
        let start = (key.0 % groups as u128) as usize * WAYS;
        start..start + WAYS
    }

    fn state(&self, key: Key) -> u64 {
        self.places[self.range(key)].iter().find(|place| place.key == key.0).map_or(0, |place| place.state)
    }

    fn put(&mut self, key: Key, quota: &Quota, state: u64, now: u64) {
        let range = self.range(key);
        let places = &mut self.places[range];
        let place = match places.iter_mut().position(|place| place.key == key.0) {
            Some(own) => &mut places[own],
            None => {
                let least = places.iter_mut().min_by_key(|place| place.spent(now)).expect("a group has places");
                if least.state > now {
                    self.displaced = self.displaced.saturating_add(1);
                }
                least
            }
        };
        *place = Place { key: key.0, state, per: quota.per_micros() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Not random at all; a table's places differ by its keys alone.
    struct Zero;
    impl Rng for Zero {
        fn fill(&self, out: &mut [u8]) {
            out.fill(0);
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix(1_800_000_000 + seconds)
    }

    #[test]
    fn a23_all_quotas_or_none_are_taken_from() {
        let mut table = Table::new(64, &Zero);
        let (a, b) = (table.key(&["orders", "account", "a"]), table.key(&["orders", "network", "b"]));
        let (wide, narrow): (Quota, Quota) = ("3/60s".parse().unwrap(), "1/60s".parse().unwrap());
        let both = [(a, wide), (b, narrow)];
        table.take(&both, at(0)).unwrap();
        for _ in 0..5 {
            assert_eq!(table.take(&both, at(0)), Err(Exceeded { index: 1, wait: Duration::from_secs(60) }));
        }
        // The refusals took nothing from the other.
        table.take(&[(a, wide)], at(0)).unwrap();
        table.take(&[(a, wide)], at(0)).unwrap();
        assert_eq!(table.take(&[(a, wide)], at(0)), Err(Exceeded { index: 0, wait: Duration::from_secs(20) }));
        assert_eq!(table.take(&both, at(0)).unwrap_err().index, 1, "the longest wait is told");
        assert_eq!(table.busy(at(0)), 2);
        assert_eq!(table.busy(at(61)), 0);
        assert_ne!(table.key(&["ab", "c"]), table.key(&["a", "bc"]));
    }

    #[test]
    fn a23_the_table_never_grows_and_drops_no_busy_subject_for_a_new_one() {
        let mut table = Table::new(1024, &Zero);
        let quota: Quota = "100/1h".parse().unwrap();
        // Some have spent all that they have.
        let busy: Vec<Key> = (0..64).map(|i| table.key(&["busy", &i.to_string()])).collect();
        for key in &busy {
            for _ in 0..100 {
                table.take(&[(*key, quota)], at(0)).unwrap();
            }
        }
        assert_eq!(table.take_displaced(), 0);
        // Then come a hundred times as many as there is room for, once each.
        for i in 0..100_000 {
            let key = table.key(&["new", &i.to_string()]);
            table.take(&[(key, quota)], at(1)).unwrap();
        }
        assert_eq!(table.capacity(), 1024);
        let displaced = table.take_displaced();
        assert!(displaced > 90_000, "{displaced}");
        for key in &busy {
            assert!(table.check(*key, &quota, at(2)).is_err(), "a busy subject was forgotten");
        }
    }

    #[test]
    fn a23_what_owes_nothing_any_more_makes_room() {
        let mut table = Table::new(8, &Zero);
        let quota: Quota = "1/10s".parse().unwrap();
        for second in 0..1000 {
            let key = table.key(&[&second.to_string()]);
            table.take(&[(key, quota)], at(second * 2)).unwrap();
        }
        assert_eq!(table.take_displaced(), 0);
    }
}
