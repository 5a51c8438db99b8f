//! The canonical leaf of each recorded act, and the hash chain over them.
//!
//! Leaf bytes are fixed from the first release: they become the leaves of the append-only Merkle log. This module
//! deliberately lacks the log itself; it only fixes the bytes.

mod device_log;
mod followed;
mod reconcile;

pub use device_log::{YUBIHSM_ENTRY, first_gap, follows, is_reset, reads_as_written};
pub use followed::{FollowedReport, FollowedRevocations};
pub use reconcile::{
    CeremonyShare, ChainError, DEVICE_LOG, DEVICE_LOG_BEGIN, DEVICE_LOG_IMPORT, DeviceLogBatch, DeviceLogBegin, DeviceLogImport,
    KeyAccount, MAX_ENTRIES, Reconciler, Reconciliation,
};

use crate::model::{AuditEntry, Intent};
use crate::pki::{Sha256Digest, sha256};

/// The first bytes of an audit leaf: the format's name and version.
pub const AUDIT_LEAF: &str = "countersign/audit/1\n";

/// The first bytes of an intent's leaf.
pub const INTENT_LEAF: &str = "countersign/intent/1\n";

/// The canonical bytes of an audit entry: the format line, then JSON with its fields in declaration order.
pub fn audit_leaf(entry: &AuditEntry) -> Vec<u8> {
    canonical(AUDIT_LEAF, entry)
}

/// The canonical bytes of an intent: the format line, then JSON of all but the leaf itself.
pub fn intent_leaf(intent: &Intent) -> Vec<u8> {
    if intent.leaf.is_empty() {
        return canonical(INTENT_LEAF, intent);
    }
    canonical(INTENT_LEAF, &Intent { leaf: Vec::new(), ..intent.clone() })
}

/// What a leaf records.
#[derive(Clone, PartialEq, Debug)]
pub enum Leaf {
    /// An act.
    Audit(Box<AuditEntry>),
    /// A signature about to be made.
    Intent(Box<Intent>),
}

/// Reads a leaf back; none: it is of no format that this version knows.
pub fn read_leaf(leaf: &[u8]) -> Option<Leaf> {
    if let Some(json) = leaf.strip_prefix(AUDIT_LEAF.as_bytes()) {
        return serde_json::from_slice(json).ok().map(|entry| Leaf::Audit(Box::new(entry)));
    }
    let json = leaf.strip_prefix(INTENT_LEAF.as_bytes())?;
    serde_json::from_slice(json).ok().map(|intent| Leaf::Intent(Box::new(intent)))
}

fn canonical<T: serde::Serialize>(format: &str, value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(2048);
    out.extend_from_slice(format.as_bytes());
    // Field order is declaration order and maps are sorted: the same value always gives the same bytes.
    serde_json::to_writer(&mut out, value).expect("model types have string keys and no failing serializer");
    out
}

/// The chain's next hash: SHA-256 over the hash before (32 zero octets at first) and the leaf.
pub fn chain(before: &Sha256Digest, leaf: &[u8]) -> Sha256Digest {
    let mut bytes = Vec::with_capacity(32 + leaf.len());
    bytes.extend_from_slice(&before.0);
    bytes.extend_from_slice(leaf);
    sha256(&bytes)
}

/// The chain's hash before its first leaf.
pub const CHAIN_START: Sha256Digest = Sha256Digest([0; 32]);
