//! What takes long, and what a death cut off.

use std::collections::HashSet;
use std::sync::PoisonError;

use super::perform::Performed;
use super::verify::{Subject, read};
use super::{Acting, not_so, refused, unavailable};
use crate::ceremony::{ActStatement, OfficerAct, PolicyBundle, RosterChain};
use crate::evidence::chain::Refusal;
use crate::lifecycle::join::{Boxed, join_all};
use crate::lifecycle::signer::Failure;
use crate::lifecycle::{Worker, WorkerError};
use crate::model::{Actor, AuthorityName, Outcome, Problem, ProblemType, Proposal, ProposalId, ProposalState, RevocationRequest, Revoked};
use crate::pki::{SerialNumber, Timestamp};
use crate::ports::{MAX_PENDING_PROPOSALS, StoreError, StoreResult};

/// How many certificates are revoked together, so that they share the store's commits, and how many such groups make
/// a step.
const TOGETHER: usize = 128;
const GROUPS: usize = 16;

/// How many begun acts one round looks at.
const ROUND: u32 = 16;

impl Worker {
    /// Does what enough people have signed and nobody did, because another act was under way or a death came in between;
    /// goes on with the acts that have begun, and ends those that a death cut off. Tells how many it moved. Runs at each
    /// start, and while the worker runs.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn step_acts(&self) -> Result<usize, WorkerError> {
        // A look, mostly in vain, keeps no officer waiting.
        let ready = self.ready().await?;
        if ready.is_empty() && self.store.proposals(Some(ProposalState::Begun), 1).await?.is_empty() {
            return Ok(0);
        }
        let Some(_acting) = Acting::begin(&self.acting) else { return Ok(0) };
        let mut moved = 0;
        for id in &ready {
            match self.act_now(id, id.as_str()).await {
                Ok(acted) => moved += usize::from(acted),
                // As it was, it is looked at again.
                Err(problem) => tracing::debug!(proposal = %id, reason = problem.detail, "an act that enough officers signed waits"),
            }
        }
        for listed in &self.store.proposals(Some(ProposalState::Begun), ROUND).await? {
            // The listing leaves the subject out.
            let Some(proposal) = self.store.proposal(&listed.id).await? else { continue };
            let ended = match self.go_on(&proposal).await {
                Ok(Performed::Begun) => {
                    moved += 1;
                    continue;
                }
                Ok(Performed::Waits) => continue,
                Ok(Performed::Done) => None,
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
            moved += 1;
        }
        Ok(moved)
    }

    /// The pending proposals that enough people have signed; a row that only says so is not among them.
    async fn ready(&self) -> Result<Vec<ProposalId>, WorkerError> {
        let mut ready = Vec::new();
        for proposal in self.store.signed_proposals(self.clock.now(), MAX_PENDING_PROPOSALS).await? {
            let id = proposal.id.clone();
            let needed = ActStatement::parse(proposal.statement.as_bytes()).map(|s| s.act.needed(self.officers().chain.standing()));
            // Most wait for somebody: signatures are verified once there are as many as it takes.
            if needed.is_ok_and(|needed| proposal.approvals.len() < needed as usize) {
                continue;
            }
            match self.view(proposal).await {
                Ok(view) if view.void.is_none() && view.signed_by.len() >= view.needed as usize => ready.push(id),
                Ok(_) => {}
                Err(problem) => return Err(StoreError::Unavailable(problem.detail).into()),
            }
        }
        Ok(ready)
    }

    /// Goes on with what changes nothing when it is done twice: revocations, and what is in the store already and was not
    /// taken by the anchor. Of the rest it tells whether it took effect.
    async fn go_on(&self, proposal: &Proposal) -> Result<Performed, Problem> {
        let (statement, subject) = read(proposal).map_err(|e| refused(&e))?;
        let officers = self.officers();
        let cut_off =
            || not_so("the process ended while the act was under way (hint: see whether it took effect; if not, propose it again)");
        let took_effect = match (&statement.act, subject) {
            (OfficerAct::RevokeBulk { .. }, Subject::Serials(serials)) => {
                let names = self.let_begin(proposal, &statement)?;
                let finished = self.revoke_next(proposal, &statement, &serials, &names, proposal.id.as_str()).await?;
                return Ok(if finished { Performed::Done } else { Performed::Begun });
            }
            (OfficerAct::PutPolicy { version, policy_sha256 }, Subject::Policy(policy)) if officers.policy_sha256 != *policy_sha256 => {
                let stored = self.store.policy().await.map_err(|e| unavailable(&e))?;
                let is_it = |text: &str| PolicyBundle::from_json(text).is_ok_and(|bundle| bundle.policy_sha256() == *policy_sha256);
                if !stored.is_some_and(|(newest, text)| newest == *version && is_it(&text)) {
                    return Err(cut_off());
                }
                let names = self.let_begin(proposal, &statement)?;
                let done = self.act_entry(&statement.act, names.clone(), Outcome::Done, proposal.id.as_str(), &proposal.id);
                return self.put_policy(proposal, policy, &names, &done).await;
            }
            (OfficerAct::ChangeRoster { number, .. }, Subject::Roster(roster)) if *number > officers.chain.number() => {
                let (_, change) = self.next_chain(proposal, roster.clone()).map_err(|e| refused(&e))?;
                let most = u32::try_from(RosterChain::MAX_CHANGES + 1).unwrap_or(u32::MAX);
                let stored = self.store.roster_changes(most).await.map_err(|e| unavailable(&e))?;
                if !stored.contains(&(*number, change.to_json())) {
                    return Err(cut_off());
                }
                let names = self.let_begin(proposal, &statement)?;
                let done = self.act_entry(&statement.act, names, Outcome::Done, proposal.id.as_str(), &proposal.id);
                return self.change_roster(proposal, roster, &done).await;
            }
            (OfficerAct::PutPolicy { .. }, _) => true,
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
        if took_effect { Ok(Performed::Done) } else { Err(cut_off()) }
    }

    /// Who let an act begin. The row says that it has begun; the anchor says that officers let it begin here.
    fn let_begin(&self, proposal: &Proposal, statement: &ActStatement) -> Result<Vec<String>, Problem> {
        if !self.anchor.state().is_spent(&statement.nonce) {
            return Err(Problem::new(
                ProblemType::Unauthorized,
                "this act never began here, or its approval has expired (hint: propose the rest again)",
            ));
        }
        let officers = self.officers();
        let roster = officers.chain.at(statement.standing.roster_number).filter(|r| r.digest() == statement.standing.roster_sha256);
        let roster = roster.ok_or_else(|| not_so("its roster is none of this CA's"))?;
        let signatures: Vec<String> = proposal.approvals.iter().map(|a| a.signature.clone()).collect();
        statement.approved_by(roster, proposal.statement.as_bytes(), &signatures).map_err(|e| refused(&e))
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
