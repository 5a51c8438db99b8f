//! Authorities: read by everyone, written by an import.

use ca_core::model::{AuditEntry, AuthorityKind};
use ca_core::model::{Authority, CrlRecord};
use ca_core::ports::{StoreError, StoreResult};
use sqlx::SqlitePool;

use crate::convert::{read, read_opt, time, word};
use crate::error::{conflict, from_sqlx, or_taken};
use crate::writer::Tx;

/// The most authorities in one instance: they are all held in memory by whoever uses them.
const MAX_AUTHORITIES: i64 = 1000;

/// Every authority, the default one first.
pub(crate) async fn list(pool: &SqlitePool) -> StoreResult<Vec<Authority>> {
    let rows = sqlx::query!(
        "SELECT name, kind, certificate, issuer, key_label, is_default, imported_at FROM authorities ORDER BY is_default DESC, seq LIMIT $1",
        MAX_AUTHORITIES
    )
    .fetch_all(pool)
    .await
    .map_err(from_sqlx)?;
    rows.into_iter()
        .map(|row| {
            Ok(Authority {
                name: read("authority", row.name)?,
                kind: read::<AuthorityKind>("authority kind", row.kind)?,
                certificate: row.certificate,
                issuer: read_opt("authority", row.issuer)?,
                key: read_opt("key label", row.key_label)?,
                is_default: row.is_default != 0,
                imported_at: time(row.imported_at),
            })
        })
        .collect()
}

impl Tx {
    pub(crate) async fn import_authorities(
        &mut self,
        authorities: &[Authority],
        crls: &[CrlRecord],
        audit: &AuditEntry,
    ) -> StoreResult<()> {
        let mut changed = false;
        for authority in authorities {
            changed |= self.import_authority(authority).await?;
        }
        for authority in authorities {
            let Some(issuer) = &authority.issuer else { continue };
            let name = issuer.as_str();
            sqlx::query!("SELECT name FROM authorities WHERE name = $1", name)
                .fetch_optional(&mut self.connection)
                .await
                .map_err(from_sqlx)?
                .ok_or_else(|| StoreError::NotFound(format!("authority {issuer}, the issuer of {}", authority.name)))?;
        }
        for crl in crls {
            changed |= self.import_crl(crl).await?;
        }
        if changed {
            self.audit(audit).await?;
        }
        Ok(())
    }

    async fn import_authority(&mut self, authority: &Authority) -> StoreResult<bool> {
        let name = authority.name.as_str();
        let stored = sqlx::query!("SELECT certificate FROM authorities WHERE name = $1", name)
            .fetch_optional(&mut self.connection)
            .await
            .map_err(from_sqlx)?;
        match stored {
            Some(row) if row.certificate == authority.certificate => return Ok(false),
            Some(_) => return conflict(format!("authority {name} has another certificate here")),
            None => {}
        }
        let (kind, at) = (word(&authority.kind), authority.imported_at.unix());
        let (issuer, key) = (authority.issuer.as_ref().map(|i| i.as_str()), authority.key.as_ref().map(|k| k.as_str()));
        sqlx::query!(
            "INSERT INTO authorities (name, kind, certificate, issuer, key_label, is_default, imported_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
            name,
            kind,
            authority.certificate,
            issuer,
            key,
            authority.is_default,
            at
        )
        .execute(&mut self.connection)
        .await
        .map_err(or_taken("another authority is the default one (hint: import this one without making it the default)"))?;
        Ok(true)
    }
}
