//! The validators' loop: lease, try, report. A restart, here or of the store's owner, goes on where leases end.

use std::sync::Arc;
use std::time::Duration;

use ca_core::evidence::proofs::CAA_LONGEST;
use ca_core::model::{
    Actor, AuthorizationStatus, LeaseToken, LeasedValidation, Outcome, ProblemType, ValidationEnd, ValidationRecord, WorkerId,
};
use ca_core::pki::Timestamp;
use ca_core::policy::zone_of;
use ca_core::ports::{StoreError, StoreResult};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{Failed, Trace, ValidationConfig};
use crate::front::AcmeServer;

/// How long the loop waits at most without being woken: attempts that follow fall due in between.
const POLL: Duration = Duration::from_secs(1);
/// The pause after the store did not answer.
const PAUSE: Duration = Duration::from_secs(1);
/// What a lease has beyond the time of its attempt: for the store's commands.
const LEASE_MARGIN: Duration = Duration::from_secs(30);
/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

impl AcmeServer {
    /// Validates what clients ask for, for as long as it is polled. Attempts that are under way when it is dropped end;
    /// their jobs come back when their leases do.
    pub async fn validate(self: Arc<Self>) {
        let worker = WorkerId::random(&*self.rng);
        let slots = Arc::new(Semaphore::new(self.config.validation.concurrency as usize));
        let mut attempts = JoinSet::new();
        loop {
            while attempts.try_join_next().is_some() {}
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            match self.lease(&worker, 1 + slots.available_permits()).await {
                Ok(leased) if leased.is_empty() => {
                    drop(slot);
                    // Where one of ours ends, its account has room in its share for another that is due.
                    tokio::select! {
                        () = self.store.await_validations(POLL) => {}
                        Some(_) = attempts.join_next() => {}
                    }
                }
                Ok(leased) => {
                    drop(slot);
                    for job in leased {
                        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
                        let server = Arc::clone(&self);
                        attempts.spawn(async move {
                            server.attempt(&job).await;
                            drop(slot);
                        });
                    }
                }
                Err(error) => {
                    drop(slot);
                    tracing::warn!(%error, "validations could not be leased");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn lease(&self, worker: &WorkerId, at_most: usize) -> StoreResult<Vec<LeasedValidation>> {
        if !self.directories().any_zone() {
            return Ok(Vec::new());
        }
        let now = self.clock.now();
        // Validation and CAA have a time limit each.
        let until = now.plus(self.config.validation.attempt.saturating_mul(2).saturating_add(LEASE_MARGIN));
        let limit = u32::try_from(at_most).unwrap_or(u32::MAX);
        let share = self.config.validation.share();
        self.store.lease_validations(worker, &LeaseToken::random(&*self.rng), now, until, limit, share).await
    }

    async fn attempt(&self, job: &LeasedValidation) {
        let directories = self.directories();
        let zone = zone_of(directories.zones(&job.authority), &job.identifier);
        let account_url = self.account_url(&job.account);
        let (trace, result) = self.validators.attempt(job, zone, &account_url, self.clock.now()).await;
        let now = self.clock.now();
        let record = record(&self.config.validation, job, now, trace, result.err());
        let end = ending(&self.config.validation, job, &record);
        match self.report(job, &record, &end).await {
            // As the store counts: one that was given up meanwhile was counted then.
            Ok(AuthorizationStatus::Invalid) if record.counts_as_failure() => self.limiter.failed(self.metrics(), &job.account, now),
            Ok(_) => {}
            Err(StoreError::Fenced) => tracing::info!(authorization = %job.authorization, "the validation's lease passed to another"),
            Err(error) => tracing::error!(authorization = %job.authorization, %error, "the validation comes back when its lease ends"),
        }
    }

    async fn report(&self, job: &LeasedValidation, record: &ValidationRecord, end: &ValidationEnd) -> StoreResult<AuthorizationStatus> {
        let id = job.authorization.as_str();
        let mut audit = self.audit(Actor::system("validation"), "authorization.validate", id, id);
        audit.authority = Some(job.authority.clone());
        audit.detail = json!(record.for_audit());
        if let Some(problem) = &record.problem {
            audit.outcome = Outcome::Failed { reason: problem.detail.clone() };
        }
        let (identifier, method, attempt) = (&job.identifier, job.method, record.attempt);
        match &record.problem {
            None => tracing::info!(authorization = id, %identifier, %method, attempt, "validated"),
            Some(problem) => {
                tracing::info!(authorization = id, %identifier, %method, attempt, reason = problem.detail, "validation failed");
            }
        }
        self.store.finish_validation(&job.lease, record, end, &audit).await.map(|after| after.status)
    }
}

fn record(config: &ValidationConfig, job: &LeasedValidation, now: Timestamp, trace: Trace, failed: Option<Failed>) -> ValidationRecord {
    let valid = if trace.caa.is_some() { config.valid.min(CAA_LONGEST) } else { config.valid };
    let (problem, fault) = failed.map(|failed| (failed.problem, failed.fault)).unzip();
    ValidationRecord {
        account: job.account.clone(),
        authorization: job.authorization.clone(),
        identifier: job.identifier.clone(),
        method: job.method,
        attempt: job.attempts.saturating_add(1),
        at: now,
        addresses: trace.addresses,
        answer_sha256: trace.answer,
        caa: trace.caa,
        attestation: trace.attestation,
        problem,
        fault,
        valid_until: now.plus(valid),
    }
}

/// Whether another attempt follows a failure, and when.
fn ending(config: &ValidationConfig, job: &LeasedValidation, record: &ValidationRecord) -> ValidationEnd {
    let passing = record.problem.as_ref().is_some_and(|problem| may_pass(problem.kind));
    let pause = config.pause.saturating_mul(3u32.saturating_pow(job.attempts)).min(LONGEST_PAUSE);
    let at = record.at.plus(pause);
    if passing && record.attempt < config.attempts && at < job.deadline { ValidationEnd::Again { at } } else { ValidationEnd::Decided }
}

/// What the client or its network may still set right; a refusal of this CA stays one.
const fn may_pass(kind: ProblemType) -> bool {
    matches!(kind, ProblemType::Connection | ProblemType::Dns | ProblemType::Tls | ProblemType::IncorrectResponse)
}

#[cfg(test)]
mod tests {
    use ca_core::model::{AccountId, ChallengeMethod, ChallengeToken, Problem};
    use ca_core::pki::Identifier;

    use super::*;

    fn leased(method: ChallengeMethod, attempts: u32, deadline: i64) -> LeasedValidation {
        LeasedValidation {
            authorization: "a".parse().unwrap(),
            method,
            account: AccountId::from_evidence("x"),
            thumbprint: "t".into(),
            authority: "demo".parse().unwrap(),
            identifier: Identifier::from_text("a.test").unwrap(),
            token: ChallengeToken::try_from("A".repeat(43)).unwrap(),
            lease: "l".parse().unwrap(),
            answer: None,
            attempts,
            deadline: Timestamp::from_unix(deadline),
        }
    }

    #[test]
    fn attempts_follow_one_another_with_growing_pauses_until_the_deadline() {
        let config = ValidationConfig::default();
        let check = |attempts: u32, deadline: i64, kind: Option<ProblemType>, expected: Option<i64>| {
            let job = leased(ChallengeMethod::Http01, attempts, deadline);
            let failed = kind.map(|kind| Problem::new(kind, "x").into());
            let record = record(&config, &job, Timestamp::from_unix(100), Trace::default(), failed);
            let expected = expected.map_or(ValidationEnd::Decided, |at| ValidationEnd::Again { at: Timestamp::from_unix(at) });
            assert_eq!(ending(&config, &job, &record), expected, "{attempts} {deadline} {kind:?}");
        };
        check(0, 160, Some(ProblemType::Connection), Some(101));
        check(1, 160, Some(ProblemType::Dns), Some(103));
        check(2, 160, Some(ProblemType::Dns), None);
        check(1, 103, Some(ProblemType::Dns), None);
        check(0, 160, None, None);
        for kind in [ProblemType::Unauthorized, ProblemType::Caa, ProblemType::RejectedIdentifier, ProblemType::BadAttestationStatement] {
            check(0, 160, Some(kind), None);
        }
    }

    #[test]
    fn where_caa_was_checked_a_proof_counts_for_eight_hours() {
        let config = ValidationConfig::default();
        let job = |caa: Option<&str>| {
            let trace = Trace { caa: caa.map(str::to_owned), ..Trace::default() };
            let job = leased(ChallengeMethod::Dns01, 0, 160);
            record(&config, &job, Timestamp::from_unix(0), trace, None).valid_until.unix()
        };
        assert_eq!(job(None), 86_400);
        assert_eq!(job(Some("none")), 8 * 3600);
    }
}
