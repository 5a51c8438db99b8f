//! Signatures that this process has verified, by hash: where the front end and the worker are one process, each
//! verifies the same requests.
//!
//! Only that a signature verified is remembered, never what follows from it: an entry is a digest over the key, the
//! signed bytes and the signature, and it is made by the verification itself.

use std::sync::{Mutex, PoisonError};

use super::jwk::Jwk;
use super::jws::ParsedJws;
use super::memo::Memo;
use crate::model::Problem;
use crate::pki::{Csr, CsrError, Sha256Digest, sha256};

/// The most signatures of requests, and the most certification requests, that are remembered.
const MOST: usize = 2048;

/// The memory.
pub struct VerifiedSignatures {
    signatures: Mutex<Memo<Sha256Digest, ()>>,
    csrs: Mutex<Memo<Sha256Digest, Csr>>,
}

impl Default for VerifiedSignatures {
    fn default() -> Self {
        Self { signatures: Mutex::new(Memo::new(MOST)), csrs: Mutex::new(Memo::new(MOST)) }
    }
}

impl VerifiedSignatures {
    /// Verifies the signature of a request by `key`, unless that was done before.
    ///
    /// # Errors
    /// As [`ParsedJws::verify`].
    pub fn jws(&self, jws: &ParsedJws, key: &Jwk) -> Result<(), Problem> {
        let digest = jws.digest_with(key);
        let signatures = || self.signatures.lock().unwrap_or_else(PoisonError::into_inner);
        if signatures().get(&digest).is_some() {
            return Ok(());
        }
        jws.verify(key)?;
        signatures().insert(digest, ());
        Ok(())
    }

    /// Reads a certification request, whose signature is verified unless that was done before.
    ///
    /// # Errors
    /// As [`Csr::from_der`].
    pub fn csr(&self, der: &[u8]) -> Result<Csr, CsrError> {
        let digest = sha256(der);
        let csrs = || self.csrs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(csr) = csrs().get(&digest) {
            return Ok(csr.clone());
        }
        let csr = Csr::from_der(der)?;
        csrs().insert(digest, csr.clone());
        Ok(csr)
    }
}

impl std::fmt::Debug for VerifiedSignatures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("VerifiedSignatures")
    }
}
