//! Accounts: their rows, and the commands on them.

use ca_core::evidence::chain::{MAX_KEY_CHANGES, MAX_KEY_CHANGES_OCTETS, check_key_change, check_new_account};
use ca_core::model::{Account, AccountId, AccountStatus, AuditEntry, NewAccount, RequestId, RequestState};
use ca_core::ports::{KEY_CHANGED, StoreError, StoreResult, TOO_MANY_KEY_CHANGES};
use rusqlite::Connection;

use crate::convert::{from_json, json, read, time, word};
use crate::error::{conflict, or_taken};
use crate::sql::{Row, execute, one, optional};
use crate::writer::Tx;

const KEY_TAKEN: &str = "another account that is pending or valid has this key";
const OTHER_KEY: &str = "the account has another key";

fn read_account(row: &Row<'_>) -> StoreResult<Account> {
    Ok(Account {
        id: read("account id", row.get("id")?)?,
        status: read("account status", row.get("status")?)?,
        jwk: row.get("jwk")?,
        thumbprint: row.get("thumbprint")?,
        contact: from_json("contacts", &row.get::<String>("contact")?)?,
        terms_of_service_agreed: row.get("terms_agreed")?,
        grant: read("grant id", row.get("grant_id")?)?,
        created_at: time(row.get("created_at")?),
    })
}

/// Reads an account.
pub(crate) fn find(connection: &Connection, id: &AccountId) -> StoreResult<Option<Account>> {
    Ok(find_row(connection, id)?.map(|(_, account)| account))
}

/// Reads an account, with the number of its row.
pub(crate) fn find_row(connection: &Connection, id: &AccountId) -> StoreResult<Option<(i64, Account)>> {
    let id = id.as_str();
    optional!(
        connection,
        |row| Ok((row.get("seq")?, read_account(row)?)),
        "SELECT seq, id, status, jwk, thumbprint, contact, terms_agreed, grant_id, created_at FROM accounts WHERE id = $1",
        id
    )
}

/// Reads the account with this key: the one in use, or else the newest that was.
pub(crate) fn find_by_key(connection: &Connection, thumbprint: &str) -> StoreResult<Option<Account>> {
    optional!(
        connection,
        read_account,
        "SELECT id, status, jwk, thumbprint, contact, terms_agreed, grant_id, created_at FROM accounts WHERE thumbprint = $1
         ORDER BY status IN ('pending', 'valid') DESC, seq DESC LIMIT 1",
        thumbprint
    )
}

/// Verifies a new account by its own request: the front end's word is not enough to say whose key an account has.
pub(crate) fn verify_new(new: &NewAccount) -> StoreResult<()> {
    check_new_account(new).or_else(|refusal| conflict(refusal.cause))
}

/// Verifies a change of key likewise, by the account's key as it is; the transaction compares that it still is.
pub(crate) fn verify_change(
    id: &AccountId,
    account: Option<&Account>,
    old_thumbprint: &str,
    jwk: &str,
    thumbprint: &str,
    jws: &str,
) -> StoreResult<()> {
    let account = account.ok_or_else(|| missing(id))?;
    if account.thumbprint != old_thumbprint {
        return conflict(OTHER_KEY);
    }
    check_key_change(jws, account, jwk, thumbprint).or_else(|refusal| conflict(refusal.cause))
}

fn missing(id: &AccountId) -> StoreError {
    StoreError::NotFound(format!("account {id}"))
}

impl Tx {
    pub(crate) fn queue_account(&mut self, new: &NewAccount, audit: &AuditEntry) -> StoreResult<RequestId> {
        let account = &new.account;
        if account.status != AccountStatus::Pending {
            return conflict("a new account is pending until the worker has verified its binding");
        }
        let (id, status, contact) = (account.id.as_str(), word(&account.status), json(&account.contact));
        let (grant, at) = (account.grant.as_str(), account.created_at.unix());
        execute!(
            &self.connection,
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
        .map_err(or_taken(KEY_TAKEN))?;
        let request = RequestId::for_account(&account.id);
        let request_id = request.as_str();
        execute!(
            &self.connection,
            "INSERT INTO requests (id, account_id, state, not_before, received_at) VALUES ($1, $2, 'queued', $3, $3)",
            request_id,
            id,
            at
        )
        .map_err(or_taken("this account was asked for before"))?;
        self.audit(audit)?;
        self.touched.requests = true;
        self.touched.states.push((request.clone(), RequestState::Waiting));
        Ok(request)
    }

    pub(crate) fn update_contact(&mut self, id: &AccountId, contact: &[String], audit: &AuditEntry) -> StoreResult<Account> {
        let (text, contact) = (id.as_str(), json(&contact));
        let changed = execute!(&self.connection, "UPDATE accounts SET contact = $2 WHERE id = $1 AND status = 'valid'", text, contact)?;
        self.changed_account(id, changed, audit)
    }

    pub(crate) fn deactivate_account(&mut self, id: &AccountId, audit: &AuditEntry) -> StoreResult<Account> {
        let text = id.as_str();
        let changed = execute!(&self.connection, "UPDATE accounts SET status = 'deactivated' WHERE id = $1 AND status = 'valid'", text)?;
        // RFC 8555 §7.3.6: pending operations of the account are cancelled.
        execute!(&self.connection, "UPDATE orders SET status = 'invalid' WHERE account_id = $1 AND status IN ('pending', 'ready')", text)?;
        // RFC 8739 §3.1.2: those that renew themselves stand as canceled.
        if changed > 0 {
            self.cancel_orders_of_account(text, audit.at)?;
        }
        self.changed_account(id, changed, audit)
    }

    pub(crate) fn change_key(
        &mut self,
        id: &AccountId,
        old_thumbprint: &str,
        jwk: &str,
        thumbprint: &str,
        jws: &str,
        audit: &AuditEntry,
    ) -> StoreResult<Account> {
        let text = id.as_str();
        let (changes, octets) = one!(
            &self.connection,
            |row| Ok((row.get::<i64>("changes")?, row.get::<i64>("octets")?)),
            "SELECT coalesce(max(number), 0) AS changes, coalesce(sum(octet_length(jws)), 0) AS octets FROM key_changes
             WHERE account_id = $1",
            text
        )?;
        if changes >= MAX_KEY_CHANGES as i64 || octets.saturating_add(jws.len() as i64) > MAX_KEY_CHANGES_OCTETS as i64 {
            return conflict(TOO_MANY_KEY_CHANGES);
        }
        let changed = execute!(
            &self.connection,
            "UPDATE accounts SET jwk = $3, thumbprint = $4 WHERE id = $1 AND thumbprint = $2 AND status = 'valid'",
            text,
            old_thumbprint,
            jwk,
            thumbprint
        )
        .map_err(or_taken(KEY_TAKEN))?;
        let account = self.changed_account(id, changed, audit)?;
        let number = changes + 1;
        execute!(&self.connection, "INSERT INTO key_changes (account_id, number, jws) VALUES ($1, $2, $3)", text, number, jws)?;
        Ok(account)
    }

    /// That the account's key is still the one that a request was verified with (RFC 8555 §7.3.5).
    pub(crate) fn has_key(&self, id: &AccountId, thumbprint: &str) -> StoreResult<()> {
        let id = id.as_str();
        let same = optional!(&self.connection, |_| Ok(()), "SELECT id FROM accounts WHERE id = $1 AND thumbprint = $2", id, thumbprint)?;
        same.ok_or_else(|| StoreError::Conflict(KEY_CHANGED.to_owned()))
    }

    /// Ends a compare-and-set on an account: tells why nothing changed, or audits and reads it back.
    fn changed_account(&mut self, id: &AccountId, rows: usize, audit: &AuditEntry) -> StoreResult<Account> {
        let account = find(&self.connection, id)?.ok_or_else(|| missing(id))?;
        if rows == 0 {
            return match account.status {
                AccountStatus::Valid => conflict(OTHER_KEY),
                other => conflict(format!("the account is {}", word(&other))),
            };
        }
        self.audit(audit)?;
        Ok(account)
    }
}
