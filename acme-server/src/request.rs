//! From a POST's bytes to a verified JWS (RFC 8555 §6.2 to §6.5), as extractors.
//!
//! The order of checks: the cheap ones first, then the nonce (which stops replays before any signature is verified),
//! then the account, then the signature.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use ca_core::evidence::json::MAX_BYTES;
use ca_core::evidence::jwk::Jwk;
use ca_core::evidence::jws::{KeyRef, ParsedJws};
use ca_core::model::{Account, AccountId, AccountStatus, Actor, ProblemType};
use ca_service::proxies::{ClientAddress, Unnamed};
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;

use crate::access::Seen;
use crate::bodies::{Arriving, Held, Refused};
use crate::front::AcmeServer;
use crate::problem::Refusal;

/// A request signed by a valid account.
pub(crate) struct Signed {
    pub(crate) account: Account,
    pub(crate) key: Arc<Jwk>,
    pub(crate) jws: ParsedJws,
    /// The body verbatim: evidence.
    pub(crate) text: String,
    /// What the body has of the budget.
    _held: Held,
    /// Where it comes from, as this process saw.
    pub(crate) address: Option<IpAddr>,
    /// The same, where it is the client's own: a proxy that does not say who is behind it is inside no network for it.
    pub(crate) origin: Option<IpAddr>,
}

impl Signed {
    pub(crate) fn actor(&self) -> Actor {
        Actor::Account { id: self.account.id.clone() }
    }

    /// Refuses a payload where only POST-as-GET makes sense (RFC 8555 §6.3).
    pub(crate) fn require_post_as_get(&self) -> Result<(), Refusal> {
        if self.jws.payload.is_empty() {
            Ok(())
        } else {
            Err(Refusal::malformed("this resource is read by POST-as-GET, with an empty payload"))
        }
    }
}

/// A request signed by the key in its own header.
pub(crate) struct SelfSigned {
    pub(crate) key: Jwk,
    pub(crate) jws: ParsedJws,
    pub(crate) text: String,
    /// What the body has of the budget.
    _held: Held,
    /// Where it comes from, as this process saw.
    pub(crate) address: Option<IpAddr>,
    /// The same, where it is the client's own: a proxy that does not say who is behind it is inside no network for it.
    pub(crate) origin: Option<IpAddr>,
}

/// A request signed in either way: revocation.
pub(crate) enum AnySigned {
    Account(Box<Signed>),
    Key(Box<SelfSigned>),
}

impl FromRequest<Arc<AcmeServer>> for AnySigned {
    type Rejection = Refusal;

    async fn from_request(request: Request, server: &Arc<AcmeServer>) -> Result<Self, Refusal> {
        let seen = request.extensions().get::<Seen>().cloned();
        let address = request.extensions().get::<ClientAddress>().map(|address| address.0);
        let origin = address.filter(|_| request.extensions().get::<Unnamed>().is_none());
        let (text, _held, jws) = read(server, request).await?;
        match &jws.protected.key {
            KeyRef::Kid(kid) => {
                let account = account(server, kid).await?;
                let key = server.verified.key(&account.jwk)?;
                if jws.payload.is_empty() {
                    jws.verify(&key)?;
                } else {
                    // It may become evidence, which the worker verifies too.
                    server.verified.jws(&jws, &key)?;
                }
                if let Some(seen) = seen {
                    seen.account(&account.id);
                }
                Ok(Self::Account(Box::new(Signed { account, key, jws, text, _held, address, origin })))
            }
            KeyRef::Jwk(key) => {
                let key = key.clone();
                jws.verify(&key)?;
                Ok(Self::Key(Box::new(SelfSigned { key, jws, text, _held, address, origin })))
            }
        }
    }
}

impl FromRequest<Arc<AcmeServer>> for Signed {
    type Rejection = Refusal;

    async fn from_request(request: Request, server: &Arc<AcmeServer>) -> Result<Self, Refusal> {
        match AnySigned::from_request(request, server).await? {
            AnySigned::Account(signed) => Ok(*signed),
            AnySigned::Key(_) => Err(Refusal::malformed("this request must be signed by an account: kid, not jwk")),
        }
    }
}

/// A POST-as-GET of what anyone may GET too (RFC 8555 §6.3).
pub(crate) struct PostAsGet;

impl FromRequest<Arc<AcmeServer>> for PostAsGet {
    type Rejection = Refusal;

    async fn from_request(request: Request, server: &Arc<AcmeServer>) -> Result<Self, Refusal> {
        Signed::from_request(request, server).await?.require_post_as_get()?;
        Ok(Self)
    }
}

impl FromRequest<Arc<AcmeServer>> for SelfSigned {
    type Rejection = Refusal;

    async fn from_request(request: Request, server: &Arc<AcmeServer>) -> Result<Self, Refusal> {
        match AnySigned::from_request(request, server).await? {
            AnySigned::Key(signed) => Ok(*signed),
            AnySigned::Account(_) => Err(Refusal::malformed("this request must carry its key: jwk, not kid")),
        }
    }
}

async fn read(server: &AcmeServer, request: Request) -> Result<(String, Held, ParsedJws), Refusal> {
    let (parts, body) = request.into_parts();
    let (text, held) = read_body(server, &parts.headers, body).await?;
    let jws = ParsedJws::parse(&text)?;
    let asked = parts.uri.path_and_query().map_or("/", |p| p.as_str());
    // RFC 8555 §6.4: where they differ, "the server MUST reject the request as unauthorized".
    if jws.protected.url.strip_prefix(server.config.public_base_url.as_str()) != Some(asked) {
        return Err(Refusal::unauthorized("the JWS was made for another URL (hint: use the URLs that the directory gives)"));
    }
    // RFC 8555 §6.5.
    let accepted = match jws.protected.nonce.as_deref() {
        Some(nonce) => server.redeem(nonce).await,
        None => false,
    };
    if !accepted {
        return Err(Refusal::new(ProblemType::BadNonce, "the nonce is missing, used or too old; a fresh one is in this answer"));
    }
    Ok((text, held, jws))
}

async fn read_body(server: &AcmeServer, headers: &HeaderMap, body: Body) -> Result<(String, Held), Refusal> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/jose+json") {
        return Err(Refusal::malformed("the Content-Type must be application/jose+json").with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
    if announced.is_some_and(|length| length > MAX_BYTES as u64) {
        return Err(too_large());
    }
    let arrive = arrive(body, Arriving::new(&server.bodies));
    let arrived = tokio::time::timeout(server.config.body_timeout, arrive)
        .await
        .unwrap_or_else(|_| Err(Refusal::malformed("the request took too long to arrive").with_status(StatusCode::REQUEST_TIMEOUT)));
    let (octets, held) = arrived?.whole();
    let text = String::from_utf8(octets).map_err(|_| Refusal::malformed("the request is not UTF-8"))?;
    Ok((text, held))
}

/// Reads a body to its end.
async fn arrive(mut body: Body, mut arriving: Arriving) -> Result<Arriving, Refusal> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::malformed("the request's body did not arrive whole"))?;
        // Trailers say nothing here.
        let Some(piece) = frame.data_ref() else { continue };
        arriving.push(piece).map_err(|refused| match refused {
            Refused::TooLarge => too_large(),
            Refused::Full => Refusal::busy(),
        })?;
    }
    Ok(arriving)
}

fn too_large() -> Refusal {
    Refusal::malformed("requests have at most 64 KiB").with_status(StatusCode::PAYLOAD_TOO_LARGE)
}

async fn account(server: &AcmeServer, kid: &str) -> Result<Account, Refusal> {
    let id = kid
        .strip_prefix(server.config.public_base_url.as_str())
        .and_then(|path| path.strip_prefix("/acme/acct/"))
        .and_then(|id| id.parse::<AccountId>().ok());
    let account = match id {
        Some(id) => server.store.account(&id).await?,
        None => None,
    };
    match account {
        Some(account) if account.status == AccountStatus::Valid => Ok(account),
        None => Err(does_not_exist()),
        Some(account) => Err(not_valid(account.status)),
    }
}

pub(crate) fn does_not_exist() -> Refusal {
    Refusal::new(ProblemType::AccountDoesNotExist, "there is no such account here (hint: register it again)")
}

/// What the key of an account that is not valid is told.
pub(crate) fn not_valid(status: AccountStatus) -> Refusal {
    let unauthorized = |detail| Refusal::unauthorized(detail).with_status(StatusCode::UNAUTHORIZED);
    match status {
        AccountStatus::Valid | AccountStatus::Pending => does_not_exist(),
        // RFC 8555 §7.3.6: 401 (Unauthorized).
        AccountStatus::Deactivated => unauthorized("this account is deactivated"),
        AccountStatus::Revoked => {
            unauthorized("this account is revoked, with its enrolment grant (hint: ask the CA's operators for another)")
        }
    }
}

/// A path parameter; one that does not parse names nothing.
pub(crate) struct Id<T>(pub(crate) T);

impl<T: FromStr> FromRequestParts<Arc<AcmeServer>> for Id<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, server: &Arc<AcmeServer>) -> Result<Self, Refusal> {
        let Path(text) = Path::<String>::from_request_parts(parts, server).await.map_err(|_| Refusal::not_found())?;
        text.parse().map(Self).map_err(|_| Refusal::not_found())
    }
}

/// Two path parameters.
pub(crate) struct Ids<A, B>(pub(crate) A, pub(crate) B);

impl<A: FromStr, B: FromStr> FromRequestParts<Arc<AcmeServer>> for Ids<A, B> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, server: &Arc<AcmeServer>) -> Result<Self, Refusal> {
        let Path((a, b)) = Path::<(String, String)>::from_request_parts(parts, server).await.map_err(|_| Refusal::not_found())?;
        match (a.parse(), b.parse()) {
            (Ok(a), Ok(b)) => Ok(Self(a, b)),
            _ => Err(Refusal::not_found()),
        }
    }
}

/// Three path parameters.
pub(crate) struct ThreeIds<A, B, C>(pub(crate) A, pub(crate) B, pub(crate) C);

impl<A: FromStr, B: FromStr, C: FromStr> FromRequestParts<Arc<AcmeServer>> for ThreeIds<A, B, C> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, server: &Arc<AcmeServer>) -> Result<Self, Refusal> {
        let Path((a, b, c)) =
            Path::<(String, String, String)>::from_request_parts(parts, server).await.map_err(|_| Refusal::not_found())?;
        match (a.parse(), b.parse(), c.parse()) {
            (Ok(a), Ok(b), Ok(c)) => Ok(Self(a, b, c)),
            _ => Err(Refusal::not_found()),
        }
    }
}
