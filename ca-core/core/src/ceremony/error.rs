//! Why a ceremony goes no further.

use crate::evidence::sshsig::SshSigError;
use crate::policy::PolicyError;

/// Why a ceremony, or its result, is refused.
#[derive(Debug, thiserror::Error)]
pub enum CeremonyError {
    /// A document does not parse.
    #[error("the {what} does not parse: {reason}")]
    Syntax {
        /// Which document.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// A document parses and is refused.
    #[error("the {what} is refused: {reason}")]
    Refused {
        /// Which document.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// The policy in it is none.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A signature does not count.
    #[error("a signature over the {what} does not count: {source}")]
    Signature {
        /// Over what.
        what: &'static str,
        /// Why.
        source: SshSigError,
    },
    /// A signature by someone who is not on the roster.
    #[error("a signature over the {what} is by {fingerprint}, a key of none of the officers")]
    NotAnOfficer {
        /// Over what.
        what: &'static str,
        /// Whose.
        fingerprint: String,
    },
    /// Too few people signed.
    #[error("{} of {needed} officers signed the {what}{}", signed.len(), by(signed))]
    Quorum {
        /// What.
        what: &'static str,
        /// How many people must.
        needed: u32,
        /// Who did.
        signed: Vec<String>,
    },
    /// The transcript is broken.
    #[error("transcript line {line}: {reason}")]
    Transcript {
        /// Its line, from 1.
        line: usize,
        /// Why.
        reason: String,
    },
}

impl CeremonyError {
    pub(crate) fn refused(what: &'static str, reason: impl Into<String>) -> Self {
        Self::Refused { what, reason: reason.into() }
    }
}

fn by(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!(" (so far: {})", names.join(", ")) }
}
