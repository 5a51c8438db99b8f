//! Tells how long each signature took, for operators' numbers. It changes nothing else.

use std::sync::Arc;

use async_trait::async_trait;
use ca_core::model::KeyLabel;
use ca_core::pki::SignatureAlgorithm;
use ca_core::ports::{GenerateKey, KeyInfo, KeyStore, KeyStoreError, SignInput};

/// Is called when a signature begins; what it gives, when that ends: with the key, and whether it was made.
pub type Stopwatch = Arc<dyn Fn() -> Box<dyn FnOnce(&KeyLabel, bool) + Send> + Send + Sync>;

/// A key store whose signatures are timed.
pub struct MeteredKeyStore {
    inner: Arc<dyn KeyStore>,
    stopwatch: Stopwatch,
}

impl MeteredKeyStore {
    /// Times the signatures of `inner`.
    pub fn new(inner: Arc<dyn KeyStore>, stopwatch: Stopwatch) -> Self {
        Self { inner, stopwatch }
    }
}

#[async_trait]
impl KeyStore for MeteredKeyStore {
    async fn generate(&self, request: GenerateKey) -> Result<KeyInfo, KeyStoreError> {
        self.inner.generate(request).await
    }

    async fn describe(&self, label: &KeyLabel) -> Result<KeyInfo, KeyStoreError> {
        self.inner.describe(label).await
    }

    async fn list(&self) -> Result<Vec<KeyInfo>, KeyStoreError> {
        self.inner.list().await
    }

    async fn sign(&self, label: &KeyLabel, algorithm: SignatureAlgorithm, input: SignInput<'_>) -> Result<Vec<u8>, KeyStoreError> {
        let end = (self.stopwatch)();
        let signed = self.inner.sign(label, algorithm, input).await;
        end(label, signed.is_ok());
        signed
    }

    async fn health(&self) -> Result<(), KeyStoreError> {
        self.inner.health().await
    }
}
