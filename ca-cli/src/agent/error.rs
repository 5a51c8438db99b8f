//! What can go wrong, sorted by what the caller should do: the sort is the exit code.

use std::io;
use std::path::Path;

/// Why a step of the agent failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum AgentError {
    /// Something on this machine: files, keys, the hook.
    #[error("{0}")]
    Local(String),
    /// The options or a file that they name are wrong.
    #[error("{0}")]
    Configuration(String),
    /// The CA refuses, and will go on doing so until someone changes something.
    #[error("the CA refuses: {0}")]
    Refused(String),
    /// The CA does not know the account any more, or it has ended: deactivated, or revoked with its grant.
    #[error("this account is of no more use at the CA: {0} (hint: give --eab-kid and --eab-hmac-file of a grant in use to make a new one)")]
    UnknownAccount(String),
    /// The CA is away or busy; trying again helps.
    #[error("the CA did not answer as it should: {0} (hint: it is tried again by itself; check --directory and --ca-bundle)")]
    Temporary(String),
}

impl AgentError {
    /// The exit code of `ca agent enrol`.
    pub(super) const fn exit_code(&self) -> u8 {
        match self {
            Self::Local(_) => 1,
            Self::Configuration(_) => 3,
            Self::Refused(_) | Self::UnknownAccount(_) => 4,
            Self::Temporary(_) => 5,
        }
    }

    /// An error of the file system.
    pub(super) fn io(action: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let text = format!("cannot {action} `{}`", path.display());
        move |e| Self::Local(format!("{text}: {e}"))
    }
}

/// What kind of ACME problem it is: the last part of its URN; empty for what is none of them.
pub(super) fn kind_of(problem: &instant_acme::Problem) -> &str {
    problem.r#type.as_deref().and_then(|urn| urn.strip_prefix("urn:ietf:params:acme:error:")).unwrap_or_default()
}

impl From<instant_acme::Error> for AgentError {
    fn from(error: instant_acme::Error) -> Self {
        use instant_acme::Error;
        match error {
            Error::Api(problem) => {
                // RFC 8555 §6.7, RFC 9773 §7.4: those that trying again does not change.
                match kind_of(&problem) {
                    "accountDoesNotExist" => Self::UnknownAccount(problem.to_string()),
                    // RFC 8555 §7.3.6: 401 is for accounts that have ended; whatever else an account may not do is 403.
                    "unauthorized" if problem.status == Some(401) => Self::UnknownAccount(problem.to_string()),
                    "badCSR"
                    | "badPublicKey"
                    | "badSignatureAlgorithm"
                    | "caa"
                    | "compound"
                    | "externalAccountRequired"
                    | "invalidContact"
                    | "invalidProfile"
                    | "malformed"
                    | "rejectedIdentifier"
                    | "unauthorized"
                    | "unsupportedIdentifier"
                    | "userActionRequired" => Self::Refused(problem.to_string()),
                    _ => Self::Temporary(problem.to_string()),
                }
            }
            Error::Crypto | Error::KeyRejected => Self::Local(error.to_string()),
            Error::InvalidUri(_) | Error::Unsupported(_) => Self::Configuration(error.to_string()),
            other => Self::Temporary(other.to_string()),
        }
    }
}
