//! Numbers for operators. None of them costs more with more certificates.

use ca_core::model::AuthorityName;
use ca_core::pki::Timestamp;
use ca_core::ports::StoreResult;
use rusqlite::Connection;

use crate::SqliteStore;
use crate::convert::{read, time, unsigned};
use crate::sql::{Row, all, one};

/// The most of what comes to its end soon that are counted.
pub const MOST_COUNTED: u64 = 10_000;

/// What a scrape tells of the store.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StoreNumbers {
    /// Certificates by authority and state: `intent`, `released`, `revoked` or `abandoned`.
    pub certificates: Vec<(AuthorityName, String, u64)>,
    /// Released ones that end before the time asked for; at most [`MOST_COUNTED`].
    pub ending_certificates: u64,
    /// Compromised keys with certificates still to be revoked; at most [`MOST_COUNTED`].
    pub compromised_keys: u64,
    /// Jobs whose time has come.
    pub due_jobs: u64,
    /// Jobs whose last try failed.
    pub failing_jobs: u64,
    /// Active grants that stop issuing before the time asked for, or stopped no longer ago than that lies ahead.
    pub ending_grants: u64,
    /// When the next of all active grants stops issuing, or stopped so recently; none: none does.
    pub next_grant_end: Option<Timestamp>,
}

impl SqliteStore {
    /// Counts what there is at `now`, and what ends by the two other times.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn numbers(&self, now: Timestamp, certificates_until: Timestamp, grants_until: Timestamp) -> StoreResult<StoreNumbers> {
        let (now, certificates_until, grants_until) = (now.unix(), certificates_until.unix(), grants_until.unix());
        self.readers.list(move |c| numbers(c, now, certificates_until, grants_until)).await
    }
}

fn numbers(connection: &Connection, now: i64, certificates_until: i64, grants_until: i64) -> StoreResult<StoreNumbers> {
    let counted = |row: &Row<'_>| {
        Ok((read("authority", row.get("authority")?)?, row.get("state")?, unsigned("certificates", row.get("certificates")?)?))
    };
    let certificates =
        all!(connection, counted, "SELECT authority, state, certificates FROM certificate_counts ORDER BY authority, state")?;
    let most = i64::try_from(MOST_COUNTED).unwrap_or(i64::MAX);
    let ending_certificates = one!(
        connection,
        |row| unsigned("certificates", row.get("ending")?),
        "SELECT count(*) AS ending FROM
         (SELECT 1 FROM certificates WHERE not_after > $1 AND not_after <= $2 AND state = 'released' AND revoked_at IS NULL LIMIT $3)",
        now,
        certificates_until,
        most
    )?;
    let compromised_keys = one!(
        connection,
        |row| unsigned("compromised keys", row.get("open")?),
        "SELECT count(*) AS open FROM (SELECT 1 FROM compromises LIMIT $1)",
        most
    )?;
    let (due_jobs, failing_jobs) = one!(
        connection,
        |row| Ok((unsigned("jobs", row.get("due")?)?, unsigned("jobs", row.get("failing")?)?)),
        "SELECT count(*) FILTER (WHERE due <= $1) AS due, count(*) FILTER (WHERE failures > 0) AS failing FROM jobs",
        now
    )?;
    // One that has ended is an outage, until it is extended or revoked: it is told as long after as before.
    let grants_since = now.saturating_sub(grants_until.saturating_sub(now));
    let (ending_grants, next_grant_end) = one!(
        connection,
        |row| Ok((unsigned("grants", row.get("ending")?)?, row.get::<Option<i64>>("next")?.map(time))),
        "SELECT count(*) FILTER (WHERE json_extract(body, '$.valid_until') <= $2) AS ending,
                min(json_extract(body, '$.valid_until')) AS next
         FROM grants WHERE status = 'active' AND json_extract(body, '$.valid_until') > $1",
        grants_since,
        grants_until
    )?;
    Ok(StoreNumbers { certificates, ending_certificates, compromised_keys, due_jobs, failing_jobs, ending_grants, next_grant_end })
}
