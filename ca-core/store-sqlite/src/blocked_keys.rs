//! Keys that are never certified again: by statement, or by a certificate's revocation for keyCompromise.

use ca_core::model::{AuditEntry, BlockedKey, KeyBlock};
use ca_core::pki::Sha256Digest;
use ca_core::ports::StoreResult;
use sqlx::sqlite::SqlitePool;

use crate::convert::{digest, limit, read, serial, time};
use crate::error::from_sqlx;
use crate::writer::Tx;

/// Why a key is blocked; a statement's reason before a revocation's.
pub(crate) async fn find(readers: &SqlitePool, spki_sha256: &Sha256Digest) -> StoreResult<Option<KeyBlock>> {
    let spki = spki_sha256.0.as_slice();
    let row = sqlx::query!(
        r#"SELECT b.reason AS "reason?", b.at AS "at?", c.authority AS "authority?", c.serial AS "serial?", c.revoked_at AS "revoked_at?"
           FROM (SELECT 1) AS one
           LEFT JOIN blocked_keys b ON b.spki_sha256 = $1
           LEFT JOIN certificates c ON c.seq = (SELECT min(seq) FROM certificates WHERE spki_sha256 = $1 AND revocation_reason = 1)"#,
        spki
    )
    .fetch_one(readers)
    .await
    .map_err(from_sqlx)?;
    if let Some((reason, at)) = row.reason.zip(row.at) {
        return Ok(Some(KeyBlock::Statement { reason, at: time(at) }));
    }
    row.authority
        .zip(row.serial)
        .zip(row.revoked_at)
        .map(|((authority, octets), at)| {
            Ok(KeyBlock::Compromised { authority: read("authority", authority)?, serial: serial(&octets)?, at: time(at) })
        })
        .transpose()
}

/// Blocked keys, statements first, newest first in each.
pub(crate) async fn list(readers: &SqlitePool, at_most: u32) -> StoreResult<Vec<BlockedKey>> {
    let at_most = limit(at_most);
    let stated = sqlx::query!("SELECT spki_sha256, reason, at FROM blocked_keys ORDER BY seq DESC LIMIT $1", at_most)
        .fetch_all(readers)
        .await
        .map_err(from_sqlx)?;
    let mut keys = stated
        .into_iter()
        .map(|row| {
            Ok(BlockedKey { spki_sha256: digest(&row.spki_sha256)?, block: KeyBlock::Statement { reason: row.reason, at: time(row.at) } })
        })
        .collect::<StoreResult<Vec<_>>>()?;
    let rest = at_most - i64::try_from(keys.len()).unwrap_or(at_most);
    let compromised = sqlx::query!(
        r#"SELECT spki_sha256, authority, serial, revoked_at AS "revoked_at!" FROM certificates
           WHERE revocation_reason = 1 ORDER BY seq DESC LIMIT $1"#,
        rest
    )
    .fetch_all(readers)
    .await
    .map_err(from_sqlx)?;
    for row in compromised {
        let block =
            KeyBlock::Compromised { authority: read("authority", row.authority)?, serial: serial(&row.serial)?, at: time(row.revoked_at) };
        keys.push(BlockedKey { spki_sha256: digest(&row.spki_sha256)?, block });
    }
    Ok(keys)
}

impl Tx {
    /// Blocks a key; one that a statement blocked before keeps its reason, and nothing is audited.
    pub(crate) async fn block_key(&mut self, spki_sha256: &Sha256Digest, reason: &str, audit: &AuditEntry) -> StoreResult<bool> {
        let (spki, at) = (spki_sha256.0.as_slice(), audit.at.unix());
        let inserted =
            sqlx::query!("INSERT INTO blocked_keys (spki_sha256, reason, at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING", spki, reason, at)
                .execute(&mut self.connection)
                .await
                .map_err(from_sqlx)?;
        let is_new = inserted.rows_affected() > 0;
        if is_new {
            self.audit(audit).await?;
        }
        Ok(is_new)
    }
}
