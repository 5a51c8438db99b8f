//! Why a sealed file could not be made or opened.

use std::io;
use std::path::PathBuf;

/// Why a sealed file, a passphrase file or a file key could not be made or opened. No variant carries a secret.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The file exists already; it was left alone.
    #[error("`{}` exists already; nothing was overwritten (hint: choose another path, or move the old file away)", .0.display())]
    Exists(PathBuf),
    /// No such file.
    #[error("`{}` does not exist", .0.display())]
    NotFound(PathBuf),
    /// Others than the owner may read or change it.
    #[error("`{}` is open to others (mode {mode:04o}); it is not used (hint: chmod {wanted:o} {}; if others may have read it, replace the secret)", path.display(), path.display())]
    Permissions {
        /// Which file or directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// The bits that it should have.
        wanted: u32,
    },
    /// Authentication failed. A wrong secret and a changed file cannot be told apart.
    #[error("cannot unseal `{}`: wrong passphrase or file key, or the file was changed (hint: check which secret belongs to this file)", .0.display())]
    Unseal(PathBuf),
    /// The secret is of the other sort than the file was sealed with.
    #[error("`{}` was sealed with a {sealed_with}, and a {given} was given", path.display())]
    OtherSecret {
        /// Which file.
        path: PathBuf,
        /// What it was sealed with.
        sealed_with: &'static str,
        /// What was given.
        given: &'static str,
    },
    /// The file is not of the expected form.
    #[error("`{}` is damaged or not of this kind: {reason} (hint: restore it from a backup)", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The operating system said no.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The cryptographic library failed, which is not a matter of the input.
    #[error("the cryptographic library could not {0}")]
    Crypto(&'static str),
}

impl SealError {
    pub(crate) fn io(action: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::NotFound => Self::NotFound(path),
            _ => Self::Io { action, path, source },
        }
    }

    pub(crate) fn damaged(path: &std::path::Path, reason: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), reason: reason.into() }
    }
}
