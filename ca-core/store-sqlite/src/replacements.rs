//! Certificates that are marked for replacement, and what came in their place.

use std::time::Duration;

use async_trait::async_trait;
use ca_core::model::{
    AuditEntry, AuthorityName, AutoRenewal, CertificateFilter, CertificateRecord, Replacement, ReplacementMark, Successor,
};
use ca_core::pki::{Certificate, Identifier, SerialNumber, Timestamp};
use ca_core::ports::{ReplacementStore, StoreResult};
use rusqlite::Connection;

use crate::SqliteStore;
use crate::certificates::matching;
use crate::convert::{from_json, json, limit, read, serial, time};
use crate::sql::{Row, all, execute, optional};
use crate::writer::Tx;

/// How many later certificates of the same account, and of the same name, are looked at, so that a report's cost is bounded.
/// What comes in a certificate's place is among the newest; one that is not found counts as to go, which does no harm.
const LOOKED_AT: i64 = 200;

impl Tx {
    fn mark(
        &mut self,
        authority: &AuthorityName,
        serials: &[SerialNumber],
        mark: &ReplacementMark,
        audit: &AuditEntry,
    ) -> StoreResult<u64> {
        let (name, at, explanation) = (authority.as_str(), mark.at.unix(), mark.explanation.as_ref().map(|url| url.as_str()));
        let mut new = 0;
        for number in serials {
            let number = number.as_bytes().as_slice();
            let known = execute!(
                &self.connection,
                "UPDATE replacement_marks SET explanation = $3
                 WHERE certificate = (SELECT seq FROM certificates WHERE authority = $1 AND serial = $2)",
                name,
                number,
                explanation
            )?;
            if known == 0 {
                new += execute!(
                    &self.connection,
                    "INSERT INTO replacement_marks (certificate, at, explanation, not_after)
                     SELECT seq, $3, $4, not_after FROM certificates WHERE authority = $1 AND serial = $2 AND state <> 'abandoned'",
                    name,
                    number,
                    at,
                    explanation
                )?;
            }
            self.move_renewal_up(authority, number, mark.at)?;
        }
        self.audit(audit)?;
        Ok(new as u64)
    }

    fn unmark(&mut self, authority: &AuthorityName, serials: &[SerialNumber], audit: &AuditEntry) -> StoreResult<u64> {
        let authority = authority.as_str();
        let mut unmarked = 0;
        for number in serials {
            let number = number.as_bytes().as_slice();
            unmarked += execute!(
                &self.connection,
                "DELETE FROM replacement_marks WHERE certificate = (SELECT seq FROM certificates WHERE authority = $1 AND serial = $2)",
                authority,
                number
            )?;
        }
        self.audit(audit)?;
        Ok(unmarked as u64)
    }
}

/// Which of a name's certificates after one have the same identifiers, stand, end after a time, and are not marked themselves, as
/// long as this holds too; of those after it the newest [`LOOKED_AT`] are looked at.
macro_rules! later_of_name {
    ($statement:ident, $connection:expr, $read:expr, $columns:literal, $condition:literal,
     $name:expr, $authority:expr, $number:expr, $identifiers:expr, $needed:expr $(, $argument:expr)* $(,)?) => {
        $statement!(
            $connection,
            $read,
            "SELECT " + $columns + " FROM (
             SELECT n.certificate FROM certificate_names n
             WHERE n.name = $1 AND n.certificate > (SELECT c.seq FROM certificates c WHERE c.authority = $2 AND c.serial = $3)
             ORDER BY n.certificate DESC LIMIT $5) JOIN certificates d ON d.seq = certificate
         WHERE d.identifiers = $4 AND d.state = 'released' AND d.revoked_at IS NULL AND d.not_after > $6
           AND NOT EXISTS (SELECT 1 FROM replacement_marks m WHERE m.certificate = d.seq) AND " + $condition,
            $name,
            $authority,
            $number,
            $identifiers,
            LOOKED_AT,
            $needed
            $(, $argument)*
        )
    };
}

fn successor(connection: &Connection, record: &CertificateRecord, needed: i64) -> StoreResult<Option<Successor>> {
    let (authority, number) = (record.authority.as_str(), record.serial.as_bytes().as_slice());
    let by_order =
        |row: &Row<'_>| Ok(Successor::Order { order: read("order id", row.get("id")?)?, serial: serial(&row.get::<Vec<u8>>("serial")?)? });
    let named = optional!(
        connection,
        by_order,
        "SELECT o.id, o.serial FROM orders o JOIN certificates d ON d.authority = o.authority AND d.serial = o.serial
         WHERE o.authority = $1 AND o.replaces = $2 AND o.replaces IS NOT NULL AND o.status <> 'invalid' AND o.status = 'valid'
           AND d.state = 'released' AND d.revoked_at IS NULL AND d.not_after > $3",
        authority,
        number,
        needed
    )?;
    if named.is_some() {
        return Ok(named);
    }
    if let Some(renewal) = renewal(connection, record, needed)? {
        return Ok(Some(renewal));
    }
    let later = |row: &Row<'_>| Ok(Successor::Later { serial: serial(&row.get::<Vec<u8>>("serial")?)? });
    let (profile, identifiers) = (record.profile.as_str(), json(&record.identifiers));
    let Some(account) = &record.account else {
        // The CA's own: it keeps its key.
        let spki = record.spki_sha256.0.as_slice();
        return optional!(
            connection,
            later,
            "SELECT d.serial FROM certificates d
             WHERE d.spki_sha256 = $1 AND d.authority = $2 AND d.profile = $3
               AND d.seq > (SELECT c.seq FROM certificates c WHERE c.authority = $2 AND c.serial = $4)
               AND d.account_id IS NULL AND d.identifiers = $5 AND d.state = 'released' AND d.revoked_at IS NULL
               AND d.not_after > $6 AND NOT EXISTS (SELECT 1 FROM replacement_marks m WHERE m.certificate = d.seq)
             ORDER BY d.seq DESC LIMIT 1",
            spki,
            authority,
            profile,
            number,
            identifiers,
            needed
        );
    };
    let account = account.as_str();
    // The newest of the account, which mostly has few; else the newest of a name, which mostly has few.
    let of_account = optional!(
        connection,
        later,
        "SELECT serial FROM (
             SELECT d.seq, d.authority, d.serial, d.profile, d.identifiers, d.state, d.revoked_at, d.not_after FROM certificates d
             WHERE d.account_id = $1 AND d.seq > (SELECT c.seq FROM certificates c WHERE c.authority = $2 AND c.serial = $3)
             ORDER BY d.seq DESC LIMIT $6)
         WHERE authority = $2 AND profile = $4 AND identifiers = $5 AND state = 'released' AND revoked_at IS NULL
           AND not_after > $7 AND NOT EXISTS (SELECT 1 FROM replacement_marks m WHERE m.certificate = seq)
         LIMIT 1",
        account,
        authority,
        number,
        profile,
        identifiers,
        LOOKED_AT,
        needed
    )?;
    if of_account.is_some() {
        return Ok(of_account);
    }
    let Some(name) = a_name(record) else { return Ok(None) };
    let of_name = later_of_name!(
        optional,
        connection,
        later,
        "d.serial",
        "d.account_id = $7 AND d.authority = $2 AND d.profile = $8 LIMIT 1",
        name,
        authority,
        number,
        identifiers,
        needed,
        account,
        profile
    )?;
    if of_name.is_some() { Ok(of_name) } else { under_another_profile(connection, record, needed, account, &name) }
}

/// After the mark and under another profile, of which the account had none for these names then: else what is later may be
/// that one's renewal, and this one in use beside it.
fn under_another_profile(
    connection: &Connection,
    record: &CertificateRecord,
    needed: i64,
    account: &str,
    name: &str,
) -> StoreResult<Option<Successor>> {
    let Some(at) = record.marked.as_ref().map(|mark| mark.at.unix()) else { return Ok(None) };
    let (authority, number, identifiers) = (record.authority.as_str(), record.serial.as_bytes().as_slice(), json(&record.identifiers));
    let own_profile = record.profile.as_str();
    let candidate = |row: &Row<'_>| Ok((row.get::<i64>("seq")?, serial(&row.get::<Vec<u8>>("serial")?)?, row.get::<String>("profile")?));
    let candidates = later_of_name!(
        all,
        connection,
        candidate,
        "d.seq, d.serial, d.profile",
        "d.account_id = $7 AND d.authority = $2 AND d.profile <> $8 AND d.created_at > $9 ORDER BY d.seq DESC",
        name,
        authority,
        number,
        identifiers,
        needed,
        account,
        own_profile,
        at
    )?;
    let Some(oldest) = candidates.iter().map(|(seq, ..)| *seq).min() else { return Ok(None) };
    let stood = all!(
        connection,
        |row| Ok((row.get::<String>("profile")?, row.get::<bool>("stood")?)),
        "SELECT d.profile, (d.account_id IS $3 AND d.authority = $4 AND d.identifiers = $5 AND d.state = 'released'
             AND d.created_at <= $6 AND d.not_after > $6) AS stood FROM (
             SELECT n.certificate FROM certificate_names n WHERE n.name = $1 AND n.certificate < $2
             ORDER BY n.certificate DESC LIMIT $7) JOIN certificates d ON d.seq = certificate",
        name,
        oldest,
        account,
        authority,
        identifiers,
        at,
        LOOKED_AT
    )?;
    // There may be more than were looked at.
    if stood.len() as i64 >= LOOKED_AT {
        return Ok(None);
    }
    let is_new = |profile: &str| !stood.iter().any(|(other, stood)| *stood && other == profile);
    let found = candidates.into_iter().find(|(_, _, profile)| is_new(profile));
    Ok(found.map(|(_, serial, profile)| Successor::OtherProfile { serial, profile }))
}

/// The next certificate of an order that renews itself.
fn renewal(connection: &Connection, record: &CertificateRecord, needed: i64) -> StoreResult<Option<Successor>> {
    let Some(order) = record.order.as_ref().map(|order| order.as_str()) else { return Ok(None) };
    let (authority, number) = (record.authority.as_str(), record.serial.as_bytes().as_slice());
    let read_renewal = |row: &Row<'_>| {
        let terms: AutoRenewal = from_json("terms of auto-renewal", &row.get::<String>("terms")?)?;
        let fetched_by = time(row.get("created_at")?).plus(Duration::from_secs(terms.lifetime));
        Ok(Successor::Renewal { serial: serial(&row.get::<Vec<u8>>("serial")?)?, fetched_by })
    };
    optional!(
        connection,
        read_renewal,
        "SELECT d.serial, d.created_at, s.terms FROM star_orders s JOIN certificates d ON d.order_id = s.order_id
         WHERE s.order_id = $1 AND d.seq > (SELECT c.seq FROM certificates c WHERE c.authority = $2 AND c.serial = $3)
           AND d.state = 'released' AND d.revoked_at IS NULL AND d.not_after > $4
           AND NOT EXISTS (SELECT 1 FROM replacement_marks m WHERE m.certificate = d.seq)
         ORDER BY d.seq LIMIT 1",
        order,
        authority,
        number,
        needed
    )
}

/// Another authority that issued a later certificate for the same names.
fn elsewhere(connection: &Connection, record: &CertificateRecord, needed: i64) -> StoreResult<Option<AuthorityName>> {
    let Some(name) = a_name(record) else { return Ok(None) };
    let (authority, number, identifiers) = (record.authority.as_str(), record.serial.as_bytes().as_slice(), json(&record.identifiers));
    later_of_name!(
        optional,
        connection,
        |row| read("authority", row.get("authority")?),
        "d.authority",
        "d.authority <> $2 LIMIT 1",
        name,
        authority,
        number,
        identifiers,
        needed
    )
}

/// A name by which the certificate, and what comes in its place, is found.
fn a_name(record: &CertificateRecord) -> Option<String> {
    let of_order = record.identifiers.first().map(Identifier::value);
    // URIs and mailboxes are in the certificate alone.
    of_order.or_else(|| Certificate::from_der(&record.der).ok()?.alt_names().first().map(ToString::to_string))
}

#[async_trait]
impl ReplacementStore for SqliteStore {
    async fn mark_for_replacement(
        &self,
        authority: &AuthorityName,
        serials: &[SerialNumber],
        mark: &ReplacementMark,
        audit: &AuditEntry,
    ) -> StoreResult<u64> {
        let (authority, serials, mark, audit) = (authority.clone(), serials.to_vec(), mark.clone(), audit.clone());
        self.write(move |tx| tx.mark(&authority, &serials, &mark, &audit)).await
    }

    async fn unmark(&self, authority: &AuthorityName, serials: &[SerialNumber], audit: &AuditEntry) -> StoreResult<u64> {
        let (authority, serials, audit) = (authority.clone(), serials.to_vec(), audit.clone());
        self.write(move |tx| tx.unmark(&authority, &serials, &audit)).await
    }

    async fn replacements(
        &self,
        filter: &CertificateFilter,
        after: Option<&SerialNumber>,
        at_most: u32,
        now: Timestamp,
    ) -> StoreResult<Vec<Replacement>> {
        let filter = CertificateFilter { marked: Some(true), ..filter.clone() };
        let (after, at_most) = (after.copied(), limit(at_most));
        let list = move |c: &Connection| {
            let records = matching(c, &filter, after.as_ref(), at_most)?.into_iter();
            let replacement = |record: CertificateRecord| {
                let needed = record.needed_until(now).unix();
                let successor = successor(c, &record, needed)?;
                let elsewhere = if successor.is_none() { elsewhere(c, &record, needed)? } else { None };
                Ok(Replacement { record, successor, elsewhere })
            };
            records.map(replacement).collect()
        };
        self.readers.list(list).await
    }
}
