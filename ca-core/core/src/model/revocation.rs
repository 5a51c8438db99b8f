//! Revocation: reasons, the ledger, and what a responder may say of a serial number.

use serde::{Deserialize, Serialize};

use super::{Actor, AuthorityName};
use crate::pki::{SerialNumber, Timestamp};

/// CRLReason (RFC 5280 §5.3.1). Value 7 is unused; cACompromise and aACompromise are for CA and attribute certificates.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RevocationReason {
    /// 0; absent from CRLs and OCSP answers.
    Unspecified,
    /// 1.
    KeyCompromise,
    /// 2.
    CaCompromise,
    /// 3.
    AffiliationChanged,
    /// 4.
    Superseded,
    /// 5.
    CessationOfOperation,
    /// 6: may be taken back.
    CertificateHold,
    /// 9.
    PrivilegeWithdrawn,
}

impl RevocationReason {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::CaCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
        Self::CertificateHold,
        Self::PrivilegeWithdrawn,
    ];

    /// The enumerated value.
    pub const fn code(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::CaCompromise => 2,
            Self::AffiliationChanged => 3,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
            Self::CertificateHold => 6,
            Self::PrivilegeWithdrawn => 9,
        }
    }

    /// From the enumerated value.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.code() == code)
    }

    /// The name in RFC 5280's ASN.1.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "keyCompromise",
            Self::CaCompromise => "cACompromise",
            Self::AffiliationChanged => "affiliationChanged",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessationOfOperation",
            Self::CertificateHold => "certificateHold",
            Self::PrivilegeWithdrawn => "privilegeWithdrawn",
        }
    }
}

/// Asks to revoke one certificate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RevocationRequest {
    /// Its authority.
    pub authority: AuthorityName,
    /// Its serial number.
    pub serial: SerialNumber,
    /// Why.
    pub reason: RevocationReason,
    /// Since when the key is suspected (RFC 5280 §5.3.2).
    pub invalidity_date: Option<Timestamp>,
    /// Who asks, already authorized for this very certificate.
    pub actor: Actor,
    /// When.
    pub at: Timestamp,
    /// One id for the act's audit entries.
    pub correlation: String,
}

/// What a revocation did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum Revoked {
    /// Revoked, under this number in the authority's ledger.
    Now {
        /// The ledger number.
        number: u64,
    },
    /// It was revoked before; nothing changed.
    Already,
    /// This authority never issued that serial.
    NotFound,
}

/// Whether somebody may say at `now` that a key was known or suspected to be compromised since `date` (RFC 5280 §5.3.2): not in
/// the future, and since 1970, which a CRL can carry.
pub fn may_be_invalidity_date(date: Timestamp, now: Timestamp) -> bool {
    (Timestamp::EPOCH..=now).contains(&date)
}

/// What a ledger entry does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LedgerEvent {
    /// Revoked or held, by its reason.
    Revoke,
    /// Un-held (removeFromCRL).
    Unhold,
}

/// An entry of an authority's append-only revocation ledger; numbers follow commit order without gaps.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// Its authority.
    pub authority: AuthorityName,
    /// Its number, from 1.
    pub number: u64,
    /// Which certificate.
    pub serial: SerialNumber,
    /// What happened.
    pub event: LedgerEvent,
    /// Why.
    pub reason: RevocationReason,
    /// When.
    pub at: Timestamp,
}

/// What the record says of a serial number (invariant 8). A serial without a record has no status at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "kebab-case")]
pub enum SerialStatus {
    /// Issued (an intent counts), not revoked.
    Good,
    /// Revoked.
    Revoked {
        /// When.
        at: Timestamp,
        /// Why.
        reason: RevocationReason,
    },
}
