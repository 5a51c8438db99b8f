//! Public keys as SubjectPublicKeyInfo.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Sha256Digest, sha256};

/// The DER of a SubjectPublicKeyInfo (RFC 5280 §4.1.2.7), not judged yet: [`crate::profile`] checks keys.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PublicKey(#[serde(with = "crate::model::bytes")] Vec<u8>);

impl PublicKey {
    /// Wraps the DER of a SubjectPublicKeyInfo.
    pub const fn from_spki_der(der: Vec<u8>) -> Self {
        Self(der)
    }

    /// The SubjectPublicKeyInfo's DER.
    pub fn spki_der(&self) -> &[u8] {
        &self.0
    }

    /// SHA-256 over the SubjectPublicKeyInfo: how policies and configuration pin a key.
    pub fn spki_sha256(&self) -> Sha256Digest {
        sha256(&self.0)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey(sha256:{})", self.spki_sha256())
    }
}
