//! Keys that are compromised, and the certificates with them that are still to be revoked.

use async_trait::async_trait;
use ca_core::model::{
    AccountId, Actor, AuditEntry, CertificateName, CertificateRecord, CompromisedKey, FollowedCompromise, KeyBlock, RevocationRequest,
    Revoked,
};
use ca_core::pki::{Sha256Digest, Timestamp};
use ca_core::ports::{CompromiseStore, StoreResult};
use rusqlite::Connection;

use crate::convert::{digest, limit, read, read_opt, serial, signed, unsigned};
use crate::error::conflict;
use crate::revocation::Grounds;
use crate::sql::{Row, all, execute, optional};
use crate::writer::Tx;
use crate::{SqliteStore, certificates};

fn list(connection: &Connection, at_most: i64) -> StoreResult<Vec<CompromisedKey>> {
    let read_key = |row: &Row<'_>| {
        Ok(CompromisedKey {
            number: unsigned("compromise's number", row.get("seq")?)?,
            spki_sha256: digest(&row.get::<Vec<u8>>("spki_sha256")?)?,
            cause: CertificateName {
                authority: read("authority", row.get("authority")?)?,
                serial: serial(&row.get::<Vec<u8>>("serial")?)?,
            },
            row: unsigned("audit number", row.get("audit_row")?)?,
            account: read_opt("account id", row.get("account_id")?)?,
        })
    };
    all!(
        connection,
        read_key,
        "SELECT compromises.seq, compromises.spki_sha256, c.authority, c.serial, audit_row, compromises.account_id
         FROM compromises JOIN certificates c ON c.seq = cause ORDER BY compromises.seq LIMIT $1",
        at_most
    )
}

/// Whether a certificate with the key has not expired and is not revoked for good: everyone's, or an account's.
fn stands(connection: &Connection, spki_sha256: &Sha256Digest, account: Option<&AccountId>, now: Timestamp) -> StoreResult<bool> {
    let (spki, account, now) = (spki_sha256.0.as_slice(), account.map(AccountId::as_str), now.unix());
    let found = optional!(
        connection,
        |_| Ok(()),
        "SELECT seq FROM certificates WHERE spki_sha256 = $1 AND not_after > $3 AND (revoked_at IS NULL OR revocation_reason = 6)
           AND ($2 IS NULL OR account_id = $2) LIMIT 1",
        spki,
        account,
        now
    )?;
    Ok(found.is_some())
}

/// Whom what `actor` says of a key reaches; none: nobody. An account's word reaches its own certificates (ACME requirement A19).
fn reach(actor: &Actor) -> Option<Option<&AccountId>> {
    match actor {
        Actor::CertificateKey { .. } | Actor::Operator { .. } | Actor::Officers { .. } => Some(None),
        Actor::Account { id } => Some(Some(id)),
        Actor::System { .. } | Actor::Anonymous => None,
    }
}

impl Tx {
    /// Whether something is to be revoked because of what `actor` says of a key, and is not to be done already.
    pub(crate) fn is_news(&self, spki_sha256: &Sha256Digest, actor: &Actor, now: Timestamp) -> StoreResult<bool> {
        let Some(account) = reach(actor) else { return Ok(false) };
        if !stands(&self.connection, spki_sha256, account, now)? {
            return Ok(false);
        }
        let (spki, account) = (spki_sha256.0.as_slice(), account.map(AccountId::as_str));
        let known = optional!(
            &self.connection,
            |_| Ok(()),
            "SELECT seq FROM compromises WHERE spki_sha256 = $1 AND (account_id IS NULL OR account_id = $2) LIMIT 1",
            spki,
            account
        )?;
        Ok(known.is_none())
    }

    /// Has every other certificate with a certificate's key revoked, because of what the audit row says of it.
    pub(crate) fn note_compromise(&mut self, request: &RevocationRequest, spki_sha256: &Sha256Digest, row: u64) -> StoreResult<()> {
        let Some(account) = reach(&request.actor).filter(|_| request.reason == KeyBlock::REVOCATION) else { return Ok(()) };
        if !self.is_news(spki_sha256, &request.actor, request.at)? {
            return Ok(());
        }
        let (spki, row, account) = (spki_sha256.0.as_slice(), signed(row)?, account.map(AccountId::as_str));
        let (authority, serial) = (request.authority.as_str(), request.serial.as_bytes().as_slice());
        execute!(
            &self.connection,
            "INSERT INTO compromises (spki_sha256, cause, audit_row, account_id)
             SELECT $1, seq, $4, $5 FROM certificates WHERE authority = $2 AND serial = $3",
            spki,
            authority,
            serial,
            row,
            account
        )
        .map(drop)
    }

    fn revoke_compromised(&mut self, key: &CompromisedKey, requests: &[RevocationRequest]) -> StoreResult<u64> {
        let (number, spki) = (signed(key.number)?, key.spki_sha256.0.as_slice());
        let follows = FollowedCompromise { row: key.row, cause: key.cause.clone(), spki_sha256: key.spki_sha256 };
        let mut revoked = 0;
        for request in requests {
            let (authority, serial, reason) = (request.authority.as_str(), request.serial.as_bytes().as_slice(), request.reason);
            let within = optional!(
                &self.connection,
                |row| Ok((row.get::<i64>("certificate")?, row.get::<i64>("cause")?)),
                "SELECT c.seq AS certificate, k.cause FROM compromises k JOIN certificates c ON c.spki_sha256 = k.spki_sha256
                 WHERE k.seq = $1 AND k.spki_sha256 = $2 AND c.authority = $3 AND c.serial = $4
                   AND (k.account_id IS NULL OR k.account_id = c.account_id)",
                number,
                spki,
                authority,
                serial
            )?;
            let Some((certificate, cause)) = within.filter(|_| reason == KeyBlock::REVOCATION) else {
                return conflict(format!("certificate {} is none to be revoked for the key {}", request.serial, key.spki_sha256));
            };
            if let Revoked::Now { .. } = self.revoke(request, Grounds::Follows(&follows))? {
                execute!(&self.connection, "INSERT INTO followed_compromises (certificate, cause) VALUES ($1, $2)", certificate, cause)?;
                revoked += 1;
            }
        }
        Ok(revoked)
    }

    fn end_compromise(&mut self, key: &CompromisedKey, now: Timestamp, refusal: Option<&AuditEntry>) -> StoreResult<bool> {
        if refusal.is_none() && stands(&self.connection, &key.spki_sha256, key.account.as_ref(), now)? {
            return Ok(false);
        }
        let number = signed(key.number)?;
        let ended = execute!(&self.connection, "DELETE FROM compromises WHERE seq = $1", number)?;
        if let (Some(refusal), true) = (refusal, ended > 0) {
            self.audit(refusal)?;
        }
        Ok(ended > 0)
    }
}

#[async_trait]
impl CompromiseStore for SqliteStore {
    async fn compromises(&self, at_most: u32) -> StoreResult<Vec<CompromisedKey>> {
        self.readers.look(|c| list(c, limit(at_most)))
    }

    async fn certificates_of_compromise(&self, key: &CompromisedKey, now: Timestamp, at_most: u32) -> StoreResult<Vec<CertificateRecord>> {
        let (spki, account, at_most) = (key.spki_sha256, key.account.clone(), limit(at_most));
        self.readers.list(move |c| certificates::standing_with_key(c, &spki, account.as_ref(), now, at_most)).await
    }

    async fn revoke_compromised(&self, key: &CompromisedKey, requests: &[RevocationRequest]) -> StoreResult<u64> {
        let (key, requests) = (key.clone(), requests.to_vec());
        self.write(move |tx| tx.revoke_compromised(&key, &requests)).await
    }

    async fn end_compromise(&self, key: &CompromisedKey, now: Timestamp, refusal: Option<&AuditEntry>) -> StoreResult<bool> {
        let (key, refusal) = (key.clone(), refusal.cloned());
        self.write(move |tx| tx.end_compromise(&key, now, refusal.as_ref())).await
    }
}
