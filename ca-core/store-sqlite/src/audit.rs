//! The audit trail: leaves numbered without gaps and chained by hash, written with what they describe.
//!
//! An intent's own leaf is a row of this chain, in place of an audit entry: it says who, when and what in full, and a
//! leaf's first line tells its format.

use async_trait::async_trait;
use ca_core::log;
use ca_core::model::{AuditEntry, AuditRow};
use ca_core::pki::Sha256Digest;
use ca_core::ports::{AUDIT_PAGE_BYTES, AuditStore, StoreResult};
use rusqlite::Connection;

use crate::SqliteStore;
use crate::convert::{digest, limit, signed, unsigned};
use crate::sql::{Row, all, execute, optional};
use crate::writer::Tx;

impl Tx {
    /// Chains an entry; gives its number.
    pub(crate) fn audit(&mut self, entry: &AuditEntry) -> StoreResult<u64> {
        self.chain(&log::audit_leaf(entry))
    }

    /// Chains a leaf; gives its number. There is one writer, so nobody comes between the read and the write.
    pub(crate) fn chain(&mut self, leaf: &[u8]) -> StoreResult<u64> {
        let (last, before) = self.trail()?;
        let (number, hash) = (last + 1, log::chain(&before, leaf));
        execute!(&self.connection, "INSERT INTO audit (number, leaf, hash) VALUES ($1, $2, $3)", number, leaf, hash.0.as_slice())?;
        self.trail = Some((number, hash));
        unsigned("audit number", number)
    }

    /// The trail's last number and hash.
    fn trail(&mut self) -> StoreResult<(i64, Sha256Digest)> {
        if let Some(known) = self.trail {
            return Ok(known);
        }
        let read = |row: &Row<'_>| Ok((row.get("number")?, digest(&row.octets("hash")?)?));
        let last = optional!(&self.connection, read, "SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1")?;
        Ok(last.unwrap_or((0, log::CHAIN_START)))
    }
}

/// How many rows of these sizes go into one page: as many as its bytes allow, but one.
fn page(sizes: impl Iterator<Item = u64>) -> u32 {
    let (mut rows, mut bytes) = (0, 0u64);
    for size in sizes {
        bytes = bytes.saturating_add(size);
        if rows > 0 && bytes > AUDIT_PAGE_BYTES {
            break;
        }
        rows += 1;
    }
    rows
}

#[async_trait]
impl AuditStore for SqliteStore {
    async fn append_audit(&self, entry: &AuditEntry) -> StoreResult<u64> {
        let entry = entry.clone();
        self.write(move |tx| tx.audit(&entry)).await
    }

    async fn audit_after(&self, number: u64, at_most: u32) -> StoreResult<Vec<AuditRow>> {
        let (number, at_most) = (signed(number)?, limit(at_most));
        if at_most == 1 {
            return self.readers.look(|c| rows_after(c, number, at_most));
        }
        let page_of = move |c: &Connection| {
            // The sizes first: they are read without the leaves. The table only grows.
            let size = |row: &Row<'_>| unsigned("leaf's size", row.get("size: i64")?);
            let sizes = all!(
                c,
                size,
                "SELECT length(leaf) AS \"size: i64\" FROM audit WHERE number > $1 ORDER BY number LIMIT $2",
                number,
                at_most
            )?;
            rows_after(c, number, i64::from(page(sizes.into_iter())))
        };
        self.readers.list(page_of).await
    }
}

fn rows_after(connection: &Connection, number: i64, at_most: i64) -> StoreResult<Vec<AuditRow>> {
    let read = |row: &Row<'_>| {
        let number = unsigned("audit number", row.get("number")?)?;
        Ok(AuditRow { number, leaf: row.octets("leaf")?, hash: digest(&row.octets("hash")?)? })
    };
    all!(connection, read, "SELECT number, leaf, hash FROM audit WHERE number > $1 ORDER BY number LIMIT $2", number, at_most)
}
