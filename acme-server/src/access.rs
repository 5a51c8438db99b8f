//! What operators see of each request: one line in the log, and numbers for a scrape.
//!
//! Neither has anything secret: no body, header, query, nonce or signature. An account is named only once its signature
//! was verified, and labels of metrics are route templates, statuses and problem types, of which there are few.

use std::sync::{Arc, OnceLock};

use axum::body::HttpBody as _;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use ca_core::model::{AccountId, ProblemType};
use ca_service::metrics::{self, Metric};
use ca_service::proxies::ClientAddress;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::time::Instant;

use crate::front::AcmeServer;
use crate::limits;

static REQUESTS: Metric = Metric::requests("countersign_acme_requests_total");
static SECONDS: Metric = Metric::request_seconds("countersign_acme_request_seconds");
static PROBLEMS: Metric =
    Metric::counter("countersign_acme_problems_total", "Refusals by ACME problem type; badNonce among them.", &["type"]);
static STEPS: Metric = Metric::counter("countersign_acme_steps_total", "Steps of clients that succeeded.", &["step"]);
static STORE_UP: Metric = Metric::gauge("countersign_store_up", "Whether the store answered at this scrape: 1 or 0.", &[]);
static QUEUE_AGE: Metric = Metric::gauge("countersign_queue_oldest_seconds", "How long the oldest request has waited for the worker.", &[]);
static INFO: Metric = Metric::version("countersign_build_info");

/// Every metric of this process; docs/monitoring.md describes each.
pub static METRICS: [&Metric; 11] = [
    &REQUESTS,
    &SECONDS,
    &PROBLEMS,
    &STEPS,
    &STORE_UP,
    &QUEUE_AGE,
    &INFO,
    &limits::LIMITED,
    &limits::SUBJECTS_BUSY,
    &limits::DISPLACED,
    &limits::PAUSED,
];

/// What a handler finds out about its request: the account whose signature was verified.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<OnceLock<AccountId>>);

impl Seen {
    pub(crate) fn account(&self, id: &AccountId) {
        // One request has one account; a second would be the same.
        let _ = self.0.set(id.clone());
    }
}

/// The problem that an answer is, as an extension of it.
#[derive(Clone, Copy)]
pub(crate) struct Told(pub(crate) ProblemType);

/// Logs and counts a request once its answer is ready.
pub(crate) async fn observe(State(server): State<Arc<AcmeServer>>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let seen = Seen::default();
    request.extensions_mut().insert(seen.clone());
    let route = request.extensions().get::<MatchedPath>().map_or("none", |path| known(path.as_str()));
    let method = request.method().clone();
    let address = request.extensions().get::<ClientAddress>().map(|a| tracing::field::display(a.0));
    let asked = order_in(route, request.uri().path()).map(ToOwned::to_owned);
    let response = next.run(request).await;

    let (status, took) = (response.status(), began.elapsed());
    let problem = response.extensions().get::<Told>().map(|told| told.0.name());
    let order = asked.or_else(|| located(route.ends_with("/new-order"), response.headers()).map(ToOwned::to_owned));
    // Whoever signs with an account's key is told its URL.
    let account = seen.0.get().map(AccountId::as_str).or_else(|| located(route == "/acme/new-account", response.headers()));
    let counted = server.metrics();
    counted.count(&REQUESTS, &[route, status.as_str()]);
    counted.observe(&SECONDS, &[route], took);
    if let Some(problem) = problem {
        counted.count(&PROBLEMS, &[problem]);
    }
    if let Some(step) = step(route, status) {
        counted.count(&STEPS, &[step]);
    }
    tracing::info!(
        method = bounded(method.as_str()),
        route,
        status = status.as_u16(),
        problem,
        account,
        order,
        address,
        microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        bytes = response.body().size_hint().exact(),
        "request"
    );
    response
}

/// A method that is not HTTP's own may be as long as a header; it is ASCII.
fn bounded(method: &str) -> &str {
    method.get(..16).unwrap_or(method)
}

/// The template as the table has it.
fn known(path: &str) -> &'static str {
    crate::routes::ROUTES.iter().find(|route| route.path == path).map_or("none", |route| route.path)
}

fn order_in<'a>(route: &str, path: &'a str) -> Option<&'a str> {
    let named = route.starts_with("/acme/order/") || route.starts_with("/acme/star/");
    named.then(|| path.split('/').nth(3)).flatten().filter(|id| id.len() <= 64)
}

/// The id at the end of the URL that an answer gives, where the route is the one.
fn located(is_the_one: bool, headers: &HeaderMap) -> Option<&str> {
    let location = is_the_one.then(|| headers.get(header::LOCATION)).flatten()?;
    location.to_str().ok()?.rsplit('/').next()
}

fn step(route: &str, status: StatusCode) -> Option<&'static str> {
    match (route, status) {
        ("/acme/new-account", StatusCode::CREATED) => Some("account"),
        ("/acme/new-order" | "/a/{authority}/acme/p/{profile}/new-order", StatusCode::CREATED) => Some("order"),
        ("/acme/chall/{authorization}/{method}", StatusCode::OK) => Some("challenge"),
        ("/acme/order/{id}/finalize", StatusCode::OK) => Some("finalize"),
        ("/acme/new-authz", StatusCode::CREATED) => Some("authorization"),
        (
            "/acme/cert/{authority}/{serial}" | "/acme/cert/{authority}/{serial}/{n}" | "/acme/star/{id}" | "/acme/star/{id}/{n}",
            StatusCode::OK,
        ) => Some("download"),
        ("/acme/key-change", StatusCode::OK) => Some("key-change"),
        ("/acme/revoke-cert", StatusCode::OK) => Some("revocation"),
        _ => None,
    }
}

/// GET /metrics, on a listener of its own.
pub(crate) async fn scrape(State(server): State<Arc<AcmeServer>>) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE))], text(&server).await).into_response()
}

/// What `/metrics` tells, for a process that serves more than this.
pub(crate) async fn text(server: &AcmeServer) -> String {
    let counted = server.metrics();
    counted.set(&INFO, &[env!("CARGO_PKG_VERSION")], 1.0);
    server.limiter.show(counted, server.clock.now());
    match server.store.oldest_wait(server.clock.now()).await {
        Ok(wait) => {
            counted.set(&STORE_UP, &[], 1.0);
            counted.set(&QUEUE_AGE, &[], wait.as_secs_f64());
        }
        Err(error) => {
            tracing::warn!(%error, "the store did not answer a scrape");
            counted.set(&STORE_UP, &[], 0.0);
        }
    }
    counted.render()
}
