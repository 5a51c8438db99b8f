//! A bounded memory in two generations: what was not used for a generation is forgotten. Values count one each, or what they
//! weigh.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// The memory.
#[derive(Debug)]
pub struct Memo<K, V> {
    capacity: usize,
    weigh: fn(&V) -> usize,
    young: HashMap<K, V>,
    /// What the young ones weigh together.
    weight: usize,
    old: HashMap<K, V>,
}

impl<K: Eq + Hash, V> Memo<K, V> {
    /// Remembers at least the last `capacity / 2` values and at most `capacity`.
    pub fn new(capacity: usize) -> Self {
        Self::weighing(capacity, |_| 1)
    }

    /// The same where values weigh what `weigh` says, which does not change: at most `capacity` in all, but for one value
    /// that weighs more than half of it.
    pub fn weighing(capacity: usize, weigh: fn(&V) -> usize) -> Self {
        Self { capacity, weigh, young: HashMap::new(), weight: 0, old: HashMap::new() }
    }

    /// What is remembered of `key`, which it is for longer now.
    pub fn get<Q>(&mut self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        if let Some((key, value)) = self.old.remove_entry(key) {
            self.insert(key, value);
        }
        self.young.get(key)
    }

    /// Remembers `value`; what was not used for longest goes.
    pub fn insert(&mut self, key: K, value: V) {
        let weight = (self.weigh)(&value);
        if self.weight + weight > self.capacity / 2 && !self.young.is_empty() {
            // Emptied, not made anew: its room is kept.
            std::mem::swap(&mut self.old, &mut self.young);
            self.young.clear();
            self.weight = 0;
        }
        // What is older must not come back in its place.
        self.old.remove(&key);
        if let Some(before) = self.young.insert(key, value) {
            self.weight -= (self.weigh)(&before);
        }
        self.weight += weight;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_what_is_used_and_stays_bounded() {
        let mut memo = Memo::new(10);
        for i in 0..1000 {
            memo.insert(i, i);
            assert_eq!(memo.get(&0), Some(&0), "used each time, at {i}");
            assert!(memo.young.len() + memo.old.len() <= 10);
        }
        assert_eq!(memo.get(&500), None);
    }

    #[test]
    fn what_weighs_more_leaves_room_for_less() {
        let mut memo = Memo::weighing(100, Vec::len);
        let mut held = 0;
        for i in 0..1000 {
            // One is put in again and again, with another weight.
            memo.insert(i % 7, vec![0u8; i % 31]);
            memo.insert(i, vec![0u8; 10]);
            held = memo.young.values().chain(memo.old.values()).map(Vec::len).sum();
            assert!(held <= 100, "{held} at {i}");
            assert_eq!(memo.weight, memo.young.values().map(Vec::len).sum::<usize>(), "at {i}");
        }
        assert!(held > 0);
        memo.insert(5000, vec![0; 1001]);
        assert!(memo.get(&5000).is_some(), "even one that weighs more than all");
        memo.insert(5001, vec![0; 50]);
        memo.insert(5002, vec![0; 50]);
        assert_eq!(memo.get(&5000), None, "but it goes with the next");
    }

    #[test]
    fn what_is_newer_stands_whenever_the_generations_change() {
        for before in 0..10 {
            let mut memo = Memo::new(10);
            for i in 0..before {
                memo.insert(i, "another");
            }
            memo.insert(100, "first");
            for between in 0..5 {
                memo.insert(200 + between, "another");
                memo.insert(100, "second");
                assert_eq!(memo.get(&100), Some(&"second"), "after {before}, with {between} between");
                memo.insert(100, "first");
            }
        }
    }
}
