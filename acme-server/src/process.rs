//! The server as a process of its own: it has its TLS key and a way to the store, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use ca_core::ceremony::PolicyBundle;
use ca_core::model::{Authority, AuthorityName};
use ca_core::policy::Policy;
use ca_core::ports::{CertificateStore as _, ServiceKey as _, StoreError, StoreResult};
use ca_keystore::Unsealer;
use ca_service::exit::{Exit, configuration, failure};
use ca_service::listen::hold;
use ca_service::metrics::SCRAPERS;
use ca_service::service_key::{open, open_or_new, public_path, unsealer, unsealer_or_new, write_public};
use ca_service::signal::{notify_ready, until_signal};
use ca_service::system::{SystemClock, SystemRng};
use ca_store_socket::{Role, SocketStore};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::assemble::{Assembly, offers};
use crate::front::AcmeServer;
use crate::identity::ServerCertificate;
use crate::server::{Limits, serve_loopback, serve_tls_behind};
use crate::settings::{ReplicasSection, ServerSettings};

/// How often it is looked whether what the start waits for is there.
const STEP: Duration = Duration::from_millis(250);
/// How often it is looked whether officers put another policy in force.
const POLICY_POLL: Duration = Duration::from_secs(2);
/// After how many looks without success the log says again what is awaited.
const REMIND: u32 = 40;

/// Makes the TLS key, and the replicas' shared key where the file has some, where they are missing; gives the TLS key's
/// digest, for the policy's `[[policy.authority.own]]`.
///
/// # Errors
/// When it can be neither made nor opened.
pub fn keys(settings: &ServerSettings) -> anyhow::Result<String> {
    let key = open_or_new(&settings.key.file, None, &unsealer_or_new(&settings.key.unseal)?)?;
    if let Some(replicas) = settings.replicas.as_ref().filter(|r| !r.key.exists()) {
        Unsealer::create_file_key(&replicas.key, &SystemRng)?;
    }
    let public = public_path(&settings.key.file);
    write_public(&public, key.public_key())?;
    Ok(format!("key_sha256 = \"{}\"  # shape = \"server\"; public half: {}\n", key.public_key().spki_sha256(), public.display()))
}

/// Serves until a signal. The listeners open once the store has told what is on offer and the worker has issued the
/// server's certificate; from then on either may go and come back.
///
/// # Errors
/// When the key or an address is wrong, or a listener ends by itself.
pub async fn run(settings: &ServerSettings) -> anyhow::Result<()> {
    ca_service::logging::start(&settings.log)?;
    let key = open(&settings.key.file, &unsealer(&settings.key.unseal)?)?;
    let published = Arc::new(settings.blocked_keys.read()?);
    let held = hold(&settings.acme.listen, "acme.listen")?;
    let held_metrics = hold(&settings.metrics.listen, "metrics.listen")?;
    let replicas = settings.replicas.as_ref().map(ReplicasSection::open).transpose()?;
    let held_replicas = hold(settings.replicas.as_ref().map_or(&[][..], |r| &r.listen), "replicas.listen")?;
    let store = SocketStore::connect(&settings.store.socket, Role::Acme);
    let (stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let serving = async {
        let (policy, authorities, default) = until_there("the store", || offer(&store)).await;
        let assembly = Assembly {
            section: &settings.acme,
            limits: &settings.limits,
            validation: &settings.validation,
            policy: &policy,
            authorities: &authorities,
            default: default.clone(),
        };
        let server = assembly
            .server(Arc::new(store.clone()), Arc::new(SystemClock), Arc::new(SystemRng))
            .map_err(|e| configuration(format!("[acme]: {e}")))?;
        let server = server.refusing(published);
        let server = Arc::new(match replicas {
            Some((number, replicas)) => server.with_replicas(number, replicas),
            None => server,
        });
        for held in held_replicas {
            let (listener, server, mut stopped) = (held.listen()?, Arc::clone(&server), stopped.clone());
            tasks.spawn(async move {
                server.serve_replicas(listener, async { drop(stopped.wait_for(|stop| *stop).await) }).await;
                Ok(())
            });
        }
        let digest = key.public_key().spki_sha256();
        let mut certificate = ServerCertificate::new(key, default, Arc::new(store.clone()));
        let what = format!("a certificate for the key {digest} (the policy must pin it, and the worker have its public half)");
        until_there(&what, async || Ok(certificate.refresh().await?.then_some(()))).await;
        let router = Arc::clone(&server).router();
        for held in held {
            let (listener, router, identity) = (held.listen()?, router.clone(), Arc::clone(&certificate.identity));
            let (proxies, limits, mut stopped) = (settings.acme.proxies(), settings.limits.of_listeners(), stopped.clone());
            tasks.spawn(async move {
                // An error means that the sender is gone, which is a stop as well.
                let stopping = async { drop(stopped.wait_for(|stop| *stop).await) };
                serve_tls_behind(listener, router, identity, proxies, limits, stopping).await
            });
        }
        for held in held_metrics {
            let (listener, router, mut stopped) = (held.listen()?, Arc::clone(&server).metrics_router(), stopped.clone());
            let limits = Limits { max_connections: SCRAPERS, ..settings.limits.of_listeners() };
            tasks
                .spawn(async move { serve_loopback(listener, router, limits, async { drop(stopped.wait_for(|stop| *stop).await) }).await });
        }
        let devices = Arc::clone(&server);
        tokio::spawn(settings.attestation.clone().follow(move |crls| devices.set_attestation_crls(crls)));
        tokio::spawn(certificate.follow());
        tokio::spawn(Arc::clone(&server).validate());
        tokio::spawn(follow_policy(store, server, settings.acme.hide_profiles.clone()));
        tracing::info!(version = env!("CARGO_PKG_VERSION"), acme = settings.acme.url, "ready");
        notify_ready();
        match tasks.join_next().await {
            Some(Ok(Err(error))) => Err(error.into()),
            _ => Err(failure(Exit::Failed, "a listener ended by itself (hint: this is a defect; the log says more)")),
        }
    };
    let result = tokio::select! {
        result = serving => result,
        () = until_signal() => {
            tracing::info!("stopping: open requests may finish");
            Ok(())
        }
    };
    // Receivers may all be gone already.
    let _ = stop.send(true);
    while tasks.join_next().await.is_some() {}
    result
}

/// What the store has on offer; none: nothing was imported yet.
async fn offer(store: &SocketStore) -> StoreResult<Option<(Policy, Vec<Authority>, AuthorityName)>> {
    let Some((version, text)) = store.policy().await? else { return Ok(None) };
    let authorities = store.authorities().await?;
    let Some(default) = authorities.iter().find(|a| a.is_default).map(|a| a.name.clone()) else { return Ok(None) };
    let damaged = |e: &dyn std::fmt::Display| StoreError::Damaged(format!("the policy, version {version}, cannot be read: {e}"));
    let bundle = PolicyBundle::from_json(&text).map_err(|e| damaged(&e))?;
    let policy = Policy::parse(&bundle.policy).map_err(|e| damaged(&e))?;
    Ok(Some((policy, authorities, default)))
}

/// Shows clients what a policy offers that officers put in force while serving, and the authorities of it that were imported
/// since: either may come first.
async fn follow_policy(store: SocketStore, server: Arc<AcmeServer>, hidden: Vec<String>) {
    let mut refused = None;
    loop {
        tokio::time::sleep(POLICY_POLL).await;
        match offer(&store).await {
            Ok(Some((policy, authorities, _))) => match server.offer(offers(&policy, &authorities, &hidden)) {
                Ok(true) => tracing::info!(version = policy.version, "the directories offer what policy and authorities have now"),
                Ok(false) => {}
                Err(error) if refused != Some(policy.version) => {
                    refused = Some(policy.version);
                    tracing::error!(%error, version = policy.version, "the directories stay as they were");
                }
                Err(_) => {}
            },
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "the policy could not be looked up; the directories stay as they are"),
        }
    }
}

/// Looks until it is there. Whatever is missing may still come: the worker may start later than this, or be set right.
async fn until_there<T>(what: &str, mut look: impl AsyncFnMut() -> StoreResult<Option<T>>) -> T {
    let mut looks = 0u32;
    loop {
        let reason = match look().await {
            Ok(Some(found)) => return found,
            Ok(None) => "it is not there yet".to_owned(),
            Err(error) => error.to_string(),
        };
        if looks.is_multiple_of(REMIND) {
            tracing::warn!(what, reason, "not serving yet: waiting");
        }
        looks += 1;
        tokio::time::sleep(STEP).await;
    }
}
