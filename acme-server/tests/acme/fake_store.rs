//! A store in memory with a worker that answers at once, or stays away.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use ca_core::evidence::revocation::{RevocationRight, verify};
use ca_core::limits::{Exceeded, Share, Table};
use ca_core::model::*;
use ca_core::pki::{Identifier, SerialNumber, Sha256Digest, Timestamp, sha256};
use ca_core::ports::{
    AcmeStore, CertificateStore, KEY_CHANGED, RequestBacklog, SHARED_SUBJECTS, StandingStore, StoreError, StoreResult, ValidationStore,
};
use ca_testkit::SeededRng;

/// What the worker does with a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Worker {
    #[default]
    Present,
    Away,
    Refuses(Problem),
}

/// Its `Debug` is a dump of everything: two that are equal show that nothing changed.
#[derive(Default, Debug)]
pub(crate) struct State {
    pub(crate) worker: Worker,
    pub(crate) backlog: Duration,
    pub(crate) down: bool,
    /// The key that an account gets as soon as it was read once: its change came in while a request was under way.
    pub(crate) next_key: Option<(String, String)>,
    pub(crate) accounts: BTreeMap<AccountId, Account>,
    pub(crate) grants: BTreeMap<GrantId, GrantRecord>,
    pub(crate) orders: BTreeMap<OrderId, Order>,
    pub(crate) authorizations: BTreeMap<AuthorizationId, Authorization>,
    pub(crate) authorities: Vec<Authority>,
    pub(crate) cross_certificates: Vec<CrossCertificate>,
    pub(crate) certificates: BTreeMap<SerialNumber, CertificateRecord>,
    /// Validations that clients asked for and nobody has leased.
    pub(crate) started: Vec<(AuthorizationId, ChallengeMethod, Timestamp)>,
    pub(crate) answers: BTreeMap<AuthorizationId, String>,
    pub(crate) records: Vec<ValidationRecord>,
    pub(crate) evidence: Vec<String>,
    pub(crate) audit: Vec<AuditEntry>,
    pub(crate) revocations: Vec<RevocationRequest>,
    pub(crate) blocked: BTreeMap<Sha256Digest, KeyBlock>,
    /// What the grant has issued.
    pub(crate) used: GrantUse,
    /// Failures in a row.
    pub(crate) failures: BTreeMap<AccountId, Vec<Timestamp>>,
    pub(crate) paused: BTreeMap<AccountId, Timestamp>,
}

/// Makes a certificate's DER for identifiers and a serial number.
pub(crate) type Issue = Box<dyn Fn(&[Identifier], SerialNumber) -> (Vec<u8>, Sha256Digest) + Send + Sync>;

pub(crate) struct FakeStore {
    pub(crate) state: Mutex<State>,
    pub(crate) issue: Issue,
    /// Made with the first request of a server that has others beside it.
    pub(crate) shares: Mutex<Option<Table>>,
}

fn missing<T>(what: &str) -> StoreResult<T> {
    Err(StoreError::NotFound(what.to_owned()))
}
fn conflict<T>(why: &str) -> StoreResult<T> {
    Err(StoreError::Conflict(why.to_owned()))
}

impl FakeStore {
    fn state(&self) -> StoreResult<std::sync::MutexGuard<'_, State>> {
        let state = self.state.lock().unwrap();
        if state.down { Err(StoreError::Unavailable("secret internal detail".to_owned())) } else { Ok(state) }
    }

    /// The next certificate of an order that renews itself.
    pub(crate) fn renew(&self, id: &OrderId) -> SerialNumber {
        let mut state = self.state.lock().unwrap();
        self.release(&mut state, id);
        state.orders[id].serial.unwrap()
    }

    /// What an operator does to a certificate.
    pub(crate) fn mark(&self, serial: &SerialNumber, mark: Option<ReplacementMark>) {
        self.state.lock().unwrap().certificates.get_mut(serial).unwrap().marked = mark;
    }

    fn release(&self, state: &mut State, id: &OrderId) {
        let serial = SerialNumber::from_der_integer(&[1, state.certificates.len() as u8 + 1]).unwrap();
        let order = state.orders.get_mut(id).unwrap();
        let (der, spki_sha256) = (self.issue)(&order.identifiers, serial);
        order.status = OrderStatus::Valid;
        order.serial = Some(serial);
        state.failures.remove(&order.account);
        if let Some(terms) = &order.auto_renewal {
            order.expires = terms.end_date;
        }
        let parsed = ca_core::pki::Certificate::from_der(&der).unwrap();
        let record = CertificateRecord {
            authority: order.authority.clone(),
            serial,
            state: CertificateState::Released,
            profile: order.profile.clone(),
            subject: String::new(),
            identifiers: order.identifiers.clone(),
            spki_sha256,
            not_before: parsed.not_before(),
            not_after: parsed.not_after(),
            partition: 0,
            der,
            account: Some(order.account.clone()),
            grant: None,
            order: Some(id.clone()),
            revoked: None,
            follows: None,
            replaced_by: None,
            marked: None,
            created_at: parsed.not_before(),
        };
        state.certificates.insert(serial, record);
    }
}

#[async_trait]
impl AcmeStore for FakeStore {
    async fn queue_account(&self, account: &NewAccount, audit: &AuditEntry) -> StoreResult<RequestId> {
        let mut state = self.state()?;
        let new = &account.account;
        let taken = |a: &Account| a.thumbprint == new.thumbprint && matches!(a.status, AccountStatus::Pending | AccountStatus::Valid);
        if state.accounts.values().any(taken) {
            return conflict("the key is taken");
        }
        assert_eq!(new.id, AccountId::from_evidence(&account.jws));
        state.accounts.insert(new.id.clone(), new.clone());
        state.evidence.push(account.jws.clone());
        state.audit.push(audit.clone());
        Ok(RequestId::for_account(&new.id))
    }
    async fn account(&self, id: &AccountId) -> StoreResult<Option<Account>> {
        let mut state = self.state()?;
        let read = state.accounts.get(id).cloned();
        if let Some((jwk, thumbprint)) = state.next_key.take()
            && let Some(account) = state.accounts.get_mut(id)
        {
            (account.jwk, account.thumbprint) = (jwk, thumbprint);
        }
        Ok(read)
    }
    async fn account_by_key(&self, thumbprint: &str) -> StoreResult<Option<Account>> {
        Ok(self.state()?.accounts.values().find(|a| a.thumbprint == thumbprint).cloned())
    }
    async fn update_contact(&self, id: &AccountId, contact: &[String], audit: &AuditEntry) -> StoreResult<Account> {
        let mut state = self.state()?;
        state.audit.push(audit.clone());
        let account = state.accounts.get_mut(id).unwrap();
        account.contact = contact.to_vec();
        Ok(account.clone())
    }
    async fn deactivate_account(&self, id: &AccountId, audit: &AuditEntry) -> StoreResult<Account> {
        let mut state = self.state()?;
        state.audit.push(audit.clone());
        let account = state.accounts.get_mut(id).unwrap();
        account.status = AccountStatus::Deactivated;
        Ok(account.clone())
    }
    async fn change_key(
        &self,
        id: &AccountId,
        old_thumbprint: &str,
        jwk: &str,
        thumbprint: &str,
        jws: &str,
        audit: &AuditEntry,
    ) -> StoreResult<Account> {
        let mut state = self.state()?;
        state.evidence.push(jws.to_owned());
        state.audit.push(audit.clone());
        let account = state.accounts.get_mut(id).unwrap();
        if account.thumbprint != old_thumbprint {
            return conflict("another key");
        }
        (account.jwk, account.thumbprint) = (jwk.to_owned(), thumbprint.to_owned());
        Ok(account.clone())
    }
    async fn grant(&self, id: &GrantId) -> StoreResult<Option<GrantRecord>> {
        Ok(self.state()?.grants.get(id).cloned())
    }
    async fn grant_use(&self, _: &GrantId, _: Timestamp, _: u32) -> StoreResult<GrantUse> {
        Ok(self.state()?.used)
    }
    async fn create_order(&self, order: &NewOrder, audit: &AuditEntry) -> StoreResult<Order> {
        let mut state = self.state()?;
        assert!(order.order.id.is_from_evidence(&order.jws));
        if let Some(serial) = &order.order.replaces {
            let by = state.certificates[serial].replaced_by.as_ref().and_then(|id| state.orders.get(id));
            let ended = |earlier: &Order| {
                let lapsed =
                    matches!(earlier.status, OrderStatus::Pending | OrderStatus::Ready) && earlier.expires <= order.order.created_at;
                lapsed || earlier.status == OrderStatus::Invalid
            };
            if by.is_some_and(|earlier| !ended(earlier)) {
                return conflict("replaced already");
            }
            let replaced = state.certificates.get_mut(serial).unwrap();
            replaced.replaced_by = Some(order.order.id.clone());
        }
        state.orders.insert(order.order.id.clone(), order.order.clone());
        for authorization in &order.authorizations {
            state.authorizations.insert(authorization.id.clone(), authorization.clone());
        }
        state.audit.push(audit.clone());
        Ok(order.order.clone())
    }
    async fn order(&self, id: &OrderId) -> StoreResult<Option<Order>> {
        Ok(self.state()?.orders.get(id).cloned())
    }
    async fn orders_of(&self, account: &AccountId, cursor: Option<&OrderId>, now: Timestamp, limit: u32) -> StoreResult<OrderPage> {
        let state = self.state()?;
        let mut orders: Vec<_> = state
            .orders
            .values()
            .filter(|o| o.account == *account && o.expires > now && cursor.is_none_or(|c| o.id > *c))
            .map(|o| o.id.clone())
            .collect();
        // Two a page, so that a test can turn pages.
        let next = (orders.len() > 2).then(|| orders[1].clone());
        orders.truncate(2.min(limit as usize));
        Ok(OrderPage { orders, next })
    }
    async fn authorization(&self, id: &AuthorizationId) -> StoreResult<Option<Authorization>> {
        Ok(self.state()?.authorizations.get(id).cloned())
    }
    async fn authorizations_of(&self, order: &OrderId) -> StoreResult<Vec<Authorization>> {
        let state = self.state()?;
        let ids = state.orders.get(order).map(|o| o.authorizations.clone()).unwrap_or_default();
        Ok(ids.iter().filter_map(|id| state.authorizations.get(id).cloned()).collect())
    }
    async fn deactivate_authorization(&self, id: &AuthorizationId, audit: &AuditEntry) -> StoreResult<Authorization> {
        let mut state = self.state()?;
        state.audit.push(audit.clone());
        let authorization = state.authorizations.get_mut(id).unwrap();
        authorization.status = AuthorizationStatus::Deactivated;
        let authorization = authorization.clone();
        state.orders.values_mut().filter(|o| o.authorizations.contains(id)).for_each(|o| o.status = OrderStatus::Invalid);
        Ok(authorization)
    }
    async fn queue_finalize(
        &self,
        order: &OrderId,
        thumbprint: &str,
        jws: &str,
        _now: Timestamp,
        audit: &AuditEntry,
    ) -> StoreResult<RequestId> {
        let mut state = self.state()?;
        let account = state.orders.get(order).and_then(|order| state.accounts.get(&order.account));
        if account.is_some_and(|account| account.thumbprint != thumbprint) {
            return conflict(KEY_CHANGED);
        }
        match state.orders.get_mut(order) {
            Some(found) if found.status == OrderStatus::Ready => found.status = OrderStatus::Processing,
            Some(_) => return conflict("not ready"),
            None => return missing("order"),
        }
        state.evidence.push(jws.to_owned());
        state.audit.push(audit.clone());
        Ok(RequestId::for_order(order))
    }
    async fn cancel_order(&self, id: &OrderId, problem: Option<&Problem>, audit: &AuditEntry) -> StoreResult<Order> {
        let mut state = self.state()?;
        let Some(found) = state.orders.get(id).cloned() else { return missing("order") };
        let mut canceled = found.apply(OrderCommand::Cancel, audit.at).map_err(|e| StoreError::Conflict(e.to_string()))?;
        (canceled.expires, canceled.error) = (audit.at, problem.cloned());
        state.orders.insert(id.clone(), canceled.clone());
        state.audit.push(audit.clone());
        Ok(canceled)
    }
    async fn revoke_on_request(&self, jws: &str, request: &RevocationRequest) -> StoreResult<Revoked> {
        let mut state = self.state()?;
        let Some(record) = state.certificates.get(&request.serial).cloned() else { return Ok(Revoked::NotFound) };
        let account = match &request.actor {
            Actor::Account { id } => state.accounts.get(id),
            _ => None,
        };
        let claim = verify(jws, &record, account).map_err(|problem| StoreError::Conflict(problem.detail))?;
        assert_eq!((&claim.actor, claim.reason), (&request.actor, request.reason));
        let proves = |identifier: &Identifier| {
            let mut own = state.authorizations.values().filter(|a| Some(&a.account) == account.map(|account| &account.id));
            own.any(|a| {
                a.identifier == *identifier && a.status == AuthorizationStatus::Valid && a.expires > request.at && a.proven_by().is_some()
            })
        };
        if claim.right == RevocationRight::Proofs && !record.identifiers.iter().all(proves) {
            return conflict("not proven");
        }
        if record.revoked.is_some() {
            return Ok(Revoked::Already);
        }
        state.certificates.get_mut(&request.serial).unwrap().revoked = Some((request.at, request.reason));
        state.revocations.push(request.clone());
        Ok(Revoked::Now { number: 1 })
    }
    async fn await_request(&self, id: &RequestId, _at_most: Duration) -> StoreResult<RequestState> {
        let mut state = self.state()?;
        let worker = state.worker.clone();
        let (kind, object) = id.as_str().split_at(2);
        match (kind, worker.clone()) {
            (_, Worker::Away) => return Ok(RequestState::Waiting),
            ("a.", Worker::Refuses(_)) => {
                state.accounts.remove(&object.parse().unwrap());
            }
            ("a.", _) => state.accounts.get_mut(&object.parse().unwrap()).unwrap().status = AccountStatus::Valid,
            (_, Worker::Refuses(problem)) => {
                let order = state.orders.get_mut(&object.parse().unwrap()).unwrap();
                let fault = Fault::of(problem.kind);
                (order.status, order.error) = (OrderStatus::Invalid, Some(problem));
                let (account, at) = (order.account.clone(), order.created_at);
                if fault == Fault::Client {
                    state.failures.entry(account).or_default().push(at);
                }
            }
            (_, _) => self.release(&mut state, &object.parse().unwrap()),
        }
        Ok(match worker {
            Worker::Refuses(problem) => RequestState::Refused { problem },
            _ => {
                let serial = object.parse().ok().and_then(|order| state.orders.get(&order)?.serial);
                let certificate = serial.and_then(|serial| state.certificates.get(&serial));
                let issued = certificate.map(|c| Issued { serial: c.serial, subject: c.subject.clone(), der: c.der.clone() });
                RequestState::Done { certificate: issued.map(Box::new) }
            }
        })
    }
}

/// Leases and their ends are the real stores' own matter, in their conformance suite.
#[async_trait]
impl ValidationStore for FakeStore {
    async fn create_authorization(&self, new: &Authorization, _now: Timestamp, audit: &AuditEntry) -> StoreResult<Authorization> {
        let mut state = self.state()?;
        state.authorizations.insert(new.id.clone(), new.clone());
        state.audit.push(audit.clone());
        Ok(new.clone())
    }
    async fn start_challenge(
        &self,
        id: &AuthorizationId,
        method: ChallengeMethod,
        by: &TakeUp,
        now: Timestamp,
        deadline: Timestamp,
        audit: &AuditEntry,
    ) -> StoreResult<Authorization> {
        let mut state = self.state()?;
        let Some(found) = state.authorizations.get(id).cloned() else { return missing("authorization") };
        if state.accounts.get(&found.account).is_some_and(|account| account.thumbprint != by.thumbprint) {
            return conflict(KEY_CHANGED);
        }
        let started = found.apply(AuthorizationCommand::Start(method), now).map_err(|e| StoreError::Conflict(e.to_string()))?;
        state.authorizations.insert(id.clone(), started.clone());
        state.started.push((id.clone(), method, deadline));
        state.answers.extend(by.answer.clone().map(|answer| (id.clone(), answer)));
        state.audit.push(audit.clone());
        Ok(started)
    }
    async fn lease_validations(
        &self,
        _: &WorkerId,
        lease: &LeaseToken,
        _now: Timestamp,
        _until: Timestamp,
        limit: u32,
        _share: u32,
    ) -> StoreResult<Vec<LeasedValidation>> {
        let mut state = self.state()?;
        let count = state.started.len().min(limit as usize);
        let started: Vec<_> = state.started.drain(..count).collect();
        let leased = started.into_iter().map(|(id, method, deadline)| {
            let authorization = &state.authorizations[&id];
            LeasedValidation {
                method,
                account: authorization.account.clone(),
                thumbprint: state.accounts[&authorization.account].thumbprint.clone(),
                authority: authorization.authority.clone(),
                identifier: authorization.identifier.clone(),
                token: authorization.challenge(method).unwrap().token.clone(),
                lease: lease.clone(),
                answer: state.answers.get(&id).cloned(),
                attempts: state.records.iter().filter(|r| r.authorization == id).count() as u32,
                deadline,
                authorization: id,
            }
        });
        Ok(leased.collect())
    }
    async fn finish_validation(
        &self,
        _lease: &LeaseToken,
        record: &ValidationRecord,
        end: &ValidationEnd,
        audit: &AuditEntry,
    ) -> StoreResult<Authorization> {
        let mut state = self.state()?;
        let command = match (end, record.problem.clone()) {
            (ValidationEnd::Decided, None) => AuthorizationCommand::Prove(record.method, record.valid_until),
            (ValidationEnd::Decided, Some(problem)) => AuthorizationCommand::Fail(record.method, problem),
            (ValidationEnd::Again { .. }, Some(problem)) => AuthorizationCommand::Stumble(record.method, problem),
            (ValidationEnd::Again { .. }, None) => return conflict("proven"),
        };
        let mut found = state.authorizations[&record.authorization].clone().apply(command, record.at).unwrap();
        for challenge in found.challenges.iter_mut().filter(|c| c.method == record.method) {
            challenge.attested_key = record.attestation.as_ref().map(|attestation| attestation.key_sha256);
        }
        if let ValidationEnd::Again { .. } = end {
            state.started.push((found.id.clone(), record.method, record.at.plus(Duration::from_secs(60))));
        }
        state.authorizations.insert(found.id.clone(), found.clone());
        match found.status {
            AuthorizationStatus::Valid => drop(state.failures.remove(&record.account)),
            AuthorizationStatus::Invalid if record.counts_as_failure() => {
                state.failures.entry(record.account.clone()).or_default().push(record.at);
            }
            _ => {}
        }
        state.records.push(record.clone());
        state.audit.push(audit.clone());
        let valid: Vec<_> =
            state.authorizations.values().filter(|a| a.status == AuthorizationStatus::Valid).map(|a| a.id.clone()).collect();
        for order in state.orders.values_mut().filter(|o| o.status == OrderStatus::Pending && o.authorizations.contains(&found.id)) {
            if found.status == AuthorizationStatus::Invalid {
                (order.status, order.error) = (OrderStatus::Invalid, record.problem.clone());
            } else if order.authorizations.iter().all(|id| valid.contains(id)) {
                order.status = OrderStatus::Ready;
            }
        }
        Ok(found)
    }
    async fn validations_of(&self, id: &AuthorizationId, _limit: u32) -> StoreResult<Vec<ValidationRecord>> {
        Ok(self.state()?.records.iter().filter(|r| r.authorization == *id).cloned().collect())
    }
    async fn await_validations(&self, _at_most: Duration) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[async_trait]
impl StandingStore for FakeStore {
    async fn standing(&self, account: &AccountId, identifiers: &[Identifier], since: Timestamp) -> StoreResult<Standing> {
        let state = self.state()?;
        let failures = state.failures.get(account).map_or(0, |at| at.iter().filter(|at| **at >= since).count());
        Ok(Standing {
            renews: state.orders.values().any(|o| o.account == *account && o.status == OrderStatus::Valid && o.identifiers == identifiers),
            failures: failures as u32,
            paused: state.paused.get(account).copied(),
        })
    }
    async fn take_shares(&self, wanted: &[Share], now: Timestamp) -> StoreResult<Option<Exceeded>> {
        drop(self.state()?);
        let mut table = self.shares.lock().unwrap();
        let table = table.get_or_insert_with(|| Table::new(SHARED_SUBJECTS, &SeededRng::new(3)));
        Ok(table.take_shares(wanted, now).err())
    }
    async fn pause_account(&self, id: &AccountId, audit: &AuditEntry) -> StoreResult<Timestamp> {
        let mut state = self.state()?;
        if let Some(since) = state.paused.get(id) {
            return Ok(*since);
        }
        state.paused.insert(id.clone(), audit.at);
        state.audit.push(audit.clone());
        Ok(audit.at)
    }
}

#[async_trait]
impl CertificateStore for FakeStore {
    async fn authorities(&self) -> StoreResult<Vec<Authority>> {
        Ok(self.state()?.authorities.clone())
    }
    async fn cross_certificates(&self) -> StoreResult<Vec<CrossCertificate>> {
        Ok(self.state()?.cross_certificates.clone())
    }
    async fn certificate(&self, authority: &AuthorityName, serial: &SerialNumber) -> StoreResult<Option<CertificateRecord>> {
        Ok(self.state()?.certificates.get(serial).filter(|c| c.authority == *authority).cloned())
    }
    async fn certificates(&self, _: &CertificateFilter, _: Option<&SerialNumber>, _: u32) -> StoreResult<Vec<CertificateRecord>> {
        Ok(Vec::new())
    }
    async fn newest_for_key(&self, _: &AuthorityName, _: &str, _: &Sha256Digest) -> StoreResult<Option<CertificateRecord>> {
        Ok(None)
    }
    async fn key_uses(&self, asked: &[KeyAsked]) -> StoreResult<Vec<KeyUse>> {
        let state = self.state()?;
        let known = |key: &KeyAsked| {
            let account = state.accounts.values().any(|account| Some(&account.thumbprint) == key.thumbprint.as_ref());
            KeyUse { account, block: state.blocked.get(&key.spki_sha256).cloned() }
        };
        Ok(asked.iter().map(known).collect())
    }
}

#[async_trait]
impl RequestBacklog for FakeStore {
    async fn oldest_wait(&self, _now: Timestamp) -> StoreResult<Duration> {
        Ok(self.state()?.backlog)
    }
}

/// The SHA-256 of a SubjectPublicKeyInfo.
pub(crate) fn spki_sha256(spki: &[u8]) -> Sha256Digest {
    sha256(spki)
}
