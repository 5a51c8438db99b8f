//! A store in memory with a worker that answers at once, or stays away.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use ca_core::model::*;
use ca_core::pki::{Identifier, SerialNumber, Sha256Digest, Timestamp, sha256};
use ca_core::ports::{AcmeStore, CertificateStore, RequestBacklog, RevocationStore, StoreError, StoreResult};

/// What the worker does with a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Worker {
    #[default]
    Present,
    Away,
    Refuses(Problem),
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) worker: Worker,
    pub(crate) backlog: Duration,
    pub(crate) down: bool,
    pub(crate) accounts: BTreeMap<AccountId, Account>,
    pub(crate) grants: BTreeMap<GrantId, GrantRecord>,
    pub(crate) orders: BTreeMap<OrderId, Order>,
    pub(crate) authorizations: BTreeMap<AuthorizationId, Authorization>,
    pub(crate) authorities: Vec<Authority>,
    pub(crate) certificates: BTreeMap<SerialNumber, CertificateRecord>,
    pub(crate) evidence: Vec<String>,
    pub(crate) audit: Vec<AuditEntry>,
    pub(crate) revocations: Vec<RevocationRequest>,
    pub(crate) blocked: BTreeMap<Sha256Digest, KeyBlock>,
}

/// Makes a certificate's DER for identifiers and a serial number.
pub(crate) type Issue = Box<dyn Fn(&[Identifier], SerialNumber) -> (Vec<u8>, Sha256Digest) + Send + Sync>;

pub(crate) struct FakeStore {
    pub(crate) state: Mutex<State>,
    pub(crate) issue: Issue,
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

    fn release(&self, state: &mut State, id: &OrderId) {
        let serial = SerialNumber::from_der_integer(&[1, state.certificates.len() as u8 + 1]).unwrap();
        let order = state.orders.get_mut(id).unwrap();
        let (der, spki_sha256) = (self.issue)(&order.identifiers, serial);
        order.status = OrderStatus::Valid;
        order.serial = Some(serial);
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
            replaced_by: None,
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
        Ok(self.state()?.accounts.get(id).cloned())
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
    async fn create_order(&self, order: &NewOrder, audit: &AuditEntry) -> StoreResult<Order> {
        let mut state = self.state()?;
        assert_eq!(order.order.id, OrderId::from_evidence(&order.jws));
        if let Some(serial) = &order.order.replaces {
            let replaced = state.certificates.get_mut(serial).unwrap();
            if replaced.replaced_by.is_some() {
                return conflict("replaced already");
            }
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
    async fn orders_of(&self, account: &AccountId, cursor: Option<&OrderId>, limit: u32) -> StoreResult<OrderPage> {
        let state = self.state()?;
        let mut orders: Vec<_> =
            state.orders.values().filter(|o| o.account == *account && cursor.is_none_or(|c| o.id > *c)).map(|o| o.id.clone()).collect();
        // Two a page, so that a test can turn pages.
        let next = (orders.len() > 2).then(|| orders[1].clone());
        orders.truncate(2.min(limit as usize));
        Ok(OrderPage { orders, next })
    }
    async fn authorization(&self, id: &AuthorizationId) -> StoreResult<Option<Authorization>> {
        Ok(self.state()?.authorizations.get(id).cloned())
    }
    async fn authorizations_of(&self, order: &OrderId) -> StoreResult<Vec<Authorization>> {
        Ok(self.state()?.authorizations.values().filter(|a| a.order == *order).cloned().collect())
    }
    async fn deactivate_authorization(&self, id: &AuthorizationId, audit: &AuditEntry) -> StoreResult<Authorization> {
        let mut state = self.state()?;
        state.audit.push(audit.clone());
        let authorization = state.authorizations.get_mut(id).unwrap();
        authorization.status = AuthorizationStatus::Deactivated;
        let authorization = authorization.clone();
        state.orders.get_mut(&authorization.order).unwrap().status = OrderStatus::Invalid;
        Ok(authorization)
    }
    async fn queue_finalize(&self, order: &OrderId, jws: &str, _now: Timestamp, audit: &AuditEntry) -> StoreResult<RequestId> {
        let mut state = self.state()?;
        match state.orders.get_mut(order) {
            Some(found) if found.status == OrderStatus::Ready => found.status = OrderStatus::Processing,
            Some(_) => return conflict("not ready"),
            None => return missing("order"),
        }
        state.evidence.push(jws.to_owned());
        state.audit.push(audit.clone());
        Ok(RequestId::for_order(order))
    }
    async fn await_request(&self, id: &RequestId, _at_most: Duration) -> StoreResult<RequestState> {
        let mut state = self.state()?;
        let worker = state.worker.clone();
        let (kind, object) = id.as_str().split_at(2);
        let answer = match &worker {
            Worker::Away => return Ok(RequestState::Waiting),
            Worker::Present => RequestState::Done,
            Worker::Refuses(problem) => RequestState::Refused { problem: problem.clone() },
        };
        match (kind, worker) {
            ("a.", Worker::Refuses(_)) => {
                state.accounts.remove(&object.parse().unwrap());
            }
            ("a.", _) => state.accounts.get_mut(&object.parse().unwrap()).unwrap().status = AccountStatus::Valid,
            (_, Worker::Refuses(problem)) => {
                let order = state.orders.get_mut(&object.parse().unwrap()).unwrap();
                (order.status, order.error) = (OrderStatus::Invalid, Some(problem));
            }
            (_, _) => self.release(&mut state, &object.parse().unwrap()),
        }
        Ok(answer)
    }
}

#[async_trait]
impl CertificateStore for FakeStore {
    async fn authorities(&self) -> StoreResult<Vec<Authority>> {
        Ok(self.state()?.authorities.clone())
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
    async fn key_block(&self, spki_sha256: &Sha256Digest) -> StoreResult<Option<KeyBlock>> {
        Ok(self.state()?.blocked.get(spki_sha256).cloned())
    }
}

#[async_trait]
impl RevocationStore for FakeStore {
    async fn revoke(&self, request: &RevocationRequest) -> StoreResult<Revoked> {
        let mut state = self.state()?;
        let Some(record) = state.certificates.get_mut(&request.serial) else { return Ok(Revoked::NotFound) };
        if record.revoked.is_some() {
            return Ok(Revoked::Already);
        }
        record.revoked = Some((request.at, request.reason));
        state.revocations.push(request.clone());
        Ok(Revoked::Now { number: 1 })
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
