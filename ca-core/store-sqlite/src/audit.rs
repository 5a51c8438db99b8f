//! The audit trail: leaves numbered without gaps and chained by hash, written with what they describe.
//!
//! An intent's own leaf is a row of this chain, in place of an audit entry: it says who, when and what in full, and a
//! leaf's first line tells its format.

use async_trait::async_trait;
use ca_core::log;
use ca_core::model::{AuditEntry, AuditRow};
use ca_core::pki::Sha256Digest;
use ca_core::ports::{AUDIT_PAGE_BYTES, AuditStore, StoreResult};

use crate::SqliteStore;
use crate::convert::{digest, limit, signed, unsigned};
use crate::error::from_sqlx;
use crate::writer::{Row, Tx, write_row};

impl Tx {
    /// Chains an entry; gives its number.
    pub(crate) async fn audit(&mut self, entry: &AuditEntry) -> StoreResult<u64> {
        self.chain(&log::audit_leaf(entry)).await
    }

    /// Chains a leaf; gives its number. There is one writer, so nobody comes between the read and the write.
    pub(crate) async fn chain(&mut self, leaf: &[u8]) -> StoreResult<u64> {
        let (last, before) = self.trail().await?;
        if let Some(row) = self.row.take() {
            write_row(self, row, "INSERT INTO audit (number, leaf, hash) VALUES ($1, $2, $3)").await.map_err(from_sqlx)?;
        }
        let (number, hash) = (last + 1, log::chain(&before, leaf));
        self.trail = Some((number, hash));
        // The last one goes with the command's end: each call to the connection costs two changes of thread.
        self.row = Some(Row { number, leaf: leaf.to_vec(), hash });
        unsigned("audit number", number)
    }

    /// The trail's last number and hash.
    async fn trail(&mut self) -> StoreResult<(i64, Sha256Digest)> {
        if let Some(known) = self.trail {
            return Ok(known);
        }
        let last = sqlx::query!("SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1")
            .fetch_optional(&mut self.connection)
            .await
            .map_err(from_sqlx)?;
        last.map_or(Ok((0, log::CHAIN_START)), |row| Ok((row.number, digest(&row.hash)?)))
    }
}

/// How many rows of these sizes go into one page: as many as its bytes allow, but one.
fn page(sizes: impl Iterator<Item = StoreResult<u64>>) -> StoreResult<u32> {
    let (mut rows, mut bytes) = (0, 0u64);
    for size in sizes {
        bytes = bytes.saturating_add(size?);
        if rows > 0 && bytes > AUDIT_PAGE_BYTES {
            break;
        }
        rows += 1;
    }
    Ok(rows)
}

#[async_trait]
impl AuditStore for SqliteStore {
    async fn append_audit(&self, entry: &AuditEntry) -> StoreResult<u64> {
        let entry = entry.clone();
        self.write(move |tx| Box::pin(async move { tx.audit(&entry).await })).await
    }

    async fn audit_after(&self, number: u64, at_most: u32) -> StoreResult<Vec<AuditRow>> {
        let (number, mut at_most) = (signed(number)?, limit(at_most));
        // The sizes first, where there can be a choice: they are read without the leaves. The table only grows.
        if at_most > 1 {
            let sizes = sqlx::query!(
                r#"SELECT length(leaf) AS "size!: i64" FROM audit WHERE number > $1 ORDER BY number LIMIT $2"#,
                number,
                at_most
            )
            .fetch_all(&self.readers)
            .await
            .map_err(from_sqlx)?;
            at_most = i64::from(page(sizes.into_iter().map(|row| unsigned("leaf's size", row.size)))?);
        }
        let rows = sqlx::query!("SELECT number, leaf, hash FROM audit WHERE number > $1 ORDER BY number LIMIT $2", number, at_most)
            .fetch_all(&self.readers)
            .await
            .map_err(from_sqlx)?;
        rows.into_iter()
            .map(|row| Ok(AuditRow { number: unsigned("audit number", row.number)?, leaf: row.leaf, hash: digest(&row.hash)? }))
            .collect()
    }
}
