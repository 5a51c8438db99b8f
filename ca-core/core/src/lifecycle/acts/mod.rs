//! What officers propose, sign and bring about on the running CA (requirements 9, 10, 11 and 33; "Four eyes").
//!
//! A proposal is a statement that too few people have signed yet. The store keeps it, and nothing in the store allows
//! anything: whenever a signature comes in, and again before the act, statement, subject and signatures are verified
//! from bytes to meaning, against the roster chain and the policy that this worker verified. The nonce is spent in the
//! anchor before the act begins. Deliberately absent: an act that issues, and a way around the quorum.

mod perform;
mod propose;
mod resume;
mod trust;
mod verify;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};

use serde::{Deserialize, Serialize};

use super::Worker;
use crate::ceremony::{ActStatement, CeremonyError, OfficerAct, RosterChain, quorum};
use crate::model::{Actor, AuditEntry, Outcome, Problem, ProblemType, Proposal, ProposalId, ProposalState, StoredApproval};
use crate::pki::Sha256Digest;
use crate::ports::{AnchorError, StoreError};

pub use propose::ProposalRequest;
pub use trust::{PolicyApproval, TrustError, Trusted, roster_chain};

/// Who approves on this CA, and which policy they put in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Officers {
    /// The rosters, verified from the first one on.
    pub chain: RosterChain,
    /// SHA-256 of the policy in force.
    pub policy_sha256: Sha256Digest,
    /// Who approved it.
    pub policy_approved_by: Vec<String>,
}

/// A proposal as it stands now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProposalView {
    /// The proposal.
    pub proposal: Proposal,
    /// How many people must sign.
    pub needed: u32,
    /// Whose signatures count, verified now.
    pub signed_by: Vec<String>,
    /// Why it can't be signed any more, though it waits.
    pub void: Option<String>,
}

/// Only one act at a time: what one changes, another stands on.
pub(super) struct Acting<'a>(&'a AtomicBool);

impl<'a> Acting<'a> {
    fn begin(flag: &'a AtomicBool) -> Option<Self> {
        flag.compare_exchange(false, true, Ordering::AcqRel, Ordering::Acquire).ok().map(|_| Self(flag))
    }
}

impl Drop for Acting<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

fn refused(error: &CeremonyError) -> Problem {
    Problem::new(ProblemType::Unauthorized, error.to_string())
}

fn not_so(detail: impl Into<String>) -> Problem {
    Problem::new(ProblemType::Malformed, detail)
}

fn unavailable(error: &StoreError) -> Problem {
    tracing::error!(%error, "an officers' act could not be stored");
    Problem::new(ProblemType::ServerInternal, format!("the store could not do it: {error} (hint: try again)"))
}

/// What the store says about a proposal's row.
fn about_row(error: StoreError) -> Problem {
    match error {
        StoreError::Conflict(detail) => not_so(detail),
        StoreError::NotFound(what) => not_so(format!("there is no {what} (hint: `ca approve list`)")),
        other => unavailable(&other),
    }
}

fn by_anchor(error: &AnchorError) -> Problem {
    let kind = match error {
        AnchorError::Spent | AnchorError::Refused(_) | AnchorError::Behind(_) | AnchorError::Stopped => ProblemType::Unauthorized,
        AnchorError::RateLimited { .. } | AnchorError::Clock { .. } | AnchorError::Unavailable(_) => ProblemType::ServerInternal,
    };
    Problem::new(kind, error.to_string())
}

impl Worker {
    /// The officers and the digest of what they put in force.
    pub fn officers(&self) -> Arc<Officers> {
        Arc::clone(&self.officers.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A proposal, its signatures verified now; none: there is no such.
    ///
    /// # Errors
    /// `serverInternal` when the store does not answer.
    pub async fn proposal(&self, id: &ProposalId) -> Result<Option<ProposalView>, Problem> {
        match self.store.proposal(id).await.map_err(|e| unavailable(&e))? {
            Some(proposal) => self.view(proposal).await.map(Some),
            None => Ok(None),
        }
    }

    /// The newest proposals, without their subjects.
    ///
    /// # Errors
    /// `serverInternal` when the store does not answer.
    pub async fn proposals(&self, limit: u32) -> Result<Vec<ProposalView>, Problem> {
        let mut views = Vec::new();
        for proposal in self.store.proposals(None, limit).await.map_err(|e| unavailable(&e))? {
            views.push(self.view(proposal).await?);
        }
        Ok(views)
    }

    async fn view(&self, proposal: Proposal) -> Result<ProposalView, Problem> {
        let officers = self.officers();
        let statement = match ActStatement::parse(proposal.statement.as_bytes()) {
            Ok(statement) => statement,
            Err(error) => return Ok(ProposalView { proposal, needed: 0, signed_by: Vec::new(), void: Some(error.to_string()) }),
        };
        // What has ended is shown as it was then: with the roster that it stood on.
        let roster = officers.chain.at(statement.standing.roster_number).unwrap_or_else(|| officers.chain.standing());
        let mut signed_by = Vec::new();
        for approval in &proposal.approvals {
            if let Ok(approval) = quorum::signer(roster, "statement", proposal.statement.as_bytes(), &approval.signature)
                && !signed_by.contains(&approval.officer)
            {
                signed_by.push(approval.officer);
            }
        }
        let void = if proposal.state == ProposalState::Pending {
            let (_, standing) = self.standing().await?;
            statement.check(&standing, self.clock.now()).err().map(|e| e.to_string())
        } else {
            None
        };
        Ok(ProposalView { needed: statement.act.needed(roster), signed_by, void, proposal })
    }

    /// Takes signatures in. With the last one that is needed the act is done at once; a large bulk revocation begins,
    /// and [`Worker::step_acts`] goes on with it. Where another act is under way it waits for that one's end, and
    /// [`Worker::step_acts`] does it then; a stop waits for nothing.
    ///
    /// # Errors
    /// `unauthorized` when a signature, or what it is over, does not count: for another CA, roster or policy, too
    /// late, by nobody on the roster, used before; `malformed` when there is no such proposal or the act can't be
    /// done; `serverInternal` when store or anchor do not answer.
    pub async fn approve(&self, id: &ProposalId, signatures: &[String]) -> Result<ProposalView, Problem> {
        let correlation = self.correlation();
        let result = self.take_signatures(id, signatures, &correlation).await;
        if let Err(problem) = &result {
            let mut entry =
                self.audit("approval.submit", None, id.as_str(), Outcome::Refused { reason: problem.detail.clone() }, correlation);
            entry.actor = Actor::Anonymous;
            self.note(&entry).await;
        }
        result
    }

    async fn take_signatures(&self, id: &ProposalId, signatures: &[String], correlation: &str) -> Result<ProposalView, Problem> {
        if signatures.is_empty() || signatures.len() > quorum::MOST_SIGNATURES {
            return Err(not_so(format!("one to {} signatures are handed in at a time", quorum::MOST_SIGNATURES)));
        }
        let proposal = self.stored(id).await?;
        if proposal.state != ProposalState::Pending {
            let word = if proposal.state == ProposalState::Begun { "has begun already" } else { "has ended" };
            return Err(Problem::new(
                ProblemType::Unauthorized,
                format!("proposal {id} {word}: one approval allows one act (hint: propose it again)"),
            ));
        }
        let (statement, _) = self.meaning(&proposal).await?;
        let officers = self.officers();
        for signature in signatures {
            let by = quorum::signer(officers.chain.standing(), "statement", proposal.statement.as_bytes(), signature)
                .map_err(|e| refused(&e))?;
            let approval = StoredApproval { officer: by.officer.clone(), signature: signature.clone(), at: self.clock.now() };
            let mut entry = self.audit("approval.add", statement.act.authority(), id.as_str(), Outcome::Done, correlation);
            entry.actor = Actor::Officers { names: vec![by.officer] };
            entry.detail = serde_json::json!({ "act": statement.act.action(), "object": statement.act.object(), "key": by.fingerprint });
            self.store.add_approval(id, &approval, &entry).await.map_err(about_row)?;
        }
        self.act_if_approved(id, &statement.act, correlation).await?;
        self.view(self.stored(id).await?).await
    }

    async fn stored(&self, id: &ProposalId) -> Result<Proposal, Problem> {
        let found = self.store.proposal(id).await.map_err(|e| unavailable(&e))?;
        found.ok_or_else(|| not_so(format!("there is no proposal {id} (hint: `ca approve list`)")))
    }

    /// Ends a pending proposal. Whoever reaches the control socket may: it allows nothing and undoes nothing.
    ///
    /// # Errors
    /// `malformed` when there is no such, or it has begun or ended; `serverInternal` when the store does not answer.
    pub async fn withdraw(&self, id: &ProposalId) -> Result<(), Problem> {
        let _acting = Acting::begin(&self.acting).ok_or_else(busy)?;
        if self.stored(id).await?.state != ProposalState::Pending {
            return Err(not_so(format!("proposal {id} has begun or ended; there is nothing to withdraw")));
        }
        let mut entry = self.audit("proposal.withdraw", None, id.as_str(), Outcome::Done, self.correlation());
        entry.actor = Actor::Anonymous;
        self.store.end_act(id, Some("withdrawn"), &entry).await.map_err(about_row)
    }

    fn act_entry(&self, act: &OfficerAct, names: Vec<String>, outcome: Outcome, correlation: &str, id: &ProposalId) -> AuditEntry {
        let mut entry = self.audit(act.action(), act.authority(), act.object(), outcome, correlation);
        entry.actor = Actor::Officers { names };
        entry.detail = serde_json::json!({ "proposal": id });
        entry
    }
}

fn busy() -> Problem {
    Problem::new(ProblemType::ServerInternal, "another act of the officers is under way (hint: try again in a moment)")
}
