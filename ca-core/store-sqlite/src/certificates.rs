//! Certificates, read only.

use async_trait::async_trait;
use ca_core::model::{
    AccountId, Authority, AuthorityName, CertificateFilter, CertificateName, CertificateRecord, CrossCertificate, ExplanationUrl, KeyAsked,
    KeyUse, ReplacementMark,
};
use ca_core::pki::{SerialNumber, Sha256Digest, Timestamp};
use ca_core::ports::{CertificateStore, StoreResult};
use rusqlite::{Connection, ToSql};

use crate::convert::{digest, from_json, limit, read, read_opt, reason, serial, time, unsigned};
use crate::error::{conflict, damaged};
use crate::sql::{self, Row, Sql, all, optional};
use crate::{SqliteStore, authorities, blocked_keys, cross};

fn read_mark(at: i64, row: &Row<'_>) -> StoreResult<ReplacementMark> {
    let explanation = row.get::<Option<String>>("explanation")?.map(ExplanationUrl::try_from).transpose();
    Ok(ReplacementMark { at: time(at), explanation: explanation.map_err(|e| damaged("a mark's explanation", e))? })
}

/// The certificate whose key's compromise a revocation follows.
fn read_follows(authority: String, row: &Row<'_>) -> StoreResult<CertificateName> {
    Ok(CertificateName { authority: read("authority", authority)?, serial: serial(&row.get::<Vec<u8>>("follows_serial")?)? })
}

fn read_certificate(row: &Row<'_>) -> StoreResult<CertificateRecord> {
    let (number, spki_sha256): (Vec<u8>, Vec<u8>) = (row.get("serial")?, row.get("spki_sha256")?);
    let identifiers: String = row.get("identifiers")?;
    let (revoked_at, code): (Option<i64>, Option<i64>) = (row.get("revoked_at")?, row.get("revocation_reason")?);
    Ok(CertificateRecord {
        authority: read("authority", row.get("authority")?)?,
        serial: serial(&number)?,
        state: read("certificate state", row.get("state")?)?,
        profile: row.get("profile")?,
        subject: row.get("subject")?,
        identifiers: from_json("identifiers", &identifiers)?,
        spki_sha256: digest(&spki_sha256)?,
        not_before: time(row.get("not_before")?),
        not_after: time(row.get("not_after")?),
        partition: unsigned("CRL partition", row.get("crl_partition")?)?,
        der: row.get::<Option<Vec<u8>>>("der")?.unwrap_or_default(),
        account: read_opt("account id", row.get("account_id")?)?,
        grant: read_opt("grant id", row.get("grant_id")?)?,
        order: read_opt("order id", row.get("order_id")?)?,
        revoked: revoked_at.zip(code).map(|(at, code)| Ok((time(at), reason(code)?))).transpose()?,
        follows: row.get::<Option<String>>("follows_authority")?.map(|authority| read_follows(authority, row)).transpose()?,
        // RFC 9773 §5: that order is the one which names it, as long as it is not invalid.
        replaced_by: read_opt("order id", row.get("replaced_by")?)?,
        marked: row.get::<Option<i64>>("marked_at")?.map(|at| read_mark(at, row)).transpose()?,
        created_at: time(row.get("created_at")?),
    })
}

/// Hands the beginning of a statement that reads certificates, `c`, with their marks, `m`, to this macro, before the rest.
macro_rules! with_columns {
    ($then:ident $($rest:tt)*) => {
        $then!(
            "SELECT c.serial, c.spki_sha256, c.identifiers, c.revoked_at, c.revocation_reason, c.authority, c.state, c.profile, c.subject,
                c.not_before, c.not_after, c.crl_partition, c.der, c.account_id, c.grant_id, c.order_id,
                CASE WHEN c.revocation_reason = 1 THEN (SELECT w.authority FROM followed_compromises f
                   JOIN certificates w ON w.seq = f.cause WHERE f.certificate = c.seq) END AS follows_authority,
                CASE WHEN c.revocation_reason = 1 THEN (SELECT w.serial FROM followed_compromises f
                   JOIN certificates w ON w.seq = f.cause WHERE f.certificate = c.seq) END AS follows_serial,
                (SELECT o.id FROM orders o WHERE o.authority = c.authority AND o.replaces = c.serial AND o.replaces IS NOT NULL
                   AND o.status <> 'invalid') AS replaced_by,
                m.at AS marked_at, m.explanation, c.created_at"
            $($rest)*
        )
    };
}

/// The first certificate for which this holds, or all of them.
macro_rules! certificate_where {
    ($columns:literal, $statement:ident, $connection:expr, $condition:literal $(, $argument:expr)*) => {
        $statement!(
            $connection,
            read_certificate,
            $columns + " FROM certificates c LEFT JOIN replacement_marks m ON m.certificate = c.seq WHERE " + $condition
            $(, $argument)*
        )
    };
}

/// Reads a certificate.
pub(crate) fn find(connection: &Connection, authority: &AuthorityName, serial: &SerialNumber) -> StoreResult<Option<CertificateRecord>> {
    let (authority, serial) = (authority.as_str(), serial.as_bytes().as_slice());
    with_columns!(certificate_where, optional, connection, "c.authority = $1 AND c.serial = $2", authority, serial)
}

/// Certificates with a key that have not expired and are not revoked for good: everyone's, or an account's.
pub(crate) fn standing_with_key(
    connection: &Connection,
    spki_sha256: &Sha256Digest,
    account: Option<&AccountId>,
    now: Timestamp,
    at_most: i64,
) -> StoreResult<Vec<CertificateRecord>> {
    let (spki, account, now) = (spki_sha256.0.as_slice(), account.map(AccountId::as_str), now.unix());
    with_columns!(
        certificate_where,
        all,
        connection,
        "c.spki_sha256 = $1 AND c.not_after > $3 AND (c.revoked_at IS NULL OR c.revocation_reason = 6)
         AND ($2 IS NULL OR c.account_id = $2) LIMIT $4",
        spki,
        account,
        now,
        at_most
    )
}

/// A text that is put together at run time, of constants only, and its arguments.
struct Query<'a> {
    text: String,
    arguments: Vec<Box<dyn ToSql + 'a>>,
}

impl<'a> Query<'a> {
    /// Adds to the text, and at its end the next argument.
    fn push(&mut self, text: &'static str, argument: impl ToSql + 'a) {
        self.arguments.push(Box::new(argument));
        self.text.push_str(text);
        self.text.push('$');
        self.text.push_str(&self.arguments.len().to_string());
    }
}

/// The newest certificates that a filter lets through, from the one before `after` on.
pub(crate) fn matching(
    connection: &Connection,
    filter: &CertificateFilter,
    after: Option<&SerialNumber>,
    at_most: i64,
) -> StoreResult<Vec<CertificateRecord>> {
    // The one text that is put together at run time: each set of conditions wants its own plan.
    let mut query = Query { text: with_columns!(concat).to_owned(), arguments: Vec::new() };
    query.text.push_str(match filter.marked {
        // A CROSS JOIN keeps this order: the marks are few.
        Some(true) => " FROM replacement_marks m CROSS JOIN certificates c ON c.seq = m.certificate WHERE 1 = 1",
        Some(false) => " FROM certificates c LEFT JOIN replacement_marks m ON m.certificate = c.seq WHERE m.certificate IS NULL",
        None => " FROM certificates c LEFT JOIN replacement_marks m ON m.certificate = c.seq WHERE 1 = 1",
    });
    let seq = if filter.marked == Some(true) { "m.certificate" } else { "c.seq" };
    if let Some(authority) = &filter.authority {
        query.push(" AND c.authority = ", authority.as_str());
    }
    if let Some(name) = &filter.name {
        query.push(" AND c.seq IN (SELECT n.certificate FROM certificate_names n WHERE n.name = ", name);
        query.text.push(')');
    }
    if let Some(grant) = &filter.grant {
        query.push(" AND c.grant_id = ", grant.as_str());
    }
    if let Some(account) = &filter.account {
        query.push(" AND c.account_id = ", account.as_str());
    }
    if let Some(key) = &filter.spki_sha256 {
        query.push(" AND c.spki_sha256 = ", key.0);
    }
    if let Some(from) = filter.issued_from {
        query.push(" AND c.created_at >= ", from.unix());
    }
    if let Some(before) = filter.issued_before {
        query.push(" AND c.created_at < ", before.unix());
    }
    if let Some(profile) = &filter.profile {
        query.push(" AND c.profile = ", profile);
    }
    if let Some(before) = filter.expires_before {
        query.push(" AND c.not_after < ", before.unix());
    }
    match filter.revoked {
        Some(true) => query.text.push_str(" AND c.revoked_at IS NOT NULL"),
        Some(false) => query.text.push_str(" AND c.revoked_at IS NULL"),
        None => {}
    }
    if let Some(after) = after {
        // Two authorities drawing the same 159 bits is not a case worth a composite cursor.
        query.text.push_str(" AND ");
        query.text.push_str(seq);
        query.push(" < (SELECT max(l.seq) FROM certificates l WHERE l.serial = ", after.as_bytes());
        if let Some(authority) = &filter.authority {
            query.push(" AND l.authority = ", authority.as_str());
        }
        query.text.push(')');
    }
    query.text.push_str(" ORDER BY ");
    query.text.push_str(seq);
    query.push(" DESC LIMIT ", at_most);
    let arguments: Vec<&dyn ToSql> = query.arguments.iter().map(|argument| &**argument as &dyn ToSql).collect();
    sql::every(connection, &Sql::new(&query.text), &arguments, read_certificate)
}

#[async_trait]
impl CertificateStore for SqliteStore {
    async fn cross_certificates(&self) -> StoreResult<Vec<CrossCertificate>> {
        self.remembered.crosses(|| self.readers.look(cross::list))
    }

    async fn authorities(&self) -> StoreResult<Vec<Authority>> {
        self.remembered.authorities(|| self.readers.look(authorities::list))
    }

    async fn certificate(&self, authority: &AuthorityName, serial: &SerialNumber) -> StoreResult<Option<CertificateRecord>> {
        self.readers.look(|c| find(c, authority, serial))
    }

    async fn certificates(
        &self,
        filter: &CertificateFilter,
        after: Option<&SerialNumber>,
        at_most: u32,
    ) -> StoreResult<Vec<CertificateRecord>> {
        let (filter, after, at_most) = (filter.clone(), after.copied(), limit(at_most));
        self.readers.list(move |c| matching(c, &filter, after.as_ref(), at_most)).await
    }

    async fn newest_for_key(
        &self,
        authority: &AuthorityName,
        profile: &str,
        spki_sha256: &Sha256Digest,
    ) -> StoreResult<Option<CertificateRecord>> {
        let (authority, spki) = (authority.as_str(), spki_sha256.0.as_slice());
        let newest = |c: &Connection| {
            with_columns!(
                certificate_where,
                optional,
                c,
                "c.spki_sha256 = $3 AND c.authority = $1 AND c.profile = $2 AND c.state = 'released' AND c.revoked_at IS NULL
                 ORDER BY c.seq DESC LIMIT 1",
                authority,
                profile,
                spki
            )
        };
        self.readers.look(newest)
    }

    async fn key_uses(&self, asked: &[KeyAsked]) -> StoreResult<Vec<KeyUse>> {
        if asked.len() > KeyAsked::MAX {
            return conflict(format!("{} keys are asked about at once, and at most {} may be", asked.len(), KeyAsked::MAX));
        }
        self.readers.look(|c| asked.iter().map(|key| blocked_keys::key_use(c, key)).collect())
    }
}
