//! Making proposals.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::verify::read;
use super::{ProposalView, about_row, not_so, refused, unavailable};
use crate::ceremony::{ActStatement, MAX_BULK, OfficerAct, Roster, serial_list};
use crate::lifecycle::Worker;
use crate::model::{
    Actor, AuthorityName, BulkChoice, CertificateFilter, Outcome, Problem, Proposal, ProposalId, ProposalState, RevocationReason,
};
use crate::pki::{Certificate, SerialNumber, Timestamp, hex, sha256};
use crate::policy::Policy;

/// What someone proposes. Nothing of it is believed: it becomes a statement, and the officers read that.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "propose", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ProposalRequest {
    /// A policy, TOML.
    PutPolicy {
        /// Its text.
        policy: String,
    },
    /// A roster.
    ChangeRoster {
        /// The whole new roster.
        roster: Roster,
    },
    /// The revocation of an authority's certificate.
    RevokeAuthority {
        /// Whose.
        authority: AuthorityName,
        /// Why.
        reason: RevocationReason,
        /// Since when its key is suspected.
        invalidity_date: Option<Timestamp>,
    },
    /// Taking a certificate off hold.
    Unhold {
        /// Its authority.
        authority: AuthorityName,
        /// Its serial number.
        serial: SerialNumber,
    },
    /// The revocation of many certificates.
    RevokeBulk {
        /// Which ones.
        choice: Box<BulkChoice>,
        /// Why.
        reason: RevocationReason,
    },
    /// A stop of issuance, which one officer signs.
    Stop {
        /// Why.
        reason: String,
    },
    /// That issuance goes on.
    Resume,
}

/// How many certificates are read at once.
const PAGE: u32 = 1000;

impl Worker {
    /// Makes a proposal that can be signed for `life`.
    ///
    /// # Errors
    /// `malformed` when the act makes no sense as things are, or too many proposals wait; `serverInternal` when the
    /// store does not answer.
    pub async fn propose(&self, request: ProposalRequest, life: Duration) -> Result<ProposalView, Problem> {
        let (ca, standing) = self.standing().await?;
        let (act, subject) = self.act_of(request).await?;
        let now = self.clock.now();
        let mut nonce = [0u8; 16];
        self.rng.fill(&mut nonce);
        let statement = ActStatement {
            format: ActStatement::FORMAT.to_owned(),
            act,
            standing,
            nonce: hex(&nonce),
            issued_at: now,
            expires_at: now.plus(life.min(ActStatement::MAX_LIFE)),
        };
        let text = String::from_utf8(statement.to_bytes()).expect("JSON is UTF-8");
        let proposal = Proposal {
            id: ProposalId::of(&text),
            statement: text,
            subject,
            state: ProposalState::Pending,
            progress: 0,
            reason: None,
            proposed_at: now,
            expires_at: statement.expires_at,
            approvals: Vec::new(),
        };
        // As strict as when it is acted on: what can't be done is not put before people.
        read(&proposal).map_err(|e| refused(&e))?;
        self.meaning(&proposal).await?;
        let mut entry = self.audit("proposal.create", statement.act.authority(), proposal.id.as_str(), Outcome::Done, proposal.id.as_str());
        entry.actor = Actor::Anonymous;
        entry.detail = serde_json::json!({ "act": statement.act.action(), "object": statement.act.object(), "ca": ca.name });
        self.store.put_proposal(&proposal, &entry).await.map_err(about_row)?;
        self.view(proposal).await
    }

    async fn act_of(&self, request: ProposalRequest) -> Result<(OfficerAct, String), Problem> {
        Ok(match request {
            ProposalRequest::PutPolicy { policy } => {
                let version = Policy::parse(&policy).map_err(|e| not_so(e.to_string()))?.version;
                (OfficerAct::PutPolicy { version, policy_sha256: sha256(policy.as_bytes()) }, policy)
            }
            ProposalRequest::ChangeRoster { roster } => {
                let officers = self.officers();
                roster.check().map_err(|e| not_so(e.to_string()))?;
                if roster == *officers.chain.standing() || roster.kind != officers.chain.genesis().kind {
                    return Err(not_so("it changes nothing, or makes a rehearsal of a production roster or the other way round"));
                }
                let (number, before) = (officers.chain.number() + 1, officers.chain.head());
                (OfficerAct::ChangeRoster { number, before, roster_sha256: roster.digest() }, roster.to_toml())
            }
            ProposalRequest::RevokeAuthority { authority, reason, invalidity_date } => {
                let all = self.store.authorities().await.map_err(|e| unavailable(&e))?;
                let found =
                    all.iter().find(|a| a.name == authority).ok_or_else(|| not_so(format!("there is no authority `{authority}`")))?;
                let certificate = Certificate::from_der(&found.certificate).map_err(|e| not_so(format!("its certificate: {e}")))?;
                let (certificate_sha256, serial) = (sha256(&found.certificate), certificate.serial());
                (OfficerAct::RevokeAuthority { authority, certificate_sha256, serial, reason, invalidity_date }, String::new())
            }
            ProposalRequest::Unhold { authority, serial } => (OfficerAct::Unhold { authority, serial }, String::new()),
            ProposalRequest::RevokeBulk { choice, reason } => {
                let mut serials = self.choose(&choice).await?;
                let list = serial_list(&mut serials);
                let act = OfficerAct::RevokeBulk {
                    authority: choice.authority.clone(),
                    reason,
                    selection: choice.describe(),
                    count: serials.len() as u64,
                    serials_sha256: sha256(list.as_bytes()),
                };
                (act, list)
            }
            ProposalRequest::Stop { reason } => (OfficerAct::Stop { reason }, String::new()),
            ProposalRequest::Resume => (OfficerAct::Resume, String::new()),
        })
    }

    /// The certificates that a choice means now: released, not expired, not revoked for good.
    ///
    /// # Errors
    /// As [`Self::choose_any`], and `malformed` when it means none.
    pub async fn choose(&self, choice: &BulkChoice) -> Result<Vec<SerialNumber>, Problem> {
        let found = self.choose_any(choice).await?;
        if found.is_empty() {
            return Err(not_so("no certificate is meant that is neither expired nor revoked"));
        }
        Ok(found)
    }

    /// The same, which may be none.
    ///
    /// # Errors
    /// `malformed` when it means more than [`MAX_BULK`], chooses by nothing, or lists a serial number that was never
    /// issued; `serverInternal` when the store does not answer.
    pub async fn choose_any(&self, choice: &BulkChoice) -> Result<Vec<SerialNumber>, Problem> {
        let too_many = || {
            not_so(format!(
                "more than {MAX_BULK} certificates are meant (hint: narrow the choice, for example by time, and take several steps)"
            ))
        };
        if choice.serials.len() > MAX_BULK {
            return Err(too_many());
        }
        let mut found = Vec::new();
        if choice.serials.is_empty() {
            if !choice.is_narrow() {
                return Err(not_so("a choice names at least a grant, an account, a key, a profile, a time or a mark"));
            }
            let filter =
                CertificateFilter { authority: Some(choice.authority.clone()), name: None, revoked: None, ..choice.filter.clone() };
            let mut after = None;
            loop {
                let last = if choice.replaced {
                    let now = self.clock.now();
                    let page = self.store.replacements(&filter, after.as_ref(), PAGE, now).await.map_err(|e| unavailable(&e))?;
                    let replaced = page.iter().filter(|r| r.is_safe_to_revoke(now)).map(|r| &r.record);
                    found.extend(replaced.filter(|c| self.is_revocable(c)).map(|c| c.serial));
                    page.last().map(|r| r.record.serial)
                } else {
                    let page = self.store.certificates(&filter, after.as_ref(), PAGE).await.map_err(|e| unavailable(&e))?;
                    found.extend(page.iter().filter(|c| self.is_revocable(c)).map(|c| c.serial));
                    page.last().map(|c| c.serial)
                };
                let Some(last) = last else { break };
                if found.len() > MAX_BULK {
                    return Err(too_many());
                }
                after = Some(last);
            }
        } else {
            for serial in &choice.serials {
                let record = self.store.certificate(&choice.authority, serial).await.map_err(|e| unavailable(&e))?;
                let record = record.ok_or_else(|| not_so(format!("authority `{}` never issued the serial {serial}", choice.authority)))?;
                if self.is_revocable(&record) {
                    found.push(*serial);
                }
            }
        }
        Ok(found)
    }

    fn is_revocable(&self, record: &crate::model::CertificateRecord) -> bool {
        let open = record.revoked.is_none_or(|(_, reason)| reason == RevocationReason::CertificateHold);
        open && record.state != crate::model::CertificateState::Abandoned && record.not_after > self.clock.now()
    }
}
