//! Where CRLs are put for the world to fetch.

use async_trait::async_trait;

use crate::model::{AuthorityName, CrlScope};

/// A publisher did not store or did not give back what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("cannot publish: {0}")]
pub struct PublisherError(pub String);

/// Puts immutable objects, then swaps a pointer (status requirement S9).
#[async_trait]
pub trait Publisher: Send + Sync {
    /// Stores `der` as CRL `number` and then makes it the current one for its scope. When this returns both are
    /// durable. Re-runnable; a number lower than the current one's must not move the pointer back (invariant 7).
    async fn publish_crl(&self, authority: &AuthorityName, scope: &CrlScope, number: u64, der: &[u8]) -> Result<(), PublisherError>;

    /// Reads back the current CRL's bytes, so that what the world sees can be verified after publishing.
    async fn current_crl(&self, authority: &AuthorityName, scope: &CrlScope) -> Result<Option<Vec<u8>>, PublisherError>;
}
