//! The loops that drive the worker: requests as they come, jobs as they fall due, what a death left open now and then.

use std::sync::Arc;
use std::time::Duration;

use ca_core::lifecycle::{Worker, WorkerError};
use ca_core::model::GrantRecord;
use ca_core::pki::Timestamp;
use ca_core::plan::{EndingGrant, ending_grants};
use ca_core::ports::{Anchor, Clock as _, JobStore as _, KeyDevice, RequestQueue as _, StoreResult, each_grant};
use ca_store_socket::Gate;
use ca_store_sqlite::SqliteStore;
use ocsp_responder::Responder;
use tokio::task::JoinSet;

use super::key_watch::KeyWatch;
use crate::system::SystemClock;

/// How long a loop waits at most without being woken.
const REQUEST_POLL: Duration = Duration::from_millis(500);
const JOB_POLL: Duration = Duration::from_millis(500);
const RECONCILE: Duration = Duration::from_secs(30);
/// How often acts that take long are looked for.
const ACTS: Duration = Duration::from_secs(1);
/// How often certificates with a compromised key are looked for.
const COMPROMISES: Duration = Duration::from_secs(1);
/// How often the anchor follows the audit chain and is made durable: what a power cut may lose.
const FOLLOW: Duration = Duration::from_secs(1);
/// How often the whole audit trail is reconciled with the device's log that is in it.
const RECONCILE_TRAIL: Duration = Duration::from_secs(6 * 3600);
/// How often grants whose end is near are told.
const GRANT_ENDS: Duration = Duration::from_secs(6 * 3600);
/// The most of them in one round.
const MAX_ENDING: usize = 100;
/// The pause after a round that failed.
const PAUSE: Duration = Duration::from_millis(500);
/// How many batches of requests are worked on at once: one signs while another commits.
const REQUEST_LOOPS: usize = 2;

/// Starts every loop in `tasks`; they end with it. While the keys can't be used, nothing is leased.
pub(super) fn spawn(worker: &Arc<Worker>, store: &SqliteStore, keys: &KeyWatch, tasks: &mut JoinSet<()>) {
    for _ in 0..REQUEST_LOOPS {
        let (worker, store, mut keys) = (Arc::clone(worker), store.clone(), keys.clone());
        tasks.spawn(async move {
            loop {
                keys.usable().await;
                match worker.step_requests().await {
                    Ok(0) => store.await_requests(REQUEST_POLL).await,
                    Ok(_) => {}
                    Err(error) => pause("requests", &error).await,
                }
            }
        });
    }
    tasks.spawn(tell_grant_ends(store.clone()));
    let (jobs, store, mut keys) = (Arc::clone(worker), store.clone(), keys.clone());
    tasks.spawn(async move {
        loop {
            keys.usable().await;
            match jobs.tick_jobs().await {
                Ok(0) => store.await_jobs(JOB_POLL).await,
                Ok(_) => {}
                Err(error) => pause("jobs", &error).await,
            }
        }
    });
    // Neither waits for a key.
    let (acts, compromises) = (Arc::clone(worker), Arc::clone(worker));
    tasks.spawn(look("officers' acts", ACTS, move || {
        let worker = Arc::clone(&acts);
        async move { worker.step_acts().await }
    }));
    tasks.spawn(look("compromised keys", COMPROMISES, move || {
        let worker = Arc::clone(&compromises);
        async move { worker.step_compromises().await }
    }));
    let worker = Arc::clone(worker);
    tasks.spawn(async move {
        loop {
            tokio::time::sleep(RECONCILE).await;
            if let Err(error) = worker.reconcile().await {
                pause("reconciliation", &error).await;
            }
        }
    });
}

/// Keeps the anchor at the record's end, and readiness, OCSP and what other processes get of the store at what that and
/// the key store show.
pub(super) async fn follow(
    worker: Arc<Worker>,
    anchor: Arc<dyn Anchor>,
    keys: KeyWatch,
    responder: Option<Arc<Responder>>,
    gate: Option<Arc<Gate>>,
) {
    let mut failed = false;
    loop {
        if let Err(error @ WorkerError::Store(_)) = worker.follow_record().await {
            tracing::error!(%error, "the audit trail could not be followed");
        }
        let anchor = Arc::clone(&anchor);
        let flushed = tokio::task::spawn_blocking(move || anchor.flush()).await;
        let lost = match flushed {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(error) = lost.as_deref().filter(|_| !failed) {
            tracing::error!(error, "the anchor could not be made durable; it is written anew with the next step");
        }
        failed = lost.is_some();
        if let Some(responder) = &responder {
            let troubles: Vec<String> = [worker.trouble().or(lost), keys.trouble()].into_iter().flatten().collect();
            responder.impede((!troubles.is_empty()).then(|| troubles.join("; ")), !worker.record_is_off());
        }
        if let Some(gate) = &gate {
            gate.set(worker.record_is_off().then(|| worker.trouble().unwrap_or_default()));
        }
        tokio::time::sleep(FOLLOW).await;
    }
}

/// Reconciles the whole trail at the start and now and then, beside the work. A device without a log has nothing to
/// reconcile.
pub(super) async fn reconcile_device_logs(worker: Arc<Worker>, device: Arc<dyn KeyDevice>, mut keys: KeyWatch) {
    keys.usable().await;
    let mut known = 0;
    loop {
        match device.log().await {
            Ok(None) => std::future::pending().await,
            Ok(Some(_)) => match worker.reconcile_device_logs(known).await {
                Ok(findings) => known = findings,
                Err(error) => pause("the device log's reconciliation", &error).await,
            },
            Err(error) => tracing::warn!(%error, "the device's log could not be read; it is tried again"),
        }
        tokio::time::sleep(RECONCILE_TRAIL).await;
    }
}

/// Every grant that ends soon or has, the first one first, however many there are.
pub(super) async fn all_ending_grants(store: &SqliteStore, now: Timestamp) -> StoreResult<Vec<EndingGrant>> {
    let mut near = Vec::new();
    let keep = |grant: &GrantRecord| {
        if !ending_grants(std::slice::from_ref(grant), now).is_empty() {
            near.push(grant.clone());
        }
    };
    each_grant(store, keep).await?;
    Ok(ending_grants(&near, now))
}

/// Says which grants end soon, as long as nobody extends them: at the start, and now and then.
async fn tell_grant_ends(store: SqliteStore) {
    loop {
        let now = SystemClock.now();
        match all_ending_grants(&store, now).await {
            Ok(ending) => {
                for grant in ending.into_iter().take(MAX_ENDING) {
                    let (id, service, valid_until) = (grant.id, grant.service, grant.valid_until);
                    if valid_until <= now {
                        tracing::error!(%id, service, %valid_until, "a grant has ended: its service gets no certificates, and nothing of it is renewed (hint: ca grant extend, or revoke it)");
                    } else {
                        tracing::warn!(%id, service, %valid_until, "a grant ends soon: its service gets no certificates after that, and nothing of it is renewed (hint: ca grant extend)");
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "the grants could not be read; their ends are told later"),
        }
        tokio::time::sleep(GRANT_ENDS).await;
    }
}

/// Looks for work that nothing wakes anyone for: again at once where there was some, else after a while.
async fn look<F>(what: &'static str, every: Duration, step: impl Fn() -> F)
where
    F: Future<Output = Result<usize, WorkerError>>,
{
    loop {
        match step().await {
            Ok(0) => tokio::time::sleep(every).await,
            Ok(_) => {}
            Err(error) => pause(what, &error).await,
        }
    }
}

async fn pause(what: &str, error: &WorkerError) {
    if matches!(error, WorkerError::Anchor(_)) {
        // The alarm has said it; readiness and `ca status` go on saying it.
        tokio::time::sleep(FOLLOW).await;
        return;
    }
    tracing::error!(what, %error, "a round of the worker failed; it goes on");
    tokio::time::sleep(PAUSE).await;
}
