//! Storage of which certificates are marked for replacement.

use async_trait::async_trait;

use super::StoreResult;
use crate::model::{AuditEntry, AuthorityName, CertificateFilter, Replacement, ReplacementMark};
use crate::pki::{SerialNumber, Timestamp};

/// What operators do and see. The contract is that of the [storage traits](super::AcmeStore). A certificate's own mark is
/// in its record.
#[async_trait]
pub trait ReplacementStore: Send + Sync {
    /// Marks certificates, all in one transaction with the audit entry. One that is marked keeps its time and takes the
    /// explanation; one that was never issued, or whose attempt was given up, is passed over. Where one stands at an order that
    /// renews itself, the order's job is due at the mark's time. Tells how many had no mark before.
    async fn mark_for_replacement(
        &self,
        authority: &AuthorityName,
        serials: &[SerialNumber],
        mark: &ReplacementMark,
        audit: &AuditEntry,
    ) -> StoreResult<u64>;
    /// Takes marks away, in one transaction with the audit entry. Tells how many there were.
    async fn unmark(&self, authority: &AuthorityName, serials: &[SerialNumber], audit: &AuditEntry) -> StoreResult<u64>;
    /// Marked certificates that match, newest first, after the given one, and what came in their place: as of `now`, or of
    /// their own end where that came first ([`crate::model::CertificateRecord::needed_until`]).
    async fn replacements(
        &self,
        filter: &CertificateFilter,
        after: Option<&SerialNumber>,
        limit: u32,
        now: Timestamp,
    ) -> StoreResult<Vec<Replacement>>;
}
