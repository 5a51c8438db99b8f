//! Officers with deterministic keys, and what they sign.

#![expect(clippy::unwrap_used, reason = "a fixture fails by panicking, at its own line")]

use ca_core::ceremony::{CeremonyKind, Officer, Roster};
use ca_core::evidence::sshsig;
use ssh_key::PrivateKey;
use ssh_key::private::Ed25519Keypair;

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

/// An officer whose keys grow from `seeds`.
pub fn officer(name: &str, seeds: &[u8]) -> Officer {
    let public = |seed: &u8| key(*seed).public_key().to_openssh().unwrap();
    Officer { name: name.to_owned(), keys: seeds.iter().map(public).collect() }
}

/// Two of ana (keys 101 and 102), bela (103) and cora (104).
pub fn roster() -> Roster {
    let officers = vec![officer("ana", &[101, 102]), officer("bela", &[103]), officer("cora", &[104])];
    Roster { kind: CeremonyKind::Production, threshold: 2, officers }
}

/// Signatures over `message` in the production ceremony's namespace, one of each key.
pub fn signatures(seeds: &[u8], message: &str) -> Vec<String> {
    let namespace = CeremonyKind::Production.namespace();
    seeds.iter().map(|seed| sshsig::sign(&key(*seed), namespace, message.as_bytes()).unwrap()).collect()
}
