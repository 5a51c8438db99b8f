//! A key store that fails on demand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use async_trait::async_trait;
use ca_core::model::KeyLabel;
use ca_core::pki::SignatureAlgorithm;
use ca_core::ports::{GenerateKey, KeyInfo, KeyStore, KeyStoreError, SignInput};

/// What the next signature does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It is right.
    None,
    /// The device does not answer.
    Unavailable,
    /// It is over other bytes.
    OtherBytes,
    /// It has one bit flipped.
    FlippedBit,
}

/// Wraps a key store; a fault holds for one signature.
pub struct FaultyKeys {
    inner: Arc<dyn KeyStore>,
    next: AtomicU8,
}

impl FaultyKeys {
    /// A wrapper without a fault.
    pub fn new(inner: Arc<dyn KeyStore>) -> Self {
        Self { inner, next: AtomicU8::new(0) }
    }

    /// Sets what the next signature does.
    pub fn fail_once(&self, fault: Fault) {
        self.next.store(fault as u8, Ordering::SeqCst);
    }
}

#[async_trait]
impl KeyStore for FaultyKeys {
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
        let fault = self.next.swap(0, Ordering::SeqCst);
        if fault == Fault::Unavailable as u8 {
            return Err(KeyStoreError::Unavailable("a test took it away".to_owned()));
        }
        if fault == Fault::OtherBytes as u8 {
            return self.inner.sign(label, algorithm, SignInput::Message(b"other bytes")).await;
        }
        let mut signature = self.inner.sign(label, algorithm, input).await?;
        if fault == Fault::FlippedBit as u8
            && let Some(last) = signature.last_mut()
        {
            *last ^= 1;
        }
        Ok(signature)
    }

    async fn health(&self) -> Result<(), KeyStoreError> {
        self.inner.health().await
    }
}
