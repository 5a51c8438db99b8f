//! One holder's share, and its sealed file.

use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ca_core::model::{CredentialName, HolderName};
use ca_core::pki::Sha256Digest;
use ca_core::ports::Rng;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Purpose;
use super::ShareError;
use super::scheme::Halves;
use crate::sealed::{self, Description, Kind, Sealed, ShareLabel};
use crate::{SealError, Unsealer};

/// What one holder has. Its `Debug` shows whose it is and nothing of the secret.
#[derive(Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub struct Share {
    pub(super) set: Sha256Digest,
    pub(super) credential: CredentialName,
    pub(super) purpose: Purpose,
    pub(super) threshold: u8,
    pub(super) index: u8,
    pub(super) holder: HolderName,
    pub(super) halves: Halves,
}

impl Share {
    /// The id of its set.
    pub const fn set(&self) -> Sha256Digest {
        self.set
    }

    /// Which credential.
    pub const fn credential(&self) -> &CredentialName {
        &self.credential
    }

    /// Whose it is.
    pub const fn holder(&self) -> &HolderName {
        &self.holder
    }

    /// Seals it into its holder's file: mode 0600, exclusive, durable when this returns.
    ///
    /// # Errors
    /// When the file exists or cannot be written.
    pub fn seal(&self, path: &Path, unsealer: &Unsealer, rng: &dyn Rng) -> Result<(), SealError> {
        let label = ShareLabel { set: self.set, threshold: self.threshold, index: self.index, holder: self.holder.to_string() };
        let description = Description {
            purpose: Some(self.purpose.name().to_owned()),
            share: Some(label),
            ..Description::new(Kind::CredentialShare, Some(self.credential.to_string()), None)
        };
        sealed::create(path, &description, self.joined().as_slice(), unsealer, rng)
    }

    fn joined(&self) -> Zeroizing<[u8; 64]> {
        let mut both = Zeroizing::new([0u8; 64]);
        both[..32].copy_from_slice(self.halves.value.as_slice());
        both[32..].copy_from_slice(self.halves.blind.as_slice());
        both
    }
}

fn halves(bytes: &[u8]) -> Option<Halves> {
    let (value, blind) = bytes.split_at_checked(32)?;
    Some(Halves { value: Zeroizing::new(value.try_into().ok()?), blind: Zeroizing::new(blind.try_into().ok()?) })
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Share({}, {} of {})", self.credential, self.index, self.holder)
    }
}

/// A share's file that was read and not opened yet: whose it is stands in it in the clear.
pub struct ShareFile {
    sealed: Sealed,
    credential: CredentialName,
    label: ShareLabel,
    purpose: Purpose,
    holder: HolderName,
}

impl ShareFile {
    /// Reads a share's file or descriptor.
    ///
    /// # Errors
    /// When it is missing, open to others, or no share's file.
    pub fn read(path: &Path) -> Result<Self, SealError> {
        let sealed = Sealed::read(path, Kind::CredentialShare)?;
        let damaged = |reason: &str| SealError::damaged(path, reason);
        let description = sealed.description();
        let label = description.share.clone().ok_or_else(|| damaged("it does not say whose share it is"))?;
        let credential = description.name.as_deref().and_then(|n| n.parse().ok()).ok_or_else(|| damaged("it names no credential"))?;
        let purpose =
            description.purpose.as_deref().and_then(|p| p.parse().ok()).ok_or_else(|| damaged("it does not say what it opens"))?;
        let holder = label.holder.parse().map_err(|_| damaged("it names no holder"))?;
        Ok(Self { sealed, credential, label, purpose, holder })
    }

    /// Which credential.
    pub const fn credential(&self) -> &CredentialName {
        &self.credential
    }

    /// What the credential opens.
    pub const fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Whose it is.
    pub const fn holder(&self) -> &HolderName {
        &self.holder
    }

    /// The id of its set.
    pub const fn set(&self) -> Sha256Digest {
        self.label.set
    }

    /// How many open the credential.
    pub const fn threshold(&self) -> u8 {
        self.label.threshold
    }

    /// Opens it.
    ///
    /// # Errors
    /// When the secret is wrong or the file was changed.
    pub fn open(self, unsealer: &Unsealer) -> Result<Share, ShareError> {
        let Self { sealed, credential, label, purpose, holder } = self;
        let bytes = sealed.open(unsealer)?;
        // What authenticates was written here, so this cannot happen without a defect.
        let halves = halves(&bytes).ok_or_else(|| ShareError::Changed(holder.clone()))?;
        Ok(Share { set: label.set, credential, purpose, threshold: label.threshold, index: label.index, holder, halves })
    }
}

impl fmt::Debug for ShareFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShareFile({}, {})", self.credential, self.holder)
    }
}

/// A share on its way to the keyholder, over a socket that does not leave the machine.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    set: Sha256Digest,
    credential: CredentialName,
    purpose: Purpose,
    threshold: u8,
    index: u8,
    holder: HolderName,
    secret: Zeroizing<String>,
}

impl Clone for Share {
    fn clone(&self) -> Self {
        let halves = Halves { value: self.halves.value.clone(), blind: self.halves.blind.clone() };
        Self { credential: self.credential.clone(), holder: self.holder.clone(), halves, ..*self }
    }
}

impl From<Share> for Wire {
    fn from(share: Share) -> Self {
        // The whole capacity at once: growing would leave a copy behind.
        let mut secret = Zeroizing::new(String::with_capacity(128));
        STANDARD.encode_string(share.joined().as_slice(), &mut secret);
        let Share { set, credential, purpose, threshold, index, holder, .. } = share;
        Self { set, credential, purpose, threshold, index, holder, secret }
    }
}

impl TryFrom<Wire> for Share {
    type Error = &'static str;
    fn try_from(wire: Wire) -> Result<Self, Self::Error> {
        const WRONG: &str = "a share has 64 bytes in base64";
        let mut bytes = Zeroizing::new([0u8; 66]);
        let halves = match STANDARD.decode_slice(wire.secret.as_bytes(), bytes.as_mut_slice()) {
            Ok(64) => halves(&bytes[..64]).ok_or(WRONG)?,
            _ => return Err(WRONG),
        };
        let Wire { set, credential, purpose, threshold, index, holder, .. } = wire;
        Ok(Self { set, credential, purpose, threshold, index, holder, halves })
    }
}
