//! Certificate download (RFC 8555 §7.4.2).

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use ca_core::model::AuthorityName;
use ca_core::pki::{SerialNumber, pem_encode};
use http::{HeaderValue, header};

use crate::alternates::Alternate;
use crate::front::AcmeServer;
use crate::problem::Refusal;
use crate::request::{Ids, Signed, ThreeIds};
use crate::routes::with_header;
use crate::settled::Released;

/// POST /acme/cert/{authority}/{serial}
pub(crate) async fn download(
    State(server): State<Arc<AcmeServer>>,
    Ids(authority, serial): Ids<AuthorityName, SerialNumber>,
    signed: Signed,
) -> Result<Response, Refusal> {
    let released = own(&server, &authority, &serial, &signed).await?;
    chain(&server, &authority, &released.der, &server.certificate_url(&authority, serial), None).await
}

/// POST /acme/cert/{authority}/{serial}/{n}
pub(crate) async fn download_alternate(
    State(server): State<Arc<AcmeServer>>,
    ThreeIds(authority, serial, number): ThreeIds<AuthorityName, SerialNumber, u64>,
    signed: Signed,
) -> Result<Response, Refusal> {
    let released = own(&server, &authority, &serial, &signed).await?;
    chain(&server, &authority, &released.der, &server.certificate_url(&authority, serial), Some(number)).await
}

/// The certificate, if the account may fetch it.
async fn own(server: &AcmeServer, authority: &AuthorityName, serial: &SerialNumber, signed: &Signed) -> Result<Arc<Released>, Refusal> {
    signed.require_post_as_get()?;
    let released = server.settled.certificate(&*server.store, authority, serial).await?.ok_or_else(Refusal::not_found)?;
    if released.account.as_ref() != Some(&signed.account.id) {
        return Err(Refusal::unauthorized("this certificate belongs to another account"));
    }
    Ok(released)
}

/// Links a chain, by its number or the default one, to all the others.
fn linked<'a>(default: &str, alternates: impl Iterator<Item = &'a Alternate>, this: Option<u64>, response: Response) -> Response {
    let numbers = std::iter::once(None).chain(alternates.map(|alternate| Some(alternate.number)));
    numbers.filter(|number| *number != this).fold(response, |response, number| {
        let url = number.map_or_else(|| default.to_owned(), |number| format!("{default}/{number}"));
        with_header(response, header::LINK, &format!("<{url}>;rel=\"alternate\""))
    })
}

fn pem_chain(leaf: &[u8], above: &str) -> Response {
    let chain = [&*pem_encode("CERTIFICATE", leaf), above].concat();
    let content_type = (header::CONTENT_TYPE, HeaderValue::from_static("application/pem-certificate-chain"));
    // No `up` link: it is for forms that hold a single certificate (RFC 8555 §7.4.2), and Caddy fetches what it names as
    // further certificates of this chain.
    ([content_type], chain).into_response()
}

/// A certificate with those above it, PEM (§9.1): one of its chains, the default one or that with this number, with links
/// to all the others. `url` is the default one's; the others' are below it.
pub(crate) async fn chain(
    server: &AcmeServer,
    authority: &AuthorityName,
    leaf: &[u8],
    url: &str,
    number: Option<u64>,
) -> Result<Response, Refusal> {
    let now = server.clock.now();
    let issuer = server.issuers.current(&*server.store, now, authority).await?.ok_or_else(|| {
        tracing::error!(%authority, "a certificate's authority is not known");
        Refusal::unavailable()
    })?;
    let response = match number {
        Some(number) => {
            let alternate = issuer.alternates(now).find(|alternate| alternate.number == number).ok_or_else(Refusal::not_found)?;
            pem_chain(leaf, &alternate.chain)
        }
        None => pem_chain(leaf, &issuer.chain),
    };
    Ok(linked(url, issuer.alternates(now), number, response))
}
