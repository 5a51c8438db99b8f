//! The front end's queue: lease, verify the evidence, act, answer.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::join::{Boxed, join_all};
use super::signer::{Failure, Signers};
use super::{HaltPoint, Worker, WorkerError};
use crate::evidence::chain::{AuthorizedAccount, AuthorizedIssuance, Refusal};
use crate::evidence::jwk::Jwk;
use crate::model::{
    Account, AccountId, AccountStatus, Actor, Authority, AuthorityName, Fault, GrantId, GrantRecord, GrantStatus, KeyAsked, KeyUse,
    LeaseToken, Outcome, ProblemType, RequestBody, SigningRequest,
};
use crate::pki::{Certificate, PublicKey, Timestamp};
use crate::plan::backoff;
use crate::policy::Policy;
use crate::ports::{GRANT_FULL, StoreError};

/// How long a request is tried again before it is given up.
const PATIENCE: Duration = Duration::from_secs(86_400);

/// The longest pause between two tries: a client waits for it.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// What the evidence proves.
pub(super) enum Proven {
    Account(Arc<AuthorizedAccount>),
    Issuance(Box<AuthorizedIssuance>),
}

impl Proven {
    /// What the record is asked of its keys.
    fn keys(&self) -> impl Iterator<Item = KeyAsked> {
        let (account_key, certified) = match self {
            Self::Account(account) => (account.keys.last(), None),
            Self::Issuance(issuance) => (Some(&issuance.account_key), Some(&issuance.public_key)),
        };
        // One that is no key is refused where it is judged.
        let account_key = account_key.and_then(|key| key.public_key().ok());
        account_key.map(|key| KeyAsked::whether_blocked(key.spki_sha256())).into_iter().chain(certified.map(Jwk::ask_about))
    }
}

/// What a batch shares.
pub(super) struct Batch {
    pub(super) policy: Arc<Policy>,
    pub(super) signers: Signers,
    /// Every authority's name and key, roots included; read where a certificate is asked for.
    pub(super) authority_keys: Vec<(AuthorityName, PublicKey)>,
    /// When certificates were issued in the last hour, of authorities whose rate this worker does not know yet.
    pub(super) issued: HashMap<AuthorityName, Vec<Timestamp>>,
    grants: HashMap<GrantId, Option<GrantRecord>>,
    accounts: HashMap<AccountId, Option<Account>>,
    /// What the record knows of the keys that are to be certified, and of those that ask for it.
    keys: HashMap<KeyAsked, KeyUse>,
}

impl Worker {
    /// Serves what is queued, at most a batch, and tells how many requests that were. Zero: nothing was waiting.
    ///
    /// # Errors
    /// When the store does not answer, or the database is not the one that the anchor remembers; leased requests then
    /// come back when their lease ends.
    pub async fn step_requests(&self) -> Result<usize, WorkerError> {
        self.untroubled()?;
        let (now, lease) = (self.clock.now(), LeaseToken::random(&*self.rng));
        let leased = self.store.lease_requests(&self.id, &lease, now, self.lease_end(now), self.settings.batch).await?;
        if leased.is_empty() {
            return Ok(0);
        }
        self.on_record().await?;
        let policy = self.policy();
        let prove = |request: &SigningRequest| {
            self.prove(request, &policy, now).map_err(|refusal| self.or_rests(refusal, &request.evidence, &policy))
        };
        let proven: Vec<_> = leased.iter().map(prove).collect();
        let batch = self.load(policy, proven.iter().flatten()).await?;
        // Together, so that their intents and completions share the store's commits.
        let serve = |(request, proven)| -> Boxed<'_, ()> { Box::pin(self.serve(&batch, request, proven)) };
        join_all(leased.iter().zip(proven).map(serve).collect()).await;
        Ok(leased.len())
    }

    /// From evidence to meaning; no row is believed.
    fn prove(&self, request: &SigningRequest, policy: &Policy, now: Timestamp) -> Result<Proven, Refusal> {
        self.probe.at(HaltPoint::AfterLease);
        let mixed_up = || Refusal::new(ProblemType::Unauthorized, "the request is not the one that its evidence proves");
        match &request.body {
            RequestBody::Account { account } => {
                let proven = self.verifier.verify_account(&request.evidence, policy, &*self.secrets, now)?;
                if proven.account == *account { Ok(Proven::Account(proven)) } else { Err(mixed_up()) }
            }
            RequestBody::Finalize { order, account, authority, profile } => {
                let proven = self.verifier.verify_finalize(&request.evidence, profile, policy, &*self.secrets, now)?;
                let same = proven.order == *order && proven.account == *account && proven.authority == *authority;
                if same { Ok(Proven::Issuance(Box::new(proven))) } else { Err(mixed_up()) }
            }
        }
    }

    /// Reads each grant and account of the batch once, and all of its keys at once.
    pub(super) async fn load<'a>(
        &self,
        policy: Arc<Policy>,
        proven: impl Iterator<Item = &'a Proven> + Clone + Send,
    ) -> Result<Batch, WorkerError> {
        let signers = self.signers(&policy).await?;
        let mut batch = Batch {
            policy,
            signers,
            authority_keys: Vec::new(),
            issued: HashMap::new(),
            grants: HashMap::new(),
            accounts: HashMap::new(),
            keys: HashMap::new(),
        };
        let asked: HashSet<KeyAsked> = proven.clone().flat_map(Proven::keys).collect();
        let asked: Vec<KeyAsked> = asked.into_iter().collect();
        for part in asked.chunks(KeyAsked::MAX) {
            batch.keys.extend(part.iter().cloned().zip(self.store.key_uses(part).await?));
        }
        if proven.clone().any(|p| matches!(p, Proven::Issuance(_))) {
            let key = |a: Authority| Some((a.name, Certificate::from_der(&a.certificate).ok()?.public_key().clone()));
            batch.authority_keys = self.store.authorities().await?.into_iter().filter_map(key).collect();
        }
        for proven in proven {
            let (grant, account) = match proven {
                Proven::Account(a) => (&a.grant.id, None),
                Proven::Issuance(i) => {
                    if !batch.issued.contains_key(&i.authority) && !self.counts(&i.authority) {
                        let issued = self.issued_within_the_hour(&i.authority).await?;
                        batch.issued.insert(i.authority.clone(), issued);
                    }
                    (&i.grant, Some(&i.account))
                }
            };
            if !batch.grants.contains_key(grant) {
                batch.grants.insert(grant.clone(), self.store.grant(grant).await?);
            }
            if let Some(account) = account
                && !batch.accounts.contains_key(account)
            {
                batch.accounts.insert(account.clone(), self.store.account(account).await?);
            }
        }
        Ok(batch)
    }

    async fn serve(&self, batch: &Batch, request: &SigningRequest, proven: Result<Proven, Refusal>) {
        let outcome = match proven {
            Ok(Proven::Account(account)) => self.accept(batch, request, &account).await,
            Ok(Proven::Issuance(issuance)) => self.issue_if_valid(batch, request, *issuance).await,
            Err(refusal) => Err(refusal.into()),
        };
        let answered = match outcome {
            Ok(()) => Ok(()),
            Err(Failure::Refused(refusal)) => self.refuse(request, refusal).await,
            Err(Failure::Later { cause, wait }) => self.postpone(request, &cause, wait).await,
            Err(Failure::Fenced) => Err(StoreError::Fenced),
        };
        match answered {
            Ok(()) => {}
            Err(StoreError::Fenced) => tracing::warn!(request = %request.id, "the request's lease passed to another"),
            Err(error) => tracing::error!(request = %request.id, %error, "the request comes back when its lease ends"),
        }
    }

    async fn issue_if_valid(&self, batch: &Batch, request: &SigningRequest, issuance: AuthorizedIssuance) -> Result<(), Failure> {
        batch.still_valid(&issuance)?;
        // A key change comes by the front alone.
        self.account_key_is_free(batch, &issuance.account_key.public_key().map_err(Refusal::from)?)?;
        self.grant_stands(&issuance.grant, &issuance.place, request.id.as_str()).await?;
        self.issue_order(batch, request, issuance).await
    }

    async fn accept(&self, batch: &Batch, request: &SigningRequest, account: &AuthorizedAccount) -> Result<(), Failure> {
        let record = batch.active_grant(&account.grant.id)?;
        self.grant_stands(&account.grant.id, &account.place, request.id.as_str()).await?;
        if let Some(key) = account.keys.last() {
            self.account_key_is_free(batch, &key.public_key().map_err(Refusal::from)?)?;
        }
        let full = || {
            let hint = "(hint: the CA's operators can let it bind one more: ca grant update --max-accounts)";
            Refusal::new(ProblemType::Unauthorized, format!("the enrolment grant has bound as many accounts as it may {hint}"))
        };
        // The limit that an operator signed; the store counts.
        if account.grant.max_accounts.is_some_and(|most| record.accounts >= most) {
            return Err(full().into());
        }
        let mut audit =
            self.audit("account.create", Some(&account.grant.authority), account.account.as_str(), Outcome::Done, request.id.as_str());
        audit.actor = Actor::Account { id: account.account.clone() };
        audit.detail = serde_json::json!({ "grant": account.grant.id, "service": account.grant.service });
        // What was verified and held against the anchor is compared once more as the account becomes valid: an operator may
        // have changed the grant, or rotated its secret, in between. Then it is judged anew.
        let statement = request.evidence.grant.as_ref().map_or("", |signed| &signed.statement);
        match self.store.accept_account(&request.id, &request.lease, statement, &audit).await {
            // Another account of the batch took the last place.
            Err(StoreError::Conflict(reason)) if reason == GRANT_FULL => Err(full().into()),
            other => Ok(other?),
        }
    }

    async fn refuse(&self, request: &SigningRequest, refusal: Refusal) -> Result<(), StoreError> {
        let refusal = explained(refusal);
        tracing::warn!(request = %request.id, cause = refusal.cause, "refused");
        let (action, authority, object) = match &request.body {
            RequestBody::Account { account } => ("account.create", None, account.as_str()),
            RequestBody::Finalize { order, authority, .. } => ("certificate.issue", Some(authority), order.as_str()),
        };
        let audit = self.audit(action, authority, object, Outcome::Refused { reason: refusal.cause }, request.id.as_str());
        self.store.refuse_request(&request.id, &request.lease, refusal.fault, &refusal.problem, &audit).await
    }

    async fn postpone(&self, request: &SigningRequest, cause: &str, wait: Option<Duration>) -> Result<(), StoreError> {
        let now = self.clock.now();
        if now.since(request.received_at) > PATIENCE {
            let mut refusal = Refusal::new(ProblemType::ServerInternal, "the CA could not issue within a day (hint: make a new order)");
            refusal.cause = format!("given up after a day: {cause}");
            return self.refuse(request, refusal).await;
        }
        let pause = wait.unwrap_or_else(|| backoff(request.attempts)).min(MAX_PAUSE);
        tracing::warn!(request = %request.id, cause, seconds = pause.as_secs(), "postponed");
        self.store.postpone_request(&request.id, &request.lease, now.plus(pause)).await
    }
}

/// Tells a client that did nothing wrong what became of its order (RFC 8555 §7.1.3), and what it can do.
fn explained(mut refusal: Refusal) -> Refusal {
    let by_operators = matches!(
        refusal.problem.kind,
        ProblemType::BadCsr | ProblemType::InvalidProfile | ProblemType::Malformed | ProblemType::RejectedIdentifier
    );
    if refusal.fault == Fault::Change && by_operators && !refusal.problem.detail.contains("(hint:") {
        let hint = "(hint: this was changed after the order was made; ask the CA's operators what is allowed now, then order again)";
        refusal.problem.detail = format!("{} {hint}", refusal.problem.detail);
    }
    refusal
}

impl Batch {
    /// What the record knew of a key as the batch was read. One that was not asked about is not judged.
    pub(super) fn use_of(&self, asked: &KeyAsked) -> Result<&KeyUse, Failure> {
        self.keys.get(asked).ok_or_else(|| Failure::later(format!("the record was not asked about the key {}", asked.spki_sha256)))
    }

    fn active_grant(&self, id: &GrantId) -> Result<&GrantRecord, Refusal> {
        match self.grants.get(id).and_then(Option::as_ref) {
            Some(record) if record.status == GrantStatus::Active => Ok(record),
            Some(record) if record.status == GrantStatus::Suspended => {
                Err(Refusal::resting_grant("the enrolment grant is suspended (hint: the CA's operators can resume it)"))
            }
            Some(_) | None => Err(Refusal::changed(
                ProblemType::Unauthorized,
                "the enrolment grant was revoked (hint: ask the CA's operators for another)",
            )),
        }
    }

    /// What only the store can tell: that neither grant nor account was revoked since.
    pub(super) fn still_valid(&self, issuance: &AuthorizedIssuance) -> Result<(), Refusal> {
        self.active_grant(&issuance.grant)?;
        let account = self.accounts.get(&issuance.account).and_then(Option::as_ref);
        if account.is_some_and(|a| a.status == AccountStatus::Valid) {
            Ok(())
        } else {
            Err(Refusal::changed(ProblemType::Unauthorized, "the account is no longer valid"))
        }
    }
}
