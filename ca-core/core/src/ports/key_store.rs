//! Where authority keys live.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::model::KeyLabel;
use crate::pki::{KeyAlgorithm, PublicKey, SignatureAlgorithm};

/// What a key store tells about a key without using it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyInfo {
    /// Its label, unique in the store.
    pub label: KeyLabel,
    /// Its algorithm.
    pub algorithm: KeyAlgorithm,
    /// Its public half.
    pub public_key: PublicKey,
}

/// Asks for a new key.
#[derive(Clone, Debug)]
pub struct GenerateKey {
    /// The label; one that exists already is an error (ceremony requirement 20).
    pub label: KeyLabel,
    /// The algorithm.
    pub algorithm: KeyAlgorithm,
    /// The wrapping key, in the device's own terms, under which the key may leave the device for a backup (ceremony
    /// requirement 19); none: it can never leave. A store that cannot hold a key to that refuses.
    pub exportable_under: Option<String>,
}

impl GenerateKey {
    /// A key that can never leave its device.
    pub const fn new(label: KeyLabel, algorithm: KeyAlgorithm) -> Self {
        Self { label, algorithm, exportable_under: None }
    }
}

/// What is to be signed.
#[derive(Clone, Copy, Debug)]
pub enum SignInput<'a> {
    /// The whole message; the store hashes it as the algorithm says.
    Message(&'a [u8]),
    /// The message's digest, for messages that were streamed. Its length must be that of the algorithm's digest;
    /// Ed25519 and ML-DSA have none and refuse.
    Digest(&'a [u8]),
}

/// Why a key store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum KeyStoreError {
    /// No key has this label.
    #[error("no key labelled `{0}` in the key store (hint: `ca ceremony` makes authority keys; check [keystore] in the configuration)")]
    NotFound(KeyLabel),
    /// A key with this label exists already.
    #[error(
        "a key labelled `{0}` exists already; nothing was overwritten (hint: choose another label, or resume the ceremony that made it)"
    )]
    Exists(KeyLabel),
    /// The key cannot do this.
    #[error("the key `{label}` cannot do this: {reason}")]
    Unsupported {
        /// Which key.
        label: KeyLabel,
        /// Why not.
        reason: String,
    },
    /// The passphrase or the file key does not open the sealed key.
    #[error("cannot unseal `{0}`: wrong passphrase or file key, or the file was changed")]
    Unseal(String),
    /// The device does not take the credential that opens it. Trying again may lock it.
    #[error("the device refuses the credential: {0}")]
    Credential(String),
    /// The device or the file system did not answer; trying again may help.
    #[error("the key store is not available: {0}")]
    Unavailable(String),
    /// What is stored is not what this store writes.
    #[error("the key store is damaged: {0}")]
    Damaged(String),
}

/// Holds authority keys. [`crate::issuance`] is the only caller of [`KeyStore::sign`].
#[async_trait]
pub trait KeyStore: Send + Sync {
    /// Makes a key inside the store. When this returns, the key is durable. Not idempotent: a second call with the
    /// same label fails with [`KeyStoreError::Exists`].
    async fn generate(&self, request: GenerateKey) -> Result<KeyInfo, KeyStoreError>;

    /// Describes a key without using its private half.
    async fn describe(&self, label: &KeyLabel) -> Result<KeyInfo, KeyStoreError>;

    /// Lists every key, by label.
    async fn list(&self) -> Result<Vec<KeyInfo>, KeyStoreError>;

    /// Signs. ECDSA signatures are DER `Ecdsa-Sig-Value` (RFC 3279 §2.2.3), others raw octets: the form that goes
    /// into a certificate's BIT STRING. May be called again with the same input; ECDSA then gives another signature.
    async fn sign(&self, label: &KeyLabel, algorithm: SignatureAlgorithm, input: SignInput<'_>) -> Result<Vec<u8>, KeyStoreError>;

    /// Whether the store can be used right now, found out without a signature.
    async fn health(&self) -> Result<(), KeyStoreError>;
}
