//! Authority keys as sealed files in one directory.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use ca_core::model::KeyLabel;
use ca_core::pki::SignatureAlgorithm;
use ca_core::ports::{GenerateKey, KeyInfo, KeyStore, KeyStoreError, SignInput};

use crate::files::private_directory;
use crate::pair::{self, Pair};
use crate::sealed::{self, Description, Kind};
use crate::{OsRandom, SealError, Unsealer};

const EXTENSION: &str = "sealed";
const MAX_KEYS: usize = 1000;

/// Keeps each authority key in `{label}.sealed`. A key is unsealed at its first use, which with a passphrase takes
/// a tenth of a second and blocks the calling thread, and stays in memory: a signature reads no file.
///
/// ECDSA and RSA keys sign messages and digests; Ed25519 keys sign messages only.
pub struct SoftwareKeyStore {
    directory: PathBuf,
    unsealer: Unsealer,
    unsealed: RwLock<HashMap<KeyLabel, Arc<Pair>>>,
}

impl SoftwareKeyStore {
    /// Opens the store in `directory`, creating the directory (0700) where it is missing. The secret is tried when
    /// the first key is used; [`KeyStore::list`] tries it on every key.
    ///
    /// # Errors
    /// When the directory cannot be made, or others may change it.
    pub fn open(directory: impl AsRef<Path>, unsealer: Unsealer) -> Result<Self, KeyStoreError> {
        let directory = directory.as_ref().to_owned();
        private_directory(&directory).map_err(to_store_error)?;
        Ok(Self { directory, unsealer, unsealed: RwLock::default() })
    }

    fn path(&self, label: &KeyLabel) -> PathBuf {
        self.directory.join(format!("{label}.{EXTENSION}"))
    }

    fn pair(&self, label: &KeyLabel) -> Result<Arc<Pair>, KeyStoreError> {
        // A poisoned lock guards a map that is whole at any moment.
        if let Some(pair) = self.unsealed.read().unwrap_or_else(PoisonError::into_inner).get(label) {
            return Ok(Arc::clone(pair));
        }
        let path = self.path(label);
        let (algorithm, pkcs8) = sealed::open(&path, Kind::AuthorityKey, Some(label.as_str()), &self.unsealer).map_err(|e| match e {
            SealError::NotFound(_) => KeyStoreError::NotFound(label.clone()),
            other => to_store_error(other),
        })?;
        let pair = algorithm
            .and_then(|algorithm| Pair::from_pkcs8(algorithm, &pkcs8))
            .ok_or_else(|| to_store_error(SealError::damaged(&path, "it holds no key of the named algorithm")))?;
        let mut unsealed = self.unsealed.write().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(unsealed.entry(label.clone()).or_insert_with(|| Arc::new(pair))))
    }

    fn info(&self, label: &KeyLabel) -> Result<KeyInfo, KeyStoreError> {
        let pair = self.pair(label)?;
        Ok(KeyInfo { label: label.clone(), algorithm: pair.algorithm(), public_key: pair.public_key().clone() })
    }

    fn labels(&self) -> Result<Vec<KeyLabel>, KeyStoreError> {
        let unavailable = |e| to_store_error(SealError::io("list", &self.directory)(e));
        let mut labels = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(unavailable)? {
            let path = entry.map_err(unavailable)?.path();
            if path.extension().is_none_or(|e| e != EXTENSION) {
                continue;
            }
            let label = path.file_stem().and_then(|s| s.to_str()).and_then(|s| s.parse().ok());
            labels.push(label.ok_or_else(|| to_store_error(SealError::damaged(&path, "its name is no key label")))?);
            if labels.len() > MAX_KEYS {
                return Err(KeyStoreError::Unavailable(format!("more than {MAX_KEYS} keys in `{}`", self.directory.display())));
            }
        }
        labels.sort();
        Ok(labels)
    }
}

#[async_trait]
impl KeyStore for SoftwareKeyStore {
    async fn generate(&self, request: GenerateKey) -> Result<KeyInfo, KeyStoreError> {
        let GenerateKey { label, algorithm } = request;
        let path = self.path(&label);
        if fs::symlink_metadata(&path).is_ok() {
            return Err(KeyStoreError::Exists(label));
        }
        let pkcs8 = pair::generate(algorithm).map_err(to_store_error)?;
        let description = Description { name: Some(label.to_string()), algorithm: Some(algorithm), ..Description::of(Kind::AuthorityKey) };
        sealed::create(&path, &description, &pkcs8, &self.unsealer, &OsRandom).map_err(|e| match e {
            SealError::Exists(_) => KeyStoreError::Exists(label.clone()),
            other => to_store_error(other),
        })?;
        // Read back from the disk: a key that cannot be unsealed again must not get a certificate.
        self.info(&label)
    }

    async fn describe(&self, label: &KeyLabel) -> Result<KeyInfo, KeyStoreError> {
        self.info(label)
    }

    async fn list(&self) -> Result<Vec<KeyInfo>, KeyStoreError> {
        self.labels()?.iter().map(|label| self.info(label)).collect()
    }

    async fn sign(&self, label: &KeyLabel, algorithm: SignatureAlgorithm, input: SignInput<'_>) -> Result<Vec<u8>, KeyStoreError> {
        let unsupported = |reason: &str| KeyStoreError::Unsupported { label: label.clone(), reason: reason.to_owned() };
        let pair = self.pair(label)?;
        if pair.algorithm().signature_algorithm() != algorithm {
            return Err(unsupported(&format!("it is a {} key and does not sign as {algorithm:?}", pair.algorithm())));
        }
        match input {
            SignInput::Message(message) => pair.sign(message).map_err(|e| KeyStoreError::Unavailable(e.to_owned())),
            SignInput::Digest(digest) => pair.sign_digest(digest).map_err(unsupported),
        }
    }

    async fn health(&self) -> Result<(), KeyStoreError> {
        private_directory(&self.directory).map_err(to_store_error)
    }
}

fn to_store_error(error: SealError) -> KeyStoreError {
    match error {
        SealError::Unseal(path) => KeyStoreError::Unseal(path.display().to_string()),
        damaged @ SealError::Damaged { .. } => KeyStoreError::Damaged(damaged.to_string()),
        other => KeyStoreError::Unavailable(other.to_string()),
    }
}

impl fmt::Debug for SoftwareKeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SoftwareKeyStore({}, {:?})", self.directory.display(), self.unsealer)
    }
}
