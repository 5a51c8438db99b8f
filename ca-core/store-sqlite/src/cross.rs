//! Cross-certificates of authorities: read by the front end, written by an import.

use ca_core::model::{AuditEntry, CrossCertificate};
use ca_core::ports::{StoreError, StoreResult};
use sqlx::SqlitePool;

use crate::convert::{read, time, unsigned};
use crate::error::{conflict, from_sqlx};
use crate::writer::Tx;

/// Every cross-certificate, oldest first.
pub(crate) async fn list(pool: &SqlitePool) -> StoreResult<Vec<CrossCertificate>> {
    let at_most = i64::try_from(CrossCertificate::MAX).unwrap_or(i64::MAX);
    sqlx::query!("SELECT number, authority, issuer, certificate, not_after FROM cross_certificates ORDER BY number LIMIT $1", at_most)
        .fetch_all(pool)
        .await
        .map_err(from_sqlx)?
        .into_iter()
        .map(|row| {
            Ok(CrossCertificate {
                number: unsigned("cross-certificate's number", row.number)?,
                authority: read("authority", row.authority)?,
                issuer: row.issuer,
                certificate: row.certificate,
                not_after: time(row.not_after),
            })
        })
        .collect()
}

impl Tx {
    pub(crate) async fn import_cross_certificates(&mut self, certificates: &[CrossCertificate], audit: &AuditEntry) -> StoreResult<u32> {
        let now = audit.at.unix();
        sqlx::query!("DELETE FROM cross_certificates WHERE not_after < $1", now).execute(&mut self.connection).await.map_err(from_sqlx)?;
        let mut new = 0;
        for certificate in certificates.iter().filter(|c| c.not_after >= audit.at) {
            new += u32::from(self.import_cross_certificate(certificate).await?);
        }
        if new > 0 {
            self.audit(audit).await?;
        }
        Ok(new)
    }

    async fn import_cross_certificate(&mut self, cross: &CrossCertificate) -> StoreResult<bool> {
        let (authority, not_after) = (cross.authority.as_str(), cross.not_after.unix());
        sqlx::query!("SELECT name FROM authorities WHERE name = $1", authority)
            .fetch_optional(&mut self.connection)
            .await
            .map_err(from_sqlx)?
            .ok_or_else(|| StoreError::NotFound(format!("authority {authority}, which a cross-certificate is of")))?;
        let inserted = sqlx::query!(
            "INSERT INTO cross_certificates (authority, issuer, certificate, not_after) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            authority,
            cross.issuer,
            cross.certificate,
            not_after
        )
        .execute(&mut self.connection)
        .await
        .map_err(from_sqlx)?;
        if inserted.rows_affected() == 0 {
            return Ok(false);
        }
        let counted = sqlx::query!(
            r#"SELECT count(*) AS "all_of_them!: i64", count(CASE WHEN authority = $1 THEN 1 END) AS "own!: i64" FROM cross_certificates"#,
            authority
        )
        .fetch_one(&mut self.connection)
        .await
        .map_err(from_sqlx)?;
        let within = |count: i64, most: usize| usize::try_from(count).is_ok_and(|count| count <= most);
        if within(counted.own, CrossCertificate::MAX_PER_AUTHORITY) && within(counted.all_of_them, CrossCertificate::MAX) {
            return Ok(true);
        }
        conflict(format!(
            "{authority} has {} cross-certificates here and the instance {}; the most are {} and {} (hint: wait until one expires)",
            counted.own - 1,
            counted.all_of_them - 1,
            CrossCertificate::MAX_PER_AUTHORITY,
            CrossCertificate::MAX
        ))
    }
}
