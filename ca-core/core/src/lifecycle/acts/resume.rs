//! What takes long, and what a death cut off.

use std::collections::HashSet;
use std::sync::PoisonError;

use super::verify::{Subject, read};
use super::{Acting, not_so, refused, unavailable};
use crate::ceremony::{ActStatement, OfficerAct};
use crate::evidence::chain::Refusal;
use crate::lifecycle::join::{Boxed, join_all};
use crate::lifecycle::signer::Failure;
use crate::lifecycle::{Worker, WorkerError};
use crate::model::{Actor, AuthorityName, Outcome, Problem, ProblemType, Proposal, ProposalState, RevocationRequest, Revoked};
use crate::pki::{SerialNumber, Timestamp};
use crate::ports::{StoreError, StoreResult};

/// How many certificates are revoked together, so that they share the store's commits, and how many such groups make
/// a step.
const TOGETHER: usize = 128;
const GROUPS: usize = 16;

/// How many begun acts one round looks at.
const ROUND: u32 = 16;

impl Worker {
    /// Goes on with the acts that have begun, and ends those that a death cut off; tells how many it worked on. Runs
    /// at each start, and while the worker runs.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn step_acts(&self) -> Result<usize, WorkerError> {
        // A look, mostly in vain, turns no officer away.
        if self.store.proposals(Some(ProposalState::Begun), 1).await?.is_empty() {
            return Ok(0);
        }
        let Some(_acting) = Acting::begin(&self.acting) else { return Ok(0) };
        let begun = self.store.proposals(Some(ProposalState::Begun), ROUND).await?;
        for listed in &begun {
            // The listing leaves the subject out.
            let Some(proposal) = self.store.proposal(&listed.id).await? else { continue };
            let ended = match self.go_on(&proposal).await {
                Ok(false) => continue,
                Ok(true) => None,
                Err(problem) if problem.kind == ProblemType::ServerInternal => return Err(StoreError::Unavailable(problem.detail).into()),
                Err(problem) => Some(problem.detail),
            };
            let outcome = ended.clone().map_or(Outcome::Done, |reason| Outcome::Failed { reason });
            let (action, authority, object) = match ActStatement::parse(proposal.statement.as_bytes()) {
                Ok(s) => (s.act.action(), s.act.authority().cloned(), s.act.object()),
                Err(_) => ("proposal.end", None, proposal.id.to_string()),
            };
            let mut entry = self.audit(action, authority.as_ref(), object, outcome, proposal.id.as_str());
            entry.detail = serde_json::json!({ "proposal": proposal.id });
            self.store.end_act(&proposal.id, ended.as_deref(), &entry).await?;
        }
        Ok(begun.len())
    }

    /// Whether the act is at its end. Only revocations go on: to do them twice changes nothing.
    async fn go_on(&self, proposal: &Proposal) -> Result<bool, Problem> {
        let (statement, subject) = read(proposal).map_err(|e| refused(&e))?;
        let officers = self.officers();
        let cut_off =
            || not_so("the process ended while the act was under way (hint: see whether it took effect; if not, propose it again)");
        let took_effect = match (&statement.act, subject) {
            (OfficerAct::RevokeBulk { .. }, Subject::Serials(serials)) => {
                // The row says that it has begun; the anchor says that officers let it begin.
                if !self.anchor.state().is_spent(&statement.nonce) {
                    return Err(Problem::new(
                        ProblemType::Unauthorized,
                        "this act never began here, or its approval has expired (hint: propose the rest again)",
                    ));
                }
                let roster = officers.chain.at(statement.standing.roster_number).filter(|r| r.digest() == statement.standing.roster_sha256);
                let roster = roster.ok_or_else(|| not_so("its roster is none of this CA's"))?;
                let signatures: Vec<String> = proposal.approvals.iter().map(|a| a.signature.clone()).collect();
                let names = statement.approved_by(roster, proposal.statement.as_bytes(), &signatures).map_err(|e| refused(&e))?;
                return self.revoke_next(proposal, &statement, &serials, &names, proposal.id.as_str()).await;
            }
            (OfficerAct::PutPolicy { policy_sha256, .. }, _) => officers.policy_sha256 == *policy_sha256,
            (OfficerAct::ChangeRoster { number, roster_sha256, .. }, _) => {
                officers.chain.at(*number).is_some_and(|roster| roster.digest() == *roster_sha256)
            }
            (OfficerAct::RevokeAuthority { authority, .. }, _) => {
                self.revoked_authorities().await.map_err(|e| unavailable(&e))?.contains(authority)
            }
            (OfficerAct::Stop { .. }, _) => self.anchor.state().is_stopped(),
            (OfficerAct::Resume, _) => !self.anchor.state().is_stopped(),
            _ => false,
        };
        if took_effect { Ok(true) } else { Err(cut_off()) }
    }

    /// Revokes the next certificates of the list; whether it is at its end.
    pub(super) async fn revoke_next(
        &self,
        proposal: &Proposal,
        statement: &ActStatement,
        serials: &[SerialNumber],
        names: &[String],
        correlation: &str,
    ) -> Result<bool, Problem> {
        let OfficerAct::RevokeBulk { authority, reason, .. } = &statement.act else {
            return Err(not_so("the statement is about something else"));
        };
        let mut progress = usize::try_from(proposal.progress).unwrap_or(usize::MAX).min(serials.len());
        for group in serials[progress..].chunks(TOGETHER).take(GROUPS) {
            self.revoke_together(authority, group, *reason, &Actor::Officers { names: names.to_vec() }, correlation)
                .await
                .map_err(|e| unavailable(&e))?;
            progress += group.len();
            self.store.advance_act(&proposal.id, progress as u64).await.map_err(|e| unavailable(&e))?;
        }
        Ok(progress == serials.len())
    }

    /// Revokes several certificates; tells how many were not revoked before. One that was never issued is passed over.
    pub(in crate::lifecycle) async fn revoke_together(
        &self,
        authority: &AuthorityName,
        serials: &[SerialNumber],
        reason: crate::model::RevocationReason,
        actor: &Actor,
        correlation: &str,
    ) -> StoreResult<u64> {
        let at: Timestamp = self.clock.now();
        let revoke = |serial: &SerialNumber| -> Boxed<'_, StoreResult<Revoked>> {
            let request = RevocationRequest {
                authority: authority.clone(),
                serial: *serial,
                reason,
                invalidity_date: None,
                actor: actor.clone(),
                at,
                correlation: correlation.to_owned(),
            };
            Box::pin(async move { self.store.revoke(&request).await })
        };
        let mut now = 0;
        for result in join_all(serials.iter().map(revoke).collect()).await {
            now += u64::from(matches!(result?, Revoked::Now { .. }));
        }
        Ok(now)
    }

    /// The authorities whose certificate officers revoked; read once, and again after a change.
    pub(super) async fn revoked_authorities(&self) -> StoreResult<HashSet<AuthorityName>> {
        if let Some(known) = &*self.revoked.read().unwrap_or_else(PoisonError::into_inner) {
            return Ok(known.clone());
        }
        let read: HashSet<_> = self.store.revoked_authorities().await?.into_iter().map(|r| r.authority).collect();
        // Where an act was quicker, its reading is the newer one.
        Ok(self.revoked.write().unwrap_or_else(PoisonError::into_inner).get_or_insert(read).clone())
    }

    /// Refuses to issue under a certificate that is revoked. Its CRLs and its OCSP responder go on.
    pub(in crate::lifecycle) async fn not_revoked(&self, authority: &AuthorityName) -> Result<(), Failure> {
        if self.revoked_authorities().await?.contains(authority) {
            let reason = format!("the certificate of authority `{authority}` is revoked: it issues no more");
            return Err(Refusal::new(ProblemType::Unauthorized, reason).into());
        }
        Ok(())
    }
}
