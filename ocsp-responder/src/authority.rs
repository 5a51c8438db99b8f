//! What the responder holds in memory about one authority.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use ca_core::model::{Authority, AuthorityName};
use ca_core::pki::ocsp::IssuerId;
use ca_core::pki::{Certificate, ParseError, SerialNumber, SignatureAlgorithm, Timestamp, VerifyError, sha256};
use ca_core::ports::ServiceKey;

/// Why a certificate from the store is not used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// Not a certificate.
    #[error("it cannot be read: {0}")]
    Parse(#[from] ParseError),
    /// Not from this authority.
    #[error("it is not signed by the authority: {0}")]
    Signature(#[from] VerifyError),
    /// For another key.
    #[error("it is not for the responder's key")]
    Key,
    /// Its key has another form than OCSP needs.
    #[error("its public key cannot be read")]
    PublicKey,
}

/// A delegated key with its certificate.
pub(crate) struct Signer {
    pub(crate) key: Arc<dyn ServiceKey>,
    pub(crate) algorithm: SignatureAlgorithm,
    pub(crate) certificate: Certificate,
}

impl Signer {
    fn is_valid(&self, now: Timestamp) -> bool {
        self.certificate.not_before() <= now && now < self.certificate.not_after()
    }
}

/// What came of looking at the newest certificate.
pub(crate) enum Adoption {
    /// It is the one in use, or there is none still.
    Same,
    /// The one in use was swapped for it, or taken away.
    Changed,
    /// It begins later. The one in use, of this serial number, is valid and stays meanwhile.
    Awaited {
        /// The serial number of the one in use.
        current: SerialNumber,
        /// When the newest begins.
        begins: Timestamp,
        /// Whether this is the first time that it is told.
        is_news: bool,
    },
}

/// How far the ledger was read, and when last.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) number: u64,
    pub(crate) read_at: Option<Timestamp>,
}

pub(crate) struct AuthorityState {
    /// Short for its name, in cache keys.
    pub(crate) index: u32,
    pub(crate) name: AuthorityName,
    pub(crate) is_default: bool,
    pub(crate) certificate: Certificate,
    /// The certificate's DER, as it is served, and its entity tag.
    pub(crate) file: (Bytes, String),
    pub(crate) id: IssuerId,
    pub(crate) key: Option<Arc<dyn ServiceKey>>,
    signer: RwLock<Option<Arc<Signer>>>,
    /// The certificate that was told to begin later.
    awaited: Mutex<Option<SerialNumber>>,
    ledger: Mutex<Ledger>,
    end_was_told: AtomicBool,
}

impl AuthorityState {
    pub(crate) fn new(index: u32, authority: &Authority, key: Option<Arc<dyn ServiceKey>>) -> Result<Self, CertificateError> {
        let certificate = Certificate::from_der(&authority.certificate)?;
        Ok(Self {
            index,
            name: authority.name.clone(),
            is_default: authority.is_default,
            file: (Bytes::copy_from_slice(certificate.der()), format!("\"{}\"", sha256(certificate.der()))),
            id: IssuerId::new(certificate.subject_der(), certificate.public_key()).map_err(|_| CertificateError::PublicKey)?,
            certificate,
            key,
            signer: RwLock::default(),
            awaited: Mutex::default(),
            ledger: Mutex::default(),
            end_was_told: AtomicBool::new(false),
        })
    }

    /// Whether the authority's own certificate has ended: nothing is certified by it any more, an OCSP key neither
    /// (lesson 31).
    pub(crate) fn has_ended(&self, now: Timestamp) -> bool {
        self.certificate.not_after() <= now
    }

    /// Says once that it has ended.
    pub(crate) fn tell_end(&self) {
        if !self.end_was_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(authority = %self.name, until = %self.certificate.not_after(), "the authority has ended: no OCSP answers are signed for it, and readiness goes by the others");
        }
    }

    /// The ledger's position. Whoever puts an answer into the cache holds this lock and has checked the number,
    /// so that no answer from before a revocation gets in after the revocation was followed.
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the ledger was read lately enough to sign (invariant 8). Never before the first reading.
    pub(crate) fn is_fresh(&self, now: Timestamp, max_stale: Duration) -> bool {
        self.ledger().read_at.is_some_and(|at| now.since(at) <= max_stale)
    }

    /// The key and certificate to sign with now.
    pub(crate) fn signer(&self, now: Timestamp) -> Option<Arc<Signer>> {
        let signer = self.signer.read().unwrap_or_else(PoisonError::into_inner).clone();
        signer.filter(|s| s.is_valid(now))
    }

    /// Swaps the certificate in memory for the newest one, which may be none. Nothing valid is given up for one that is not
    /// valid yet at `skew` before `now`, as answers are dated; the worker's clock may be ahead.
    pub(crate) fn adopt(&self, newest: Option<&[u8]>, now: Timestamp, skew: Duration) -> Result<Adoption, CertificateError> {
        let current = self.signer.read().unwrap_or_else(PoisonError::into_inner).clone();
        if current.as_ref().map(|s| s.certificate.der()) == newest {
            return Ok(Adoption::Same);
        }
        let signer = match (newest, &self.key) {
            (Some(der), Some(key)) => {
                let certificate = Certificate::from_der(der)?;
                if certificate.public_key() != key.public_key() {
                    return Err(CertificateError::Key);
                }
                certificate.is_signed_by(&self.certificate)?;
                Some(Arc::new(Signer { key: Arc::clone(key), algorithm: key.algorithm().signature_algorithm(), certificate }))
            }
            _ => None,
        };
        if let (Some(next), Some(current)) = (&signer, current.filter(|s| s.is_valid(now))) {
            let (serial, begins) = (next.certificate.serial(), next.certificate.not_before());
            if now.minus(skew) < begins {
                let told = self.awaited.lock().unwrap_or_else(PoisonError::into_inner).replace(serial);
                return Ok(Adoption::Awaited { current: current.certificate.serial(), begins, is_news: told != Some(serial) });
            }
        }
        *self.signer.write().unwrap_or_else(PoisonError::into_inner) = signer;
        Ok(Adoption::Changed)
    }

    /// Gives up the certificate in use.
    pub(crate) fn give_up_signer(&self) {
        *self.signer.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
