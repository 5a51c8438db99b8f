//! The responder as a process of its own: it has its delegated keys and a way to read the store, and nothing else.

use std::sync::Arc;

use ca_core::model::AuthorityName;
use ca_core::pki::KeyAlgorithm;
use ca_core::ports::ServiceKey;
use ca_service::exit::{Exit, failure};
use ca_service::listen::hold;
use ca_service::metrics::SCRAPERS;
use ca_service::service_key::{open, open_or_new, public_path, unsealer, unsealer_or_new, write_public};
use ca_service::signal::{notify_ready, until_signal};
use ca_service::system::{SystemClock, SystemRng};
use ca_store_socket::{Role, SocketStore};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::ResponderKeys;
use crate::follow::Responder;
use crate::serve::{Limits, serve_behind, serve_with_limits};
use crate::settings::ResponderSettings;

/// Makes the keys where they are missing, of the kind that is `wanted` or P-256, and gives their digests, for the policy's `[[policy.authority.own]]`.
///
/// # Errors
/// When one can be neither made nor opened.
pub fn keys(settings: &ResponderSettings, wanted: Option<KeyAlgorithm>) -> anyhow::Result<String> {
    let unsealer = unsealer_or_new(&settings.keys.unseal)?;
    let mut out = String::new();
    for (authority, path) in &settings.keys.ocsp {
        let key = open_or_new(path, wanted, &unsealer)?;
        let public = public_path(path);
        write_public(&public, key.public_key())?;
        let digest = key.public_key().spki_sha256();
        out.push_str(&format!("key_sha256 = \"{digest}\"  # shape = \"ocsp\", authority {authority}; public half: {}\n", public.display()));
    }
    Ok(out)
}

/// Serves until a signal. It listens at once; until it has read the ledger and found its certificates it answers
/// `tryLater`, and `/readyz` says why.
///
/// # Errors
/// When a key or an address is wrong, or a listener ends by itself.
pub async fn run(settings: &ResponderSettings) -> anyhow::Result<()> {
    ca_service::logging::start(&settings.log)?;
    let unsealer = unsealer(&settings.keys.unseal)?;
    let opened =
        settings.keys.ocsp.iter().map(|(authority, path)| Ok((authority.clone(), Arc::new(open(path, &unsealer)?) as Arc<dyn ServiceKey>)));
    let keys: ResponderKeys = opened.collect::<anyhow::Result<Vec<(AuthorityName, Arc<dyn ServiceKey>)>>>()?.into_iter().collect();
    let held = hold(&settings.status.listen, "status.listen")?;
    let held_metrics = hold(&settings.metrics.listen, "metrics.listen")?;
    let store = SocketStore::connect(&settings.store.socket, Role::Responder);
    let responder = Responder::new(settings.responder(), Arc::new(store), Arc::new(SystemClock), Arc::new(SystemRng), keys);
    let responder = Arc::new(responder);
    let (stop, stopped) = watch::channel(false);
    let mut listeners = JoinSet::new();
    for held in held {
        let (listener, router, mut stopped) = (held.listen()?, Arc::clone(&responder).router(), stopped.clone());
        let (proxies, limits) = (settings.status.proxies(), settings.limits.of_listeners());
        listeners.spawn(async move {
            // An error means that the sender is gone, which is a stop as well.
            serve_behind(listener, router, proxies, limits, async { drop(stopped.wait_for(|stop| *stop).await) }).await;
        });
    }
    for held in held_metrics {
        let (listener, router, mut stopped) = (held.listen()?, Arc::clone(&responder).metrics_router(), stopped.clone());
        let limits = Limits { connections: SCRAPERS as usize, ..settings.limits.of_listeners() };
        listeners
            .spawn(async move { serve_with_limits(listener, router, limits, async { drop(stopped.wait_for(|stop| *stop).await) }).await });
    }
    let following = tokio::spawn(responder.follow_ledger(std::future::pending()));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "serving");
    notify_ready();
    let result = tokio::select! {
        () = until_signal() => {
            tracing::info!("stopping: open requests may finish");
            Ok(())
        }
        _ = listeners.join_next() => Err(failure(Exit::Failed, "a listener ended by itself (hint: this is a defect; the log says more)")),
        _ = following => Err(failure(Exit::Failed, "following the ledger ended by itself (hint: this is a defect; the log says more)")),
    };
    // Receivers may all be gone already.
    let _ = stop.send(true);
    while listeners.join_next().await.is_some() {}
    result
}
