//! The queue of signing requests, seen by the worker.

use std::time::Duration;

use async_trait::async_trait;
use ca_core::model::{AuditEntry, LeaseToken, Problem, ProblemType, RequestBody, RequestId, RequestState, SigningRequest, WorkerId};
use ca_core::pki::Timestamp;
use ca_core::ports::{RequestQueue, StoreError, StoreResult};
use sqlx::SqliteExecutor;

use crate::SqliteStore;
use crate::convert::{from_json, json, read, time, unsigned};
use crate::error::{conflict, damaged, from_sqlx};
use crate::writer::Tx;

/// The most requests in one lease: their evidence is read within the writer's transaction.
const MAX_LEASE: u32 = 256;

/// The longest that anything waits for a wake-up, whatever it asks for.
const MAX_WAIT: Duration = Duration::from_secs(3600);

/// Waits for `notify`, at most `at_most`.
pub(crate) async fn wait(notify: &tokio::sync::Notify, at_most: Duration) {
    // Running into the time limit is one of the two ways this ends.
    let _ = tokio::time::timeout(at_most.min(MAX_WAIT), notify.notified()).await;
}

/// What became of a request.
pub(crate) async fn state_of(executor: impl SqliteExecutor<'_>, id: &RequestId) -> StoreResult<RequestState> {
    let text = id.as_str();
    let row = sqlx::query!("SELECT state, problem FROM requests WHERE id = $1", text)
        .fetch_optional(executor)
        .await
        .map_err(from_sqlx)?
        .ok_or_else(|| StoreError::NotFound(format!("request {id}")))?;
    match (row.state.as_str(), row.problem) {
        ("done", _) => Ok(RequestState::Done),
        ("refused", Some(problem)) => Ok(RequestState::Refused { problem: from_json("problem", &problem)? }),
        ("refused", None) => Err(damaged("request", "refused without a problem")),
        _ => Ok(RequestState::Waiting),
    }
}

impl Tx {
    async fn lease_requests(
        &mut self,
        worker: &WorkerId,
        lease: &LeaseToken,
        now: Timestamp,
        until: Timestamp,
        at_most: u32,
    ) -> StoreResult<Vec<SigningRequest>> {
        let (now, until, at_most) = (now.unix(), until.unix(), i64::from(at_most.min(MAX_LEASE)));
        let rows = sqlx::query!(
            r#"SELECT r.seq, r.id, r.account_id, r.order_id, r.attempts, r.received_at, o.authority AS "authority?"
               FROM requests r LEFT JOIN orders o ON o.id = r.order_id
               WHERE r.ended_at IS NULL AND r.not_before <= $1 AND (r.lease_until IS NULL OR r.lease_until <= $1)
                 AND NOT EXISTS (SELECT 1 FROM attempts a WHERE a.request_id = r.id AND a.state = 'open')
               ORDER BY r.seq LIMIT $2"#,
            now,
            at_most
        )
        .fetch_all(&mut self.connection)
        .await
        .map_err(from_sqlx)?;
        let (worker, token, taken) = (worker.as_str(), lease.as_str(), json(&rows.iter().map(|row| row.seq).collect::<Vec<_>>()));
        sqlx::query!(
            "UPDATE requests SET state = 'leased', worker = $2, lease = $3, lease_until = $4, attempts = attempts + 1
             WHERE seq IN (SELECT value FROM json_each($1))",
            taken,
            worker,
            token,
            until
        )
        .execute(&mut self.connection)
        .await
        .map_err(from_sqlx)?;
        let mut leased = Vec::with_capacity(rows.len());
        for row in rows {
            let evidence = self.evidence(&row.account_id, row.order_id.as_deref()).await?;
            let account = read("account id", row.account_id)?;
            let body = match (row.order_id, row.authority) {
                (Some(order), Some(authority)) => {
                    RequestBody::Finalize { order: read("order id", order)?, account, authority: read("authority", authority)? }
                }
                (None, _) => RequestBody::Account { account },
                (Some(order), None) => return Err(damaged("request", format!("its order {order} is gone"))),
            };
            leased.push(SigningRequest {
                id: read("request id", row.id)?,
                body,
                evidence,
                lease: lease.clone(),
                attempts: unsigned("attempts", row.attempts)?,
                received_at: time(row.received_at),
            });
        }
        Ok(leased)
    }

    /// Ends a leased request; `problem` where it is refused. Gives its account and order.
    pub(crate) async fn end_request(
        &mut self,
        id: &RequestId,
        lease: &LeaseToken,
        problem: Option<&Problem>,
        at: Timestamp,
    ) -> StoreResult<(String, Option<String>)> {
        let (text, token, at) = (id.as_str(), lease.as_str(), at.unix());
        let (state, problem) = (if problem.is_some() { "refused" } else { "done" }, problem.map(json));
        let ended = sqlx::query!(
            "UPDATE requests SET state = $3, problem = $4, ended_at = $5, worker = NULL, lease = NULL, lease_until = NULL
             WHERE id = $1 AND lease = $2 AND state = 'leased' RETURNING account_id, order_id",
            text,
            token,
            state,
            problem,
            at
        )
        .fetch_optional(&mut self.connection)
        .await
        .map_err(from_sqlx)?;
        let Some(row) = ended else {
            // It is not there, or its lease has passed on.
            state_of(&mut self.connection, id).await?;
            return Err(StoreError::Fenced);
        };
        self.touched.ended.push(id.clone());
        Ok((row.account_id, row.order_id))
    }

    async fn accept_account(&mut self, request: &RequestId, lease: &LeaseToken, audit: &AuditEntry) -> StoreResult<()> {
        let (account, order) = self.end_request(request, lease, None, audit.at).await?;
        if order.is_some() {
            return conflict("the request is an order's, not an account's");
        }
        let changed = sqlx::query!("UPDATE accounts SET status = 'valid' WHERE id = $1 AND status = 'pending'", account)
            .execute(&mut self.connection)
            .await
            .map_err(from_sqlx)?;
        if changed.rows_affected() == 0 {
            return conflict("the account is not pending");
        }
        let counted = sqlx::query!(
            "UPDATE grants SET accounts = accounts + 1
             WHERE id = (SELECT grant_id FROM accounts WHERE id = $1) AND status = 'active' AND suspended_at IS NULL
               AND (max_accounts IS NULL OR accounts < max_accounts)",
            account
        )
        .execute(&mut self.connection)
        .await
        .map_err(from_sqlx)?;
        if counted.rows_affected() == 0 {
            return conflict("the grant is missing or revoked, or has bound as many accounts as it may");
        }
        self.audit(audit).await?;
        Ok(())
    }

    async fn refuse_request(&mut self, request: &RequestId, lease: &LeaseToken, problem: &Problem, audit: &AuditEntry) -> StoreResult<()> {
        let (account, order) = self.end_request(request, lease, Some(problem), audit.at).await?;
        match order {
            Some(order) => {
                if problem.kind == ProblemType::Unauthorized {
                    self.revoke_authorizations(&order).await?;
                }
                self.note_failure(&account, problem, audit.at).await?;
                let problem = json(problem);
                sqlx::query!("UPDATE orders SET status = 'invalid', error = $2 WHERE id = $1 AND status = 'processing'", order, problem)
                    .execute(&mut self.connection)
                    .await
            }
            None => sqlx::query!("DELETE FROM accounts WHERE id = $1 AND status = 'pending'", account).execute(&mut self.connection).await,
        }
        .map_err(from_sqlx)?;
        self.audit(audit).await?;
        Ok(())
    }

    /// What the worker does not believe must not be used again: the client proves the names anew.
    async fn revoke_authorizations(&mut self, order: &str) -> StoreResult<()> {
        sqlx::query!(
            "UPDATE authorizations SET status = 'revoked'
             WHERE id IN (SELECT m.authorization_id FROM order_authorizations m WHERE m.order_id = $1) AND status = 'valid'",
            order
        )
        .execute(&mut self.connection)
        .await
        .map_err(from_sqlx)?;
        Ok(())
    }

    async fn postpone_request(&mut self, request: &RequestId, lease: &LeaseToken, not_before: Timestamp) -> StoreResult<()> {
        let (id, token, at) = (request.as_str(), lease.as_str(), not_before.unix());
        let changed = sqlx::query!(
            "UPDATE requests SET state = 'queued', not_before = $3, worker = NULL, lease = NULL, lease_until = NULL
             WHERE id = $1 AND lease = $2 AND state = 'leased'",
            id,
            token,
            at
        )
        .execute(&mut self.connection)
        .await
        .map_err(from_sqlx)?;
        if changed.rows_affected() == 0 {
            return Err(StoreError::Fenced);
        }
        self.touched.requests = true;
        Ok(())
    }
}

#[async_trait]
impl RequestQueue for SqliteStore {
    async fn lease_requests(
        &self,
        worker: &WorkerId,
        lease: &LeaseToken,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> StoreResult<Vec<SigningRequest>> {
        // Most wake-ups find nothing: that is seen without the writer.
        let at = now.unix();
        let waiting = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT 1 FROM requests WHERE ended_at IS NULL AND not_before <= $1 AND (lease_until IS NULL OR lease_until <= $1)) AS "waiting!: bool""#,
            at
        )
        .fetch_one(&self.readers)
        .await
        .map_err(from_sqlx)?;
        if !waiting {
            return Ok(Vec::new());
        }
        let (worker, lease) = (worker.clone(), lease.clone());
        self.write(move |tx| Box::pin(async move { tx.lease_requests(&worker, &lease, now, until, limit).await })).await
    }

    async fn accept_account(&self, request: &RequestId, lease: &LeaseToken, audit: &AuditEntry) -> StoreResult<()> {
        let (request, lease, audit) = (request.clone(), lease.clone(), audit.clone());
        self.write(move |tx| Box::pin(async move { tx.accept_account(&request, &lease, &audit).await })).await
    }

    async fn refuse_request(&self, request: &RequestId, lease: &LeaseToken, problem: &Problem, audit: &AuditEntry) -> StoreResult<()> {
        let (request, lease, problem, audit) = (request.clone(), lease.clone(), problem.clone(), audit.clone());
        self.write(move |tx| Box::pin(async move { tx.refuse_request(&request, &lease, &problem, &audit).await })).await
    }

    async fn postpone_request(&self, request: &RequestId, lease: &LeaseToken, not_before: Timestamp) -> StoreResult<()> {
        let (request, lease) = (request.clone(), lease.clone());
        self.write(move |tx| Box::pin(async move { tx.postpone_request(&request, &lease, not_before).await })).await
    }

    async fn await_requests(&self, at_most: Duration) {
        wait(&self.wakers.requests, at_most).await;
    }

    async fn backlog(&self) -> StoreResult<(u64, Option<Timestamp>)> {
        // One that was postponed waits since it may go on: a client's retry must not look like a jam.
        let row =
            sqlx::query!(r#"SELECT count(*) AS "waiting!: i64", min(not_before) AS "oldest?: i64" FROM requests WHERE ended_at IS NULL"#)
                .fetch_one(&self.readers)
                .await
                .map_err(from_sqlx)?;
        Ok((unsigned("backlog", row.waiting)?, row.oldest.map(time)))
    }
}
