//! Keys that are never certified again: by statement, or by a certificate's revocation for keyCompromise.

use ca_core::model::{AuditEntry, BlockedKey, KeyAsked, KeyBlock, KeyUse};
use ca_core::pki::Sha256Digest;
use ca_core::ports::StoreResult;
use rusqlite::Connection;

use crate::convert::{digest, limit, read, serial, time};
use crate::sql::{Row, all, execute, one};
use crate::writer::Tx;

/// What a key stands for; of its blocks a statement before a revocation.
pub(crate) fn key_use(connection: &Connection, asked: &KeyAsked) -> StoreResult<KeyUse> {
    let (spki, thumbprint) = (asked.spki_sha256.0.as_slice(), asked.thumbprint.as_deref());
    one!(
        connection,
        |row| Ok(KeyUse { account: row.get("account")?, block: read_block(row)? }),
        "SELECT EXISTS (SELECT 1 FROM accounts WHERE thumbprint = $2) AS account,
                b.reason AS reason, b.at AS at, c.authority AS authority, c.serial AS serial, c.revoked_at AS revoked_at
         FROM (SELECT 1) AS one
         LEFT JOIN blocked_keys b ON b.spki_sha256 = $1
         LEFT JOIN certificates c ON c.seq = (SELECT min(seq) FROM certificates WHERE spki_sha256 = $1 AND revocation_reason = 1
                                       AND NOT EXISTS (SELECT 1 FROM followed_compromises WHERE certificate = certificates.seq))",
        spki,
        thumbprint
    )
}

/// Whether a key is blocked.
pub(crate) fn is_blocked(connection: &Connection, spki_sha256: &Sha256Digest) -> StoreResult<bool> {
    let spki = spki_sha256.0.as_slice();
    one!(
        connection,
        |row| row.get("blocked"),
        "SELECT EXISTS (SELECT 1 FROM blocked_keys WHERE spki_sha256 = $1)
             OR EXISTS (SELECT 1 FROM certificates WHERE spki_sha256 = $1 AND revocation_reason = 1) AS blocked",
        spki
    )
}

fn read_block(row: &Row<'_>) -> StoreResult<Option<KeyBlock>> {
    if let Some((reason, at)) = row.get::<Option<String>>("reason")?.zip(row.get("at")?) {
        return Ok(Some(KeyBlock::Statement { reason, at: time(at) }));
    }
    row.get::<Option<String>>("authority")?
        .zip(row.get::<Option<Vec<u8>>>("serial")?)
        .zip(row.get("revoked_at")?)
        .map(|((authority, octets), at)| {
            Ok(KeyBlock::Compromised { authority: read("authority", authority)?, serial: serial(&octets)?, at: time(at) })
        })
        .transpose()
}

/// Blocked keys, statements first, newest first in each.
pub(crate) fn list(connection: &Connection, at_most: u32) -> StoreResult<Vec<BlockedKey>> {
    let at_most = limit(at_most);
    let stated = |row: &Row<'_>| {
        let block = KeyBlock::Statement { reason: row.get("reason")?, at: time(row.get("at")?) };
        Ok(BlockedKey { spki_sha256: digest(&row.get::<Vec<u8>>("spki_sha256")?)?, block })
    };
    let mut keys = all!(connection, stated, "SELECT spki_sha256, reason, at FROM blocked_keys ORDER BY seq DESC LIMIT $1", at_most)?;
    let rest = at_most - i64::try_from(keys.len()).unwrap_or(at_most);
    let compromised = |row: &Row<'_>| {
        let block = KeyBlock::Compromised {
            authority: read("authority", row.get("authority")?)?,
            serial: serial(&row.get::<Vec<u8>>("serial")?)?,
            at: time(row.get("revoked_at")?),
        };
        Ok(BlockedKey { spki_sha256: digest(&row.get::<Vec<u8>>("spki_sha256")?)?, block })
    };
    keys.extend(all!(
        connection,
        compromised,
        "SELECT spki_sha256, authority, serial, revoked_at FROM certificates
         WHERE revocation_reason = 1 AND NOT EXISTS (SELECT 1 FROM followed_compromises WHERE certificate = certificates.seq)
         ORDER BY seq DESC LIMIT $1",
        rest
    )?);
    Ok(keys)
}

impl Tx {
    /// Blocks a key, and gives the number of its audit row; one that a statement blocked before keeps its reason, and nothing is
    /// audited.
    pub(crate) fn block_key(&mut self, spki_sha256: &Sha256Digest, reason: &str, audit: &AuditEntry) -> StoreResult<Option<u64>> {
        let (spki, at) = (spki_sha256.0.as_slice(), audit.at.unix());
        let inserted = execute!(
            &self.connection,
            "INSERT INTO blocked_keys (spki_sha256, reason, at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            spki,
            reason,
            at
        )?;
        if inserted > 0 { self.audit(audit).map(Some) } else { Ok(None) }
    }
}
