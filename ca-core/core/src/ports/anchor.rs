//! What a worker remembers outside the database, so that an older copy of the database is found out.
//!
//! A database administrator can restore yesterday's file: an old policy, an officer who was removed, an approval that
//! was spent, a stop that was ordered. The anchor is a small fsynced record of the worker's own user that only grows.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::model::{AuthorityName, CrlScope};
use crate::pki::{Sha256Digest, Timestamp};

/// The anchor's contents.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnchorState {
    /// The digest of the roster that the CA began with: the one that a person compared.
    pub genesis_roster: Sha256Digest,
    /// How many roster changes there were.
    pub roster_number: u64,
    /// The digest of the standing roster.
    pub roster: Sha256Digest,
    /// The policy in force.
    pub policy_version: u64,
    /// Its digest.
    pub policy: Sha256Digest,
    /// Nonces of approvals that were used, until they would expire anyway. Bounded: see [`AnchorState::MAX_SPENT`].
    pub spent: BTreeMap<String, Timestamp>,
    /// Whether issuance is stopped.
    pub stopped: bool,
    /// When certificates were issued within the last hour, by authority, for the rate cap: minute to count.
    pub issued: BTreeMap<AuthorityName, BTreeMap<i64, u32>>,
    /// The last CRL number, by authority and scope.
    pub crl_numbers: BTreeMap<String, u64>,
    /// The number and the head of the audit chain.
    pub log: Option<(u64, Sha256Digest)>,
    /// The latest time seen.
    pub latest: Timestamp,
    /// Digests of device-log entries and other evidence that must not be lost; reserved names only.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub marks: BTreeSet<String>,
}

impl AnchorState {
    /// The most spent approvals at a time; past it nothing is approved until some expire.
    pub const MAX_SPENT: usize = 10_000;

    /// How a CRL's scope is named in [`Self::crl_numbers`].
    pub fn crl_key(authority: &AuthorityName, scope: &CrlScope) -> String {
        format!("{authority}/{scope}")
    }
}

/// A step forward. There is no step back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case", deny_unknown_fields)]
pub enum AnchorStep {
    /// The officers changed the roster.
    Roster {
        /// The change's number: the last one's plus one.
        number: u64,
        /// The new roster's digest.
        roster: Sha256Digest,
    },
    /// The officers put a policy in force.
    Policy {
        /// Its version; greater than the last.
        version: u64,
        /// Its digest.
        policy: Sha256Digest,
    },
    /// An approval is used: before its act begins.
    Spend {
        /// Its statement's nonce.
        nonce: String,
        /// Until when it would have counted.
        expires_at: Timestamp,
    },
    /// Issuance stops.
    Stop,
    /// The officers let it go on.
    Resume,
    /// A certificate is about to be issued: before the key signs.
    Issue {
        /// By which authority.
        authority: AuthorityName,
    },
    /// A CRL is about to be issued.
    Crl {
        /// By which authority.
        authority: AuthorityName,
        /// Which one.
        scope: CrlScope,
        /// Its number; greater than the last.
        number: u64,
    },
    /// The audit chain has grown.
    Log {
        /// The newest row's number.
        number: u64,
        /// The chain's head there.
        head: Sha256Digest,
    },
}

/// Why a step is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnchorError {
    /// What the database says lies behind what this worker has seen.
    #[error(
        "{0} (hint: the database is an older copy or was edited; nothing is signed until it is the newest one again, see the officers' guide, \"After a restore\")"
    )]
    Behind(String),
    /// The step does not follow.
    #[error("the anchor refuses: {0}")]
    Refused(String),
    /// It could not be made durable.
    #[error("the anchor is not available: {0}")]
    Unavailable(String),
}

/// The record. One process holds it.
pub trait Anchor: Send + Sync {
    /// What it says.
    fn state(&self) -> AnchorState;

    /// Takes all steps or none. When this returns `Ok` they are durable. `now` moves [`AnchorState::latest`].
    ///
    /// # Errors
    /// [`AnchorError::Refused`] where one does not follow (a spent approval, a number that does not grow, a clock far
    /// behind), [`AnchorError::Unavailable`] where it is not durable; then nothing may be signed.
    fn take(&self, steps: &[AnchorStep], now: Timestamp) -> Result<(), AnchorError>;
}
