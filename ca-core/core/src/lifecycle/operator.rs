//! Operator statements, applied (design: "Operator commands are statements by enrolled operator keys").

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize as _;

use super::Worker;
use crate::anchor::AnchorStep;
use crate::ceremony::OfficerAct;
use crate::evidence::chain::MAX_SECRETS;
use crate::evidence::grant::{read_grant, read_marked};
use crate::evidence::statement::{self, MAX_GRANT_NAMES, Operation, OperatorStatement, Verified};
use crate::model::{
    Actor, AuditEntry, AuthorityName, CrlScope, Grant, GrantId, GrantRecord, GrantStatus, Job, JobKind, KeyBlock, Outcome, Problem,
    ProblemType, RevocationReason, RevocationRequest, Revoked, SignedStatement, may_be_invalidity_date,
};
use crate::pki::{SerialNumber, Sha256Digest, Timestamp, sha256};
use crate::policy::{Policy, check_grant};
use crate::ports::StoreError;

/// The HMAC key of an external account binding, base64url, as ACME clients take it. Shown once; not in `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EabKey(String);

impl EabKey {
    /// The text, to be shown to the operator who made the grant.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for EabKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EabKey(…)")
    }
}

impl Drop for EabKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// What a statement brought about.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum OperatorReply {
    /// A grant.
    GrantCreated {
        /// The key identifier for clients: the grant's id.
        kid: GrantId,
        /// The HMAC key for clients.
        hmac_key: EabKey,
    },
    /// A grant allows something else from now on, or has another secret.
    GrantUpdated {
        /// The new HMAC key for clients; none: the secret is the same as before.
        hmac_key: Option<EabKey>,
    },
    /// A grant is suspended.
    GrantSuspended,
    /// A grant goes on.
    GrantResumed,
    /// A grant is revoked.
    GrantRevoked {
        /// How many accounts went with it.
        accounts: u32,
    },
    /// An account goes on.
    AccountResumed {
        /// Whether it was paused.
        paused: bool,
    },
    /// A certificate is revoked.
    CertificateRevoked {
        /// Its authority.
        authority: AuthorityName,
        /// Its serial number.
        serial: SerialNumber,
        /// Its number in the authority's ledger; none: it was revoked before, and nothing changed.
        number: Option<u64>,
    },
    /// Several certificates are revoked.
    BulkRevoked {
        /// How many of them were not revoked before.
        revoked: u64,
    },
    /// Certificates are marked for replacement.
    ReplacementMarked {
        /// How many the choice meant.
        meant: u64,
        /// How many of them were not marked before.
        marked: u64,
    },
    /// Certificates are no longer marked for replacement.
    ReplacementUnmarked {
        /// How many were.
        unmarked: u64,
    },
    /// A key is blocked for good.
    KeyBlocked {
        /// Whether no statement blocked it before.
        new: bool,
    },
    /// Issuance is stopped.
    Stopped,
    /// A CRL was asked for.
    CrlPublished {
        /// Whose.
        authority: AuthorityName,
        /// The current CRL's number; none: its job is still at work or has failed, see `ca status`.
        number: Option<u64>,
    },
}

fn problem(kind: ProblemType, detail: impl Into<String>) -> Problem {
    Problem::new(kind, detail)
}

fn unavailable(error: &StoreError) -> Problem {
    tracing::error!(%error, "an operator's statement could not be applied");
    problem(ProblemType::ServerInternal, format!("the store could not do it: {error} (hint: sign a new statement and try again)"))
}

impl Worker {
    /// Verifies a statement and does what it says; either way it is on record.
    ///
    /// # Errors
    /// `unauthorized` when signature, permission, window or nonce are not right; `malformed` and others when what it
    /// asks for is refused; `serverInternal` when the store does not answer.
    pub async fn apply_statement(&self, signed: &SignedStatement) -> Result<OperatorReply, Problem> {
        let (policy, now, correlation) = (self.policy(), self.clock.now(), self.correlation());
        let verified = match statement::verify(signed, &policy, now) {
            Ok(verified) => verified,
            Err(error) => {
                let mut entry = self.audit("statement.apply", None, "", Outcome::Refused { reason: error.to_string() }, correlation);
                entry.actor = Actor::Anonymous;
                self.note(&entry).await;
                return Err(problem(ProblemType::Unauthorized, error.to_string()));
            }
        };
        let operation = &verified.statement.operation;
        let mut entry = self.audit(operation.action(), operation.authority(), operation.object(), Outcome::Begun, correlation);
        entry.actor = verified.actor();
        let result = self.spend_and_apply(signed, &verified, &policy, &entry).await;
        if let Err(refused) = &result {
            entry.outcome = Outcome::Refused { reason: refused.detail.clone() };
            self.note(&entry).await;
        }
        result
    }

    pub(super) async fn note(&self, entry: &AuditEntry) {
        if let Err(error) = self.store.append_audit(entry).await {
            tracing::error!(%error, action = entry.action, "a refusal could not be written to the audit trail");
        }
    }

    async fn spend_and_apply(
        &self,
        signed: &SignedStatement,
        verified: &Verified,
        policy: &Policy,
        begun: &AuditEntry,
    ) -> Result<OperatorReply, Problem> {
        let statement = &verified.statement;
        // It spends its nonce itself.
        if let Operation::IssuanceStop { reason } = &statement.operation {
            return self.stop(statement, reason, begun).await;
        }
        // Revocations go on whatever else is wrong: a record of one never does harm.
        let takes_away = matches!(
            statement.operation,
            Operation::CertificateRevoke { .. }
                | Operation::CertificateRevokeBulk { .. }
                | Operation::CertificateHold { .. }
                | Operation::GrantRevoke { .. }
                | Operation::GrantSuspend { .. }
                | Operation::KeyBlock { .. }
        );
        if let Some(reason) = self.trouble().filter(|_| !takes_away) {
            return Err(problem(ProblemType::ServerInternal, reason));
        }
        match self.store.spend_nonce(&statement.nonce, statement.expires_at, begun).await {
            Ok(()) => {}
            Err(StoreError::Conflict(_)) => {
                return Err(problem(ProblemType::Unauthorized, "this statement was submitted before (hint: sign a new one)"));
            }
            Err(error) => return Err(unavailable(&error)),
        }
        let done = AuditEntry { outcome: Outcome::Done, ..begun.clone() };
        // From the store's change to the anchor's step nothing comes between, or the two would tell different acts as the last.
        let _turn = match &statement.operation {
            Operation::GrantCreate { .. }
            | Operation::GrantUpdate { .. }
            | Operation::GrantSuspend { .. }
            | Operation::GrantResume { .. }
            | Operation::GrantRevoke { .. } => Some(self.grant_acts.turn().await),
            _ => None,
        };
        match &statement.operation {
            Operation::GrantCreate { grant } => self.create_grant(signed, grant, policy, &done).await,
            Operation::GrantUpdate { grant, replaces } => self.update_grant(signed, grant, replaces, policy, &done).await,
            Operation::GrantSuspend { id } => self.suspend_grant(id, true, policy, &done).await,
            Operation::GrantResume { id } => self.suspend_grant(id, false, policy, &done).await,
            Operation::GrantRevoke { id } => self.revoke_grant(id, policy, &done).await,
            Operation::AccountResume { id } => match self.store.resume_account(id, &done).await {
                Ok(paused) => Ok(OperatorReply::AccountResumed { paused }),
                Err(StoreError::NotFound(_)) => Err(problem(ProblemType::Malformed, format!("there is no account `{id}`"))),
                Err(error) => Err(unavailable(&error)),
            },
            Operation::CertificateRevoke { authority, serial, reason, invalidity_date } => {
                refuse_reason(*reason)?;
                self.revoke(authority, serial, *reason, *invalidity_date, &done).await
            }
            Operation::CertificateHold { authority, serial } => {
                self.revoke(authority, serial, RevocationReason::CertificateHold, None, &done).await
            }
            Operation::CertificateRevokeBulk { authority, serials, reason } => {
                refuse_reason(*reason)?;
                let most = policy.operator_bulk;
                if serials.is_empty() || serials.len() > most as usize {
                    let detail = format!(
                        "{} certificates at once; one operator may revoke 1 to {most} (hint: `ca cert revoke-bulk` proposes more of them to the officers)",
                        serials.len()
                    );
                    return Err(problem(ProblemType::Unauthorized, detail));
                }
                let revoked = self.revoke_together(authority, serials, *reason, &done.actor, &done.correlation).await;
                let revoked = revoked.map_err(|e| unavailable(&e))?;
                self.note(&done).await;
                Ok(OperatorReply::BulkRevoked { revoked })
            }
            Operation::CertificateReplace { choice, explanation } => self.mark(choice, explanation.as_ref(), &done).await,
            Operation::CertificateReplaceUndo { choice } => self.unmark(choice, &done).await,
            Operation::KeyBlock { spki_sha256, reason } => self.block_key(spki_sha256, reason, &done).await,
            Operation::IssuanceStop { reason } => self.stop(statement, reason, begun).await,
            Operation::CrlPublish { authority } => self.crl_now(authority, policy, &done).await,
        }
    }

    async fn create_grant(
        &self,
        signed: &SignedStatement,
        grant: &Grant,
        policy: &Policy,
        done: &AuditEntry,
    ) -> Result<OperatorReply, Problem> {
        inside_policy(grant, policy, done.at).map_err(|reason| problem(ProblemType::RejectedIdentifier, reason))?;
        if let Some(end) = grant.enrol_by.filter(|end| *end <= done.at) {
            let detail = format!("the grant could bind no account: its secret would have ended at {end} (hint: --enrol-by 7d)");
            return Err(problem(ProblemType::RejectedIdentifier, detail));
        }
        if grant.version > MAX_SECRETS {
            let detail = format!("a grant's secret begins with version 1, and has at most {MAX_SECRETS} versions");
            return Err(problem(ProblemType::Malformed, detail));
        }
        let exists = || {
            let hint = format!("(hint: change it with `ca grant update {}`, or draw another id)", grant.id);
            problem(ProblemType::Malformed, format!("a grant `{}` exists already {hint}", grant.id))
        };
        if self.store.grant(&grant.id).await.map_err(|e| unavailable(&e))?.is_some() {
            return Err(exists());
        }
        let step = self.grant_step(&grant.id, signed, policy)?;
        let record =
            GrantRecord { grant: grant.clone(), evidence: signed.clone(), status: GrantStatus::Active, created_at: done.at, accounts: 0 };
        match self.store.put_grant(&record, done).await {
            Ok(()) => {}
            Err(StoreError::Conflict(_)) => return Err(exists()),
            Err(error) => return Err(unavailable(&error)),
        }
        self.mark_grant(&grant.id, &[step], "the grant is made")?;
        Ok(OperatorReply::GrantCreated { kid: grant.id.clone(), hmac_key: self.eab_key(grant) })
    }

    /// What stood before is read from its statement, not from its row.
    async fn update_grant(
        &self,
        signed: &SignedStatement,
        grant: &Grant,
        replaces: &Sha256Digest,
        policy: &Policy,
        done: &AuditEntry,
    ) -> Result<OperatorReply, Problem> {
        let malformed = |detail: String| problem(ProblemType::Malformed, detail);
        // As it is in the database, which someone may have edited behind what readers remember.
        let stored = self.store.stored_grant(&grant.id).await.map_err(|e| unavailable(&e))?;
        let stored = stored.ok_or_else(|| malformed(format!("there is no grant `{}`", grant.id)))?;
        if sha256(stored.evidence.statement.as_bytes()) != *replaces {
            return Err(malformed(format!("grant `{}` was changed meanwhile (hint: look at it, then sign again)", grant.id)));
        }
        let before = self.granted_by(&stored.evidence, policy).map_err(|reason| problem(ProblemType::Unauthorized, reason))?;
        if before.id != grant.id || before.service != grant.service || before.authority != grant.authority {
            return Err(malformed("a grant keeps its id, service and authority (hint: make another grant)".to_owned()));
        }
        let rotated = before.version.checked_add(1) == Some(grant.version);
        if !rotated && grant.version != before.version {
            return Err(malformed(format!("the secret's version goes from {} to the next, not to {}", before.version, grant.version)));
        }
        if rotated && grant.version > MAX_SECRETS {
            let detail = format!("a grant's secret has at most {MAX_SECRETS} versions (hint: make another grant)");
            return Err(malformed(detail));
        }
        inside_policy(grant, policy, done.at).map_err(|reason| problem(ProblemType::RejectedIdentifier, reason))?;
        let step = self.grant_step(&grant.id, signed, policy)?;
        match self.store.update_grant(grant, signed, &stored.evidence.statement, done).await {
            Ok(()) => {}
            Err(StoreError::Conflict(reason)) => return Err(malformed(reason)),
            Err(error) => return Err(unavailable(&error)),
        }
        self.mark_grant(&grant.id, &[step], "the grant is changed")?;
        let hmac_key = rotated.then(|| self.eab_key(grant));
        Ok(OperatorReply::GrantUpdated { hmac_key })
    }

    async fn suspend_grant(&self, id: &GrantId, suspended: bool, policy: &Policy, done: &AuditEntry) -> Result<OperatorReply, Problem> {
        let missing = || problem(ProblemType::Malformed, format!("there is no grant `{id}`"));
        let steps = async |status| {
            let steps = self.status_steps(id, status, policy).await;
            steps.map_err(|e| problem(ProblemType::ServerInternal, e.to_string()))
        };
        // Its renewals are due with the store's change: the anchor must not find them too early.
        if !suspended {
            match self.store.grant(id).await.map_err(|e| unavailable(&e))?.map(|record| record.status) {
                None => return Err(missing()),
                Some(GrantStatus::Revoked) => return Err(problem(ProblemType::Malformed, format!("grant {id} is revoked"))),
                Some(GrantStatus::Active | GrantStatus::Suspended) => {}
            }
            self.mark_grant(id, &steps(GrantStatus::Active).await?, "that the grant goes on is not")?;
        }
        match self.store.suspend_grant(id, suspended, done).await {
            Ok(()) => {}
            Err(StoreError::NotFound(_)) => return Err(missing()),
            Err(StoreError::Conflict(reason)) => return Err(problem(ProblemType::Malformed, reason)),
            Err(error) => return Err(unavailable(&error)),
        }
        if !suspended {
            return Ok(OperatorReply::GrantResumed);
        }
        self.mark_grant(id, &steps(GrantStatus::Suspended).await?, "the grant is suspended")?;
        Ok(OperatorReply::GrantSuspended)
    }

    async fn revoke_grant(&self, id: &GrantId, policy: &Policy, done: &AuditEntry) -> Result<OperatorReply, Problem> {
        let accounts = match self.store.revoke_grant(id, done).await {
            Ok(accounts) => accounts,
            Err(StoreError::NotFound(_)) => return Err(problem(ProblemType::Malformed, format!("there is no grant `{id}`"))),
            Err(error) => return Err(unavailable(&error)),
        };
        let steps = self.status_steps(id, GrantStatus::Revoked, policy).await;
        let steps = steps.map_err(|e| problem(ProblemType::ServerInternal, e.to_string()))?;
        self.mark_grant(id, &steps, "the grant is revoked")?;
        Ok(OperatorReply::GrantRevoked { accounts })
    }

    /// The grant that an operator signed. One who has left the policy since counts as well, where the anchor knows the
    /// statement: whoever signs now vouches for what comes in its place.
    fn granted_by(&self, evidence: &SignedStatement, policy: &Policy) -> Result<Grant, String> {
        let error = match read_grant(evidence, policy) {
            Ok((grant, _)) => return Ok(grant),
            Err(error) => error,
        };
        let marked = if error.is_for_want_of_a_signer() { read_marked(evidence, &self.anchor.state()) } else { None };
        marked.ok_or_else(|| format!("the statement that the grant stands on does not hold: {error} (hint: make another grant)"))
    }

    fn eab_key(&self, grant: &Grant) -> EabKey {
        EabKey(URL_SAFE_NO_PAD.encode(&*self.secrets.eab_secret(&grant.id, grant.version)))
    }

    async fn revoke(
        &self,
        authority: &AuthorityName,
        serial: &SerialNumber,
        reason: RevocationReason,
        invalidity_date: Option<Timestamp>,
        done: &AuditEntry,
    ) -> Result<OperatorReply, Problem> {
        if invalidity_date.is_some_and(|date| !may_be_invalidity_date(date, done.at)) {
            return Err(problem(ProblemType::Malformed, "the invalidity date lies in the future, or before 1970"));
        }
        let request = RevocationRequest {
            authority: authority.clone(),
            serial: *serial,
            reason,
            invalidity_date,
            actor: done.actor.clone(),
            at: done.at,
            correlation: done.correlation.clone(),
        };
        let number = match self.store.revoke(&request).await {
            Ok(Revoked::Now { number }) => Some(number),
            Ok(Revoked::Already) => None,
            Ok(Revoked::NotFound) => {
                return Err(problem(ProblemType::Malformed, format!("authority `{authority}` never issued the serial {serial}")));
            }
            Err(error) => return Err(unavailable(&error)),
        };
        Ok(OperatorReply::CertificateRevoked { authority: authority.clone(), serial: *serial, number })
    }

    /// Certificates that the key has are not revoked by it.
    async fn block_key(&self, spki_sha256: &Sha256Digest, reason: &str, done: &AuditEntry) -> Result<OperatorReply, Problem> {
        if reason.trim().is_empty() || reason.chars().count() > KeyBlock::MAX_REASON {
            return Err(problem(ProblemType::Malformed, format!("a reason has 1 to {} characters", KeyBlock::MAX_REASON)));
        }
        let mut done = done.clone();
        done.detail = serde_json::json!({ "reason": reason });
        let new = self.store.block_key(spki_sha256, reason, &done).await.map_err(|e| unavailable(&e))?;
        if !new {
            self.note(&done).await;
        }
        Ok(OperatorReply::KeyBlocked { new })
    }

    /// Stops issuance, in the anchor: one person, at once. A store that is away does not keep an operator from it.
    async fn stop(&self, statement: &OperatorStatement, reason: &str, begun: &AuditEntry) -> Result<OperatorReply, Problem> {
        if reason.chars().count() > OfficerAct::MAX_TEXT {
            return Err(problem(ProblemType::Malformed, format!("a reason has at most {} characters", OfficerAct::MAX_TEXT)));
        }
        let mut begun = begun.clone();
        begun.detail = serde_json::json!({ "reason": reason });
        let spent = self.store.spend_nonce(&statement.nonce, statement.expires_at, &begun).await;
        if let Err(StoreError::Conflict(_)) = spent {
            return Err(problem(ProblemType::Unauthorized, "this statement was submitted before (hint: sign a new one)"));
        }
        self.anchor
            .take(&[AnchorStep::Stop], self.clock.now())
            .map_err(|e| problem(ProblemType::ServerInternal, format!("issuance is not stopped: {e}")))?;
        tracing::warn!(actor = %begun.actor, reason, "issuance is stopped");
        spent.map_err(|e| problem(ProblemType::ServerInternal, format!("issuance is stopped, but it is not on record: {e}")))?;
        self.note(&AuditEntry { outcome: Outcome::Done, ..begun }).await;
        Ok(OperatorReply::Stopped)
    }

    async fn crl_now(&self, authority: &AuthorityName, policy: &Policy, done: &AuditEntry) -> Result<OperatorReply, Problem> {
        let scope = CrlScope::FULL;
        let signs = self.signers(policy).await.map_err(|e| unavailable(&e))?.contains_key(authority);
        if !signs {
            let detail = format!("authority `{authority}` has no online key here (hint: a root's CRL comes from a ceremony)");
            return Err(problem(ProblemType::Malformed, detail));
        }
        let number = async || self.store.crl_head(authority, &scope).await.map(|crl| crl.map(|c| c.number)).map_err(|e| unavailable(&e));
        let before = number().await?;
        let kind = JobKind::PublishCrl { authority: authority.clone(), scope };
        self.store.ensure_job(&Job { kind, due: done.at }).await.map_err(|e| unavailable(&e))?;
        self.store.append_audit(done).await.map_err(|e| unavailable(&e))?;
        if let Err(error) = self.tick_jobs().await {
            tracing::error!(%error, "the CRL job stays queued");
        }
        let after = number().await?;
        Ok(OperatorReply::CrlPublished { authority: authority.clone(), number: after.filter(|n| before != Some(*n)) })
    }
}

/// Reasons that are not one operator's to give.
fn refuse_reason(reason: RevocationReason) -> Result<(), Problem> {
    match reason {
        RevocationReason::CertificateHold => Err(problem(
            ProblemType::BadRevocationReason,
            "`certificateHold` is an act of its own, which officers can take back (hint: `ca cert hold`)",
        )),
        RevocationReason::CaCompromise => {
            Err(problem(ProblemType::BadRevocationReason, "`cACompromise` is not a reason for these certificates"))
        }
        RevocationReason::Unspecified
        | RevocationReason::KeyCompromise
        | RevocationReason::AffiliationChanged
        | RevocationReason::Superseded
        | RevocationReason::CessationOfOperation
        | RevocationReason::PrivilegeWithdrawn => Ok(()),
    }
}

/// Whether a grant lies inside what the officers signed (ACME requirement A18); the reason when it does not.
fn inside_policy(grant: &Grant, policy: &Policy, now: Timestamp) -> Result<(), String> {
    let rules = policy.authority(&grant.authority).ok_or_else(|| format!("the policy does not name authority `{}`", grant.authority))?;
    let is_open = rules.open_enrolment.as_ref() == Some(&grant.id);
    if is_open && !rules.is_open(grant) {
        return Err("enrolment is open to this grant, so that it can give no name, URI, mailbox or part of a subject (hint: names are proven in the policy's challenge zones)".to_owned());
    }
    if grant.profiles.is_empty() || grant.names.is_empty() != is_open {
        return Err("a grant names at least one profile and one pattern of names".to_owned());
    }
    if grant.profiles.len() > MAX_GRANT_NAMES || grant.names.len() > MAX_GRANT_NAMES || grant.service.len() > 200 {
        return Err(format!("a grant has at most {MAX_GRANT_NAMES} profiles and patterns, and a service name of 200 octets"));
    }
    for profile in &grant.profiles {
        if !rules.profiles.contains_key(profile) {
            let offered: Vec<_> = rules.profiles.keys().map(String::as_str).collect();
            return Err(format!("authority `{}` does not offer the profile `{profile}` (it offers {})", rules.name, offered.join(", ")));
        }
    }
    for pattern in &grant.names {
        if !rules.names.iter().any(|outer| pattern.is_within(outer)) {
            return Err(format!(
                "`{pattern}` is not inside the policy of authority `{}` (hint: a new policy bundle, signed by officers, can widen it)",
                rules.name
            ));
        }
    }
    check_grant(rules, grant)?;
    match grant.valid_until {
        Some(end) if end <= now => Err("the grant would have expired already".to_owned()),
        Some(_) | None => Ok(()),
    }
}
