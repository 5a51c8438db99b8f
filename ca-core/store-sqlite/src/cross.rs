//! Cross-certificates of authorities: read by the front end, written by an import.

use ca_core::model::{AuditEntry, CrossCertificate};
use ca_core::ports::StoreResult;
use rusqlite::Connection;

use crate::convert::{read, time, unsigned};
use crate::error::conflict;
use crate::sql::{Row, all, execute, one};
use crate::writer::Tx;

/// Every cross-certificate, oldest first.
pub(crate) fn list(connection: &Connection) -> StoreResult<Vec<CrossCertificate>> {
    let at_most = i64::try_from(CrossCertificate::MAX).unwrap_or(i64::MAX);
    all!(
        connection,
        read_cross_certificate,
        "SELECT number, authority, issuer, certificate, not_after FROM cross_certificates ORDER BY number LIMIT $1",
        at_most
    )
}

fn read_cross_certificate(row: &Row<'_>) -> StoreResult<CrossCertificate> {
    Ok(CrossCertificate {
        number: unsigned("cross-certificate's number", row.get("number")?)?,
        authority: read("authority", row.get("authority")?)?,
        issuer: row.get("issuer")?,
        certificate: row.get("certificate")?,
        not_after: time(row.get("not_after")?),
    })
}

impl Tx {
    pub(crate) fn import_cross_certificates(&mut self, certificates: &[CrossCertificate], audit: &AuditEntry) -> StoreResult<u32> {
        let now = audit.at.unix();
        execute!(&self.connection, "DELETE FROM cross_certificates WHERE not_after < $1", now)?;
        let mut new = 0;
        for certificate in certificates.iter().filter(|c| c.not_after >= audit.at) {
            new += u32::from(self.import_cross_certificate(certificate)?);
        }
        if new > 0 {
            self.audit(audit)?;
        }
        Ok(new)
    }

    fn import_cross_certificate(&mut self, cross: &CrossCertificate) -> StoreResult<bool> {
        let (authority, not_after) = (cross.authority.as_str(), cross.not_after.unix());
        self.require_authority(authority, || ", which a cross-certificate is of".to_owned())?;
        let inserted = execute!(
            &self.connection,
            "INSERT INTO cross_certificates (authority, issuer, certificate, not_after) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            authority,
            cross.issuer,
            cross.certificate,
            not_after
        )?;
        if inserted == 0 {
            return Ok(false);
        }
        let (all_of_them, own) = one!(
            &self.connection,
            |row| Ok((row.get::<i64>("all_of_them")?, row.get::<i64>("own")?)),
            "SELECT count(*) AS all_of_them, count(CASE WHEN authority = $1 THEN 1 END) AS own FROM cross_certificates",
            authority
        )?;
        let within = |count: i64, most: usize| usize::try_from(count).is_ok_and(|count| count <= most);
        if within(own, CrossCertificate::MAX_PER_AUTHORITY) && within(all_of_them, CrossCertificate::MAX) {
            return Ok(true);
        }
        conflict(format!(
            "{authority} has {} cross-certificates here and the instance {}; the most are {} and {} (hint: wait until one expires)",
            own - 1,
            all_of_them - 1,
            CrossCertificate::MAX_PER_AUTHORITY,
            CrossCertificate::MAX
        ))
    }
}
