//! A device that tells something else about itself or its keys than what is so.

use std::sync::Arc;

use async_trait::async_trait;
use ca_core::model::KeyLabel;
use ca_core::pki::SignatureAlgorithm;
use ca_core::ports::{
    Attestation, DeviceIdentity, DeviceLog, DeviceObject, GenerateKey, KeyAttributes, KeyDevice, KeyInfo, KeyStore, KeyStoreError,
    SignInput, WrappedKey,
};

/// Changes what a device says of a key.
pub type Change = Arc<dyn Fn(&mut KeyAttributes) + Send + Sync>;

/// Wraps a device; what is not set goes through.
pub struct OddDevice {
    inner: Arc<dyn KeyDevice>,
    /// Who it says that it is.
    pub identity: Option<DeviceIdentity>,
    /// What it says of keys.
    pub attributes: Option<Change>,
    /// Its proof that it made a key.
    pub attestation: Option<Attestation>,
    /// It signs this in place of what it is asked to.
    pub signs_instead: Option<Vec<u8>>,
    /// In what it says that it differs from a freshly reset one.
    pub deviations: Option<Vec<String>>,
}

impl OddDevice {
    /// A wrapper that changes nothing yet.
    pub fn new(inner: Arc<dyn KeyDevice>) -> Self {
        Self { inner, identity: None, attributes: None, attestation: None, signs_instead: None, deviations: None }
    }
}

#[async_trait]
impl KeyStore for OddDevice {
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
        match &self.signs_instead {
            Some(other) => self.inner.sign(label, algorithm, SignInput::Message(other)).await,
            None => self.inner.sign(label, algorithm, input).await,
        }
    }

    async fn health(&self) -> Result<(), KeyStoreError> {
        self.inner.health().await
    }
}

#[async_trait]
impl KeyDevice for OddDevice {
    async fn identity(&self) -> Result<DeviceIdentity, KeyStoreError> {
        match &self.identity {
            Some(identity) => Ok(identity.clone()),
            None => self.inner.identity().await,
        }
    }

    async fn inventory(&self) -> Result<Vec<DeviceObject>, KeyStoreError> {
        self.inner.inventory().await
    }

    async fn deviations_from_reset(&self) -> Result<Vec<String>, KeyStoreError> {
        match &self.deviations {
            Some(deviations) => Ok(deviations.clone()),
            None => self.inner.deviations_from_reset().await,
        }
    }

    async fn attributes(&self, label: &KeyLabel) -> Result<KeyAttributes, KeyStoreError> {
        let mut found = self.inner.attributes(label).await?;
        if let Some(change) = &self.attributes {
            change(&mut found);
        }
        Ok(found)
    }

    async fn attest(&self, label: &KeyLabel) -> Result<Option<Attestation>, KeyStoreError> {
        match &self.attestation {
            Some(attestation) => Ok(Some(attestation.clone())),
            None => self.inner.attest(label).await,
        }
    }

    async fn export_wrapped(&self, label: &KeyLabel, wrapping_key: &str) -> Result<WrappedKey, KeyStoreError> {
        self.inner.export_wrapped(label, wrapping_key).await
    }

    async fn import_wrapped(&self, wrapped: &WrappedKey) -> Result<KeyInfo, KeyStoreError> {
        self.inner.import_wrapped(wrapped).await
    }

    async fn destroy(&self, label: &KeyLabel) -> Result<(), KeyStoreError> {
        self.inner.destroy(label).await
    }

    async fn log(&self) -> Result<Option<DeviceLog>, KeyStoreError> {
        self.inner.log().await
    }

    async fn acknowledge_log(&self, number: u64) -> Result<(), KeyStoreError> {
        self.inner.acknowledge_log(number).await
    }
}

/// A signature off the record, as somebody makes it who has the key store's credential.
///
/// # Errors
/// Those of the key store.
pub async fn sign_off_the_record(
    keys: &(impl KeyStore + ?Sized),
    label: &KeyLabel,
    algorithm: SignatureAlgorithm,
    message: &[u8],
) -> Result<Vec<u8>, KeyStoreError> {
    keys.sign(label, algorithm, SignInput::Message(message)).await
}
