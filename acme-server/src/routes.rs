//! Paths, and what every answer carries.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get, head, post};
use ca_service::metrics;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};

use crate::drain::lend;
use crate::front::AcmeServer;
use crate::problem::Refusal;
use crate::request::PostAsGet;
use crate::{access, accounts, authorizations, certificates, directory, finalize, key_change, orders, renewal_info, revoke, star};

/// RFC 8555 §6.5.1.
const REPLAY_NONCE: HeaderName = HeaderName::from_static("replay-nonce");

/// Who a route listens to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Anyone, by GET: nothing is signed, and nothing acts. What RFC 8555 §6.3 names, accounts read by POST-as-GET too.
    Anyone,
    /// Requests signed by a valid account, by `kid`.
    Account,
    /// Requests signed by the key in their own header, by `jwk`.
    Key,
    /// Either of the two.
    AccountOrKey,
}

/// An entry of [`ROUTES`].
pub struct Route {
    /// The path, with its parameters in braces.
    pub path: &'static str,
    /// Who may ask.
    pub access: Access,
    handler: fn() -> MethodRouter<Arc<AcmeServer>>,
}

const fn route(path: &'static str, access: Access, handler: fn() -> MethodRouter<Arc<AcmeServer>>) -> Route {
    Route { path, access, handler }
}

/// Every route there is: [`AcmeServer::router`] has no other, so what a test sweeps is what is served.
pub static ROUTES: [Route; 20] = [
    route("/acme/directory", Access::Anyone, || get(directory::default).post(directory::default_signed)),
    route("/a/{authority}/acme/p/{profile}/directory", Access::Anyone, || get(directory::scoped).post(directory::scoped_signed)),
    route("/acme/new-nonce", Access::Anyone, || head(new_nonce).get(new_nonce).post(new_nonce_signed)),
    route("/acme/new-account", Access::Key, || post(accounts::create)),
    route("/acme/acct/{id}", Access::Account, || post(accounts::read_or_update)),
    route("/acme/acct/{id}/orders", Access::Account, || post(orders::list)),
    route("/acme/key-change", Access::Account, || post(key_change::change)),
    route("/acme/new-order", Access::Account, || post(orders::create)),
    route("/a/{authority}/acme/p/{profile}/new-order", Access::Account, || post(orders::create)),
    route("/acme/order/{id}", Access::Account, || post(orders::read)),
    route("/acme/order/{id}/finalize", Access::Account, || post(finalize::finalize)),
    route("/acme/new-authz", Access::Account, || post(authorizations::create)),
    route("/acme/authz/{id}", Access::Account, || post(authorizations::read_or_deactivate)),
    route("/acme/chall/{authorization}/{method}", Access::Account, || post(authorizations::challenge)),
    route("/acme/cert/{authority}/{serial}", Access::Account, || post(certificates::download)),
    route("/acme/cert/{authority}/{serial}/{n}", Access::Account, || post(certificates::download_alternate)),
    // Anyone may GET these where the order says so; of the others nobody.
    route("/acme/star/{id}", Access::Account, || get(star::fetch_openly).post(star::fetch)),
    route("/acme/star/{id}/{n}", Access::Account, || get(star::fetch_alternate_openly).post(star::fetch_alternate)),
    route("/acme/revoke-cert", Access::AccountOrKey, || post(revoke::revoke)),
    route("/acme/renewal-info/{id}", Access::Anyone, || get(renewal_info::read)),
];

impl AcmeServer {
    /// The service's routes, those of [`ROUTES`].
    pub fn router(self: Arc<Self>) -> Router {
        ROUTES
            .iter()
            .fold(Router::new(), |router, route| router.route(route.path, (route.handler)()))
            .fallback(async || Refusal::not_found())
            .method_not_allowed_fallback(async || Refusal::method_not_allowed())
            .layer(from_fn_with_state(Arc::clone(&self), on_every_answer))
            .layer(from_fn_with_state(Arc::clone(&self), access::observe))
            .with_state(self)
    }

    /// What [`Self::metrics_router`] tells, for a process that serves other metrics beside these.
    pub async fn metrics_text(&self) -> String {
        access::text(self).await
    }

    /// `/metrics`, for operators: on a listener of its own, which clients do not reach.
    pub fn metrics_router(self: Arc<Self>) -> Router {
        Router::new().route("/metrics", get(access::scrape)).with_state(self)
    }
}

/// A router of `/metrics` alone, with what `text` tells at each scrape: for a process that serves more than ACME.
pub fn metrics_page<F>(text: impl Fn() -> F + Clone + Send + Sync + 'static) -> Router
where
    F: Future<Output = String> + Send,
{
    let page = async move || ([(header::CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE))], text().await);
    Router::new().route("/metrics", get(page))
}

/// RFC 8555 §7.2: HEAD is answered with 200, GET with 204; the nonce itself comes with every such answer.
async fn new_nonce(method: Method) -> StatusCode {
    if method == Method::HEAD { StatusCode::OK } else { StatusCode::NO_CONTENT }
}

/// POST-as-GET of the same (§6.3): the nonce comes as with every POST.
async fn new_nonce_signed(_: PostAsGet) -> StatusCode {
    StatusCode::NO_CONTENT
}

async fn on_every_answer(State(server): State<Arc<AcmeServer>>, request: Request, next: Next) -> Response {
    let wants_nonce = request.method() == Method::POST || request.uri().path() == "/acme/new-nonce";
    let preflight = request.method() == Method::OPTIONS;
    let (parts, body) = request.into_parts();
    let (body, rest) = lend(body);
    let request = Request::from_parts(parts, body);
    let mut response = if preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    rest.drain().await;
    let headers = response.headers_mut();
    if wants_nonce {
        let nonce = HeaderValue::from_bytes(&server.nonces.issue()).expect("base64url is printable ASCII");
        headers.insert(REPLAY_NONCE, nonce);
    }
    headers.append(header::LINK, server.index_link.clone());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // RFC 8555 §6.1: clients in browsers. Requests are authenticated by signatures, never by cookies.
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    if preflight {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST"));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("Content-Type"));
    } else {
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Link, Location, Replay-Nonce, Retry-After"));
    }
    response
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, body: &impl serde::Serialize) -> Response {
    let body = serde_json::to_vec(body).expect("our own values have string keys only");
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}

/// Adds a header whose value is made of our own URLs and ids.
pub(crate) fn with_header(mut response: Response, name: HeaderName, value: &str) -> Response {
    match HeaderValue::from_str(value) {
        Ok(value) => {
            response.headers_mut().append(name, value);
        }
        Err(_) => tracing::error!(%name, "a header value was not printable"),
    }
    response
}
