//! Certificates as recorded.

use serde::{Deserialize, Serialize};

use super::{AccountId, AuthorityName, CertificateName, GrantId, OrderId, ReplacementMark, RevocationReason};
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
    /// The certificate with the same key whose compromise it was revoked for, where nobody asked for this one's own revocation.
    #[serde(default)]
    pub follows: Option<CertificateName>,
    /// The order that replaces it (RFC 9773 §5).
    pub replaced_by: Option<OrderId>,
    /// Its mark, where it is to be replaced before it is revoked.
    pub marked: Option<ReplacementMark>,
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
    /// Those that are marked for replacement only, or those that are not only.
    #[serde(default)]
    pub marked: Option<bool>,
}

/// Which certificates a bulk revocation or replacement is about: a list, or all unrevoked and unexpired ones that a filter finds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BulkChoice {
    /// Their authority.
    pub authority: AuthorityName,
    /// Exactly these; empty: those that the filter finds.
    pub serials: Vec<SerialNumber>,
    /// By grant, account, key, profile, time or mark; authority, revocation and names in it don't count.
    pub filter: CertificateFilter,
    /// Of those that the filter finds, the ones that are marked for replacement and have something in their place: to revoke
    /// them stops no service.
    #[serde(default)]
    pub replaced: bool,
}

impl BulkChoice {
    /// Whether it names anything beside an authority.
    pub fn is_narrow(&self) -> bool {
        let f = &self.filter;
        !self.serials.is_empty()
            || f.grant.is_some()
            || f.account.is_some()
            || f.spki_sha256.is_some()
            || f.profile.is_some()
            || f.issued_from.is_some()
            || f.issued_before.is_some()
            || f.marked.is_some()
            || self.replaced
    }

    /// How the choice was made, for the reader of the statement.
    pub fn describe(&self) -> String {
        if !self.serials.is_empty() {
            return "a list of serial numbers".to_owned();
        }
        let f = &self.filter;
        let parts = [
            f.grant.as_ref().map(|g| format!("grant {g}")),
            f.account.as_ref().map(|a| format!("account {a}")),
            f.spki_sha256.map(|k| format!("key {k}")),
            f.profile.as_ref().map(|p| format!("profile {}", p.chars().filter(|c| !c.is_control()).take(64).collect::<String>())),
            f.issued_from.map(|t| format!("issued from {t}")),
            f.issued_before.map(|t| format!("issued before {t}")),
            f.marked.map(|marked| if marked { "marked for replacement".to_owned() } else { "not marked for replacement".to_owned() }),
        ];
        let replaced = self.replaced.then(|| "replaced since they were marked".to_owned());
        let parts: Vec<_> = parts.into_iter().flatten().chain(replaced).collect();
        if parts.is_empty() { "all of the authority".to_owned() } else { parts.join(", ") }
    }
}
