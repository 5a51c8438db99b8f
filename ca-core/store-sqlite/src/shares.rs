//! Quotas that several ACME servers share: in the memory of the one process that all of them ask, and nowhere else.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ca_core::limits::{Exceeded, Share, Table};
use ca_core::pki::Timestamp;
use ca_core::ports::{MAX_SHARES, Rng, SHARED_SUBJECTS, StoreResult};

use crate::error::conflict;

/// The table, made when it is first asked for: one server alone counts for itself.
pub(crate) struct Shares {
    table: OnceLock<Mutex<Table>>,
    rng: Arc<dyn Rng>,
}

impl Shares {
    pub(crate) fn new(rng: Arc<dyn Rng>) -> Self {
        Self { table: OnceLock::new(), rng }
    }

    pub(crate) fn take(&self, wanted: &[Share], now: Timestamp) -> StoreResult<Option<Exceeded>> {
        if wanted.len() > MAX_SHARES {
            return conflict(format!("a request takes from at most {MAX_SHARES} quotas"));
        }
        let table = self.table.get_or_init(|| Mutex::new(Table::new(SHARED_SUBJECTS, &*self.rng)));
        // Whoever panicked while holding it left whole states.
        let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = table.take_shares(wanted, now);
        let displaced = table.take_displaced();
        if displaced > 0 {
            tracing::warn!(displaced, "subjects of shared limits were forgotten for want of room, those that had spent least");
        }
        Ok(taken.err())
    }
}
