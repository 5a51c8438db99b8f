//! The act itself, once enough people signed.

use std::sync::{Arc, PoisonError};

use super::verify::Subject;
use super::{Acting, Officers, about_row, by_anchor, not_so, refused, unavailable};
use crate::anchor::AnchorStep;
use crate::ceremony::{ActStatement, CeremonyError, OfficerAct, PolicyBundle};
use crate::lifecycle::{Worker, WorkerError};
use crate::model::{
    Actor, AuditEntry, Outcome, Problem, ProblemType, Proposal, ProposalId, ProposalState, RevokedAuthority, Unheld, UnholdRequest,
};
use crate::policy::Policy;
use crate::ports::{AnchorError, StoreError};

/// What became of an act.
pub(super) enum Performed {
    /// It is done.
    Done,
    /// It goes on in steps.
    Begun,
    /// It is in the store, and waits for the anchor.
    Waits,
}

/// Whether the anchor may take the same step later: it can't be written now, or the clock is wrong.
const fn will_pass(error: &AnchorError) -> bool {
    match error {
        AnchorError::Unavailable(_) | AnchorError::Clock { .. } => true,
        AnchorError::Behind(_) | AnchorError::Spent | AnchorError::Stopped | AnchorError::RateLimited { .. } | AnchorError::Refused(_) => {
            false
        }
    }
}

impl Worker {
    /// Does what a proposal allows, if enough people signed it; nothing otherwise, and nothing yet while another act is
    /// under way. `act` is what the proposal's id names.
    pub(super) async fn act_if_approved(&self, id: &ProposalId, act: &OfficerAct, correlation: &str) -> Result<(), Problem> {
        // A stop stands on nothing that another act changes, and must not wait for one.
        if matches!(act, OfficerAct::Stop { .. }) {
            return self.act_now(id, correlation).await.map(drop);
        }
        let Some(_acting) = Acting::begin(&self.acting) else { return Ok(()) };
        self.act_now(id, correlation).await.map(drop)
    }

    /// The same, where nobody else acts; whether it did anything.
    pub(super) async fn act_now(&self, id: &ProposalId, correlation: &str) -> Result<bool, Problem> {
        // Everything once more.
        let proposal = self.stored(id).await?;
        if proposal.state != ProposalState::Pending {
            return Ok(false);
        }
        let (statement, subject) = self.meaning(&proposal).await?;
        // What takes something away goes on whatever else is wrong; the rest needs a database that is the right one.
        let takes_away =
            matches!(statement.act, OfficerAct::Stop { .. } | OfficerAct::RevokeBulk { .. } | OfficerAct::RevokeAuthority { .. });
        if let Some(reason) = self.trouble().filter(|_| !takes_away) {
            return Err(Problem::new(ProblemType::ServerInternal, reason));
        }
        let officers = self.officers();
        let signatures: Vec<String> = proposal.approvals.iter().map(|a| a.signature.clone()).collect();
        let names = match statement.approved_by(officers.chain.standing(), proposal.statement.as_bytes(), &signatures) {
            Ok(names) => names,
            Err(CeremonyError::Quorum { .. }) => return Ok(false),
            Err(error) => return Err(refused(&error)),
        };

        let begun = self.act_entry(&statement.act, names.clone(), Outcome::Begun, correlation, id);
        match self.store.begin_act(id, &statement.nonce, statement.expires_at, &begun).await {
            Ok(()) => {}
            // A store that is away does not keep an officer from stopping.
            Err(error @ StoreError::Unavailable(_)) if matches!(statement.act, OfficerAct::Stop { .. }) => {
                self.anchor.take(&[AnchorStep::Stop], self.clock.now()).map_err(|e| by_anchor(&e))?;
                return Err(unavailable(&error));
            }
            // Two officers stopped it together: one of them is enough.
            Err(StoreError::Conflict(_)) if self.stored(id).await?.state != ProposalState::Pending => return Ok(false),
            Err(error) => return Err(about_row(error)),
        }
        let performed = match self.spend(&statement) {
            Ok(()) => self.perform(&proposal, &statement, subject, &names, correlation).await,
            Err(problem) => Err(problem),
        };
        match performed {
            Ok(Performed::Done) => {
                let done = self.act_entry(&statement.act, names, Outcome::Done, correlation, id);
                tracing::info!(proposal = %id, act = statement.act.action(), "the officers' act is done");
                self.store.end_act(id, None, &done).await.map_err(about_row)?;
                Ok(true)
            }
            Ok(Performed::Begun) => Ok(true),
            Ok(Performed::Waits) => {
                tracing::error!(proposal = %id, act = statement.act.action(), "the officers' act is stored, and comes into force once the anchor can be written");
                Ok(true)
            }
            Err(problem) => {
                let failed = self.act_entry(&statement.act, names, Outcome::Failed { reason: problem.detail.clone() }, correlation, id);
                if let Err(error) = self.store.end_act(id, Some(&problem.detail), &failed).await {
                    tracing::error!(%error, proposal = %id, "a failed act could not be ended");
                }
                Err(problem)
            }
        }
    }

    /// Spends the approval in the anchor, with the step that is the whole of the act where it is one.
    fn spend(&self, statement: &ActStatement) -> Result<(), Problem> {
        let mut steps = vec![AnchorStep::Spend { nonce: statement.nonce.clone(), expires_at: statement.expires_at }];
        match statement.act {
            OfficerAct::Stop { .. } => steps.push(AnchorStep::Stop),
            OfficerAct::Resume => steps.push(AnchorStep::Resume),
            OfficerAct::PutPolicy { .. }
            | OfficerAct::ChangeRoster { .. }
            | OfficerAct::RevokeAuthority { .. }
            | OfficerAct::Unhold { .. }
            | OfficerAct::RevokeBulk { .. } => {}
        }
        self.anchor.take(&steps, self.clock.now()).map_err(|e| by_anchor(&e))
    }

    async fn perform(
        &self,
        proposal: &Proposal,
        statement: &ActStatement,
        subject: Subject,
        names: &[String],
        correlation: &str,
    ) -> Result<Performed, Problem> {
        let done = self.act_entry(&statement.act, names.to_vec(), Outcome::Done, correlation, &proposal.id);
        match (&statement.act, subject) {
            (OfficerAct::PutPolicy { .. }, Subject::Policy(policy)) => return self.put_policy(proposal, policy, names, &done).await,
            (OfficerAct::ChangeRoster { .. }, Subject::Roster(roster)) => return self.change_roster(proposal, roster, &done).await,
            (OfficerAct::RevokeBulk { .. }, Subject::Serials(serials)) => {
                let finished = self.revoke_next(proposal, statement, &serials, names, correlation).await?;
                return Ok(if finished { Performed::Done } else { Performed::Begun });
            }
            (OfficerAct::RevokeAuthority { .. }, Subject::None) => self.revoke_authority(proposal, statement, &done).await?,
            (OfficerAct::Unhold { authority, serial }, Subject::None) => {
                let request = UnholdRequest {
                    authority: authority.clone(),
                    serial: *serial,
                    actor: Actor::Officers { names: names.to_vec() },
                    at: done.at,
                    correlation: correlation.to_owned(),
                };
                match self.store.unhold(&request).await.map_err(|e| unavailable(&e))? {
                    Unheld::Now { .. } => {}
                    Unheld::NotHeld | Unheld::NotFound => return Err(not_so(format!("certificate {serial} is not on hold"))),
                }
            }
            // The anchor has it.
            (OfficerAct::Stop { .. } | OfficerAct::Resume, Subject::None) => {}
            (act, _) => return Err(not_so(format!("{} came with another subject than it has", act.action()))),
        }
        Ok(Performed::Done)
    }

    /// The store first, the anchor before the policy is used: a death in between leaves the store ahead, with the
    /// proof in it, which the next start takes as a step. So an anchor that can't be written now is waited for: what the
    /// next start would put in force has not failed. Done again it changes nothing in the store.
    pub(super) async fn put_policy(
        &self,
        proposal: &Proposal,
        policy: Policy,
        names: &[String],
        done: &AuditEntry,
    ) -> Result<Performed, Problem> {
        let officers = self.officers();
        let bundle = PolicyBundle {
            policy: proposal.subject.clone(),
            statement: proposal.statement.clone(),
            signatures: proposal.approvals.iter().map(|a| a.signature.clone()).collect(),
        };
        // Exactly what the next start will demand.
        bundle.verify(officers.chain.for_policy(policy.version)).map_err(|e| refused(&e))?;
        let (version, sha256) = (policy.version, bundle.policy_sha256());
        self.store.put_policy(version, &bundle.to_json(), done).await.map_err(about_row)?;
        let step = AnchorStep::Policy { version, policy: sha256 };
        let now = self.clock.now();
        match self.change_policy(policy, |anchor| anchor.take(&[step], now)) {
            Ok(()) => {}
            Err(WorkerError::Anchor(error)) if will_pass(&error) => return Ok(Performed::Waits),
            Err(WorkerError::Anchor(error)) => return Err(by_anchor(&error)),
            Err(error) => return Err(not_so(error.to_string())),
        }
        let next = Officers { policy_sha256: sha256, policy_approved_by: names.to_vec(), ..Officers::clone(&officers) };
        *self.officers.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        tracing::info!(version, "the officers put a policy in force");
        self.void(&format!("policy version {version} was put in force"), done).await;
        Ok(Performed::Done)
    }

    /// As [`Self::put_policy`].
    pub(super) async fn change_roster(&self, proposal: &Proposal, roster: String, done: &AuditEntry) -> Result<Performed, Problem> {
        let (chain, change) = self.next_chain(proposal, roster).map_err(|e| refused(&e))?;
        let (number, digest) = (chain.number(), chain.standing().digest());
        self.store.put_roster_change(number, &change.to_json(), done).await.map_err(about_row)?;
        let now = self.clock.now();
        {
            // Held meanwhile, so that nobody sees the one without the other.
            let mut officers = self.officers.write().unwrap_or_else(PoisonError::into_inner);
            match self.anchor.take(&[AnchorStep::Roster { number, roster: digest }], now) {
                Ok(()) => {}
                Err(error) if will_pass(&error) => return Ok(Performed::Waits),
                Err(error) => return Err(by_anchor(&error)),
            }
            *officers = Arc::new(Officers { chain, ..Officers::clone(&officers) });
        }
        tracing::info!(number, "the officers changed their roster");
        self.void(&format!("the roster was changed (number {number})"), done).await;
        Ok(Performed::Done)
    }

    /// Requirement 10: what was signed on another roster or policy is void. The check of each statement says so
    /// anyway; this says it in the list.
    async fn void(&self, reason: &str, done: &AuditEntry) {
        let entry = AuditEntry { action: "proposal.void".to_owned(), object: reason.to_owned(), ..done.clone() };
        if let Err(error) = self.store.void_proposals(reason, &entry).await {
            tracing::warn!(%error, "void proposals stay in the list until they expire");
        }
    }

    async fn revoke_authority(&self, proposal: &Proposal, statement: &ActStatement, done: &AuditEntry) -> Result<(), Problem> {
        let OfficerAct::RevokeAuthority { authority, serial, reason, invalidity_date, .. } = &statement.act else {
            return Err(not_so("the statement is about something else"));
        };
        let all = self.store.authorities().await.map_err(|e| unavailable(&e))?;
        let issuer = all.into_iter().find(|a| a.name == *authority).and_then(|a| a.issuer);
        let revoked = RevokedAuthority {
            authority: authority.clone(),
            issuer,
            serial: *serial,
            reason: *reason,
            invalidity_date: *invalidity_date,
            at: done.at,
            statement: proposal.statement.clone(),
            signatures: proposal.approvals.iter().map(|a| a.signature.clone()).collect(),
        };
        let new = self.store.put_revoked_authority(&revoked, done).await.map_err(|e| unavailable(&e))?;
        let all = self.store.revoked_authorities().await.map_err(|e| unavailable(&e))?;
        *self.revoked.write().unwrap_or_else(PoisonError::into_inner) = Some(all.into_iter().map(|r| r.authority).collect());
        if new { Ok(()) } else { Err(not_so(format!("the certificate of authority `{authority}` was revoked before"))) }
    }
}
