//! Authorities of this instance.

use serde::{Deserialize, Serialize};

use super::{AuthorityName, KeyLabel};
use crate::pki::Timestamp;

/// What an authority does here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuthorityKind {
    /// A root: its key is offline; its CRL comes from a ceremony.
    Root,
    /// An issuing authority with an online key; without a key here, another CA that the root cross-signed.
    Issuing,
}

/// An authority whose certificate was imported from a verified ceremony bundle.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Authority {
    /// Its name in URLs, rows and commands.
    pub name: AuthorityName,
    /// Root or issuing.
    pub kind: AuthorityKind,
    /// Its certificate, DER.
    #[serde(with = "super::bytes")]
    pub certificate: Vec<u8>,
    /// The authority above; none for a root.
    pub issuer: Option<AuthorityName>,
    /// Its key in the online key store; none where the key is offline.
    pub key: Option<KeyLabel>,
    /// Whether commands and `/acme/directory` mean this one when they name none.
    pub is_default: bool,
    /// When it was imported.
    pub imported_at: Timestamp,
}

/// The URLs that are baked into what an authority signs (design: "Everything is scoped by authority").
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StatusUrls {
    /// Where the issuer's certificate is: AIA caIssuers (RFC 5280 §4.2.2.1).
    pub issuer: String,
    /// Where OCSP is asked: AIA ocsp.
    pub ocsp: String,
    /// Where the CRL of the certificate's partition is: the distribution point.
    pub crl: String,
}

impl StatusUrls {
    /// The URLs below `base` (`http://127.0.0.1:14002`, no trailing slash) for `authority` and a CRL partition.
    pub fn below(base: &str, authority: &AuthorityName, partition: u32) -> Self {
        let base = base.trim_end_matches('/');
        Self {
            issuer: format!("{base}/a/{authority}/issuer.cer"),
            ocsp: format!("{base}/a/{authority}/ocsp"),
            crl: format!("{base}/a/{authority}/crl/{partition}.crl"),
        }
    }
}
