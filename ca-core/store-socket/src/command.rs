//! What can be asked for, by whom, and how it is answered.

use std::fmt;

use ca_core::limits::Share;
use ca_core::model::{
    AccountId, Actor, AuditEntry, AuthorityName, Authorization, AuthorizationId, ChallengeMethod, CrlRecord, CrlScope, GrantId, KeyAsked,
    LeaseToken, NewAccount, NewOrder, OrderId, Problem, RequestId, RevocationRequest, TakeUp, ValidationEnd, ValidationRecord, WorkerId,
};
use ca_core::pki::{Identifier, SerialNumber, Sha256Digest, Timestamp};
use ca_core::ports::{StoreError, StoreResult};
use serde::{Deserialize, Serialize};

/// The version of what is said on the socket; both sides must have the same.
pub(crate) const VERSION: u32 = 10;

/// What a process is to the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The ACME front end.
    Acme,
    /// The OCSP responder.
    Responder,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 2] = [Self::Acme, Self::Responder];
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Acme => "acme",
            Self::Responder => "responder",
        })
    }
}

/// The server's first frame.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Greeting {
    /// Commands may follow.
    Welcome {
        /// See [`VERSION`].
        version: u32,
        /// What the client is taken for.
        role: Role,
    },
    /// The connection ends here.
    Refused {
        /// Why.
        reason: String,
    },
}

/// A command of the store's ports. Each method of the ports that a role needs has one; the meaning is the method's.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[allow(missing_docs, reason = "the fields are the arguments of the methods of `ca_core::ports` with the same names")]
pub enum Command {
    /// `AcmeStore::queue_account`
    QueueAccount { account: NewAccount, audit: AuditEntry },
    /// `AcmeStore::account`
    Account { id: AccountId },
    /// `AcmeStore::account_by_key`
    AccountByKey { thumbprint: String },
    /// `AcmeStore::update_contact`
    UpdateContact { id: AccountId, contact: Vec<String>, audit: AuditEntry },
    /// `AcmeStore::deactivate_account`
    DeactivateAccount { id: AccountId, audit: AuditEntry },
    /// `AcmeStore::change_key`
    ChangeKey { id: AccountId, old_thumbprint: String, jwk: String, thumbprint: String, jws: String, audit: AuditEntry },
    /// `AcmeStore::grant`
    Grant { id: GrantId },
    /// `AcmeStore::grant_use`
    GrantUse { id: GrantId, since: Timestamp, at_most: u32 },
    /// `AcmeStore::create_order`
    CreateOrder { order: NewOrder, audit: AuditEntry },
    /// `AcmeStore::order`
    Order { id: OrderId },
    /// `AcmeStore::orders_of`
    OrdersOf { account: AccountId, cursor: Option<OrderId>, now: Timestamp, limit: u32 },
    /// `AcmeStore::authorization`
    Authorization { id: AuthorizationId },
    /// `AcmeStore::authorizations_of`
    AuthorizationsOf { order: OrderId },
    /// `AcmeStore::deactivate_authorization`
    DeactivateAuthorization { id: AuthorizationId, audit: AuditEntry },
    /// `ValidationStore::create_authorization`
    CreateAuthorization { authorization: Authorization, now: Timestamp, audit: AuditEntry },
    /// `ValidationStore::start_challenge`
    StartChallenge { id: AuthorizationId, method: ChallengeMethod, by: TakeUp, now: Timestamp, deadline: Timestamp, audit: AuditEntry },
    /// `ValidationStore::lease_validations`
    LeaseValidations { worker: WorkerId, lease: LeaseToken, now: Timestamp, until: Timestamp, limit: u32, share: u32 },
    /// `ValidationStore::finish_validation`
    FinishValidation { lease: LeaseToken, record: ValidationRecord, end: ValidationEnd, audit: AuditEntry },
    /// `ValidationStore::await_validations`
    AwaitValidations { at_most_ms: u64 },
    /// `StandingStore::standing`
    Standing { account: AccountId, identifiers: Vec<Identifier>, since: Timestamp },
    /// `StandingStore::take_shares`
    TakeShares { wanted: Vec<Share>, now: Timestamp },
    /// `StandingStore::pause_account`
    PauseAccount { id: AccountId, audit: AuditEntry },
    /// `AcmeStore::queue_finalize`
    QueueFinalize { order: OrderId, thumbprint: String, jws: String, now: Timestamp, audit: AuditEntry },
    /// `AcmeStore::cancel_order`
    CancelOrder { id: OrderId, problem: Option<Problem>, audit: AuditEntry },
    /// `AcmeStore::await_request`
    AwaitRequest { id: RequestId, at_most_ms: u64 },
    /// `AcmeStore::revoke_on_request`
    RevokeOnRequest { jws: String, request: RevocationRequest },
    /// `RequestBacklog::oldest_wait`
    OldestWait { now: Timestamp },
    /// `AdminStore::policy`: the profiles on offer are in it
    Policy,
    /// `CertificateStore::authorities`
    Authorities,
    /// `CertificateStore::cross_certificates`
    CrossCertificates,
    /// `CertificateStore::certificate`
    Certificate { authority: AuthorityName, serial: SerialNumber },
    /// `CertificateStore::newest_for_key`
    NewestForKey { authority: AuthorityName, profile: String, spki_sha256: Sha256Digest },
    /// `CertificateStore::key_uses`
    KeyUses { asked: Vec<KeyAsked> },
    /// `StatusStore::status`
    Status { authority: AuthorityName, serial: SerialNumber },
    /// `StatusStore::ledger_head`
    LedgerHead { authority: AuthorityName },
    /// `StatusStore::ledger_after`
    LedgerAfter { authority: AuthorityName, number: u64, limit: u32 },
    /// `StatusStore::await_ledger`
    AwaitLedger { at_most_ms: u64 },
    /// `StatusStore::current_crl`; `have` is the number of the one that the client holds, which is not sent again
    CurrentCrl { authority: AuthorityName, scope: CrlScope, have: Option<u64> },
}

/// What a command is to the connection that carries it.
enum Nature {
    /// Its answer comes when something has happened, and changes nothing.
    WakeUp,
    /// It reads, or gives the same answer a second time.
    Repeatable,
    /// A second time it would do or say something else.
    Once,
}

impl Command {
    /// Whether a role may send it. Exhaustive twice over: a new command, or a new role, is a decision to take here
    /// (lesson 13).
    pub const fn is_for(&self, role: Role) -> bool {
        match self {
            Self::QueueAccount { .. }
            | Self::Account { .. }
            | Self::AccountByKey { .. }
            | Self::UpdateContact { .. }
            | Self::DeactivateAccount { .. }
            | Self::ChangeKey { .. }
            | Self::Grant { .. }
            | Self::GrantUse { .. }
            | Self::CreateOrder { .. }
            | Self::Order { .. }
            | Self::OrdersOf { .. }
            | Self::Authorization { .. }
            | Self::AuthorizationsOf { .. }
            | Self::DeactivateAuthorization { .. }
            | Self::CreateAuthorization { .. }
            | Self::StartChallenge { .. }
            | Self::LeaseValidations { .. }
            | Self::FinishValidation { .. }
            | Self::AwaitValidations { .. }
            | Self::Standing { .. }
            | Self::TakeShares { .. }
            | Self::PauseAccount { .. }
            | Self::QueueFinalize { .. }
            | Self::CancelOrder { .. }
            | Self::AwaitRequest { .. }
            | Self::RevokeOnRequest { .. }
            | Self::OldestWait { .. }
            | Self::Policy
            | Self::CrossCertificates
            | Self::Certificate { .. }
            | Self::KeyUses { .. } => match role {
                Role::Acme => true,
                Role::Responder => false,
            },
            Self::Authorities | Self::NewestForKey { .. } => match role {
                Role::Acme | Role::Responder => true,
            },
            Self::Status { .. }
            | Self::LedgerHead { .. }
            | Self::LedgerAfter { .. }
            | Self::AwaitLedger { .. }
            | Self::CurrentCrl { .. } => match role {
                Role::Acme => false,
                Role::Responder => true,
            },
        }
    }

    /// What it is to the connection that carries it. Exhaustive: a new command says which it is.
    const fn nature(&self) -> Nature {
        match self {
            Self::AwaitRequest { .. } | Self::AwaitValidations { .. } | Self::AwaitLedger { .. } => Nature::WakeUp,
            Self::Account { .. }
            | Self::AccountByKey { .. }
            | Self::Grant { .. }
            | Self::GrantUse { .. }
            | Self::CreateOrder { .. }
            | Self::Order { .. }
            | Self::OrdersOf { .. }
            | Self::Authorization { .. }
            | Self::AuthorizationsOf { .. }
            | Self::CreateAuthorization { .. }
            | Self::Standing { .. }
            | Self::PauseAccount { .. }
            | Self::OldestWait { .. }
            | Self::Policy
            | Self::Certificate { .. }
            | Self::Authorities
            | Self::CrossCertificates
            | Self::NewestForKey { .. }
            | Self::KeyUses { .. }
            | Self::Status { .. }
            | Self::LedgerHead { .. }
            | Self::LedgerAfter { .. }
            | Self::CurrentCrl { .. } => Nature::Repeatable,
            // A second time each of them meets the state that the first one made, and says conflict or already; or takes again.
            Self::QueueAccount { .. }
            | Self::TakeShares { .. }
            | Self::UpdateContact { .. }
            | Self::DeactivateAccount { .. }
            | Self::ChangeKey { .. }
            | Self::DeactivateAuthorization { .. }
            | Self::StartChallenge { .. }
            | Self::LeaseValidations { .. }
            | Self::FinishValidation { .. }
            | Self::QueueFinalize { .. }
            | Self::CancelOrder { .. }
            | Self::RevokeOnRequest { .. } => Nature::Once,
        }
    }

    /// Whether it may be sent again when a connection broke before its answer, without a caller who would notice.
    /// Reading may; of what changes something, only what gives the same answer the second time. For all others the
    /// caller hears [`StoreError::Unavailable`] and decides.
    pub(crate) const fn is_repeatable(&self) -> bool {
        match self.nature() {
            Nature::WakeUp | Nature::Repeatable => true,
            Nature::Once => false,
        }
    }

    /// Whether its answer is a wake-up. One that waited among the others would be answered at once, and its sender turn in a
    /// circle.
    pub(crate) const fn waits(&self) -> bool {
        matches!(self.nature(), Nature::WakeUp)
    }

    /// Its name, for logs and the audit trail.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::QueueAccount { .. } => "queue-account",
            Self::Account { .. } => "account",
            Self::AccountByKey { .. } => "account-by-key",
            Self::UpdateContact { .. } => "update-contact",
            Self::DeactivateAccount { .. } => "deactivate-account",
            Self::ChangeKey { .. } => "change-key",
            Self::Grant { .. } => "grant",
            Self::GrantUse { .. } => "grant-use",
            Self::CreateOrder { .. } => "create-order",
            Self::Order { .. } => "order",
            Self::OrdersOf { .. } => "orders-of",
            Self::Authorization { .. } => "authorization",
            Self::AuthorizationsOf { .. } => "authorizations-of",
            Self::DeactivateAuthorization { .. } => "deactivate-authorization",
            Self::CreateAuthorization { .. } => "create-authorization",
            Self::StartChallenge { .. } => "start-challenge",
            Self::LeaseValidations { .. } => "lease-validations",
            Self::FinishValidation { .. } => "finish-validation",
            Self::AwaitValidations { .. } => "await-validations",
            Self::Standing { .. } => "standing",
            Self::TakeShares { .. } => "take-shares",
            Self::PauseAccount { .. } => "pause-account",
            Self::QueueFinalize { .. } => "queue-finalize",
            Self::CancelOrder { .. } => "cancel-order",
            Self::AwaitRequest { .. } => "await-request",
            Self::RevokeOnRequest { .. } => "revoke-on-request",
            Self::OldestWait { .. } => "oldest-wait",
            Self::Policy => "policy",
            Self::Certificate { .. } => "certificate",
            Self::Authorities => "authorities",
            Self::CrossCertificates => "cross-certificates",
            Self::NewestForKey { .. } => "newest-for-key",
            Self::KeyUses { .. } => "key-uses",
            Self::Status { .. } => "status",
            Self::LedgerHead { .. } => "ledger-head",
            Self::LedgerAfter { .. } => "ledger-after",
            Self::AwaitLedger { .. } => "await-ledger",
            Self::CurrentCrl { .. } => "current-crl",
        }
    }

    /// Why the command must not be carried out for `role`, if so.
    pub(crate) fn refusal(&self, role: Role) -> Option<String> {
        if !self.is_for(role) {
            return Some(format!("`{}` is not a command of the role {role}", self.name()));
        }
        match self {
            Self::QueueAccount { audit, .. } => forged(audit, "account."),
            Self::UpdateContact { audit, .. } | Self::DeactivateAccount { audit, .. } | Self::ChangeKey { audit, .. } => {
                forged(audit, "account.")
            }
            Self::CreateOrder { audit, .. } | Self::QueueFinalize { audit, .. } | Self::CancelOrder { audit, .. } => {
                forged(audit, "order.")
            }
            Self::DeactivateAuthorization { audit, .. } | Self::CreateAuthorization { audit, .. } | Self::StartChallenge { audit, .. } => {
                forged(audit, "authorization.")
            }
            // The acts of the front end's own: nobody asked for their outcome.
            Self::FinishValidation { audit, .. } => {
                let own = audit.actor == Actor::system("validation") && audit.action == "authorization.validate";
                (!own).then(|| "an audit entry of this kind does not belong to a validation".to_owned())
            }
            Self::PauseAccount { audit, .. } => {
                let own = audit.actor == Actor::system("limits") && audit.action == "account.pause";
                (!own).then(|| "an audit entry of this kind does not belong to a pause".to_owned())
            }
            Self::RevokeOnRequest { request, .. } => {
                is_foreign(&request.actor).then(|| format!("a revocation by {} is not the front end's", request.actor))
            }
            _ => None,
        }
    }
}

/// Entries that the front end may make are about its own acts and name those it can speak for: it authenticates
/// accounts and certificates' keys, never officers, operators or other parts of this software.
fn forged(audit: &AuditEntry, prefix: &str) -> Option<String> {
    if is_foreign(&audit.actor) {
        return Some(format!("an audit entry by {} is not the front end's to make", audit.actor));
    }
    let mine = audit.action.starts_with(prefix) && audit.action.len() <= 64;
    (!mine).then(|| {
        format!("an audit entry of the kind `{}` does not belong to this command", audit.action.chars().take(64).collect::<String>())
    })
}

const fn is_foreign(actor: &Actor) -> bool {
    match actor {
        Actor::Account { .. } | Actor::CertificateKey { .. } | Actor::Anonymous => false,
        Actor::Officers { .. } | Actor::Operator { .. } | Actor::System { .. } => true,
    }
}

/// An answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer<T> {
    Done(T),
    Conflict(String),
    Fenced,
    NotFound(String),
    Unavailable(String),
    Damaged(String),
    /// Not a command of the client's role; the connection ends.
    Refused(String),
}

impl<T> From<StoreResult<T>> for Answer<T> {
    fn from(result: StoreResult<T>) -> Self {
        match result {
            Ok(value) => Self::Done(value),
            Err(StoreError::Conflict(text)) => Self::Conflict(text),
            Err(StoreError::Fenced) => Self::Fenced,
            Err(StoreError::NotFound(text)) => Self::NotFound(text),
            Err(StoreError::Unavailable(text)) => Self::Unavailable(text),
            Err(StoreError::Damaged(text)) => Self::Damaged(text),
        }
    }
}

impl<T> Answer<T> {
    pub(crate) fn into_result(self) -> StoreResult<T> {
        Err(match self {
            Self::Done(value) => return Ok(value),
            Self::Conflict(text) => StoreError::Conflict(text),
            Self::Fenced => StoreError::Fenced,
            Self::NotFound(text) => StoreError::NotFound(text),
            Self::Unavailable(text) => StoreError::Unavailable(text),
            Self::Damaged(text) => StoreError::Damaged(text),
            Self::Refused(text) => StoreError::Unavailable(format!("the store's owner refused the command: {text}")),
        })
    }
}

/// The answer to [`Command::CurrentCrl`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CurrentCrl {
    /// There is none.
    None,
    /// The one that the client holds.
    Same,
    /// Another.
    Crl(CrlRecord),
}
