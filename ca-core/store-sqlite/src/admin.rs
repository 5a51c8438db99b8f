//! What the worker writes on behalf of verified operators and ceremonies: policies, nonces, grants.

use async_trait::async_trait;
use ca_core::model::{
    AuditEntry, Authority, BlockedKey, CrlRecord, CrossCertificate, Grant, GrantId, GrantRecord, GrantStatus, Problem, ProblemType,
    SignedStatement,
};
use ca_core::pki::{Sha256Digest, Timestamp};
use ca_core::ports::{AdminStore, StoreError, StoreResult};
use sqlx::SqliteExecutor;

use crate::convert::{from_json, json, limit, read, signed, time, unsigned, word};
use crate::error::{conflict, from_sqlx, or_taken};
use crate::writer::Tx;
use crate::{SqliteStore, blocked_keys};

struct GrantRow {
    body: String,
    statement: String,
    signature: String,
    status: String,
    created_at: i64,
    accounts: i64,
    suspended_at: Option<i64>,
}

impl GrantRow {
    fn read(self) -> StoreResult<GrantRecord> {
        let status = match read("grant status", self.status)? {
            GrantStatus::Active if self.suspended_at.is_some() => GrantStatus::Suspended,
            status => status,
        };
        Ok(GrantRecord {
            grant: from_json("grant", &self.body)?,
            evidence: SignedStatement { statement: self.statement, signature: self.signature },
            status,
            created_at: time(self.created_at),
            accounts: unsigned("accounts", self.accounts)?,
        })
    }
}

/// Reads a grant.
pub(crate) async fn find_grant(executor: impl SqliteExecutor<'_>, id: &GrantId) -> StoreResult<Option<GrantRecord>> {
    let id = id.as_str();
    sqlx::query_as!(GrantRow, "SELECT body, statement, signature, status, created_at, accounts, suspended_at FROM grants WHERE id = $1", id)
        .fetch_optional(executor)
        .await
        .map_err(from_sqlx)?
        .map(GrantRow::read)
        .transpose()
}

impl Tx {
    async fn put_policy(&mut self, version: u64, bundle: &str, audit: &AuditEntry) -> StoreResult<()> {
        let (version, at) = (signed(version)?, audit.at.unix());
        let newest = sqlx::query!("SELECT version, bundle FROM policies ORDER BY version DESC LIMIT 1")
            .fetch_optional(&mut self.connection)
            .await
            .map_err(from_sqlx)?;
        match newest {
            Some(row) if row.version == version && row.bundle == bundle => return Ok(()),
            Some(row) if row.version >= version => {
                return conflict(format!("policy version {} is in force; {version} is not newer", row.version));
            }
            _ => {}
        }
        sqlx::query!("INSERT INTO policies (version, bundle, stored_at) VALUES ($1, $2, $3)", version, bundle, at)
            .execute(&mut self.connection)
            .await
            .map_err(from_sqlx)?;
        self.audit(audit).await?;
        Ok(())
    }

    async fn spend_nonce(&mut self, nonce: &str, expires: Timestamp, audit: &AuditEntry) -> StoreResult<()> {
        let expires = expires.unix();
        sqlx::query!("INSERT INTO nonces (nonce, expires) VALUES ($1, $2)", nonce, expires)
            .execute(&mut self.connection)
            .await
            .map_err(or_taken("the statement was submitted before: its nonce is spent (hint: sign a new statement)"))?;
        self.audit(audit).await?;
        Ok(())
    }

    async fn put_grant(&mut self, record: &GrantRecord, audit: &AuditEntry) -> StoreResult<()> {
        let grant = &record.grant;
        let (id, body, status) = (grant.id.as_str(), json(grant), word(&record.status));
        let (statement, signature, at) = (&record.evidence.statement, &record.evidence.signature, record.created_at.unix());
        match find_grant(&mut self.connection, &grant.id).await? {
            Some(stored) if stored.grant == *grant && stored.evidence == record.evidence => return Ok(()),
            Some(_) => return conflict(format!("there is a grant {id} already")),
            None => {}
        }
        sqlx::query!(
            "INSERT INTO grants (id, version, body, max_accounts, statement, signature, status, created_at, accounts)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            id,
            grant.version,
            body,
            grant.max_accounts,
            statement,
            signature,
            status,
            at,
            record.accounts
        )
        .execute(&mut self.connection)
        .await
        .map_err(from_sqlx)?;
        self.audit(audit).await?;
        Ok(())
    }

    async fn update_grant(&mut self, grant: &Grant, evidence: &SignedStatement, previous: &str, audit: &AuditEntry) -> StoreResult<()> {
        let (id, body) = (grant.id.as_str(), json(grant));
        let changed = sqlx::query!(
            "UPDATE grants SET version = $2, body = $3, max_accounts = $4, statement = $5, signature = $6
             WHERE id = $1 AND status = 'active' AND statement = $7",
            id,
            grant.version,
            body,
            grant.max_accounts,
            evidence.statement,
            evidence.signature,
            previous
        )
        .execute(&mut self.connection)
        .await
        .map_err(from_sqlx)?;
        if changed.rows_affected() == 0 {
            return conflict(format!("grant {id} was changed or revoked meanwhile"));
        }
        self.audit(audit).await?;
        Ok(())
    }

    async fn suspend_grant(&mut self, id: &GrantId, suspended: bool, audit: &AuditEntry) -> StoreResult<()> {
        let (text, since) = (id.as_str(), suspended.then_some(audit.at.unix()));
        match find_grant(&mut self.connection, id).await? {
            None => return Err(StoreError::NotFound(format!("grant {id}"))),
            Some(stored) if stored.status == GrantStatus::Revoked => return conflict(format!("grant {id} is revoked")),
            Some(stored) if (stored.status == GrantStatus::Suspended) == suspended => {}
            Some(_) => {
                sqlx::query!("UPDATE grants SET suspended_at = $2 WHERE id = $1", text, since)
                    .execute(&mut self.connection)
                    .await
                    .map_err(from_sqlx)?;
                if suspended {
                    self.cancel_orders_of_grant(id, audit.at).await?;
                }
            }
        }
        self.audit(audit).await?;
        Ok(())
    }

    async fn revoke_grant(&mut self, id: &GrantId, audit: &AuditEntry) -> StoreResult<u32> {
        let text = id.as_str();
        let changed = sqlx::query!("UPDATE grants SET status = 'revoked' WHERE id = $1 AND status = 'active'", text)
            .execute(&mut self.connection)
            .await
            .map_err(from_sqlx)?;
        if changed.rows_affected() == 0 {
            // Revoked before: the same command again changes nothing.
            return find_grant(&mut self.connection, id).await?.map(|_| 0).ok_or_else(|| StoreError::NotFound(format!("grant {id}")));
        }
        sqlx::query!(
            "UPDATE orders SET status = 'invalid'
             WHERE status IN ('pending', 'ready') AND account_id IN (SELECT id FROM accounts WHERE grant_id = $1)",
            text
        )
        .execute(&mut self.connection)
        .await
        .map_err(from_sqlx)?;
        self.cancel_orders_of_grant(id, audit.at).await?;
        self.refuse_waiting_accounts(text, audit.at).await?;
        let accounts = sqlx::query!("UPDATE accounts SET status = 'revoked' WHERE grant_id = $1 AND status IN ('pending', 'valid')", text)
            .execute(&mut self.connection)
            .await
            .map_err(from_sqlx)?;
        self.audit(audit).await?;
        u32::try_from(accounts.rows_affected()).map_err(|_| StoreError::Damaged("more accounts than can be counted".to_owned()))
    }

    /// Refuses the requests of a grant's accounts that no worker has looked at yet.
    async fn refuse_waiting_accounts(&mut self, grant: &str, at: Timestamp) -> StoreResult<()> {
        let problem = json(&Problem::new(ProblemType::Unauthorized, "the grant behind the external account binding was revoked"));
        let at = at.unix();
        let ended = sqlx::query!(
            "UPDATE requests SET state = 'refused', problem = $2, ended_at = $3, worker = NULL, lease = NULL, lease_until = NULL
             WHERE ended_at IS NULL AND order_id IS NULL
               AND account_id IN (SELECT id FROM accounts WHERE grant_id = $1 AND status = 'pending')
             RETURNING id",
            grant,
            problem,
            at
        )
        .fetch_all(&mut self.connection)
        .await
        .map_err(from_sqlx)?;
        for row in ended {
            self.touched.ended.push(read("request id", row.id)?);
        }
        Ok(())
    }
}

#[async_trait]
impl AdminStore for SqliteStore {
    async fn import_authorities(&self, authorities: &[Authority], crls: &[CrlRecord], audit: &AuditEntry) -> StoreResult<()> {
        let (authorities, crls, audit) = (authorities.to_vec(), crls.to_vec(), audit.clone());
        self.write(move |tx| Box::pin(async move { tx.import_authorities(&authorities, &crls, &audit).await })).await
    }

    async fn import_cross_certificates(&self, certificates: &[CrossCertificate], audit: &AuditEntry) -> StoreResult<u32> {
        let (certificates, audit) = (certificates.to_vec(), audit.clone());
        self.write(move |tx| Box::pin(async move { tx.import_cross_certificates(&certificates, &audit).await })).await
    }

    async fn put_policy(&self, version: u64, bundle: &str, audit: &AuditEntry) -> StoreResult<()> {
        let (bundle, audit) = (bundle.to_owned(), audit.clone());
        self.write(move |tx| Box::pin(async move { tx.put_policy(version, &bundle, &audit).await })).await
    }

    async fn policy(&self) -> StoreResult<Option<(u64, String)>> {
        let row = sqlx::query!("SELECT version, bundle FROM policies ORDER BY version DESC LIMIT 1")
            .fetch_optional(&self.readers)
            .await
            .map_err(from_sqlx)?;
        row.map(|row| Ok((unsigned("policy version", row.version)?, row.bundle))).transpose()
    }

    async fn spend_nonce(&self, nonce: &str, expires: Timestamp, audit: &AuditEntry) -> StoreResult<()> {
        let (nonce, audit) = (nonce.to_owned(), audit.clone());
        self.write(move |tx| Box::pin(async move { tx.spend_nonce(&nonce, expires, &audit).await })).await
    }

    async fn put_grant(&self, grant: &GrantRecord, audit: &AuditEntry) -> StoreResult<()> {
        let (grant, audit) = (grant.clone(), audit.clone());
        self.write(move |tx| Box::pin(async move { tx.put_grant(&grant, &audit).await })).await
    }

    async fn update_grant(&self, grant: &Grant, evidence: &SignedStatement, previous: &str, audit: &AuditEntry) -> StoreResult<()> {
        let (grant, evidence, previous, audit) = (grant.clone(), evidence.clone(), previous.to_owned(), audit.clone());
        self.write(move |tx| Box::pin(async move { tx.update_grant(&grant, &evidence, &previous, &audit).await })).await
    }

    async fn suspend_grant(&self, id: &GrantId, suspended: bool, audit: &AuditEntry) -> StoreResult<()> {
        let (id, audit) = (id.clone(), audit.clone());
        self.write(move |tx| Box::pin(async move { tx.suspend_grant(&id, suspended, &audit).await })).await
    }

    async fn revoke_grant(&self, id: &GrantId, audit: &AuditEntry) -> StoreResult<u32> {
        let (id, audit) = (id.clone(), audit.clone());
        self.write(move |tx| Box::pin(async move { tx.revoke_grant(&id, &audit).await })).await
    }

    async fn grants(&self, at_most: u32) -> StoreResult<Vec<GrantRecord>> {
        let at_most = limit(at_most);
        sqlx::query_as!(
            GrantRow,
            "SELECT body, statement, signature, status, created_at, accounts, suspended_at FROM grants ORDER BY seq DESC LIMIT $1",
            at_most
        )
        .fetch_all(&self.readers)
        .await
        .map_err(from_sqlx)?
        .into_iter()
        .map(GrantRow::read)
        .collect()
    }

    async fn block_key(&self, spki_sha256: &Sha256Digest, reason: &str, audit: &AuditEntry) -> StoreResult<bool> {
        let (spki_sha256, reason, audit) = (*spki_sha256, reason.to_owned(), audit.clone());
        self.write(move |tx| Box::pin(async move { tx.block_key(&spki_sha256, &reason, &audit).await })).await
    }

    async fn blocked_keys(&self, at_most: u32) -> StoreResult<Vec<BlockedKey>> {
        blocked_keys::list(&self.readers, at_most).await
    }
}
