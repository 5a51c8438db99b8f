//! Why this crate did not do what it was asked.

use std::path::{Path, PathBuf};

use ca_core::ceremony::CeremonyError;
use ca_core::ports::{KeyStoreError, StoreError};

/// An error of a ceremony; the text names the file and the remedy where there is one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system did not do it.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file is refused for what is in it.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: CeremonyError,
    },
    /// A file is not what the ceremony wrote, or should not be there.
    #[error("{}: {reason}", path.display())]
    Bundle {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The plan, or what follows from it, is refused.
    #[error(transparent)]
    Ceremony(#[from] CeremonyError),
    /// The key store refused.
    #[error(transparent)]
    KeyStore(#[from] KeyStoreError),
    /// The transcript refused.
    #[error("the transcript: {0}")]
    Store(#[from] StoreError),
    /// A key store already has a key that this ceremony did not make.
    #[error(
        "a key labelled `{0}` exists already and this transcript knows nothing of it; nothing was made (hint: choose another label in a new plan, or another key store)"
    )]
    ForeignKey(ca_core::model::KeyLabel),
    /// The tool, the machine or a device is not what the plan says.
    #[error("{0}; nothing was done")]
    Surroundings(String),
    /// Something could not be prepared, signed or verified.
    #[error("{what}: {reason}")]
    Issuance {
        /// What.
        what: String,
        /// Why.
        reason: String,
    },
    /// A secret could not be read.
    #[error("{0}")]
    Secret(String),
    /// Shares were not dealt, opened or recombined.
    #[error(transparent)]
    Custody(#[from] ca_custody::Error),
    /// What credentials open was not opened or changed.
    #[error("{what}: {source}")]
    Lock {
        /// What.
        what: String,
        /// Why.
        source: ca_keystore::LockError,
    },
    /// The run lacks something that the plan works with.
    #[error("{0}")]
    Missing(String),
    /// Another process holds the bundle.
    #[error("another process works on {} (hint: let it end)", .0.display())]
    Busy(PathBuf),
}

impl Error {
    pub(crate) fn io<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> Self + 'a {
        move |source| Self::Io { what, path: path.to_owned(), source }
    }

    pub(crate) fn file(path: &Path) -> impl FnOnce(CeremonyError) -> Self + '_ {
        move |source| Self::File { path: path.to_owned(), source }
    }

    pub(crate) fn bundle(path: &Path, reason: impl Into<String>) -> Self {
        Self::Bundle { path: path.to_owned(), reason: reason.into() }
    }

    pub(crate) fn issuance(what: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self::Issuance { what: what.into(), reason: reason.to_string() }
    }

    /// The process exit code: 4 refused, 5 try again, 1 everything else.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::File { .. } | Self::Bundle { .. } | Self::Ceremony(_) | Self::ForeignKey(_) | Self::Surroundings(_) => 4,
            Self::Busy(_) | Self::KeyStore(KeyStoreError::Unavailable(_)) | Self::Store(StoreError::Unavailable(_)) => 5,
            Self::Custody(error) => error.exit_code(),
            Self::Lock { source, .. } if source.is_passing() => 5,
            Self::Io { .. }
            | Self::Lock { .. }
            | Self::KeyStore(_)
            | Self::Store(_)
            | Self::Issuance { .. }
            | Self::Secret(_)
            | Self::Missing(_) => 1,
        }
    }
}
