//! Who did it (invariant 11): nothing is attributed by default.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::AccountId;
use crate::pki::Sha256Digest;

/// The actor of a change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Actor {
    /// Ceremony officers, by name, whose signatures were verified.
    Officers {
        /// Their names.
        names: Vec<String>,
    },
    /// An enrolled operator whose statement was verified.
    Operator {
        /// Its name in the policy.
        name: String,
        /// Its key's SHA-256 fingerprint as OpenSSH shows it.
        fingerprint: String,
    },
    /// An ACME account, by a verified JWS.
    Account {
        /// The account.
        id: AccountId,
    },
    /// The holder of a certificate's own key, by a verified JWS (RFC 8555 §7.6).
    CertificateKey {
        /// The key.
        spki_sha256: Sha256Digest,
    },
    /// A part of this software acting on its own schedule.
    System {
        /// Which part, for example `worker`, `scheduler`, `reconciler`.
        component: String,
    },
    /// Someone not authenticated, whose attempt is on record.
    Anonymous,
}

impl Actor {
    /// This software's own `component`.
    pub fn system(component: &str) -> Self {
        Self::System { component: component.to_owned() }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Officers { names } => write!(f, "officers {}", names.join(", ")),
            Self::Operator { name, .. } => write!(f, "operator {name}"),
            Self::Account { id } => write!(f, "account {id}"),
            Self::CertificateKey { spki_sha256 } => write!(f, "certificate key {spki_sha256}"),
            Self::System { component } => write!(f, "system {component}"),
            Self::Anonymous => f.write_str("anonymous"),
        }
    }
}
