//! A proven order into a certificate.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use super::requests::Batch;
use super::signer::{Failure, Signer};
use super::star::first_of;
use super::validity::{Bounds, validity};
use super::{SEED_LIMIT, Worker};
use crate::anchor::{AnchorState, AnchorStep};
use crate::evidence::chain::{AuthorizedIssuance, Refusal};
use crate::evidence::proofs::Proof;
use crate::issuance::{Attempt, IssuanceError, prepare_leaf};
use crate::model::{Actor, AttemptId, AuthorityName, CertificateFilter, OrderId, Origin, Outcome, ProblemType, SigningRequest, StatusUrls};
use crate::pki::{SerialNumber, Timestamp};
use crate::policy::{AuthorityPolicy, ProfilePolicy};
use crate::ports::StoreResult;
use crate::profile::{LeafRequest, ProfileError, Revocation};

/// The CRL partition of new certificates; an authority has one until partitions come.
pub(super) const PARTITION: u32 = 0;

impl Worker {
    pub(super) async fn issue_order(&self, batch: &Batch, request: &SigningRequest, proven: AuthorizedIssuance) -> Result<(), Failure> {
        // One finalize, one certificate (a STAR order's: those of its schedule): rows that were set back don't bring a second.
        if self.last_released(&proven.order).is_some() {
            let reason = "a request came back for an order whose certificate this worker has released: the database was changed behind it";
            self.alarm(Some(&proven.authority), proven.order.as_str(), request.id.as_str(), reason).await;
            return Err(Refusal::new(ProblemType::Unauthorized, "this order has its certificate already").into());
        }
        let origin = Origin::Order {
            order: proven.order.clone(),
            request: request.id.clone(),
            lease: request.lease.clone(),
            account: proven.account.clone(),
            grant: proven.grant.clone(),
            cap: proven.limits.max_certificates,
        };
        let (not_before, not_after, terms) = (proven.not_before, proven.not_after, proven.auto_renewal.clone());
        let times = |bounds: Bounds| match &terms {
            None => validity(bounds, not_before, not_after),
            Some(terms) => first_of(terms, &bounds),
        };
        self.certify(batch, proven, origin, request.id.as_str(), times).await.map(drop)
    }

    /// The end of the last certificate of an order that this worker knows of.
    pub(super) fn last_released(&self, order: &OrderId) -> Option<Timestamp> {
        self.released.lock().unwrap_or_else(PoisonError::into_inner).get(order).copied()
    }

    /// Issues what was proven, inside the policy as it is now; gives notAfter.
    pub(super) async fn certify(
        &self,
        batch: &Batch,
        proven: AuthorizedIssuance,
        origin: Origin,
        correlation: &str,
        times: impl FnOnce(Bounds) -> Result<(Timestamp, Timestamp), Refusal> + Send,
    ) -> Result<Timestamp, Failure> {
        self.not_revoked(&proven.authority).await?;
        let (signer, rules, profile) = self.terms(batch, &proven)?;
        self.key_is_free(batch, &proven.public_key)?;
        if let Some(cap) = proven.limits.max_certificates {
            self.has_volume(&proven.grant, cap).await?;
        }
        self.take_rate(batch, &proven.authority, rules)?;

        self.record_proofs(correlation, &proven).await?;

        let now = self.clock.now();
        let (shortest, lifetime, longest) = proven.limits.lifetimes(profile.lifetimes());
        let issuer_end = signer.issuer.certificate().not_after();
        let (not_before, not_after) = times(Bounds { now, skew: self.settings.skew, shortest, lifetime, longest, issuer_end })?;
        let urls = StatusUrls::below(&self.settings.status_base_url, &proven.authority, PARTITION);
        let leaf = LeafRequest {
            serial: SerialNumber::random(&*self.rng),
            not_before,
            not_after,
            public_key: proven.public_key,
            content: proven.content,
            policies: profile.policies.iter().map(|policy| policy.0).collect(),
            revocation: if profile.no_rev_avail { Revocation::NotAvailable { issuer: urls.issuer } } else { Revocation::Published(urls) },
        };
        let order = proven.order;
        let attempt = Attempt {
            id: AttemptId::new(now, &*self.rng),
            authority: proven.authority,
            key: signer.key.clone(),
            origin,
            actor: Actor::Account { id: proven.account },
            at: now,
        };
        let prepared = prepare_leaf(&leaf, &signer.issuer, &proven.profile, PARTITION, attempt).map_err(refused)?;
        let der = self.issue(prepared).await?;
        self.released.lock().unwrap_or_else(PoisonError::into_inner).insert(order.clone(), not_after);
        tracing::info!(%order, serial = %leaf.serial, octets = der.len(), "certificate released");
        Ok(not_after)
    }

    /// Puts on record which names rest on the front end's word, and on what it saw, before they are certified.
    async fn record_proofs(&self, correlation: &str, proven: &AuthorizedIssuance) -> Result<(), Failure> {
        let challenged = proven.proofs.values().filter_map(|proof| match proof {
            Proof::Granted => None,
            Proof::Challenged(record) => Some(record.for_audit()),
        });
        let challenged: Vec<_> = challenged.collect();
        if challenged.is_empty() {
            return Ok(());
        }
        let mut audit = self.audit("order.believe", Some(&proven.authority), proven.order.as_str(), Outcome::Done, correlation);
        audit.detail = serde_json::json!({ "validations": challenged });
        self.store.append_audit(&audit).await?;
        Ok(())
    }

    fn terms<'a>(
        &self,
        batch: &'a Batch,
        proven: &AuthorizedIssuance,
    ) -> Result<(&'a Signer, &'a AuthorityPolicy, &'a ProfilePolicy), Failure> {
        let rules = batch.policy.authority(&proven.authority);
        let profile = rules.and_then(|r| r.profiles.get(&proven.profile));
        let (Some(rules), Some(profile)) = (rules, profile) else {
            return Err(Refusal::new(ProblemType::InvalidProfile, "the policy does not offer this profile").into());
        };
        let signer = batch.signers.get(&proven.authority);
        let signer = signer.ok_or_else(|| {
            Failure::later(format!(
                "no usable key for authority `{}` (hint: `ca status` shows what the worker may sign for)",
                proven.authority
            ))
        })?;
        Ok((signer, rules, profile))
    }

    /// Counts the certificate in the anchor, before the key signs: that is also where a stop is noticed.
    fn take_rate(&self, batch: &Batch, authority: &AuthorityName, rules: &AuthorityPolicy) -> Result<(), Failure> {
        let now = self.clock.now();
        if !self.counts(authority) {
            // The batch read it, unless something is wrong: then nothing is issued that is not counted.
            let uncounted = || Failure::later(format!("what authority `{authority}` has issued is not counted yet"));
            let issued = batch.issued.get(authority).ok_or_else(uncounted)?;
            // A new anchor has not counted what the record shows; the greater count holds.
            let mut minutes = BTreeMap::<i64, u32>::new();
            for at in issued {
                *minutes.entry(at.unix().div_euclid(60)).or_default() += 1;
            }
            let minutes = minutes.into_iter().rev().take(AnchorState::MAX_MINUTES).collect();
            self.anchor.take(&[AnchorStep::Issued { authority: authority.clone(), minutes }], now)?;
            self.counted.lock().unwrap_or_else(PoisonError::into_inner).insert(authority.clone());
        }
        self.anchor.take(&[AnchorStep::Issue { authority: authority.clone(), cap: rules.max_per_hour }], now)?;
        Ok(())
    }

    /// Whether this worker has counted an authority's certificates since its start.
    pub(super) fn counts(&self, authority: &AuthorityName) -> bool {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner).contains(authority)
    }

    /// When an authority's certificates of the last hour were issued, [`SEED_LIMIT`] of them at most.
    pub(super) async fn issued_within_the_hour(&self, authority: &AuthorityName) -> StoreResult<Vec<Timestamp>> {
        const PAGE: u32 = 500;
        let since = self.clock.now().minus(Duration::from_secs(3600));
        let filter = CertificateFilter { authority: Some(authority.clone()), ..CertificateFilter::default() };
        let mut issued = Vec::new();
        let mut after = None;
        for _ in 0..SEED_LIMIT / PAGE {
            let page = self.store.certificates(&filter, after.as_ref(), PAGE).await?;
            let old = page.last().is_none_or(|record| record.created_at <= since);
            issued.extend(page.iter().filter(|r| r.order.is_some() && r.created_at > since).map(|r| r.created_at));
            match page.last() {
                Some(record) if !old => after = Some(record.serial),
                _ => break,
            }
        }
        Ok(issued)
    }
}

/// What cannot be prepared will not get better; the lint's findings are for the operator.
fn refused(error: IssuanceError) -> Failure {
    let mut refusal = match &error {
        IssuanceError::Profile(ProfileError::Key(_) | ProfileError::IssuerKey | ProfileError::KeyUsage(_)) => {
            Refusal::new(ProblemType::BadCsr, error.to_string())
        }
        IssuanceError::Profile(ProfileError::Names(_)) => Refusal::new(ProblemType::RejectedIdentifier, error.to_string()),
        _ => Refusal::new(ProblemType::ServerInternal, "the CA could not make this certificate"),
    };
    refusal.cause = error.to_string();
    Failure::Refused(refusal)
}
