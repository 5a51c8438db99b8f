//! The certificate under which another is issued.

use super::ProfileError;
use crate::pki::{Certificate, SignatureAlgorithm, key_algorithm};

/// A CA certificate that may issue, with the facts that its leaves need.
#[derive(Clone, Debug)]
pub struct Issuer {
    certificate: Certificate,
    algorithm: SignatureAlgorithm,
    key_identifier: Vec<u8>,
}

impl Issuer {
    /// Takes a CA certificate.
    ///
    /// # Errors
    /// When it may not sign certificates, has no subject or no subject key identifier, or its key is not handled.
    pub fn new(certificate: Certificate) -> Result<Self, ProfileError> {
        if !certificate.is_ca() {
            return Err(ProfileError::NotAnIssuer("it is not a CA certificate"));
        }
        // RFC 5280 §4.1.2.6: a CA has a non-empty subject.
        if certificate.subject_text().is_empty() {
            return Err(ProfileError::NotAnIssuer("its subject is empty"));
        }
        let key_identifier = certificate.key_identifier().ok_or(ProfileError::NotAnIssuer("it has no subject key identifier"))?.to_vec();
        let key = key_algorithm(certificate.public_key())?;
        // A root signs as it signed itself, which for an RSA key is a choice (RFC 4055 §3.1).
        let own = certificate.signature_algorithm();
        let is_root = certificate.issuer_der() == certificate.subject_der();
        let algorithm = if is_root && key.signs_as(own) { own } else { key.signature_algorithm() };
        Ok(Self { certificate, algorithm, key_identifier })
    }

    /// The certificate.
    pub const fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The algorithm with which its key signs.
    pub const fn signature_algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// Its subject key identifier: the authority key identifier of what it issues.
    pub(super) fn key_identifier(&self) -> &[u8] {
        &self.key_identifier
    }
}
