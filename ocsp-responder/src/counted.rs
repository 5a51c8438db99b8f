//! What operators see of the responder: requests by route and status, and how fresh what it answers from is.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use ca_service::metrics::{CONTENT_TYPE, Metric};
use ca_service::proxies::ClientAddress;
use http::{HeaderValue, header};
use tokio::time::Instant;

use crate::follow::Responder;

static REQUESTS: Metric = Metric::requests("countersign_status_requests_total");
static SECONDS: Metric = Metric::request_seconds("countersign_status_request_seconds");
static READY: Metric = Metric::gauge("countersign_status_ready", "Whether nothing keeps the responder from answering: 1 or 0.", &[]);
static LEDGER_AGE: Metric = Metric::gauge(
    "countersign_ledger_age_seconds",
    "How long ago the revocation ledger was read; none before the first time.",
    &["authority"],
);
static SIGNER: Metric = Metric::gauge(
    "countersign_ocsp_signer_valid",
    "Whether there is a valid certificate for the delegated OCSP key: 1 or 0; absent once the authority has ended.",
    &["authority"],
);
static ENDED: Metric = Metric::gauge(
    "countersign_status_authority_ended",
    "Whether the authority's certificate has ended: 1 or 0; readiness does not count it then.",
    &["authority"],
);
static CRL_LEFT: Metric = Metric::gauge(
    "countersign_crl_validity_seconds",
    "How long the CRL that was last served is still valid; 0: it has ended.",
    &["authority", "partition"],
);

/// Every metric of this process; docs/monitoring.md describes each.
pub static METRICS: [&Metric; 7] = [&REQUESTS, &SECONDS, &READY, &LEDGER_AGE, &SIGNER, &ENDED, &CRL_LEFT];

/// Counts a request once its answer is ready, and logs it at level debug: there may be thousands a second.
pub(crate) async fn observe(State(responder): State<Arc<Responder>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    // A template, of which there are as many as routes.
    let route = request.extensions().get::<MatchedPath>().cloned();
    let address = request.extensions().get::<ClientAddress>().copied();
    let response = next.run(request).await;
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    let (status, took) = (response.status(), began.elapsed());
    responder.metrics.count(&REQUESTS, &[route, status.as_str()]);
    responder.metrics.observe(&SECONDS, &[route], took);
    tracing::debug!(
        route,
        status = status.as_u16(),
        address = address.map(|a| tracing::field::display(a.0)),
        microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        "request"
    );
    response
}

/// GET /metrics, on a listener of its own.
pub(crate) async fn scrape(State(responder): State<Arc<Responder>>) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE))], text(&responder)).into_response()
}

/// What `/metrics` tells, for a process that serves more than this.
pub(crate) fn text(responder: &Responder) -> String {
    let (metrics, now) = (&responder.metrics, responder.clock.now());
    let yes = |so: bool| if so { 1.0 } else { 0.0 };
    metrics.set(&READY, &[], yes(responder.not_ready().is_empty()));
    for authority in responder.authorities().values() {
        let name = authority.name.as_str();
        if let Some(at) = authority.ledger().read_at {
            metrics.set(&LEDGER_AGE, &[name], now.since(at).as_secs_f64());
        }
        let has_ended = authority.has_ended(now);
        metrics.set(&ENDED, &[name], yes(has_ended));
        if has_ended {
            metrics.unset(&SIGNER, &[name]);
        } else if authority.key.is_some() {
            metrics.set(&SIGNER, &[name], yes(authority.signer(now).is_some()));
        }
    }
    for (authority, scope, file) in responder.crls.held() {
        metrics.set(&CRL_LEFT, &[authority.as_str(), &scope.0.to_string()], file.next_update.since(now).as_secs_f64());
    }
    metrics.render()
}
