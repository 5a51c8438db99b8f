//! The order of start and stop.
//!
//! Start: everything that can be wrong is opened first; addresses are taken; the worker closes what a death left open
//! and issues the CA's own certificates; only then the listeners open. Stop: listeners drain, loops end, the store
//! writes what it was given and frees its file.

use std::sync::Arc;
use std::time::Duration;

use acme_server::{AcmeConfig, AcmeServer, AuthorityOffer, ProfileOffer};
use anyhow::Context as _;
use ca_core::ceremony::{CeremonyKind, Roster};
use ca_core::lifecycle::{Officers, TrustError, Trusted, Worker, WorkerParts, WorkerSettings};
use ca_core::model::{Authority, AuthorityKind, AuthorityName};
use ca_core::policy::{Policy, ProfilePolicy};
use ca_core::ports::{Anchor, CertificateStore as _, Clock as _, ServiceKey};
use ca_store_sqlite::SqliteStore;
use ocsp_responder::{Responder, ResponderConfig, ResponderKeys};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::compose::{ServiceKeys, list_keys, open_key_store, open_service_keys, read_roster};
use super::control::InstanceAnswers;
use super::identity::ServerCertificate;
use super::ports::{Held, hold};
use super::{halt, loops};
use crate::anchor::{self, Verified, round_failed};
use crate::config::Config;
use crate::control::server::ControlSocket;
use crate::exit::{Exit, configuration, failure, store as store_failure};
use crate::render::span;
use crate::system::{SystemClock, SystemRng};

/// How long the worker may take to issue the CA's own certificates at the start.
const FIRST_CERTIFICATES: Duration = Duration::from_secs(20);
const STEP: Duration = Duration::from_millis(50);
/// How often the directories look for a new policy.
const POLICY_POLL: Duration = Duration::from_millis(500);

/// What runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// Everything.
    All,
    /// The worker and the control socket.
    Worker,
}

/// A running instance.
pub(crate) struct Ready {
    store: SqliteStore,
    worker: Arc<Worker>,
    anchor: Arc<dyn Anchor>,
    listeners: JoinSet<anyhow::Result<()>>,
    background: JoinSet<()>,
    stop: watch::Sender<bool>,
}

/// `ca serve` and `ca worker`: runs until a signal.
pub(crate) async fn serve(config: &Config, role: Role) -> anyhow::Result<()> {
    crate::logging::start(&config.log)?;
    let ready = start(config, role).await?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), acme = config.acme.url, status = config.status.url, "ready");
    ready.until(until_signal()).await
}

/// SIGINT or SIGTERM.
pub(crate) async fn until_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = match signal(SignalKind::terminate()) {
        Ok(signal) => signal,
        Err(error) => {
            tracing::warn!(%error, "SIGTERM can't be awaited");
            let _ = tokio::signal::ctrl_c().await;
            return;
        }
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

/// The officers and the policy in the store, verified.
pub(crate) struct TrustedPolicy {
    pub(crate) policy: Policy,
    pub(crate) officers: Officers,
    pub(crate) verified: Verified,
}

/// The policy in the store, verified against the officers who stood then: the trusted roster and what became of it.
pub(crate) async fn trusted_policy(config: &Config, roster: &Roster, store: &SqliteStore) -> anyhow::Result<TrustedPolicy> {
    let trusted = Trusted::read(store, roster.clone()).await.map_err(|error| match error {
        TrustError::NoPolicy => configuration(error.to_string()),
        TrustError::Store(error) => store_failure(error),
        TrustError::Roster(_) | TrustError::Policy { .. } => {
            failure(Exit::Refused, format!("{error}; the officers are those that {} begins with", config.trust.roster.display()))
        }
    })?;
    let verified = Verified::of(&trusted);
    let Trusted { policy, officers, .. } = trusted;
    Ok(TrustedPolicy { policy, officers, verified })
}

/// Starts an instance; when this returns, it serves.
pub(crate) async fn start(config: &Config, role: Role) -> anyhow::Result<Ready> {
    let service_keys = open_service_keys(config)?;
    let keys = open_key_store(config)?;
    let present = list_keys(config, &*keys).await?;
    let probe = halt::probe()?;
    let (acme_held, status_held) = match role {
        Role::All => (hold(&config.acme.listen, "acme.listen")?, hold(&config.status.listen, "status.listen")?),
        Role::Worker => (Vec::new(), Vec::new()),
    };
    let store = SqliteStore::open(&config.store.path, Arc::new(SystemRng)).await.map_err(store_failure)?;
    let roster = read_roster(config)?;
    let rehearsal = roster.kind == CeremonyKind::Rehearsal;
    let TrustedPolicy { policy, officers, verified } = trusted_policy(config, &roster, &store).await?;
    let anchor = anchor::open(config, &roster, &verified, &store, SystemClock.now()).await?;
    let authorities = store.authorities().await.map_err(store_failure)?;
    for authority in &authorities {
        if let Some(label) = authority.key.as_ref().filter(|label| !present.iter().any(|k| k.label == **label)) {
            return Err(configuration(format!(
                "the key store {} has no key `{label}` of authority `{}` (hint: [keystore] must name the online key store of its ceremony)",
                config.keystore, authority.name
            )));
        }
    }
    let socket = ControlSocket::bind(&config.control.socket).await?;

    let started_at = SystemClock.now();
    let own_keys = service_keys.public_keys();
    let ServiceKeys { master, server, ocsp } = service_keys;
    let worker = Arc::new(Worker::new(WorkerParts {
        store: Arc::new(store.clone()),
        anchor: Arc::clone(&anchor),
        keys: Arc::clone(&keys),
        publisher: None,
        clock: Arc::new(SystemClock),
        rng: Arc::new(SystemRng),
        secrets: Arc::new(master),
        policy,
        officers,
        own_keys,
        settings: WorkerSettings::new(config.status.url.trim_end_matches('/')),
        probe,
    }));
    if let Err(error) = worker.check_record().await {
        // What the check put on record is written before the process goes.
        store.close().await;
        return Err(round_failed(error));
    }
    let closed = worker.reconcile().await.context("the start's reconciliation")?;
    if closed > 0 {
        tracing::warn!(closed, "intents that an earlier process left open were abandoned and their serials revoked");
    }

    let (stop, stopped) = watch::channel(false);
    let mut ready = Ready {
        store: store.clone(),
        worker: Arc::clone(&worker),
        anchor: Arc::clone(&anchor),
        listeners: JoinSet::new(),
        background: JoinSet::new(),
        stop,
    };
    let responder = if role == Role::All {
        let default = authorities.iter().find(|a| a.is_default).map(|a| a.name.clone());
        let default =
            default.ok_or_else(|| configuration("no authority is the default one (hint: import a bundle with an issuing authority)"))?;
        let responder = Arc::new(responder(config, &store, ocsp));
        let mut certificate = ServerCertificate::new(server, default.clone(), store.clone());
        first_certificates(&worker, &mut certificate, &responder).await?;
        let server = serve_acme(config, &store, &worker.policy(), &authorities, default, &certificate, acme_held, &stopped, &mut ready)?;
        ready.background.spawn(follow_policy(Arc::clone(&worker), server, config.acme.hide_profiles.clone(), authorities.clone()));
        serve_status(config, &responder, status_held, &stopped, &mut ready)?;
        ready.background.spawn(certificate.follow());
        Some(responder)
    } else {
        None
    };
    loops::spawn(&worker, &store, &mut ready.background);
    let (said, keys_said) = watch::channel(None);
    ready.background.spawn(loops::watch_keys(keys, said));
    ready.background.spawn(loops::follow(Arc::clone(&worker), anchor, keys_said.clone(), responder.clone()));
    let answers = InstanceAnswers { store, worker, keys_said, responder, started_at, rehearsal };
    let stopping = wait(stopped);
    ready.listeners.spawn(async move {
        socket.serve(Arc::new(answers), stopping).await;
        Ok(())
    });
    Ok(ready)
}

/// Runs what is due until the server and the responder have their certificates.
async fn first_certificates(worker: &Worker, certificate: &mut ServerCertificate, responder: &Responder) -> anyhow::Result<()> {
    let issue = async {
        loop {
            worker.tick_jobs().await?;
            responder.refresh().await?;
            if certificate.refresh().await? && responder.not_ready().is_empty() {
                return anyhow::Ok(());
            }
            tokio::time::sleep(STEP).await;
        }
    };
    match tokio::time::timeout(FIRST_CERTIFICATES, issue).await {
        Ok(result) => result.context("issuing this CA's own certificates"),
        Err(_) => {
            let reasons = responder.not_ready().join("; ");
            Err(failure(
                Exit::Failed,
                format!(
                    "this CA's own certificates were not issued within {}: {} (hint: the log says what failed; the policy's [[authority.own]] entries must name the keys under [service_keys])",
                    span(FIRST_CERTIFICATES),
                    if reasons.is_empty() { "the ACME server has none" } else { &reasons }
                ),
            ))
        }
    }
}

fn responder(config: &Config, store: &SqliteStore, keys: Vec<(AuthorityName, Arc<ca_keystore::SoftwareServiceKey>)>) -> Responder {
    let keys: ResponderKeys = keys.into_iter().map(|(name, key)| (name, key as Arc<dyn ServiceKey>)).collect();
    let settings = ResponderConfig {
        validity: Duration::from_secs(config.limits.ocsp_validity_seconds),
        cache_bytes: config.limits.ocsp_cache_mib * 1024 * 1024,
        never_issued: config.status.never_issued.parse().unwrap_or_default(),
        ..ResponderConfig::default()
    };
    Responder::new(settings, Arc::new(store.clone()), Arc::new(SystemClock), Arc::new(SystemRng), keys)
}

/// The profiles that orders may ask for at an authority: the policy's, but for those that the site hides.
fn offer(hidden: &[String], policy: &Policy, authorities: &[Authority]) -> Vec<AuthorityOffer> {
    let issuing = authorities.iter().filter(|a| a.kind == AuthorityKind::Issuing);
    issuing
        .filter_map(|authority| {
            let rules = policy.authority(&authority.name)?;
            let shown = rules.profiles.iter().filter(|(name, _)| !hidden.contains(name));
            let profiles = shown.map(|(name, p)| ProfileOffer { name: name.clone(), description: describe(p) }).collect();
            Some(AuthorityOffer { name: authority.name.clone(), profiles })
        })
        .collect()
}

fn describe(profile: &ProfilePolicy) -> String {
    format!("{} certificates that live {}", profile.shape, span(Duration::from_secs(profile.lifetime)))
}

#[expect(clippy::too_many_arguments, reason = "the one place where the ACME server is put together")]
fn serve_acme(
    config: &Config,
    store: &SqliteStore,
    policy: &Policy,
    authorities: &[Authority],
    default: AuthorityName,
    certificate: &ServerCertificate,
    held: Vec<Held>,
    stopped: &watch::Receiver<bool>,
    ready: &mut Ready,
) -> anyhow::Result<Arc<AcmeServer>> {
    let limits = &config.limits;
    let settings = AcmeConfig {
        status_base_url: Some(config.status.url.trim_end_matches('/').to_owned()),
        terms_of_service: config.acme.terms_of_service.clone(),
        website: config.acme.website.clone(),
        order_lifetime: Duration::from_secs(limits.order_seconds),
        worker_wait: Duration::from_secs(limits.worker_wait_seconds),
        backlog_limit: Duration::from_secs(limits.backlog_seconds),
        body_timeout: Duration::from_secs(limits.request_seconds),
        ..AcmeConfig::new(config.acme.url.clone(), default, offer(&config.acme.hide_profiles, policy, authorities))
    };
    let server = AcmeServer::new(settings, Arc::new(store.clone()), Arc::new(SystemClock), Arc::new(SystemRng))
        .map_err(|e| configuration(format!("[acme]: {e}")))?;
    let server = Arc::new(server);
    let router = Arc::clone(&server).router();
    let bounds = acme_server::Limits {
        max_connections: limits.connections,
        header_timeout: Duration::from_secs(limits.request_seconds),
        drain: Duration::from_secs(limits.drain_seconds),
        ..acme_server::Limits::default()
    };
    for held in held {
        let (listener, router, identity) = (held.listen()?, router.clone(), Arc::clone(&certificate.identity));
        let stopping = wait(stopped.clone());
        ready.listeners.spawn(async move { Ok(acme_server::serve_tls(listener, router, identity, bounds, stopping).await?) });
    }
    Ok(server)
}

/// Tells clients what a policy offers that officers put in force while serving.
async fn follow_policy(worker: Arc<Worker>, server: Arc<AcmeServer>, hidden: Vec<String>, authorities: Vec<Authority>) {
    let mut told = worker.policy().version;
    loop {
        tokio::time::sleep(POLICY_POLL).await;
        let policy = worker.policy();
        if policy.version != told {
            told = policy.version;
            match server.offer(offer(&hidden, &policy, &authorities)) {
                Ok(()) => tracing::info!(version = told, "the directories offer what the new policy has"),
                Err(error) => tracing::error!(%error, version = told, "the directories stay as they were; the worker follows the policy"),
            }
        }
    }
}

fn serve_status(
    config: &Config,
    responder: &Arc<Responder>,
    held: Vec<Held>,
    stopped: &watch::Receiver<bool>,
    ready: &mut Ready,
) -> anyhow::Result<()> {
    let router = Arc::clone(responder).router();
    let bounds = ocsp_responder::Limits {
        connections: config.limits.connections as usize,
        header_timeout: Duration::from_secs(config.limits.request_seconds),
        drain: Duration::from_secs(config.limits.drain_seconds),
        ..ocsp_responder::Limits::default()
    };
    for held in held {
        let (listener, router, stopping) = (held.listen()?, router.clone(), wait(stopped.clone()));
        ready.listeners.spawn(async move {
            ocsp_responder::serve_with_limits(listener, router, bounds, stopping).await;
            Ok(())
        });
    }
    ready.background.spawn(Arc::clone(responder).follow_ledger(std::future::pending()));
    Ok(())
}

async fn wait(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a stop as well.
    let _ = stopped.wait_for(|stop| *stop).await;
}

impl Ready {
    /// Serves until `stop` is done, then stops cleanly.
    pub(crate) async fn until(mut self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let mut result = Ok(());
        tokio::select! {
            () = stop => tracing::info!("stopping: open requests may finish"),
            ended = self.listeners.join_next() => result = unexpected_end(ended, "a listener"),
            ended = self.background.join_next() => result = unexpected_end(ended.map(|e| e.map(Ok)), "a loop"),
        }
        // Receivers may all be gone already.
        let _ = self.stop.send(true);
        while let Some(ended) = self.listeners.join_next().await {
            if let Ok(Err(error)) = ended {
                tracing::warn!(%error, "a listener ended in an error");
            }
        }
        self.background.shutdown().await;
        let followed = self.worker.follow_record().await.map_err(|e| e.to_string());
        if let Err(error) = followed.and_then(|()| self.anchor.flush().map_err(|e| e.to_string())) {
            tracing::error!(error, "the anchor does not have the record's last rows");
        }
        self.store.close().await;
        if result.is_ok() {
            tracing::info!("stopped");
        }
        result
    }
}

fn unexpected_end(ended: Option<Result<anyhow::Result<()>, tokio::task::JoinError>>, what: &str) -> anyhow::Result<()> {
    match ended {
        Some(Ok(Err(error))) => Err(error.context(format!("{what} ended"))),
        Some(Err(error)) => Err(failure(Exit::Failed, format!("{what} ended: {error} (hint: this is a defect; the log says more)"))),
        Some(Ok(Ok(()))) | None => {
            Err(failure(Exit::Failed, format!("{what} ended by itself (hint: this is a defect; the log says more)")))
        }
    }
}
