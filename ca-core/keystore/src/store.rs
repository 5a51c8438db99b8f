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
use zeroize::Zeroizing;

use crate::files::private_directory;
use crate::pair::{self, Pair};
use crate::sealed::{self, Description, Kind};
use crate::{Opening, OsRandom, SealError, Unsealer};

const EXTENSION: &str = "sealed";
const MAX_KEYS: usize = 1000;

/// Keeps each authority key in `{label}.sealed`. A key is unsealed at its first use, which with a passphrase takes
/// a tenth of a second and blocks the calling thread, and stays in memory: a signature reads no file.
///
/// ECDSA and RSA keys sign messages and digests; Ed25519 and ML-DSA keys sign messages only.
pub struct SoftwareKeyStore {
    pub(crate) directory: PathBuf,
    opening: Opening,
    /// Wrapping secrets by name, for backups.
    pub(crate) wrapping: HashMap<String, Unsealer>,
    unsealed: RwLock<HashMap<KeyLabel, Arc<Held>>>,
}

/// A key in memory, with what its file says about it.
pub(crate) struct Held {
    pub(crate) pair: Pair,
    pub(crate) exportable_under: Option<String>,
    pub(crate) imported: bool,
}

impl SoftwareKeyStore {
    /// Opens the store in `directory`, creating the directory (0700) where it is missing. The secret is tried when
    /// the first key is used; [`KeyStore::list`] tries it on every key. Where it is asked of a keyholder that has it
    /// sealed, the store is there and [`KeyStoreError::Unavailable`] until it is unsealed.
    ///
    /// # Errors
    /// When the directory cannot be made, or others may change it.
    pub fn open(directory: impl AsRef<Path>, opening: impl Into<Opening>) -> Result<Self, KeyStoreError> {
        let directory = directory.as_ref().to_owned();
        private_directory(&directory).map_err(to_store_error)?;
        Ok(Self { directory, opening: opening.into(), wrapping: HashMap::new(), unsealed: RwLock::default() })
    }

    /// Adds a wrapping secret, under which keys that were made for it can leave and come in: a passphrase, or a file
    /// key that the stores share.
    #[must_use]
    pub fn with_wrapping_key(mut self, name: &str, secret: Unsealer) -> Self {
        self.wrapping.insert(name.to_owned(), secret);
        self
    }

    pub(crate) fn path(&self, label: &KeyLabel) -> PathBuf {
        self.directory.join(format!("{label}.{EXTENSION}"))
    }

    pub(crate) fn held(&self, label: &KeyLabel) -> Result<Arc<Held>, KeyStoreError> {
        // A poisoned lock guards a map that is whole at any moment.
        if let Some(held) = self.unsealed.read().unwrap_or_else(PoisonError::into_inner).get(label) {
            return Ok(Arc::clone(held));
        }
        let (description, pkcs8) = self.unseal(label)?;
        let Description { algorithm, exportable_under, imported, .. } = description;
        let pair = algorithm
            .and_then(|algorithm| Pair::from_pkcs8(algorithm, &pkcs8))
            .ok_or_else(|| to_store_error(SealError::damaged(&self.path(label), "it holds no key of the named algorithm")))?;
        let held = Arc::new(Held { pair, exportable_under, imported });
        let mut unsealed = self.unsealed.write().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(unsealed.entry(label.clone()).or_insert(held)))
    }

    fn unsealer(&self) -> Result<Unsealer, KeyStoreError> {
        self.opening.unsealer().map_err(|e| KeyStoreError::Unavailable(e.to_string()))
    }

    /// Reads a key's file.
    pub(crate) fn unseal(&self, label: &KeyLabel) -> Result<(Description, Zeroizing<Vec<u8>>), KeyStoreError> {
        sealed::open(&self.path(label), Kind::AuthorityKey, Some(label.as_str()), &self.unsealer()?).map_err(|e| match e {
            SealError::NotFound(_) => KeyStoreError::NotFound(label.clone()),
            other => to_store_error(other),
        })
    }

    /// Seals a key into its new file.
    pub(crate) fn keep(&self, label: &KeyLabel, description: &Description, pkcs8: &[u8]) -> Result<(), KeyStoreError> {
        sealed::create(&self.path(label), description, pkcs8, &self.unsealer()?, &OsRandom).map_err(|e| match e {
            SealError::Exists(_) => KeyStoreError::Exists(label.clone()),
            other => to_store_error(other),
        })
    }

    /// Clears a key from memory.
    pub(crate) fn forget(&self, label: &KeyLabel) {
        self.unsealed.write().unwrap_or_else(PoisonError::into_inner).remove(label);
    }

    pub(crate) fn info(&self, label: &KeyLabel) -> Result<KeyInfo, KeyStoreError> {
        let held = self.held(label)?;
        Ok(KeyInfo { label: label.clone(), algorithm: held.pair.algorithm(), public_key: held.pair.public_key().clone() })
    }

    pub(crate) fn labels(&self) -> Result<Vec<KeyLabel>, KeyStoreError> {
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
        let GenerateKey { label, algorithm, exportable_under } = request;
        if fs::symlink_metadata(self.path(&label)).is_ok() {
            return Err(KeyStoreError::Exists(label));
        }
        if let Some(name) = exportable_under.as_ref().filter(|name| !self.wrapping.contains_key(*name)) {
            let reason = format!("this store was given no wrapping key `{name}`");
            return Err(KeyStoreError::Unsupported { label, reason });
        }
        let pkcs8 = pair::generate(algorithm).map_err(to_store_error)?;
        let description =
            Description { exportable_under, ..Description::new(Kind::AuthorityKey, Some(label.to_string()), Some(algorithm)) };
        self.keep(&label, &description, &pkcs8)?;
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
        let held = self.held(label)?;
        let pair = &held.pair;
        if !pair.algorithm().signs_as(algorithm) {
            return Err(unsupported(&format!("it is a {} key and does not sign as {algorithm:?}", pair.algorithm())));
        }
        match input {
            SignInput::Message(message) => pair.sign(algorithm, message).map_err(|e| KeyStoreError::Unavailable(e.to_owned())),
            SignInput::Digest(digest) => pair.sign_digest(algorithm, digest).map_err(unsupported),
        }
    }

    async fn health(&self) -> Result<(), KeyStoreError> {
        private_directory(&self.directory).map_err(to_store_error)?;
        // What may be sealed is opened as soon as it can be, and what is open stays so.
        match self.opening {
            Opening::Held(_) => Ok(()),
            Opening::Asked { .. } => self.labels()?.iter().try_for_each(|label| self.held(label).map(drop)),
        }
    }
}

pub(crate) fn to_store_error(error: SealError) -> KeyStoreError {
    match error {
        SealError::Unseal(path) => KeyStoreError::Unseal(path.display().to_string()),
        damaged @ SealError::Damaged { .. } => KeyStoreError::Damaged(damaged.to_string()),
        other => KeyStoreError::Unavailable(other.to_string()),
    }
}

impl fmt::Debug for SoftwareKeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SoftwareKeyStore({}, {:?})", self.directory.display(), self.opening)
    }
}
