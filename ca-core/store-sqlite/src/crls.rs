//! CRLs: their numbers, their entries and the current one.

use async_trait::async_trait;
use ca_core::model::{AuthorityName, CrlRecord, CrlScope, RevokedEntry};
use ca_core::pki::{SerialNumber, Timestamp};
use ca_core::ports::{CrlStore, StoreResult};
use sqlx::SqliteExecutor;

use crate::SqliteStore;
use crate::convert::{limit, reason, serial, signed, time, unsigned};
use crate::error::{conflict, from_sqlx, or_taken};
use crate::writer::Tx;

/// Seconds are shifted by this much in a CRL number.
const PER_SECOND: i64 = 65_536;

/// The current CRL of a scope.
pub(crate) async fn current(
    executor: impl SqliteExecutor<'_>,
    authority: &AuthorityName,
    scope: CrlScope,
) -> StoreResult<Option<CrlRecord>> {
    let name = authority.as_str();
    let row = sqlx::query!(
        "SELECT number, this_update, next_update, ledger_number, der FROM crls WHERE authority = $1 AND scope = $2
         ORDER BY number DESC LIMIT 1",
        name,
        scope.0
    )
    .fetch_optional(executor)
    .await
    .map_err(from_sqlx)?;
    row.map(|row| {
        Ok(CrlRecord {
            authority: authority.clone(),
            scope,
            number: unsigned("CRL number", row.number)?,
            this_update: time(row.this_update),
            next_update: time(row.next_update),
            ledger_number: unsigned("ledger number", row.ledger_number)?,
            der: row.der,
        })
    })
    .transpose()
}

impl Tx {
    async fn allocate_crl_number(&mut self, authority: &AuthorityName, scope: CrlScope, now: Timestamp) -> StoreResult<u64> {
        let (name, from_time) = (authority.as_str(), now.unix().max(0).saturating_mul(PER_SECOND));
        let row = sqlx::query!(
            "INSERT INTO crl_heads (authority, scope, allocated) VALUES ($1, $2, max($3, 1))
             ON CONFLICT (authority, scope) DO UPDATE SET allocated = max(allocated + 1, excluded.allocated)
             RETURNING allocated",
            name,
            scope.0,
            from_time
        )
        .fetch_one(&mut self.connection)
        .await
        .map_err(or_taken("no such authority"))?;
        unsigned("CRL number", row.allocated)
    }

    /// Stores an imported CRL, where it is newer than the current one. Whether anything changed.
    pub(crate) async fn import_crl(&mut self, crl: &CrlRecord) -> StoreResult<bool> {
        if let Some(stored) = current(&mut self.connection, &crl.authority, crl.scope).await? {
            if stored.number == crl.number && stored.der != crl.der {
                return conflict(format!("another CRL of authority {} has number {}", crl.authority, crl.number));
            }
            // Invariant 7: an older bundle does not move the pointer back.
            if stored.number >= crl.number {
                return Ok(false);
            }
        }
        let (name, number, ledger_number) = (crl.authority.as_str(), signed(crl.number)?, signed(crl.ledger_number)?);
        let (this_update, next_update) = (crl.this_update.unix(), crl.next_update.unix());
        sqlx::query!(
            "INSERT INTO crl_heads (authority, scope, allocated, intended, released) VALUES ($1, $2, $3, $3, $3)
             ON CONFLICT (authority, scope) DO UPDATE SET released = excluded.released, intended = max(intended, excluded.intended),
                                                          allocated = max(allocated, excluded.allocated)",
            name,
            crl.scope.0,
            number
        )
        .execute(&mut self.connection)
        .await
        .map_err(or_taken("the CRL's authority is neither in the bundle nor in the store"))?;
        sqlx::query!(
            "INSERT INTO crls (authority, scope, number, this_update, next_update, ledger_number, der)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
            name,
            crl.scope.0,
            number,
            this_update,
            next_update,
            ledger_number,
            crl.der
        )
        .execute(&mut self.connection)
        .await
        .map_err(or_taken("the CRL number is taken"))?;
        Ok(true)
    }
}

#[async_trait]
impl CrlStore for SqliteStore {
    async fn allocate_crl_number(&self, authority: &AuthorityName, scope: &CrlScope, now: Timestamp) -> StoreResult<u64> {
        let (authority, scope) = (authority.clone(), *scope);
        self.write(move |tx| Box::pin(async move { tx.allocate_crl_number(&authority, scope, now).await })).await
    }

    async fn revoked_entries(
        &self,
        authority: &AuthorityName,
        scope: &CrlScope,
        after: Option<&SerialNumber>,
        at_most: u32,
    ) -> StoreResult<Vec<RevokedEntry>> {
        let (name, at_most) = (authority.as_str(), limit(at_most));
        // No serial number is as low as the empty string of octets.
        let after = after.map_or(&[][..], |serial| serial.as_bytes().as_slice());
        let rows = sqlx::query!(
            r#"SELECT serial, revoked_at AS "revoked_at!", revocation_reason AS "reason!", invalidity_date FROM certificates
               WHERE authority = $1 AND crl_partition = $2 AND serial > $3 AND revoked_at IS NOT NULL AND off_crl = 0
               ORDER BY serial LIMIT $4"#,
            name,
            scope.0,
            after,
            at_most
        )
        .fetch_all(&self.readers)
        .await
        .map_err(from_sqlx)?;
        rows.into_iter()
            .map(|row| {
                Ok(RevokedEntry {
                    serial: serial(&row.serial)?,
                    revoked_at: time(row.revoked_at),
                    reason: reason(row.reason)?,
                    invalidity_date: row.invalidity_date.map(time),
                })
            })
            .collect()
    }
}
