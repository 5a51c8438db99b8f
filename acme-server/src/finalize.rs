//! Finalization (RFC 8555 §7.4): the CSR against the order, then the worker's turn.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ca_core::evidence::csr_names::check_names;
use ca_core::evidence::jwk::Jwk;
use ca_core::model::{ChallengeMethod, Fault, Grant, Order, OrderCommand, OrderId, OrderRejected, OrderStatus, ProblemType, RequestState};
use ca_core::pki::{Csr, KeyError, PublicKey};
use ca_core::ports::{KEY_CHANGED, StoreError};
use ca_core::profile::{check_key, is_same_key};
use http::StatusCode;
use serde_json::Value;

use crate::front::AcmeServer;
use crate::orders::answer;
use crate::problem::Refusal;
use crate::request::{Id, Signed};

/// POST /acme/order/{id}/finalize
pub(crate) async fn finalize(State(server): State<Arc<AcmeServer>>, Id(id): Id<OrderId>, signed: Signed) -> Result<Response, Refusal> {
    let order = server.young_order(&id, &signed.account.id).await?;
    let now = server.clock.now();
    // The state first: a CSR costs a signature verification.
    let refused = |rejected: OrderRejected| Refusal::new(ProblemType::OrderNotReady, rejected.to_string());
    let processing = order.clone().apply(OrderCommand::Finalize, now).map_err(refused)?;
    let grant = server.live_grant(&signed).await?.grant;
    let payload = signed.jws.payload_object()?;
    let csr = payload.get("csr").and_then(Value::as_str).ok_or_else(|| Refusal::malformed("the payload has no `csr` string"))?;
    let csr = check_csr(&server, csr, &order, &grant, &signed.key)?;
    key_is_attested(&server, &order, csr.public_key()).await?;
    key_is_free(&server, csr.public_key()).await?;
    // Of lists that are newer than the account: the worker will refuse it too, and then the order is lost.
    if !server.published.is_empty() && server.published.has(&signed.key.public_key()?) {
        let detail = format!("the account's key: {} (hint: give the account another key, RFC 8555 §7.3.5)", KeyError::Published);
        return Err(Refusal::new(ProblemType::BadPublicKey, detail));
    }
    server.judge_finalize(&grant, &order, &csr, now).await?;

    let mut audit = server.audit(signed.actor(), "order.finalize", id.as_str(), id.as_str());
    audit.authority = Some(order.authority);
    let queued = server.store.queue_finalize(&id, &signed.account.thumbprint, &signed.text, now, &audit).await;
    let request = match queued {
        Ok(request) => request,
        Err(StoreError::Conflict(reason)) if reason != KEY_CHANGED => {
            // What was remembered of it was out of date, or another request came first.
            server.own_order(&id, &signed.account.id).await?.apply(OrderCommand::Finalize, now).map_err(refused)?;
            return Err(Refusal::new(ProblemType::OrderNotReady, "another request finalized this order"));
        }
        Err(error) => return Err(error.into()),
    };
    let ended = server.store.await_request(&request, server.config.worker_wait).await;
    let ended = ended.inspect_err(|error| tracing::warn!(order = %id, %error, "could not wait for the worker"));
    let order = match ended {
        // An order that renews itself has more to tell.
        Ok(RequestState::Done { certificate: Some(issued) }) if processing.auto_renewal.is_none() => {
            let valid = processing.apply(OrderCommand::Release(issued.serial), server.clock.now()).map_err(refused)?;
            server.settled.keep_issued(&valid, *issued);
            valid
        }
        // Whatever comes of it stands in the order; a failure to wait is no failure to finalize.
        Ok(_) | Err(_) => server.own_order(&id, &signed.account.id).await?,
    };
    // What was changed meanwhile, or this CA failed at, is not the account's failure: much as the store counts them for a pause.
    let clients = order.error.as_ref().is_some_and(|error| Fault::of(error.kind) == Fault::Client);
    if order.status == OrderStatus::Invalid && clients {
        server.limiter.failed(server.metrics(), &order.account, server.clock.now());
    }
    answer(&server, StatusCode::OK, order).await
}

/// Refuses a CSR that does not fit; the order stays ready (RFC 8555 §7.4).
fn check_csr(server: &AcmeServer, text: &str, order: &Order, grant: &Grant, account_key: &Jwk) -> Result<Csr, Refusal> {
    let bad = |detail: String| Refusal::new(ProblemType::BadCsr, detail);
    let der = URL_SAFE_NO_PAD.decode(text).map_err(|_| bad("the CSR is not unpadded base64url".to_owned()))?;
    let csr = server.verified.csr(&der).map_err(|e| bad(e.to_string()))?;
    check_names(&csr, &order.identifiers, grant).map_err(bad)?;
    check_key(csr.public_key()).map_err(|e| bad(e.to_string()))?;
    // RFC 8555 §11.1: an account key must not be certified.
    if *csr.public_key() == account_key.public_key()? {
        return Err(bad("the CSR is for the account's own key (hint: make another key for the certificate)".to_owned()));
    }
    Ok(csr)
}

/// Refuses a key other than the attested one, as the worker will: here the order stays ready.
async fn key_is_attested(server: &AcmeServer, order: &Order, key: &PublicKey) -> Result<(), Refusal> {
    for (identifier, id) in order.identifiers.iter().zip(&order.authorizations).filter(|(identifier, _)| identifier.is_device()) {
        let authorization = server.store.authorization(id).await?.ok_or_else(Refusal::unavailable)?;
        let Some(challenge) = authorization.challenge(ChallengeMethod::DeviceAttest01) else { continue };
        if challenge.attested_key != Some(key.spki_sha256()) {
            let detail =
                format!("the CSR's key is not the one that was attested for `{identifier}` (hint: order again to attest this one)");
            return Err(Refusal::new(ProblemType::BadCsr, detail));
        }
    }
    Ok(())
}

/// Refuses a key that the record knows for something else, as the worker will: here the order stays ready.
async fn key_is_free(server: &AcmeServer, key: &PublicKey) -> Result<(), Refusal> {
    let bad = |detail: String| Refusal::new(ProblemType::BadCsr, format!("the CSR's key: {detail}"));
    if server.published.has(key) {
        return Err(bad(KeyError::Published.to_string()));
    }
    if let Some(issuer) = server.issuers.find(&*server.store, server.clock.now(), |i| is_same_key(&i.public_key, key)).await? {
        return Err(bad(KeyError::Reused(format!("authority `{}`", issuer.name)).to_string()));
    }
    let known = server.store.key_use(Jwk::ask_about(key)).await?;
    if known.account {
        return Err(bad(KeyError::Reused("an account".to_owned()).to_string()));
    }
    match known.block {
        Some(block) => Err(bad(block.told().to_owned())),
        None => Ok(()),
    }
}
