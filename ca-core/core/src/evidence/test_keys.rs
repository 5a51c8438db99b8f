//! Deterministic operator keys for tests.

use ssh_key::PrivateKey;
use ssh_key::private::{Ed25519Keypair, KeypairData};

pub(crate) fn operator_key(seed: u8) -> PrivateKey {
    PrivateKey::new(KeypairData::Ed25519(Ed25519Keypair::from_seed(&[seed; 32])), "test").expect("a fixed seed makes a key")
}

pub(crate) fn public_text(key: &PrivateKey) -> String {
    key.public_key().to_openssh().expect("an Ed25519 key has a text form")
}
