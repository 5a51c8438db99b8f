//! The next certificate of orders that renew themselves (RFC 8739), each time from its evidence.
//!
//! A job says only that an order may be due. What is issued follows from the signed newOrder and finalize requests, the
//! grant and the policy as they are now, and from the certificate that stands, which this authority signed. Whatever
//! refuses for good cancels the order; what may pass comes back before the standing certificate ends. Under a grant that has
//! expired, is suspended or has lost its signer it rests, until operators let the grant go on or the order's own end comes.
//! One that is marked for replacement has its successor at once.

use std::sync::Arc;
use std::time::Duration;

use super::jobs::report;
use super::join::{Boxed, join_all};
use super::requests::{Batch, Proven};
use super::signer::{Failure, Signers};
use super::validity::Bounds;
use super::{HaltPoint, Worker, WorkerError};
use crate::evidence::chain::Refusal;
use crate::model::{
    AuditEntry, AutoRenewal, Fault, JobKind, LeasedJob, OrderId, OrderStatus, Origin, Outcome, ProblemType, RevocationReason,
};
use crate::pki::{Certificate, Timestamp};
use crate::plan::star;
use crate::policy::Policy;
use crate::ports::StoreError;

/// How long an order rests before it is looked at again, where nobody extends or resumes its grant: who does has it looked at
/// at once.
const REST: Duration = Duration::from_secs(6 * 3600);

/// A renewal whose evidence holds.
struct Renewal<'a> {
    job: &'a LeasedJob,
    proven: Proven,
    terms: AutoRenewal,
    /// When the certificate that stands begins and ends.
    standing: star::Times,
    /// Whether it is marked for replacement: then another takes its place now.
    marked: bool,
}

/// What there is to do for an order.
enum Step<'a> {
    Renew(Box<Renewal<'a>>),
    /// It has its last certificate, or was canceled.
    Ended,
}

impl Worker {
    /// Renews the orders among the jobs, together so that they share the store's commits.
    pub(super) async fn renew_orders(&self, jobs: &[LeasedJob], policy: &Arc<Policy>) -> Result<(), WorkerError> {
        let mut renewals = Vec::new();
        let signers = self.signers(policy).await?;
        for job in jobs {
            let JobKind::RenewOrder { order, .. } = &job.kind else { continue };
            self.probe.at(HaltPoint::AfterLease);
            match self.next_step(job, order, policy, &signers).await {
                Ok(Step::Renew(renewal)) => renewals.push(*renewal),
                Ok(Step::Ended) => report(job, self.store.end_job(&job.id, &job.lease).await),
                Err(failure) => self.give_back(job, order, failure).await,
            }
        }
        if renewals.is_empty() {
            return Ok(());
        }
        let batch = self.load(Arc::clone(policy), renewals.iter().map(|r| &r.proven)).await?;
        join_all(renewals.into_iter().map(|r| -> Boxed<'_, ()> { Box::pin(self.renew(&batch, r)) }).collect()).await;
        Ok(())
    }

    /// From the record to what it proves.
    async fn next_step<'a>(&self, job: &'a LeasedJob, id: &OrderId, policy: &Policy, signers: &Signers) -> Result<Step<'a>, Failure> {
        let Some(found) = self.store.renewing_order(id).await? else { return Ok(Step::Ended) };
        let (order, record) = (&found.order, &found.standing);
        let now = self.clock.now();
        if order.status != OrderStatus::Valid || order.expires <= now {
            return Ok(Step::Ended);
        }
        let signer = signers.get(&order.authority);
        let signer = signer.ok_or_else(|| Failure::later(format!("no usable key for authority `{}`", order.authority)))?;
        // What stands must be this authority's own work, whatever the row says.
        let unusable = |why: String| unauthorized(&format!("the order's last certificate is not one of `{}`: {why}", order.authority));
        let standing = Certificate::from_der(&record.der).map_err(|e| unusable(e.to_string()))?;
        standing.is_signed_by(signer.issuer.certificate()).map_err(|e| unusable(e.to_string()))?;
        let proven = self.verifier.verify_renewal(&found.evidence, &order.profile, &standing, policy, &*self.secrets, now);
        let (proven, terms) = proven.map_err(|refusal| self.or_rests(refusal, &found.evidence, policy))?;
        if proven.order != *id || proven.account != order.account || proven.authority != order.authority {
            return Err(unauthorized("the order is not the one that its evidence proves").into());
        }
        match record.revoked {
            None => {}
            Some((_, RevocationReason::CertificateHold)) => return Err(Failure::later("the order's certificate is on hold")),
            Some(_) => return Err(unauthorized("the order's certificate was revoked").into()),
        }
        if self.last_released(id).is_some_and(|last| last > standing.not_after()) {
            let reason = "a later certificate of this order was released than the record has: the database was changed behind it";
            self.alarm(Some(&order.authority), id.as_str(), job.lease.as_str(), reason).await;
            return Err(unauthorized("the order's record is not whole").into());
        }
        // Whoever edits the mark's row has the order renewed early, and no more.
        let marked = record.marked.is_some();
        if standing.not_after() >= terms.end_date && !marked {
            return Ok(Step::Ended);
        }
        let standing = (standing.not_before(), standing.not_after());
        Ok(Step::Renew(Box::new(Renewal { job, proven: Proven::Issuance(Box::new(proven)), terms, standing, marked })))
    }

    async fn renew(&self, batch: &Batch, renewal: Renewal<'_>) {
        let Renewal { job, proven, terms, standing, marked } = renewal;
        let Proven::Issuance(proven) = proven else { return };
        let order = proven.order.clone();
        let origin = Origin::Renewal {
            order: order.clone(),
            job: job.id.clone(),
            lease: job.lease.clone(),
            account: proven.account.clone(),
            grant: proven.grant.clone(),
            cap: proven.limits.max_certificates,
        };
        let issued = match batch.still_valid(&proven) {
            Ok(()) if !marked && star::due(&terms, standing.1).is_some_and(|due| due > self.clock.now()) => Ok(standing.1),
            Ok(()) => {
                let times = |bounds: Bounds| {
                    if marked { instead_of(&terms, standing, &bounds) } else { next_of(&terms, standing.1, &bounds) }
                };
                match self.grant_stands(&proven.grant, &proven.place, job.lease.as_str()).await {
                    Ok(()) => self.certify(batch, *proven, origin, job.lease.as_str(), times).await,
                    Err(failure) => Err(failure),
                }
            }
            Err(refusal) => Err(refusal.into()),
        };
        match issued {
            Ok(end) => {
                let ended = match star::due(&terms, end) {
                    Some(due) => self.store.finish_job(&job.id, &job.lease, self.clock.now(), due).await,
                    None => self.store.end_job(&job.id, &job.lease).await,
                };
                report(job, ended);
            }
            Err(failure) => self.give_back(job, &order, failure).await,
        }
    }

    /// A failure that may pass comes back; a refusal ends the order.
    async fn give_back(&self, job: &LeasedJob, order: &OrderId, failure: Failure) {
        let ended = match failure {
            Failure::Fenced => Err(StoreError::Fenced),
            Failure::Later { cause, wait } => self.fail(job, &cause, wait).await,
            // The grant's cap has room again in a while, and the standing certificate half of its life.
            Failure::Refused(refusal) if refusal.problem.kind == ProblemType::RateLimited => self.fail(job, &refusal.cause, None).await,
            Failure::Refused(refusal) if refusal.fault == Fault::Rest => {
                tracing::error!(%order, cause = refusal.cause, "the order is not renewed for now");
                let audit = self.refusal_of(job, "order.rest", order, &refusal);
                self.store.rest_job(&job.id, &job.lease, &refusal.cause, self.clock.now().plus(REST), &audit).await
            }
            Failure::Refused(refusal) => {
                tracing::warn!(%order, cause = refusal.cause, "the order renews itself no longer");
                let audit = self.refusal_of(job, "order.cancel", order, &refusal);
                self.store.cancel_order(order, Some(&refusal.problem), &audit).await.map(drop)
            }
        };
        report(job, ended);
    }

    fn refusal_of(&self, job: &LeasedJob, action: &str, order: &OrderId, refusal: &Refusal) -> AuditEntry {
        let authority = match &job.kind {
            JobKind::RenewOrder { authority, .. } => Some(authority),
            JobKind::RenewOwn { .. } | JobKind::PublishCrl { .. } | JobKind::Prune => None,
        };
        let outcome = Outcome::Refused { reason: refusal.cause.clone() };
        self.audit(action, authority, order.as_str(), outcome, job.lease.as_str())
    }
}

fn unauthorized(detail: &str) -> Refusal {
    Refusal::new(ProblemType::Unauthorized, detail)
}

/// The first certificate's times, inside the issuer's (lesson 31).
pub(super) fn first_of(terms: &AutoRenewal, bounds: &Bounds) -> Result<(Timestamp, Timestamp), Refusal> {
    let times = star::first(terms, bounds.now);
    clamped(times, bounds).ok_or_else(|| Refusal::new(ProblemType::Malformed, "the certificate would have ended before it begins"))
}

fn next_of(terms: &AutoRenewal, standing: Timestamp, bounds: &Bounds) -> Result<(Timestamp, Timestamp), Refusal> {
    clamped(star::next(terms, standing, bounds.now), bounds)
        .filter(|(_, end)| *end > standing)
        .ok_or_else(|| unauthorized("the authority ends before another certificate of this order would"))
}

fn instead_of(terms: &AutoRenewal, marked: star::Times, bounds: &Bounds) -> Result<star::Times, Refusal> {
    clamped(star::instead(terms, marked, bounds.now), bounds)
        .filter(|(_, end)| *end >= marked.1)
        .ok_or_else(|| unauthorized("the order or the authority ends before another certificate of this order would"))
}

fn clamped(times: Option<(Timestamp, Timestamp)>, bounds: &Bounds) -> Option<(Timestamp, Timestamp)> {
    let (begin, end) = times.map(|(begin, end)| (begin, end.min(bounds.issuer_end)))?;
    (end > begin && end > bounds.now).then_some((begin, end))
}
