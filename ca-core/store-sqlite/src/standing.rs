//! How accounts stand: failures in a row, pauses, and what an account had certificates for.

use async_trait::async_trait;
use ca_core::limits::{Exceeded, MAX_FAILURES, Share};
use ca_core::model::{AccountId, AccountRecord, AuditEntry, Standing};
use ca_core::pki::{Identifier, Timestamp};
use ca_core::ports::{AccountAdminStore, StandingStore, StoreError, StoreResult};
use rusqlite::Connection;

use crate::SqliteStore;
use crate::accounts;
use crate::convert::{json, limit, read, time, unsigned};
use crate::sql::{Row, all, execute, one, optional};
use crate::writer::Tx;

impl Tx {
    /// Counts a failure of an account: what is its own doing, which the caller knows.
    pub(crate) fn note_failure(&mut self, account: &str, at: Timestamp) -> StoreResult<()> {
        let (at, most) = (at.unix(), i64::from(MAX_FAILURES));
        execute!(
            &self.connection,
            "INSERT INTO account_failures (account_id, number, at, certificate)
             SELECT $1, coalesce(max(number), 0) + 1, $2,
                    coalesce((SELECT c.seq FROM certificates c WHERE c.account_id = $1 AND c.state = 'released' ORDER BY c.seq DESC LIMIT 1), 0)
             FROM account_failures WHERE account_id = $1",
            account,
            at
        )?;
        execute!(
            &self.connection,
            "DELETE FROM account_failures
             WHERE account_id = $1 AND number <= (SELECT max(f.number) FROM account_failures f WHERE f.account_id = $1) - $2",
            account,
            most
        )?;
        Ok(())
    }

    /// Ends an account's failures: something succeeded that leaves no certificate.
    pub(crate) fn note_success(&mut self, account: &str) -> StoreResult<()> {
        execute!(&self.connection, "DELETE FROM account_failures WHERE account_id = $1", account)?;
        Ok(())
    }

    fn pause_account(&mut self, id: &AccountId, audit: &AuditEntry) -> StoreResult<Timestamp> {
        let (text, at) = (id.as_str(), audit.at.unix());
        let paused = execute!(&self.connection, "UPDATE accounts SET paused_at = $2 WHERE id = $1 AND paused_at IS NULL", text, at)?;
        if paused == 1 {
            self.audit(audit)?;
            return Ok(audit.at);
        }
        let since = |row: &Row<'_>| row.get::<Option<i64>>("paused_at");
        let since = optional!(&self.connection, since, "SELECT paused_at FROM accounts WHERE id = $1", text)?;
        since.flatten().map(time).ok_or_else(|| StoreError::NotFound(format!("account {id}")))
    }

    fn resume_account(&mut self, id: &AccountId, audit: &AuditEntry) -> StoreResult<bool> {
        let text = id.as_str();
        if accounts::find(&self.connection, id)?.is_none() {
            return Err(StoreError::NotFound(format!("account {id}")));
        }
        let resumed = execute!(&self.connection, "UPDATE accounts SET paused_at = NULL WHERE id = $1 AND paused_at IS NOT NULL", text)?;
        self.note_success(text)?;
        self.audit(audit)?;
        Ok(resumed == 1)
    }
}

fn standing(connection: &Connection, account: &AccountId, identifiers: &[Identifier], since: Timestamp) -> StoreResult<Standing> {
    let (account, identifiers, since) = (account.as_str(), json(&identifiers), since.unix());
    let read = |row: &Row<'_>| {
        Ok(Standing {
            renews: row.get("renews")?,
            failures: unsigned("failures", row.get("failures")?)?,
            paused: row.get::<Option<i64>>("paused")?.map(time),
        })
    };
    one!(
        connection,
        read,
        "SELECT
           EXISTS (SELECT 1 FROM orders o WHERE o.account_id = $1 AND o.status = 'valid'
                     AND substr(o.identifiers, 1, 100) = substr($2, 1, 100) AND o.identifiers = $2) AS renews,
           (SELECT count(*) FROM account_failures f WHERE f.account_id = $1 AND f.at >= $3 AND f.certificate = coalesce(
              (SELECT c.seq FROM certificates c WHERE c.account_id = $1 AND c.state = 'released' ORDER BY c.seq DESC LIMIT 1), 0))
             AS failures,
           (SELECT a.paused_at FROM accounts a WHERE a.id = $1) AS paused",
        account,
        identifiers,
        since
    )
}

fn record_of(connection: &Connection, id: &AccountId) -> StoreResult<Option<AccountRecord>> {
    let Some(account) = accounts::find(connection, id)? else { return Ok(None) };
    let standing = standing(connection, id, &[], Timestamp::from_unix(0))?;
    Ok(Some(AccountRecord { account, failures: standing.failures, paused: standing.paused }))
}

/// The newest accounts, or of these the paused ones.
fn records(connection: &Connection, paused: bool, at_most: i64) -> StoreResult<Vec<AccountRecord>> {
    let id = |row: &Row<'_>| read("account id", row.get("id")?);
    let ids: Vec<AccountId> = if paused {
        all!(connection, id, "SELECT id FROM accounts WHERE paused_at IS NOT NULL ORDER BY seq DESC LIMIT $1", at_most)
    } else {
        all!(connection, id, "SELECT id FROM accounts WHERE seq > 0 ORDER BY seq DESC LIMIT $1", at_most)
    }?;
    let mut records = Vec::with_capacity(ids.len());
    for id in ids {
        records.extend(record_of(connection, &id)?);
    }
    Ok(records)
}

#[async_trait]
impl StandingStore for SqliteStore {
    async fn standing(&self, account: &AccountId, identifiers: &[Identifier], since: Timestamp) -> StoreResult<Standing> {
        self.readers.look(|c| standing(c, account, identifiers, since))
    }

    async fn take_shares(&self, wanted: &[Share], now: Timestamp) -> StoreResult<Option<Exceeded>> {
        self.shares.take(wanted, now)
    }

    async fn pause_account(&self, id: &AccountId, audit: &AuditEntry) -> StoreResult<Timestamp> {
        let (id, audit) = (id.clone(), audit.clone());
        self.write(move |tx| tx.pause_account(&id, &audit)).await
    }
}

#[async_trait]
impl AccountAdminStore for SqliteStore {
    async fn accounts(&self, paused: bool, at_most: u32) -> StoreResult<Vec<AccountRecord>> {
        let at_most = limit(at_most);
        self.readers.list(move |c| records(c, paused, at_most)).await
    }

    async fn account_record(&self, id: &AccountId) -> StoreResult<Option<AccountRecord>> {
        self.readers.look(|c| record_of(c, id))
    }

    async fn resume_account(&self, id: &AccountId, audit: &AuditEntry) -> StoreResult<bool> {
        let (id, audit) = (id.clone(), audit.clone());
        self.write(move |tx| tx.resume_account(&id, &audit)).await
    }
}
