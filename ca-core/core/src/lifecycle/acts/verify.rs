//! From a proposal's bytes to its meaning, against what stands.

use super::{not_so, refused, unavailable};
use crate::ceremony::{ActStatement, CaIdentity, CeremonyError, OfficerAct, Roster, RosterChange, Standing, parse_serial_list};
use crate::evidence::sshsig;
use crate::lifecycle::Worker;
use crate::model::{AuthorityKind, Problem, Proposal, ProposalId, RevocationReason, may_be_invalidity_date};
use crate::pki::{Certificate, SerialNumber, sha256};
use crate::policy::Policy;

/// What an act's subject means.
#[derive(Debug)]
pub(super) enum Subject {
    /// The policy.
    Policy(Policy),
    /// The new roster's text.
    Roster(String),
    /// The list of a bulk revocation.
    Serials(Vec<SerialNumber>),
    /// The act has none.
    None,
}

impl Worker {
    /// What a statement must name now.
    pub(super) async fn standing(&self) -> Result<(CaIdentity, Standing), Problem> {
        let authorities = self.store.authorities().await.map_err(|e| unavailable(&e))?;
        let (policy, officers) = (self.policy(), self.officers());
        let ca = CaIdentity::of(&authorities, &policy).ok_or_else(|| {
            not_so("the policy in force names no authority whose chain is here, so there is no CA to act on (hint: import its bundle)")
        })?;
        let standing = Standing {
            ca_sha256: ca.sha256,
            roster_number: officers.chain.number(),
            roster_sha256: officers.chain.standing().digest(),
            policy_version: policy.version,
            policy_sha256: officers.policy_sha256,
        };
        Ok((ca, standing))
    }

    /// The statement and the subject of a proposal that is to be signed or acted on now.
    pub(super) async fn meaning(&self, proposal: &Proposal) -> Result<(ActStatement, Subject), Problem> {
        let (statement, subject) = read(proposal).map_err(|e| refused(&e))?;
        let (_, standing) = self.standing().await?;
        statement.check(&standing, self.clock.now()).map_err(|e| refused(&e))?;
        self.possible(&statement.act).await?;
        match &subject {
            Subject::Policy(policy) => apart(self.officers().chain.standing(), policy)?,
            Subject::Roster(roster) => apart(&Roster::parse(roster).map_err(|e| refused(&e))?, &self.policy())?,
            Subject::Serials(_) | Subject::None => {}
        }
        Ok((statement, subject))
    }

    /// Whether the act can be done as things are; before anything is spent.
    async fn possible(&self, act: &OfficerAct) -> Result<(), Problem> {
        match act {
            OfficerAct::PutPolicy { version, .. } if *version <= self.policy().version => Err(not_so(format!(
                "policy version {} is in force; {version} is not newer (hint: raise its version)",
                self.policy().version
            ))),
            OfficerAct::ChangeRoster { number, before, .. } => {
                let chain = &self.officers().chain;
                if *number == chain.number() + 1 && *before == chain.head() {
                    Ok(())
                } else {
                    Err(not_so(format!("roster change {number} does not follow roster {}", chain.number())))
                }
            }
            OfficerAct::RevokeAuthority { authority, certificate_sha256, serial, reason, invalidity_date } => {
                let all = self.store.authorities().await.map_err(|e| unavailable(&e))?;
                let found =
                    all.iter().find(|a| a.name == *authority).ok_or_else(|| not_so(format!("there is no authority `{authority}`")))?;
                let certificate = Certificate::from_der(&found.certificate).map_err(|e| not_so(format!("its certificate: {e}")))?;
                if sha256(&found.certificate) != *certificate_sha256 || certificate.serial() != *serial {
                    return Err(not_so(format!("authority `{authority}` has another certificate than the statement names")));
                }
                if found.kind == AuthorityKind::Root {
                    return Err(not_so("no CRL revokes a root: relying parties must take it out (hint: tell them)"));
                }
                if *reason == RevocationReason::CertificateHold
                    || invalidity_date.is_some_and(|date| !may_be_invalidity_date(date, self.clock.now()))
                {
                    return Err(not_so(
                        "a CA certificate is not put on hold, and its invalidity date is neither in the future nor before 1970",
                    ));
                }
                Ok(())
            }
            OfficerAct::Unhold { authority, serial } => {
                let found = self.store.certificate(authority, serial).await.map_err(|e| unavailable(&e))?;
                match found.and_then(|c| c.revoked) {
                    Some((_, RevocationReason::CertificateHold)) => Ok(()),
                    _ => Err(not_so(format!("certificate {serial} of `{authority}` is not on hold"))),
                }
            }
            OfficerAct::RevokeBulk { reason: RevocationReason::CertificateHold | RevocationReason::CaCompromise, .. } => {
                Err(not_so("many certificates are revoked for good, for a reason that certificates of subscribers have"))
            }
            OfficerAct::Resume if !self.anchor.state().is_stopped() => Err(not_so("issuance is not stopped")),
            OfficerAct::PutPolicy { .. } | OfficerAct::RevokeBulk { .. } | OfficerAct::Stop { .. } | OfficerAct::Resume => Ok(()),
        }
    }

    /// The chain with one more change; what the change means for it was verified on the way.
    pub(super) fn next_chain(
        &self,
        proposal: &Proposal,
        roster: String,
    ) -> Result<(crate::ceremony::RosterChain, RosterChange), CeremonyError> {
        let signatures = proposal.approvals.iter().map(|a| a.signature.clone()).collect();
        let change = RosterChange { roster, statement: proposal.statement.clone(), signatures };
        let (chain, _) = self.officers().chain.clone().followed_by(&change)?;
        Ok((chain, change))
    }
}

/// Requirement 8: whoever decides what an operator may do is no operator.
fn apart(roster: &Roster, policy: &Policy) -> Result<(), Problem> {
    let operators: Vec<_> = policy.operators.iter().filter_map(|o| Some((o, sshsig::fingerprint(&o.key).ok()?))).collect();
    for officer in &roster.officers {
        for key in &officer.keys {
            let found = sshsig::fingerprint(key).ok().and_then(|key| operators.iter().find(|(_, operator)| *operator == key));
            if let Some((operator, key)) = found {
                return Err(not_so(format!(
                    "the key {key} is both the officer `{}`'s and the operator `{}`'s: the two roles are two people's",
                    officer.name, operator.name
                )));
            }
        }
    }
    Ok(())
}

/// Reads a proposal's row: its statement is the one that its id names, and its subject the one of the statement.
pub(super) fn read(proposal: &Proposal) -> Result<(ActStatement, Subject), CeremonyError> {
    let edited = |what: &str| CeremonyError::Refused {
        what: "proposal",
        reason: format!("{what} is not what was proposed: the database was changed (hint: propose it again)"),
    };
    if ProposalId::of(&proposal.statement) != proposal.id {
        return Err(edited("its statement"));
    }
    let statement = ActStatement::parse(proposal.statement.as_bytes())?;
    let digest = sha256(proposal.subject.as_bytes());
    let subject = match &statement.act {
        OfficerAct::PutPolicy { version, policy_sha256 } => {
            if digest != *policy_sha256 {
                return Err(edited("its policy"));
            }
            let policy = Policy::parse(&proposal.subject)?;
            if policy.version != *version {
                return Err(edited("its policy's version"));
            }
            Subject::Policy(policy)
        }
        OfficerAct::ChangeRoster { roster_sha256, .. } => {
            let roster = Roster::parse(&proposal.subject)?;
            if digest != *roster_sha256 || roster.digest() != *roster_sha256 {
                return Err(edited("its roster"));
            }
            Subject::Roster(proposal.subject.clone())
        }
        OfficerAct::RevokeBulk { count, serials_sha256, .. } => {
            if digest != *serials_sha256 {
                return Err(edited("its list of serial numbers"));
            }
            let serials = parse_serial_list(&proposal.subject)?;
            if serials.len() as u64 != *count {
                return Err(edited("its count"));
            }
            Subject::Serials(serials)
        }
        OfficerAct::RevokeAuthority { .. } | OfficerAct::Unhold { .. } | OfficerAct::Stop { .. } | OfficerAct::Resume => Subject::None,
    };
    Ok((statement, subject))
}
