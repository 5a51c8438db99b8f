//! A bounded memory in two generations: what was not used for a generation is forgotten.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// The memory.
#[derive(Debug)]
pub struct Memo<K, V> {
    capacity: usize,
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Eq + Hash, V> Memo<K, V> {
    /// Remembers at least the last `capacity / 2` values and at most `capacity`.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, young: HashMap::new(), old: HashMap::new() }
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
        if self.young.len() >= self.capacity / 2 {
            // Emptied, not made anew: its room is kept.
            std::mem::swap(&mut self.old, &mut self.young);
            self.young.clear();
        }
        // What is older must not come back in its place.
        self.old.remove(&key);
        self.young.insert(key, value);
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
