//! The ACME server and the responder within `ca serve`: the same code that runs as processes of their own elsewhere.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use acme_server::{AcmeServer, Assembly, ServerCertificate, offers};
use anyhow::Context as _;
use ca_core::lifecycle::Worker;
use ca_core::model::{Authority, AuthorityName};
use ca_core::ports::ServiceKey;
use ca_keystore::SoftwareServiceKey;
use ca_service::listen::Held;
use ca_service::proxies::Proxies;
use ca_service::span;
use ca_store_sqlite::SqliteStore;
use ocsp_responder::{Responder, ResponderKeys};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::key_watch::KeyWatch;
use super::run::{Ready, wait};
use crate::config::Config;
use crate::exit::{Exit, configuration, failure};
use crate::system::{SystemClock, SystemRng};

/// How long the worker may take to issue the CA's own certificates at the start.
const FIRST_CERTIFICATES: Duration = Duration::from_secs(20);
const STEP: Duration = Duration::from_millis(50);
/// How often the directories look for a new policy.
const POLICY_POLL: Duration = Duration::from_millis(500);

/// Issues the CA's own certificates, then listens. Where the keys can't be used yet, status is served at once, and ACME
/// as soon as the server has a certificate: from an earlier run, or once the keys can be used.
#[expect(clippy::too_many_arguments, reason = "the one place where the fronts are put together")]
pub(super) async fn serve(
    config: &Config,
    store: &SqliteStore,
    worker: &Arc<Worker>,
    keys: &KeyWatch,
    authorities: &[Authority],
    mut certificate: ServerCertificate,
    ocsp: Vec<(AuthorityName, Arc<SoftwareServiceKey>)>,
    (acme_held, status_held): (Vec<Held>, Vec<Held>),
    stopped: &watch::Receiver<bool>,
    ready: &mut Ready,
) -> anyhow::Result<Arc<Responder>> {
    let responder = Arc::new(responder(config, store, ocsp));
    let Some(trouble) = keys.trouble() else {
        first_certificates(worker, &mut certificate, &responder).await?;
        serve_acme(config, store, worker, authorities, &certificate, acme_held, stopped, &ready.acme, &mut ready.listeners)?;
        serve_status(config, &responder, status_held, stopped, ready)?;
        ready.background.spawn(certificate.follow());
        return Ok(responder);
    };
    responder.impede(Some(trouble), true);
    serve_status(config, &responder, status_held, stopped, ready)?;
    let mut waiting = acme_held;
    if certificate.refresh().await? {
        let held = std::mem::take(&mut waiting);
        serve_acme(config, store, worker, authorities, &certificate, held, stopped, &ready.acme, &mut ready.listeners)?;
    }
    let later = Later {
        config: config.clone(),
        store: store.clone(),
        worker: Arc::clone(worker),
        authorities: authorities.to_vec(),
        acme: Arc::clone(&ready.acme),
    };
    ready.listeners.spawn(later.serve(keys.clone(), certificate, Arc::clone(&responder), waiting, stopped.clone()));
    Ok(responder)
}

/// What waits for the keys.
struct Later {
    config: Config,
    store: SqliteStore,
    worker: Arc<Worker>,
    authorities: Vec<Authority>,
    acme: Arc<OnceLock<Arc<AcmeServer>>>,
}

impl Later {
    /// Goes on where the start had to leave off, until `stopped`.
    async fn serve(
        self,
        mut keys: KeyWatch,
        mut certificate: ServerCertificate,
        responder: Arc<Responder>,
        held: Vec<Held>,
        stopped: watch::Receiver<bool>,
    ) -> anyhow::Result<()> {
        tokio::select! {
            () = keys.usable() => {}
            () = wait(stopped.clone()) => return Ok(()),
        }
        first_certificates(&self.worker, &mut certificate, &responder).await?;
        let mut listeners = JoinSet::new();
        serve_acme(&self.config, &self.store, &self.worker, &self.authorities, &certificate, held, &stopped, &self.acme, &mut listeners)?;
        tokio::select! {
            () = certificate.follow() => {}
            Some(ended) = listeners.join_next() => ended??,
            () = wait(stopped) => {}
        }
        while let Some(ended) = listeners.join_next().await {
            ended??;
        }
        Ok(())
    }
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

fn responder(config: &Config, store: &SqliteStore, keys: Vec<(AuthorityName, Arc<SoftwareServiceKey>)>) -> Responder {
    let keys: ResponderKeys = keys.into_iter().map(|(name, key)| (name, key as Arc<dyn ServiceKey>)).collect();
    // Checked when it was read.
    let settings = config.limits.responder().responder(config.status.never_issued.parse().unwrap_or_default());
    Responder::new(settings, Arc::new(store.clone()), Arc::new(SystemClock), Arc::new(SystemRng), keys)
}

#[expect(clippy::too_many_arguments, reason = "the one place where the ACME server is put together")]
fn serve_acme(
    config: &Config,
    store: &SqliteStore,
    worker: &Arc<Worker>,
    authorities: &[Authority],
    certificate: &ServerCertificate,
    held: Vec<Held>,
    stopped: &watch::Receiver<bool>,
    shown: &OnceLock<Arc<AcmeServer>>,
    listeners: &mut JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let limits = config.limits.acme();
    let assembly = Assembly {
        section: &config.acme,
        limits: &limits,
        validation: &config.validation,
        policy: &worker.policy(),
        authorities,
        default: certificate.authority().clone(),
    };
    let server = assembly
        .server(Arc::new(store.clone()), Arc::new(SystemClock), Arc::new(SystemRng))
        .map_err(|e| configuration(format!("[acme]: {e}")))?;
    let server = Arc::new(server.sharing(worker.verified_signatures()).refusing(worker.blocked_keys()));
    // The first one counts: there is no second.
    let _ = shown.set(Arc::clone(&server));
    server.set_attestation_crls(worker.attestation_crls());
    let (router, bounds) = (Arc::clone(&server).router(), limits.of_listeners());
    for held in held {
        let (listener, router, identity) = (held.listen()?, router.clone(), Arc::clone(&certificate.identity));
        let (proxies, stopping) = (config.acme.proxies(), wait(stopped.clone()));
        listeners.spawn(async move { Ok(acme_server::serve_tls_behind(listener, router, identity, proxies, bounds, stopping).await?) });
    }
    let validating = Arc::clone(&server).validate();
    let following = follow_policy(Arc::clone(worker), server, config.acme.hide_profiles.clone(), authorities.to_vec());
    let stopping = wait(stopped.clone());
    listeners.spawn(async move {
        tokio::select! {
            () = following => {}
            () = validating => {}
            () = stopping => {}
        }
        Ok(())
    });
    Ok(())
}

/// Shows clients what a policy offers that officers put in force while serving.
async fn follow_policy(worker: Arc<Worker>, server: Arc<AcmeServer>, hidden: Vec<String>, authorities: Vec<Authority>) {
    let mut shown = worker.policy().version;
    loop {
        tokio::time::sleep(POLICY_POLL).await;
        let policy = worker.policy();
        if policy.version != shown {
            shown = policy.version;
            match server.offer(offers(&policy, &authorities, &hidden)) {
                Ok(_) => tracing::info!(version = shown, "the directories offer what the new policy has"),
                Err(error) => tracing::error!(%error, version = shown, "the directories stay as they were; the worker follows the policy"),
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
    let bounds = config.limits.responder().of_listeners();
    for held in held {
        let (listener, router, stopping) = (held.listen()?, router.clone(), wait(stopped.clone()));
        let proxies = Arc::new(Proxies::new(config.status.trusted_proxies.clone(), config.status.proxies_say));
        ready.listeners.spawn(async move {
            ocsp_responder::serve_behind(listener, router, proxies, bounds, stopping).await;
            Ok(())
        });
    }
    ready.background.spawn(Arc::clone(responder).follow_ledger(std::future::pending()));
    Ok(())
}
