//! Certificates, read only.

use async_trait::async_trait;
use ca_core::model::{Authority, AuthorityName, CertificateFilter, CertificateRecord, CrossCertificate, KeyBlock};
use ca_core::pki::{SerialNumber, Sha256Digest};
use ca_core::ports::{CertificateStore, StoreResult};
use sqlx::{QueryBuilder, Sqlite};

use crate::convert::{digest, from_json, limit, read, read_opt, reason, serial, time, unsigned};
use crate::error::from_sqlx;
use crate::{SqliteStore, authorities, blocked_keys, cross};

#[derive(sqlx::FromRow)]
struct CertificateRow {
    authority: String,
    serial: Vec<u8>,
    state: String,
    profile: String,
    subject: String,
    identifiers: String,
    spki_sha256: Vec<u8>,
    not_before: i64,
    not_after: i64,
    crl_partition: i64,
    der: Option<Vec<u8>>,
    account_id: Option<String>,
    grant_id: Option<String>,
    order_id: Option<String>,
    revoked_at: Option<i64>,
    revocation_reason: Option<i64>,
    created_at: i64,
    replaced_by: Option<String>,
}

impl CertificateRow {
    fn read(self) -> StoreResult<CertificateRecord> {
        let revoked = self.revoked_at.zip(self.revocation_reason);
        Ok(CertificateRecord {
            authority: read("authority", self.authority)?,
            serial: serial(&self.serial)?,
            state: read("certificate state", self.state)?,
            profile: self.profile,
            subject: self.subject,
            identifiers: from_json("identifiers", &self.identifiers)?,
            spki_sha256: digest(&self.spki_sha256)?,
            not_before: time(self.not_before),
            not_after: time(self.not_after),
            partition: unsigned("CRL partition", self.crl_partition)?,
            der: self.der.unwrap_or_default(),
            account: read_opt("account id", self.account_id)?,
            grant: read_opt("grant id", self.grant_id)?,
            order: read_opt("order id", self.order_id)?,
            revoked: revoked.map(|(at, code)| Ok((time(at), reason(code)?))).transpose()?,
            // RFC 9773 §5: that order is the one which names it, as long as it is not invalid.
            replaced_by: read_opt("order id", self.replaced_by)?,
            created_at: time(self.created_at),
        })
    }
}

#[async_trait]
impl CertificateStore for SqliteStore {
    async fn cross_certificates(&self) -> StoreResult<Vec<CrossCertificate>> {
        cross::list(&self.readers).await
    }

    async fn authorities(&self) -> StoreResult<Vec<Authority>> {
        authorities::list(&self.readers).await
    }

    async fn certificate(&self, authority: &AuthorityName, serial: &SerialNumber) -> StoreResult<Option<CertificateRecord>> {
        let (authority, serial) = (authority.as_str(), serial.as_bytes().as_slice());
        sqlx::query_as!(
            CertificateRow,
            r#"SELECT c.authority, c.serial, c.state, c.profile, c.subject, c.identifiers, c.spki_sha256, c.not_before, c.not_after,
                      c.crl_partition, c.der, c.account_id, c.grant_id, c.order_id, c.revoked_at, c.revocation_reason, c.created_at,
                      (SELECT o.id FROM orders o WHERE o.authority = c.authority AND o.replaces = c.serial AND o.replaces IS NOT NULL
                         AND o.status <> 'invalid') AS "replaced_by: String"
               FROM certificates c WHERE c.authority = $1 AND c.serial = $2"#,
            authority,
            serial
        )
        .fetch_optional(&self.readers)
        .await
        .map_err(from_sqlx)?
        .map(CertificateRow::read)
        .transpose()
    }

    async fn certificates(
        &self,
        filter: &CertificateFilter,
        after: Option<&SerialNumber>,
        at_most: u32,
    ) -> StoreResult<Vec<CertificateRecord>> {
        // The one text that is put together at run time, of constants only: each set of conditions wants its own plan.
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT c.authority, c.serial, c.state, c.profile, c.subject, c.identifiers, c.spki_sha256, c.not_before, c.not_after,
                    c.crl_partition, c.der, c.account_id, c.grant_id, c.order_id, c.revoked_at, c.revocation_reason, c.created_at,
                    (SELECT o.id FROM orders o WHERE o.authority = c.authority AND o.replaces = c.serial AND o.replaces IS NOT NULL
                       AND o.status <> 'invalid') AS replaced_by
             FROM certificates c WHERE 1 = 1",
        );
        if let Some(authority) = &filter.authority {
            query.push(" AND c.authority = ").push_bind(authority.as_str().to_owned());
        }
        if let Some(name) = &filter.name {
            query.push(" AND c.seq IN (SELECT n.certificate FROM certificate_names n WHERE n.name = ").push_bind(name.clone()).push(")");
        }
        if let Some(grant) = &filter.grant {
            query.push(" AND c.grant_id = ").push_bind(grant.as_str().to_owned());
        }
        if let Some(account) = &filter.account {
            query.push(" AND c.account_id = ").push_bind(account.as_str().to_owned());
        }
        if let Some(key) = &filter.spki_sha256 {
            query.push(" AND c.spki_sha256 = ").push_bind(key.0.to_vec());
        }
        if let Some(from) = filter.issued_from {
            query.push(" AND c.created_at >= ").push_bind(from.unix());
        }
        if let Some(before) = filter.issued_before {
            query.push(" AND c.created_at < ").push_bind(before.unix());
        }
        if let Some(profile) = &filter.profile {
            query.push(" AND c.profile = ").push_bind(profile.clone());
        }
        if let Some(before) = filter.expires_before {
            query.push(" AND c.not_after < ").push_bind(before.unix());
        }
        match filter.revoked {
            Some(true) => drop(query.push(" AND c.revoked_at IS NOT NULL")),
            Some(false) => drop(query.push(" AND c.revoked_at IS NULL")),
            None => {}
        }
        if let Some(after) = after {
            // Two authorities drawing the same 159 bits is not a case worth a composite cursor.
            query.push(" AND c.seq < (SELECT max(l.seq) FROM certificates l WHERE l.serial = ").push_bind(after.as_bytes().to_vec());
            if let Some(authority) = &filter.authority {
                query.push(" AND l.authority = ").push_bind(authority.as_str().to_owned());
            }
            query.push(")");
        }
        query.push(" ORDER BY c.seq DESC LIMIT ").push_bind(limit(at_most));
        let rows: Vec<CertificateRow> = query.build_query_as().fetch_all(&self.readers).await.map_err(from_sqlx)?;
        rows.into_iter().map(CertificateRow::read).collect()
    }

    async fn newest_for_key(
        &self,
        authority: &AuthorityName,
        profile: &str,
        spki_sha256: &Sha256Digest,
    ) -> StoreResult<Option<CertificateRecord>> {
        let (authority, spki) = (authority.as_str(), spki_sha256.0.as_slice());
        sqlx::query_as!(
            CertificateRow,
            r#"SELECT c.authority, c.serial, c.state, c.profile, c.subject, c.identifiers, c.spki_sha256, c.not_before, c.not_after,
                      c.crl_partition, c.der, c.account_id, c.grant_id, c.order_id, c.revoked_at, c.revocation_reason, c.created_at,
                      (SELECT o.id FROM orders o WHERE o.authority = c.authority AND o.replaces = c.serial AND o.replaces IS NOT NULL
                         AND o.status <> 'invalid') AS "replaced_by: String"
               FROM certificates c
               WHERE c.spki_sha256 = $3 AND c.authority = $1 AND c.profile = $2 AND c.state = 'released' AND c.revoked_at IS NULL
               ORDER BY c.seq DESC LIMIT 1"#,
            authority,
            profile,
            spki
        )
        .fetch_optional(&self.readers)
        .await
        .map_err(from_sqlx)?
        .map(CertificateRow::read)
        .transpose()
    }

    async fn key_block(&self, spki_sha256: &Sha256Digest) -> StoreResult<Option<KeyBlock>> {
        blocked_keys::find(&self.readers, spki_sha256).await
    }
}
