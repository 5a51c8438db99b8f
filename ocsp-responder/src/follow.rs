//! Following the store: authorities, ledgers, and the responder's own certificates.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use ca_core::model::{AuthorityName, SerialStatus};
use ca_core::pki::Timestamp;
use ca_core::ports::{Clock, ResponderStore, Rng, StoreError, StoreResult};
use ca_service::metrics::Metrics;

use crate::authority::{Adoption, AuthorityState};
use crate::cache::AnswerCache;
use crate::config::{ResponderConfig, ResponderKeys};
use crate::files::CrlFiles;

/// No reading of the store waits longer than this; what is slower counts as away.
pub(crate) const STORE_TIMEOUT: Duration = Duration::from_secs(3);
/// The profile of delegated responder certificates.
const PROFILE: &str = "ocsp";
/// How many ledger entries are read at once.
const LEDGER_PAGE: u32 = 1000;

/// The validation authority of one instance.
pub struct Responder {
    pub(crate) config: ResponderConfig,
    pub(crate) store: Arc<dyn ResponderStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rng: Arc<dyn Rng>,
    keys: ResponderKeys,
    authorities: RwLock<Arc<BTreeMap<AuthorityName, Arc<AuthorityState>>>>,
    looked_up: Mutex<Option<Timestamp>>,
    impediment: Mutex<Option<(String, bool)>>,
    pub(crate) metrics: Metrics,
    pub(crate) cache: AnswerCache,
    pub(crate) crls: CrlFiles,
}

impl Responder {
    /// A responder that knows nothing yet: it signs nothing until [`Responder::refresh`] or
    /// [`Responder::follow_ledger`] has read the ledger (lesson 18: fail closed from boot).
    pub fn new(
        config: ResponderConfig,
        store: Arc<dyn ResponderStore>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        keys: ResponderKeys,
    ) -> Self {
        let cache = AnswerCache::new(config.cache_bytes);
        Self {
            config,
            store,
            clock,
            rng,
            keys,
            authorities: RwLock::default(),
            looked_up: Mutex::default(),
            impediment: Mutex::default(),
            metrics: Metrics::new(&crate::counted::METRICS),
            cache,
            crls: CrlFiles::default(),
        }
    }

    /// Follows the ledgers until `shutdown` completes. A revocation is known here as soon as the store wakes the
    /// follower, at the latest after `poll`.
    pub async fn follow_ledger(self: Arc<Self>, shutdown: impl Future<Output = ()> + Send) {
        let follow = async {
            let mut was_away = false;
            loop {
                match self.refresh().await {
                    Ok(()) => {
                        if std::mem::take(&mut was_away) {
                            tracing::info!("the revocation ledger is read again");
                        }
                        self.store.await_ledger(self.config.poll).await;
                    }
                    Err(error) => {
                        if !std::mem::replace(&mut was_away, true) {
                            let seconds = self.config.max_stale.as_secs();
                            tracing::error!(%error, "the revocation ledger cannot be read; after {seconds} s nothing new is signed");
                        }
                        tokio::time::sleep(self.config.poll).await;
                    }
                }
            }
        };
        tokio::select! {
            () = shutdown => {}
            () = follow => {}
        }
    }

    /// One pass: new authorities, new ledger entries, newer responder certificates.
    ///
    /// # Errors
    /// When the store did not answer. What could be read was taken all the same.
    pub async fn refresh(&self) -> StoreResult<()> {
        let now = self.clock.now();
        let looked_up = *self.looked_up.lock().unwrap_or_else(PoisonError::into_inner);
        let lookup_is_due = looked_up.is_none_or(|at| now < at || now.since(at) >= self.config.refresh);
        let mut result = Ok(());
        if lookup_is_due || self.authorities().is_empty() {
            result = self.load_authorities().await;
        }
        for authority in self.authorities().values() {
            let read = self.read_ledger(authority).await;
            let has_ended = authority.has_ended(now);
            if has_ended {
                authority.tell_end();
            }
            let certificate_is_due = authority.key.is_some() && !has_ended && (lookup_is_due || authority.signer(now).is_none());
            let looked = if certificate_is_due { self.load_certificate(authority, now).await } else { Ok(()) };
            result = result.and(read).and(looked);
        }
        if lookup_is_due && result.is_ok() {
            *self.looked_up.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        }
        result
    }

    /// Says what its operator knows to be wrong, or that nothing is. Until then it is not ready; and where it `may_sign`
    /// no more, because its store can't be believed, it hands out only what it signed before.
    pub fn impede(&self, reason: Option<String>, may_sign: bool) {
        *self.impediment.lock().unwrap_or_else(PoisonError::into_inner) = reason.map(|reason| (reason, may_sign));
    }

    /// Whether new answers may be signed from the store.
    pub(crate) fn may_sign(&self) -> bool {
        self.impediment.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_none_or(|(_, may_sign)| *may_sign)
    }

    /// What keeps the responder from answering: nothing when it is ready (S17). Authorities that have ended do not count,
    /// unless no other has a key.
    pub fn not_ready(&self) -> Vec<String> {
        let impediment = self.impediment.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(reason, _)| reason.clone());
        impediment.into_iter().chain(self.not_ready_itself()).collect()
    }

    fn not_ready_itself(&self) -> Vec<String> {
        let now = self.clock.now();
        let authorities = self.authorities();
        if authorities.is_empty() {
            return vec!["no authority is known yet (hint: import a ceremony's bundle; see that the database can be reached)".to_owned()];
        }
        let mut reasons = Vec::new();
        // One that has ended never gets a certificate for its OCSP key again: its successor must not wait for that.
        let (ended, standing): (Vec<_>, Vec<_>) = authorities.values().partition(|authority| authority.has_ended(now));
        let has_key = |authority: &&Arc<AuthorityState>| authority.key.is_some();
        if ended.iter().any(has_key) && !standing.iter().any(has_key) {
            let names: Vec<&str> = ended.iter().filter(|a| has_key(a)).map(|a| a.name.as_str()).collect();
            reasons.push(format!(
                "every authority with an OCSP key here has ended: {} (hint: import the successor's bundle and give it an OCSP key)",
                names.join(", ")
            ));
        }
        for authority in standing {
            let name = &authority.name;
            if !authority.is_fresh(now, self.config.max_stale) {
                reasons.push(format!("{name}: the revocation ledger was not read for {} seconds", self.config.max_stale.as_secs()));
            }
            if authority.key.is_some() && authority.signer(now).is_none() {
                reasons.push(format!("{name}: the OCSP key has no valid certificate (hint: the worker issues it; see that it runs)"));
            }
        }
        reasons
    }

    pub(crate) fn authorities(&self) -> Arc<BTreeMap<AuthorityName, Arc<AuthorityState>>> {
        self.authorities.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn authority(&self, name: Option<&str>) -> Option<Arc<AuthorityState>> {
        let authorities = self.authorities();
        match name {
            Some(name) => authorities.get(&name.parse::<AuthorityName>().ok()?).cloned(),
            None => authorities.values().find(|a| a.is_default).cloned(),
        }
    }

    async fn load_authorities(&self) -> StoreResult<()> {
        let listed = in_time(self.store.authorities()).await?;
        let known = self.authorities();
        // A changed certificate cannot be under a name that exists (`import_authorities` refuses it): only new names count.
        let new: Vec<_> = listed.iter().filter(|a| !known.contains_key(&a.name)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let mut all = BTreeMap::clone(&known);
        for authority in new {
            let index = u32::try_from(all.len()).unwrap_or(u32::MAX);
            match AuthorityState::new(index, authority, self.keys.get(&authority.name)) {
                Ok(state) => drop(all.insert(authority.name.clone(), Arc::new(state))),
                Err(error) => tracing::error!(authority = %authority.name, %error, "the authority's certificate is not used"),
            }
        }
        *self.authorities.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(all);
        Ok(())
    }

    async fn read_ledger(&self, authority: &AuthorityState) -> StoreResult<()> {
        // Read before the query: an entry that is committed while it runs may be missing from its answer.
        let asked_at = self.clock.now();
        let (seen, is_first) = {
            let ledger = authority.ledger();
            (ledger.number, ledger.read_at.is_none())
        };
        let head = in_time(self.store.ledger_head(&authority.name)).await?;
        if is_first {
            // Nothing was signed yet, so that nothing is to be forgotten.
            let mut ledger = authority.ledger();
            ledger.number = head;
            ledger.read_at = Some(asked_at);
            return Ok(());
        }
        if head < seen {
            tracing::error!(authority = %authority.name, head, seen, "the revocation ledger went back; every signed answer is dropped");
            let mut ledger = authority.ledger();
            ledger.number = head;
            self.cache.forget_all();
        }
        let mut number = seen.min(head);
        while number < head {
            let entries = in_time(self.store.ledger_after(&authority.name, number, LEDGER_PAGE)).await?;
            let Some(last) = entries.last().map(|e| e.number).filter(|last| *last > number) else {
                return Err(StoreError::Damaged(format!("ledger entries after {number} are missing, though its head is {head}")));
            };
            let mut ledger = authority.ledger();
            for entry in &entries {
                self.cache.forget(authority.index, entry.serial);
            }
            number = last;
            ledger.number = number;
        }
        authority.ledger().read_at = Some(asked_at);
        Ok(())
    }

    async fn load_certificate(&self, authority: &AuthorityState, now: Timestamp) -> StoreResult<()> {
        let Some(key) = &authority.key else { return Ok(()) };
        let newest = in_time(self.store.newest_for_key(&authority.name, PROFILE, &key.public_key().spki_sha256())).await?;
        match authority.adopt(newest.as_ref().map(|c| c.der.as_slice()), now, self.config.skew) {
            Ok(Adoption::Same) => {}
            Ok(Adoption::Changed) if newest.is_none() => self.drop_answers_of(authority),
            Ok(Adoption::Changed) => tracing::info!(authority = %authority.name, "a newer responder certificate is in use"),
            Ok(Adoption::Awaited { current, begins, is_news }) => {
                if is_news {
                    tracing::warn!(authority = %authority.name, %begins, "the newest responder certificate begins later than answers are dated; the one in use stays until then (hint: compare this host's clock with the worker's)");
                }
                // The store tells the newest that is not revoked: whether the one in use is must be asked.
                if let Some(SerialStatus::Revoked { .. }) = in_time(self.store.status(&authority.name, &current)).await? {
                    authority.give_up_signer();
                    self.drop_answers_of(authority);
                }
            }
            Err(error) => tracing::error!(authority = %authority.name, %error, "the newest responder certificate is not used"),
        }
        Ok(())
    }

    /// The responder's certificate was revoked: what it vouches for must not be handed out any more.
    fn drop_answers_of(&self, authority: &AuthorityState) {
        tracing::warn!(authority = %authority.name, "the responder's certificate is gone; its answers are dropped");
        self.cache.forget_all();
    }
}

/// Runs a reading of the store, bounded in time.
pub(crate) async fn in_time<T>(reading: impl Future<Output = StoreResult<T>>) -> StoreResult<T> {
    let late = |_| StoreError::Unavailable(format!("no answer within {} seconds", STORE_TIMEOUT.as_secs()));
    tokio::time::timeout(STORE_TIMEOUT, reading).await.map_err(late)?
}
