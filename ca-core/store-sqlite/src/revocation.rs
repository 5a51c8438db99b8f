//! Revocation and the ledger that responders follow.

use std::time::Duration;

use async_trait::async_trait;
use ca_core::evidence::revocation::{RevocationRight, verify};
use ca_core::model::{
    Account, Actor, AuditEntry, AuthorityName, CertificateRecord, CrlRecord, CrlScope, FollowedCompromise, KeyBlock, LedgerEntry,
    LedgerEvent, Outcome, RevocationReason, RevocationRequest, Revoked, SerialStatus,
};
use ca_core::pki::{SerialNumber, Timestamp};
use ca_core::ports::{CertificateStore as _, RevocationStore, StatusStore, StoreError, StoreResult};
use rusqlite::Connection;
use serde_json::json;

use crate::convert::{self, digest, limit, read, reason, serial, signed, time, unsigned, word};
use crate::error::conflict;
use crate::requests::wait;
use crate::sql::{Row, all, execute, one, optional};
use crate::writer::Tx;
use crate::{SqliteStore, accounts, blocked_keys, crls};

/// Revokes for a subscriber, whose request is verified here: the front end's word is not enough to revoke.
pub(crate) async fn on_request(store: &SqliteStore, jws: &str, request: &RevocationRequest) -> StoreResult<Revoked> {
    let Some(record) = store.certificate(&request.authority, &request.serial).await? else { return Ok(Revoked::NotFound) };
    let account = match &request.actor {
        Actor::Account { id } => store.readers.look(|c| accounts::find(c, id))?,
        Actor::CertificateKey { .. } | Actor::Anonymous | Actor::Officers { .. } | Actor::Operator { .. } | Actor::System { .. } => None,
    };
    let claim = match verify(jws, &record, account.as_ref()) {
        Ok(claim) if claim.actor == request.actor && claim.reason == request.reason && request.invalidity_date.is_none() => claim,
        Ok(_) => return conflict("the revocation is not the one that its request asks for"),
        Err(problem) => return conflict(problem.detail),
    };
    let (jws, request) = (jws.to_owned(), request.clone());
    let revoke = move |tx: &mut Tx| {
        if let Some(account) = &account {
            tx.has_key(&account.id, &account.thumbprint)?;
        }
        if let (RevocationRight::Proofs, Some(account)) = (claim.right, &account)
            && !tx.has_proven(account, &record, request.at)?
        {
            return conflict("the account has not proven each of the certificate's identifiers");
        }
        let revoked = tx.revoke(&request, Grounds::Request(&jws))?;
        if revoked == Revoked::Already && claim.right == RevocationRight::Key && request.reason == KeyBlock::REVOCATION {
            tx.block_compromised(&record, &jws, &request)?;
        }
        Ok(revoked)
    };
    store.write(revoke).await
}

/// Why a certificate is revoked.
pub(crate) enum Grounds<'a> {
    /// A subscriber's request.
    Request(&'a str),
    /// The actor's own act.
    Act,
    /// Another certificate's key was compromised, and it has the same.
    Follows(&'a FollowedCompromise),
}

impl Tx {
    /// Whether the account has proven each identifier of a certificate by a challenge, at its authority, and may still say so.
    fn has_proven(&self, account: &Account, record: &CertificateRecord, at: Timestamp) -> StoreResult<bool> {
        let (account, authority, at) = (account.id.as_str(), record.authority.as_str(), at.unix());
        for identifier in &record.identifiers {
            let identifier = convert::json(identifier);
            let proven: bool = one!(
                &self.connection,
                |row| row.get("proven"),
                "SELECT EXISTS (
                     SELECT 1 FROM authorizations a JOIN challenges c ON c.authorization_id = a.id AND c.status = 'valid'
                     WHERE a.account_id = $1 AND a.authority = $2 AND a.identifier = $3 AND a.expires > $4
                       AND a.status = 'valid') AS proven",
                account,
                authority,
                identifier,
                at
            )?;
            if !proven {
                return Ok(false);
            }
        }
        Ok(!record.identifiers.is_empty())
    }

    /// Blocks the key of a certificate that was revoked for another reason before: it has said of itself that it is compromised
    /// (ACME requirement A11). The revocation stays as it is. Where it was blocked on another's word, its own may reach further.
    fn block_compromised(&mut self, record: &CertificateRecord, jws: &str, request: &RevocationRequest) -> StoreResult<()> {
        let key = &record.spki_sha256;
        let blocked = blocked_keys::is_blocked(&self.connection, key)?;
        if blocked && !self.is_news(key, &request.actor, request.at)? {
            return Ok(());
        }
        let entry = AuditEntry {
            at: request.at,
            actor: request.actor.clone(),
            action: "key.block".to_owned(),
            authority: Some(request.authority.clone()),
            object: key.to_string(),
            outcome: Outcome::Done,
            correlation: request.correlation.clone(),
            detail: json!({ "certificate": request.serial, "request": jws }),
        };
        let row = if blocked {
            self.audit(&entry)?
        } else {
            let reason = format!("it signed that it is compromised, after certificate {} was revoked for another reason", request.serial);
            let Some(row) = self.block_key(key, &reason, &entry)? else { return Ok(()) };
            row
        };
        self.note_compromise(request, key, row)
    }

    pub(crate) fn revoke(&mut self, request: &RevocationRequest, grounds: Grounds<'_>) -> StoreResult<Revoked> {
        let (authority, serial) = (request.authority.as_str(), request.serial.as_bytes().as_slice());
        let revoked = optional!(
            &self.connection,
            |row| Ok((row.get::<Option<i64>>("revocation_reason")?, digest(&row.get::<Vec<u8>>("spki_sha256")?)?)),
            "SELECT revocation_reason, spki_sha256 FROM certificates WHERE authority = $1 AND serial = $2",
            authority,
            serial
        )?;
        let hold = RevocationReason::CertificateHold;
        let key = match revoked {
            None => return Ok(Revoked::NotFound),
            Some((None, key)) => key,
            // Off hold into a final revocation: there is no way back from that.
            Some((Some(code), key)) if code == i64::from(hold.code()) && request.reason != hold => key,
            Some((Some(_), _)) => return Ok(Revoked::Already),
        };
        let mut detail = json!({ "reason": request.reason.name(), "invalidity_date": request.invalidity_date.map(Timestamp::to_rfc3339) });
        match grounds {
            Grounds::Act => {}
            Grounds::Request(jws) => detail["request"] = json!(jws),
            Grounds::Follows(cause) => detail["follows"] = json!(cause),
        }
        let entry = AuditEntry {
            at: request.at,
            actor: request.actor.clone(),
            action: "certificate.revoke".to_owned(),
            authority: Some(request.authority.clone()),
            object: request.serial.to_string(),
            outcome: Outcome::Done,
            correlation: request.correlation.clone(),
            detail,
        };
        let row = self.audit(&entry)?;
        let number = self.revoke_row(&request.authority, &request.serial, request.reason, request.invalidity_date, request.at)?;
        if request.reason != hold {
            // An order that renews itself ends with its certificate, not when the next one would be due.
            self.move_renewal_up(&request.authority, serial, request.at)?;
        }
        self.note_compromise(request, &key, row)?;
        Ok(number.map_or(Revoked::Already, |number| Revoked::Now { number }))
    }

    /// Revokes a recorded serial: job, ledger, row. Gives the ledger number; none where it was revoked before. One on
    /// hold keeps the time of the hold: since then it has not been good.
    pub(crate) fn revoke_row(
        &mut self,
        authority: &AuthorityName,
        serial: &SerialNumber,
        reason: RevocationReason,
        invalidity_date: Option<Timestamp>,
        at: Timestamp,
    ) -> StoreResult<Option<u64>> {
        let (name, octets, code) = (authority.as_str(), serial.as_bytes().as_slice(), i64::from(reason.code()));
        let row = optional!(
            &self.connection,
            |row| Ok((row.get::<String>("kind")?, row.get::<i64>("crl_partition")?)),
            "SELECT a.kind, c.crl_partition FROM certificates c JOIN authorities a ON a.name = c.authority
             WHERE c.authority = $1 AND c.serial = $2 AND (c.revoked_at IS NULL OR c.revocation_reason = 6 AND $3 <> 6)",
            name,
            octets,
            code
        )?;
        let Some((kind, partition)) = row else { return Ok(None) };
        // A root's CRL comes from a ceremony, not from a job.
        if kind == "issuing" {
            let scope = CrlScope(unsigned("CRL partition", partition)?);
            self.ensure_crl(authority, scope, at)?;
        }
        let head = self.ledger_row(authority, serial, LedgerEvent::Revoke, reason, at)?;
        let (at, invalidity_date) = (at.unix(), invalidity_date.map(Timestamp::unix));
        execute!(
            &self.connection,
            "UPDATE certificates SET revoked_at = coalesce(revoked_at, $3), revocation_reason = $4, invalidity_date = $5, revoked_number = $6
             WHERE authority = $1 AND serial = $2 AND (revoked_at IS NULL OR revocation_reason = 6)",
            name,
            octets,
            at,
            code,
            invalidity_date,
            head
        )?;
        unsigned("ledger number", head).map(Some)
    }

    /// Writes the next row of an authority's ledger; gives its number. The head's row comes last in a transaction, so that
    /// whoever sees a number sees every one below it.
    pub(crate) fn ledger_row(
        &mut self,
        authority: &AuthorityName,
        serial: &SerialNumber,
        event: LedgerEvent,
        reason: RevocationReason,
        at: Timestamp,
    ) -> StoreResult<i64> {
        let (name, serial, event) = (authority.as_str(), serial.as_bytes().as_slice(), word(&event));
        let (code, at) = (i64::from(reason.code()), at.unix());
        let head: i64 = one!(
            &self.connection,
            |row| row.get("ledger_head"),
            "UPDATE authorities SET ledger_head = ledger_head + 1 WHERE name = $1 RETURNING ledger_head",
            name
        )?;
        execute!(
            &self.connection,
            "INSERT INTO ledger (authority, number, serial, event, reason, at) VALUES ($1, $2, $3, $4, $5, $6)",
            name,
            head,
            serial,
            event,
            code,
            at
        )?;
        self.touched.ledger = true;
        Ok(head)
    }
}

#[async_trait]
impl RevocationStore for SqliteStore {
    async fn revoke(&self, request: &RevocationRequest) -> StoreResult<Revoked> {
        let request = request.clone();
        self.write(move |tx| tx.revoke(&request, Grounds::Act)).await
    }
}

#[async_trait]
impl StatusStore for SqliteStore {
    async fn status(&self, authority: &AuthorityName, serial: &SerialNumber) -> StoreResult<Option<SerialStatus>> {
        let (authority, serial) = (authority.as_str(), serial.as_bytes().as_slice());
        let read = |row: &Row<'_>| {
            let revoked = row.get::<Option<i64>>("revoked_at")?.zip(row.get::<Option<i64>>("revocation_reason")?);
            match revoked {
                Some((at, code)) => Ok(SerialStatus::Revoked { at: time(at), reason: reason(code)? }),
                None => Ok(SerialStatus::Good),
            }
        };
        self.readers.look(|c| {
            optional!(
                c,
                read,
                "SELECT revoked_at, revocation_reason FROM certificates WHERE authority = $1 AND serial = $2",
                authority,
                serial
            )
        })
    }

    async fn ledger_head(&self, authority: &AuthorityName) -> StoreResult<u64> {
        let name = authority.as_str();
        let head = |row: &Row<'_>| unsigned("ledger number", row.get("ledger_head")?);
        let head = self.readers.look(|c| optional!(c, head, "SELECT ledger_head FROM authorities WHERE name = $1", name))?;
        head.ok_or_else(|| StoreError::NotFound(format!("authority {authority}")))
    }

    async fn ledger_after(&self, authority: &AuthorityName, number: u64, at_most: u32) -> StoreResult<Vec<LedgerEntry>> {
        let (authority, number, at_most) = (authority.clone(), signed(number)?, limit(at_most));
        let entries = move |c: &Connection| {
            let name = authority.as_str();
            let read_entry = |row: &Row<'_>| {
                Ok(LedgerEntry {
                    authority: authority.clone(),
                    number: unsigned("ledger number", row.get("number")?)?,
                    serial: serial(&row.get::<Vec<u8>>("serial")?)?,
                    event: read("ledger event", row.get("event")?)?,
                    reason: reason(row.get("reason")?)?,
                    at: time(row.get("at")?),
                })
            };
            all!(
                c,
                read_entry,
                "SELECT number, serial, event, reason, at FROM ledger WHERE authority = $1 AND number > $2 ORDER BY number LIMIT $3",
                name,
                number,
                at_most
            )
        };
        self.readers.list(entries).await
    }

    async fn await_ledger(&self, at_most: Duration) {
        wait(&self.wakers.ledger, at_most).await;
    }

    async fn current_crl(&self, authority: &AuthorityName, scope: &CrlScope) -> StoreResult<Option<CrlRecord>> {
        let (authority, scope) = (authority.clone(), *scope);
        // One row, but it may be of megabytes.
        self.readers.list(move |c| crls::current(c, &authority, scope)).await
    }
}
