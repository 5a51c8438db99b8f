//! Storage of validations: what the front end's validators lease and report.

use std::time::Duration;

use async_trait::async_trait;

use super::StoreResult;
use crate::model::{
    AuditEntry, Authorization, AuthorizationId, ChallengeMethod, LeaseToken, LeasedValidation, TakeUp, ValidationEnd, ValidationRecord,
    WorkerId,
};
use crate::pki::Timestamp;

/// The most pending authorizations of an account; one more is a conflict.
pub const MAX_PENDING_AUTHORIZATIONS: u32 = 300;

/// The conflict of an account that has [`MAX_PENDING_AUTHORIZATIONS`].
pub const TOO_MANY_PENDING: &str = "the account has too many pending authorizations";

/// How much longer an authorization must hold to be used again.
pub const REUSE_MARGIN: Duration = Duration::from_secs(600);

/// Authorizations with challenges and their validation. The contract is that of the [storage traits](super::AcmeStore).
#[async_trait]
pub trait ValidationStore: Send + Sync {
    /// Stores an authorization that belongs to no order (RFC 8555 §7.4.1), or gives one that the account has for the
    /// same identifier: valid by a method that `new` offers, unless that is an attestation, which is of one key; or pending with the same methods, and good for
    /// [`REUSE_MARGIN`] from `now` on.
    async fn create_authorization(&self, new: &Authorization, now: Timestamp, audit: &AuditEntry) -> StoreResult<Authorization>;
    /// Begins the validation of a pending authorization: the challenge is processing, and a job waits for a validator
    /// until `deadline`, with the client's answer where the method has one. One that is under way is left as it is. Any other state is a conflict.
    /// The proof that is looked for is that of the key that signed the request, whatever key follows; where the account has
    /// another by now it is the conflict [`super::KEY_CHANGED`].
    async fn start_challenge(
        &self,
        id: &AuthorizationId,
        method: ChallengeMethod,
        by: &TakeUp,
        now: Timestamp,
        deadline: Timestamp,
        audit: &AuditEntry,
    ) -> StoreResult<Authorization>;
    /// Leases validations that are due, those first that have waited longest, until `until`. One whose lease ended is
    /// due again; those of accounts that are no longer valid are not leased. Of one account the worker holds at most `share`
    /// at a time, so that nobody's keep everyone else's waiting; what an account gave up counts until its lease is finished
    /// or has ended.
    async fn lease_validations(
        &self,
        worker: &WorkerId,
        lease: &LeaseToken,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
        share: u32,
    ) -> StoreResult<Vec<LeasedValidation>>;
    /// Keeps what an attempt saw and ends its lease. Decided: the challenge and its authorization are valid or invalid,
    /// and pending orders that wait for it become ready, or invalid with the record's problem, in the same
    /// transaction; an invalid one is a failure of its account where the record says that it counts as one. Where the
    /// authorization is no longer pending, the record is kept and nothing else changes. A lease
    /// that is not held is [`super::StoreError::Fenced`].
    async fn finish_validation(
        &self,
        lease: &LeaseToken,
        record: &ValidationRecord,
        end: &ValidationEnd,
        audit: &AuditEntry,
    ) -> StoreResult<Authorization>;
    /// What attempts at an authorization saw, oldest first. Records outlive their authorization.
    async fn validations_of(&self, id: &AuthorizationId, limit: u32) -> StoreResult<Vec<ValidationRecord>>;
    /// Returns when a validation may be due, or after `at_most`.
    async fn await_validations(&self, at_most: Duration);
}
