//! A credential in the form that it has where it opens something.

use std::fmt;
use std::path::Path;

use aws_lc_rs::hkdf;
use ca_core::model::{CredentialName, CredentialPurpose as Purpose};
use ca_core::ports::Rng;
use zeroize::Zeroizing;

use super::ShareError;
use super::scheme::Scalar32;
use crate::sealed::{self, Description, Kind, Sealed};
use crate::{SealError, Unsealer};

/// The secret that is split: 256 random bits. Cleared when dropped; never shown.
#[derive(Clone)]
pub struct Secret(pub(super) Scalar32);

impl Secret {
    /// The credential: HKDF-SHA256 (RFC 5869) of the secret, bound to its name and purpose.
    pub fn credential(&self, name: &CredentialName, purpose: Purpose) -> Credential {
        const WHY: &str = "HKDF-SHA256 gives up to 8,160 bytes";
        let mut bytes = Zeroizing::new([0u8; 32]);
        let info = [b"countersign/credential/1".as_slice(), b"\0", purpose.name().as_bytes(), b"\0", name.as_str().as_bytes()];
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(self.0.as_slice());
        prk.expand(&info, hkdf::HKDF_SHA256).and_then(|okm| okm.fill(bytes.as_mut_slice())).expect(WHY);
        let form = match purpose {
            Purpose::SoftwareKey | Purpose::YubihsmKey => Zeroizing::new(bytes.to_vec()),
            Purpose::Pkcs11Pin => base32(&bytes),
        };
        Credential { name: name.clone(), purpose, bytes: form }
    }

    /// Whether both are the same secret.
    pub fn same_as(&self, other: &Self) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.0.as_slice(), other.0.as_slice()).is_ok()
    }
}

/// 32 characters, each by five bits of one byte.
fn base32(bytes: &[u8; 32]) -> Zeroizing<Vec<u8>> {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    Zeroizing::new(bytes.iter().map(|b| ALPHABET[usize::from(b & 31)]).collect())
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A credential in the form that its device takes. Cleared when dropped; never shown.
#[derive(Clone)]
pub struct Credential {
    name: CredentialName,
    purpose: Purpose,
    bytes: Zeroizing<Vec<u8>>,
}

impl Credential {
    /// What came out of another process or a sealed file.
    ///
    /// # Errors
    /// When it has another length than this purpose's have.
    pub fn from_bytes(name: CredentialName, purpose: Purpose, bytes: Zeroizing<Vec<u8>>) -> Result<Self, ShareError> {
        if bytes.len() == 32 {
            return Ok(Self { name, purpose, bytes });
        }
        Err(ShareError::Set(format!("the credential `{name}` has {} bytes, not 32", bytes.len())))
    }

    /// Its name.
    pub const fn name(&self) -> &CredentialName {
        &self.name
    }

    /// What it opens.
    pub const fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// The bytes, for the device: a PIN's characters, or an authentication key.
    pub fn expose(&self) -> &[u8] {
        &self.bytes
    }

    /// Seals it whole into a file on a host that starts unattended: mode 0600, exclusive, durable when this returns.
    /// Whoever has the file and what opens it has the credential.
    ///
    /// # Errors
    /// When the file exists or cannot be written.
    pub fn seal(&self, path: &Path, unsealer: &Unsealer, rng: &dyn Rng) -> Result<(), SealError> {
        let description = Description {
            purpose: Some(self.purpose.name().to_owned()),
            ..Description::new(Kind::Credential, Some(self.name.to_string()), None)
        };
        sealed::create(path, &description, &self.bytes, unsealer, rng)
    }

    /// Opens the file of a whole credential of this name.
    ///
    /// # Errors
    /// When it is missing, open to others, damaged, of another name, or does not open with this secret.
    pub fn open(path: &Path, name: &CredentialName, unsealer: &Unsealer) -> Result<Self, ShareError> {
        let sealed = Sealed::read(path, Kind::Credential)?;
        let description = sealed.description();
        if description.name.as_deref() != Some(name.as_str()) {
            return Err(SealError::damaged(path, "it was sealed under another name").into());
        }
        let purpose = description.purpose.as_deref().and_then(|p| p.parse().ok());
        let purpose = purpose.ok_or_else(|| SealError::damaged(path, "it does not say what it opens"))?;
        Self::from_bytes(name.clone(), purpose, sealed.open(unsealer)?)
    }

    /// What opens a software key store.
    ///
    /// # Errors
    /// When it was made for something else.
    pub fn unsealer(&self) -> Result<Unsealer, ShareError> {
        let other = || ShareError::OtherPurpose { credential: self.name.clone(), found: self.purpose, wanted: Purpose::SoftwareKey };
        let key = <[u8; 32]>::try_from(self.bytes.as_slice()).map(Zeroizing::new).ok();
        key.filter(|_| self.purpose == Purpose::SoftwareKey).map(Unsealer::FileKey).ok_or_else(other)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({}, {})", self.name, self.purpose)
    }
}
