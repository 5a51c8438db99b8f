//! Numbers for operators. None of them costs more with more certificates.

use ca_core::model::AuthorityName;
use ca_core::pki::Timestamp;
use ca_core::ports::StoreResult;

use crate::SqliteStore;
use crate::convert::{read, time, unsigned};
use crate::error::from_sqlx;

/// The most of what comes to its end soon that are counted.
pub const MOST_COUNTED: u64 = 10_000;

/// What a scrape tells of the store.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StoreNumbers {
    /// Certificates by authority and state: `intent`, `released`, `revoked` or `abandoned`.
    pub certificates: Vec<(AuthorityName, String, u64)>,
    /// Released ones that end before the time asked for; at most [`MOST_COUNTED`].
    pub ending_certificates: u64,
    /// Jobs whose time has come.
    pub due_jobs: u64,
    /// Jobs whose last try failed.
    pub failing_jobs: u64,
    /// Active grants that stop issuing before the time asked for.
    pub ending_grants: u64,
    /// When the next active grant stops issuing; none: none does.
    pub next_grant_end: Option<Timestamp>,
}

impl SqliteStore {
    /// Counts what there is at `now`, and what ends by the two other times.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn numbers(&self, now: Timestamp, certificates_until: Timestamp, grants_until: Timestamp) -> StoreResult<StoreNumbers> {
        let (now, certificates_until, grants_until) = (now.unix(), certificates_until.unix(), grants_until.unix());
        let rows = sqlx::query!("SELECT authority, state, certificates FROM certificate_counts ORDER BY authority, state")
            .fetch_all(&self.readers)
            .await
            .map_err(from_sqlx)?;
        let certificates = rows
            .into_iter()
            .map(|row| Ok((read("authority", row.authority)?, row.state, unsigned("certificates", row.certificates)?)))
            .collect::<StoreResult<_>>()?;
        let most = i64::try_from(MOST_COUNTED).unwrap_or(i64::MAX);
        let ending = sqlx::query!(
            r#"SELECT count(*) AS "ending!: i64" FROM
               (SELECT 1 FROM certificates WHERE not_after > $1 AND not_after <= $2 AND state = 'released' AND revoked_at IS NULL LIMIT $3)"#,
            now,
            certificates_until,
            most
        )
        .fetch_one(&self.readers)
        .await
        .map_err(from_sqlx)?;
        let jobs = sqlx::query!(
            r#"SELECT count(*) FILTER (WHERE due <= $1) AS "due!: i64", count(*) FILTER (WHERE failures > 0) AS "failing!: i64" FROM jobs"#,
            now
        )
        .fetch_one(&self.readers)
        .await
        .map_err(from_sqlx)?;
        let grants = sqlx::query!(
            r#"SELECT count(*) FILTER (WHERE json_extract(body, '$.valid_until') <= $2) AS "ending!: i64",
                      min(json_extract(body, '$.valid_until')) AS "next: i64"
               FROM grants WHERE status = 'active' AND json_extract(body, '$.valid_until') > $1"#,
            now,
            grants_until
        )
        .fetch_one(&self.readers)
        .await
        .map_err(from_sqlx)?;
        Ok(StoreNumbers {
            certificates,
            ending_certificates: unsigned("certificates", ending.ending)?,
            due_jobs: unsigned("jobs", jobs.due)?,
            failing_jobs: unsigned("jobs", jobs.failing)?,
            ending_grants: unsigned("grants", grants.ending)?,
            next_grant_end: grants.next.map(time),
        })
    }
}
