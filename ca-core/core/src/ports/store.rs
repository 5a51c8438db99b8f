//! Storage, as whole commands: values in and values out.
//!
//! Contract of every method that changes something: when it returns `Ok`, the change and the audit entry that
//! belongs to it are durable, in one transaction. When it returns [`StoreError::Unavailable`] the change may or may
//! not have happened, and the same call may be made again. State changes are compare-and-set: a call that finds
//! another state than it needs returns [`StoreError::Conflict`] or [`StoreError::Fenced`] and changes nothing.
//! Every list has a limit, which the store may lower.

use std::time::Duration;

use async_trait::async_trait;

use super::{AccountAdminStore, CompromiseStore, ReplacementStore, StandingStore, ValidationStore};
use crate::model::{
    Abandonment, Account, AccountId, AuditEntry, AuditRow, Authority, AuthorityName, Authorization, AuthorizationId, BlockedKey,
    CertificateFilter, CertificateRecord, Completed, Completion, CrlHead, CrlRecord, CrlScope, CrossCertificate, Fault, Grant, GrantId,
    GrantRecord, GrantUse, Intent, Job, JobId, JobRecord, KeyAsked, KeyUse, LeaseToken, LeasedJob, LedgerEntry, NewAccount, NewOrder,
    OpenIntent, Order, OrderId, OrderPage, Problem, Proposal, ProposalId, ProposalState, RenewingOrder, RequestId, RequestState,
    RevocationRequest, Revoked, RevokedAuthority, RevokedEntry, SerialStatus, SignedStatement, SigningRequest, StoredApproval, Unheld,
    UnholdRequest, WorkerId,
};
use crate::pki::{SerialNumber, Sha256Digest, Timestamp};

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The row is in another state than the command needs, or a unique value is taken.
    #[error("conflict: {0}")]
    Conflict(String),
    /// The lease that the command relies on has passed to another or ended.
    #[error("the lease is no longer held")]
    Fenced,
    /// No such row.
    #[error("not found: {0}")]
    NotFound(String),
    /// The store did not answer; the command may be tried again.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// What is stored cannot be read.
    #[error("the store is damaged: {0}")]
    Damaged(String),
}

/// The conflict of an intent whose grant has issued as much as its cap allows.
pub const GRANT_CAP_REACHED: &str = "the grant has issued as much as its cap allows";

/// The conflict of an account whose key was changed [`crate::evidence::chain::MAX_KEY_CHANGES`] times, or by requests of more than
/// [`crate::evidence::chain::MAX_KEY_CHANGES_OCTETS`] together.
pub const TOO_MANY_KEY_CHANGES: &str = "the account's key was changed too often";

/// The conflict of an account whose grant was changed, suspended or revoked since its request was judged.
pub const GRANT_CHANGED: &str = "the grant was changed, suspended or revoked since";

/// The conflict of an account whose grant has bound as many as it may.
pub const GRANT_FULL: &str = "the grant has bound as many accounts as it may";

/// The conflict of a request by a key that is the account's no longer: its key was changed while the request was under way.
pub const KEY_CHANGED: &str = "the account's key was changed while the request was under way";

/// The conflict of an intent for an order whose account or grant has ended or rests.
pub const OWNER_ENDED: &str = "the account is no longer valid, or its grant was revoked or suspended";

/// The conflict of an intent with a key that is blocked.
pub const KEY_BLOCKED: &str = "the key is blocked (hint: make another key)";

/// So many octets of evidence end a lease: all of it is read in one transaction, and kept in memory while the worker is at it.
pub const MAX_LEASE_OCTETS: usize = 8 * 1024 * 1024;

/// The result of a store command.
pub type StoreResult<T> = Result<T, StoreError>;

/// Intents and completions of signatures by authority keys. The ceremony's transcript implements it too.
#[async_trait]
pub trait IssuanceStore: Send + Sync {
    /// Records an intent with its audit row. Refuses a serial number or a CRL number that is taken or does not grow
    /// ([`StoreError::Conflict`]), and an origin whose lease is not held ([`StoreError::Fenced`]). Where the origin has a
    /// cap, certificates of its grant within the cap's time are counted in the same transaction; a full cap is the conflict
    /// [`GRANT_CAP_REACHED`]. An order's account is valid and its grant in use in that same transaction, also where it renews
    /// itself, or it is the conflict [`OWNER_ENDED`]; and a certificate's key is not blocked, or it is [`KEY_BLOCKED`]: when a
    /// revocation returns, nothing follows that does not know of it. Recording the same attempt with the same bytes again succeeds.
    async fn record_intent(&self, intent: &Intent) -> StoreResult<()>;

    /// Stores a verified signature; with it the order becomes valid and its request done, or the CRL current.
    /// Where the lease was lost, the attempt abandoned, or the order's account or grant ended meanwhile it is stored as
    /// unreleased: [`Completed::Fenced`].
    async fn complete(&self, completion: &Completion) -> StoreResult<Completed>;

    /// Gives an open intent up and revokes its serial as superseded. An attempt that is not open is a conflict.
    async fn abandon(&self, abandonment: &Abandonment) -> StoreResult<()>;

    /// Intents recorded at or before `until` that were neither completed nor abandoned, whose lease is not held; also those
    /// that were recorded further ahead of `now` than any lease lasts, under a clock that was wrong.
    async fn open_intents(&self, now: Timestamp, until: Timestamp, limit: u32) -> StoreResult<Vec<OpenIntent>>;
}

/// No lease is longer. One that ends later than this from now was taken under a clock that was ahead, and counts as ended.
pub const LONGEST_LEASE: Duration = Duration::from_secs(600);

/// No request is put off for longer. One that is put off to later than this from now was so under a clock that was ahead.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// The queue from the front end to the worker, seen by the worker.
#[async_trait]
pub trait RequestQueue: Send + Sync {
    /// Leases queued requests, oldest first, until `until`. A request whose lease ended counts as queued again,
    /// once its open intent is abandoned. At most `limit`, and no more once those leased have [`MAX_LEASE_OCTETS`] of evidence.
    /// One that is new is due at once, whatever the clock of the front end that took it in.
    async fn lease_requests(
        &self,
        worker: &WorkerId,
        lease: &LeaseToken,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> StoreResult<Vec<SigningRequest>>;

    /// Makes the account valid and the request done; counts the account at its grant. The grant is in use in that same
    /// transaction and stands on `statement`, by which the request was judged, or it is the conflict [`GRANT_CHANGED`]: when a
    /// rotation returns, the secret of before binds nothing more. One that has bound as many as it may is the conflict [`GRANT_FULL`].
    async fn accept_account(&self, request: &RequestId, lease: &LeaseToken, statement: &str, audit: &AuditEntry) -> StoreResult<()>;

    /// Refuses for good: the order becomes invalid with `problem`; a pending account is removed. Where it is the client's fault
    /// it is a failure of the account. Where the evidence does not hold, the authorizations with challenges that the order rests
    /// on are revoked, and other orders that wait on them invalid.
    async fn refuse_request(
        &self,
        request: &RequestId,
        lease: &LeaseToken,
        fault: Fault,
        problem: &Problem,
        audit: &AuditEntry,
    ) -> StoreResult<()>;

    /// Gives the lease back; the request is queued again from `not_before` on.
    async fn postpone_request(&self, request: &RequestId, lease: &LeaseToken, not_before: Timestamp) -> StoreResult<()>;

    /// Returns when a request may be waiting, or after `at_most`.
    async fn await_requests(&self, at_most: Duration);

    /// How many requests wait, and since when the oldest does.
    async fn backlog(&self) -> StoreResult<(u64, Option<Timestamp>)>;
}

/// What the ACME front end reads and writes.
///
/// A request and a change of its account's key (RFC 8555 §7.3.5) may come at the same time; the transaction decides which was
/// first. What is done at once (orders made or canceled, contacts, deactivations) was signed by the key that the account had when
/// it came in; it may be done just after the change, as if it had come a moment earlier. No certificate follows from it without a
/// finalize request.
/// A revocation is verified here with the account's key as it is then. What lies and waits was made by the key that the
/// account had when it was taken in, and stays good whatever key follows: of a finalize request the store keeps how many
/// changes came before it ([`crate::model::Evidence::finalized_after`]), of a challenge the key by which it was taken up.
/// Newer keys have no part in it and older ones neither.
#[async_trait]
pub trait AcmeStore: Send + Sync {
    /// Queues a new account for the worker. An account with the same key that is pending or valid is a conflict;
    /// look it up by its thumbprint first. So is one that is not its newAccount JWS's, by the key that signed it, which is
    /// verified here ([`crate::evidence::chain::check_new_account`]).
    async fn queue_account(&self, account: &NewAccount, audit: &AuditEntry) -> StoreResult<RequestId>;
    /// Reads an account, pending ones included.
    async fn account(&self, id: &AccountId) -> StoreResult<Option<Account>>;
    /// Reads the account with this RFC 7638 thumbprint.
    async fn account_by_key(&self, thumbprint: &str) -> StoreResult<Option<Account>>;
    /// Replaces a valid account's contacts.
    async fn update_contact(&self, id: &AccountId, contact: &[String], audit: &AuditEntry) -> StoreResult<Account>;
    /// Deactivates a valid account; its pending and ready orders become invalid, those that renew themselves canceled.
    async fn deactivate_account(&self, id: &AccountId, audit: &AuditEntry) -> StoreResult<Account>;
    /// Replaces a valid account's key and keeps the keyChange JWS as evidence. It is verified here with the account's key as it
    /// is then ([`crate::evidence::chain::check_key_change`]); where it does not ask for this very key it is a conflict. Another
    /// account with the new key, or another old key than `old_thumbprint`, is a conflict, and so is [`TOO_MANY_KEY_CHANGES`]:
    /// the worker would follow no more.
    async fn change_key(
        &self,
        id: &AccountId,
        old_thumbprint: &str,
        jwk: &str,
        thumbprint: &str,
        jws: &str,
        audit: &AuditEntry,
    ) -> StoreResult<Account>;

    /// Reads a grant.
    async fn grant(&self, id: &GrantId) -> StoreResult<Option<GrantRecord>>;

    /// Counts the certificates that a grant issued after `since`, the newest first and at most `at_most`.
    async fn grant_use(&self, id: &GrantId, since: Timestamp, at_most: u32) -> StoreResult<GrantUse>;

    /// Stores an order with its authorizations. In the place of one with challenges comes one that the account has for
    /// the same identifier, as [`ValidationStore::create_authorization`] has it; with the last one valid the order is
    /// ready, and it never outlives one. An account with too many pending ones is a conflict. Where `order.replaces` is set, a certificate that another order
    /// replaces already (one that is not invalid) is a conflict. Storing the same order again gives the stored one.
    async fn create_order(&self, order: &NewOrder, audit: &AuditEntry) -> StoreResult<Order>;
    /// Reads an order.
    async fn order(&self, id: &OrderId) -> StoreResult<Option<Order>>;
    /// Lists an account's orders that are not invalid and have not lapsed at `now`, newest first, after `cursor`.
    async fn orders_of(&self, account: &AccountId, cursor: Option<&OrderId>, now: Timestamp, limit: u32) -> StoreResult<OrderPage>;
    /// Reads an authorization.
    async fn authorization(&self, id: &AuthorizationId) -> StoreResult<Option<Authorization>>;
    /// Reads an order's authorizations, in the order of its identifiers.
    async fn authorizations_of(&self, order: &OrderId) -> StoreResult<Vec<Authorization>>;
    /// Deactivates an authorization; orders that rest on it, if pending or ready, become invalid.
    async fn deactivate_authorization(&self, id: &AuthorizationId, audit: &AuditEntry) -> StoreResult<Authorization>;
    /// Moves a ready order to processing and queues its request with the finalize JWS, which the account's key with this
    /// thumbprint signed. Any other state is a conflict: of concurrent calls exactly one succeeds (lesson 27). Where the
    /// account has another key by now it is the conflict [`KEY_CHANGED`], and the order stays ready.
    async fn queue_finalize(
        &self,
        order: &OrderId,
        thumbprint: &str,
        jws: &str,
        now: Timestamp,
        audit: &AuditEntry,
    ) -> StoreResult<RequestId>;
    /// Ends an order that renews itself, and its job: no further certificate is made (RFC 8739 §3.1.2). `problem` says why
    /// where it was not the client's wish. An order that is not valid, or does not renew itself, is a conflict.
    async fn cancel_order(&self, id: &OrderId, problem: Option<&Problem>, audit: &AuditEntry) -> StoreResult<Order>;
    /// Revokes for a subscriber, whose revokeCert JWS is verified against the record once more
    /// ([`crate::evidence::revocation`]) and kept in the audit entry. Where it does not give the right, or an account that
    /// is not the owner has not proven each of the certificate's identifiers by a challenge, it is a conflict. A key that says of
    /// itself that it is compromised is blocked, also where its certificate was revoked for another reason before.
    async fn revoke_on_request(&self, jws: &str, request: &RevocationRequest) -> StoreResult<Revoked>;
    /// Waits until the request is done or refused, at most `at_most`, and tells its state.
    async fn await_request(&self, id: &RequestId, at_most: Duration) -> StoreResult<RequestState>;
}

/// Certificates and authorities, read only.
#[async_trait]
pub trait CertificateStore: Send + Sync {
    /// The authorities of this instance, the default one first.
    async fn authorities(&self) -> StoreResult<Vec<Authority>>;
    /// The cross-certificates of the authorities, oldest first; some may have expired. At most [`CrossCertificate::MAX`].
    async fn cross_certificates(&self) -> StoreResult<Vec<CrossCertificate>>;
    /// A certificate or attempt by its serial number.
    async fn certificate(&self, authority: &AuthorityName, serial: &SerialNumber) -> StoreResult<Option<CertificateRecord>>;
    /// Certificates that match, newest first, after the given one.
    async fn certificates(
        &self,
        filter: &CertificateFilter,
        after: Option<&SerialNumber>,
        limit: u32,
    ) -> StoreResult<Vec<CertificateRecord>>;
    /// The newest released, unrevoked certificate of a profile with this key: how the CA finds its own.
    async fn newest_for_key(
        &self,
        authority: &AuthorityName,
        profile: &str,
        spki_sha256: &Sha256Digest,
    ) -> StoreResult<Option<CertificateRecord>>;
    /// What keys stand for already, in the order of the questions: each may be an account's, by its RFC 7638 thumbprint; and
    /// it may be blocked for good, because an operator said so, or because a certificate with it, of whatever authority, was
    /// revoked for keyCompromise (ACME requirement A11). At most [`KeyAsked::MAX`] at once.
    async fn key_uses(&self, asked: &[KeyAsked]) -> StoreResult<Vec<KeyUse>>;
    /// The same of one key.
    async fn key_use(&self, asked: KeyAsked) -> StoreResult<KeyUse> {
        let mut uses = self.key_uses(&[asked]).await?;
        uses.pop().ok_or_else(|| StoreError::Damaged("a key's use was asked for, and nothing came".to_owned()))
    }
}

/// Revocation.
#[async_trait]
pub trait RevocationStore: Send + Sync {
    /// Revokes: status, ledger row, audit row and the CRL job's due time, in one transaction (status requirement S2).
    /// A certificate on hold is revoked for good by any other reason, from the time of the hold on.
    async fn revoke(&self, request: &RevocationRequest) -> StoreResult<Revoked>;
}

/// What a responder reads. Nothing here writes.
#[async_trait]
pub trait StatusStore: Send + Sync {
    /// What the record says of a serial; none: never issued.
    async fn status(&self, authority: &AuthorityName, serial: &SerialNumber) -> StoreResult<Option<SerialStatus>>;
    /// The number of the newest ledger entry; 0 for none.
    async fn ledger_head(&self, authority: &AuthorityName) -> StoreResult<u64>;
    /// Ledger entries after `number`, oldest first.
    async fn ledger_after(&self, authority: &AuthorityName, number: u64, limit: u32) -> StoreResult<Vec<LedgerEntry>>;
    /// Returns when some ledger may have grown, or after `at_most`.
    async fn await_ledger(&self, at_most: Duration);
    /// The current CRL.
    async fn current_crl(&self, authority: &AuthorityName, scope: &CrlScope) -> StoreResult<Option<CrlRecord>>;
}

/// What the CRL job needs besides [`IssuanceStore`].
#[async_trait]
pub trait CrlStore: Send + Sync {
    /// What the current CRL says of itself; its bytes, which may be megabytes, are not read.
    async fn crl_head(&self, authority: &AuthorityName, scope: &CrlScope) -> StoreResult<Option<CrlHead>>;
    /// Allocates the next CRL number: max(last + 1, unix seconds × 65,536), so that a restore can't make it go back.
    async fn allocate_crl_number(&self, authority: &AuthorityName, scope: &CrlScope, now: Timestamp) -> StoreResult<u64>;
    /// Puts revoked certificates that have not expired at `now` back on the scope's CRLs: they left one that was made under a
    /// clock that was ahead. Tells how many.
    async fn relist(&self, authority: &AuthorityName, scope: &CrlScope, now: Timestamp) -> StoreResult<u64>;
    /// Revoked certificates of the scope, by serial number after `after`: those not expired, and those expired that
    /// were on no CRL past their expiry yet (RFC 5280 §3.3).
    async fn revoked_entries(
        &self,
        authority: &AuthorityName,
        scope: &CrlScope,
        after: Option<&SerialNumber>,
        limit: u32,
    ) -> StoreResult<Vec<RevokedEntry>>;
}

/// Lifecycle jobs.
#[async_trait]
pub trait JobStore: Send + Sync {
    /// Queues a job; one that exists keeps the earlier due time.
    async fn ensure_job(&self, job: &Job) -> StoreResult<()>;
    /// Leases due jobs until `until`.
    async fn lease_jobs(
        &self,
        worker: &WorkerId,
        lease: &LeaseToken,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> StoreResult<Vec<LeasedJob>>;
    /// Ends a lease in success; the job is due again at `next`. A due time that was moved up meanwhile stands.
    async fn finish_job(&self, id: &JobId, lease: &LeaseToken, now: Timestamp, next: Timestamp) -> StoreResult<()>;
    /// Ends a lease and the job with it: there is nothing more to do.
    async fn end_job(&self, id: &JobId, lease: &LeaseToken) -> StoreResult<()>;
    /// Ends a lease in failure; the job is due again at `retry_at`.
    async fn fail_job(&self, id: &JobId, lease: &LeaseToken, error: &str, retry_at: Timestamp, audit: &AuditEntry) -> StoreResult<()>;
    /// Ends a lease without success and without failure: what the job is for rests, for the reason given. It is due again at
    /// `next`, or as soon as its grant is changed or resumed.
    async fn rest_job(&self, id: &JobId, lease: &LeaseToken, reason: &str, next: Timestamp, audit: &AuditEntry) -> StoreResult<()>;
    /// An order that renews itself, with the evidence for its next certificate; none: there is no such order, or it has
    /// no certificate yet.
    async fn renewing_order(&self, id: &OrderId) -> StoreResult<Option<RenewingOrder>>;
    /// Lists jobs, the next due first; not those of orders, of which there may be any number.
    async fn jobs(&self, limit: u32) -> StoreResult<Vec<JobRecord>>;
    /// Returns when a job may be due, or after `at_most`.
    async fn await_jobs(&self, at_most: Duration);
    /// Drops expired orders, authorizations and requests, never certificates. Tells how many rows went.
    async fn prune(&self, now: Timestamp, limit: u32) -> StoreResult<u64>;
}

/// The most bytes of leaves in one page of the audit trail, unless one row alone has more: a CRL's from before its bytes stayed
/// out has megabytes.
pub const AUDIT_PAGE_BYTES: u64 = 16 * 1024 * 1024;

/// The audit trail.
#[async_trait]
pub trait AuditStore: Send + Sync {
    /// Appends an entry that belongs to no other change, for example a refusal.
    async fn append_audit(&self, entry: &AuditEntry) -> StoreResult<u64>;
    /// Rows after `number`, oldest first: at most `limit`, and no more than come to [`AUDIT_PAGE_BYTES`], but one.
    async fn audit_after(&self, number: u64, limit: u32) -> StoreResult<Vec<AuditRow>>;
}

/// What the worker writes on behalf of verified operators and ceremonies.
#[async_trait]
pub trait AdminStore: Send + Sync {
    /// Inserts authorities and their first CRLs from a verified bundle. Importing the same again changes nothing;
    /// the same name with another certificate is a conflict.
    async fn import_authorities(&self, authorities: &[Authority], crls: &[CrlRecord], audit: &AuditEntry) -> StoreResult<()>;
    /// Inserts cross-certificates of authorities that are here, all or none, and tells how many were not here before; the
    /// number of each is given here. One that has expired at the audit entry's time is left out, and those stored that have
    /// make room. More than [`CrossCertificate::MAX_PER_AUTHORITY`] of one authority are a conflict.
    async fn import_cross_certificates(&self, certificates: &[CrossCertificate], audit: &AuditEntry) -> StoreResult<u32>;
    /// Stores a policy bundle (its files as one JSON text); a version that does not grow is a conflict, unless the
    /// text is the same.
    async fn put_policy(&self, version: u64, bundle: &str, audit: &AuditEntry) -> StoreResult<()>;
    /// The newest policy bundle.
    async fn policy(&self) -> StoreResult<Option<(u64, String)>>;
    /// Marks an operator statement's nonce as spent; one spent already is a conflict (a replay).
    async fn spend_nonce(&self, nonce: &str, expires: Timestamp, audit: &AuditEntry) -> StoreResult<()>;
    /// Puts `grant` in the place of the one that stands on `previous`; accounts, status and age stay. A conflict where
    /// it stands on another statement, or is revoked. Renewals that rest under it are due.
    async fn update_grant(&self, grant: &Grant, evidence: &SignedStatement, previous: &str, audit: &AuditEntry) -> StoreResult<()>;
    /// Suspends a grant, or lets it go on; doing it again changes nothing. A conflict where it is revoked. Orders that renew
    /// themselves stay, and get nothing meanwhile; renewals that rest are due when it goes on.
    async fn suspend_grant(&self, id: &GrantId, suspended: bool, audit: &AuditEntry) -> StoreResult<()>;
    /// Stores a grant; the same again changes nothing, and another under an id that is taken is a conflict.
    async fn put_grant(&self, grant: &GrantRecord, audit: &AuditEntry) -> StoreResult<()>;
    /// Revokes a grant and, with it, its accounts, their pending and ready orders and those that renew themselves. Tells how
    /// many accounts.
    async fn revoke_grant(&self, id: &GrantId, audit: &AuditEntry) -> StoreResult<u32>;
    /// Lists grants, newest first, after this one. One that is missing is a conflict: a list from its beginning would be
    /// taken for its rest.
    async fn grants(&self, after: Option<&GrantId>, limit: u32) -> StoreResult<Vec<GrantRecord>>;
    /// Reads a grant from the database itself, past whatever is remembered of it.
    async fn stored_grant(&self, id: &GrantId) -> StoreResult<Option<GrantRecord>>;
    /// Blocks a key for good, from the audit entry's time on. Tells whether no statement did before; what stands is kept.
    async fn block_key(&self, spki_sha256: &Sha256Digest, reason: &str, audit: &AuditEntry) -> StoreResult<bool>;
    /// Blocked keys: those of statements, then those of certificates revoked for keyCompromise, newest first in each.
    async fn blocked_keys(&self, limit: u32) -> StoreResult<Vec<BlockedKey>>;
}

/// Shows every grant to `seen`, newest first, a page at a time.
///
/// # Errors
/// When the store does not answer.
pub async fn each_grant(store: &(impl AdminStore + ?Sized), mut seen: impl FnMut(&GrantRecord) + Send) -> StoreResult<()> {
    const PAGE: u32 = 500;
    let mut after = None;
    loop {
        let page = store.grants(after.as_ref(), PAGE).await?;
        page.iter().for_each(&mut seen);
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.grant.id.clone());
    }
}

/// The most proposals that wait for signatures at a time.
pub const MAX_PENDING_PROPOSALS: u32 = 64;

/// What officers propose, sign and bring about. Nothing in it allows anything: the worker verifies the signatures in a
/// row, from bytes to meaning, whenever it acts.
#[async_trait]
pub trait ApprovalStore: Send + Sync {
    /// Stores a pending proposal. One that is there, or more than [`MAX_PENDING_PROPOSALS`] that wait and have not
    /// expired, is a conflict.
    async fn put_proposal(&self, proposal: &Proposal, audit: &AuditEntry) -> StoreResult<()>;
    /// A proposal with its subject.
    async fn proposal(&self, id: &ProposalId) -> StoreResult<Option<Proposal>>;
    /// Proposals, newest first, without their subjects.
    async fn proposals(&self, state: Option<ProposalState>, limit: u32) -> StoreResult<Vec<Proposal>>;
    /// Pending proposals that have a signature and can be signed until later than `now`; oldest first, without their subjects.
    async fn signed_proposals(&self, now: Timestamp, limit: u32) -> StoreResult<Vec<Proposal>>;
    /// Adds an officer's signature to a pending proposal; a second one of the same officer takes the first one's place.
    async fn add_approval(&self, id: &ProposalId, approval: &StoredApproval, audit: &AuditEntry) -> StoreResult<()>;
    /// Moves a pending proposal to begun and spends its nonce; of concurrent calls exactly one succeeds, the others
    /// are a conflict.
    async fn begin_act(&self, id: &ProposalId, nonce: &str, expires: Timestamp, audit: &AuditEntry) -> StoreResult<()>;
    /// Remembers how far a begun act has come; it never goes back.
    async fn advance_act(&self, id: &ProposalId, progress: u64) -> StoreResult<()>;
    /// Ends a pending or begun proposal: done, or for the reason given. One that has ended is a conflict.
    async fn end_act(&self, id: &ProposalId, reason: Option<&str>, audit: &AuditEntry) -> StoreResult<()>;
    /// Ends every pending proposal, because what they stand on has changed. Tells how many.
    async fn void_proposals(&self, reason: &str, audit: &AuditEntry) -> StoreResult<u64>;

    /// Stores a change of the roster under the number after the last one; any other number is a conflict, the same
    /// change again changes nothing.
    async fn put_roster_change(&self, number: u64, document: &str, audit: &AuditEntry) -> StoreResult<()>;
    /// The changes of the roster, oldest first.
    async fn roster_changes(&self, limit: u32) -> StoreResult<Vec<(u64, String)>>;

    /// Stores that an authority's certificate is revoked. Tells whether it was not before; what stands is kept.
    async fn put_revoked_authority(&self, revoked: &RevokedAuthority, audit: &AuditEntry) -> StoreResult<bool>;
    /// The authorities whose certificate is revoked.
    async fn revoked_authorities(&self) -> StoreResult<Vec<RevokedAuthority>>;

    /// Takes a certificate off hold: status, ledger row, audit row and the CRL job's due time, in one transaction.
    async fn unhold(&self, request: &UnholdRequest) -> StoreResult<Unheld>;
}

/// Everything the worker uses.
pub trait WorkerStore:
    IssuanceStore
    + RequestQueue
    + CertificateStore
    + RevocationStore
    + StatusStore
    + CrlStore
    + JobStore
    + AuditStore
    + AdminStore
    + ApprovalStore
    + ReplacementStore
    + CompromiseStore
    + AcmeStore
    + ValidationStore
    + StandingStore
    + AccountAdminStore
{
}
impl<T> WorkerStore for T where
    T: IssuanceStore
        + RequestQueue
        + CertificateStore
        + RevocationStore
        + StatusStore
        + CrlStore
        + JobStore
        + AuditStore
        + AdminStore
        + ApprovalStore
        + ReplacementStore
        + CompromiseStore
        + AcmeStore
        + ValidationStore
        + StandingStore
        + AccountAdminStore
{
}

/// Everything the ACME front end uses.
pub trait FrontStore: AcmeStore + ValidationStore + StandingStore + CertificateStore + RequestBacklog {}
impl<T> FrontStore for T where T: AcmeStore + ValidationStore + StandingStore + CertificateStore + RequestBacklog {}

/// The queue's depth, which the front end may see.
#[async_trait]
pub trait RequestBacklog: Send + Sync {
    /// How long the oldest queued request has waited at `now`. An owner with a clock of its own tells it by that one.
    async fn oldest_wait(&self, now: Timestamp) -> StoreResult<Duration>;
}

#[async_trait]
impl<T: RequestQueue> RequestBacklog for T {
    async fn oldest_wait(&self, now: Timestamp) -> StoreResult<Duration> {
        Ok(self.backlog().await?.1.map_or(Duration::ZERO, |oldest| now.since(oldest)))
    }
}

/// Everything the responder uses.
pub trait ResponderStore: StatusStore + CertificateStore {}
impl<T> ResponderStore for T where T: StatusStore + CertificateStore {}
