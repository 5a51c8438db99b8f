//! The audit trail: leaves numbered without gaps and chained by hash, written with what they describe.
//!
//! An intent's own leaf is a row of this chain, in place of an audit entry: it says who, when and what in full, and a
//! leaf's first line tells its format.

use async_trait::async_trait;
use ca_core::log;
use ca_core::model::{AuditEntry, AuditRow};
use ca_core::ports::{AuditStore, StoreResult};

use crate::SqliteStore;
use crate::convert::{digest, limit, signed, unsigned};
use crate::error::from_sqlx;
use crate::writer::Tx;

impl Tx {
    /// Chains an entry; gives its number.
    pub(crate) async fn audit(&mut self, entry: &AuditEntry) -> StoreResult<u64> {
        self.chain(&log::audit_leaf(entry)).await
    }

    /// Chains a leaf; gives its number. There is one writer, so nobody comes between the read and the write.
    pub(crate) async fn chain(&mut self, leaf: &[u8]) -> StoreResult<u64> {
        let last = sqlx::query!("SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1")
            .fetch_optional(&mut self.connection)
            .await
            .map_err(from_sqlx)?;
        let (number, before) = match last {
            Some(row) => (row.number + 1, digest(&row.hash)?),
            None => (1, log::CHAIN_START),
        };
        let hash = log::chain(&before, leaf);
        let hash = hash.0.as_slice();
        sqlx::query!("INSERT INTO audit (number, leaf, hash) VALUES ($1, $2, $3)", number, leaf, hash)
            .execute(&mut self.connection)
            .await
            .map_err(from_sqlx)?;
        unsigned("audit number", number)
    }
}

#[async_trait]
impl AuditStore for SqliteStore {
    async fn append_audit(&self, entry: &AuditEntry) -> StoreResult<u64> {
        let entry = entry.clone();
        self.write(move |tx| Box::pin(async move { tx.audit(&entry).await })).await
    }

    async fn audit_after(&self, number: u64, at_most: u32) -> StoreResult<Vec<AuditRow>> {
        let (number, at_most) = (signed(number)?, limit(at_most));
        let rows = sqlx::query!("SELECT number, leaf, hash FROM audit WHERE number > $1 ORDER BY number LIMIT $2", number, at_most)
            .fetch_all(&self.readers)
            .await
            .map_err(from_sqlx)?;
        rows.into_iter()
            .map(|row| Ok(AuditRow { number: unsigned("audit number", row.number)?, leaf: row.leaf, hash: digest(&row.hash)? }))
            .collect()
    }
}
