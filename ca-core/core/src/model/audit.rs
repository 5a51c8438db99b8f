//! Audit entries: what happened, by whom, with what outcome.

use serde::{Deserialize, Serialize};

use super::{Actor, AuthorityName};
use crate::pki::{Sha256Digest, Timestamp};

/// How an act ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was begun; another entry with the same correlation tells the end.
    Begun,
    /// It was refused.
    Refused {
        /// Why.
        reason: String,
    },
    /// It failed.
    Failed {
        /// Why.
        reason: String,
    },
}

/// An entry to be written with the change that it describes, in the same transaction.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// What, as `noun.verb`: `certificate.intent`, `grant.create`.
    pub action: String,
    /// At which authority, where the act is scoped by one.
    pub authority: Option<AuthorityName>,
    /// On what: a serial number, an order, a grant.
    pub object: String,
    /// With what result.
    pub outcome: Outcome,
    /// One id for all entries of one act.
    pub correlation: String,
    /// Further facts; never a secret.
    #[serde(default)]
    pub detail: serde_json::Value,
}

/// An entry as stored: numbered without gaps and chained by hash to the one before.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct AuditRow {
    /// Its number, from 1.
    pub number: u64,
    /// The canonical leaf: the bytes of the future log's leaf (see [`crate::log`]).
    #[serde(with = "super::bytes")]
    pub leaf: Vec<u8>,
    /// SHA-256 over the hash before and the leaf.
    pub hash: Sha256Digest,
}
