//! What the officers sign: one statement allows one act, over the exact bytes.

use serde::{Deserialize, Serialize};

use super::{CeremonyError, canonical};
use crate::model::AuthorityName;
use crate::pki::{SerialNumber, Sha256Digest, Timestamp};

/// The act that a statement allows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Operation {
    /// The authority's key signs a CA certificate.
    SignCertificate {
        /// `root` or `intermediate`.
        profile: String,
        /// Whose certificate it is; the signing authority is the statement's.
        subject_authority: AuthorityName,
        /// Its serial number.
        serial: SerialNumber,
        /// SHA-256 of the to-be-signed certificate.
        tbs_sha256: Sha256Digest,
    },
    /// The authority's key signs a CRL.
    SignCrl {
        /// Its number.
        number: u64,
        /// SHA-256 of the to-be-signed CRL.
        tbs_sha256: Sha256Digest,
    },
    /// The officers put a policy in force.
    ApprovePolicy {
        /// Its version.
        version: u64,
        /// SHA-256 of the policy document.
        policy_sha256: Sha256Digest,
    },
}

/// A statement. Its file is this value's canonical form ([`Self::to_bytes`]), and officers sign the file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// [`Self::FORMAT`].
    pub format: String,
    /// The act.
    pub operation: Operation,
    /// The authority that acts, or (for a policy) the ceremony's root.
    pub authority: AuthorityName,
    /// SHA-256 of the ceremony's plan.
    pub plan_sha256: Sha256Digest,
    /// Version of the policy of this ceremony.
    pub policy_version: u64,
    /// SHA-256 of that policy.
    pub policy_sha256: Sha256Digest,
    /// 128 random bits in hexadecimal: no two statements are the same, so one approval allows one act.
    pub nonce: String,
    /// When it was prepared.
    pub issued_at: Timestamp,
    /// Until when the act may begin.
    pub expires_at: Timestamp,
}

impl Statement {
    /// The format's name and version.
    pub const FORMAT: &'static str = "countersign/ceremony/1";
    /// The most bytes of a statement.
    pub const MAX_BYTES: usize = canonical::MAX_BYTES;

    /// The canonical form: JSON with its fields in declaration order, indented for the reader, and a final newline.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::to_bytes(self)
    }

    /// Reads the canonical form; anything else is refused, so that one meaning has one form.
    ///
    /// # Errors
    /// When it is too large, does not parse, has another format or is not canonical.
    pub fn parse(bytes: &[u8]) -> Result<Self, CeremonyError> {
        canonical::parse("statement", Self::FORMAT, |s: &Self| &s.format, bytes)
    }

    /// Refuses a statement whose time has not come or is over.
    ///
    /// # Errors
    /// When `now` is not between its times.
    pub fn check_time(&self, now: Timestamp) -> Result<(), CeremonyError> {
        check_time(self.issued_at, self.expires_at, now)
    }
}

/// Refuses what was approved for another time.
pub(super) fn check_time(issued_at: Timestamp, expires_at: Timestamp, now: Timestamp) -> Result<(), CeremonyError> {
    if now >= expires_at {
        return Err(CeremonyError::refused("statement", format!("its approvals ended at {expires_at}")));
    }
    // A small step back is a clock being set; the rest is a wrong clock.
    if now.plus(std::time::Duration::from_secs(300)) < issued_at {
        return Err(CeremonyError::refused("statement", format!("it is from {issued_at}, and the clock says {now}")));
    }
    Ok(())
}
