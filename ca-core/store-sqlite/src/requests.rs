//! The queue of signing requests, seen by the worker.

use std::cell::Cell;
use std::time::Duration;

use async_trait::async_trait;
use ca_core::model::{AuditEntry, Fault, Issued, LeaseToken, Problem, RequestBody, RequestId, RequestState, SigningRequest, WorkerId};
use ca_core::pki::Timestamp;
use ca_core::ports::{GRANT_CHANGED, GRANT_FULL, LONGEST_LEASE, LONGEST_PAUSE, MAX_LEASE_OCTETS, RequestQueue, StoreError, StoreResult};
use rusqlite::Connection;

use crate::convert::{self, from_json, json, read, time, unsigned};
use crate::error::{conflict, damaged};
use crate::sql::{Row, all, execute, one, optional};
use crate::writer::Tx;
use crate::{SqliteStore, evidence};

/// The most requests in one lease: their evidence is read within the writer's transaction.
const MAX_LEASE: u32 = 256;

/// The longest that anything waits for a wake-up, whatever it asks for.
const MAX_WAIT: Duration = Duration::from_secs(3600);

/// Waits for `notify`, at most `at_most`.
pub(crate) async fn wait(notify: &tokio::sync::Notify, at_most: Duration) {
    // Running into the time limit is one of the two ways this ends.
    let _ = tokio::time::timeout(at_most.min(MAX_WAIT), notify.notified()).await;
}

/// The latest that a lease of now may end, and that a request may be put off to.
fn longest(now: Timestamp, until: Timestamp) -> (i64, i64) {
    (now.plus(LONGEST_LEASE).max(until).unix(), now.plus(LONGEST_PAUSE).unix())
}

/// What became of a request.
pub(crate) fn state_of(connection: &Connection, id: &RequestId) -> StoreResult<RequestState> {
    let text = id.as_str();
    let read = |row: &Row<'_>| {
        let (serial, subject, der) = (row.get::<Option<Vec<u8>>>("serial")?, row.get("subject")?, row.get("der")?);
        let certificate = match (serial, subject, der) {
            (Some(octets), Some(subject), Some(der)) => Some(Box::new(Issued { serial: convert::serial(&octets)?, subject, der })),
            _ => None,
        };
        Ok((row.get::<String>("state")?, row.get::<Option<String>>("problem")?, certificate))
    };
    let found = optional!(
        connection,
        read,
        "SELECT c.serial, c.subject, c.der, r.state, r.problem FROM requests r LEFT JOIN orders o ON o.id = r.order_id
           LEFT JOIN certificates c ON c.serial = o.serial AND c.authority = o.authority
         WHERE r.id = $1",
        text
    )?;
    let (state, problem, certificate) = found.ok_or_else(|| StoreError::NotFound(format!("request {id}")))?;
    match (state.as_str(), problem) {
        ("done", _) => Ok(RequestState::Done { certificate }),
        ("refused", Some(problem)) => Ok(RequestState::Refused { problem: from_json("problem", &problem)? }),
        ("refused", None) => Err(damaged("request", "refused without a problem")),
        _ => Ok(RequestState::Waiting),
    }
}

impl Tx {
    fn lease_requests(
        &mut self,
        worker: &WorkerId,
        lease: &LeaseToken,
        now: Timestamp,
        until: Timestamp,
        at_most: u32,
    ) -> StoreResult<Vec<SigningRequest>> {
        let (longest_lease, longest_pause) = longest(now, until);
        let (now, until, at_most) = (now.unix(), until.unix(), i64::from(at_most.min(MAX_LEASE)));
        let octets = Cell::new(0);
        let read_row = |row: &Row<'_>| {
            if octets.get() >= MAX_LEASE_OCTETS {
                // What comes after is another lease's.
                return Ok(None);
            }
            let (account, order) = (row.get::<String>("account_id")?, row.get::<Option<String>>("order_id")?);
            let authority = row.get::<Option<String>>("authority")?;
            let (evidence, more) = evidence::find_weighed(&self.connection, &account, order.as_deref())?;
            octets.set(octets.get() + more);
            let account = read("account id", account)?;
            let body = match (order, authority) {
                (Some(order), Some(authority)) => {
                    let (order, authority) = (read("order id", order)?, read("authority", authority)?);
                    RequestBody::Finalize { order, account, authority, profile: row.get("profile")? }
                }
                (None, _) => RequestBody::Account { account },
                (Some(order), None) => return Err(damaged("request", format!("its order {order} is gone"))),
            };
            let request = SigningRequest {
                id: read("request id", row.get("id")?)?,
                body,
                evidence,
                lease: lease.clone(),
                attempts: unsigned("attempts", row.get("attempts")?)?,
                received_at: time(row.get("received_at")?),
            };
            Ok(Some((row.get::<i64>("seq")?, request)))
        };
        // What is new is due at once, whatever the clock of whoever took it in; only a postponement has a time.
        let rows: Vec<Option<(i64, SigningRequest)>> = all!(
            &self.connection,
            read_row,
            "SELECT r.account_id, r.order_id, o.authority, o.profile, r.id, r.attempts, r.received_at, r.seq
             FROM requests r LEFT JOIN orders o ON o.id = r.order_id
             WHERE r.ended_at IS NULL AND (r.attempts = 0 OR r.not_before <= $1 OR r.not_before > $4)
               AND (r.lease_until IS NULL OR r.lease_until <= $1 OR r.lease_until > $3)
               AND NOT EXISTS (SELECT 1 FROM attempts a WHERE a.order_id = r.order_id AND a.reason IS NULL AND a.state = 'open')
             ORDER BY r.seq LIMIT $2",
            now,
            at_most,
            longest_lease,
            longest_pause
        )?;
        let rows: Vec<_> = rows.into_iter().flatten().collect();
        let (worker, token) = (worker.as_str(), lease.as_str());
        for (seq, _) in &rows {
            execute!(
                &self.connection,
                "UPDATE requests SET state = 'leased', worker = $2, lease = $3, lease_until = $4, attempts = attempts + 1,
                        not_before = min(not_before, $5)
                 WHERE seq = $1",
                seq,
                worker,
                token,
                until,
                now
            )?;
        }
        Ok(rows.into_iter().map(|(_, request)| request).collect())
    }

    /// Ends a leased request as `end` says: done or refused.
    pub(crate) fn end_request(&mut self, id: &RequestId, lease: &LeaseToken, end: RequestState, at: Timestamp) -> StoreResult<()> {
        let (text, token, at) = (id.as_str(), lease.as_str(), at.unix());
        let (state, problem) = match &end {
            RequestState::Done { .. } => ("done", None),
            RequestState::Refused { problem } => ("refused", Some(json(problem))),
            RequestState::Waiting => return conflict("a request does not end by waiting"),
        };
        let ended = execute!(
            &self.connection,
            "UPDATE requests SET state = $3, problem = $4, ended_at = $5, worker = NULL, lease = NULL, lease_until = NULL
             WHERE id = $1 AND lease = $2 AND state = 'leased'",
            text,
            token,
            state,
            problem,
            at
        )?;
        if ended == 0 {
            // It is not there, or its lease has passed on.
            state_of(&self.connection, id)?;
            return Err(StoreError::Fenced);
        }
        self.touched.states.push((id.clone(), end));
        Ok(())
    }

    /// The account and the order that a request is of.
    fn owner_of(&self, request: &RequestId) -> StoreResult<(String, Option<String>)> {
        let id = request.as_str();
        one!(
            &self.connection,
            |row| Ok((row.get("account_id")?, row.get("order_id")?)),
            "SELECT account_id, order_id FROM requests WHERE id = $1",
            id
        )
    }

    fn accept_account(&mut self, request: &RequestId, lease: &LeaseToken, statement: &str, audit: &AuditEntry) -> StoreResult<()> {
        self.end_request(request, lease, RequestState::Done { certificate: None }, audit.at)?;
        let (account, order) = self.owner_of(request)?;
        if order.is_some() {
            return conflict("the request is an order's, not an account's");
        }
        let changed = execute!(&self.connection, "UPDATE accounts SET status = 'valid' WHERE id = $1 AND status = 'pending'", account)?;
        if changed == 0 {
            return conflict("the account is not pending");
        }
        let counted = execute!(
            &self.connection,
            "UPDATE grants SET accounts = accounts + 1
             WHERE id = (SELECT grant_id FROM accounts WHERE id = $1) AND status = 'active' AND suspended_at IS NULL
               AND statement = $2 AND (max_accounts IS NULL OR accounts < max_accounts)",
            account,
            statement
        )?;
        if counted == 0 {
            let stands = optional!(
                &self.connection,
                |_| Ok(()),
                "SELECT g.id FROM accounts a JOIN grants g ON g.id = a.grant_id
                 WHERE a.id = $1 AND g.status = 'active' AND g.suspended_at IS NULL AND g.statement = $2",
                account,
                statement
            )?;
            return conflict(if stands.is_some() { GRANT_FULL } else { GRANT_CHANGED });
        }
        self.audit(audit)?;
        Ok(())
    }

    fn refuse_request(
        &mut self,
        request: &RequestId,
        lease: &LeaseToken,
        fault: Fault,
        problem: &Problem,
        audit: &AuditEntry,
    ) -> StoreResult<()> {
        self.end_request(request, lease, RequestState::Refused { problem: problem.clone() }, audit.at)?;
        let (account, order) = self.owner_of(request)?;
        match order {
            Some(order) => {
                let text = json(problem);
                match fault {
                    Fault::Client => self.note_failure(&account, audit.at)?,
                    Fault::Evidence => self.revoke_authorizations(&order, &text)?,
                    Fault::Change | Fault::Rest => {}
                }
                execute!(
                    &self.connection,
                    "UPDATE orders SET status = 'invalid', error = $2 WHERE id = $1 AND status = 'processing'",
                    order,
                    text
                )?;
            }
            None => drop(execute!(&self.connection, "DELETE FROM accounts WHERE id = $1 AND status = 'pending'", account)?),
        }
        self.audit(audit)?;
        Ok(())
    }

    /// What the worker does not believe must not be used again: the client proves the names anew. Other orders that rest on it
    /// would wait for ever.
    fn revoke_authorizations(&self, order: &str, problem: &str) -> StoreResult<()> {
        execute!(
            &self.connection,
            "UPDATE orders SET status = 'invalid', error = $2
             WHERE status IN ('pending', 'ready') AND id IN (
               SELECT n.order_id FROM order_authorizations m
                 JOIN authorizations a ON a.id = m.authorization_id AND a.status = 'valid'
                 JOIN order_authorizations n ON n.authorization_id = m.authorization_id
               WHERE m.order_id = $1)",
            order,
            problem
        )?;
        execute!(
            &self.connection,
            "UPDATE authorizations SET status = 'revoked'
             WHERE id IN (SELECT m.authorization_id FROM order_authorizations m WHERE m.order_id = $1) AND status = 'valid'",
            order
        )?;
        Ok(())
    }

    fn postpone_request(&mut self, request: &RequestId, lease: &LeaseToken, not_before: Timestamp) -> StoreResult<()> {
        let (id, token, at) = (request.as_str(), lease.as_str(), not_before.unix());
        let changed = execute!(
            &self.connection,
            "UPDATE requests SET state = 'queued', not_before = $3, worker = NULL, lease = NULL, lease_until = NULL
             WHERE id = $1 AND lease = $2 AND state = 'leased'",
            id,
            token,
            at
        )?;
        if changed == 0 {
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
        let ((longest_lease, longest_pause), at) = (longest(now, until), now.unix());
        let waiting = self.readers.look(|c| {
            optional!(
                c,
                |_| Ok(()),
                "SELECT id FROM requests WHERE ended_at IS NULL AND (attempts = 0 OR not_before <= $1 OR not_before > $3)
                   AND (lease_until IS NULL OR lease_until <= $1 OR lease_until > $2) LIMIT 1",
                at,
                longest_lease,
                longest_pause
            )
        })?;
        if waiting.is_none() {
            return Ok(Vec::new());
        }
        let (worker, lease) = (worker.clone(), lease.clone());
        self.write(move |tx| tx.lease_requests(&worker, &lease, now, until, limit)).await
    }

    async fn accept_account(&self, request: &RequestId, lease: &LeaseToken, statement: &str, audit: &AuditEntry) -> StoreResult<()> {
        let (request, lease, statement, audit) = (request.clone(), lease.clone(), statement.to_owned(), audit.clone());
        self.write(move |tx| tx.accept_account(&request, &lease, &statement, &audit)).await
    }

    async fn refuse_request(
        &self,
        request: &RequestId,
        lease: &LeaseToken,
        fault: Fault,
        problem: &Problem,
        audit: &AuditEntry,
    ) -> StoreResult<()> {
        let (request, lease, problem, audit) = (request.clone(), lease.clone(), problem.clone(), audit.clone());
        self.write(move |tx| tx.refuse_request(&request, &lease, fault, &problem, &audit)).await
    }

    async fn postpone_request(&self, request: &RequestId, lease: &LeaseToken, not_before: Timestamp) -> StoreResult<()> {
        let (request, lease) = (request.clone(), lease.clone());
        self.write(move |tx| tx.postpone_request(&request, &lease, not_before)).await
    }

    async fn await_requests(&self, at_most: Duration) {
        wait(&self.wakers.requests, at_most).await;
    }

    async fn backlog(&self) -> StoreResult<(u64, Option<Timestamp>)> {
        // One that was postponed waits since it may go on: a client's retry must not look like a jam.
        self.readers.look(|c| {
            let read = |row: &Row<'_>| Ok((unsigned("backlog", row.get("waiting")?)?, row.get::<Option<i64>>("oldest")?.map(time)));
            one!(c, read, "SELECT count(*) AS waiting, min(not_before) AS oldest FROM requests WHERE ended_at IS NULL")
        })
    }
}
