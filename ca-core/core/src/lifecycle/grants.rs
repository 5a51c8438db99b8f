//! Grants against what the anchor remembers of them, and what they have issued against their cap.
//!
//! The store comes first and the anchor before the reply: after a death in between the store's statement is the one that
//! says, signed, that it replaces the one marked, and the next look takes it as a step. Only where a suspended grant goes on
//! the anchor comes first: who looks in between finds it suspended still, and not put back.

use std::sync::PoisonError;

use super::signer::Failure;
use super::{Worker, WorkerError};
use crate::anchor::{AnchorState, AnchorStep, GrantMark, GrantPlace};
use crate::evidence::chain::Refusal;
use crate::evidence::grant::{read_grant, read_marked, row_fault};
use crate::model::{Evidence, Fault, GrantId, GrantRecord, GrantStatus, Problem, ProblemType, SignedStatement, VolumeCap};
use crate::pki::sha256;
use crate::policy::Policy;
use crate::ports::{AnchorError, StoreResult};

/// How many grants are read at once.
const PAGE: u32 = 500;

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

    /// A refusal for want of a signer in today's policy is none of the evidence where the anchor knows the statement, and so
    /// that it was verified: the grant rests until another operator signs it. What was edited stays refused as it was.
    pub(super) fn or_rests(&self, refusal: Refusal, evidence: &Evidence, policy: &Policy) -> Refusal {
        let Some(signed) = evidence.grant.as_ref().filter(|_| refusal.fault == Fault::Evidence) else { return refusal };
        match read_grant(signed, policy) {
            Err(error) if error.is_for_want_of_a_signer() => match read_marked(signed, &self.anchor.state()) {
                Some(grant) => Refusal::grant_without_signer(&grant.id, &error.to_string()),
                None => refusal,
            },
            _ => refusal,
        }
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

    /// Whether the database has a grant as it was before, or has it no longer. Twice, for another change may come between the
    /// two looks.
    async fn was_put_back(&self, id: &GrantId) -> StoreResult<bool> {
        for _ in 0..2 {
            if self.store.stored_grant(id).await?.is_some_and(|record| self.anchor.state().grant_fault(&record).is_none()) {
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

    /// Looks at every grant once: those that the anchor does not know are marked from now on, one that was suspended or
    /// revoked as the process died is so in the anchor too, and what was put back or edited raises an alarm. The others'
    /// requests go on.
    ///
    /// # Errors
    /// When the store does not answer, or the anchor can't be written.
    pub(super) async fn check_grants(&self) -> Result<(), WorkerError> {
        let policy = self.policy();
        let state = self.anchor.state();
        let (mut known, mut new) = (Vec::new(), Vec::new());
        let mut after: Option<GrantId> = None;
        let mut edited = 0;
        loop {
            let page = self.store.grants(after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.grant.id.clone());
            for record in page {
                let id = &record.grant.id;
                if edited < AnchorState::MAX_GRANTS
                    && let Some(fault) = row_fault(&record)
                {
                    edited += 1;
                    let reason = format!("{fault} (hint: nothing is issued by the row; `ca grant sign {id}` puts back what was signed)");
                    self.alarm(None, id.as_str(), &self.correlation(), &reason).await;
                }
                let steps = steps_to(&record, state.grant(id), &policy);
                let Some(first) = steps.first() else { continue };
                let is_known = matches!(first, AnchorStep::GrantStatus { .. });
                match state.after(&steps, self.clock.now()) {
                    Ok(_) => if is_known { &mut known } else { &mut new }.extend(steps),
                    Err(AnchorError::Behind(reason)) => drop(self.grant_is_off(id, &self.correlation(), reason).await),
                    Err(AnchorError::Refused(reason)) => tracing::error!(%id, reason, "the grant is not remembered"),
                    Err(other) => return Err(other.into()),
                }
            }
        }
        // What takes away comes first: it needs no room.
        for steps in [known, new].iter().filter(|steps| !steps.is_empty()) {
            match self.anchor.take(steps, self.clock.now()) {
                // Too many of them: each is judged again where it is used.
                Err(AnchorError::Refused(reason)) => tracing::error!(reason, "not every grant is remembered"),
                other => other?,
            }
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

/// The steps from a grant's mark to what the database has. Only signed statements move it; a state does by itself where it
/// takes away more than the mark says, which the store has on record before the anchor hears of it.
fn steps_to(record: &GrantRecord, mark: Option<&GrantMark>, policy: &Policy) -> Vec<AnchorStep> {
    let status = |id: &GrantId| AnchorStep::GrantStatus { id: id.clone(), status: record.status };
    let known = mark.filter(|mark| mark.statement == sha256(record.evidence.statement.as_bytes()));
    if let Some(mark) = known {
        return if takes_away(mark.status, record.status) { vec![status(&record.grant.id)] } else { vec![] };
    }
    // One whose statement does not hold, or is another's, is good for nothing: every request under it is refused.
    let signed = read_grant(&record.evidence, policy).ok().filter(|(grant, _)| grant.id == record.grant.id);
    let Some((grant, place)) = signed else { return vec![] };
    let mut steps = vec![place.step(&grant.id)];
    if record.status != GrantStatus::Active {
        steps.push(status(&grant.id));
    }
    steps
}

/// Whether one state allows less than another.
const fn takes_away(from: GrantStatus, to: GrantStatus) -> bool {
    match (from, to) {
        (GrantStatus::Active, GrantStatus::Suspended) | (GrantStatus::Active | GrantStatus::Suspended, GrantStatus::Revoked) => true,
        (_, GrantStatus::Active) | (GrantStatus::Suspended | GrantStatus::Revoked, GrantStatus::Suspended) | (GrantStatus::Revoked, _) => {
            false
        }
    }
}
