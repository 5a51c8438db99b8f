//! The secret that opens sealed files.

use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ca_core::ports::Rng;
use zeroize::Zeroizing;

use crate::files::{create_exclusive, read_private};
use crate::{SealError, random};

const FILE_KEY_MAGIC: &str = "countersign-file-key/1 ";
pub(crate) const MAX_PASSPHRASE: usize = 1024;

/// What opens sealed files: a passphrase that a person knows, or a key that a file holds. It comes from a file, a
/// descriptor or the terminal, never from arguments or the environment.
#[derive(Clone)]
pub enum Unsealer {
    /// A passphrase, stretched by Argon2id.
    Passphrase(Zeroizing<Vec<u8>>),
    /// 32 random bytes, for hosts that start unattended. Whoever reads the file has the keys.
    FileKey(Zeroizing<[u8; 32]>),
}

impl Unsealer {
    /// Reads a file key.
    ///
    /// # Errors
    /// When the file is missing, open to others, or not a file key.
    pub fn file_key_from(path: impl AsRef<Path>) -> Result<Self, SealError> {
        let path = path.as_ref();
        let bytes = read_private(path, 128)?;
        let wrong = || SealError::damaged(path, "not a file key");
        let text = std::str::from_utf8(&bytes).map_err(|_| wrong())?;
        let text = text.strip_prefix(FILE_KEY_MAGIC).ok_or_else(wrong)?.trim_end_matches('\n');
        let mut key = Zeroizing::new([0u8; 32]);
        match STANDARD.decode_slice(text, key.as_mut_slice()) {
            Ok(32) => Ok(Self::FileKey(key)),
            _ => Err(wrong()),
        }
    }

    /// Makes a file key: mode 0600, durable, and never over an existing file.
    ///
    /// # Errors
    /// When the file exists or cannot be written.
    pub fn create_file_key(path: impl AsRef<Path>, rng: &dyn Rng) -> Result<Self, SealError> {
        let key = Zeroizing::new(random::<32>(rng));
        create_exclusive(path.as_ref(), file_key_text(&key).as_bytes(), rng)?;
        Ok(Self::FileKey(key))
    }

    /// Reads a passphrase from a file or a descriptor (`/dev/fd/3`), without the line's end.
    ///
    /// # Errors
    /// When the file is missing, open to others, empty, or longer than 1,024 bytes.
    pub fn passphrase_from_file(path: impl AsRef<Path>) -> Result<Self, SealError> {
        secret_from_file(path.as_ref()).map(Self::Passphrase)
    }

    pub(crate) const fn sort(&self) -> &'static str {
        match self {
            Self::Passphrase(_) => "passphrase",
            Self::FileKey(_) => "file key",
        }
    }
}

/// A file key as [`Unsealer::file_key_from`] reads it.
pub fn file_key_text(key: &[u8; 32]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(128));
    text.push_str(FILE_KEY_MAGIC);
    STANDARD.encode_string(key, &mut text);
    text.push('\n');
    text
}

/// Reads a secret from a file or a descriptor, without the line's end.
pub(crate) fn secret_from_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let mut bytes = read_private(path, MAX_PASSPHRASE + 2)?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    if bytes.is_empty() || bytes.len() > MAX_PASSPHRASE {
        return Err(SealError::damaged(path, "a secret has 1 to 1024 bytes"));
    }
    Ok(bytes)
}

impl fmt::Debug for Unsealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unsealer({})", self.sort())
    }
}
