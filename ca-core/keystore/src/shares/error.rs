//! Why shares are refused.

use ca_core::model::{CredentialName, HolderName};
use ca_core::pki::Sha256Digest;

use crate::SealError;

/// Why shares are refused. No variant carries a secret.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// The numbers or names of a set make no sense.
    #[error("a set of shares is refused: {0}")]
    Set(String),
    /// Not enough yet.
    #[error("`{credential}` needs {threshold} shares and has {have}{}: {missing} more (hint: any of {})", given_by(given), list(others))]
    TooFew {
        /// Which credential.
        credential: CredentialName,
        /// How many open it.
        threshold: u8,
        /// How many there are.
        have: usize,
        /// How many are missing.
        missing: usize,
        /// Whose are there.
        given: Vec<HolderName>,
        /// Whose are not.
        others: Vec<HolderName>,
    },
    /// A share of another set.
    #[error(
        "the share of `{holder}` is of another set ({}…, not {}…): it opens `{credential}` as dealt at another time, or another credential (hint: after a reshare the old shares are void; use the new file)",
        short(found),
        short(expected)
    )]
    OtherSet {
        /// Whose share.
        holder: HolderName,
        /// What it says it opens.
        credential: CredentialName,
        /// Its set.
        found: Sha256Digest,
        /// The set that is wanted.
        expected: Sha256Digest,
    },
    /// The set has no such holder, or not at this position.
    #[error("the share of `{holder}` at position {index} is not one of this set: {reason}")]
    Stranger {
        /// Whose share, as it says.
        holder: HolderName,
        /// Where, as it says.
        index: u8,
        /// What does not fit.
        reason: &'static str,
    },
    /// It does not verify against the set's description.
    #[error("the share of `{0}` was changed or damaged: it does not verify (hint: take it from that holder's own sealed file)")]
    Changed(HolderName),
    /// A second share of one holder.
    #[error("`{0}` has given a share already; one person counts once (hint: another holder is needed)")]
    Twice(HolderName),
    /// All verify alone and do not give the secret that was dealt, which takes a changed description.
    #[error("the shares verify and do not fit together: the set's description is not the one that was dealt")]
    Unfit,
    /// Another form than this purpose has.
    #[error("`{credential}` opens a {found}, and a {wanted} is needed (hint: name the credential that was made for this)")]
    OtherPurpose {
        /// Which credential.
        credential: CredentialName,
        /// Its purpose.
        found: super::Purpose,
        /// The one that is needed.
        wanted: super::Purpose,
    },
    /// A sealed file was not made or opened.
    #[error(transparent)]
    Seal(#[from] SealError),
}

fn short(digest: &Sha256Digest) -> String {
    digest.to_string().chars().take(12).collect()
}

fn list(names: &[HolderName]) -> String {
    names.iter().map(HolderName::as_str).collect::<Vec<_>>().join(", ")
}

fn given_by(names: &[HolderName]) -> String {
    if names.is_empty() { String::new() } else { format!(", of {}", list(names)) }
}
