//! Operators with deterministic keys, and what they sign.

#![expect(clippy::unwrap_used, reason = "a fixture fails by panicking, at its own line")]

use std::time::Duration;

use ca_core::evidence::sshsig;
use ca_core::evidence::statement::{NAMESPACE, Operation, OperatorStatement};
use ca_core::model::SignedStatement;
use ca_core::pki::Timestamp;
use ca_core::policy::{OperatorPolicy, Permission};
use ssh_key::PrivateKey;
use ssh_key::private::{Ed25519Keypair, KeypairData};

/// An operator.
pub struct Operator {
    name: String,
    key: PrivateKey,
}

impl Operator {
    /// The operator whose key grows from `seed`.
    pub fn new(name: &str, seed: u8) -> Self {
        let key = PrivateKey::new(KeypairData::Ed25519(Ed25519Keypair::from_seed(&[seed; 32])), name).unwrap();
        Self { name: name.to_owned(), key }
    }

    /// Its entry in a policy.
    pub fn policy(&self, may: &[Permission]) -> OperatorPolicy {
        OperatorPolicy { name: self.name.clone(), key: self.key.public_key().to_openssh().unwrap(), may: may.to_vec() }
    }

    /// A statement issued `at`, valid for ten minutes.
    pub fn sign(&self, operation: Operation, nonce: &str, at: Timestamp) -> SignedStatement {
        let statement = OperatorStatement::new(operation, format!("{nonce:0>16}"), at, at.plus(Duration::from_secs(600))).to_json();
        let signature = sshsig::sign(&self.key, NAMESPACE, statement.as_bytes()).unwrap();
        SignedStatement { statement, signature }
    }
}
