//! The schedule: load, plan, lease, execute.

use std::sync::PoisonError;
use std::time::Duration;

use super::order::PARTITION;
use super::signer::{Failure, Signer, Signers};
use super::{HaltPoint, Worker, WorkerError};
use crate::anchor::{AnchorState, AnchorStep};
use crate::issuance::{Attempt, prepare_crl, prepare_leaf};
use crate::model::{Actor, AttemptId, AuthorityName, CrlScope, JobKind, LeaseToken, LeasedJob, Origin, Outcome, StatusUrls};
use crate::pki::crl::{Crl, CrlHeader};
use crate::pki::{Certificate, PublicKey, SerialNumber, Timestamp};
use crate::plan::{self, CrlState, Inventory, OwnState, backoff, crl_due};
use crate::policy::{OwnCertificate, Policy};
use crate::ports::StoreError;
use crate::profile::{LeafContent, LeafRequest, Revocation};

/// How many jobs one round leases.
const BATCH: u32 = 64;

/// How many jobs the inventory reads.
const MAX_JOBS: u32 = 10_000;

/// How many revoked certificates are read at once.
const PAGE: u32 = 5000;

/// How many rows are pruned in one transaction, and how many transactions a job makes.
const PRUNE: (u32, usize) = (500, 200);

impl Worker {
    /// Plans, and executes what is due; tells how many jobs that were.
    ///
    /// # Errors
    /// When the store does not answer. A job that fails is no error here: it is on record and comes back.
    pub async fn tick_jobs(&self) -> Result<usize, WorkerError> {
        self.on_record().await?;
        let policy = self.policy();
        let signers = self.signers(&policy).await?;
        let inventory = self.inventory(&policy, &signers).await?;
        let now = self.clock.now();
        for job in plan::plan(&inventory, &policy, now) {
            self.store.ensure_job(&job).await?;
        }
        let lease = LeaseToken::random(&*self.rng);
        let mut jobs = self.store.lease_jobs(&self.id, &lease, now, self.lease_end(now), BATCH).await?;
        // CRLs first: revocation is what others wait for.
        jobs.sort_by_key(|job| match job.kind {
            JobKind::PublishCrl { .. } => 0,
            JobKind::RenewOwn { .. } => 1,
            JobKind::RenewOrder { .. } => 2,
            JobKind::Prune => 3,
        });
        for job in jobs.iter().filter(|job| !matches!(job.kind, JobKind::RenewOrder { .. })) {
            self.execute(job, &policy, &signers).await;
        }
        self.renew_orders(&jobs, &policy).await?;
        Ok(jobs.len())
    }

    async fn inventory(&self, policy: &Policy, signers: &Signers) -> Result<Inventory, WorkerError> {
        let mut inventory = Inventory { jobs: self.store.jobs(MAX_JOBS).await?, skew: self.settings.skew, ..Inventory::default() };
        for rules in &policy.authorities {
            let name = &rules.name;
            let Some(signer) = signers.get(name) else { continue };
            let authority_ends = signer.issuer.certificate().not_after();
            for own in &rules.own {
                // A key that is not here is another host's to renew.
                if self.own_key(own).is_none() {
                    continue;
                }
                let newest = self.store.newest_for_key(name, &own.shape, &own.key_sha256).await?;
                // One that an older policy named otherwise, or that is marked for replacement, is made anew.
                let newest =
                    newest.filter(|c| c.identifiers == sorted(&own.names) && c.marked.is_none()).map(|c| (c.created_at, c.not_after));
                inventory.own.push(OwnState { authority: name.clone(), own: own.name.clone(), newest, authority_ends });
            }
            let (scope, head) = (CrlScope::FULL, self.store.ledger_head(name).await?);
            let anchored = self.anchor.state().crl_number(name, scope);
            let current = self.store.crl_head(name, &scope).await?;
            inventory.crls.push(CrlState {
                authority: name.clone(),
                scope,
                // One that the anchor has seen a newer of, too: after a restore that officers accepted.
                dirty: current.as_ref().is_none_or(|c| c.ledger_number < head || c.number < anchored),
                current: current.map(|c| (c.this_update.plus(self.settings.skew), c.next_update)),
            });
        }
        Ok(inventory)
    }

    async fn execute(&self, job: &LeasedJob, policy: &Policy, signers: &Signers) {
        self.probe.at(HaltPoint::AfterLease);
        let done = match &job.kind {
            JobKind::RenewOwn { authority, own } => self.renew_own(job, policy, signers, authority, own).await,
            JobKind::PublishCrl { authority, scope } => self.publish_crl(job, policy, signers, authority, *scope).await.map(Some),
            JobKind::Prune => self.prune().await.map(Some),
            // Those are renewed together.
            JobKind::RenewOrder { .. } => return,
        };
        let ended = match done {
            Ok(Some(next)) => self.store.finish_job(&job.id, &job.lease, self.clock.now(), next).await,
            Ok(None) => self.store.end_job(&job.id, &job.lease).await,
            Err(Failure::Fenced) => Err(StoreError::Fenced),
            Err(Failure::Refused(refusal)) => self.fail(job, &refusal.cause, None).await,
            Err(Failure::Later { cause, .. }) => self.fail(job, &cause, None).await,
        };
        report(job, ended);
    }

    pub(super) async fn fail(&self, job: &LeasedJob, cause: &str, wait: Option<Duration>) -> Result<(), StoreError> {
        let pause = wait.unwrap_or_else(|| backoff(job.failures));
        tracing::error!(job = %job.id, cause, retry_in = pause.as_secs(), "the job failed");
        let authority = match &job.kind {
            JobKind::RenewOwn { authority, .. } | JobKind::PublishCrl { authority, .. } | JobKind::RenewOrder { authority, .. } => {
                Some(authority)
            }
            JobKind::Prune => None,
        };
        let outcome = Outcome::Failed { reason: cause.to_owned() };
        let audit = self.audit("job.execute", authority, job.id.as_str(), outcome, job.lease.as_str());
        self.store.fail_job(&job.id, &job.lease, cause, self.clock.now().plus(pause), &audit).await
    }

    /// The key that the policy pins for this certificate, if it is here.
    fn own_key(&self, own: &OwnCertificate) -> Option<&PublicKey> {
        self.own_keys.iter().find(|key| key.spki_sha256() == own.key_sha256)
    }

    /// Tells when the next one is due; none: there will be no other, and the plan queues the job anew should that change.
    async fn renew_own(
        &self,
        job: &LeasedJob,
        policy: &Policy,
        signers: &Signers,
        authority: &AuthorityName,
        own: &str,
    ) -> Result<Option<Timestamp>, Failure> {
        let entry = policy.authority(authority).and_then(|a| a.own.iter().find(|o| o.name == own));
        let Some(entry) = entry else {
            tracing::info!(%authority, own, "the policy names this own certificate no longer; its job ends");
            return Ok(None);
        };
        let signer = signer_of(signers, authority)?;
        let authority_ends = signer.issuer.certificate().not_after();
        if authority_ends <= self.clock.now() {
            tracing::warn!(%authority, own, %authority_ends, "the authority has ended; it certifies none of the CA's own keys any more");
            return Ok(None);
        }
        let key = self.own_key(entry).ok_or_else(|| {
            Failure::later(format!(
                "no key here has the SHA-256 that the policy pins for `{own}` (hint: re-sign the policy with the new key's hash)"
            ))
        })?;
        self.not_blocked(key).await?;
        let now = self.clock.now();
        let leaf = LeafRequest {
            serial: SerialNumber::random(&*self.rng),
            not_before: now.minus(self.settings.skew),
            not_after: now.plus(Duration::from_secs(entry.lifetime)).min(authority_ends),
            public_key: key.clone(),
            content: match entry.shape.as_str() {
                "server" => LeafContent::Server { common_name: None, names: sorted(&entry.names) },
                "ocsp" => LeafContent::Ocsp { common_name: responder_name(authority) },
                other => return Err(Failure::later(format!("the CA has no certificate of its own of the shape `{other}`"))),
            },
            policies: Vec::new(),
            revocation: Revocation::Published(StatusUrls::below(&self.settings.status_base_url, authority, PARTITION)),
        };
        let attempt = self.job_attempt(job, signer, now);
        let prepared = prepare_leaf(&leaf, &signer.issuer, &entry.shape, PARTITION, attempt).map_err(Failure::later)?;
        let der = self.issue(prepared).await?;
        let released = Certificate::from_der(&der).map_err(Failure::later)?;
        tracing::info!(%authority, own, serial = %released.serial(), until = %released.not_after(), "own certificate renewed");
        let newest = Some((now, released.not_after()));
        let state = OwnState { authority: authority.clone(), own: own.to_owned(), newest, authority_ends };
        Ok(state.due(now, self.settings.skew))
    }

    async fn publish_crl(
        &self,
        job: &LeasedJob,
        policy: &Policy,
        signers: &Signers,
        authority: &AuthorityName,
        scope: CrlScope,
    ) -> Result<Timestamp, Failure> {
        let signer = signer_of(signers, authority)?;
        let rules =
            policy.authority(authority).ok_or_else(|| Failure::later(format!("the policy does not name authority `{authority}`")))?;
        let now = self.clock.now();
        // The head before the entries: the CRL may have more than it says, never less.
        let ledger_number = self.store.ledger_head(authority).await?;
        if self.store.crl_head(authority, &scope).await?.is_some_and(|head| head.this_update > now) {
            // It was made under a clock that was ahead: what had expired by that one has not.
            let relisted = self.store.relist(authority, &scope, now).await?;
            tracing::warn!(%authority, %scope, relisted, "the current CRL is from a clock that was ahead; another takes its place");
        }
        let number = self.crl_number(authority, scope, now).await?;
        let mut entries = Vec::new();
        loop {
            let after = entries.last().map(|e: &crate::model::RevokedEntry| e.serial);
            let page = self.store.revoked_entries(authority, &scope, after.as_ref(), PAGE).await?;
            if page.is_empty() {
                break;
            }
            entries.extend(page);
        }
        let this_update = now.minus(self.settings.skew);
        let mut off = 0usize;
        let entries: Vec<_> = entries
            .into_iter()
            .map(|entry| {
                let (entry, gave_way) = entry.listed(this_update, now, AnchorState::CLOCK_TOLERANCE);
                off += usize::from(gave_way);
                entry
            })
            .collect();
        self.tell_impossible_times(authority, off).await;
        let certificate = signer.issuer.certificate();
        let header = CrlHeader {
            issuer_der: certificate.subject_der().to_vec(),
            issuer_key_id: certificate.key_identifier().unwrap_or_default().to_vec(),
            algorithm: signer.issuer.signature_algorithm(),
            number,
            this_update,
            next_update: now.plus(Duration::from_secs(rules.crl_validity)),
            partition_url: None,
        };
        let revoked = entries.len();
        let attempt = self.job_attempt(job, signer, now);
        let prepared =
            prepare_crl(&header, entries.iter().cloned(), scope, ledger_number, &signer.issuer, attempt).map_err(Failure::later)?;
        let der = self.issue(prepared).await?;
        self.put_out(certificate, authority, scope, number, &der).await?;
        tracing::info!(%authority, %scope, number, revoked, "CRL released");
        Ok(crl_due(now, header.next_update, Duration::from_secs(rules.crl_interval)))
    }

    /// Raises the alarm about revoked certificates whose time cannot be; once for as many of them.
    async fn tell_impossible_times(&self, authority: &AuthorityName, count: usize) {
        let told = {
            let mut told = self.impossible_times.lock().unwrap_or_else(PoisonError::into_inner);
            if count == 0 { told.remove(authority).unwrap_or(0) } else { told.insert(authority.clone(), count).unwrap_or(0) }
        };
        if count > 0 && count != told {
            let reason = format!(
                "{count} revoked certificates are on record with a time before 1970 or in the future; the CRL lists them with one that can be \
                 (hint: the clock was ahead, or someone edited the database)"
            );
            self.alarm(Some(authority), "crl", &self.correlation(), &reason).await;
        }
    }

    /// The next number, above the anchor's last, and the anchor knows it before the key signs (invariant 7).
    async fn crl_number(&self, authority: &AuthorityName, scope: CrlScope, now: Timestamp) -> Result<u64, Failure> {
        let last = self.anchor.state().crl_number(authority, scope);
        let mut number = self.store.allocate_crl_number(authority, &scope, now).await?;
        if number <= last {
            // A restore that the officers accepted, and a clock behind: numbers are seconds × 65,536.
            let above = i64::try_from(last >> 16).map_err(Failure::later)?.saturating_add(1);
            number = self.store.allocate_crl_number(authority, &scope, Timestamp::from_unix(above)).await?;
        }
        self.anchor.take(&[AnchorStep::Crl { authority: authority.clone(), scope, number }], now)?;
        Ok(number)
    }

    /// Publishes, then looks with the world's eyes.
    async fn put_out(
        &self,
        issuer: &Certificate,
        authority: &AuthorityName,
        scope: CrlScope,
        number: u64,
        der: &[u8],
    ) -> Result<(), Failure> {
        let Some(publisher) = &self.publisher else { return Ok(()) };
        publisher.publish_crl(authority, &scope, number, der).await.map_err(Failure::later)?;
        let seen = publisher.current_crl(authority, &scope).await.map_err(Failure::later)?;
        let seen = seen.ok_or_else(|| Failure::later("the publisher has no current CRL after one was published"))?;
        let crl = Crl::from_der(&seen).map_err(Failure::later)?;
        crl.is_signed_by(issuer).map_err(Failure::later)?;
        if crl.number() < number {
            return Err(Failure::later(format!("the published CRL has number {}, after {number} was published", crl.number())));
        }
        Ok(())
    }

    async fn prune(&self) -> Result<Timestamp, Failure> {
        let (rows, rounds) = PRUNE;
        let now = self.clock.now();
        for _ in 0..rounds {
            if self.store.prune(now, rows).await? < u64::from(rows) {
                break;
            }
        }
        Ok(now.plus(plan::PRUNE_INTERVAL))
    }

    fn job_attempt(&self, job: &LeasedJob, signer: &Signer, now: Timestamp) -> Attempt {
        Attempt {
            id: AttemptId::new(now, &*self.rng),
            authority: signer.authority.clone(),
            key: signer.key.clone(),
            origin: Origin::Job { job: job.id.clone(), lease: job.lease.clone() },
            actor: Actor::system("scheduler"),
            at: now,
        }
    }
}

/// Tells what no row could be told.
pub(super) fn report(job: &LeasedJob, ended: Result<(), StoreError>) {
    match ended {
        Ok(()) => {}
        Err(StoreError::Fenced) => tracing::warn!(job = %job.id, "the job's lease passed to another"),
        Err(error) => tracing::error!(job = %job.id, %error, "the job comes back when its lease ends"),
    }
}

fn signer_of<'a>(signers: &'a Signers, authority: &AuthorityName) -> Result<&'a Signer, Failure> {
    let missing = || Failure::later(format!("authority `{authority}` has no online key here that the policy names"));
    signers.get(authority).map(|s| &**s).ok_or_else(missing)
}

fn sorted(names: &[crate::pki::Identifier]) -> Vec<crate::pki::Identifier> {
    let mut names = names.to_vec();
    names.sort_unstable();
    names.dedup();
    names
}

/// At most 64 characters (ub-common-name), whatever the authority is called.
fn responder_name(authority: &AuthorityName) -> String {
    format!("OCSP responder of {authority}").chars().take(64).collect()
}
