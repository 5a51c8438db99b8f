//! One request and one answer a connection, each a line of JSON, bounded in size; the socket's timeouts bound the time.

use std::io::{self, Read, Write};

use ca_core::model::{CredentialName, HolderName};
use ca_core::pki::{Sha256Digest, Timestamp};
use ca_core::policy::Unlock;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::shares::{Purpose, Share};

/// The longest request.
pub const MAX_REQUEST: usize = 4 * 1024;
/// The longest answer.
pub const MAX_ANSWER: usize = 64 * 1024;

/// What the keyholder is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// How the credentials are.
    Status,
    /// A holder gives a share.
    Give {
        /// The share.
        share: Share,
    },
    /// The credential itself, for a process that may have it.
    Take {
        /// Which.
        credential: CredentialName,
    },
    /// To forget a credential, or all of them, at once.
    Seal {
        /// Which; none: all.
        credential: Option<CredentialName>,
    },
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Answer {
    /// How the credentials are.
    Status {
        /// Each of them.
        credentials: Vec<CredentialStatus>,
    },
    /// The share is good.
    Accepted {
        /// How many more are needed; 0: it is unsealed.
        missing: usize,
    },
    /// The credential.
    Credential {
        /// What it opens.
        purpose: Purpose,
        /// How it came to be unsealed.
        unlock: Unlock,
        /// Its bytes in base64.
        secret: Zeroizing<String>,
    },
    /// These are sealed now.
    Sealed {
        /// Those that were unsealed, wholly or in part.
        credentials: Vec<CredentialName>,
    },
    /// It was not done.
    Refused {
        /// Why, for programs.
        why: Refusal,
        /// Why, for people, with the remedy.
        message: String,
    },
}

/// Why a request was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// This user may not.
    Denied,
    /// There is no such credential.
    Unknown,
    /// It is sealed: shares are missing.
    Sealed,
    /// The share is not a good one.
    Share,
    /// Too many wrong shares lately.
    Later,
    /// The request was not understood, or the keyholder could not do its part.
    Failed,
}

/// A share that was given.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GivenShare {
    /// By whom.
    pub holder: HolderName,
    /// When.
    pub at: Timestamp,
    /// From which user's process.
    pub uid: u32,
}

/// How one credential is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialStatus {
    /// Which.
    pub name: CredentialName,
    /// What it opens.
    pub purpose: Purpose,
    /// How it is unsealed.
    pub unlock: Unlock,
    /// Whether it is.
    pub unsealed: bool,
    /// Its set of shares; none for host-sealed ones.
    pub set: Option<Sha256Digest>,
    /// How many shares open it; 0 for host-sealed ones.
    pub threshold: u8,
    /// Everyone who has a share.
    pub holders: Vec<HolderName>,
    /// Who has given one: towards unsealing it, or those that did.
    pub given: Vec<GivenShare>,
}

/// Reads one line of at most `max` bytes.
///
/// # Errors
/// When it is longer, cut off or not understood; the text of a share never stands in the error.
pub fn read_line<T: DeserializeOwned>(from: &mut impl Read, max: usize) -> io::Result<T> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    // The whole capacity at once: a growing buffer would leave copies of a secret behind.
    let mut line = Zeroizing::new(Vec::with_capacity(max));
    while line.last() != Some(&b'\n') {
        let room = max - line.len();
        if room == 0 {
            return Err(wrong("the line is too long"));
        }
        let mut chunk = Zeroizing::new([0u8; 1024]);
        let n = from.read(&mut chunk[..room.min(1024)])?;
        if n == 0 {
            return Err(wrong("the line was cut off"));
        }
        line.extend_from_slice(&chunk[..n]);
    }
    // The parser's own words may quote the input.
    serde_json::from_slice(&line).map_err(|_| wrong("the line was not understood (hint: are both sides of the same version?)"))
}

/// Writes one line of at most `max` bytes.
///
/// # Errors
/// When it is longer, or the other side has gone.
pub fn write_line<T: Serialize>(to: &mut impl Write, value: &T, max: usize) -> io::Result<()> {
    let mut line = Zeroizing::new(Vec::with_capacity(max));
    serde_json::to_writer(&mut *line, value)?;
    if line.len() >= max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the line is too long"));
    }
    line.push(b'\n');
    to.write_all(&line)?;
    to.flush()
}
