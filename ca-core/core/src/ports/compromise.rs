//! Storage of compromised keys whose other certificates are still to be revoked.

use async_trait::async_trait;

use super::StoreResult;
use crate::model::{AuditEntry, CertificateRecord, CompromisedKey, RevocationRequest};
use crate::pki::Timestamp;

/// What the worker does with them. The contract is that of the [storage traits](super::AcmeStore).
///
/// A key comes here in the transaction that records what was said of it: with the revocation for keyCompromise that its
/// holder, an operator or officers asked for, or with the block of a key that says so of itself. An account's word is about
/// its own certificates. From then on no intent with the key is recorded: [`super::KEY_BLOCKED`].
#[async_trait]
pub trait CompromiseStore: Send + Sync {
    /// Keys with certificates still to be revoked, oldest first.
    async fn compromises(&self, limit: u32) -> StoreResult<Vec<CompromisedKey>>;
    /// Certificates to be revoked because of a key: those within its reach that have not expired at `now` and are not revoked
    /// for good.
    async fn certificates_of_compromise(&self, key: &CompromisedKey, now: Timestamp, limit: u32) -> StoreResult<Vec<CertificateRecord>>;
    /// Revokes certificates of the key, all in one transaction; each audit entry names the cause. Tells how many were not
    /// revoked before. A conflict where the key is not, or no longer, among those to do, or one of the certificates is not
    /// within its reach.
    async fn revoke_compromised(&self, key: &CompromisedKey, requests: &[RevocationRequest]) -> StoreResult<u64>;
    /// Ends what is to do for a key, if nothing is left at `now`; tells whether it is ended. With `refusal`, which says why its
    /// cause does not hold, it ends in any case.
    async fn end_compromise(&self, key: &CompromisedKey, now: Timestamp, refusal: Option<&AuditEntry>) -> StoreResult<bool>;
}
