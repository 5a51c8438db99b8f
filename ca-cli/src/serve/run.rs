//! The order of start and stop.
//!
//! Start: everything that can be wrong is opened first; addresses are taken; the worker closes what a death left open
//! and issues the CA's own certificates; only then the listeners open. Where the keys can't be used yet, because holders
//! must unseal them or a device is away, what can be served without them is, and the rest follows by itself. Stop: listeners drain, loops end, the store
//! writes what it was given and frees its file.

use std::sync::{Arc, OnceLock};

use acme_server::{AcmeServer, ServerCertificate, metrics_page, serve_loopback};
use anyhow::Context as _;
use ca_core::ceremony::{CeremonyKind, Roster};
use ca_core::lifecycle::{Officers, TrustError, Trusted, Worker, WorkerParts, WorkerSettings};
use ca_core::model::Authority;
use ca_core::policy::Policy;
use ca_core::ports::{Anchor, CertificateStore as _, Clock as _, KeyStore};
use ca_service::config::check_listen;
use ca_service::listen::hold;
use ca_service::metrics::SCRAPERS;
use ca_service::signal::{notify_ready, until_signal};
use ca_store_sqlite::SqliteStore;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::compose::{ServiceKeys, open_key_store, open_service_keys, read_roster};
use super::control::InstanceAnswers;
use super::key_watch::KeyWatcher;
use super::numbers::{Numbers, WorkerMetrics};
use super::store_socket::StoreSocket;
use super::{fronts, given_secrets, halt, loops};
use crate::anchor::{self, Verified, round_failed};
use crate::config::Config;
use crate::control::server::ControlSocket;
use crate::exit::{Exit, configuration, failure, store as store_failure};
use crate::system::{SystemClock, SystemRng};

/// What runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// Everything.
    All,
    /// The worker, the control socket and the store's socket.
    Worker,
}

/// A running instance.
pub(crate) struct Ready {
    store: SqliteStore,
    worker: Arc<Worker>,
    anchor: Arc<dyn Anchor>,
    pub(super) listeners: JoinSet<anyhow::Result<()>>,
    pub(super) background: JoinSet<()>,
    /// The ACME server, once it serves.
    pub(super) acme: Arc<OnceLock<Arc<AcmeServer>>>,
    stop: watch::Sender<bool>,
}

/// `ca serve` and `ca worker`: runs until a signal.
pub(crate) async fn serve(config: &Config, role: Role) -> anyhow::Result<()> {
    ca_service::logging::start(&config.log)?;
    let ready = start(config, role).await?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), ?role, acme = config.acme.url, status = config.status.url, "ready");
    notify_ready();
    ready.until(until_signal()).await
}

/// The ACME server's certificate, looked for in the store by its key.
fn server_certificate(
    key: Option<ca_keystore::SoftwareServiceKey>,
    store: &SqliteStore,
    authorities: &[Authority],
) -> anyhow::Result<ServerCertificate> {
    let key = key.ok_or_else(|| {
        configuration("`ca serve` needs the ACME server's key (hint: name it as service_keys.server; `ca worker` runs without)")
    })?;
    let default = authorities.iter().find(|a| a.is_default);
    let default =
        default.ok_or_else(|| configuration("no authority is the default one (hint: import a bundle with an issuing authority)"))?;
    Ok(ServerCertificate::new(key, default.name.clone(), Arc::new(store.clone())))
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
    if role == Role::All {
        super::one_process_is_enough(config)?;
    }
    let service_keys = open_service_keys(config)?;
    let keys = open_key_store(config)?;
    let blocked = Arc::new(config.blocked_keys.read()?);
    let probe = halt::probe()?;
    let (acme_held, status_held) = match role {
        Role::All => {
            for (key, addresses) in [("acme.listen", &config.acme.listen), ("status.listen", &config.status.listen)] {
                check_listen(key, addresses).map_err(configuration)?;
            }
            (hold(&config.acme.listen, "acme.listen")?, hold(&config.status.listen, "status.listen")?)
        }
        Role::Worker => (Vec::new(), Vec::new()),
    };
    let metrics_held = hold(&config.metrics.listen, "metrics.listen")?;
    let metrics = WorkerMetrics::new();
    let store = SqliteStore::open(&config.store.path, Arc::new(SystemRng)).await.map_err(store_failure)?;
    let roster = read_roster(config)?;
    let rehearsal = roster.kind == CeremonyKind::Rehearsal;
    let TrustedPolicy { policy, officers, verified } = trusted_policy(config, &roster, &store).await?;
    let anchor = anchor::open(config, &roster, &verified, &store, SystemClock.now()).await?;
    let authorities = store.authorities().await.map_err(store_failure)?;
    let (mut watcher, watched) = KeyWatcher::begin(config, Arc::clone(&keys), &policy, &authorities).await?;
    let socket = ControlSocket::bind(&config.control.socket).await?;
    let store_socket = StoreSocket::bind(config).await?;

    let started_at = SystemClock.now();
    let own_keys = service_keys.public_keys();
    let ServiceKeys { master, server, ocsp, elsewhere: _ } = service_keys;
    let worker = Arc::new(Worker::new(WorkerParts {
        store: Arc::new(store.clone()),
        anchor: Arc::clone(&anchor),
        keys: metrics.timed(Arc::clone(&keys) as Arc<dyn KeyStore>),
        publisher: None,
        clock: Arc::new(SystemClock),
        rng: Arc::new(SystemRng),
        secrets: given_secrets::over(master)?,
        policy,
        officers,
        own_keys,
        blocked,
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

    watcher.begin_log(&worker).await?;

    let (stop, stopped) = watch::channel(false);
    let mut ready = Ready {
        store: store.clone(),
        worker: Arc::clone(&worker),
        anchor: Arc::clone(&anchor),
        listeners: JoinSet::new(),
        background: JoinSet::new(),
        acme: Arc::default(),
        stop,
    };
    let (devices, front) = (Arc::clone(&worker), Arc::clone(&ready.acme));
    ready.background.spawn(config.attestation.clone().follow(move |crls| {
        devices.set_attestation_crls(Arc::clone(&crls));
        if let Some(server) = front.get() {
            server.set_attestation_crls(crls);
        }
    }));
    let responder = match role {
        Role::All => {
            let certificate = server_certificate(server, &store, &authorities)?;
            Some(
                fronts::serve(
                    config,
                    &store,
                    &worker,
                    &watched,
                    &authorities,
                    certificate,
                    ocsp,
                    (acme_held, status_held),
                    &stopped,
                    &mut ready,
                )
                .await?,
            )
        }
        Role::Worker => None,
    };
    loops::spawn(&worker, &store, &watched, &mut ready.background);
    ready.background.spawn(watcher.follow(Arc::clone(&worker)));
    ready.background.spawn(loops::reconcile_device_logs(Arc::clone(&worker), keys, watched.clone()));
    let served = store_socket.map(|socket| socket.serve(&store, &stopped, &mut ready.listeners));
    let (refusals, gate) = served.unzip();
    ready.background.spawn(loops::follow(Arc::clone(&worker), anchor, watched.clone(), responder.clone(), gate));
    let numbers = Numbers {
        metrics,
        store: store.clone(),
        worker: Arc::clone(&worker),
        keys: watched.clone(),
        acme: Arc::clone(&ready.acme),
        responder: responder.clone(),
    };
    for held in metrics_held {
        let (listener, page, stopping) = (held.listen()?, numbers.clone(), wait(stopped.clone()));
        let limits = acme_server::Limits { max_connections: SCRAPERS, ..acme_server::Limits::default() };
        let router = metrics_page(move || page.clone().text());
        ready.listeners.spawn(async move { Ok(serve_loopback(listener, router, limits, stopping).await?) });
    }
    let answers = InstanceAnswers { store, worker, keys: watched, responder, refusals, started_at, rehearsal };
    let stopping = wait(stopped);
    ready.listeners.spawn(async move {
        socket.serve(Arc::new(answers), stopping).await;
        Ok(())
    });
    Ok(ready)
}

/// Returns when `stopped` says so.
pub(super) async fn wait(mut stopped: watch::Receiver<bool>) {
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
