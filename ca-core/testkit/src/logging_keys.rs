//! A device that keeps a log of its own, and a way to sign behind the CA's back.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ca_core::model::KeyLabel;
use ca_core::pki::SignatureAlgorithm;
use ca_core::ports::{
    Attestation, DeviceIdentity, DeviceKind, DeviceLog, DeviceLogEntry, DeviceObject, GenerateKey, KeyAttributes, KeyDevice, KeyInfo,
    KeyStore, KeyStoreError, SignInput, WrappedKey,
};

/// Wraps a key store; each signature becomes an entry of a log that only an acknowledgement shortens.
pub struct LoggingKeys {
    inner: Arc<dyn KeyStore>,
    log: Mutex<(u64, Vec<DeviceLogEntry>)>,
}

impl LoggingKeys {
    /// A device with an empty log.
    pub fn new(inner: Arc<dyn KeyStore>) -> Self {
        Self { inner, log: Mutex::default() }
    }

    /// Signs as somebody would who has the device's credential: the CA knows nothing of it.
    pub async fn sign_behind_the_back(&self, label: &KeyLabel, algorithm: SignatureAlgorithm) {
        crate::sign_off_the_record(self, label, algorithm, b"not on record").await.unwrap();
    }

    /// Loses its newest entry, as a manipulated device would.
    pub fn forget_newest(&self) {
        self.log.lock().unwrap().1.pop();
    }
}

#[async_trait]
impl KeyStore for LoggingKeys {
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
        let signature = self.inner.sign(label, algorithm, input).await;
        let mut log = self.log.lock().unwrap();
        log.0 += 1;
        let number = log.0;
        let entry = DeviceLogEntry {
            number,
            command: "sign".to_owned(),
            key: Some(label.clone()),
            is_signature: true,
            succeeded: signature.is_ok(),
            raw: number.to_be_bytes().to_vec(),
        };
        log.1.push(entry);
        signature
    }

    async fn health(&self) -> Result<(), KeyStoreError> {
        self.inner.health().await
    }
}

#[async_trait]
impl KeyDevice for LoggingKeys {
    async fn identity(&self) -> Result<DeviceIdentity, KeyStoreError> {
        Ok(DeviceIdentity { kind: DeviceKind::Software, model: "test kit".to_owned(), serial: "42".to_owned(), firmware: None })
    }

    async fn inventory(&self) -> Result<Vec<DeviceObject>, KeyStoreError> {
        Ok(Vec::new())
    }

    async fn deviations_from_reset(&self) -> Result<Vec<String>, KeyStoreError> {
        Ok(Vec::new())
    }

    async fn attributes(&self, label: &KeyLabel) -> Result<KeyAttributes, KeyStoreError> {
        Err(unsupported(label))
    }

    async fn attest(&self, _: &KeyLabel) -> Result<Option<Attestation>, KeyStoreError> {
        Ok(None)
    }

    async fn export_wrapped(&self, label: &KeyLabel, _: &str) -> Result<WrappedKey, KeyStoreError> {
        Err(unsupported(label))
    }

    async fn import_wrapped(&self, wrapped: &WrappedKey) -> Result<KeyInfo, KeyStoreError> {
        Err(unsupported(&wrapped.label))
    }

    async fn destroy(&self, label: &KeyLabel) -> Result<(), KeyStoreError> {
        Err(unsupported(label))
    }

    async fn log(&self) -> Result<Option<DeviceLog>, KeyStoreError> {
        let entries = self.log.lock().unwrap().1.clone();
        Ok(Some(DeviceLog { entries, unlogged_boots: 0, unlogged_authentications: 0 }))
    }

    async fn acknowledge_log(&self, number: u64) -> Result<(), KeyStoreError> {
        self.log.lock().unwrap().1.retain(|e| e.number > number);
        Ok(())
    }
}

fn unsupported(label: &KeyLabel) -> KeyStoreError {
    KeyStoreError::Unsupported { label: label.clone(), reason: "the test kit's device only signs and logs".to_owned() }
}
