//! Revocation by subscribers (RFC 8555 §7.6).
//!
//! What is authorized is the very certificate: by the account that it was issued to, or by its own key. That an account
//! might order the same names is not enough (ACME requirement A19).

use std::sync::Arc;

use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ca_core::model::{Actor, CertificateState, ProblemType, RevocationReason, RevocationRequest, Revoked};
use ca_core::pki::Certificate;
use http::StatusCode;
use serde_json::{Map, Value};

use crate::front::AcmeServer;
use crate::problem::Refusal;
use crate::request::AnySigned;

/// The reasons that subscribers may give.
const ALLOWED: [RevocationReason; 5] = [
    RevocationReason::Unspecified,
    RevocationReason::KeyCompromise,
    RevocationReason::AffiliationChanged,
    RevocationReason::Superseded,
    RevocationReason::CessationOfOperation,
];

/// POST /acme/revoke-cert
pub(crate) async fn revoke(State(server): State<Arc<AcmeServer>>, signed: AnySigned) -> Result<StatusCode, Refusal> {
    let payload = match &signed {
        AnySigned::Account(signed) => signed.jws.payload_object()?,
        AnySigned::Key(signed) => signed.jws.payload_object()?,
    };
    let der = payload.get("certificate").and_then(Value::as_str).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    let der = der.ok_or_else(|| Refusal::malformed("the payload has no `certificate` in unpadded base64url"))?;
    let certificate = Certificate::from_der(&der).map_err(|e| Refusal::malformed(format!("`certificate`: {e}")))?;
    let unknown = || Refusal::malformed("this certificate was not issued here").with_status(StatusCode::NOT_FOUND);
    let key_identifier = certificate.authority_key_identifier().ok_or_else(unknown)?;
    let issuer = server.issuers.find(&*server.store, server.clock.now(), |i| i.key_identifier == key_identifier).await?;
    let issuer = issuer.ok_or_else(unknown)?;
    let serial = certificate.serial();
    let record = server.store.certificate(&issuer.name, &serial).await?.ok_or_else(unknown)?;
    if record.state != CertificateState::Released || record.der != der {
        return Err(unknown());
    }
    let actor = match &signed {
        AnySigned::Account(signed) if record.account.as_ref() == Some(&signed.account.id) => signed.actor(),
        AnySigned::Account(_) => return Err(Refusal::unauthorized("this certificate belongs to another account")),
        AnySigned::Key(signed) if signed.key.public_key()? == *certificate.public_key() => {
            Actor::CertificateKey { spki_sha256: certificate.public_key().spki_sha256() }
        }
        AnySigned::Key(_) => return Err(Refusal::unauthorized("the request is not signed by the certificate's key")),
    };
    let request = RevocationRequest {
        authority: issuer.name.clone(),
        serial,
        reason: reason(&payload)?,
        invalidity_date: None,
        actor,
        at: server.clock.now(),
        correlation: server.correlation(),
    };
    // A key revokes its own certificate once: it needs no limit, and must not meet one.
    if let AnySigned::Account(signed) = &signed {
        server.admit_revocation(signed)?;
    }
    match server.store.revoke(&request).await? {
        Revoked::Now { .. } => Ok(StatusCode::OK),
        Revoked::Already => Err(Refusal::new(ProblemType::AlreadyRevoked, "this certificate is revoked already")),
        Revoked::NotFound => Err(unknown()),
    }
}

fn reason(payload: &Map<String, Value>) -> Result<RevocationReason, Refusal> {
    let refused = || Refusal::new(ProblemType::BadRevocationReason, "`reason` is one of 0, 1, 3, 4 and 5");
    match payload.get("reason") {
        None | Some(Value::Null) => Ok(RevocationReason::Unspecified),
        Some(value) => {
            let code = value.as_u64().and_then(|code| u8::try_from(code).ok()).ok_or_else(refused)?;
            RevocationReason::from_code(code).filter(|reason| ALLOWED.contains(reason)).ok_or_else(refused)
        }
    }
}
