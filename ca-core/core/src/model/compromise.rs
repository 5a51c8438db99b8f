//! Compromised keys: every other certificate with one is revoked (BR 4.9.1.1; ACME requirement A11).

use serde::{Deserialize, Serialize};

use super::{AccountId, AuthorityName};
use crate::pki::{SerialNumber, Sha256Digest};

/// Which certificate of this CA.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct CertificateName {
    /// Its authority.
    pub authority: AuthorityName,
    /// Its serial number.
    pub serial: SerialNumber,
}

/// A key whose other certificates are still to be revoked, because of what was said of one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CompromisedKey {
    /// Its number among those that are still to do, the oldest first.
    pub number: u64,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub spki_sha256: Sha256Digest,
    /// The certificate of which it was said.
    pub cause: CertificateName,
    /// The row of the audit trail that says by whom, with the request where there is one.
    pub row: u64,
    /// Whose certificates are to be revoked; none: everyone's. An account's word reaches its own.
    pub account: Option<AccountId>,
}

/// Why a certificate was revoked on nobody's own request: in the audit entry of its revocation, as `follows`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FollowedCompromise {
    /// The earlier row of the audit trail by which the key is compromised.
    pub row: u64,
    /// The certificate that it is about.
    pub cause: CertificateName,
    /// The key, that of both certificates.
    pub spki_sha256: Sha256Digest,
}
