//! Lifecycle jobs.

use std::time::Duration;

use async_trait::async_trait;
use ca_core::model::{
    AuditEntry, AuthorityName, CrlScope, Job, JobId, JobKind, JobRecord, LeaseToken, LeasedJob, OrderId, RenewingOrder, WorkerId,
};
use ca_core::pki::Timestamp;
use ca_core::plan::CRL_BATCH;
use ca_core::ports::{JobStore, LONGEST_LEASE, StoreError, StoreResult};
use rusqlite::Connection;

use crate::convert::{from_json, json, limit, read, time, unsigned};
use crate::requests::wait;
use crate::sql::{Row, all, execute};
use crate::writer::Tx;
use crate::{SqliteStore, star};

/// The most characters of a failure that are kept with its job; the audit entry has it all.
const MAX_ERROR: usize = 1000;

impl Tx {
    /// Queues a job, or moves its due time up.
    pub(crate) fn ensure_job(&mut self, kind: &JobKind, due: Timestamp) -> StoreResult<()> {
        self.ensure_job_apart(kind, due, Duration::ZERO)
    }

    /// Has a CRL made that lists what was done at `at`: at once, but [`CRL_BATCH`] after the one before.
    pub(crate) fn ensure_crl(&mut self, authority: &AuthorityName, scope: CrlScope, at: Timestamp) -> StoreResult<()> {
        self.ensure_job_apart(&JobKind::PublishCrl { authority: authority.clone(), scope }, at, CRL_BATCH)
    }

    /// Queues a job, or moves its due time up: `apart` after it was last done, and no longer than that after `due`, whatever
    /// the clock showed then. While it is leased the wish is kept, so that the end of the lease does not lose it.
    fn ensure_job_apart(&mut self, kind: &JobKind, due: Timestamp, apart: Duration) -> StoreResult<()> {
        let (id, kind, later, longest) = (kind.id(), json(kind), due.plus(apart).unix(), due.plus(LONGEST_LEASE).unix());
        let (id, due) = (id.as_str(), due.unix());
        let apart = later.saturating_sub(due);
        execute!(
            &self.connection,
            "INSERT INTO jobs (id, kind, due) VALUES ($1, $2, $3)
             ON CONFLICT (id) DO UPDATE SET
               due = CASE WHEN lease IS NULL OR lease_until > $6 THEN min(due, max($3, min(coalesce(last_done + $5, $3), $4))) ELSE due END,
               due_meanwhile = CASE WHEN lease IS NULL THEN NULL ELSE min(coalesce(due_meanwhile, $4), $4) END",
            id,
            kind,
            due,
            later,
            apart,
            longest
        )?;
        self.touched.jobs = true;
        Ok(())
    }

    fn lease_jobs(
        &mut self,
        worker: &WorkerId,
        lease: &LeaseToken,
        now: Timestamp,
        until: Timestamp,
        at_most: u32,
    ) -> StoreResult<Vec<LeasedJob>> {
        let longest = now.plus(LONGEST_LEASE).max(until).unix();
        let (now, until, at_most) = (now.unix(), until.unix(), limit(at_most));
        let read_leased = |row: &Row<'_>| {
            Ok(LeasedJob {
                id: read("job id", row.get("id")?)?,
                kind: from_json("job", &row.get::<String>("kind")?)?,
                lease: lease.clone(),
                failures: unsigned("failures", row.get("failures")?)?,
            })
        };
        // Those of orders come last: they may be many, and revocation is what others wait for.
        let leased = all!(
            &self.connection,
            read_leased,
            "SELECT id, kind, failures FROM jobs WHERE due <= $1 AND (lease_until IS NULL OR lease_until <= $1 OR lease_until > $3)
             ORDER BY id >= 'star.' AND id < 'star/', due LIMIT $2",
            now,
            at_most,
            longest
        )?;
        for job in &leased {
            let (id, worker, token) = (job.id.as_str(), worker.as_str(), lease.as_str());
            execute!(
                &self.connection,
                "UPDATE jobs SET worker = $2, lease = $3, lease_until = $4, due_meanwhile = NULL WHERE id = $1",
                id,
                worker,
                token,
                until
            )?;
        }
        Ok(leased)
    }

    fn finish_job(&mut self, id: &JobId, lease: &LeaseToken, now: Timestamp, next: Timestamp) -> StoreResult<()> {
        let (id, token, now, next) = (id.as_str(), lease.as_str(), now.unix(), next.unix());
        let changed = execute!(
            &self.connection,
            "UPDATE jobs SET due = min($4, coalesce(due_meanwhile, $4)), due_meanwhile = NULL, worker = NULL, lease = NULL,
                             lease_until = NULL, failures = 0, last_error = NULL, last_done = $3
             WHERE id = $1 AND lease = $2",
            id,
            token,
            now,
            next
        )?;
        self.ended_job(changed)
    }

    fn end_job(&mut self, id: &JobId, lease: &LeaseToken) -> StoreResult<()> {
        let (id, token) = (id.as_str(), lease.as_str());
        let changed = execute!(&self.connection, "DELETE FROM jobs WHERE id = $1 AND lease = $2", id, token)?;
        self.ended_job(changed)
    }

    fn fail_job(&mut self, id: &JobId, lease: &LeaseToken, error: &str, retry_at: Timestamp, audit: &AuditEntry) -> StoreResult<()> {
        let (id, token, retry_at) = (id.as_str(), lease.as_str(), retry_at.unix());
        let error: String = error.chars().take(MAX_ERROR).collect();
        let changed = execute!(
            &self.connection,
            "UPDATE jobs SET due = min($3, coalesce(due_meanwhile, $3)), due_meanwhile = NULL, worker = NULL, lease = NULL,
                             lease_until = NULL, failures = failures + 1, last_error = $4
             WHERE id = $1 AND lease = $2",
            id,
            token,
            retry_at,
            error
        )?;
        self.ended_job(changed)?;
        self.audit(audit)?;
        Ok(())
    }

    fn rest_job(&mut self, id: &JobId, lease: &LeaseToken, reason: &str, next: Timestamp, audit: &AuditEntry) -> StoreResult<()> {
        let (id, token, next) = (id.as_str(), lease.as_str(), next.unix());
        let reason: String = reason.chars().take(MAX_ERROR).collect();
        let changed = execute!(
            &self.connection,
            "UPDATE jobs SET due = min($3, coalesce(due_meanwhile, $3)), due_meanwhile = NULL, worker = NULL, lease = NULL,
                             lease_until = NULL, failures = 0, last_error = $4
             WHERE id = $1 AND lease = $2",
            id,
            token,
            next,
            reason
        )?;
        self.ended_job(changed)?;
        self.audit(audit)?;
        Ok(())
    }

    fn ended_job(&mut self, rows: usize) -> StoreResult<()> {
        self.touched.jobs = true;
        if rows == 0 { Err(StoreError::Fenced) } else { Ok(()) }
    }
}

#[async_trait]
impl JobStore for SqliteStore {
    async fn ensure_job(&self, job: &Job) -> StoreResult<()> {
        let job = job.clone();
        self.write(move |tx| tx.ensure_job(&job.kind, job.due)).await
    }

    async fn lease_jobs(
        &self,
        worker: &WorkerId,
        lease: &LeaseToken,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> StoreResult<Vec<LeasedJob>> {
        let (worker, lease) = (worker.clone(), lease.clone());
        self.write(move |tx| tx.lease_jobs(&worker, &lease, now, until, limit)).await
    }

    async fn finish_job(&self, id: &JobId, lease: &LeaseToken, now: Timestamp, next: Timestamp) -> StoreResult<()> {
        let (id, lease) = (id.clone(), lease.clone());
        self.write(move |tx| tx.finish_job(&id, &lease, now, next)).await
    }

    async fn end_job(&self, id: &JobId, lease: &LeaseToken) -> StoreResult<()> {
        let (id, lease) = (id.clone(), lease.clone());
        self.write(move |tx| tx.end_job(&id, &lease)).await
    }

    async fn renewing_order(&self, id: &OrderId) -> StoreResult<Option<RenewingOrder>> {
        star::find(self, id)
    }

    async fn fail_job(&self, id: &JobId, lease: &LeaseToken, error: &str, retry_at: Timestamp, audit: &AuditEntry) -> StoreResult<()> {
        let (id, lease, error, audit) = (id.clone(), lease.clone(), error.to_owned(), audit.clone());
        self.write(move |tx| tx.fail_job(&id, &lease, &error, retry_at, &audit)).await
    }

    async fn rest_job(&self, id: &JobId, lease: &LeaseToken, reason: &str, next: Timestamp, audit: &AuditEntry) -> StoreResult<()> {
        let (id, lease, reason, audit) = (id.clone(), lease.clone(), reason.to_owned(), audit.clone());
        self.write(move |tx| tx.rest_job(&id, &lease, &reason, next, &audit)).await
    }

    async fn jobs(&self, at_most: u32) -> StoreResult<Vec<JobRecord>> {
        let at_most = limit(at_most);
        let read_record = |row: &Row<'_>| {
            Ok(JobRecord {
                id: read("job id", row.get("id")?)?,
                kind: from_json("job", &row.get::<String>("kind")?)?,
                due: time(row.get("due")?),
                failures: unsigned("failures", row.get("failures")?)?,
                last_error: row.get("last_error")?,
                last_done: row.get::<Option<i64>>("last_done")?.map(time),
            })
        };
        let jobs = move |c: &Connection| {
            all!(
                c,
                read_record,
                "SELECT id, kind, due, failures, last_error, last_done FROM jobs WHERE id < 'star.' OR id >= 'star/' ORDER BY due, id LIMIT $1",
                at_most
            )
        };
        self.readers.list(jobs).await
    }

    async fn await_jobs(&self, at_most: Duration) {
        wait(&self.wakers.jobs, at_most).await;
    }

    async fn prune(&self, now: Timestamp, limit: u32) -> StoreResult<u64> {
        self.write(move |tx| tx.prune(now, limit)).await
    }
}
