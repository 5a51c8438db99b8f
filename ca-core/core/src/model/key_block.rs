//! Keys that are never certified again.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{AuthorityName, RevocationReason};
use crate::pki::{SerialNumber, Sha256Digest, Timestamp};

/// A key that the record is asked about.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct KeyAsked {
    /// SHA-256 of the SubjectPublicKeyInfo.
    pub spki_sha256: Sha256Digest,
    /// The RFC 7638 thumbprint, where it is asked whether the key is an account's, and an account could have such a key.
    pub thumbprint: Option<String>,
}

impl KeyAsked {
    /// The most in one question.
    pub const MAX: usize = 1024;

    /// Asks only whether the key is blocked.
    pub const fn whether_blocked(spki_sha256: Sha256Digest) -> Self {
        Self { spki_sha256, thumbprint: None }
    }
}

/// What the record knows of a key that someone wants certified.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct KeyUse {
    /// Whether it is the key of an account, whosever and in whatever state.
    pub account: bool,
    /// Why it is blocked.
    pub block: Option<KeyBlock>,
}

/// Why a key is blocked, for good.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "kebab-case")]
pub enum KeyBlock {
    /// An operator's statement.
    Statement {
        /// Why; at most [`KeyBlock::MAX_REASON`] characters.
        reason: String,
        /// Since when.
        at: Timestamp,
    },
    /// A certificate with it was revoked for keyCompromise.
    Compromised {
        /// The certificate's authority.
        authority: AuthorityName,
        /// The certificate's serial number.
        serial: SerialNumber,
        /// Since when.
        at: Timestamp,
    },
}

impl KeyBlock {
    /// The most characters of a reason.
    pub const MAX_REASON: usize = 500;

    /// The reason of revocation that blocks a certificate's key.
    pub const REVOCATION: RevocationReason = RevocationReason::KeyCompromise;

    /// Since when.
    pub const fn at(&self) -> Timestamp {
        match self {
            Self::Statement { at, .. } | Self::Compromised { at, .. } => *at,
        }
    }

    /// What whoever holds the key may know.
    pub const fn told(&self) -> &'static str {
        match self {
            Self::Statement { .. } => "the key is blocked (hint: make another key)",
            Self::Compromised { .. } => "the key is blocked: a certificate with it was revoked for keyCompromise (hint: make another key)",
        }
    }
}

impl fmt::Display for KeyBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Statement { reason, .. } => write!(f, "an operator blocked it: {reason}"),
            Self::Compromised { authority, serial, .. } => write!(f, "certificate {serial} of {authority} was revoked for keyCompromise"),
        }
    }
}

/// A blocked key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BlockedKey {
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub spki_sha256: Sha256Digest,
    /// Why.
    pub block: KeyBlock,
}
