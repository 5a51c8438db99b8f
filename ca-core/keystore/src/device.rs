//! What a folder of sealed files can say as a device: who it is, what it holds, and backups.
//!
//! It keeps no log and attests nothing, and says so. Deliberately absent: any claim that the operating system's
//! administrator could not read a key in memory.

use std::fs;
use std::path::Path;

use async_trait::async_trait;
use ca_core::model::KeyLabel;
use ca_core::pki::hex;
use ca_core::ports::{
    Attestation, DeviceIdentity, DeviceKind, DeviceLog, DeviceObject, KeyAttributes, KeyDevice, KeyInfo, KeyStoreError, WrappedKey,
};

use crate::files::{create_exclusive, read_private, shred};
use crate::pair::Pair;
use crate::sealed::{self, Description, Kind};
use crate::store::to_store_error;
use crate::{OsRandom, SealError, SoftwareKeyStore, Unsealer, random};

/// The file that holds the store's serial number.
const SERIAL: &str = "serial";
const SERIAL_MAGIC: &str = "countersign-software-store/1 ";

impl SoftwareKeyStore {
    /// The store's serial number, drawn when it is first asked for.
    fn serial(&self) -> Result<String, SealError> {
        let path = self.directory.join(SERIAL);
        if fs::symlink_metadata(&path).is_err() {
            let drawn = hex(&random::<8>(&OsRandom));
            match create_exclusive(&path, format!("{SERIAL_MAGIC}{drawn}\n").as_bytes(), &OsRandom) {
                // Another process was first: its number counts.
                Ok(()) | Err(SealError::Exists(_)) => {}
                Err(e) => return Err(e),
            }
        }
        let bytes = read_private(&path, 128)?;
        let text = std::str::from_utf8(&bytes).ok().and_then(|t| t.strip_prefix(SERIAL_MAGIC)).map(|t| t.trim_end_matches('\n'));
        match text {
            Some(serial) if serial.len() == 16 && serial.bytes().all(|b| b.is_ascii_hexdigit()) => Ok(serial.to_owned()),
            _ => Err(SealError::damaged(&path, "it holds no serial number")),
        }
    }

    fn wrapping(&self, label: &KeyLabel, name: &str) -> Result<&Unsealer, KeyStoreError> {
        self.wrapping.get(name).ok_or_else(|| KeyStoreError::Unsupported {
            label: label.clone(),
            reason: format!("this store was given no wrapping key `{name}` (hint: --wrapping-key-file)"),
        })
    }
}

#[async_trait]
impl KeyDevice for SoftwareKeyStore {
    async fn identity(&self) -> Result<DeviceIdentity, KeyStoreError> {
        let serial = self.serial().map_err(to_store_error)?;
        Ok(DeviceIdentity { kind: DeviceKind::Software, model: "sealed files".to_owned(), serial, firmware: None })
    }

    async fn inventory(&self) -> Result<Vec<DeviceObject>, KeyStoreError> {
        let object = |label: &KeyLabel| {
            let info = self.info(label)?;
            let (id, label) = (info.label.to_string(), info.label.to_string());
            Ok(DeviceObject { kind: "private-key".to_owned(), id, label, algorithm: info.algorithm.to_string() })
        };
        let mut objects = self.labels()?.iter().map(object).collect::<Result<Vec<_>, KeyStoreError>>()?;
        objects.sort();
        Ok(objects)
    }

    async fn deviations_from_reset(&self) -> Result<Vec<String>, KeyStoreError> {
        Ok(self.labels()?.iter().map(|label| format!("it holds the key `{label}`")).collect())
    }

    async fn attributes(&self, label: &KeyLabel) -> Result<KeyAttributes, KeyStoreError> {
        let held = self.held(label)?;
        Ok(KeyAttributes {
            made_inside: !held.imported,
            // Nothing but this program's own conduct keeps the value from whoever can open the file.
            sensitive: false,
            extractable: held.exportable_under.is_some(),
            wrap_with_trusted_only: held.exportable_under.is_some(),
            capabilities: vec!["sign".to_owned()],
            domains: Vec::new(),
        })
    }

    async fn attest(&self, label: &KeyLabel) -> Result<Option<Attestation>, KeyStoreError> {
        self.held(label).map(|_| None)
    }

    async fn export_wrapped(&self, label: &KeyLabel, wrapping_key: &str) -> Result<WrappedKey, KeyStoreError> {
        let (description, pkcs8) = self.unseal(label)?;
        if description.exportable_under.as_deref() != Some(wrapping_key) {
            let reason = format!("it was not made to leave under the wrapping key `{wrapping_key}`");
            return Err(KeyStoreError::Unsupported { label: label.clone(), reason });
        }
        let KeyInfo { label, algorithm, public_key } = self.info(label)?;
        let wrapped = Description { kind: Kind::WrappedKey, imported: false, ..description };
        let text = sealed::seal(&self.path(&label), &wrapped, &pkcs8, self.wrapping(&label, wrapping_key)?, &OsRandom);
        let bytes = text.map_err(to_store_error)?.into_bytes();
        Ok(WrappedKey { label, algorithm, public_key, wrapping_key: wrapping_key.to_owned(), bytes })
    }

    async fn import_wrapped(&self, wrapped: &WrappedKey) -> Result<KeyInfo, KeyStoreError> {
        let label = &wrapped.label;
        if fs::symlink_metadata(self.path(label)).is_ok() {
            return Err(KeyStoreError::Exists(label.clone()));
        }
        let secret = self.wrapping(label, &wrapped.wrapping_key)?;
        let what = format!("wrapped key {label}");
        let (description, pkcs8) =
            sealed::unseal(Path::new(&what), &wrapped.bytes, Kind::WrappedKey, Some(label.as_str()), secret).map_err(to_store_error)?;
        let pair = description.algorithm.and_then(|algorithm| Pair::from_pkcs8(algorithm, &pkcs8));
        if pair.is_none_or(|p| *p.public_key() != wrapped.public_key || p.algorithm() != wrapped.algorithm) {
            return Err(KeyStoreError::Damaged(format!("the wrapped key `{label}` is not the private half of the key that it names")));
        }
        self.keep(label, &Description { kind: Kind::AuthorityKey, imported: true, ..description }, &pkcs8)?;
        // From the disk, as after generating one.
        self.info(label)
    }

    async fn destroy(&self, label: &KeyLabel) -> Result<(), KeyStoreError> {
        let path = self.path(label);
        if fs::symlink_metadata(&path).is_err() {
            return Err(KeyStoreError::NotFound(label.clone()));
        }
        shred(&path).map_err(to_store_error)?;
        self.forget(label);
        Ok(())
    }

    async fn log(&self) -> Result<Option<DeviceLog>, KeyStoreError> {
        Ok(None)
    }

    async fn acknowledge_log(&self, _number: u64) -> Result<(), KeyStoreError> {
        Err(KeyStoreError::Unavailable("a folder of sealed files keeps no log".to_owned()))
    }
}
