//! Keys that are not an authority's: delegated OCSP responder keys, TLS keys.
//!
//! They sit behind a port of their own, so that no code path can put one in an authority's slot (invariant 1).

use crate::pki::{KeyAlgorithm, PublicKey};

/// A service key did not sign.
#[derive(Debug, thiserror::Error)]
#[error("the service key did not sign: {0}")]
pub struct ServiceKeyError(pub String);

/// A key of one of this product's own services, held in that service's process.
pub trait ServiceKey: Send + Sync {
    /// Its algorithm.
    fn algorithm(&self) -> KeyAlgorithm;
    /// Its public half.
    fn public_key(&self) -> &PublicKey;
    /// Signs `message` with the algorithm's own digest; ECDSA as DER.
    ///
    /// # Errors
    /// When the key cannot be used.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, ServiceKeyError>;
}
