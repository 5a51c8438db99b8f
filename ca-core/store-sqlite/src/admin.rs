//! What the worker writes on behalf of verified operators and ceremonies: policies, nonces, grants.

use async_trait::async_trait;
use ca_core::model::{
    AuditEntry, Authority, BlockedKey, CrlRecord, CrossCertificate, Grant, GrantId, GrantRecord, GrantStatus, Problem, ProblemType,
    RequestState, SignedStatement,
};
use ca_core::pki::{Sha256Digest, Timestamp};
use ca_core::ports::{AdminStore, StoreError, StoreResult};
use rusqlite::Connection;

use crate::convert::{from_json, json, limit, read, signed, time, unsigned, word};
use crate::error::{conflict, or_taken};
use crate::sql::{Row, all, execute, optional};
use crate::writer::Tx;
use crate::{SqliteStore, blocked_keys};

fn read_grant(row: &Row<'_>) -> StoreResult<GrantRecord> {
    let id = read("grant id", row.get("id")?)?;
    let status = match read("grant status", row.get("status")?)? {
        GrantStatus::Active if row.get::<Option<i64>>("suspended_at")?.is_some() => GrantStatus::Suspended,
        status => status,
    };
    let mut grant: Grant = from_json("grant", &row.get::<String>("body")?)?;
    // The row is found by its column, and lists go on after it.
    grant.id = id;
    Ok(GrantRecord {
        grant,
        evidence: SignedStatement { statement: row.get("statement")?, signature: row.get("signature")? },
        status,
        created_at: time(row.get("created_at")?),
        accounts: unsigned("accounts", row.get("accounts")?)?,
    })
}

/// Reads a grant.
fn find_grant(connection: &Connection, id: &GrantId) -> StoreResult<Option<GrantRecord>> {
    Ok(find_grant_row(connection, id)?.map(|(_, grant)| grant))
}

/// Reads a grant, with the number of its row.
pub(crate) fn find_grant_row(connection: &Connection, id: &GrantId) -> StoreResult<Option<(i64, GrantRecord)>> {
    let id = id.as_str();
    optional!(
        connection,
        |row| Ok((row.get("seq")?, read_grant(row)?)),
        "SELECT seq, id, status, suspended_at, body, statement, signature, created_at, accounts FROM grants WHERE id = $1",
        id
    )
}

/// Grants, newest first, after this one.
fn list_grants(connection: &Connection, after: Option<&GrantId>, at_most: i64) -> StoreResult<Vec<GrantRecord>> {
    let below = match after {
        None => i64::MAX,
        Some(id) => {
            let text = id.as_str();
            let seq = optional!(connection, |row| row.get::<i64>("seq"), "SELECT seq FROM grants WHERE id = $1", text)?;
            seq.ok_or_else(|| StoreError::Conflict(format!("there is no grant {id}, after which a list could go on")))?
        }
    };
    all!(
        connection,
        read_grant,
        "SELECT id, status, suspended_at, body, statement, signature, created_at, accounts FROM grants WHERE seq < $1
         ORDER BY seq DESC LIMIT $2",
        below,
        at_most
    )
}

/// The policy in force: its version and its bundle.
fn newest_policy(connection: &Connection) -> StoreResult<Option<(i64, String)>> {
    let read = |row: &Row<'_>| Ok((row.get("version")?, row.get("bundle")?));
    optional!(connection, read, "SELECT version, bundle FROM policies ORDER BY version DESC LIMIT 1")
}

impl Tx {
    fn put_policy(&mut self, version: u64, bundle: &str, audit: &AuditEntry) -> StoreResult<()> {
        let (version, at) = (signed(version)?, audit.at.unix());
        match newest_policy(&self.connection)? {
            Some((newest, stored)) if newest == version && stored == bundle => return Ok(()),
            Some((newest, _)) if newest >= version => {
                return conflict(format!("policy version {newest} is in force; {version} is not newer"));
            }
            _ => {}
        }
        execute!(&self.connection, "INSERT INTO policies (version, bundle, stored_at) VALUES ($1, $2, $3)", version, bundle, at)?;
        self.audit(audit)?;
        Ok(())
    }

    fn spend_nonce(&mut self, nonce: &str, expires: Timestamp, audit: &AuditEntry) -> StoreResult<()> {
        let expires = expires.unix();
        execute!(&self.connection, "INSERT INTO nonces (nonce, expires) VALUES ($1, $2)", nonce, expires)
            .map_err(or_taken("the statement was submitted before: its nonce is spent (hint: sign a new statement)"))?;
        self.audit(audit)?;
        Ok(())
    }

    fn put_grant(&mut self, record: &GrantRecord, audit: &AuditEntry) -> StoreResult<()> {
        let grant = &record.grant;
        let (id, body, status) = (grant.id.as_str(), json(grant), word(&record.status));
        let (statement, signature, at) = (&record.evidence.statement, &record.evidence.signature, record.created_at.unix());
        match find_grant(&self.connection, &grant.id)? {
            Some(stored) if stored.grant == *grant && stored.evidence == record.evidence => return Ok(()),
            Some(_) => return conflict(format!("there is a grant {id} already")),
            None => {}
        }
        execute!(
            &self.connection,
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
        )?;
        self.audit(audit)?;
        Ok(())
    }

    fn update_grant(&mut self, grant: &Grant, evidence: &SignedStatement, previous: &str, audit: &AuditEntry) -> StoreResult<()> {
        let (id, body) = (grant.id.as_str(), json(grant));
        let changed = execute!(
            &self.connection,
            "UPDATE grants SET version = $2, body = $3, max_accounts = $4, statement = $5, signature = $6
             WHERE id = $1 AND status = 'active' AND statement = $7",
            id,
            grant.version,
            body,
            grant.max_accounts,
            evidence.statement,
            evidence.signature,
            previous
        )?;
        if changed == 0 {
            return conflict(format!("grant {id} was changed or revoked meanwhile"));
        }
        self.wake_renewals(&grant.id, audit.at)?;
        self.audit(audit)?;
        Ok(())
    }

    fn suspend_grant(&mut self, id: &GrantId, suspended: bool, audit: &AuditEntry) -> StoreResult<()> {
        let (text, since) = (id.as_str(), suspended.then_some(audit.at.unix()));
        match find_grant(&self.connection, id)? {
            None => return Err(StoreError::NotFound(format!("grant {id}"))),
            Some(stored) if stored.status == GrantStatus::Revoked => return conflict(format!("grant {id} is revoked")),
            Some(stored) if (stored.status == GrantStatus::Suspended) == suspended => {}
            Some(_) => {
                execute!(&self.connection, "UPDATE grants SET suspended_at = $2 WHERE id = $1", text, since)?;
                if !suspended {
                    self.wake_renewals(id, audit.at)?;
                }
            }
        }
        self.audit(audit)?;
        Ok(())
    }

    fn revoke_grant(&mut self, id: &GrantId, audit: &AuditEntry) -> StoreResult<u32> {
        let text = id.as_str();
        let changed = execute!(&self.connection, "UPDATE grants SET status = 'revoked' WHERE id = $1 AND status = 'active'", text)?;
        if changed == 0 {
            // Revoked before: the same command again changes nothing.
            return find_grant(&self.connection, id)?.map(|_| 0).ok_or_else(|| StoreError::NotFound(format!("grant {id}")));
        }
        execute!(
            &self.connection,
            "UPDATE orders SET status = 'invalid'
             WHERE status IN ('pending', 'ready') AND account_id IN (SELECT id FROM accounts WHERE grant_id = $1)",
            text
        )?;
        self.cancel_orders_of_grant(id, audit.at)?;
        self.refuse_waiting_accounts(text, audit.at)?;
        let accounts = execute!(
            &self.connection,
            "UPDATE accounts SET status = 'revoked' WHERE grant_id = $1 AND status IN ('pending', 'valid')",
            text
        )?;
        self.audit(audit)?;
        u32::try_from(accounts).map_err(|_| StoreError::Damaged("more accounts than can be counted".to_owned()))
    }

    /// Refuses the requests of a grant's accounts that no worker has looked at yet.
    fn refuse_waiting_accounts(&mut self, grant: &str, at: Timestamp) -> StoreResult<()> {
        let problem = Problem::new(ProblemType::Unauthorized, "the grant behind the external account binding was revoked");
        let (text, at) = (json(&problem), at.unix());
        let ended = all!(
            &self.connection,
            |row| read("request id", row.get("id")?),
            "UPDATE requests SET state = 'refused', problem = $2, ended_at = $3, worker = NULL, lease = NULL, lease_until = NULL
             WHERE ended_at IS NULL AND order_id IS NULL
               AND account_id IN (SELECT id FROM accounts WHERE grant_id = $1 AND status = 'pending')
             RETURNING id",
            grant,
            text,
            at
        )?;
        let refused = ended.into_iter().map(|id| (id, RequestState::Refused { problem: problem.clone() }));
        self.touched.states.extend(refused);
        Ok(())
    }
}

#[async_trait]
impl AdminStore for SqliteStore {
    async fn import_authorities(&self, authorities: &[Authority], crls: &[CrlRecord], audit: &AuditEntry) -> StoreResult<()> {
        let (authorities, crls, audit) = (authorities.to_vec(), crls.to_vec(), audit.clone());
        self.write(move |tx| tx.import_authorities(&authorities, &crls, &audit)).await
    }

    async fn import_cross_certificates(&self, certificates: &[CrossCertificate], audit: &AuditEntry) -> StoreResult<u32> {
        let (certificates, audit) = (certificates.to_vec(), audit.clone());
        self.write(move |tx| tx.import_cross_certificates(&certificates, &audit)).await
    }

    async fn put_policy(&self, version: u64, bundle: &str, audit: &AuditEntry) -> StoreResult<()> {
        let (bundle, audit) = (bundle.to_owned(), audit.clone());
        self.write(move |tx| tx.put_policy(version, &bundle, &audit)).await
    }

    async fn policy(&self) -> StoreResult<Option<(u64, String)>> {
        let newest = self.readers.look(newest_policy)?;
        newest.map(|(version, bundle)| Ok((unsigned("policy version", version)?, bundle))).transpose()
    }

    async fn spend_nonce(&self, nonce: &str, expires: Timestamp, audit: &AuditEntry) -> StoreResult<()> {
        let (nonce, audit) = (nonce.to_owned(), audit.clone());
        self.write(move |tx| tx.spend_nonce(&nonce, expires, &audit)).await
    }

    async fn put_grant(&self, grant: &GrantRecord, audit: &AuditEntry) -> StoreResult<()> {
        let (grant, audit) = (grant.clone(), audit.clone());
        self.write(move |tx| tx.put_grant(&grant, &audit)).await
    }

    async fn update_grant(&self, grant: &Grant, evidence: &SignedStatement, previous: &str, audit: &AuditEntry) -> StoreResult<()> {
        let (grant, evidence, previous, audit) = (grant.clone(), evidence.clone(), previous.to_owned(), audit.clone());
        self.write(move |tx| tx.update_grant(&grant, &evidence, &previous, &audit)).await
    }

    async fn suspend_grant(&self, id: &GrantId, suspended: bool, audit: &AuditEntry) -> StoreResult<()> {
        let (id, audit) = (id.clone(), audit.clone());
        self.write(move |tx| tx.suspend_grant(&id, suspended, &audit)).await
    }

    async fn revoke_grant(&self, id: &GrantId, audit: &AuditEntry) -> StoreResult<u32> {
        let (id, audit) = (id.clone(), audit.clone());
        self.write(move |tx| tx.revoke_grant(&id, &audit)).await
    }

    async fn grants(&self, after: Option<&GrantId>, at_most: u32) -> StoreResult<Vec<GrantRecord>> {
        let (after, at_most) = (after.cloned(), limit(at_most));
        self.readers.list(move |c| list_grants(c, after.as_ref(), at_most)).await
    }

    async fn stored_grant(&self, id: &GrantId) -> StoreResult<Option<GrantRecord>> {
        self.readers.look(|c| find_grant(c, id))
    }

    async fn block_key(&self, spki_sha256: &Sha256Digest, reason: &str, audit: &AuditEntry) -> StoreResult<bool> {
        let (spki_sha256, reason, audit) = (*spki_sha256, reason.to_owned(), audit.clone());
        self.write(move |tx| Ok(tx.block_key(&spki_sha256, &reason, &audit)?.is_some())).await
    }

    async fn blocked_keys(&self, at_most: u32) -> StoreResult<Vec<BlockedKey>> {
        self.readers.list(move |c| blocked_keys::list(c, at_most)).await
    }
}
