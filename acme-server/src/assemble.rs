//! Puts a server together from the site's file and what the policy offers.

use std::sync::Arc;
use std::time::Duration;

use ca_core::model::{Authority, AuthorityKind, AuthorityName};
use ca_core::policy::{Policy, ProfilePolicy};
use ca_core::ports::{Clock, FrontStore, Rng};

use crate::config::{AcmeConfig, AuthorityOffer, ConfigError, ProfileOffer};
use crate::front::AcmeServer;
use crate::settings::{AcmeLimits, AcmeSection};
use crate::validation::ValidationSection;

/// What a server is made of, besides its store.
pub struct Assembly<'a> {
    /// The service.
    pub section: &'a AcmeSection,
    /// Its bounds.
    pub limits: &'a AcmeLimits,
    /// How it validates.
    pub validation: &'a ValidationSection,
    /// What is on offer. It is shown, not believed: the worker holds every order against the policy that it verified.
    pub policy: &'a Policy,
    /// The authorities on record.
    pub authorities: &'a [Authority],
    /// Which of them `/acme/directory` shows.
    pub default: AuthorityName,
}

impl Assembly<'_> {
    /// Puts the server together.
    ///
    /// # Errors
    /// When the URL is not one, or the default authority is not on offer.
    pub fn server(self, store: Arc<dyn FrontStore>, clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Result<AcmeServer, ConfigError> {
        let Self { section, limits, validation, policy, authorities, default } = self;
        let offers = offers(policy, authorities, &section.hide_profiles);
        let config = AcmeConfig {
            terms_of_service: section.terms_of_service.clone(),
            website: section.website.clone(),
            explanation_url: section.explanation_url.clone(),
            order_lifetime: Duration::from_secs(limits.order_seconds),
            worker_wait: Duration::from_secs(limits.worker_wait_seconds),
            backlog_limit: Duration::from_secs(limits.backlog_seconds),
            body_timeout: Duration::from_secs(limits.request_seconds),
            validation: validation.into(),
            rates: (&section.limits).into(),
            pause: section.pause.rule().map_err(ConfigError::Limits)?,
            ..AcmeConfig::new(section.url.clone(), default, offers)
        };
        AcmeServer::new(config, store, clock, rng)
    }
}

/// What the policy lets each authority issue, and the profiles that orders may ask for: the policy's, but for those that
/// the site hides.
pub fn offers(policy: &Policy, authorities: &[Authority], hidden: &[String]) -> Vec<AuthorityOffer> {
    let issuing = authorities.iter().filter(|a| a.kind == AuthorityKind::Issuing);
    issuing
        .filter_map(|authority| {
            let rules = policy.authority(&authority.name)?;
            let shown = rules.profiles.iter().filter(|(name, _)| !hidden.contains(name));
            let profiles =
                shown.map(|(name, p)| ProfileOffer { name: name.clone(), description: describe(p), star: p.star_bounds() }).collect();
            Some(AuthorityOffer { profiles, rules: rules.clone() })
        })
        .collect()
}

fn describe(profile: &ProfilePolicy) -> String {
    format!("{} certificates that live {}", profile.shape, ca_service::span(Duration::from_secs(profile.lifetime)))
}
