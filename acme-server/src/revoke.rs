//! Revocation by subscribers (RFC 8555 §7.6).
//!
//! What is authorized is the very certificate: by the account that it was issued to, by its own key, or by an account that
//! has proven each of its identifiers by a challenge. That an account might order the same names is not enough (ACME
//! requirement A19). The store verifies the request again.

use std::sync::Arc;

use axum::extract::State;
use ca_core::evidence::revocation::{RevocationRight, RevokeCertRequest, verify};
use ca_core::model::{CertificateState, ProblemType, RevocationRequest, Revoked};
use ca_core::pki::Certificate;
use ca_core::policy::zone_of;
use ca_core::ports::StoreError;
use http::StatusCode;

use crate::front::AcmeServer;
use crate::problem::Refusal;
use crate::request::AnySigned;

/// POST /acme/revoke-cert
pub(crate) async fn revoke(State(server): State<Arc<AcmeServer>>, signed: AnySigned) -> Result<StatusCode, Refusal> {
    let (jws, text, account) = match &signed {
        AnySigned::Account(signed) => (&signed.jws, &signed.text, Some(&signed.account)),
        AnySigned::Key(signed) => (&signed.jws, &signed.text, None),
    };
    let asked = RevokeCertRequest::parse(jws)?;
    let certificate = Certificate::from_der(&asked.certificate).map_err(|e| Refusal::malformed(format!("`certificate`: {e}")))?;
    let unknown = || Refusal::malformed("this certificate was not issued here").with_status(StatusCode::NOT_FOUND);
    let key_identifier = certificate.authority_key_identifier().ok_or_else(unknown)?;
    let issuer = server.issuers.find(&*server.store, server.clock.now(), |i| i.key_identifier == key_identifier).await?;
    let issuer = issuer.ok_or_else(unknown)?;
    let serial = certificate.serial();
    let record = server.store.certificate(&issuer.name, &serial).await?.ok_or_else(unknown)?;
    if record.state != CertificateState::Released || record.der != asked.certificate {
        return Err(unknown());
    }
    let anothers = || Refusal::unauthorized("this certificate belongs to another account");
    let claim = verify(text, &record, account)?;
    if claim.right == RevocationRight::Proofs {
        let directories = server.directories();
        let zones = directories.zones(&issuer.name);
        if !record.identifiers.iter().all(|identifier| zone_of(zones, identifier).is_some()) {
            return Err(anothers());
        }
    }
    if let Some(id) = &record.order
        && server.store.order(id).await?.is_some_and(|order| order.auto_renewal.is_some())
    {
        // RFC 8739 §3.1.2: 403 (Forbidden).
        let detail = "the order of this certificate renews itself (hint: cancel the order; operators can revoke the certificate)";
        return Err(Refusal::new(ProblemType::AutoRenewalRevocationNotSupported, detail));
    }
    let request = RevocationRequest {
        authority: issuer.name.clone(),
        serial,
        reason: claim.reason,
        invalidity_date: None,
        actor: claim.actor,
        at: server.clock.now(),
        correlation: server.correlation(),
    };
    // A key revokes its own certificate once: it needs no limit, and must not meet one.
    if let AnySigned::Account(signed) = &signed {
        server.admit_revocation(signed).await?;
    }
    match server.store.revoke_on_request(text, &request).await {
        Ok(Revoked::Now { .. }) => Ok(StatusCode::OK),
        Ok(Revoked::Already) => Err(Refusal::new(ProblemType::AlreadyRevoked, "this certificate is revoked already")),
        Ok(Revoked::NotFound) => Err(unknown()),
        Err(StoreError::Conflict(reason)) => {
            tracing::info!(%serial, reason, "a revocation was refused");
            // The store verified it with the key that the account has now.
            if let Some(account) = account
                && server.store.account(&account.id).await?.is_none_or(|now| now.thumbprint != account.thumbprint)
            {
                return Err(Refusal::key_changed());
            }
            Err(anothers())
        }
        Err(error) => Err(error.into()),
    }
}
