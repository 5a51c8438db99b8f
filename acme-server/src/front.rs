//! The server's state, and what all resources need of it.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use ca_core::evidence::verified::VerifiedSignatures;
use ca_core::model::{
    AccountId, Actor, AuditEntry, AuthorityName, Authorization, AuthorizationId, ChallengeMethod, GrantRecord, GrantStatus, Order, OrderId,
    Outcome, ProblemType,
};
use ca_core::pki::{SerialNumber, Timestamp};
use ca_core::ports::{Clock, FrontStore, Rng};
use ca_core::profile::BlockedKeys;
use ca_core::validation::attestation::AttestationCrls;
use ca_service::metrics::Metrics;
use http::HeaderValue;
use serde_json::Value;

use crate::access::METRICS;
use crate::bodies::Budget;
use crate::config::{AcmeConfig, AuthorityOffer, ConfigError};
use crate::directory::Directories;
use crate::issuers::Issuers;
use crate::limits::Limiter;
use crate::nonce::Nonces;
use crate::problem::Refusal;
use crate::replicas::Replicas;
use crate::request::Signed;
use crate::settled::Settled;
use crate::validation::Validators;

/// The ACME service. It holds no authority key and no grant's secret.
pub struct AcmeServer {
    pub(crate) config: AcmeConfig,
    pub(crate) store: Arc<dyn FrontStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) validators: Validators,
    pub(crate) nonces: Nonces,
    pub(crate) replicas: Option<Replicas>,
    pub(crate) issuers: Issuers,
    pub(crate) settled: Settled,
    pub(crate) verified: Arc<VerifiedSignatures>,
    pub(crate) published: Arc<BlockedKeys>,
    pub(crate) limiter: Limiter,
    pub(crate) bodies: Arc<Budget>,
    /// How long the oldest request waited, and when that was asked.
    waited: Mutex<Option<(Timestamp, Duration)>>,
    metrics: Metrics,
    directories: RwLock<Arc<Directories>>,
    pub(crate) index_link: HeaderValue,
}

impl AcmeServer {
    /// A service with a new nonce key.
    ///
    /// # Errors
    /// When the base URL is not one, the default authority is not on offer, or validation cannot be set up.
    pub fn new(config: AcmeConfig, store: Arc<dyn FrontStore>, clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Result<Self, ConfigError> {
        let config = config.check()?;
        let metrics = Metrics::new(&METRICS);
        let index = format!("<{}/acme/directory>;rel=\"index\"", config.public_base_url);
        Ok(Self {
            directories: RwLock::new(Arc::new(Directories::new(&config, config.authorities.clone()))),
            index_link: HeaderValue::try_from(index).expect("the base URL was checked to be printable ASCII"),
            nonces: Nonces::new(0, &*rng),
            replicas: None,
            validators: Validators::new(&config.validation).map_err(ConfigError::Validation)?,
            issuers: Issuers::default(),
            settled: Settled::default(),
            verified: Arc::default(),
            published: Arc::default(),
            limiter: Limiter::new(config.rates.clone(), config.pause, &*rng, &metrics),
            bodies: Budget::new(config.body_budget),
            waited: Mutex::new(None),
            metrics,
            config,
            store,
            clock,
            rng,
        })
    }

    /// The same as replica `number`, with others beside it whose nonces it accepts and which accept its own.
    #[must_use]
    pub fn with_replicas(self, number: u16, replicas: Replicas) -> Self {
        Self { nonces: Nonces::new(number, &*self.rng), replicas: Some(replicas), ..self }
    }

    /// The same, with a memory of verified signatures that others of this process use too.
    #[must_use]
    pub fn sharing(self, verified: Arc<VerifiedSignatures>) -> Self {
        Self { verified, ..self }
    }

    /// The same, with lists of published keys, which no account has, and no certificate.
    #[must_use]
    pub fn refusing(self, published: Arc<BlockedKeys>) -> Self {
        Self { published, ..self }
    }

    /// Holds what devices attest against these CRLs of their makers from now on, as the worker does.
    pub fn set_attestation_crls(&self, crls: Arc<AttestationCrls>) {
        self.validators.set_attestation_crls(crls);
    }

    /// Whether a request's nonce is accepted, which it is once, by whichever replica issued it.
    pub(crate) async fn redeem(&self, nonce: &str) -> bool {
        match (self.nonces.redeem(nonce), &self.replicas) {
            (Ok(accepted), _) => accepted,
            (Err((issuer, octets)), Some(replicas)) => replicas.ask(issuer, &octets, self.rng()).await,
            (Err(_), None) => false,
        }
    }

    /// Offers other authorities and profiles from now on, as a new policy has them. What the worker issues is decided
    /// there; this is what clients are told. Tells whether that is something else than before.
    ///
    /// # Errors
    /// When the default authority is not among them; then the offer stays as it was.
    pub fn offer(&self, authorities: Vec<AuthorityOffer>) -> Result<bool, ConfigError> {
        if self.directories().offers(&authorities) {
            return Ok(false);
        }
        self.config.has_default(&authorities)?;
        *self.directories.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Directories::new(&self.config, authorities));
        Ok(true)
    }

    pub(crate) const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(crate) fn directories(&self) -> Arc<Directories> {
        Arc::clone(&self.directories.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn rng(&self) -> &dyn Rng {
        &*self.rng
    }

    pub(crate) fn url(&self, path: &str) -> String {
        [&self.config.public_base_url, path].concat()
    }
    pub(crate) fn account_url(&self, id: &AccountId) -> String {
        [&self.config.public_base_url, "/acme/acct/", id.as_str()].concat()
    }
    pub(crate) fn order_url(&self, id: &OrderId) -> String {
        [&self.config.public_base_url, "/acme/order/", id.as_str()].concat()
    }
    pub(crate) fn star_url(&self, id: &OrderId) -> String {
        [&self.config.public_base_url, "/acme/star/", id.as_str()].concat()
    }
    pub(crate) fn authorization_url(&self, id: &AuthorizationId) -> String {
        [&self.config.public_base_url, "/acme/authz/", id.as_str()].concat()
    }
    pub(crate) fn challenge_url(&self, id: &AuthorizationId, method: ChallengeMethod) -> String {
        [&self.config.public_base_url, "/acme/chall/", id.as_str(), "/", method.name()].concat()
    }
    pub(crate) fn certificate_url(&self, authority: &AuthorityName, serial: SerialNumber) -> String {
        format!("{}/acme/cert/{authority}/{serial}", self.config.public_base_url)
    }

    /// An audit entry for something that `actor` did now.
    pub(crate) fn audit(&self, actor: Actor, action: &str, object: impl Into<String>, correlation: impl Into<String>) -> AuditEntry {
        AuditEntry {
            at: self.clock.now(),
            actor,
            action: action.to_owned(),
            authority: None,
            object: object.into(),
            outcome: Outcome::Done,
            correlation: correlation.into(),
            detail: Value::Null,
        }
    }

    /// An id for the audit entries of one act.
    pub(crate) fn correlation(&self) -> String {
        let mut bytes = [0u8; 8];
        self.rng.fill(&mut bytes);
        format!("{:016x}", u64::from_be_bytes(bytes))
    }

    /// Refuses new orders while old ones wait: clients give up after about 30 s, so better to be told now. The limit is in
    /// seconds, so the queue is looked at once a second.
    pub(crate) async fn keeps_up(&self) -> Result<(), Refusal> {
        let now = self.clock.now();
        let waited = || self.waited.lock().unwrap_or_else(PoisonError::into_inner);
        let known = waited().filter(|(at, _)| *at == now);
        let wait = match known {
            Some((_, wait)) => wait,
            None => {
                let wait = self.store.oldest_wait(now).await?;
                *waited() = Some((now, wait));
                wait
            }
        };
        if wait > self.config.backlog_limit {
            let detail = "the CA is behind with its work; please try again later";
            return Err(Refusal::new(ProblemType::RateLimited, detail).with_retry_after(30));
        }
        Ok(())
    }

    /// The account's grant, if it may issue now and takes requests from where this one comes.
    pub(crate) async fn live_grant(&self, signed: &Signed) -> Result<GrantRecord, Refusal> {
        let record = self.store.grant(&signed.account.grant).await?;
        match record {
            Some(record) if record.status == GrantStatus::Active => {
                if record.grant.valid_until.is_some_and(|until| until <= self.clock.now()) {
                    return Err(Refusal::unauthorized(
                        "this account's enrolment grant has expired (hint: the CA's operators can extend it)",
                    ));
                }
                record.grant.limits.judge_address(signed.origin).map_err(Refusal::unauthorized)?;
                Ok(record)
            }
            Some(record) if record.status == GrantStatus::Suspended => {
                Err(Refusal::unauthorized("this account's enrolment grant is suspended (hint: the CA's operators can resume it)"))
            }
            Some(_) | None => {
                Err(Refusal::unauthorized("this account's enrolment grant is revoked (hint: ask the CA's operators for another)"))
            }
        }
    }

    /// The order, if it is the account's own. Another's is refused in the same words for each.
    pub(crate) async fn own_order(&self, id: &OrderId, account: &AccountId) -> Result<Order, Refusal> {
        match self.settled.order(&*self.store, id).await? {
            Some(order) if order.account == *account => Ok(order),
            Some(_) => Err(Refusal::unauthorized("this order belongs to another account")),
            None => Err(Refusal::not_found()),
        }
    }

    /// The same as it was a while ago, where that was ready: for who has the store compare its state again.
    pub(crate) async fn young_order(&self, id: &OrderId, account: &AccountId) -> Result<Order, Refusal> {
        match self.settled.young(id).filter(|order| order.account == *account) {
            Some(order) => Ok(order),
            None => self.own_order(id, account).await,
        }
    }

    /// The authorization, if it is the account's own.
    pub(crate) async fn own_authorization(&self, id: &AuthorizationId, account: &AccountId) -> Result<Authorization, Refusal> {
        match self.store.authorization(id).await? {
            Some(authorization) if authorization.account == *account => Ok(authorization),
            Some(_) => Err(Refusal::unauthorized("this authorization belongs to another account")),
            None => Err(Refusal::not_found()),
        }
    }
}
