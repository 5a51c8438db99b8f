//! What a ceremony and an auditor ask of the device behind a key store: who it is, what it holds, what it can prove.
//!
//! Signing is not here: that is [`KeyStore`]'s, for [`crate::issuance`] alone. A backend that cannot do one of these
//! says so by `None` or by [`KeyStoreError::Unsupported`]; it never pretends.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{KeyInfo, KeyStore, KeyStoreError};
use crate::model::KeyLabel;
use crate::pki::{KeyAlgorithm, PublicKey};

/// The kind of device.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceKind {
    /// Sealed files in a folder.
    Software,
    /// A PKCS#11 token.
    Pkcs11,
    /// A YubiHSM 2, natively.
    YubiHsm2,
}

/// A firmware version, compared number by number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FirmwareVersion(pub u8, pub u8, pub u8);

impl fmt::Display for FirmwareVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl From<FirmwareVersion> for String {
    fn from(version: FirmwareVersion) -> Self {
        version.to_string()
    }
}

impl TryFrom<String> for FirmwareVersion {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut parts = text.split('.').map(str::parse::<u8>);
        let mut next = |needed: bool| match parts.next() {
            Some(Ok(n)) => Ok(n),
            None if !needed => Ok(0),
            _ => Err(format!("`{text}` is not a firmware version (hint: write it as 2.4.0)")),
        };
        let version = Self(next(true)?, next(true)?, next(false)?);
        if parts.next().is_some() { Err(format!("`{text}` is not a firmware version (hint: write it as 2.4.0)")) } else { Ok(version) }
    }
}

/// Who a device is, as the device says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceIdentity {
    /// Its kind.
    pub kind: DeviceKind,
    /// Its maker and model.
    pub model: String,
    /// Its serial number, which a plan pins (ceremony requirement 3).
    pub serial: String,
    /// Its firmware; none where there is no such thing.
    pub firmware: Option<FirmwareVersion>,
}

/// An object in the device, whoever made it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceObject {
    /// What it is, in the device's own terms: `private-key`, `public-key`, `authentication-key`, `wrap-key`, `certificate`, …
    pub kind: String,
    /// Its id in the device, in the device's own form.
    pub id: String,
    /// Its label.
    pub label: String,
    /// Its algorithm, in the device's own terms; empty where there is none.
    pub algorithm: String,
}

/// What may be done with a private key, read back from the device (ceremony requirement 19).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyAttributes {
    /// The device made it; it was not imported.
    pub made_inside: bool,
    /// Its value can't be read in the clear.
    pub sensitive: bool,
    /// It can leave the device wrapped.
    pub extractable: bool,
    /// Where it can: only under a trusted wrapping key.
    pub wrap_with_trusted_only: bool,
    /// What it can do, in the device's own terms.
    pub capabilities: Vec<String>,
    /// The device's domains that it is in; empty where there is no such thing.
    pub domains: Vec<u16>,
}

/// The device's proof that it made a key (ceremony requirement 21).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attestation {
    /// DER certificates, the key's first, each signed by the next; the last one's issuer is the maker's.
    pub chain: Vec<Vec<u8>>,
}

/// A private key that left its device under a wrapping key, for a backup device.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrappedKey {
    /// Its label.
    pub label: KeyLabel,
    /// Its algorithm.
    pub algorithm: KeyAlgorithm,
    /// Its public half, which the copy must yield again.
    pub public_key: PublicKey,
    /// The wrapping key, in the device's own terms.
    pub wrapping_key: String,
    /// The wrapped bytes, opaque to all but a device that has the wrapping key.
    #[serde(with = "crate::model::bytes")]
    pub bytes: Vec<u8>,
}

/// One entry of a device's own log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceLogEntry {
    /// Its number, as the device counts; it may wrap around.
    pub number: u64,
    /// The command, in the device's own terms, for example `sign-ecdsa`.
    pub command: String,
    /// The label of the key that it used, where it is known.
    pub key: Option<KeyLabel>,
    /// Whether it asked for a signature by a private key.
    pub is_signature: bool,
    /// Whether the device did it.
    pub succeeded: bool,
    /// The entry as the device wrote it, with the digest that chains it.
    #[serde(with = "crate::model::bytes")]
    pub raw: Vec<u8>,
}

/// What a device's log holds now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceLog {
    /// Entries that were not acknowledged, oldest first.
    pub entries: Vec<DeviceLogEntry>,
    /// Boots that the device could not log, because the log was full.
    pub unlogged_boots: u64,
    /// Authentications that it could not log.
    pub unlogged_authentications: u64,
}

/// A key store with a device behind it.
#[async_trait]
pub trait KeyDevice: KeyStore {
    /// Who the device is.
    async fn identity(&self) -> Result<DeviceIdentity, KeyStoreError>;

    /// Every object that this session can see, sorted.
    async fn inventory(&self) -> Result<Vec<DeviceObject>, KeyStoreError>;

    /// In what the device differs from a freshly reset one, for people to read; empty: in nothing (ceremony
    /// requirement 17).
    async fn deviations_from_reset(&self) -> Result<Vec<String>, KeyStoreError>;

    /// What may be done with a key, read back from the device.
    async fn attributes(&self, label: &KeyLabel) -> Result<KeyAttributes, KeyStoreError>;

    /// The device's proof that it made the key; none where it cannot attest.
    async fn attest(&self, label: &KeyLabel) -> Result<Option<Attestation>, KeyStoreError>;

    /// Wraps a key for a backup. The key must have been made exportable under `wrapping_key`.
    async fn export_wrapped(&self, label: &KeyLabel, wrapping_key: &str) -> Result<WrappedKey, KeyStoreError>;

    /// Brings a wrapped key in. A label that exists is [`KeyStoreError::Exists`]. When this returns, the key is
    /// durable, and its public half is the wrapped one's.
    async fn import_wrapped(&self, wrapped: &WrappedKey) -> Result<KeyInfo, KeyStoreError>;

    /// Destroys a key. When this returns, it is gone for good (ceremony requirement 40).
    async fn destroy(&self, label: &KeyLabel) -> Result<(), KeyStoreError>;

    /// The device's log; none where it keeps none. Reading does not move it.
    async fn log(&self) -> Result<Option<DeviceLog>, KeyStoreError>;

    /// Lets the device forget entries up to and including `number`. Call it once they are durable here.
    async fn acknowledge_log(&self, number: u64) -> Result<(), KeyStoreError>;
}
