//! Storage of how accounts stand: failures in a row, pauses, and what an account had certificates for.

use async_trait::async_trait;

use super::StoreResult;
use crate::limits::{Exceeded, Share};
use crate::model::{AccountId, AccountRecord, AuditEntry, Standing};
use crate::pki::{Identifier, Timestamp};

/// The most quotas that one request takes from: an order's names, and whoever orders them.
pub const MAX_SHARES: usize = 128;

/// How many subjects of quotas that servers share are remembered: 2 MiB.
pub const SHARED_SUBJECTS: usize = 1 << 16;

/// What the ACME front end asks and does. The contract is that of the [storage traits](super::AcmeStore).
///
/// What counts is written by the commands that it comes of: a validation that failed for good and an order that the
/// worker refused are failures, a proven validation and a released certificate end them. At most
/// [`crate::limits::MAX_FAILURES`] of an account are remembered.
#[async_trait]
pub trait StandingStore: Send + Sync {
    /// How an account stands that would order these identifiers (sorted); failures count from `since` on.
    async fn standing(&self, account: &AccountId, identifiers: &[Identifier], since: Timestamp) -> StoreResult<Standing>;
    /// Takes one from each of these quotas that takes, or from none and tells whose is spent: where several ACME servers serve
    /// one store they count here, together. It lies in memory and not in the record: a restart forgets. More than
    /// [`MAX_SHARES`] are a conflict.
    async fn take_shares(&self, wanted: &[Share], now: Timestamp) -> StoreResult<Option<Exceeded>>;
    /// Pauses an account from the audit entry's time on. One that is paused stays so, and nothing is written. Tells since
    /// when it is.
    async fn pause_account(&self, id: &AccountId, audit: &AuditEntry) -> StoreResult<Timestamp>;
}

/// What operators see and do.
#[async_trait]
pub trait AccountAdminStore: Send + Sync {
    /// Accounts, newest first; paused ones only where asked for.
    async fn accounts(&self, paused: bool, limit: u32) -> StoreResult<Vec<AccountRecord>>;
    /// One account.
    async fn account_record(&self, id: &AccountId) -> StoreResult<Option<AccountRecord>>;
    /// Ends a pause and forgets the failures. Tells whether the account was paused; either way the entry is written.
    async fn resume_account(&self, id: &AccountId, audit: &AuditEntry) -> StoreResult<bool>;
}
