//! Accounts: their rows, and the commands on them.

use ca_core::model::{Account, AccountId, AccountStatus, AuditEntry, NewAccount, RequestId};
use ca_core::ports::{StoreError, StoreResult};
use sqlx::SqliteExecutor;

use crate::convert::{from_json, json, read, time, word};
use crate::error::{conflict, from_sqlx, or_taken};
use crate::writer::Tx;

const KEY_TAKEN: &str = "another account that is pending or valid has this key";

struct AccountRow {
    id: String,
    status: String,
    jwk: String,
    thumbprint: String,
    contact: String,
    terms_agreed: i64,
    grant_id: String,
    created_at: i64,
}

impl AccountRow {
    fn read(self) -> StoreResult<Account> {
        Ok(Account {
            id: read("account id", self.id)?,
            status: read("account status", self.status)?,
            jwk: self.jwk,
            thumbprint: self.thumbprint,
            contact: from_json("contacts", &self.contact)?,
            terms_of_service_agreed: self.terms_agreed != 0,
            grant: read("grant id", self.grant_id)?,
            created_at: time(self.created_at),
        })
    }
}

/// Reads an account.
pub(crate) async fn find(executor: impl SqliteExecutor<'_>, id: &AccountId) -> StoreResult<Option<Account>> {
    let id = id.as_str();
    sqlx::query_as!(
        AccountRow,
        "SELECT id, status, jwk, thumbprint, contact, terms_agreed, grant_id, created_at FROM accounts WHERE id = $1",
        id
    )
    .fetch_optional(executor)
    .await
    .map_err(from_sqlx)?
    .map(AccountRow::read)
    .transpose()
}

/// Reads the account with this key: the one in use, or else the newest that was.
pub(crate) async fn find_by_key(executor: impl SqliteExecutor<'_>, thumbprint: &str) -> StoreResult<Option<Account>> {
    sqlx::query_as!(
        AccountRow,
        "SELECT id, status, jwk, thumbprint, contact, terms_agreed, grant_id, created_at FROM accounts WHERE thumbprint = $1
         ORDER BY status IN ('pending', 'valid') DESC, seq DESC LIMIT 1",
        thumbprint
    )
    .fetch_optional(executor)
    .await
    .map_err(from_sqlx)?
    .map(AccountRow::read)
    .transpose()
}

impl Tx {
    pub(crate) async fn queue_account(&mut self, new: &NewAccount, audit: &AuditEntry) -> StoreResult<RequestId> {
        let account = &new.account;
        if account.status != AccountStatus::Pending {
            return conflict("a new account is pending until the worker has verified its binding");
        }
        let (id, status, contact) = (account.id.as_str(), word(&account.status), json(&account.contact));
        let (grant, at) = (account.grant.as_str(), account.created_at.unix());
        sqlx::query!(
            "INSERT INTO accounts (id, status, jwk, thumbprint, contact, terms_agreed, grant_id, created_at, jws)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            id,
            status,
            account.jwk,
            account.thumbprint,
            contact,
            account.terms_of_service_agreed,
            grant,
            at,
            new.jws
        )
        .execute(&mut self.connection)
        .await
        .map_err(or_taken(KEY_TAKEN))?;
        let request = RequestId::for_account(&account.id);
        let request_id = request.as_str();
        sqlx::query!(
            "INSERT INTO requests (id, account_id, state, not_before, received_at) VALUES ($1, $2, 'queued', $3, $3)",
            request_id,
            id,
            at
        )
        .execute(&mut self.connection)
        .await
        .map_err(or_taken("this account was asked for before"))?;
        self.audit(audit).await?;
        self.touched.requests = true;
        Ok(request)
    }

    pub(crate) async fn update_contact(&mut self, id: &AccountId, contact: &[String], audit: &AuditEntry) -> StoreResult<Account> {
        let (text, contact) = (id.as_str(), json(&contact));
        let changed = sqlx::query!("UPDATE accounts SET contact = $2 WHERE id = $1 AND status = 'valid'", text, contact)
            .execute(&mut self.connection)
            .await
            .map_err(from_sqlx)?;
        self.changed_account(id, changed.rows_affected(), audit).await
    }

    pub(crate) async fn deactivate_account(&mut self, id: &AccountId, audit: &AuditEntry) -> StoreResult<Account> {
        let text = id.as_str();
        let changed = sqlx::query!("UPDATE accounts SET status = 'deactivated' WHERE id = $1 AND status = 'valid'", text)
            .execute(&mut self.connection)
            .await
            .map_err(from_sqlx)?;
        // RFC 8555 §7.3.6: pending operations of the account are cancelled.
        sqlx::query!("UPDATE orders SET status = 'invalid' WHERE account_id = $1 AND status IN ('pending', 'ready')", text)
            .execute(&mut self.connection)
            .await
            .map_err(from_sqlx)?;
        // RFC 8739 §3.1.2: those that renew themselves stand as canceled.
        if changed.rows_affected() > 0 {
            self.cancel_orders_of_account(text, audit.at).await?;
        }
        self.changed_account(id, changed.rows_affected(), audit).await
    }

    pub(crate) async fn change_key(
        &mut self,
        id: &AccountId,
        old_thumbprint: &str,
        jwk: &str,
        thumbprint: &str,
        jws: &str,
        audit: &AuditEntry,
    ) -> StoreResult<Account> {
        let text = id.as_str();
        let changed = sqlx::query!(
            "UPDATE accounts SET jwk = $3, thumbprint = $4 WHERE id = $1 AND thumbprint = $2 AND status = 'valid'",
            text,
            old_thumbprint,
            jwk,
            thumbprint
        )
        .execute(&mut self.connection)
        .await
        .map_err(or_taken(KEY_TAKEN))?;
        let account = self.changed_account(id, changed.rows_affected(), audit).await?;
        sqlx::query!(
            "INSERT INTO key_changes (account_id, number, jws)
             SELECT $1, coalesce(max(number), 0) + 1, $2 FROM key_changes WHERE account_id = $1",
            text,
            jws
        )
        .execute(&mut self.connection)
        .await
        .map_err(from_sqlx)?;
        Ok(account)
    }

    /// Ends a compare-and-set on an account: tells why nothing changed, or audits and reads it back.
    async fn changed_account(&mut self, id: &AccountId, rows: u64, audit: &AuditEntry) -> StoreResult<Account> {
        let account = find(&mut self.connection, id).await?.ok_or_else(|| StoreError::NotFound(format!("account {id}")))?;
        if rows == 0 {
            return match account.status {
                AccountStatus::Valid => conflict("the account has another key"),
                other => conflict(format!("the account is {}", word(&other))),
            };
        }
        self.audit(audit).await?;
        Ok(account)
    }
}
