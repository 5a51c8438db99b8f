//! CRLs: their numbers, their entries and the current one.

use async_trait::async_trait;
use ca_core::model::{AuthorityName, CrlHead, CrlRecord, CrlScope, RevokedEntry};
use ca_core::pki::{SerialNumber, Timestamp};
use ca_core::ports::{CrlStore, StoreResult};
use rusqlite::Connection;

use crate::SqliteStore;
use crate::convert::{limit, reason, serial, signed, time, unsigned};
use crate::error::{conflict, or_taken};
use crate::sql::{Row, all, execute, one, optional};
use crate::writer::Tx;

fn read_head(row: &Row<'_>) -> StoreResult<CrlHead> {
    Ok(CrlHead {
        number: unsigned("CRL number", row.get("number")?)?,
        this_update: time(row.get("this_update")?),
        next_update: time(row.get("next_update")?),
        ledger_number: unsigned("ledger number", row.get("ledger_number")?)?,
    })
}

/// The current CRL of a scope.
pub(crate) fn current(connection: &Connection, authority: &AuthorityName, scope: CrlScope) -> StoreResult<Option<CrlRecord>> {
    let name = authority.as_str();
    let read = |row: &Row<'_>| {
        let CrlHead { number, this_update, next_update, ledger_number } = read_head(row)?;
        Ok(CrlRecord { authority: authority.clone(), scope, number, this_update, next_update, ledger_number, der: row.get("der")? })
    };
    optional!(
        connection,
        read,
        "SELECT number, this_update, next_update, ledger_number, der FROM crls WHERE authority = $1 AND scope = $2
         ORDER BY number DESC LIMIT 1",
        name,
        scope.0
    )
}

/// What the current CRL of a scope says of itself.
fn head(connection: &Connection, authority: &AuthorityName, scope: CrlScope) -> StoreResult<Option<CrlHead>> {
    let name = authority.as_str();
    optional!(
        connection,
        read_head,
        "SELECT number, this_update, next_update, ledger_number FROM crls WHERE authority = $1 AND scope = $2
         ORDER BY number DESC LIMIT 1",
        name,
        scope.0
    )
}

impl Tx {
    fn allocate_crl_number(&mut self, authority: &AuthorityName, scope: CrlScope, now: Timestamp) -> StoreResult<u64> {
        let (name, from_time) = (authority.as_str(), i64::try_from(CrlRecord::first_number(now)).unwrap_or(i64::MAX));
        one!(
            &self.connection,
            |row| unsigned("CRL number", row.get("allocated")?),
            "INSERT INTO crl_heads (authority, scope, allocated) VALUES ($1, $2, max($3, 1))
             ON CONFLICT (authority, scope) DO UPDATE SET allocated = max(allocated + 1, excluded.allocated)
             RETURNING allocated",
            name,
            scope.0,
            from_time
        )
        .map_err(or_taken("no such authority"))
    }

    fn relist(&mut self, authority: &AuthorityName, scope: CrlScope, now: Timestamp) -> StoreResult<u64> {
        let (name, now) = (authority.as_str(), now.unix());
        let listed = execute!(
            &self.connection,
            "UPDATE certificates SET off_crl = 0
             WHERE not_after > $3 AND off_crl = 1 AND revoked_at IS NOT NULL AND authority = $1 AND crl_partition = $2",
            name,
            scope.0,
            now
        )?;
        Ok(listed as u64)
    }

    /// Stores an imported CRL, where it is newer than the current one. Whether anything changed.
    pub(crate) fn import_crl(&mut self, crl: &CrlRecord) -> StoreResult<bool> {
        if let Some(stored) = current(&self.connection, &crl.authority, crl.scope)? {
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
        execute!(
            &self.connection,
            "INSERT INTO crl_heads (authority, scope, allocated, intended, released) VALUES ($1, $2, $3, $3, $3)
             ON CONFLICT (authority, scope) DO UPDATE SET released = excluded.released, intended = max(intended, excluded.intended),
                                                          allocated = max(allocated, excluded.allocated)",
            name,
            crl.scope.0,
            number
        )
        .map_err(or_taken("the CRL's authority is neither in the bundle nor in the store"))?;
        execute!(
            &self.connection,
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
        .map_err(or_taken("the CRL number is taken"))?;
        Ok(true)
    }
}

#[async_trait]
impl CrlStore for SqliteStore {
    async fn crl_head(&self, authority: &AuthorityName, scope: &CrlScope) -> StoreResult<Option<CrlHead>> {
        self.readers.look(|c| head(c, authority, *scope))
    }

    async fn allocate_crl_number(&self, authority: &AuthorityName, scope: &CrlScope, now: Timestamp) -> StoreResult<u64> {
        let (authority, scope) = (authority.clone(), *scope);
        self.write(move |tx| tx.allocate_crl_number(&authority, scope, now)).await
    }

    async fn relist(&self, authority: &AuthorityName, scope: &CrlScope, now: Timestamp) -> StoreResult<u64> {
        let (authority, scope) = (authority.clone(), *scope);
        self.write(move |tx| tx.relist(&authority, scope, now)).await
    }

    async fn revoked_entries(
        &self,
        authority: &AuthorityName,
        scope: &CrlScope,
        after: Option<&SerialNumber>,
        at_most: u32,
    ) -> StoreResult<Vec<RevokedEntry>> {
        let (authority, scope, after, at_most) = (authority.clone(), *scope, after.copied(), limit(at_most));
        self.readers.list(move |c| revoked_entries(c, &authority, scope, after.as_ref(), at_most)).await
    }
}

fn revoked_entries(
    connection: &Connection,
    authority: &AuthorityName,
    scope: CrlScope,
    after: Option<&SerialNumber>,
    at_most: i64,
) -> StoreResult<Vec<RevokedEntry>> {
    let name = authority.as_str();
    // No serial number is as low as the empty string of octets.
    let after = after.map_or(&[][..], |serial| serial.as_bytes().as_slice());
    let read = |row: &Row<'_>| {
        let (number, invalidity_date): (Vec<u8>, Option<i64>) = (row.get("serial")?, row.get("invalidity_date")?);
        Ok(RevokedEntry {
            serial: serial(&number)?,
            revoked_at: time(row.get("revoked_at")?),
            reason: reason(row.get("revocation_reason")?)?,
            invalidity_date: invalidity_date.map(time),
        })
    };
    all!(
        connection,
        read,
        "SELECT serial, invalidity_date, revoked_at, revocation_reason FROM certificates
         WHERE authority = $1 AND crl_partition = $2 AND serial > $3 AND revoked_at IS NOT NULL AND off_crl = 0
         ORDER BY serial LIMIT $4",
        name,
        scope.0,
        after,
        at_most
    )
}
