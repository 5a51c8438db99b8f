//! Account key rollover (RFC 8555 §7.3.5).

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use ca_core::evidence::chain::MAX_KEY_CHANGE;
use ca_core::evidence::json;
use ca_core::evidence::jwk::Jwk;
use ca_core::evidence::jws::{KeyRef, ParsedJws};
use ca_core::model::AccountStatus;
use ca_core::ports::{StoreError, TOO_MANY_KEY_CHANGES};
use http::{StatusCode, header};
use serde_json::Value;

use crate::accounts::answer;
use crate::front::AcmeServer;
use crate::problem::Refusal;
use crate::request::Signed;

/// POST /acme/key-change
pub(crate) async fn change(State(server): State<Arc<AcmeServer>>, signed: Signed) -> Result<Response, Refusal> {
    if signed.text.len() > MAX_KEY_CHANGE {
        // It is kept for as long as the account, and read with each of its requests.
        return Err(Refusal::malformed("a key change has at most 16 KiB").with_status(StatusCode::PAYLOAD_TOO_LARGE));
    }
    let payload = json::parse(&signed.jws.payload).map_err(|e| Refusal::malformed(format!("the payload does not parse: {e}")))?;
    let inner = ParsedJws::from_value(payload)?;
    let KeyRef::Jwk(new_key) = &inner.protected.key else {
        return Err(Refusal::malformed("the inner JWS must carry the new key: jwk, not kid"));
    };
    inner.verify(new_key)?;
    // §7.3.5: the inner JWS "MUST have the same "url" header parameter as the outer JWS" and "MUST omit the "nonce"".
    if inner.protected.url != signed.jws.protected.url || inner.protected.nonce.is_some() {
        return Err(Refusal::malformed("the inner JWS must have the outer one's url and no nonce"));
    }
    let request = inner.payload_object()?;
    if request.get("account").and_then(Value::as_str) != Some(&server.account_url(&signed.account.id)) {
        return Err(Refusal::malformed("the inner JWS names another account"));
    }
    if request.get("oldKey").map(Jwk::from_value).transpose()?.as_ref() != Some(&*signed.key) {
        return Err(Refusal::malformed("the inner JWS's oldKey is not the account's key"));
    }
    let thumbprint = new_key.thumbprint();
    if let Some(other) = server.store.account_by_key(&thumbprint).await?
        && matches!(other.status, AccountStatus::Valid | AccountStatus::Pending)
    {
        // §7.3.5: 409 (Conflict) with the account's URL in the Location header.
        return Err(conflict().with_header(header::LOCATION, server.account_url(&other.id)));
    }
    server.account_key_is_free(new_key).await?;
    let id = &signed.account.id;
    server.admit_change(id).await?;
    let mut audit = server.audit(signed.actor(), "account.key-change", id.as_str(), server.correlation());
    audit.detail = serde_json::json!({ "old": signed.account.thumbprint, "new": thumbprint });
    let changed = server.store.change_key(id, &signed.account.thumbprint, &new_key.canonical(), &thumbprint, &signed.text, &audit).await;
    match changed {
        Ok(account) => Ok(answer(&server, StatusCode::OK, &account)),
        Err(StoreError::Conflict(reason)) if reason == TOO_MANY_KEY_CHANGES => {
            Err(Refusal::unauthorized(format!("{reason} (hint: this key stays; make a new account for another)")))
        }
        Err(StoreError::Conflict(_)) => Err(conflict()),
        Err(error) => Err(error.into()),
    }
}

fn conflict() -> Refusal {
    Refusal::malformed("the new key belongs to an account already, or the account's key was changed meanwhile")
        .with_status(StatusCode::CONFLICT)
}
