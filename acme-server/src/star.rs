//! The certificate of an order that renews itself, and its early end (RFC 8739 §3.1.2, §3.3, §3.4).

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use ca_core::model::{AutoRenewal, Grant, Order, OrderCommand, OrderId, OrderStatus, ProblemType};
use ca_core::pki::{Identifier, Timestamp};
use ca_core::policy::{Basis, ChallengeZone, StarBounds, basis_for};
use ca_core::ports::StoreError;
use http::{HeaderName, StatusCode, header};
use serde_json::{Value, json};

use crate::certificates::chain;
use crate::front::AcmeServer;
use crate::orders::answer;
use crate::problem::Refusal;
use crate::request::{Id, Ids, Signed};
use crate::routes::with_header;

const CERT_NOT_BEFORE: HeaderName = HeaderName::from_static("cert-not-before");
const CERT_NOT_AFTER: HeaderName = HeaderName::from_static("cert-not-after");

/// What the order's terms become, as the policy has it; the worker judges them again.
pub(crate) fn accept(
    terms: AutoRenewal,
    bounds: Option<StarBounds>,
    grant: &Grant,
    zones: &[ChallengeZone],
    identifiers: &[Identifier],
    now: Timestamp,
) -> Result<AutoRenewal, Refusal> {
    let hint = "(hint: see `meta.auto-renewal` in the directories)";
    let bounds = bounds.ok_or_else(|| Refusal::malformed(format!("orders of this profile do not renew themselves {hint}")))?;
    bounds.under(&grant.limits).judge(&terms, now).map_err(Refusal::malformed)?;
    for identifier in identifiers {
        let why = match basis_for(grant, zones, identifier) {
            Basis::Granted => continue,
            Basis::Challenged(_) if identifier.is_device() => "has to attest its key, which an attestation shows for one order only",
            Basis::Challenged(_) | Basis::Nothing => "is outside this account's enrolment grant",
        };
        let detail =
            format!("`{identifier}` {why}: orders renew themselves for what the grant alone covers (hint: order without auto-renewal)");
        return Err(Refusal::new(ProblemType::RejectedIdentifier, detail));
    }
    Ok(AutoRenewal { allow_certificate_get: terms.allow_certificate_get && bounds.certificate_get, ..terms })
}

/// The `auto-renewal` object of an order as clients see it (§3.1.1): `lifetime-adjust` is what is really added.
pub(crate) fn shown(terms: &AutoRenewal) -> Value {
    let mut shown = json!({
        "end-date": terms.end_date.to_rfc3339(),
        "lifetime": terms.lifetime,
        "lifetime-adjust": terms.padding().as_secs(),
        "allow-certificate-get": terms.allow_certificate_get,
    });
    if let Some(start) = terms.start_date {
        shown["start-date"] = json!(start.to_rfc3339());
    }
    shown
}

/// POST /acme/order/{id} with a payload: `{"status":"canceled"}` and nothing else.
pub(crate) async fn cancel(server: &AcmeServer, order: Order, signed: &Signed) -> Result<Response, Refusal> {
    if signed.jws.payload_object()?.get("status").and_then(Value::as_str) != Some("canceled") {
        return Err(Refusal::malformed("an order's status may only be changed to \"canceled\""));
    }
    let invalid = |reason: String| Refusal::new(ProblemType::AutoRenewalCancellationInvalid, reason);
    order.clone().apply(OrderCommand::Cancel, server.clock.now()).map_err(|rejected| invalid(rejected.to_string()))?;
    let mut audit = server.audit(signed.actor(), "order.cancel", order.id.as_str(), order.id.as_str());
    audit.authority = Some(order.authority);
    match server.store.cancel_order(&order.id, None, &audit).await {
        Ok(canceled) => answer(server, StatusCode::OK, canceled).await,
        Err(StoreError::Conflict(reason)) => Err(invalid(reason)),
        Err(error) => Err(error.into()),
    }
}

/// POST /acme/star/{id}
pub(crate) async fn fetch(State(server): State<Arc<AcmeServer>>, Id(id): Id<OrderId>, signed: Signed) -> Result<Response, Refusal> {
    current(&server, &own(&server, &id, &signed).await?, None).await
}

/// POST /acme/star/{id}/{n}
pub(crate) async fn fetch_alternate(
    State(server): State<Arc<AcmeServer>>,
    Ids(id, number): Ids<OrderId, u64>,
    signed: Signed,
) -> Result<Response, Refusal> {
    current(&server, &own(&server, &id, &signed).await?, Some(number)).await
}

/// GET /acme/star/{id}
pub(crate) async fn fetch_openly(State(server): State<Arc<AcmeServer>>, Id(id): Id<OrderId>) -> Result<Response, Refusal> {
    current(&server, &open(&server, &id).await?, None).await
}

/// GET /acme/star/{id}/{n}
pub(crate) async fn fetch_alternate_openly(
    State(server): State<Arc<AcmeServer>>,
    Ids(id, number): Ids<OrderId, u64>,
) -> Result<Response, Refusal> {
    current(&server, &open(&server, &id).await?, Some(number)).await
}

async fn own(server: &AcmeServer, id: &OrderId, signed: &Signed) -> Result<Order, Refusal> {
    signed.require_post_as_get()?;
    server.own_order(id, &signed.account.id).await
}

/// An order whose client lets anyone fetch the certificate; others are as if they were not there.
async fn open(server: &AcmeServer, id: &OrderId) -> Result<Order, Refusal> {
    let order = server.store.order(id).await?;
    order
        .filter(|order| order.auto_renewal.as_ref().is_some_and(|terms| terms.allow_certificate_get))
        // RFC 9110 §15.5.6: with Allow.
        .ok_or_else(|| Refusal::method_not_allowed().with_header(header::ALLOW, "POST".to_owned()))
}

/// Two reads by key, and the chain from memory. The certificate is fetched as RFC 8555 §7.4.2 has it (§3.3), with links to
/// its alternate chains; whoever may fetch the one may fetch the others.
async fn current(server: &AcmeServer, order: &Order, chain_number: Option<u64>) -> Result<Response, Refusal> {
    let (Some(terms), Some(serial)) = (&order.auto_renewal, &order.serial) else { return Err(Refusal::not_found()) };
    let over = |kind, detail: &str| Err(Refusal::new(kind, detail));
    match order.status {
        // §3.1.2, §3.3: 403 (Forbidden) from that moment on.
        OrderStatus::Canceled => return over(ProblemType::AutoRenewalCanceled, "this order was canceled"),
        OrderStatus::Valid if terms.end_date <= server.clock.now() => {
            return over(ProblemType::AutoRenewalExpired, "this order has reached its end date (hint: order again)");
        }
        OrderStatus::Valid => {}
        OrderStatus::Pending | OrderStatus::Ready | OrderStatus::Processing | OrderStatus::Invalid => return Err(Refusal::not_found()),
    }
    let record = server.store.certificate(&order.authority, serial).await?.ok_or_else(Refusal::not_found)?;
    let response = chain(server, &record.authority, &record.der, &server.star_url(&order.id), chain_number).await?;
    let response = with_header(response, CERT_NOT_BEFORE, &record.not_before.to_http_date());
    Ok(with_header(response, CERT_NOT_AFTER, &record.not_after.to_http_date()))
}
