//! What the officers sign: one statement allows one act, over the exact bytes.

use serde::{Deserialize, Serialize};

use super::{CeremonyError, CredentialPlan, canonical};
use crate::model::{AuthorityName, KeyLabel, RevocationReason};
use crate::pki::{SerialNumber, Sha256Digest, Timestamp};

/// The act that a statement allows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Operation {
    /// The authority's key signs a CA certificate.
    SignCertificate {
        /// `root`, `intermediate` or `cross`.
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
    /// A CA certificate is revoked, on the root's next CRL.
    RevokeCertificate {
        /// Whose certificate.
        subject_authority: AuthorityName,
        /// Its serial number.
        serial: SerialNumber,
        /// SHA-256 of that certificate.
        certificate_sha256: Sha256Digest,
        /// Why.
        reason: RevocationReason,
        /// Since when its key is suspected.
        invalidity_date: Option<Timestamp>,
    },
    /// A key leaves its device wrapped, goes into the backup device, and signs a test there.
    BackUpKey {
        /// Its label.
        key: KeyLabel,
        /// SHA-256 of its SubjectPublicKeyInfo.
        public_key_sha256: Sha256Digest,
        /// The serial number of the device that has it.
        from_device: String,
        /// That of the device that gets it.
        to_device: String,
        /// The wrapping key.
        wrapping_key: String,
        /// SHA-256 of the test that it signs.
        test_sha256: Sha256Digest,
    },
    /// A wrapped key goes into a device and signs a test there.
    RestoreKey {
        /// Its label.
        key: KeyLabel,
        /// SHA-256 of its SubjectPublicKeyInfo.
        public_key_sha256: Sha256Digest,
        /// SHA-256 of the wrapped key's file.
        wrapped_sha256: Sha256Digest,
        /// The serial number of the device that gets it.
        to_device: String,
        /// SHA-256 of the test that it signs.
        test_sha256: Sha256Digest,
    },
    /// A key is destroyed.
    DestroyKey {
        /// Its label.
        key: KeyLabel,
        /// SHA-256 of its SubjectPublicKeyInfo.
        public_key_sha256: Sha256Digest,
        /// The serial number of its device.
        device: String,
        /// The digest of the device's inventory before.
        inventory_sha256: Sha256Digest,
    },
    /// The officers saw what a device holds after keys were destroyed.
    AttestInventory {
        /// The device's serial number.
        device: String,
        /// The digest of its inventory.
        inventory_sha256: Sha256Digest,
    },
    /// What opens a device is dealt to holders of shares.
    ChangeCredentials {
        /// The device's serial number.
        device: String,
        /// Which credentials, how, and to whom.
        credentials: Vec<CredentialPlan>,
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
    pub const MAX_BYTES: usize = 1 << 16;

    /// The canonical form: JSON with its fields in declaration order, indented for the reader, and a final newline.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::to_bytes(self)
    }

    /// Reads the canonical form; anything else is refused, so that one meaning has one form.
    ///
    /// # Errors
    /// When it is too large, does not parse, has another format or is not canonical.
    pub fn parse(bytes: &[u8]) -> Result<Self, CeremonyError> {
        let statement: Self = canonical::parse("statement", Self::MAX_BYTES, bytes)?;
        if statement.format != Self::FORMAT {
            return Err(CeremonyError::Syntax { what: "statement", reason: format!("its format is not {}", Self::FORMAT) });
        }
        Ok(statement)
    }

    /// Refuses a statement whose time has not come or is over.
    ///
    /// # Errors
    /// When `now` is not between its times.
    pub fn check_time(&self, now: Timestamp) -> Result<(), CeremonyError> {
        canonical::check_time(self.issued_at, self.expires_at, now)
    }
}
