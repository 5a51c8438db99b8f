//! The loops that drive the worker: requests as they come, jobs as they fall due, what a death left open now and then.

use std::sync::Arc;
use std::time::Duration;

use ca_core::lifecycle::{Worker, WorkerError};
use ca_core::ports::{Anchor, JobStore as _, KeyStore, RequestQueue as _};
use ca_store_sqlite::SqliteStore;
use ocsp_responder::Responder;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long a loop waits at most without being woken.
const REQUEST_POLL: Duration = Duration::from_millis(500);
const JOB_POLL: Duration = Duration::from_millis(500);
const RECONCILE: Duration = Duration::from_secs(30);
/// How often acts that take long are looked for.
const ACTS: Duration = Duration::from_secs(1);
/// How often the anchor follows the audit chain and is made durable: what a power cut may lose.
const FOLLOW: Duration = Duration::from_secs(1);
/// How often the key store is asked how it is.
const HEALTH: Duration = Duration::from_secs(2);
/// The pause after a round that failed.
const PAUSE: Duration = Duration::from_millis(500);
/// How many batches of requests are worked on at once: one signs while another commits.
const REQUEST_LOOPS: usize = 2;

/// Starts every loop in `tasks`; they end with it.
pub(super) fn spawn(worker: &Arc<Worker>, store: &SqliteStore, tasks: &mut JoinSet<()>) {
    for _ in 0..REQUEST_LOOPS {
        let (worker, store) = (Arc::clone(worker), store.clone());
        tasks.spawn(async move {
            loop {
                match worker.step_requests().await {
                    Ok(0) => store.await_requests(REQUEST_POLL).await,
                    Ok(_) => {}
                    Err(error) => pause("requests", &error).await,
                }
            }
        });
    }
    let (jobs, store) = (Arc::clone(worker), store.clone());
    tasks.spawn(async move {
        loop {
            match jobs.tick_jobs().await {
                Ok(0) => store.await_jobs(JOB_POLL).await,
                Ok(_) => {}
                Err(error) => pause("jobs", &error).await,
            }
        }
    });
    let acts = Arc::clone(worker);
    tasks.spawn(async move {
        loop {
            match acts.step_acts().await {
                Ok(0) => tokio::time::sleep(ACTS).await,
                Ok(_) => {}
                Err(error) => pause("officers' acts", &error).await,
            }
        }
    });
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

/// Asks the key store how it is, at a bounded rate whoever wants to know, and keeps what it said.
pub(super) async fn watch_keys(keys: Arc<dyn KeyStore>, said: watch::Sender<Option<String>>) {
    loop {
        let trouble = keys.health().await.err().map(|e| e.to_string());
        said.send_if_modified(|before| {
            if *before == trouble {
                return false;
            }
            match &trouble {
                Some(error) => tracing::error!(error, "the key store can't be used; nothing is signed until it can"),
                None => tracing::info!("the key store can be used again"),
            }
            before.clone_from(&trouble);
            true
        });
        tokio::time::sleep(HEALTH).await;
    }
}

/// Keeps the anchor at the record's end, and readiness and OCSP at what that and the key store show.
pub(super) async fn follow(
    worker: Arc<Worker>,
    anchor: Arc<dyn Anchor>,
    keys: watch::Receiver<Option<String>>,
    responder: Option<Arc<Responder>>,
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
            let troubles: Vec<String> = [worker.trouble().or(lost), keys.borrow().clone()].into_iter().flatten().collect();
            responder.impede((!troubles.is_empty()).then(|| troubles.join("; ")), !worker.record_is_off());
        }
        tokio::time::sleep(FOLLOW).await;
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
