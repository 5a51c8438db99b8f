//! CRLs and issuer certificates as files over HTTP.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use ca_core::model::CrlScope;
use ca_core::pki::{Timestamp, sha256};
use ca_core::ports::StoreResult;

use crate::authority::AuthorityState;
use crate::follow::{Responder, in_time};

/// How long a CRL is handed out before the store is asked for a newer one.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A CRL as it is served.
pub(crate) struct CrlFile {
    pub(crate) der: Bytes,
    pub(crate) etag: String,
    pub(crate) this_update: Timestamp,
    pub(crate) next_update: Timestamp,
    number: u64,
    looked_at: Timestamp,
}

impl Responder {
    /// The current CRL of a scope; the last one that was read when the store is away.
    pub(crate) async fn crl(&self, authority: &AuthorityState, scope: CrlScope) -> StoreResult<Option<Arc<CrlFile>>> {
        let key = (authority.name.clone(), scope);
        let held = || self.crls.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let is_recent = |file: &CrlFile| {
            let now = self.clock.now();
            file.looked_at <= now && now.since(file.looked_at) < LOOK_AGAIN
        };
        // One reading at a time: a CRL may be large. Whoever has one to give does not wait for it.
        let before = held();
        if before.as_deref().is_some_and(is_recent) {
            return Ok(before);
        }
        let _reading = match (self.crl_reading.try_lock(), before) {
            (Ok(guard), _) => guard,
            (Err(_), Some(file)) => return Ok(Some(file)),
            (Err(_), None) => self.crl_reading.lock().await,
        };
        let before = held();
        if before.as_deref().is_some_and(is_recent) {
            return Ok(before);
        }
        let looked_at = self.clock.now();
        let file = match (in_time(self.store.current_crl(&authority.name, &scope)).await, before) {
            (Ok(None), None) => return Ok(None),
            (Err(error), None) => return Err(error),
            (Ok(Some(record)), before) if before.as_ref().is_none_or(|b| record.number > b.number) => CrlFile {
                etag: format!("\"{}-{}\"", record.number, &sha256(&record.der).to_string()[..16]),
                der: record.der.into(),
                this_update: record.this_update,
                next_update: record.next_update,
                number: record.number,
                looked_at,
            },
            // The same, an older one (which may not replace it: invariant 7), none any more, or no answer.
            (_, Some(held)) => CrlFile { der: held.der.clone(), etag: held.etag.clone(), looked_at, ..*held },
            (Ok(Some(_)), None) => unreachable!("without a held CRL the guard above takes every record"),
        };
        let file = Arc::new(file);
        self.crls.write().unwrap_or_else(PoisonError::into_inner).insert(key, Arc::clone(&file));
        Ok(Some(file))
    }
}
