//! Certificate download (RFC 8555 §7.4.2).

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use ca_core::model::{AuthorityName, CertificateRecord, CertificateState};
use ca_core::pki::{SerialNumber, pem_encode};
use http::{HeaderValue, header};

use crate::front::AcmeServer;
use crate::problem::Refusal;
use crate::request::{Ids, Signed};

/// POST /acme/cert/{authority}/{serial}
pub(crate) async fn download(
    State(server): State<Arc<AcmeServer>>,
    Ids(authority, serial): Ids<AuthorityName, SerialNumber>,
    signed: Signed,
) -> Result<Response, Refusal> {
    signed.require_post_as_get()?;
    let record = server.store.certificate(&authority, &serial).await?.ok_or_else(Refusal::not_found)?;
    if record.account.as_ref() != Some(&signed.account.id) {
        return Err(Refusal::unauthorized("this certificate belongs to another account"));
    }
    if record.state != CertificateState::Released {
        return Err(Refusal::not_found());
    }
    chain(&server, &record).await
}

/// A certificate with those above it, PEM (§9.1).
pub(crate) async fn chain(server: &AcmeServer, record: &CertificateRecord) -> Result<Response, Refusal> {
    let authority = &record.authority;
    let issuer = server.issuers.find(&*server.store, server.clock.now(), |i| i.name == *authority).await?;
    let issuer = issuer.ok_or_else(|| {
        tracing::error!(%authority, "a certificate's authority is not known");
        Refusal::unavailable()
    })?;
    let mut chain = pem_encode("CERTIFICATE", &record.der);
    chain.push_str(&issuer.chain);
    let content_type = (header::CONTENT_TYPE, HeaderValue::from_static("application/pem-certificate-chain"));
    // No `up` link: it is for forms that hold a single certificate (RFC 8555 §7.4.2), and Caddy fetches what it names as
    // further certificates of this chain.
    Ok(([content_type], chain).into_response())
}
