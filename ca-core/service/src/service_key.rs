//! The key of one of this CA's own services: sealed for the service itself, its public half for the worker.
//!
//! The worker issues a certificate for it unprompted, where the policy pins its digest. It needs the public half for
//! that and never sees more.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ca_core::pki::{KeyAlgorithm, PublicKey, pem_decode_all, pem_encode};
use ca_core::ports::ServiceKey as _;
use ca_core::profile::check_key;
use ca_keystore::{CredentialError, SoftwareServiceKey, UnsealSpec, Unsealer};

use crate::exit::{Exit, configuration, failure};
use crate::system::SystemRng;

const PUBLIC_KEY: &str = "PUBLIC KEY";
/// The most octets of a public key's file.
const MAX_PUBLIC: u64 = 4096;

/// What opens the service keys. `{ key_file = "…" }` is made where it is missing, for the `keys` commands.
///
/// # Errors
/// When the secret cannot be had.
pub fn unsealer_or_new(spec: &UnsealSpec) -> anyhow::Result<Unsealer> {
    if let UnsealSpec::KeyFile(path) = spec
        && !path.exists()
    {
        make_folder_of(path)?;
        Unsealer::create_file_key(path, &SystemRng)?;
    }
    unsealer(spec)
}

/// What opens the service keys.
///
/// # Errors
/// When the secret cannot be had.
pub fn unsealer(spec: &UnsealSpec) -> anyhow::Result<Unsealer> {
    spec.unsealer("service keys").map_err(|e| {
        // A keyholder may have it sealed, or be away: the next start may find it.
        let exit = if matches!(e, CredentialError::Unavailable(_)) { Exit::Temporary } else { Exit::Configuration };
        failure(exit, format!("the secret of the service keys: {e}"))
    })
}

/// The key at `path`, made where it is missing: of the kind that is `wanted`, or P-256.
///
/// # Errors
/// When it can be neither opened nor made, or is there already and of another kind than `wanted`.
pub fn open_or_new(path: &Path, wanted: Option<KeyAlgorithm>, unsealer: &Unsealer) -> anyhow::Result<SoftwareServiceKey> {
    if path.exists() {
        let key = open(path, unsealer)?;
        return match wanted {
            Some(wanted) if wanted != key.algorithm() => Err(configuration(format!(
                "the service key {} is there already and a {} key, not {wanted} (hint: name another file, and have officers pin the new key's digest)",
                path.display(),
                key.algorithm()
            ))),
            _ => Ok(key),
        };
    }
    make_folder_of(path)?;
    Ok(SoftwareServiceKey::generate(path, wanted.unwrap_or(KeyAlgorithm::P256), unsealer, &SystemRng)?)
}

/// The key at `path`.
///
/// # Errors
/// When it is missing, open to others, damaged, or sealed with another secret.
pub fn open(path: &Path, unsealer: &Unsealer) -> anyhow::Result<SoftwareServiceKey> {
    SoftwareServiceKey::open(path, unsealer)
        .map_err(|e| configuration(format!("the service key: {e} (hint: the configuration names it and what opens it)")))
}

/// Where the public half of the key at `path` stands: `server.pub` beside `server.sealed`.
pub fn public_path(path: &Path) -> PathBuf {
    path.with_extension("pub")
}

/// Writes a public half beside its key, for the worker to read. One that stands there already is compared.
///
/// # Errors
/// When it cannot be written, or is another key's.
pub fn write_public(path: &Path, key: &PublicKey) -> anyhow::Result<()> {
    if path.exists() {
        return match read_public(path)? {
            same if same == *key => Ok(()),
            _ => Err(configuration(format!(
                "{} is the public half of another key (hint: remove it if the key was made anew, and give the new one to the worker and to the officers)",
                path.display()
            ))),
        };
    }
    let wrong = |e| configuration(format!("cannot write {}: {e}", path.display()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path).map_err(wrong)?;
    file.write_all(pem_encode(PUBLIC_KEY, key.spki_der()).as_bytes()).and_then(|()| file.sync_all()).map_err(wrong)
}

/// Reads a public half: PEM, one `PUBLIC KEY` of a kind that certificates are issued for.
///
/// # Errors
/// When it cannot be read or is not one.
pub fn read_public(path: &Path) -> anyhow::Result<PublicKey> {
    use std::io::Read as _;
    let wrong = |e: &dyn std::fmt::Display| {
        configuration(format!(
            "the public key {}: {e} (hint: `keys` at the service writes it, as a .pub file beside its key)",
            path.display()
        ))
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|e| wrong(&e))?;
    file.take(MAX_PUBLIC).read_to_string(&mut text).map_err(|e| wrong(&e))?;
    let mut found = pem_decode_all(&text, PUBLIC_KEY).map_err(|e| wrong(&e))?;
    match (found.pop(), found.is_empty()) {
        (Some(der), true) => {
            let key = PublicKey::from_spki_der(der);
            check_key(&key).map_err(|e| wrong(&e))?;
            Ok(key)
        }
        _ => Err(wrong(&"it does not hold exactly one PUBLIC KEY")),
    }
}

/// Makes the folder of a file (0700) where it is missing.
///
/// # Errors
/// When it cannot be made.
pub fn make_folder_of(path: &Path) -> anyhow::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let wrong =
        |e| configuration(format!("cannot make {}: {e} (hint: make it, owned by the user that this service runs as)", folder.display()));
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_its_public_half_goes_to_the_worker() {
        let folder = tempfile::tempdir().unwrap();
        let (secret, path) = (folder.path().join("a/service.key"), folder.path().join("b/server.sealed"));
        let spec = UnsealSpec::KeyFile(secret);
        assert!(unsealer(&spec).unwrap_err().to_string().contains("service.key"), "nothing is made where nobody asked");
        let unsealer = unsealer_or_new(&spec).unwrap();
        let made = open_or_new(&path, None, &unsealer).unwrap();
        let public = public_path(&path);
        for _ in 0..2 {
            write_public(&public, open_or_new(&path, None, &unsealer).unwrap().public_key()).unwrap();
        }
        assert_eq!(read_public(&public).unwrap(), *made.public_key());

        assert_eq!(made.algorithm(), KeyAlgorithm::P256);
        let error = open_or_new(&path, Some(KeyAlgorithm::P384), &unsealer).unwrap_err().to_string();
        assert!(error.contains("p256 key, not p384") && error.contains("hint:"), "{error}");

        // The longest public half: ML-DSA-87.
        let path = folder.path().join("other.sealed");
        let other = open_or_new(&path, Some(KeyAlgorithm::MlDsa87), &unsealer).unwrap();
        write_public(&public_path(&path), other.public_key()).unwrap();
        assert_eq!(read_public(&public_path(&path)).unwrap(), *other.public_key());
        let error = write_public(&public, other.public_key()).unwrap_err().to_string();
        assert!(error.contains("another key") && error.contains("hint:"), "{error}");
        for bad in [String::new(), "x".repeat(10_000), std::fs::read_to_string(&public).unwrap().repeat(2)] {
            std::fs::write(&public, bad).unwrap();
            assert!(read_public(&public).unwrap_err().to_string().contains("hint:"));
        }
    }
}
