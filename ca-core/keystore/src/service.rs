//! Keys of the product's own services.

use std::fmt;
use std::path::Path;

use ca_core::pki::{KeyAlgorithm, PublicKey};
use ca_core::ports::{Rng, ServiceKey, ServiceKeyError};
use zeroize::Zeroizing;

use crate::pair::{self, Pair};
use crate::sealed::{self, Description, Kind};
use crate::{SealError, Unsealer};

/// A delegated OCSP key or a TLS key in a sealed file. It is no authority key: neither the type nor the file can
/// be put in an authority's place.
pub struct SoftwareServiceKey {
    pair: Pair,
    pkcs8: Zeroizing<Vec<u8>>,
}

impl SoftwareServiceKey {
    /// Makes a key in a new sealed file. When this returns, the file is durable.
    ///
    /// # Errors
    /// When the file exists or cannot be written.
    pub fn generate(path: impl AsRef<Path>, algorithm: KeyAlgorithm, unsealer: &Unsealer, rng: &dyn Rng) -> Result<Self, SealError> {
        let pkcs8 = pair::generate(algorithm)?;
        let description = Description::new(Kind::ServiceKey, None, Some(algorithm));
        sealed::create(path.as_ref(), &description, &pkcs8, unsealer, rng)?;
        // What the disk holds is what is used from now on: a key that cannot be read back must not get a certificate.
        Self::open(path, unsealer)
    }

    /// Opens a key.
    ///
    /// # Errors
    /// When the file is missing, open to others, damaged, or does not open with this secret.
    pub fn open(path: impl AsRef<Path>, unsealer: &Unsealer) -> Result<Self, SealError> {
        let path = path.as_ref();
        let (description, pkcs8) = sealed::open(path, Kind::ServiceKey, None, unsealer)?;
        let pair = description
            .algorithm
            .and_then(|algorithm| Pair::from_pkcs8(algorithm, &pkcs8))
            .ok_or_else(|| SealError::damaged(path, "it holds no key of the named algorithm"))?;
        Ok(Self { pair, pkcs8 })
    }

    /// The private key as PKCS#8, for the TLS library.
    pub fn pkcs8(&self) -> Zeroizing<Vec<u8>> {
        self.pkcs8.clone()
    }
}

impl ServiceKey for SoftwareServiceKey {
    fn algorithm(&self) -> KeyAlgorithm {
        self.pair.algorithm()
    }

    fn public_key(&self) -> &PublicKey {
        self.pair.public_key()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, ServiceKeyError> {
        self.pair.sign(self.pair.algorithm().signature_algorithm(), message).map_err(|e| ServiceKeyError(e.to_owned()))
    }
}

impl fmt::Debug for SoftwareServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SoftwareServiceKey({:?})", self.pair.public_key())
    }
}
