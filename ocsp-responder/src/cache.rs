//! Signed answers, kept within a bound.

use std::sync::Arc;

use bytes::Bytes;
use ca_core::pki::ocsp::{CertId, HashAlgorithm};
use ca_core::pki::{SerialNumber, Timestamp, sha256};
use moka::sync::Cache;

/// A signed answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signed {
    /// The whole OCSPResponse.
    pub der: Bytes,
    /// thisUpdate.
    pub this_update: Timestamp,
    /// nextUpdate.
    pub next_update: Timestamp,
    /// When a newer one should be signed in its place.
    pub(crate) refresh_at: Timestamp,
    /// Its strong entity tag, quoted.
    pub etag: String,
}

impl Signed {
    pub(crate) fn new(der: Vec<u8>, this_update: Timestamp, next_update: Timestamp, refresh_at: Timestamp) -> Self {
        let etag = format!("\"{}\"", sha256(&der));
        Self { der: der.into(), this_update, next_update, refresh_at, etag }
    }
}

/// One answer: two CertIDs that say the same in another form get two, because the answer repeats the CertID.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Key {
    authority: u32,
    serial: SerialNumber,
    hash: HashAlgorithm,
    has_parameters: bool,
}

impl Key {
    pub(crate) fn of(authority: u32, id: &CertId) -> Option<Self> {
        Some(Self { authority, serial: id.serial()?, hash: id.hash_algorithm()?, has_parameters: id.has_parameters() })
    }
}

/// Answers without a nonce, to issued serials only, so that questions about invented ones push nothing out.
pub(crate) struct AnswerCache(Cache<Key, Arc<Signed>>);

impl AnswerCache {
    pub(crate) fn new(bytes: u64) -> Self {
        // 256: the key, the tag and the cache's own bookkeeping for each entry.
        let weigh = |_: &Key, answer: &Arc<Signed>| u32::try_from(answer.der.len() + 256).unwrap_or(u32::MAX);
        Self(Cache::builder().max_capacity(bytes).weigher(weigh).build())
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Arc<Signed>> {
        self.0.get(key)
    }

    pub(crate) fn insert(&self, key: Key, answer: Arc<Signed>) {
        self.0.insert(key, answer);
    }

    /// Drops every form of the answer about a serial number.
    pub(crate) fn forget(&self, authority: u32, serial: SerialNumber) {
        for hash in HashAlgorithm::ALL {
            for has_parameters in [false, true] {
                self.0.invalidate(&Key { authority, serial, hash, has_parameters });
            }
        }
    }

    pub(crate) fn forget_all(&self) {
        self.0.invalidate_all();
    }
}
