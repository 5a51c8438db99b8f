//! What the worker will say of an order, said early, so that the order is not spent on it: the grant's limits, the policy's
//! rules for names, the profile's kinds of keys. The worker judges all of it again, and decides.
//!
//! Source networks are the exception ([`ca_core::model::GrantLimits`]): nothing that a client signs tells its address, so
//! the word of this process is all there is.

use std::time::Duration;

use ca_core::evidence::csr_names::check_content;
use ca_core::evidence::new_order::NewOrderRequest;
use ca_core::model::{Grant, Order, Problem, ProblemType};
use ca_core::pki::{Csr, Identifier, Timestamp, key_algorithm};
use ca_core::policy::{SubscriberError, judge_times, leaf_content};
use ca_core::profile::LeafContent;

use crate::front::AcmeServer;
use crate::problem::Refusal;

impl AcmeServer {
    /// Judges an order before it is made.
    pub(crate) async fn judge_order(&self, grant: &Grant, profile: &str, request: &NewOrderRequest, now: Timestamp) -> Result<(), Refusal> {
        grant.limits.judge_end(request.not_before, request.not_after, now).map_err(Refusal::malformed)?;
        self.judge_times(grant, profile, request.not_before, request.not_after, now)?;
        self.judge_names(grant, profile, &request.identifiers)?;
        self.judge_volume(grant, now).await
    }

    /// Judges the request of an order that is finalized, by today's policy, and whether the grant has a certificate left.
    pub(crate) async fn judge_finalize(&self, grant: &Grant, order: &Order, csr: &Csr, now: Timestamp) -> Result<(), Refusal> {
        let bad = |detail: String| Refusal::new(ProblemType::BadCsr, detail);
        let algorithm = key_algorithm(csr.public_key()).map_err(|e| bad(e.to_string()))?;
        let directories = self.directories();
        if directories.offered(&order.authority, &order.profile).is_none() {
            let detail = format!("the profile `{}` is no longer on offer (hint: order again with another)", order.profile);
            return Err(Refusal::new(ProblemType::InvalidProfile, detail));
        }
        let profile = directories.rules(&order.authority).and_then(|rules| rules.profiles.get(&order.profile));
        if profile.is_some_and(|profile| !profile.takes_key(algorithm)) {
            return Err(bad(format!(
                "the profile `{}` certifies no keys of the kind {algorithm} (hint: make another key, the order stays ready)",
                order.profile
            )));
        }
        grant.limits.judge_key(algorithm).map_err(bad)?;
        if order.auto_renewal.is_none() {
            self.judge_times(grant, &order.profile, order.not_before, order.not_after, now)?;
        }
        if let Some(content) = self.judge_names(grant, &order.profile, &order.identifiers)? {
            check_content(csr, &content).map_err(bad)?;
        }
        self.judge_volume(grant, now).await
    }

    /// The profile's bounds for the times that an order asks for.
    fn judge_times(
        &self,
        grant: &Grant,
        profile: &str,
        not_before: Option<Timestamp>,
        not_after: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let directories = self.directories();
        let Some(profile) = directories.rules(&grant.authority).and_then(|rules| rules.profiles.get(profile)) else { return Ok(()) };
        let lifetimes = grant.limits.lifetimes(profile.lifetimes());
        let judged = judge_times(lifetimes, now, not_before, not_after);
        judged.map(drop).map_err(|told| {
            let (shortest, _, longest) = lifetimes;
            let (shortest, longest) = (shortest.as_secs(), longest.as_secs());
            Refusal::malformed(format!("{told} (hint: certificates of this profile live {shortest} to {longest} seconds)"))
        })
    }

    /// The policy's rules for each name.
    pub(crate) fn judge_policy(&self, grant: &Grant, identifiers: &[Identifier]) -> Result<(), Refusal> {
        let directories = self.directories();
        let Some(rules) = directories.rules(&grant.authority) else { return Ok(()) };
        let rejected = |identifier: &Identifier| {
            let refusal = rules.judge(identifier).err()?;
            Some((identifier.clone(), Problem::new(ProblemType::RejectedIdentifier, format!("`{identifier}` {refusal}"))))
        };
        let refused: Vec<_> = identifiers.iter().filter_map(rejected).collect();
        let Some((_, first)) = refused.first() else { return Ok(()) };
        let detail = match refused.len() {
            1 => first.detail.clone(),
            count => format!("{count} of {} identifiers are refused by the policy", identifiers.len()),
        };
        Err(Refusal::new(ProblemType::RejectedIdentifier, detail).with_subproblems(refused))
    }

    /// The same, then what profile and grant make of all of them.
    fn judge_names(&self, grant: &Grant, profile: &str, identifiers: &[Identifier]) -> Result<Option<LeafContent>, Refusal> {
        self.judge_policy(grant, identifiers)?;
        let directories = self.directories();
        let Some(rules) = directories.rules(&grant.authority) else { return Ok(None) };
        let Some(profile) = rules.profiles.get(profile) else { return Ok(None) };
        leaf_content(rules, profile, grant, identifiers).map(Some).map_err(|error| {
            let kind = match error {
                SubscriberError::Identifier(..) => ProblemType::RejectedIdentifier,
                SubscriberError::Grant(_) => ProblemType::Unauthorized,
            };
            Refusal::new(kind, error.to_string())
        })
    }

    async fn judge_volume(&self, grant: &Grant, now: Timestamp) -> Result<(), Refusal> {
        let Some(cap) = grant.limits.max_certificates else { return Ok(()) };
        let used = self.store.grant_use(&grant.id, now.minus(cap.window()), cap.certificates()).await?;
        cap.judge(used, now).map_err(|(told, wait)| {
            let seconds = wait.max(Duration::from_secs(1)).as_secs();
            Refusal::new(ProblemType::RateLimited, told).with_retry_after(u32::try_from(seconds).unwrap_or(u32::MAX))
        })
    }
}
