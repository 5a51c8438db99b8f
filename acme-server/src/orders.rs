//! Orders (RFC 8555 §7.1.3, §7.4).

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use ca_core::evidence::new_order::{NewOrderRequest, OrderScope, refused_identifiers};
use ca_core::model::{
    AccountId, Authorization, AuthorizationStatus, Grant, NewOrder, Order, OrderCommand, OrderId, OrderStatus, Problem, ProblemType,
};
use ca_core::pki::{Identifier, Timestamp};
use ca_core::ports::{StoreError, TOO_MANY_PENDING};
use http::{StatusCode, Uri, header};
use serde::Serialize;
use serde_json::{Value, json};

use crate::accounts::own;
use crate::authorizations::{RETRY_AFTER, outside, plan, refuse_too_many};
use crate::front::AcmeServer;
use crate::problem::{Refusal, problem_json};
use crate::replaces;
use crate::request::{Id, Signed};
use crate::routes::{json, with_header};
use crate::star;

/// How many orders a page of the list has.
const PAGE: u32 = 100;

/// POST /acme/new-order and POST /a/{authority}/acme/p/{profile}/new-order
pub(crate) async fn create(State(server): State<Arc<AcmeServer>>, uri: Uri, signed: Signed) -> Result<Response, Refusal> {
    let now = server.clock.now();
    server.keeps_up().await?;
    let scope = OrderScope::of_path(uri.path()).ok_or_else(Refusal::not_found)?;
    let request = NewOrderRequest::parse(&signed.jws);
    let request = request.map_err(|problem| Refusal::of_identifiers(problem, refused_identifiers(&signed.jws)))?;
    let record = server.live_grant(&signed).await?;
    let grant = &record.grant;
    if scope.authority.as_ref().is_some_and(|asked| *asked != grant.authority) {
        return Err(Refusal::unauthorized(format!("this account's enrolment grant is for the authority `{}`", grant.authority)));
    }
    let profile = request.profile(&scope, grant)?.to_owned();
    let star = match server.directories().offered(&grant.authority, &profile) {
        Some(offer) => offer.star,
        None => {
            let detail = "this profile is not on offer (hint: see `meta.profiles` in the directory)";
            return Err(Refusal::new(ProblemType::InvalidProfile, detail));
        }
    };
    let accepted = request.auto_renewal.clone().map(|terms| {
        let directories = server.directories();
        star::accept(terms, star, grant, directories.zones(&grant.authority), &request.identifiers, now)
    });
    let auto_renewal = accepted.transpose()?;
    if request.not_after.is_some_and(|end| end <= request.not_before.unwrap_or(now).max(now)) {
        return Err(Refusal::malformed("`notAfter` lies in the past or before `notBefore`"));
    }
    let replaced = match &request.replaces {
        Some(id) => Some(replaces::check(&server, id, &signed.account.id, &grant.authority, &request.identifiers).await?),
        None => None,
    };

    let id = OrderId::from_evidence(&signed.text, now);
    let expires = now.plus(server.config.order_lifetime);
    let authorizations = plan_all(&server, grant, &signed.account.id, &request.identifiers, &id, now)?;
    server.judge_order(grant, &profile, &request, now).await?;
    server.admit_order(&signed, grant, &request.identifiers, replaced.is_some(), now).await?;
    let pending = authorizations.iter().any(|a| a.status == AuthorizationStatus::Pending);
    let mut audit = server.audit(signed.actor(), "order.create", id.as_str(), id.as_str());
    audit.authority = Some(grant.authority.clone());
    let order = Order {
        id,
        account: signed.account.id,
        authority: record.grant.authority,
        profile,
        identifiers: request.identifiers,
        authorizations: authorizations.iter().map(|a| a.id.clone()).collect(),
        status: if pending { OrderStatus::Pending } else { OrderStatus::Ready },
        expires,
        not_before: request.not_before,
        not_after: request.not_after,
        error: None,
        serial: None,
        auto_renewal,
        replaces: replaced,
        created_at: now,
    };
    let new = NewOrder { order, authorizations, jws: signed.text };
    let order = match server.store.create_order(&new, &audit).await {
        Ok(order) => order,
        Err(StoreError::Conflict(reason)) if new.order.replaces.is_some() && reason != TOO_MANY_PENDING => {
            replaces::identical_or_conflict(&server, &new.order).await?
        }
        Err(error) => return Err(refuse_too_many(error)),
    };
    server.settled.keep(&order);
    answer(&server, StatusCode::CREATED, order).await
}

/// The authorizations of an order: what the grant covers is authorized without a challenge, what lies in a zone of the
/// policy is challenged, and nothing else can be had.
fn plan_all(
    server: &AcmeServer,
    grant: &Grant,
    account: &AccountId,
    identifiers: &[Identifier],
    order: &OrderId,
    now: Timestamp,
) -> Result<Vec<Authorization>, Refusal> {
    let directories = server.directories();
    let zones = directories.zones(&grant.authority);
    let (mut planned, mut refused) = (Vec::with_capacity(identifiers.len()), Vec::new());
    for (index, identifier) in identifiers.iter().enumerate() {
        match plan(server, zones, grant, account, identifier, Some((order, index)), now) {
            Some(authorization) => planned.push(authorization),
            None => {
                let problem = Problem::new(ProblemType::RejectedIdentifier, format!("`{identifier}` is {}", outside(grant, zones)));
                refused.push((identifier.clone(), problem));
            }
        }
    }
    if refused.is_empty() {
        return Ok(planned);
    }
    let detail = format!("{} of {} identifiers are {}", refused.len(), identifiers.len(), outside(grant, zones));
    Err(Refusal::new(ProblemType::RejectedIdentifier, detail).with_subproblems(refused))
}

/// POST /acme/order/{id}: read, or with a payload canceled.
pub(crate) async fn read(State(server): State<Arc<AcmeServer>>, Id(id): Id<OrderId>, signed: Signed) -> Result<Response, Refusal> {
    let order = server.own_order(&id, &signed.account.id).await?;
    if !signed.jws.payload.is_empty() {
        return star::cancel(&server, order, &signed).await;
    }
    answer(&server, StatusCode::OK, order).await
}

/// POST /acme/acct/{id}/orders
pub(crate) async fn list(
    State(server): State<Arc<AcmeServer>>,
    Id(id): Id<AccountId>,
    uri: Uri,
    signed: Signed,
) -> Result<Response, Refusal> {
    own(&signed, &id)?;
    signed.require_post_as_get()?;
    let cursor = match uri.query() {
        None => None,
        Some(query) => {
            let cursor = query.strip_prefix("cursor=").and_then(|c| c.parse::<OrderId>().ok());
            Some(cursor.ok_or_else(|| Refusal::malformed("the list takes `cursor` only, as its Link header gives it"))?)
        }
    };
    let page = server.store.orders_of(&id, cursor.as_ref(), server.clock.now(), PAGE).await?;
    let urls: Vec<_> = page.orders.iter().map(|order| server.order_url(order)).collect();
    let response = json(StatusCode::OK, &json!({ "orders": urls }));
    // §7.1.2.1: the next page is in a Link header.
    Ok(match page.next {
        Some(next) => {
            let link = format!("<{}/orders?cursor={next}>;rel=\"next\"", server.account_url(&id));
            with_header(response, header::LINK, &link)
        }
        None => response,
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OrderBody<'a> {
    status: OrderStatus,
    expires: String,
    identifiers: &'a [Identifier],
    profile: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Value>,
    authorizations: Vec<String>,
    finalize: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
    #[serde(rename = "star-certificate", skip_serializing_if = "Option::is_none")]
    star_certificate: Option<String>,
    #[serde(rename = "auto-renewal", skip_serializing_if = "Option::is_none")]
    auto_renewal: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replaces: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued: Option<Value>,
}

/// What token servers bind to. No field of RFC 8555's; clients pass over what they don't know, as over those of other
/// extensions (§9.7.2).
async fn issued(server: &AcmeServer, order: &Order) -> Result<Option<Value>, Refusal> {
    let Some(serial) = order.serial else { return Ok(None) };
    let released = server.settled.certificate(&*server.store, &order.authority, &serial).await?;
    Ok(released.map(|released| released.issued.clone()))
}

/// An order as clients see it, with Location and, while it is pending or processed, Retry-After.
pub(crate) async fn answer(server: &AcmeServer, status: StatusCode, order: Order) -> Result<Response, Refusal> {
    let order = order.apply(OrderCommand::Tick, server.clock.now()).map_err(|error| {
        tracing::error!(%error, "an order did not take a tick");
        Refusal::unavailable()
    })?;
    let url = server.order_url(&order.id);
    let replaces = match &order.replaces {
        Some(serial) => replaces::cert_id(server, &order.authority, *serial).await?,
        None => None,
    };
    let issued = issued(server, &order).await?;
    // RFC 8739 §3.1.1: "star-certificate" instead of "certificate".
    let plain = order.serial.filter(|_| order.auto_renewal.is_none());
    let star = order.serial.filter(|_| order.auto_renewal.is_some());
    let body = OrderBody {
        status: order.status,
        expires: order.expires.to_rfc3339(),
        identifiers: &order.identifiers,
        profile: &order.profile,
        not_before: order.not_before.map(|t| t.to_rfc3339()),
        not_after: order.not_after.map(|t| t.to_rfc3339()),
        error: order.error.as_ref().map(problem_json),
        authorizations: order.authorizations.iter().map(|id| server.authorization_url(id)).collect(),
        finalize: format!("{url}/finalize"),
        certificate: plain.map(|serial| server.certificate_url(&order.authority, serial)),
        star_certificate: star.map(|_| server.star_url(&order.id)),
        auto_renewal: order.auto_renewal.as_ref().map(star::shown),
        replaces,
        issued,
    };
    let response = with_header(json(status, &body), header::LOCATION, &url);
    Ok(match order.status {
        OrderStatus::Pending | OrderStatus::Processing => with_header(response, header::RETRY_AFTER, RETRY_AFTER),
        OrderStatus::Ready | OrderStatus::Valid | OrderStatus::Invalid | OrderStatus::Canceled => response,
    })
}
