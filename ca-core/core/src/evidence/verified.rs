//! Signatures that this process has verified, by hash: where the front end and the worker are one process, each
//! verifies the same requests. And the keys that sign them, by their text, since reading one costs as well.
//!
//! Only that a signature verified is remembered, never what follows from it: an entry is a digest over the key, the
//! signed bytes and the signature, and it is made by the verification itself.

use std::sync::{Arc, Mutex, PoisonError};

use super::jwk::Jwk;
use super::jws::ParsedJws;
use super::memo::Memo;
use crate::model::Problem;
use crate::pki::{Csr, CsrError, Sha256Digest, sha256};

/// The most signatures of requests, the most certification requests and the most keys that are remembered.
const MOST: usize = 2048;

/// The memory.
pub struct VerifiedSignatures {
    signatures: Mutex<Memo<Sha256Digest, ()>>,
    csrs: Mutex<Memo<Sha256Digest, Csr>>,
    keys: Mutex<Memo<String, Arc<Jwk>>>,
}

impl Default for VerifiedSignatures {
    fn default() -> Self {
        Self { signatures: Mutex::new(Memo::new(MOST)), csrs: Mutex::new(Memo::new(MOST)), keys: Mutex::new(Memo::new(MOST)) }
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

    /// Reads an account's key, unless that was done before. `text` is the canonical form, as stored.
    ///
    /// # Errors
    /// As [`Jwk::parse`].
    pub fn key(&self, text: &str) -> Result<Arc<Jwk>, Problem> {
        let keys = || self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = keys().get(text) {
            return Ok(Arc::clone(key));
        }
        let key = Arc::new(Jwk::parse(text)?);
        keys().insert(text.to_owned(), Arc::clone(&key));
        Ok(key)
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
