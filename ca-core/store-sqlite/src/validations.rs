//! Validation jobs: asked for by clients, leased by validators, decided with the evidence of each attempt.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use ca_core::model::{
    AccountId, AuditEntry, Authorization, AuthorizationCommand, AuthorizationId, AuthorizationStatus, ChallengeMethod, ChallengeStatus,
    LeaseToken, LeasedValidation, Problem, TakeUp, ValidationEnd, ValidationRecord, WorkerId,
};
use ca_core::pki::Timestamp;
use ca_core::ports::{LONGEST_LEASE, StoreError, StoreResult, ValidationStore};
use rusqlite::Connection;

use crate::SqliteStore;
use crate::convert::{from_json, json, limit, read, signed, time, unsigned, word};
use crate::error::conflict;
use crate::requests::wait;
use crate::sql::{Row, all, execute};
use crate::writer::Tx;

/// The most validations in one lease.
const MAX_LEASE: u32 = 256;

impl Tx {
    fn start_challenge(
        &mut self,
        id: &AuthorizationId,
        method: ChallengeMethod,
        by: &TakeUp,
        now: Timestamp,
        deadline: Timestamp,
        audit: &AuditEntry,
    ) -> StoreResult<Authorization> {
        let before = self.authorization(id)?;
        let started = before.clone().apply(AuthorizationCommand::Start(method), now);
        let started = started.map_err(|rejected| StoreError::Conflict(rejected.to_string()))?;
        self.has_key(&before.account, &by.thumbprint)?;
        let (text, name, at, deadline) = (id.as_str(), method.name(), now.unix(), deadline.unix());
        let changed = execute!(
            &self.connection,
            "UPDATE challenges SET status = 'processing'
             WHERE authorization_id = $1 AND method = $2 AND status IN ('pending', 'processing')
               AND EXISTS (SELECT 1 FROM authorizations a WHERE a.id = $1 AND a.status = 'pending' AND a.expires > $3)",
            text,
            name,
            at
        )?;
        if changed == 0 {
            return conflict(format!("the {method} challenge cannot be started"));
        }
        execute!(
            &self.connection,
            "INSERT INTO validations (authorization_id, method, due, deadline, answer, thumbprint)
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
            text,
            name,
            at,
            deadline,
            by.answer,
            by.thumbprint
        )?;
        if before != started {
            self.audit(audit)?;
        }
        self.touched.validations = true;
        Ok(started)
    }

    /// By turns: what is due of accounts that have not their share yet, until there is enough. Each turn fills up the share of
    /// one account at least, or is the last.
    fn lease_validations(
        &mut self,
        worker: &WorkerId,
        lease: &LeaseToken,
        now: Timestamp,
        until: Timestamp,
        at_most: u32,
        share: u32,
    ) -> StoreResult<Vec<LeasedValidation>> {
        let longest = now.plus(LONGEST_LEASE).max(until).unix();
        let (now, until, at_most) = (now.unix(), until.unix(), at_most.min(MAX_LEASE) as usize);
        let mut held = self.held_by(worker, now)?;
        let mut full: Vec<AccountId> = held.iter().filter(|(_, held)| **held >= share).map(|(account, _)| account.clone()).collect();
        let mut leased = Vec::new();
        while leased.len() < at_most {
            let (room, filled) = (at_most - leased.len(), full.len());
            let due = self.due_validations(lease, now, longest, &full, room)?;
            let is_all = due.len() < room;
            for validation in due {
                let held = held.entry(validation.account.clone()).or_default();
                if *held >= share {
                    continue;
                }
                *held += 1;
                if *held >= share {
                    full.push(validation.account.clone());
                }
                let (id, method) = (validation.authorization.as_str(), validation.method.name());
                let (worker, token) = (worker.as_str(), lease.as_str());
                execute!(
                    &self.connection,
                    "UPDATE validations SET worker = $3, lease = $4, lease_until = $5, attempts = attempts + 1
                     WHERE authorization_id = $1 AND method = $2",
                    id,
                    method,
                    worker,
                    token,
                    until
                )?;
                leased.push(validation);
            }
            if is_all || full.len() == filled {
                break;
            }
        }
        Ok(leased)
    }

    /// How many validations of each account a worker holds.
    fn held_by(&self, worker: &WorkerId, now: i64) -> StoreResult<BTreeMap<AccountId, u32>> {
        let worker = worker.as_str();
        let of_account = |row: &Row<'_>| Ok((read("account id", row.get("account_id")?)?, unsigned("leases", row.get("held")?)?));
        let held: Vec<(AccountId, u32)> = all!(
            &self.connection,
            of_account,
            "SELECT a.account_id, count(*) AS held
             FROM validations v JOIN authorizations a ON a.id = v.authorization_id
             WHERE v.lease IS NOT NULL AND v.lease > '' AND v.lease_until > $2 AND v.worker = $1
             GROUP BY a.account_id",
            worker,
            now
        )?;
        Ok(held.into_iter().collect())
    }

    /// What is due of other accounts than these; a lease beyond the longest has ended.
    fn due_validations(
        &self,
        lease: &LeaseToken,
        now: i64,
        longest: i64,
        without: &[AccountId],
        at_most: usize,
    ) -> StoreResult<Vec<LeasedValidation>> {
        let (without, at_most) = (json(&without), signed(at_most as u64)?);
        let read_leased = |row: &Row<'_>| {
            Ok(LeasedValidation {
                authorization: read("authorization id", row.get("authorization_id")?)?,
                method: read("challenge method", row.get("method")?)?,
                account: read("account id", row.get("account_id")?)?,
                thumbprint: row.get("thumbprint")?,
                authority: read("authority", row.get("authority")?)?,
                identifier: from_json("identifier", &row.get::<String>("identifier")?)?,
                token: read("challenge token", row.get("token")?)?,
                lease: lease.clone(),
                answer: row.get("answer")?,
                attempts: unsigned("attempts", row.get("attempts")?)?,
                deadline: time(row.get("deadline")?),
            })
        };
        all!(
            &self.connection,
            read_leased,
            "SELECT v.authorization_id, v.method, a.account_id, coalesce(v.thumbprint, o.thumbprint) AS thumbprint, a.authority, a.identifier,
                    c.token, v.answer, v.attempts, v.deadline
             FROM validations v
               JOIN authorizations a ON a.id = v.authorization_id
               JOIN challenges c ON c.authorization_id = v.authorization_id AND c.method = v.method
               JOIN accounts o ON o.id = a.account_id
             WHERE v.due <= $1 AND (v.lease_until IS NULL OR v.lease_until <= $1 OR v.lease_until > $4)
               AND a.status = 'pending' AND a.expires > $1 AND c.status = 'processing' AND o.status = 'valid'
               AND a.account_id NOT IN (SELECT value FROM json_each($2))
             ORDER BY v.due LIMIT $3",
            now,
            without,
            at_most,
            longest
        )
    }

    /// Takes the jobs away that wait for an authorization. What is under way keeps its place until it ends: its validator is
    /// busy so long, and the account has that of its share.
    pub(crate) fn drop_waiting_validations(&self, authorization: &str) -> StoreResult<()> {
        execute!(&self.connection, "DELETE FROM validations WHERE authorization_id = $1 AND lease IS NULL", authorization)?;
        Ok(())
    }

    fn finish_validation(
        &mut self,
        lease: &LeaseToken,
        record: &ValidationRecord,
        end: &ValidationEnd,
        audit: &AuditEntry,
    ) -> StoreResult<Authorization> {
        let (id, method, token) = (record.authorization.as_str(), record.method.name(), lease.as_str());
        let command = match (end, &record.problem) {
            (ValidationEnd::Decided, None) => AuthorizationCommand::Prove(record.method, record.valid_until),
            (ValidationEnd::Decided, Some(problem)) => AuthorizationCommand::Fail(record.method, problem.clone()),
            (ValidationEnd::Again { .. }, Some(problem)) => AuthorizationCommand::Stumble(record.method, problem.clone()),
            (ValidationEnd::Again { .. }, None) => return conflict("what was proven is not tried again"),
        };
        let held = match end {
            ValidationEnd::Decided => execute!(
                &self.connection,
                "DELETE FROM validations WHERE authorization_id = $1 AND method = $2 AND lease = $3",
                id,
                method,
                token
            )?,
            ValidationEnd::Again { at } => {
                let due = at.unix();
                execute!(
                    &self.connection,
                    "UPDATE validations SET due = $4, worker = NULL, lease = NULL, lease_until = NULL
                     WHERE authorization_id = $1 AND method = $2 AND lease = $3",
                    id,
                    method,
                    token,
                    due
                )?
            }
        };
        if held == 0 {
            return Err(StoreError::Fenced);
        }
        self.keep_record(record)?;
        self.audit(audit)?;
        let before = self.authorization(&record.authorization)?;
        if before.account != record.account || before.identifier != record.identifier {
            return conflict("the record is of another account or identifier than its authorization");
        }
        // Deactivated or expired meanwhile, or decided by another method: what was seen is on record, and that is all.
        let Ok(after) = before.clone().apply(command, record.at) else {
            execute!(&self.connection, "DELETE FROM validations WHERE authorization_id = $1 AND method = $2", id, method)?;
            return Ok(before);
        };
        self.put_decision(&after, record)?;
        match after.status {
            AuthorizationStatus::Valid => self.note_success(record.account.as_str())?,
            AuthorizationStatus::Invalid if record.counts_as_failure() => self.note_failure(record.account.as_str(), record.at)?,
            _ => {}
        }
        Ok(after)
    }

    fn keep_record(&mut self, record: &ValidationRecord) -> StoreResult<()> {
        let (id, at, body, proven) = (record.authorization.as_str(), record.at.unix(), json(record), record.problem.is_none());
        execute!(
            &self.connection,
            "INSERT INTO validation_records (authorization_id, proven, at, body) VALUES ($1, $2, $3, $4)",
            id,
            proven,
            at,
            body
        )?;
        Ok(())
    }

    /// Writes what came of an attempt: the challenge, the authorization, and the orders that wait for it.
    fn put_decision(&mut self, after: &Authorization, record: &ValidationRecord) -> StoreResult<()> {
        let (id, method) = (after.id.as_str(), record.method.name());
        let Some(challenge) = after.challenge(record.method) else { return conflict("the authorization has no such challenge") };
        let (status, validated) = (word(&challenge.status), challenge.validated.map(Timestamp::unix));
        let error = challenge.error.as_ref().map(json);
        let attested = record.attestation.as_ref().map(|attestation| attestation.key_sha256.to_string());
        let changed = execute!(
            &self.connection,
            "UPDATE challenges SET status = $3, validated = $4, error = $5, attested_key = $6
             WHERE authorization_id = $1 AND method = $2 AND status = 'processing'",
            id,
            method,
            status,
            validated,
            error,
            attested
        )?;
        if changed == 0 {
            return conflict("the challenge is not being validated");
        }
        if challenge.status == ChallengeStatus::Processing {
            self.touched.validations = true;
            return Ok(());
        }
        let (status, expires) = (word(&after.status), after.expires.unix());
        let changed = execute!(
            &self.connection,
            "UPDATE authorizations SET status = $2, expires = $3 WHERE id = $1 AND status = 'pending'",
            id,
            status,
            expires
        )?;
        if changed == 0 {
            return conflict("the authorization is not pending");
        }
        // Other methods of a decided authorization are not tried any more.
        self.drop_waiting_validations(id)?;
        match &challenge.error {
            _ if after.status == AuthorizationStatus::Valid => self.orders_may_be_ready(id),
            // An order may have many identifiers: its error says of which one it is.
            Some(problem) => {
                let detail = format!("`{}`: {}", after.identifier, problem.detail);
                self.fail_orders(id, &json(&Problem::new(problem.kind, detail)))
            }
            None => conflict("a challenge fails with a problem"),
        }
    }

    /// RFC 8555 §7.1.6: with the last authorization an order is ready.
    fn orders_may_be_ready(&mut self, authorization: &str) -> StoreResult<()> {
        execute!(
            &self.connection,
            "UPDATE orders SET status = 'ready'
             WHERE id IN (SELECT m.order_id FROM order_authorizations m WHERE m.authorization_id = $1) AND status = 'pending'
               AND NOT EXISTS (
                 SELECT 1 FROM order_authorizations n LEFT JOIN authorizations a ON a.id = n.authorization_id
                 WHERE n.order_id = orders.id AND a.status IS NOT 'valid')",
            authorization
        )?;
        Ok(())
    }

    fn fail_orders(&mut self, authorization: &str, error: &str) -> StoreResult<()> {
        execute!(
            &self.connection,
            "UPDATE orders SET status = 'invalid', error = $2
             WHERE id IN (SELECT m.order_id FROM order_authorizations m WHERE m.authorization_id = $1) AND status = 'pending'",
            authorization,
            error
        )?;
        Ok(())
    }
}

#[async_trait]
impl ValidationStore for SqliteStore {
    async fn create_authorization(&self, new: &Authorization, now: Timestamp, audit: &AuditEntry) -> StoreResult<Authorization> {
        let (new, audit) = (new.clone(), audit.clone());
        self.write(move |tx| tx.create_authorization(&new, now, &audit)).await
    }

    async fn start_challenge(
        &self,
        id: &AuthorizationId,
        method: ChallengeMethod,
        by: &TakeUp,
        now: Timestamp,
        deadline: Timestamp,
        audit: &AuditEntry,
    ) -> StoreResult<Authorization> {
        let (id, by, audit) = (id.clone(), by.clone(), audit.clone());
        self.write(move |tx| tx.start_challenge(&id, method, &by, now, deadline, &audit)).await
    }

    async fn lease_validations(
        &self,
        worker: &WorkerId,
        lease: &LeaseToken,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
        share: u32,
    ) -> StoreResult<Vec<LeasedValidation>> {
        let (worker, lease) = (worker.clone(), lease.clone());
        self.write(move |tx| tx.lease_validations(&worker, &lease, now, until, limit, share)).await
    }

    async fn finish_validation(
        &self,
        lease: &LeaseToken,
        record: &ValidationRecord,
        end: &ValidationEnd,
        audit: &AuditEntry,
    ) -> StoreResult<Authorization> {
        let (lease, record, end, audit) = (lease.clone(), record.clone(), end.clone(), audit.clone());
        self.write(move |tx| tx.finish_validation(&lease, &record, &end, &audit)).await
    }

    async fn validations_of(&self, id: &AuthorizationId, at_most: u32) -> StoreResult<Vec<ValidationRecord>> {
        let (id, at_most) = (id.clone(), limit(at_most));
        let records = move |c: &Connection| {
            let id = id.as_str();
            let read = |row: &Row<'_>| from_json("validation record", &row.get::<String>("body")?);
            all!(c, read, "SELECT body FROM validation_records WHERE authorization_id = $1 ORDER BY seq LIMIT $2", id, at_most)
        };
        self.readers.list(records).await
    }

    async fn await_validations(&self, at_most: Duration) {
        wait(&self.wakers.validations, at_most).await;
    }
}
