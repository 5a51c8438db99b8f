//! Key store files: a key store named as the configuration's `[keystore]` names it, for keys that live on a device.

use std::path::Path;
use std::sync::Arc;

use ca_core::ports::KeyDevice;
use ca_keystore::{KeyStoreSpec, OpenError};

use crate::Error;
use crate::files::{parent, read};

/// The most bytes of a key store file.
const MAX_BYTES: usize = 64 * 1024;

/// Opens the key store that the TOML file at `path` names; relative paths start at its folder. `what` names it to a
/// person who is asked for its secret.
///
/// # Errors
/// When the file is not of that form, or the store cannot be opened.
pub fn open_key_store(path: &Path, what: &str) -> Result<Arc<dyn KeyDevice>, Error> {
    read_spec(path)?.open(what).map_err(|e| match e {
        OpenError::Store(error) => Error::KeyStore(error),
        other => Error::Secret(format!("the {what}: {other}")),
    })
}

/// Reads a key store file; relative paths start at its folder.
pub(crate) fn read_spec(path: &Path) -> Result<KeyStoreSpec, Error> {
    let bytes = read(path)?;
    let text = std::str::from_utf8(&bytes).ok().filter(|text| text.len() <= MAX_BYTES);
    let text = text.ok_or_else(|| Error::bundle(path, format!("it is not UTF-8 text of at most {MAX_BYTES} bytes")))?;
    let mut spec: KeyStoreSpec = toml::from_str(text).map_err(|e| Error::bundle(path, e.to_string()))?;
    spec.resolve(&parent(path));
    Ok(spec)
}
