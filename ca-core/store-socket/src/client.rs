//! The store as a front end or a responder sees it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ca_core::limits::{Exceeded, Share};
use ca_core::model::{
    Account, AccountId, AuditEntry, Authority, AuthorityName, Authorization, AuthorizationId, CertificateFilter, CertificateRecord,
    ChallengeMethod, CrlRecord, CrlScope, CrossCertificate, GrantId, GrantRecord, GrantUse, KeyAsked, KeyUse, LeaseToken, LeasedValidation,
    LedgerEntry, NewAccount, NewOrder, Order, OrderId, OrderPage, Problem, RequestId, RequestState, RevocationRequest, Revoked,
    SerialStatus, Standing, TakeUp, ValidationEnd, ValidationRecord, WorkerId,
};
use ca_core::pki::{Identifier, SerialNumber, Sha256Digest, Timestamp};
use ca_core::ports::{AcmeStore, CertificateStore, RequestBacklog, StandingStore, StatusStore, StoreError, StoreResult, ValidationStore};
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::command::{Answer, Command, CurrentCrl, Role};
use crate::frame::MAX_COMMAND;
use crate::link::{Call, IN_FLIGHT, keep};

/// How long an answer may take, a wait that was asked for aside. Longer than an owner's restart.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most CRLs that are held so as not to be sent again.
const MAX_CRLS: usize = 64;

type Crls = Mutex<HashMap<(AuthorityName, CrlScope), CrlRecord>>;

/// A store that another process owns. Clones share the connection, which lives as long as they.
///
/// Commands may be under way in any number up to a bound. While the owner is away (a restart takes less than a
/// second) reading and waiting go on as soon as it is back; a change that was under way when the connection broke
/// gives [`StoreError::Unavailable`], as the ports' contract has it. An owner that stays away gives the same, at once.
#[derive(Clone, Debug)]
pub struct SocketStore {
    path: Arc<Path>,
    calls: mpsc::Sender<Call>,
    in_flight: Arc<Semaphore>,
    crls: Arc<Crls>,
}

impl SocketStore {
    /// A store behind the socket at `path`, for a process of this role. Returns at once; the connection is made in
    /// the background, within a tokio runtime with time and IO enabled.
    pub fn connect(path: impl Into<PathBuf>, role: Role) -> Self {
        let path = path.into();
        let (calls, waiting) = mpsc::channel(64);
        let shared = Arc::from(path.as_path());
        tokio::spawn(keep(path, role, waiting));
        Self { path: shared, calls, in_flight: Arc::new(Semaphore::new(IN_FLIGHT)), crls: Arc::default() }
    }

    /// The newest policy bundle, as [`ca_core::ports::AdminStore::policy`] tells it. A client shows what is in it and
    /// believes nothing of it: who must rely on a policy verifies its signatures.
    ///
    /// # Errors
    /// When the store's owner is away.
    pub async fn policy(&self) -> StoreResult<Option<(u64, String)>> {
        self.call(Command::Policy).await
    }

    async fn call<T: DeserializeOwned>(&self, command: Command) -> StoreResult<T> {
        self.call_within(command, PATIENCE).await
    }

    async fn call_within<T: DeserializeOwned>(&self, command: Command, patience: Duration) -> StoreResult<T> {
        let payload =
            serde_json::to_vec(&command).map_err(|e| StoreError::Conflict(format!("the command has no form on the socket: {e}")))?;
        if payload.len() > MAX_COMMAND {
            return Err(StoreError::Conflict(format!("the command has {} octets; the most is {MAX_COMMAND}", payload.len())));
        }
        let exchange = async {
            let ended = || StoreError::Unavailable("the connection to the store has ended".to_owned());
            let _permit = self.in_flight.acquire().await.map_err(|_| ended())?;
            let (reply, answer) = oneshot::channel();
            let call = Call { payload, is_repeatable: command.is_repeatable(), reply };
            self.calls.send(call).await.map_err(|_| ended())?;
            answer.await.map_err(|_| ended())?
        };
        let late = |_| StoreError::Unavailable(format!("{} gave no answer to `{}` in time", self.path.display(), command.name()));
        let bytes = tokio::time::timeout(patience, exchange).await.map_err(late)??;
        let answer: Answer<T> = serde_json::from_slice(&bytes).map_err(|e| {
            StoreError::Damaged(format!(
                "the answer to `{}` is not understood: {e} (hint: install the same version of every part)",
                command.name()
            ))
        })?;
        answer.into_result()
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[async_trait]
impl AcmeStore for SocketStore {
    async fn queue_account(&self, account: &NewAccount, audit: &AuditEntry) -> StoreResult<RequestId> {
        self.call(Command::QueueAccount { account: account.clone(), audit: audit.clone() }).await
    }

    async fn account(&self, id: &AccountId) -> StoreResult<Option<Account>> {
        self.call(Command::Account { id: id.clone() }).await
    }

    async fn account_by_key(&self, thumbprint: &str) -> StoreResult<Option<Account>> {
        self.call(Command::AccountByKey { thumbprint: thumbprint.to_owned() }).await
    }

    async fn update_contact(&self, id: &AccountId, contact: &[String], audit: &AuditEntry) -> StoreResult<Account> {
        self.call(Command::UpdateContact { id: id.clone(), contact: contact.to_vec(), audit: audit.clone() }).await
    }

    async fn deactivate_account(&self, id: &AccountId, audit: &AuditEntry) -> StoreResult<Account> {
        self.call(Command::DeactivateAccount { id: id.clone(), audit: audit.clone() }).await
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
        let [old_thumbprint, jwk, thumbprint, jws] = [old_thumbprint, jwk, thumbprint, jws].map(str::to_owned);
        self.call(Command::ChangeKey { id: id.clone(), old_thumbprint, jwk, thumbprint, jws, audit: audit.clone() }).await
    }

    async fn grant(&self, id: &GrantId) -> StoreResult<Option<GrantRecord>> {
        self.call(Command::Grant { id: id.clone() }).await
    }

    async fn grant_use(&self, id: &GrantId, since: Timestamp, at_most: u32) -> StoreResult<GrantUse> {
        self.call(Command::GrantUse { id: id.clone(), since, at_most }).await
    }

    async fn create_order(&self, order: &NewOrder, audit: &AuditEntry) -> StoreResult<Order> {
        self.call(Command::CreateOrder { order: order.clone(), audit: audit.clone() }).await
    }

    async fn order(&self, id: &OrderId) -> StoreResult<Option<Order>> {
        self.call(Command::Order { id: id.clone() }).await
    }

    async fn orders_of(&self, account: &AccountId, cursor: Option<&OrderId>, now: Timestamp, limit: u32) -> StoreResult<OrderPage> {
        self.call(Command::OrdersOf { account: account.clone(), cursor: cursor.cloned(), now, limit }).await
    }

    async fn authorization(&self, id: &AuthorizationId) -> StoreResult<Option<Authorization>> {
        self.call(Command::Authorization { id: id.clone() }).await
    }

    async fn authorizations_of(&self, order: &OrderId) -> StoreResult<Vec<Authorization>> {
        self.call(Command::AuthorizationsOf { order: order.clone() }).await
    }

    async fn deactivate_authorization(&self, id: &AuthorizationId, audit: &AuditEntry) -> StoreResult<Authorization> {
        self.call(Command::DeactivateAuthorization { id: id.clone(), audit: audit.clone() }).await
    }

    async fn queue_finalize(
        &self,
        order: &OrderId,
        thumbprint: &str,
        jws: &str,
        now: Timestamp,
        audit: &AuditEntry,
    ) -> StoreResult<RequestId> {
        let (thumbprint, jws) = (thumbprint.to_owned(), jws.to_owned());
        self.call(Command::QueueFinalize { order: order.clone(), thumbprint, jws, now, audit: audit.clone() }).await
    }

    async fn cancel_order(&self, id: &OrderId, problem: Option<&Problem>, audit: &AuditEntry) -> StoreResult<Order> {
        self.call(Command::CancelOrder { id: id.clone(), problem: problem.cloned(), audit: audit.clone() }).await
    }

    async fn revoke_on_request(&self, jws: &str, request: &RevocationRequest) -> StoreResult<Revoked> {
        self.call(Command::RevokeOnRequest { jws: jws.to_owned(), request: request.clone() }).await
    }

    async fn await_request(&self, id: &RequestId, at_most: Duration) -> StoreResult<RequestState> {
        let command = Command::AwaitRequest { id: id.clone(), at_most_ms: milliseconds(at_most) };
        self.call_within(command, at_most.saturating_add(PATIENCE)).await
    }
}

#[async_trait]
impl ValidationStore for SocketStore {
    async fn create_authorization(&self, new: &Authorization, now: Timestamp, audit: &AuditEntry) -> StoreResult<Authorization> {
        self.call(Command::CreateAuthorization { authorization: new.clone(), now, audit: audit.clone() }).await
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
        self.call(Command::StartChallenge { id: id.clone(), method, by: by.clone(), now, deadline, audit: audit.clone() }).await
    }

    async fn lease_validations(
        &self,
        worker: &WorkerId,
        lease: &LeaseToken,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
        share: u32,
    ) -> StoreResult<Vec<LeasedValidation>> {
        self.call(Command::LeaseValidations { worker: worker.clone(), lease: lease.clone(), now, until, limit, share }).await
    }

    async fn finish_validation(
        &self,
        lease: &LeaseToken,
        record: &ValidationRecord,
        end: &ValidationEnd,
        audit: &AuditEntry,
    ) -> StoreResult<Authorization> {
        let command = Command::FinishValidation { lease: lease.clone(), record: record.clone(), end: end.clone(), audit: audit.clone() };
        self.call(command).await
    }

    /// Records are for operators and auditors, at the owner: no role needs them.
    async fn validations_of(&self, _: &AuthorizationId, _: u32) -> StoreResult<Vec<ValidationRecord>> {
        Err(StoreError::Unavailable("validation records are not listed over the store's socket (hint: ask at the worker)".to_owned()))
    }

    async fn await_validations(&self, at_most: Duration) {
        let command = Command::AwaitValidations { at_most_ms: milliseconds(at_most) };
        // As for ledgers: an owner that is away says so at once.
        if self.call_within::<()>(command, at_most.saturating_add(PATIENCE)).await.is_err() {
            tokio::time::sleep(at_most).await;
        }
    }
}

#[async_trait]
impl RequestBacklog for SocketStore {
    async fn oldest_wait(&self, now: Timestamp) -> StoreResult<Duration> {
        self.call(Command::OldestWait { now }).await.map(Duration::from_secs)
    }
}

#[async_trait]
impl StandingStore for SocketStore {
    async fn standing(&self, account: &AccountId, identifiers: &[Identifier], since: Timestamp) -> StoreResult<Standing> {
        self.call(Command::Standing { account: account.clone(), identifiers: identifiers.to_vec(), since }).await
    }

    async fn take_shares(&self, wanted: &[Share], now: Timestamp) -> StoreResult<Option<Exceeded>> {
        self.call(Command::TakeShares { wanted: wanted.to_vec(), now }).await
    }

    async fn pause_account(&self, id: &AccountId, audit: &AuditEntry) -> StoreResult<Timestamp> {
        self.call(Command::PauseAccount { id: id.clone(), audit: audit.clone() }).await
    }
}

#[async_trait]
impl CertificateStore for SocketStore {
    async fn authorities(&self) -> StoreResult<Vec<Authority>> {
        self.call(Command::Authorities).await
    }

    async fn cross_certificates(&self) -> StoreResult<Vec<CrossCertificate>> {
        self.call(Command::CrossCertificates).await
    }

    async fn certificate(&self, authority: &AuthorityName, serial: &SerialNumber) -> StoreResult<Option<CertificateRecord>> {
        self.call(Command::Certificate { authority: authority.clone(), serial: *serial }).await
    }

    /// Lists are for the operators, at the owner: no role needs them.
    async fn certificates(&self, _: &CertificateFilter, _: Option<&SerialNumber>, _: u32) -> StoreResult<Vec<CertificateRecord>> {
        Err(StoreError::Unavailable("certificates are not listed over the store's socket (hint: `ca cert list` at the worker)".to_owned()))
    }

    async fn newest_for_key(
        &self,
        authority: &AuthorityName,
        profile: &str,
        spki_sha256: &Sha256Digest,
    ) -> StoreResult<Option<CertificateRecord>> {
        let command = Command::NewestForKey { authority: authority.clone(), profile: profile.to_owned(), spki_sha256: *spki_sha256 };
        self.call(command).await
    }

    async fn key_uses(&self, asked: &[KeyAsked]) -> StoreResult<Vec<KeyUse>> {
        self.call(Command::KeyUses { asked: asked.to_vec() }).await
    }
}

#[async_trait]
impl StatusStore for SocketStore {
    async fn status(&self, authority: &AuthorityName, serial: &SerialNumber) -> StoreResult<Option<SerialStatus>> {
        self.call(Command::Status { authority: authority.clone(), serial: *serial }).await
    }

    async fn ledger_head(&self, authority: &AuthorityName) -> StoreResult<u64> {
        self.call(Command::LedgerHead { authority: authority.clone() }).await
    }

    async fn ledger_after(&self, authority: &AuthorityName, number: u64, limit: u32) -> StoreResult<Vec<LedgerEntry>> {
        self.call(Command::LedgerAfter { authority: authority.clone(), number, limit }).await
    }

    async fn await_ledger(&self, at_most: Duration) {
        let command = Command::AwaitLedger { at_most_ms: milliseconds(at_most) };
        // An owner that is away says so at once; whoever follows must not turn in circles meanwhile.
        if self.call_within::<()>(command, at_most.saturating_add(PATIENCE)).await.is_err() {
            tokio::time::sleep(at_most).await;
        }
    }

    async fn current_crl(&self, authority: &AuthorityName, scope: &CrlScope) -> StoreResult<Option<CrlRecord>> {
        let key = (authority.clone(), *scope);
        let held = || self.crls.lock().unwrap_or_else(PoisonError::into_inner);
        let before = held().get(&key).cloned();
        let have = before.as_ref().map(|crl| crl.number);
        match self.call(Command::CurrentCrl { authority: authority.clone(), scope: *scope, have }).await? {
            CurrentCrl::None => Ok(None),
            CurrentCrl::Same if before.is_some() => Ok(before),
            CurrentCrl::Same => Err(StoreError::Damaged("the store's owner names a CRL that it never sent".to_owned())),
            CurrentCrl::Crl(crl) => {
                let mut held = held();
                if held.len() < MAX_CRLS || held.contains_key(&key) {
                    held.insert(key, crl.clone());
                }
                Ok(Some(crl))
            }
        }
    }
}
