//! Certificates as recorded.

use serde::{Deserialize, Serialize};

use super::{AccountId, AuthorityName, GrantId, OrderId, RevocationReason};
use crate::pki::{Identifier, SerialNumber, Sha256Digest, Timestamp};

/// The state of an attempt to issue (invariant 4). A serial with an intent counts as issued.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateState {
    /// Recorded, perhaps signed, not released.
    Intent,
    /// Released to its subscriber.
    Released,
    /// Given up; the serial is revoked.
    Abandoned,
}

/// A certificate, or an attempt at one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CertificateRecord {
    /// Its authority.
    pub authority: AuthorityName,
    /// Its serial number, unique for the authority.
    pub serial: SerialNumber,
    /// Its state.
    pub state: CertificateState,
    /// Its profile.
    pub profile: String,
    /// Its subject as RFC 4514 text; empty for an empty subject.
    pub subject: String,
    /// Its names.
    pub identifiers: Vec<Identifier>,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub spki_sha256: Sha256Digest,
    /// notBefore.
    pub not_before: Timestamp,
    /// notAfter.
    pub not_after: Timestamp,
    /// Its CRL partition, fixed at issuance.
    pub partition: u32,
    /// The DER, once released (an unreleased signature is kept apart from it).
    #[serde(with = "super::bytes")]
    pub der: Vec<u8>,
    /// The account that it was issued to.
    pub account: Option<AccountId>,
    /// The grant behind that account.
    pub grant: Option<GrantId>,
    /// The order.
    pub order: Option<OrderId>,
    /// When and why it was revoked.
    pub revoked: Option<(Timestamp, RevocationReason)>,
    /// The order that replaces it (RFC 9773 §5).
    pub replaced_by: Option<OrderId>,
    /// When the intent was recorded.
    pub created_at: Timestamp,
}

/// Which certificates to list. Every condition that is given must hold.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CertificateFilter {
    /// Of this authority.
    pub authority: Option<AuthorityName>,
    /// With exactly this name: an identifier of its order, or a URI or a mailbox in it.
    pub name: Option<String>,
    /// Of this grant.
    pub grant: Option<GrantId>,
    /// Of this account.
    pub account: Option<AccountId>,
    /// With this key, by the SHA-256 of its SubjectPublicKeyInfo.
    pub spki_sha256: Option<Sha256Digest>,
    /// Of this profile.
    pub profile: Option<String>,
    /// On record from this time on.
    pub issued_from: Option<Timestamp>,
    /// On record before this time.
    pub issued_before: Option<Timestamp>,
    /// That end before this time.
    pub expires_before: Option<Timestamp>,
    /// Revoked ones only, or unrevoked ones only.
    pub revoked: Option<bool>,
}
