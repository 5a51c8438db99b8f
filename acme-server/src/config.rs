//! What the site says about its ACME service.

use std::time::Duration;

use ca_core::limits::PauseRule;
use ca_core::model::AuthorityName;
use ca_core::policy::{AuthorityPolicy, StarBounds};

use crate::limits::Rates;
use crate::validation::ValidationConfig;

/// A profile on offer, as directories show it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProfileOffer {
    /// Its name.
    pub name: String,
    /// What a person reads about it.
    pub description: String,
    /// The bounds of orders that renew themselves; none: there are none.
    pub star: Option<StarBounds>,
}

/// An authority on offer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthorityOffer {
    /// Its profiles that orders may ask for.
    pub profiles: Vec<ProfileOffer>,
    /// What the officers let it issue, its zones and whether enrolment is open: for an early word to clients.
    pub rules: AuthorityPolicy,
}

impl AuthorityOffer {
    /// Its name.
    pub const fn name(&self) -> &AuthorityName {
        &self.rules.name
    }
}

/// The configuration of an [`crate::AcmeServer`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AcmeConfig {
    /// The URL under which clients reach this server, `https://ca.bank.test:14000`, without a path.
    pub public_base_url: String,
    /// The authorities on offer at first; [`crate::AcmeServer::offer`] changes them.
    pub authorities: Vec<AuthorityOffer>,
    /// Which of them `/acme/directory` shows.
    pub default_authority: AuthorityName,
    /// The URL of the terms of service; with one, new accounts must agree.
    pub terms_of_service: Option<String>,
    /// The URL of the CA's web site.
    pub website: Option<String>,
    /// The URL of a page that says why a certificate should be replaced early (RFC 9773 §4.2).
    pub explanation_url: Option<String>,
    /// How long an order may wait to be finalized.
    pub order_lifetime: Duration,
    /// How long newAccount and finalize wait for the worker before they tell the client to come back.
    pub worker_wait: Duration,
    /// From which wait of the oldest request on new orders are turned away.
    pub backlog_limit: Duration,
    /// How long a request's body may take to arrive.
    pub body_timeout: Duration,
    /// How many octets the bodies of requests may take at a time, beyond the first 4 KiB of each.
    pub body_budget: usize,
    /// How challenges are validated.
    pub validation: ValidationConfig,
    /// Rate limits.
    pub rates: Rates,
    /// When an account that only fails is paused; none: never.
    pub pause: Option<PauseRule>,
}

/// Why a configuration makes no service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The public base URL is not of the form that URLs are built from.
    #[error("the public base URL `{0}` must be http(s)://HOST[:PORT] without a path (hint: https://ca.example.test:14000)")]
    BaseUrl(String),
    /// The default authority is not among those on offer.
    #[error("the default authority `{0}` is not among the authorities on offer")]
    DefaultAuthority(AuthorityName),
    /// A limit is not one.
    #[error("{0}")]
    Limits(String),
    /// Challenges could not be validated.
    #[error("validation cannot be set up: {0}")]
    Validation(String),
}

impl AcmeConfig {
    /// A configuration with the usual times.
    pub fn new(public_base_url: impl Into<String>, default_authority: AuthorityName, authorities: Vec<AuthorityOffer>) -> Self {
        Self {
            public_base_url: public_base_url.into(),
            authorities,
            default_authority,
            terms_of_service: None,
            website: None,
            explanation_url: None,
            order_lifetime: Duration::from_secs(86_400),
            worker_wait: Duration::from_secs(10),
            backlog_limit: Duration::from_secs(20),
            body_timeout: Duration::from_secs(10),
            body_budget: 64 * 1024 * 1024,
            validation: ValidationConfig::default(),
            rates: Rates::default(),
            pause: None,
        }
    }

    pub(crate) fn check(mut self) -> Result<Self, ConfigError> {
        let base = self.public_base_url.trim_end_matches('/');
        let host = base.strip_prefix("https://").or_else(|| base.strip_prefix("http://"));
        if !host.is_some_and(|h| !h.is_empty() && h.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b'?' | b'#' | b'@' | b'"')))
        {
            return Err(ConfigError::BaseUrl(self.public_base_url));
        }
        self.public_base_url.truncate(base.len());
        self.has_default(&self.authorities)?;
        Ok(self)
    }

    /// Whether the default authority is among those on offer.
    pub(crate) fn has_default(&self, authorities: &[AuthorityOffer]) -> Result<(), ConfigError> {
        if authorities.iter().any(|a| *a.name() == self.default_authority) {
            Ok(())
        } else {
            Err(ConfigError::DefaultAuthority(self.default_authority.clone()))
        }
    }
}
