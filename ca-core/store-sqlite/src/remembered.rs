//! Accounts and grants as last read: each request of a client asks for both, and they seldom change.
//!
//! The writer's connection tells which tables it changes, and what is remembered is dropped once that is durable and
//! before anyone hears of it. So nobody reads less than what was answered before the read began.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ca_core::model::{Account, AccountId, GrantId, GrantRecord};
use ca_core::ports::StoreResult;
use rusqlite::Connection;
use rusqlite::hooks::Action;

use crate::error::from_sqlite;

/// The most accounts, and the most grants, that are remembered; then it begins anew.
const MOST: usize = 4096;

/// What is remembered.
#[derive(Default)]
pub(crate) struct Remembered {
    /// Whether the open transaction touched one of the tables.
    changed: AtomicBool,
    accounts: Memory<AccountId, Account>,
    grants: Memory<GrantId, GrantRecord>,
}

impl Remembered {
    /// Listens to what `connection` changes.
    pub(crate) fn listen(self: &Arc<Self>, connection: &Connection) -> StoreResult<()> {
        let remembered = Arc::clone(self);
        let hook = move |_: Action, _: &str, table: &str, _: i64| {
            if matches!(table, "accounts" | "grants") {
                remembered.changed.store(true, Ordering::Relaxed);
            }
        };
        connection.update_hook(Some(hook)).map_err(from_sqlite)
    }

    /// After each commit, and before its commands are answered. A rollback may drop things in vain.
    pub(crate) fn committed(&self) {
        if self.changed.swap(false, Ordering::Relaxed) {
            self.accounts.drop_all();
            self.grants.drop_all();
        }
    }

    pub(crate) fn account(&self, id: &AccountId, read: impl FnOnce() -> StoreResult<Option<Account>>) -> StoreResult<Option<Account>> {
        self.accounts.get_or(id, read)
    }

    pub(crate) fn grant(&self, id: &GrantId, read: impl FnOnce() -> StoreResult<Option<GrantRecord>>) -> StoreResult<Option<GrantRecord>> {
        self.grants.get_or(id, read)
    }
}

struct Memory<K, V>(Mutex<Inner<K, V>>);

struct Inner<K, V> {
    /// How often everything was dropped: what was read before must not be remembered after.
    age: u64,
    known: HashMap<K, V>,
}

impl<K, V> Default for Memory<K, V> {
    fn default() -> Self {
        Self(Mutex::new(Inner { age: 0, known: HashMap::new() }))
    }
}

impl<K: Eq + Hash + Clone, V: Clone> Memory<K, V> {
    fn get_or(&self, key: &K, read: impl FnOnce() -> StoreResult<Option<V>>) -> StoreResult<Option<V>> {
        let age = {
            let inner = self.lock();
            if let Some(value) = inner.known.get(key) {
                return Ok(Some(value.clone()));
            }
            inner.age
        };
        let found = read()?;
        if let Some(value) = &found {
            let mut inner = self.lock();
            if inner.age == age {
                if inner.known.len() >= MOST {
                    inner.known.clear();
                }
                inner.known.insert(key.clone(), value.clone());
            }
        }
        Ok(found)
    }

    fn drop_all(&self) {
        let mut inner = self.lock();
        inner.age += 1;
        inner.known.clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::{MOST, Memory};

    fn read(reads: &Cell<u32>) -> ca_core::ports::StoreResult<Option<u32>> {
        reads.set(reads.get() + 1);
        Ok(Some(reads.get()))
    }

    #[test]
    fn what_is_remembered_is_read_once_until_it_is_dropped() {
        let (memory, reads) = (Memory::<u32, u32>::default(), Cell::new(0));
        assert_eq!(memory.get_or(&7, || read(&reads)).unwrap(), Some(1));
        assert_eq!(memory.get_or(&7, || read(&reads)).unwrap(), Some(1));
        memory.drop_all();
        assert_eq!(memory.get_or(&7, || read(&reads)).unwrap(), Some(2));
    }

    #[test]
    fn what_was_read_before_a_change_is_not_remembered_after_it() {
        let (memory, reads) = (Memory::<u32, u32>::default(), Cell::new(0));
        let slow = || {
            let value = read(&reads);
            memory.drop_all();
            value
        };
        assert_eq!(memory.get_or(&7, slow).unwrap(), Some(1));
        assert_eq!(memory.get_or(&7, || read(&reads)).unwrap(), Some(2));
    }

    #[test]
    fn nothing_is_remembered_of_what_is_missing_and_no_more_than_its_bound() {
        let memory = Memory::<u32, u32>::default();
        assert_eq!(memory.get_or(&0, || Ok(None)).unwrap(), None);
        for key in 0..=MOST as u32 {
            memory.get_or(&key, || Ok(Some(key))).unwrap();
        }
        assert!(memory.lock().known.len() <= MOST);
    }
}
