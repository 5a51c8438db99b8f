//! How accounts stand: failures in a row, pauses, and what an account had certificates for.

use async_trait::async_trait;
use ca_core::limits::MAX_FAILURES;
use ca_core::model::{AccountId, AccountRecord, AuditEntry, Problem, ProblemType, Standing};
use ca_core::pki::{Identifier, Timestamp};
use ca_core::ports::{AccountAdminStore, StandingStore, StoreError, StoreResult};

use crate::SqliteStore;
use crate::accounts;
use crate::convert::{json, limit, read, time, unsigned};
use crate::error::from_sqlx;
use crate::writer::Tx;

impl Tx {
    /// Counts a failure of an account, unless it is this CA's own.
    pub(crate) async fn note_failure(&mut self, account: &str, problem: &Problem, at: Timestamp) -> StoreResult<()> {
        if matches!(problem.kind, ProblemType::ServerInternal | ProblemType::RateLimited) {
            return Ok(());
        }
        let (at, most) = (at.unix(), i64::from(MAX_FAILURES));
        sqlx::query!(
            "INSERT INTO account_failures (account_id, number, at, certificate)
             SELECT $1, coalesce(max(number), 0) + 1, $2,
                    coalesce((SELECT c.seq FROM certificates c WHERE c.account_id = $1 AND c.state = 'released' ORDER BY c.seq DESC LIMIT 1), 0)
             FROM account_failures WHERE account_id = $1",
            account,
            at
        )
        .execute(&mut self.connection)
        .await
        .map_err(from_sqlx)?;
        sqlx::query!(
            "DELETE FROM account_failures
             WHERE account_id = $1 AND number <= (SELECT max(f.number) FROM account_failures f WHERE f.account_id = $1) - $2",
            account,
            most
        )
        .execute(&mut self.connection)
        .await
        .map_err(from_sqlx)?;
        Ok(())
    }

    /// Ends an account's failures: something succeeded that leaves no certificate.
    pub(crate) async fn note_success(&mut self, account: &str) -> StoreResult<()> {
        sqlx::query!("DELETE FROM account_failures WHERE account_id = $1", account)
            .execute(&mut self.connection)
            .await
            .map_err(from_sqlx)?;
        Ok(())
    }

    async fn pause_account(&mut self, id: &AccountId, audit: &AuditEntry) -> StoreResult<Timestamp> {
        let (text, at) = (id.as_str(), audit.at.unix());
        let paused = sqlx::query!("UPDATE accounts SET paused_at = $2 WHERE id = $1 AND paused_at IS NULL", text, at)
            .execute(&mut self.connection)
            .await
            .map_err(from_sqlx)?;
        if paused.rows_affected() == 1 {
            self.audit(audit).await?;
            return Ok(audit.at);
        }
        let row = sqlx::query!("SELECT paused_at FROM accounts WHERE id = $1", text)
            .fetch_optional(&mut self.connection)
            .await
            .map_err(from_sqlx)?;
        row.and_then(|row| row.paused_at).map(time).ok_or_else(|| StoreError::NotFound(format!("account {id}")))
    }

    async fn resume_account(&mut self, id: &AccountId, audit: &AuditEntry) -> StoreResult<bool> {
        let text = id.as_str();
        if accounts::find(&mut self.connection, id).await?.is_none() {
            return Err(StoreError::NotFound(format!("account {id}")));
        }
        let resumed = sqlx::query!("UPDATE accounts SET paused_at = NULL WHERE id = $1 AND paused_at IS NOT NULL", text)
            .execute(&mut self.connection)
            .await
            .map_err(from_sqlx)?;
        self.note_success(text).await?;
        self.audit(audit).await?;
        Ok(resumed.rows_affected() == 1)
    }
}

#[async_trait]
impl StandingStore for SqliteStore {
    async fn standing(&self, account: &AccountId, identifiers: &[Identifier], since: Timestamp) -> StoreResult<Standing> {
        let (account, identifiers, since) = (account.as_str(), json(&identifiers), since.unix());
        let row = sqlx::query!(
            r#"SELECT
                 EXISTS (SELECT 1 FROM orders o WHERE o.account_id = $1 AND o.status = 'valid'
                           AND substr(o.identifiers, 1, 100) = substr($2, 1, 100) AND o.identifiers = $2) AS "renews!: bool",
                 (SELECT count(*) FROM account_failures f WHERE f.account_id = $1 AND f.at >= $3 AND f.certificate = coalesce(
                    (SELECT c.seq FROM certificates c WHERE c.account_id = $1 AND c.state = 'released' ORDER BY c.seq DESC LIMIT 1), 0))
                   AS "failures!: i64",
                 (SELECT a.paused_at FROM accounts a WHERE a.id = $1) AS "paused?: i64""#,
            account,
            identifiers,
            since
        )
        .fetch_one(&self.readers)
        .await
        .map_err(from_sqlx)?;
        Ok(Standing { renews: row.renews, failures: unsigned("failures", row.failures)?, paused: row.paused.map(time) })
    }

    async fn pause_account(&self, id: &AccountId, audit: &AuditEntry) -> StoreResult<Timestamp> {
        let (id, audit) = (id.clone(), audit.clone());
        self.write(move |tx| Box::pin(async move { tx.pause_account(&id, &audit).await })).await
    }
}

impl SqliteStore {
    async fn record_of(&self, id: &AccountId) -> StoreResult<Option<AccountRecord>> {
        let Some(account) = accounts::find(&self.readers, id).await? else { return Ok(None) };
        let standing = self.standing(id, &[], Timestamp::from_unix(0)).await?;
        Ok(Some(AccountRecord { account, failures: standing.failures, paused: standing.paused }))
    }
}

#[async_trait]
impl AccountAdminStore for SqliteStore {
    async fn accounts(&self, paused: bool, at_most: u32) -> StoreResult<Vec<AccountRecord>> {
        let at_most = limit(at_most);
        let ids: Vec<String> = if paused {
            sqlx::query_scalar!("SELECT id FROM accounts WHERE paused_at IS NOT NULL ORDER BY seq DESC LIMIT $1", at_most)
                .fetch_all(&self.readers)
                .await
        } else {
            sqlx::query_scalar!("SELECT id FROM accounts WHERE seq > 0 ORDER BY seq DESC LIMIT $1", at_most).fetch_all(&self.readers).await
        }
        .map_err(from_sqlx)?;
        let mut records = Vec::with_capacity(ids.len());
        for id in ids {
            records.extend(self.record_of(&read("account id", id)?).await?);
        }
        Ok(records)
    }

    async fn account_record(&self, id: &AccountId) -> StoreResult<Option<AccountRecord>> {
        self.record_of(id).await
    }

    async fn resume_account(&self, id: &AccountId, audit: &AuditEntry) -> StoreResult<bool> {
        let (id, audit) = (id.clone(), audit.clone());
        self.write(move |tx| Box::pin(async move { tx.resume_account(&id, &audit).await })).await
    }
}
