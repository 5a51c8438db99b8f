//! Why custody did not do what it was asked.

use std::io;
use std::path::{Path, PathBuf};

use ca_keystore::SealError;
use ca_keystore::keyholder::{KeyholderError, Refusal};
use ca_keystore::shares::ShareError;

/// An error; the text names the cause and the remedy. It never carries a secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system or the operating system did not do it.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A sealed file was not made or opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Shares were refused.
    #[error(transparent)]
    Share(#[from] ShareError),
    /// The keyholder refused.
    #[error(transparent)]
    Keyholder(#[from] KeyholderError),
    /// A file is not what it should be.
    #[error("{}: {reason}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A passphrase was not had, or is not good enough.
    #[error("the passphrase of `{holder}`: {reason}")]
    Passphrase {
        /// Whose.
        holder: String,
        /// Why.
        reason: String,
    },
    /// What the credential is for did not take it. The shares are made and good.
    #[error(
        "the shares are made and verified, and what they are for did not take the credential: {0} (hint: the set was never used: move its folder away and make another, or give it by way of the keyholder)"
    )]
    Handing(String),
    /// The process could not be closed to others, so it holds nothing.
    #[error("{0}")]
    Hardening(String),
    /// It was called wrongly.
    #[error("{0}")]
    Usage(String),
}

impl Error {
    pub(crate) fn io<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io { what, path: path.to_owned(), source }
    }

    pub(crate) fn file(path: &Path, reason: impl Into<String>) -> Self {
        Self::File { path: path.to_owned(), reason: reason.into() }
    }

    /// The process exit code: 2 usage, 3 configuration, 4 refused, 5 try again, 1 everything else.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::File { .. } => 3,
            Self::Share(_) => 4,
            Self::Keyholder(KeyholderError::Refused { why, .. }) => match why {
                Refusal::Denied | Refusal::Unknown | Refusal::Share => 4,
                Refusal::Sealed | Refusal::Later => 5,
                Refusal::Failed => 1,
            },
            Self::Keyholder(KeyholderError::Away { .. }) => 5,
            Self::Io { .. } | Self::Seal(_) | Self::Keyholder(_) | Self::Passphrase { .. } | Self::Handing(_) | Self::Hardening(_) => 1,
        }
    }
}
