//! What is read for each request or each batch and seldom changes, as last read: accounts, grants, and the lists of
//! authorities and of their cross-certificates.
//!
//! The writer's connection tells which rows it changes, and what is remembered of them is dropped once that is durable
//! and before anyone hears of it. So nobody reads less than what was answered before the read began.
//!
//! This needs tables with row numbers, values that are read from one row (or a list, from one table), and statements that
//! SQLite tells of: no `WITHOUT ROWID`, no `OR REPLACE`, no `DELETE` without a condition. What is missing is not
//! remembered, so a row that is new drops nothing but a list.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ca_core::model::{Account, AccountId, Authority, CrossCertificate, GrantId, GrantRecord};
use ca_core::ports::StoreResult;
use rusqlite::Connection;
use rusqlite::hooks::Action;

use crate::error::from_sqlite;

/// The most accounts, and the most grants, that are remembered; then it begins anew. As many changed rows are told apart.
const MOST: usize = 4096;

/// The row number under which a whole list is remembered.
const LIST: i64 = 0;

/// What is remembered.
#[derive(Default)]
pub(crate) struct Remembered {
    accounts: Memory<AccountId, Account>,
    grants: Memory<GrantId, GrantRecord>,
    authorities: Memory<(), Arc<[Authority]>>,
    crosses: Memory<(), Arc<[CrossCertificate]>>,
}

impl Remembered {
    /// Listens to what `connection` changes.
    pub(crate) fn listen(self: &Arc<Self>, connection: &Connection) -> StoreResult<()> {
        let remembered = Arc::clone(self);
        let hook = move |action: Action, _: &str, table: &str, row: i64| match table {
            "accounts" if action != Action::SQLITE_INSERT => remembered.accounts.touch(row),
            "grants" if action != Action::SQLITE_INSERT => remembered.grants.touch(row),
            "authorities" => remembered.authorities.touch(LIST),
            "cross_certificates" => remembered.crosses.touch(LIST),
            _ => {}
        };
        connection.update_hook(Some(hook)).map_err(from_sqlite)
    }

    /// Drops what was changed: after each transaction, and before its commands are answered. What was rolled back is
    /// dropped in vain.
    pub(crate) fn drop_changed(&self) {
        self.accounts.drop_touched();
        self.grants.drop_touched();
        self.authorities.drop_touched();
        self.crosses.drop_touched();
    }

    /// An account; `read` finds it with its row number.
    pub(crate) fn account(
        &self,
        id: &AccountId,
        read: impl FnOnce() -> StoreResult<Option<(i64, Account)>>,
    ) -> StoreResult<Option<Account>> {
        self.accounts.get_or(id, read)
    }

    /// A grant; `read` finds it with its row number.
    pub(crate) fn grant(
        &self,
        id: &GrantId,
        read: impl FnOnce() -> StoreResult<Option<(i64, GrantRecord)>>,
    ) -> StoreResult<Option<GrantRecord>> {
        self.grants.get_or(id, read)
    }

    /// Every authority.
    pub(crate) fn authorities(&self, read: impl FnOnce() -> StoreResult<Vec<Authority>>) -> StoreResult<Vec<Authority>> {
        self.authorities.list_or(read)
    }

    /// Every cross-certificate.
    pub(crate) fn crosses(&self, read: impl FnOnce() -> StoreResult<Vec<CrossCertificate>>) -> StoreResult<Vec<CrossCertificate>> {
        self.crosses.list_or(read)
    }
}

/// What is remembered of one table.
struct Memory<K, V>(Mutex<Inner<K, V>>);

struct Inner<K, V> {
    /// How often something was dropped because it changed: what was read before must not be remembered after.
    age: u64,
    known: HashMap<K, V>,
    /// Whose row it is.
    rows: HashMap<i64, K>,
    /// Rows that changed since the last drop; nothing: more than [`MOST`] did.
    touched: Option<Vec<i64>>,
}

impl<K, V> Default for Memory<K, V> {
    fn default() -> Self {
        Self(Mutex::new(Inner { age: 0, known: HashMap::new(), rows: HashMap::new(), touched: Some(Vec::new()) }))
    }
}

impl<K: Eq + Hash + Clone, V: Clone> Memory<K, V> {
    fn get_or(&self, key: &K, read: impl FnOnce() -> StoreResult<Option<(i64, V)>>) -> StoreResult<Option<V>> {
        let age = {
            let inner = self.lock();
            if let Some(value) = inner.known.get(key) {
                return Ok(Some(value.clone()));
            }
            inner.age
        };
        let Some((row, value)) = read()? else { return Ok(None) };
        let mut inner = self.lock();
        if inner.age == age {
            if inner.known.len() >= MOST {
                inner.clear();
            }
            inner.known.insert(key.clone(), value.clone());
            inner.rows.insert(row, key.clone());
        }
        Ok(Some(value))
    }

    /// Notes that a row changed, or was deleted.
    fn touch(&self, row: i64) {
        let mut inner = self.lock();
        let Some(touched) = &mut inner.touched else { return };
        if touched.last() == Some(&row) {
            return;
        }
        if touched.len() < MOST {
            touched.push(row);
        } else {
            inner.touched = None;
        }
    }

    fn drop_touched(&self) {
        let mut inner = self.lock();
        match inner.touched.replace(Vec::new()) {
            Some(rows) if rows.is_empty() => return,
            Some(rows) => rows.iter().for_each(|row| inner.drop_row(*row)),
            None => inner.clear(),
        }
        inner.age += 1;
    }

    fn lock(&self) -> MutexGuard<'_, Inner<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone> Memory<(), Arc<[T]>> {
    fn list_or(&self, read: impl FnOnce() -> StoreResult<Vec<T>>) -> StoreResult<Vec<T>> {
        let list = self.get_or(&(), || Ok(Some((LIST, read()?.into()))))?;
        Ok(list.map(|list| list.to_vec()).unwrap_or_default())
    }
}

impl<K: Eq + Hash, V> Inner<K, V> {
    fn drop_row(&mut self, row: i64) {
        if let Some(key) = self.rows.remove(&row) {
            self.known.remove(&key);
        }
    }

    fn clear(&mut self) {
        self.known.clear();
        self.rows.clear();
    }
}

#[cfg(test)]
mod tests;
