//! CRLs as files over HTTP.
//!
//! Each scope has a place of its own, and nobody waits for another scope's reading: scopes are numbers from outside, and
//! whoever asks for many that do not exist must not keep those that do from being read (S2).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use ca_core::model::{AuthorityName, CrlRecord, CrlScope};
use ca_core::pki::{Timestamp, sha256};
use ca_core::ports::{StoreError, StoreResult};

use crate::authority::AuthorityState;
use crate::follow::{Responder, in_time};

/// How long what the store said of a scope is given before the store is asked again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long it is still given to those who come while the store is being asked; after that they wait for its answer.
const WHILE_READING: Duration = Duration::from_secs(2);
/// How many scopes without a CRL are remembered, besides those that are being asked for.
const MAX_ABSENT: usize = 1024;
/// How often failed readings are logged: anyone can ask for CRLs.
const TELL_AGAIN: Duration = Duration::from_secs(10);

/// A CRL as it is served.
pub(crate) struct CrlFile {
    pub(crate) der: Bytes,
    pub(crate) etag: String,
    pub(crate) this_update: Timestamp,
    pub(crate) next_update: Timestamp,
    /// Whether its number shows that no earlier CRL of its scope has the same thisUpdate, whoever handed that one out:
    /// thisUpdate lies `skew` before the time that numbers begin with.
    pub(crate) is_first_of_its_second: bool,
    number: u64,
}

impl CrlFile {
    fn new(record: CrlRecord, skew: Duration) -> Self {
        Self {
            etag: format!("\"{}-{}\"", record.number, &sha256(&record.der).to_string()[..16]),
            this_update: record.this_update,
            next_update: record.next_update,
            is_first_of_its_second: record.number == CrlRecord::first_number(record.this_update.plus(skew)),
            number: record.number,
            der: record.der.into(),
        }
    }
}

/// What can be given of a scope.
pub(crate) enum CrlAnswer {
    /// The current CRL; while the store is away the last one that was read, until its nextUpdate.
    File(Arc<CrlFile>),
    /// There is none.
    Absent,
    /// The store did not say.
    Unread,
}

/// What the store said of a scope.
#[derive(Clone, Default)]
struct Seen {
    file: Option<Arc<CrlFile>>,
    /// When the last reading began; when it ended, if it failed. None before the first.
    looked_at: Option<Timestamp>,
    has_failed: bool,
    /// How many readings there were.
    readings: u64,
}

impl Seen {
    fn is_within(&self, age: Duration, now: Timestamp) -> bool {
        self.looked_at.is_some_and(|at| at <= now && now.since(at) < age)
    }

    fn answer(self, now: Timestamp) -> CrlAnswer {
        match self.file {
            Some(file) if !self.has_failed || now < file.next_update => CrlAnswer::File(file),
            None if !self.has_failed => CrlAnswer::Absent,
            _ => CrlAnswer::Unread,
        }
    }
}

/// One scope's place.
#[derive(Default)]
struct Place {
    /// Held by whoever asks the store: a CRL may be large.
    reading: tokio::sync::Mutex<()>,
    seen: Mutex<Seen>,
}

impl Place {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct Places {
    by_scope: HashMap<(AuthorityName, CrlScope), Arc<Place>>,
    /// At how many places those without a CRL are dropped.
    sweep_at: usize,
}

/// The CRLs that were read.
#[derive(Default)]
pub(crate) struct CrlFiles {
    places: Mutex<Places>,
    told_at: Mutex<Option<Timestamp>>,
}

impl CrlFiles {
    /// The CRLs that are held, with authority and scope.
    pub(crate) fn held(&self) -> Vec<(AuthorityName, CrlScope, Arc<CrlFile>)> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let held = places.by_scope.iter().filter_map(|((name, scope), place)| {
            let file = place.seen().file.clone()?;
            Some((name.clone(), *scope, file))
        });
        held.collect()
    }

    fn place(&self, authority: &AuthorityName, scope: CrlScope) -> Arc<Place> {
        let key = (authority.clone(), scope);
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = places.by_scope.get(&key) {
            return Arc::clone(place);
        }
        if places.by_scope.len() >= places.sweep_at {
            // One that somebody else has is in use: places are handed out under this lock only.
            places.by_scope.retain(|_, place| Arc::strong_count(place) > 1 || place.seen().file.is_some());
            places.sweep_at = places.by_scope.len() + MAX_ABSENT;
        }
        Arc::clone(places.by_scope.entry(key).or_default())
    }

    fn tell(&self, authority: &AuthorityName, scope: CrlScope, error: &StoreError, now: Timestamp) {
        let mut told_at = self.told_at.lock().unwrap_or_else(PoisonError::into_inner);
        if told_at.is_none_or(|at| now < at || now.since(at) >= TELL_AGAIN) {
            *told_at = Some(now);
            tracing::warn!(%authority, %scope, %error, "a CRL could not be read; one that was read before is given until its nextUpdate");
        }
    }
}

impl Responder {
    /// The current CRL of a scope.
    pub(crate) async fn crl(&self, authority: &AuthorityState, scope: CrlScope) -> CrlAnswer {
        let place = self.crls.place(&authority.name, scope);
        let (before, now) = (place.seen().clone(), self.clock.now());
        if before.is_within(LOOK_AGAIN, now) {
            return before.answer(now);
        }
        let _reading = match place.reading.try_lock() {
            Ok(guard) => guard,
            Err(_) if before.is_within(WHILE_READING, now) => return before.answer(now),
            Err(_) => place.reading.lock().await,
        };
        // Who waited for a reading takes what came of it: else all who wait would ask the store one after another.
        let (seen, now) = (place.seen().clone(), self.clock.now());
        if seen.readings != before.readings {
            return seen.answer(now);
        }
        let read = in_time(self.store.current_crl(&authority.name, &scope)).await;
        let after = self.seen_after(seen, read, now, (&authority.name, scope));
        place.seen().clone_from(&after);
        after.answer(self.clock.now())
    }

    /// What is known of a scope after a reading that began at `asked_at`.
    fn seen_after(
        &self,
        before: Seen,
        read: StoreResult<Option<CrlRecord>>,
        asked_at: Timestamp,
        (authority, scope): (&AuthorityName, CrlScope),
    ) -> Seen {
        let readings = before.readings.wrapping_add(1);
        match read {
            Ok(record) => {
                // An older one may not replace it, nor may none (invariant 7).
                let newer = record.filter(|record| before.file.as_ref().is_none_or(|held| record.number > held.number));
                let file = newer.map(|record| Arc::new(CrlFile::new(record, self.config.skew))).or(before.file);
                Seen { file, looked_at: Some(asked_at), has_failed: false, readings }
            }
            Err(error) => {
                let now = self.clock.now();
                self.crls.tell(authority, scope, &error, now);
                Seen { looked_at: Some(now), has_failed: true, readings, ..before }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_that_do_not_exist_are_remembered_within_a_bound() {
        let (files, name) = (CrlFiles::default(), "demo".parse::<AuthorityName>().expect("a name"));
        let count = || files.places.lock().unwrap_or_else(PoisonError::into_inner).by_scope.len();
        let record = CrlRecord {
            authority: name.clone(),
            scope: CrlScope(0),
            number: 1,
            this_update: Timestamp::from_unix(0),
            next_update: Timestamp::from_unix(1),
            ledger_number: 0,
            der: vec![0],
        };
        files.place(&name, CrlScope(0)).seen().file = Some(Arc::new(CrlFile::new(record, Duration::ZERO)));
        let in_use = files.place(&name, CrlScope(1));
        for scope in 2..20_000 {
            files.place(&name, CrlScope(scope));
            assert!(count() <= MAX_ABSENT + 2, "{} places", count());
        }
        assert_eq!(files.held().len(), 1, "a CRL stays");
        assert!(Arc::ptr_eq(&in_use, &files.place(&name, CrlScope(1))), "whoever waits there is met there");
    }
}
