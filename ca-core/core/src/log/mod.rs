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

use crate::model::{AuditEntry, CrlIntent, Intent, IntentContent};
use crate::pki::{Sha256Digest, sha256};

/// The first bytes of an audit leaf: the format's name and version.
pub const AUDIT_LEAF: &str = "countersign/audit/1\n";

/// The first bytes of an intent's leaf. It has the bytes to be signed; in an earlier form those of a CRL, too.
pub const INTENT_LEAF: &str = "countersign/intent/1\n";

/// The first bytes of the leaf of a CRL's intent, which has the digest of the bytes to be signed and not them: a CRL may
/// have megabytes, and a leaf is kept for good (invariant 1).
pub const CRL_INTENT_LEAF: &str = "countersign/intent/2\n";

/// The canonical bytes of an audit entry: the format line, then JSON with its fields in declaration order.
pub fn audit_leaf(entry: &AuditEntry) -> Vec<u8> {
    canonical(AUDIT_LEAF, entry)
}

/// The canonical bytes of an intent: the format line, then JSON of all but the leaf itself, and but a CRL's bytes.
pub fn intent_leaf(intent: &Intent) -> Vec<u8> {
    let IntentContent::Crl(crl) = &intent.content else {
        if intent.leaf.is_empty() {
            return canonical(INTENT_LEAF, intent);
        }
        return canonical(INTENT_LEAF, &Intent { leaf: Vec::new(), ..intent.clone() });
    };
    let CrlIntent { tbs: _, scope, number, this_update, next_update, ledger_number } = *crl;
    let told = CrlIntent { tbs: Vec::new(), scope, number, this_update, next_update, ledger_number };
    let Intent { attempt, authority, key, algorithm, tbs_sha256, content: _, leaf: _, origin, actor, at } = intent;
    let told = Intent {
        attempt: attempt.clone(),
        authority: authority.clone(),
        key: key.clone(),
        algorithm: *algorithm,
        tbs_sha256: *tbs_sha256,
        content: IntentContent::Crl(told),
        leaf: Vec::new(),
        origin: origin.clone(),
        actor: actor.clone(),
        at: *at,
    };
    canonical(CRL_INTENT_LEAF, &told)
}

/// Whether an intent's leaf is its own: in today's form, or in the one that records from before have.
pub fn has_own_leaf(intent: &Intent) -> bool {
    intent.leaf == intent_leaf(intent) || intent.leaf == canonical(INTENT_LEAF, &Intent { leaf: Vec::new(), ..intent.clone() })
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
    let json = [INTENT_LEAF, CRL_INTENT_LEAF].iter().find_map(|format| leaf.strip_prefix(format.as_bytes()))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Actor, CrlScope, Origin};
    use crate::pki::{SignatureAlgorithm, Timestamp};

    fn intent(tbs: &[u8]) -> Intent {
        let at = Timestamp::from_unix(1_800_000_000);
        let content = CrlIntent { tbs: tbs.to_vec(), scope: CrlScope::FULL, number: 7, this_update: at, next_update: at, ledger_number: 3 };
        let mut intent = Intent {
            attempt: "a".parse().unwrap(),
            authority: "demo".parse().unwrap(),
            key: "ca".parse().unwrap(),
            algorithm: SignatureAlgorithm::EcdsaP256Sha256,
            tbs_sha256: sha256(tbs),
            content: IntentContent::Crl(content),
            leaf: Vec::new(),
            origin: Origin::Ceremony,
            actor: Actor::system("test"),
            at,
        };
        intent.leaf = intent_leaf(&intent);
        intent
    }

    fn read(leaf: &[u8]) -> Intent {
        match read_leaf(leaf) {
            Some(Leaf::Intent(intent)) => *intent,
            other => panic!("{other:?}, not an intent"),
        }
    }

    #[test]
    fn lesson_32_a_crl_s_leaf_has_the_digest_of_its_bytes_whatever_their_length() {
        let (short, long) = (intent(b"short"), intent(&[1; 1 << 20]));
        assert_eq!(short.leaf.len(), long.leaf.len());
        let told = read(&long.leaf);
        assert!(told.content.tbs().is_empty());
        assert_eq!((told.tbs_sha256, &told.attempt), (sha256(&[1; 1 << 20]), &long.attempt));
        assert!(has_own_leaf(&long));
        assert!(!has_own_leaf(&Intent { leaf: short.leaf, ..long }));
    }

    #[test]
    fn a_crl_s_leaf_from_before_reads_as_it_did() {
        let mut old = intent(b"bytes");
        old.leaf = canonical(INTENT_LEAF, &Intent { leaf: Vec::new(), ..old.clone() });
        assert!(has_own_leaf(&old));
        assert_eq!(read(&old.leaf), Intent { leaf: Vec::new(), ..old });
    }
}
