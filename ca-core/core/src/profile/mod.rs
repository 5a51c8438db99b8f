//! What certificates and CRLs may look like, and the lints that refuse anything else.
//!
//! Profiles are closed: a request has no field for what its profile does not name. The builders make the to-be-signed
//! bytes with x509-cert; the lints read those bytes again with the walker of [`crate::pki`], which shares nothing with
//! the builders, and compare them with the request down to the last extension. A leaf request can't express a CA
//! certificate: those have requests of their own, which only a ceremony makes.

mod build;
mod ca;
mod constraints;
mod content;
mod identifiers;
mod issuer;
mod keys;
mod leaf;
mod lint;
mod lint_crl;
mod psd2;
mod subject;
#[cfg(test)]
mod tests;

pub use crate::lint::Finding;
pub use ca::{CaSubject, CrossRequest, IntermediateRequest, RootRequest, build_cross, build_intermediate, build_root};
pub use content::{BrcacSubject, LeafContent, LeafShape, MAX_GROUPS, OpenBankingSubject};
pub use issuer::Issuer;
pub use keys::{BlockedKeys, BlockedKeysError, KEY_RULES, KeyReport, KeyRule, check_fresh, check_key, is_same_key, judge_key};
pub use leaf::{LeafRequest, Revocation, build_leaf, check_policies};
pub use lint::{lint_cross, lint_intermediate, lint_leaf, lint_root};
pub use lint_crl::lint_crl;
pub use psd2::{Psd2, Psd2Role, QcStatements, QcType};
pub use subject::{Attribute, Subject};

use crate::pki::{KeyError, Timestamp};

/// Why a request can't become a certificate of its profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// The certificate given as an issuer is not one.
    #[error("the certificate can't issue: {0}")]
    NotAnIssuer(&'static str),
    /// The subject's key is refused.
    #[error("the subject's key is refused: {0}")]
    Key(#[from] KeyError),
    /// The subject's key is the issuer's.
    #[error("the subject's key is the issuer's own (hint: each certificate has a key of its own)")]
    IssuerKey,
    /// The algorithm is not one of the root's key.
    #[error("the signature algorithm is not that of the root's key")]
    Algorithm,
    /// The validity is empty or outside the range of certificates' times.
    #[error("the validity from {0} to {1} is empty or outside of 1970 to 9999")]
    Validity(Timestamp, Timestamp),
    /// The validity ends after the issuer's.
    #[error("the validity ends at {0}, after the issuer's at {1} (hint: clamp the lifetime, or renew the issuer)")]
    OutlivesIssuer(Timestamp, Timestamp),
    /// The names are not those that the profile wants.
    #[error("the names are refused: {0}")]
    Names(&'static str),
    /// The subject is not one that the profile wants.
    #[error("the subject is refused: {0}")]
    Subject(&'static str),
    /// The PSD2 statement is not one.
    #[error("the PSD2 statement is refused: {0}")]
    Psd2(&'static str),
    /// The policies are not ones that a leaf names.
    #[error("the certificate policies are refused: {0}")]
    Policies(&'static str),
    /// The certificate would say of its status what its profile does not.
    #[error("the revocation information is refused: {0}")]
    Revocation(&'static str),
    /// The key can't do what the profile says that it does.
    #[error("the subject's key does not fit the profile: {0}")]
    KeyUsage(&'static str),
    /// A URL that can't stand in a certificate.
    #[error("`{0}` can't stand in a certificate: status URLs are absolute http URLs in ASCII of at most 1024 characters")]
    Url(String),
    /// The structure can't be encoded.
    #[error("the certificate can't be encoded: {0}")]
    Encoding(String),
}

impl From<der::Error> for ProfileError {
    fn from(error: der::Error) -> Self {
        Self::Encoding(error.to_string())
    }
}
