//! What operators read of the worker over `/metrics`; within `ca serve`, of the ACME server and the responder too.
//!
//! Everything but the signatures is read when it is asked for, from the store and from what the loops last saw; nothing of
//! it costs more with more certificates. Labels are the names of authorities, keys and own certificates, which officers
//! choose.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use acme_server::AcmeServer;
use ca_core::lifecycle::Worker;
use ca_core::model::{CrlScope, KeyLabel};
use ca_core::pki::{Certificate, Timestamp};
use ca_core::ports::{CertificateStore as _, Clock as _, CrlStore as _, KeyStore, RequestQueue as _, StoreResult};
use ca_keystore::MeteredKeyStore;
use ca_service::metrics::{Metric, Metrics};
use ca_store_sqlite::SqliteStore;
use ocsp_responder::Responder;
use tokio::time::Instant;

use super::key_watch::KeyWatch;
use crate::system::SystemClock;

/// What is called soon, of certificates and of grants.
const CERTIFICATES_SOON: Duration = Duration::from_secs(86_400);
const GRANTS_SOON: Duration = Duration::from_secs(30 * 86_400);

static QUEUE: Metric = Metric::gauge("countersign_worker_queue_requests", "Requests of the ACME server that wait for the worker.", &[]);
static QUEUE_AGE: Metric = Metric::gauge("countersign_worker_queue_oldest_seconds", "How long the oldest of them has waited.", &[]);
static SIGNING: Metric =
    Metric::histogram("countersign_signature_seconds", "How long signatures by authority keys took, in the key store or device.", &["key"]);
static FAILED: Metric =
    Metric::counter("countersign_signature_failures_total", "Signatures that the key store or device did not make.", &["key"]);
static KEYS_USABLE: Metric = Metric::gauge("countersign_keys_usable", "Whether the authority keys can be used: 1 or 0.", &[]);
static RECORD_SOUND: Metric =
    Metric::gauge("countersign_record_sound", "Whether database, clock and anchor agree: 1 or 0; at 0 nothing is signed.", &[]);
static STOPPED: Metric = Metric::gauge("countersign_issuance_stopped", "Whether issuance for orders is stopped: 1 or 0.", &[]);
static POLICY: Metric = Metric::gauge("countersign_policy_version", "The version of the policy in force.", &[]);
static CERTIFICATES: Metric = Metric::gauge(
    "countersign_certificates",
    "Certificates on record by state: intent, released, revoked, abandoned; expired ones are among them.",
    &["authority", "state"],
);
static ENDING: Metric =
    Metric::gauge("countersign_certificates_ending", "Released certificates that end within a day; at most 10000 are counted.", &[]);
static FOLLOWED: Metric = Metric::counter(
    "countersign_compromise_revocations_total",
    "Certificates revoked because another one with their key was revoked for keyCompromise.",
    &[],
);
static COMPROMISES: Metric = Metric::gauge(
    "countersign_compromised_keys_open",
    "Compromised keys with certificates that are still to be revoked; at most 10000 are counted.",
    &[],
);
static JOBS_DUE: Metric = Metric::gauge("countersign_jobs_due", "Jobs of the schedule whose time has come.", &[]);
static JOBS_FAILING: Metric = Metric::gauge("countersign_jobs_failing", "Jobs whose last try failed; they are tried again.", &[]);
static AUTHORITY_LEFT: Metric = Metric::gauge(
    "countersign_authority_validity_seconds",
    "How long an authority's certificate is still valid; 0: it has ended.",
    &["authority"],
);
static OWN_LEFT: Metric = Metric::gauge(
    "countersign_own_certificate_validity_seconds",
    "How long the newest of the CA's own certificates is still valid; 0: it has ended, or there is none; absent once its authority has ended.",
    &["authority", "name"],
);
static CRL_AGE: Metric =
    Metric::gauge("countersign_crl_published_age_seconds", "How long ago the current CRL was made (thisUpdate).", &["authority"]);
static CRL_LEFT: Metric = Metric::gauge(
    "countersign_crl_published_validity_seconds",
    "How long the current CRL is still valid; 0: it has ended.",
    &["authority"],
);
static GRANTS_ENDING: Metric =
    Metric::gauge("countersign_grants_ending", "Active grants that stop issuing within 30 days, or stopped within the last 30.", &[]);
static GRANT_LEFT: Metric = Metric::gauge(
    "countersign_grant_next_end_seconds",
    "How long until the next active grant stops issuing; 0: one has, within the last 30 days; absent where none does.",
    &[],
);
static INFO: Metric = Metric::version("countersign_worker_info");

/// Every metric of the worker; docs/monitoring.md describes each.
static METRICS: [&Metric; 21] = [
    &QUEUE,
    &QUEUE_AGE,
    &SIGNING,
    &FAILED,
    &KEYS_USABLE,
    &RECORD_SOUND,
    &STOPPED,
    &POLICY,
    &CERTIFICATES,
    &ENDING,
    &FOLLOWED,
    &COMPROMISES,
    &JOBS_DUE,
    &JOBS_FAILING,
    &AUTHORITY_LEFT,
    &OWN_LEFT,
    &CRL_AGE,
    &CRL_LEFT,
    &GRANTS_ENDING,
    &GRANT_LEFT,
    &INFO,
];

/// The worker's counters, which its key store fills.
#[derive(Clone)]
pub(super) struct WorkerMetrics(Arc<Metrics>);

impl WorkerMetrics {
    pub(super) fn new() -> Self {
        Self(Arc::new(Metrics::new(&METRICS)))
    }

    /// The key store, with its signatures timed.
    pub(super) fn timed(&self, keys: Arc<dyn KeyStore>) -> Arc<dyn KeyStore> {
        let metrics = Arc::clone(&self.0);
        let stopwatch = move || -> Box<dyn FnOnce(&KeyLabel, bool) + Send> {
            let (metrics, begun) = (Arc::clone(&metrics), Instant::now());
            Box::new(move |key, made| {
                if made {
                    metrics.observe(&SIGNING, &[key.as_str()], begun.elapsed());
                } else {
                    metrics.count(&FAILED, &[key.as_str()]);
                }
            })
        };
        Arc::new(MeteredKeyStore::new(keys, Arc::new(stopwatch)))
    }
}

/// What a scrape reads from.
#[derive(Clone)]
pub(super) struct Numbers {
    pub(super) metrics: WorkerMetrics,
    pub(super) store: SqliteStore,
    pub(super) worker: Arc<Worker>,
    pub(super) keys: KeyWatch,
    /// None in `ca worker`; and until the server has its certificate.
    pub(super) acme: Arc<OnceLock<Arc<AcmeServer>>>,
    /// None in `ca worker`.
    pub(super) responder: Option<Arc<Responder>>,
}

impl Numbers {
    /// The page.
    pub(super) async fn text(self) -> String {
        if let Err(error) = self.read().await {
            tracing::warn!(%error, "the store did not answer a scrape; what it would have told stays as it was");
        }
        let mut text = self.metrics.0.render();
        if let Some(server) = self.acme.get() {
            text.push_str(&server.metrics_text().await);
        }
        if let Some(responder) = &self.responder {
            text.push_str(&responder.metrics_text());
        }
        text
    }

    async fn read(&self) -> StoreResult<()> {
        let (metrics, now, policy) = (&self.metrics.0, SystemClock.now(), self.worker.policy());
        let yes = |so: bool| if so { 1.0 } else { 0.0 };
        let left = |end: Timestamp| end.since(now).as_secs_f64();
        metrics.set(&INFO, &[env!("CARGO_PKG_VERSION")], 1.0);
        metrics.set(&KEYS_USABLE, &[], yes(self.keys.trouble().is_none()));
        metrics.set(&RECORD_SOUND, &[], yes(self.worker.trouble().is_none()));
        metrics.set(&STOPPED, &[], yes(self.worker.anchor().state().is_stopped()));
        metrics.set(&POLICY, &[], policy.version as f64);

        let (waiting, oldest) = self.store.backlog().await?;
        metrics.set(&QUEUE, &[], waiting as f64);
        metrics.set(&QUEUE_AGE, &[], oldest.map_or(0.0, |since| now.since(since).as_secs_f64()));
        let numbers = self.store.numbers(now, now.plus(CERTIFICATES_SOON), now.plus(GRANTS_SOON)).await?;
        for (authority, state, count) in &numbers.certificates {
            metrics.set(&CERTIFICATES, &[authority.as_str(), state], *count as f64);
        }
        metrics.set(&ENDING, &[], numbers.ending_certificates as f64);
        metrics.set(&FOLLOWED, &[], self.worker.followed_compromises() as f64);
        metrics.set(&COMPROMISES, &[], numbers.compromised_keys as f64);
        metrics.set(&JOBS_DUE, &[], numbers.due_jobs as f64);
        metrics.set(&JOBS_FAILING, &[], numbers.failing_jobs as f64);
        metrics.set(&GRANTS_ENDING, &[], numbers.ending_grants as f64);
        match numbers.next_grant_end {
            Some(end) => metrics.set(&GRANT_LEFT, &[], left(end)),
            // It was extended for good, or revoked.
            None => metrics.unset(&GRANT_LEFT, &[]),
        }
        let mut ended = Vec::new();
        for authority in self.store.authorities().await? {
            let name = authority.name.as_str();
            if let Ok(certificate) = Certificate::from_der(&authority.certificate) {
                metrics.set(&AUTHORITY_LEFT, &[name], left(certificate.not_after()));
                if certificate.not_after() <= now {
                    ended.push(authority.name.clone());
                }
            }
            if let Some(crl) = self.store.crl_head(&authority.name, &CrlScope::FULL).await? {
                metrics.set(&CRL_AGE, &[name], now.since(crl.this_update).as_secs_f64());
                metrics.set(&CRL_LEFT, &[name], left(crl.next_update));
            }
        }
        for rules in &policy.authorities {
            for own in &rules.own {
                let labels = [rules.name.as_str(), &own.name];
                if ended.contains(&rules.name) {
                    // There will be none any more: that the authority has ended is told above.
                    metrics.unset(&OWN_LEFT, &labels);
                    continue;
                }
                let newest = self.store.newest_for_key(&rules.name, &own.shape, &own.key_sha256).await?;
                metrics.set(&OWN_LEFT, &labels, newest.map_or(0.0, |c| left(c.not_after)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_described() {
        let described = include_str!("../../../docs/monitoring.md");
        for metric in METRICS {
            assert!(described.contains(&format!("| `{}` |", metric.name)), "{} is not in docs/monitoring.md", metric.name);
        }
        // And what is described is one of the three processes'.
        let known: Vec<&str> = METRICS.iter().chain(&acme_server::METRICS).chain(&ocsp_responder::METRICS).map(|m| m.name).collect();
        for line in described.lines().filter_map(|line| line.strip_prefix("| `countersign_")) {
            let name = format!("countersign_{}", line.split('`').next().unwrap_or_default());
            let is_alert = !line.contains("` | counter |") && !line.contains("` | gauge |") && !line.contains("` | histogram |");
            assert!(is_alert || known.contains(&name.as_str()), "docs/monitoring.md has {name}, which no process tells");
        }
    }
}
