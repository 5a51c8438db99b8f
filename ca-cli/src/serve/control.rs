//! What the instance answers to the commands.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ca_core::ceremony::{PolicyBundle, RosterChain, roots};
use ca_core::lifecycle::{OperatorReply, ProposalView, Worker};
use ca_core::model::{Authority, AuthorityKind, AuthorityName, CrlScope, JobKind, Problem, ProblemType, VolumeCap};
use ca_core::pki::{Certificate, Timestamp, key_algorithm};
use ca_core::ports::{
    AccountAdminStore as _, AcmeStore as _, AdminStore as _, ApprovalStore as _, AuditStore as _, CertificateStore as _, Clock as _,
    CrlStore as _, JobStore as _, RequestQueue as _, StatusStore as _, StoreResult,
};
use ca_store_socket::Refusals;
use ca_store_sqlite::SqliteStore;
use ocsp_responder::Responder;

use super::key_watch::KeyWatch;
use super::loops::all_ending_grants;
use crate::anchor::audit_head;
use crate::control::protocol::{
    AuthorityStatus, ControlAnswer, ControlRequest, GrantEnd, OfficersReport, OwnStatus, PolicyReport, StatusReport,
};
use crate::control::server::Answers;
use crate::exit::{Exit, code_of, store as store_failure};
use crate::system::SystemClock;

/// The most rows in one answer.
const MAX_ROWS: u32 = 10_000;
/// How long a command waits for a CRL that was asked for.
const CRL_PATIENCE: Duration = Duration::from_secs(10);
const CRL_STEP: Duration = Duration::from_millis(20);
/// The most proposals in one answer.
const MAX_PROPOSALS: u32 = 1000;
/// The most grants that end in a status report.
const MAX_ENDING: usize = 100;
/// The most jobs in a status report.
const MAX_JOBS: u32 = 50;

/// Answers from the store; changes go through the worker.
pub(super) struct InstanceAnswers {
    pub(super) store: SqliteStore,
    pub(super) worker: Arc<Worker>,
    /// Why authority keys cannot be used, as the key store last said.
    pub(super) keys: KeyWatch,
    /// None in `ca worker`.
    pub(super) responder: Option<Arc<Responder>>,
    /// None without a store socket.
    pub(super) refusals: Option<Arc<Refusals>>,
    pub(super) started_at: Timestamp,
    pub(super) rehearsal: bool,
}

#[async_trait]
impl Answers for InstanceAnswers {
    async fn answer(&self, request: ControlRequest) -> ControlAnswer {
        match request {
            ControlRequest::Submit { signed } => match self.worker.apply_statement(&signed).await {
                Ok(OperatorReply::CrlPublished { authority, number: None }) => {
                    let number = self.await_crl(&authority).await;
                    ControlAnswer::Applied { reply: OperatorReply::CrlPublished { authority, number } }
                }
                Ok(reply) => ControlAnswer::Applied { reply },
                Err(problem) => ControlAnswer::Failed { code: exit_of(&problem) as u8, message: problem.detail },
            },
            ControlRequest::Choose { choice, or_none } => {
                let chosen = if or_none { self.worker.choose_any(&choice).await } else { self.worker.choose(&choice).await };
                answered(chosen, |serials| ControlAnswer::Chosen { serials, operator_bulk: self.worker.policy().operator_bulk })
            }
            ControlRequest::Replacements { filter } => {
                answered(self.worker.replacement_report(&filter).await, |report| ControlAnswer::Replacements { report: Box::new(report) })
            }
            ControlRequest::Propose { request, seconds } => {
                answered(self.worker.propose(*request, Duration::from_secs(seconds)).await, proposal)
            }
            ControlRequest::Proposals { limit } => {
                answered(self.worker.proposals(limit.min(MAX_PROPOSALS)).await, |proposals| ControlAnswer::Proposals { proposals })
            }
            ControlRequest::Proposal { id } => {
                answered(self.worker.proposal(&id).await, |found| ControlAnswer::Proposals { proposals: found.into_iter().collect() })
            }
            ControlRequest::Approve { id, signatures } => answered(self.worker.approve(&id, &signatures).await, proposal),
            ControlRequest::Withdraw { id } => answered(self.worker.withdraw(&id).await, |()| ControlAnswer::Withdrawn),
            other => self.read(other).await.unwrap_or_else(|e| {
                let error = store_failure(e);
                ControlAnswer::Failed { code: code_of(&error) as u8, message: format!("{error:#}") }
            }),
        }
    }
}

fn answered<T>(result: Result<T, Problem>, answer: impl FnOnce(T) -> ControlAnswer) -> ControlAnswer {
    match result {
        Ok(value) => answer(value),
        Err(problem) => ControlAnswer::Failed { code: exit_of(&problem) as u8, message: problem.detail },
    }
}

fn proposal(view: ProposalView) -> ControlAnswer {
    ControlAnswer::Proposals { proposals: vec![view] }
}

const fn exit_of(problem: &Problem) -> Exit {
    match problem.kind {
        ProblemType::Unauthorized | ProblemType::RejectedIdentifier | ProblemType::InvalidProfile | ProblemType::BadRevocationReason => {
            Exit::Refused
        }
        ProblemType::RateLimited | ProblemType::ServerInternal => Exit::Temporary,
        _ => Exit::Failed,
    }
}

impl InstanceAnswers {
    /// Another loop of the worker took the job: waits until it is done, and gives the CRL's number.
    async fn await_crl(&self, authority: &AuthorityName) -> Option<u64> {
        let kind = JobKind::PublishCrl { authority: authority.clone(), scope: CrlScope::FULL };
        let wait = async {
            loop {
                let jobs = self.store.jobs(MAX_ROWS).await.ok()?;
                let job = jobs.into_iter().find(|j| j.kind == kind)?;
                if job.failures > 0 {
                    return None;
                }
                // A finished job is due at its next regular time.
                if job.due > SystemClock.now() {
                    return self.store.crl_head(authority, &CrlScope::FULL).await.ok()?.map(|c| c.number);
                }
                tokio::time::sleep(CRL_STEP).await;
            }
        };
        tokio::time::timeout(CRL_PATIENCE, wait).await.ok().flatten()
    }

    async fn read(&self, request: ControlRequest) -> StoreResult<ControlAnswer> {
        Ok(match request {
            ControlRequest::Submit { .. }
            | ControlRequest::Choose { .. }
            | ControlRequest::Replacements { .. }
            | ControlRequest::Propose { .. }
            | ControlRequest::Proposals { .. }
            | ControlRequest::Proposal { .. }
            | ControlRequest::Approve { .. }
            | ControlRequest::Withdraw { .. } => {
                ControlAnswer::Failed { code: Exit::Failed as u8, message: "not a question for the store".to_owned() }
            }
            ControlRequest::Officers => {
                let most = u32::try_from(RosterChain::MAX_CHANGES).unwrap_or(u32::MAX);
                let changes = self.store.roster_changes(most).await?;
                let officers = self.worker.officers();
                let chain = &officers.chain;
                ControlAnswer::Officers(Box::new(OfficersReport {
                    number: chain.number(),
                    head: chain.head(),
                    genesis: chain.genesis().digest(),
                    digest: chain.standing().digest(),
                    roster: chain.standing().clone(),
                    changes: changes.into_iter().map(|(_, document)| document).collect(),
                }))
            }
            ControlRequest::Policy => self.policy().await?,
            ControlRequest::RevokedAuthorities => ControlAnswer::RevokedAuthorities { revoked: self.store.revoked_authorities().await? },
            ControlRequest::Status => ControlAnswer::Status(Box::new(self.status().await?)),
            ControlRequest::Authorities => ControlAnswer::Authorities { authorities: self.store.authorities().await? },
            ControlRequest::Roots => {
                let all = self.store.authorities().await?;
                ControlAnswer::Authorities { authorities: roots(&all, &self.worker.policy()).into_iter().cloned().collect() }
            }
            ControlRequest::Grants { after, limit } => {
                ControlAnswer::Grants { grants: self.store.grants(after.as_ref(), limit.min(MAX_ROWS)).await? }
            }
            // Whoever signs a change must see what someone may have edited.
            ControlRequest::Grant { id } => ControlAnswer::Grants { grants: self.store.stored_grant(&id).await?.into_iter().collect() },
            ControlRequest::GrantUse { id, since } => {
                ControlAnswer::GrantUse { used: self.store.grant_use(&id, since, VolumeCap::MAX).await? }
            }
            ControlRequest::Accounts { paused, limit } => {
                ControlAnswer::Accounts { accounts: self.store.accounts(paused, limit.min(MAX_ROWS)).await? }
            }
            ControlRequest::Account { id } => {
                ControlAnswer::Accounts { accounts: self.store.account_record(&id).await?.into_iter().collect() }
            }
            ControlRequest::Certificates { filter, after, limit } => {
                ControlAnswer::Certificates { certificates: self.store.certificates(&filter, after.as_ref(), limit.min(MAX_ROWS)).await? }
            }
            ControlRequest::Certificate { authority, serial } => {
                let mut certificates = Vec::new();
                for candidate in self.store.authorities().await? {
                    if authority.as_ref().is_none_or(|a| *a == candidate.name) {
                        certificates.extend(self.store.certificate(&candidate.name, &serial).await?);
                    }
                }
                ControlAnswer::Certificates { certificates }
            }
            ControlRequest::BlockedKeys { limit } => {
                ControlAnswer::BlockedKeys { keys: self.store.blocked_keys(limit.min(MAX_ROWS)).await? }
            }
            ControlRequest::Crls => {
                let mut crls = Vec::new();
                // Roots first, as bundles usually have them.
                let (above, issuing): (Vec<Authority>, Vec<Authority>) =
                    self.store.authorities().await?.into_iter().partition(|a| a.kind == AuthorityKind::Root);
                for authority in above.iter().chain(&issuing) {
                    crls.extend(self.store.current_crl(&authority.name, &CrlScope::FULL).await?);
                }
                ControlAnswer::Crls { crls }
            }
            ControlRequest::Audit { after, limit } => {
                let limit = limit.clamp(1, MAX_ROWS);
                let after = match after {
                    Some(after) => after,
                    None => audit_head(&self.store).await?.number.saturating_sub(u64::from(limit)),
                };
                ControlAnswer::Audit { rows: self.store.audit_after(after, limit).await? }
            }
        })
    }

    /// The document whose digest the worker verified; the row is only where it lies.
    async fn policy(&self) -> StoreResult<ControlAnswer> {
        let (policy, officers) = (self.worker.policy(), self.worker.officers());
        let stored = self.store.policy().await?.and_then(|(_, text)| PolicyBundle::from_json(&text).ok());
        Ok(match stored.filter(|bundle| bundle.policy_sha256() == officers.policy_sha256) {
            Some(bundle) => ControlAnswer::Policy(Box::new(PolicyReport {
                version: policy.version,
                sha256: officers.policy_sha256,
                officers: officers.policy_approved_by.clone(),
                bundle,
            })),
            None => ControlAnswer::Failed {
                code: Exit::Failed as u8,
                message:
                    "the newest policy in the database is not the one in force (hint: it was edited, or an import waits for a restart)"
                        .to_owned(),
            },
        })
    }

    async fn status(&self) -> StoreResult<StatusReport> {
        let policy = self.worker.policy();
        let (backlog, backlog_oldest) = self.store.backlog().await?;
        let mut authorities = Vec::new();
        for authority in self.store.authorities().await? {
            let crl = self.store.crl_head(&authority.name, &CrlScope::FULL).await?;
            let certificate = Certificate::from_der(&authority.certificate).ok();
            authorities.push(AuthorityStatus {
                algorithm: certificate.as_ref().and_then(|c| key_algorithm(c.public_key()).ok()),
                is_default: authority.is_default,
                root: authority.kind == AuthorityKind::Root,
                not_after: certificate.map(|c| c.not_after()),
                crl_number: crl.as_ref().map(|c| c.number),
                crl_next_update: crl.as_ref().map(|c| c.next_update),
                ledger: self.store.ledger_head(&authority.name).await?,
                name: authority.name,
            });
        }
        let mut own = Vec::new();
        for rules in &policy.authorities {
            for entry in &rules.own {
                let newest = self.store.newest_for_key(&rules.name, &entry.shape, &entry.key_sha256).await?;
                own.push(OwnStatus {
                    authority: rules.name.clone(),
                    name: entry.name.clone(),
                    serial: newest.as_ref().map(|c| c.serial),
                    not_after: newest.as_ref().map(|c| c.not_after),
                });
            }
        }
        let jobs = self.store.jobs(MAX_JOBS).await?;
        let now = SystemClock.now();
        let ending = all_ending_grants(&self.store, now).await?.into_iter().take(MAX_ENDING);
        let ending_grants = ending.map(|g| GrantEnd { id: g.id, service: g.service, valid_until: g.valid_until }).collect();
        Ok(StatusReport {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: self.started_at,
            now,
            policy_version: policy.version,
            policy_officers: self.worker.officers().policy_approved_by.clone(),
            rehearsal: self.rehearsal,
            responder_not_ready: self.responder.as_ref().map_or_else(Vec::new, |r| r.not_ready()),
            anchor_trouble: self.worker.trouble(),
            stopped: self.worker.anchor().state().is_stopped(),
            keystore_error: self.keys.trouble(),
            refused_store_peers: self.refusals.as_ref().map_or(0, |r| r.peers()),
            refused_store_commands: self.refusals.as_ref().map_or(0, |r| r.commands()),
            backlog,
            backlog_oldest,
            authorities,
            own,
            ending_grants,
            jobs,
        })
    }
}
