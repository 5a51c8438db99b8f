//! Grants against what the anchor remembers of them, and what they have issued against their cap.
//!
//! The store comes first and the anchor before the reply: after a death in between the store's statement is the one that
//! says, signed, that it replaces the one marked, and the next look takes it as a step. Only where a suspended grant goes on
//! the anchor comes first: who looks in between finds it suspended still, and not put back.

use std::sync::PoisonError;

use super::signer::Failure;
use super::{Worker, WorkerError};
use crate::anchor::{AnchorState, AnchorStep, GrantPlace};
use crate::evidence::chain::Refusal;
use crate::evidence::grant::read_grant;
use crate::model::{GrantId, GrantStatus, Problem, ProblemType, SignedStatement, VolumeCap};
use crate::pki::sha256;
use crate::policy::Policy;
use crate::ports::{AnchorError, StoreResult};

/// As many as the anchor remembers.
const MOST_GRANTS: u32 = AnchorState::MAX_GRANTS as u32;

impl Worker {
    /// That the grant's cap has room, before the authority's own count is touched: a full grant takes nothing from the
    /// others. The store counts once more as it records the intent.
    pub(super) async fn has_volume(&self, grant: &GrantId, cap: VolumeCap) -> Result<(), Failure> {
        let now = self.clock.now();
        let used = self.store.grant_use(grant, now.minus(cap.window()), cap.certificates()).await?;
        cap.judge(used, now).map_err(|(told, _)| Refusal::new(ProblemType::RateLimited, told).into())
    }

    /// That the statement behind an account is the grant's newest, and that the grant was not revoked or suspended. One
    /// that was put back leads to a refusal, and to an alarm the first time.
    pub(super) async fn grant_stands(&self, id: &GrantId, place: &GrantPlace, correlation: &str) -> Result<(), Failure> {
        let marked = || self.anchor.state().grant(id).copied();
        let mut mark = marked();
        if mark.is_none_or(|mark| mark.statement != place.statement) {
            match self.anchor.take(&[place.step(id)], self.clock.now()) {
                Ok(()) => mark = marked(),
                Err(AnchorError::Behind(reason)) => return Err(self.not_as_marked(id, correlation, reason).await),
                Err(other) => return Err(other.into()),
            }
        }
        if mark.is_some_and(|mark| mark.status == GrantStatus::Active) {
            return Ok(());
        }
        let reason = format!("grant `{id}` goes on in the database, and this worker has seen it revoked or suspended");
        Err(self.not_as_marked(id, correlation, reason).await)
    }

    /// A grant that is not as the anchor has it: put back in the database; or changed since the request or job was leased,
    /// which then comes again.
    async fn not_as_marked(&self, id: &GrantId, correlation: &str, reason: String) -> Failure {
        let known = self.grants_off.lock().unwrap_or_else(PoisonError::into_inner).contains(id);
        match if known { Ok(true) } else { self.was_put_back(id).await } {
            Ok(true) => self.grant_is_off(id, correlation, reason).await.into(),
            Ok(false) => Failure::later("the grant was changed meanwhile"),
            Err(error) => error.into(),
        }
    }

    /// Whether the database has a grant as it was before. Twice, for another change may come between the two looks.
    async fn was_put_back(&self, id: &GrantId) -> StoreResult<bool> {
        for _ in 0..2 {
            let record = self.store.grants(MOST_GRANTS).await?.into_iter().find(|record| record.grant.id == *id);
            if record.and_then(|record| self.anchor.state().grant_fault(&record)).is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn grant_is_off(&self, id: &GrantId, correlation: &str, reason: String) -> Refusal {
        let reason = format!(
            "{reason} (hint: the database is an older copy, or was edited: bring the newest back, or `ca grant resume` or revoke it; docs/officer.md, \"The anchor\")"
        );
        let news = {
            let mut off = self.grants_off.lock().unwrap_or_else(PoisonError::into_inner);
            off.len() < AnchorState::MAX_GRANTS && off.insert(id.clone())
        };
        if news {
            self.alarm(None, id.as_str(), correlation, &reason).await;
        }
        Refusal::unverified_grant(reason)
    }

    /// Looks at every grant once: those that the anchor does not know are marked from now on, and what was put back raises
    /// an alarm. The others' requests go on.
    ///
    /// # Errors
    /// When the store does not answer, or the anchor can't be written.
    pub(super) async fn check_grants(&self) -> Result<(), WorkerError> {
        let policy = self.policy();
        let state = self.anchor.state();
        let mut steps = Vec::new();
        for record in self.store.grants(MOST_GRANTS).await? {
            let marked = state.grant(&record.grant.id).is_some_and(|m| m.statement == sha256(record.evidence.statement.as_bytes()));
            // One whose statement does not hold is good for nothing: every request under it is refused.
            let Some((grant, place)) = (if marked { None } else { read_grant(&record.evidence, &policy).ok() }) else { continue };
            let mut step = vec![place.step(&grant.id)];
            if record.status != GrantStatus::Active {
                step.push(AnchorStep::GrantStatus { id: grant.id.clone(), status: record.status });
            }
            match state.after(&step, self.clock.now()) {
                Ok(_) => steps.extend(step),
                Err(AnchorError::Behind(reason)) => drop(self.grant_is_off(&grant.id, &self.correlation(), reason).await),
                Err(other) => return Err(other.into()),
            }
        }
        if steps.is_empty() {
            return Ok(());
        }
        match self.anchor.take(&steps, self.clock.now()) {
            // Too many of them: each is judged again where it is used.
            Err(AnchorError::Refused(reason)) => tracing::error!(reason, "not every grant is remembered"),
            other => other?,
        }
        Ok(())
    }

    /// The step to a statement that its operator hands in now, which the anchor would take.
    pub(super) fn grant_step(&self, id: &GrantId, signed: &SignedStatement, policy: &Policy) -> Result<AnchorStep, Problem> {
        let refused = |reason: String| Problem::new(ProblemType::Unauthorized, reason);
        let (_, place) = read_grant(signed, policy).map_err(|e| refused(e.to_string()))?;
        let step = place.step(id);
        self.anchor.state().after(std::slice::from_ref(&step), self.clock.now()).map_err(|e| refused(e.to_string()))?;
        Ok(step)
    }

    /// Takes a step that the store has taken. Without it an older copy of the database would bring back what was before,
    /// so that the operator must hear of it.
    pub(super) fn mark_grant(&self, id: &GrantId, steps: &[AnchorStep], done: &str) -> Result<(), Problem> {
        // Whatever was wrong before: from here on it is news again.
        self.grants_off.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        self.anchor.take(steps, self.clock.now()).map_err(|error| {
            let detail = format!("{done} on record, and the worker's memory does not have it yet: {error} (hint: try again)");
            Problem::new(ProblemType::ServerInternal, detail)
        })
    }

    /// The steps to a grant's new state; one that has no mark gets it first.
    pub(super) async fn status_steps(&self, id: &GrantId, status: GrantStatus, policy: &Policy) -> Result<Vec<AnchorStep>, WorkerError> {
        let mut steps = Vec::new();
        if self.anchor.state().grant(id).is_none() {
            let record = self.store.grant(id).await?;
            let Some((_, place)) = record.and_then(|record| read_grant(&record.evidence, policy).ok()) else { return Ok(steps) };
            steps.push(place.step(id));
            // Below the floor: it counts for nothing, whatever its state.
            if let Err(AnchorError::Behind(_)) = self.anchor.state().after(&steps, self.clock.now()) {
                return Ok(Vec::new());
            }
        }
        steps.push(AnchorStep::GrantStatus { id: id.clone(), status });
        Ok(steps)
    }
}
