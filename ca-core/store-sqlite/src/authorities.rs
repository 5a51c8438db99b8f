//! Authorities: read by everyone, written by an import.

use ca_core::model::{AuditEntry, AuthorityKind};
use ca_core::model::{Authority, CrlRecord};
use ca_core::ports::{StoreError, StoreResult};
use rusqlite::Connection;

use crate::convert::{read, read_opt, time, word};
use crate::error::{conflict, or_taken};
use crate::sql::{Row, all, execute, optional};
use crate::writer::Tx;

/// The most authorities in one instance: they are all held in memory by whoever uses them.
const MAX_AUTHORITIES: i64 = 1000;

/// Every authority, the default one first.
pub(crate) fn list(connection: &Connection) -> StoreResult<Vec<Authority>> {
    all!(
        connection,
        read_authority,
        "SELECT name, kind, certificate, issuer, key_label, is_default, imported_at FROM authorities ORDER BY is_default DESC, seq LIMIT $1",
        MAX_AUTHORITIES
    )
}

fn read_authority(row: &Row<'_>) -> StoreResult<Authority> {
    Ok(Authority {
        name: read("authority", row.get("name")?)?,
        kind: read::<AuthorityKind>("authority kind", row.get("kind")?)?,
        certificate: row.get("certificate")?,
        issuer: read_opt("authority", row.get("issuer")?)?,
        key: read_opt("key label", row.get("key_label")?)?,
        is_default: row.get("is_default")?,
        imported_at: time(row.get("imported_at")?),
    })
}

impl Tx {
    /// Refuses a name that no authority has; `more` goes on about it.
    pub(crate) fn require_authority(&self, name: &str, more: impl FnOnce() -> String) -> StoreResult<()> {
        let found = optional!(&self.connection, |_| Ok(()), "SELECT name FROM authorities WHERE name = $1", name)?;
        found.ok_or_else(|| StoreError::NotFound(format!("authority {name}{}", more())))
    }

    pub(crate) fn import_authorities(&mut self, authorities: &[Authority], crls: &[CrlRecord], audit: &AuditEntry) -> StoreResult<()> {
        let mut changed = false;
        for authority in authorities {
            changed |= self.import_authority(authority)?;
        }
        for authority in authorities {
            let Some(issuer) = &authority.issuer else { continue };
            self.require_authority(issuer.as_str(), || format!(", the issuer of {}", authority.name))?;
        }
        for crl in crls {
            changed |= self.import_crl(crl)?;
        }
        if changed {
            self.audit(audit)?;
        }
        Ok(())
    }

    fn import_authority(&mut self, authority: &Authority) -> StoreResult<bool> {
        let name = authority.name.as_str();
        let read = |row: &Row<'_>| row.get::<Vec<u8>>("certificate");
        match optional!(&self.connection, read, "SELECT certificate FROM authorities WHERE name = $1", name)? {
            Some(certificate) if certificate == authority.certificate => return Ok(false),
            Some(_) => return conflict(format!("authority {name} has another certificate here")),
            None => {}
        }
        let (kind, at) = (word(&authority.kind), authority.imported_at.unix());
        let (issuer, key) = (authority.issuer.as_ref().map(|i| i.as_str()), authority.key.as_ref().map(|k| k.as_str()));
        execute!(
            &self.connection,
            "INSERT INTO authorities (name, kind, certificate, issuer, key_label, is_default, imported_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
            name,
            kind,
            authority.certificate,
            issuer,
            key,
            authority.is_default,
            at
        )
        .map_err(or_taken("another authority is the default one (hint: import this one without making it the default)"))?;
        Ok(true)
    }
}
