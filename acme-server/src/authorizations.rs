//! Authorizations and challenges (RFC 8555 §7.1.4, §7.1.5, §7.4.1, §7.5).

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use ca_core::evidence::new_order::parse_identifier;
use ca_core::evidence::proofs::CAA_LONGEST;
use ca_core::model::{
    AccountId, Authorization, AuthorizationCommand, AuthorizationId, AuthorizationStatus, Challenge, ChallengeMethod, ChallengeStatus,
    Grant, OrderId, ProblemType, TakeUp,
};
use ca_core::pki::{Identifier, Timestamp};
use ca_core::policy::{Basis, ChallengeZone, basis_for};
use ca_core::ports::{StoreError, TOO_MANY_PENDING};
use ca_core::validation::attestation::read_answer;
use http::{StatusCode, header};
use serde_json::{Value, json};

use crate::front::AcmeServer;
use crate::problem::{Refusal, problem_json};
use crate::request::{Id, Ids, Signed};
use crate::routes::{json, with_header};

/// When a client is to ask again about what is pending or processing, in seconds.
pub(crate) const RETRY_AFTER: &str = "2";

/// What an identifier's authorization will be: the grant's, or one with the challenges of the policy's zone; none: this
/// account cannot have it.
pub(crate) fn plan(
    server: &AcmeServer,
    zones: &[ChallengeZone],
    grant: &Grant,
    account: &AccountId,
    identifier: &Identifier,
    order: Option<(&OrderId, usize)>,
    now: Timestamp,
) -> Option<Authorization> {
    let validation = &server.config.validation;
    let basis = basis_for(grant, zones, identifier);
    let (status, lifetime, challenges) = match basis {
        Basis::Granted => {
            (AuthorizationStatus::Valid, if order.is_some() { server.config.order_lifetime } else { validation.valid }, Vec::new())
        }
        Basis::Challenged(zone) => {
            let mut methods = zone.methods_for(identifier);
            methods.sort_unstable();
            let lifetime = if zone.caa.is_empty() { validation.pending } else { validation.pending.min(CAA_LONGEST) };
            let challenges = methods.into_iter().map(|method| Challenge::new(method, server.rng())).collect();
            (AuthorizationStatus::Pending, lifetime, challenges)
        }
        Basis::Nothing => return None,
    };
    let own = order.filter(|_| basis == Basis::Granted);
    Some(Authorization {
        id: own.map_or_else(|| AuthorizationId::new(now, server.rng()), |(order, index)| AuthorizationId::of(order, index)),
        account: account.clone(),
        authority: grant.authority.clone(),
        order: own.map(|(order, _)| order.clone()),
        identifier: identifier.clone(),
        status,
        expires: now.plus(lifetime),
        challenges,
    })
}

/// The refusal of identifiers that are neither granted nor in a zone.
pub(crate) fn outside(grant: &Grant, zones: &[ChallengeZone]) -> String {
    if zones.is_empty() {
        "outside this account's enrolment grant".to_owned()
    } else {
        format!("outside this account's enrolment grant and the zones that `{}` challenges", grant.authority)
    }
}

/// What a conflict over new authorizations means to a client.
pub(crate) fn refuse_too_many(error: StoreError) -> Refusal {
    match error {
        StoreError::Conflict(reason) if reason == TOO_MANY_PENDING => {
            Refusal::new(ProblemType::RateLimited, format!("{reason} (hint: finish or deactivate some)")).with_retry_after(60)
        }
        other => other.into(),
    }
}

/// POST /acme/new-authz
pub(crate) async fn create(State(server): State<Arc<AcmeServer>>, signed: Signed) -> Result<Response, Refusal> {
    let now = server.clock.now();
    let payload = signed.jws.payload_object()?;
    let identifier = payload.get("identifier").ok_or_else(|| Refusal::malformed("the payload has no `identifier`"))?;
    let identifier = parse_identifier(identifier)?;
    // RFC 8555 §7.4.1: "the server MUST NOT create an authorization for a wildcard domain name"
    if matches!(&identifier, Identifier::Dns(name) if name.is_wildcard()) {
        return Err(Refusal::malformed("a wildcard is authorized within an order only (RFC 8555 §7.4.1)"));
    }
    let grant = server.live_grant(&signed).await?.grant;
    let directories = server.directories();
    let zones = directories.zones(&grant.authority);
    let new = plan(&server, zones, &grant, &signed.account.id, &identifier, None, now)
        .ok_or_else(|| Refusal::new(ProblemType::RejectedIdentifier, format!("`{identifier}` is {}", outside(&grant, zones))))?;
    // What is attested is one key's, and the order that brings it is not there yet.
    if identifier.is_device() && new.status == AuthorizationStatus::Pending {
        return Err(Refusal::new(ProblemType::RejectedIdentifier, "a device is attested within an order only (hint: newOrder)"));
    }
    // RFC 8555 §7.4.1: the server should "determine whether it is willing to issue certificates for the identifier".
    server.judge_policy(&grant, std::slice::from_ref(&identifier))?;
    server.admit_order(&signed, &grant, std::slice::from_ref(&identifier), false, now).await?;
    let mut audit = server.audit(signed.actor(), "authorization.create", new.id.as_str(), new.id.as_str());
    audit.authority = Some(grant.authority.clone());
    audit.detail = json!({ "identifier": identifier });
    let found = server.store.create_authorization(&new, now, &audit).await.map_err(refuse_too_many)?;
    let url = server.authorization_url(&found.id);
    Ok(with_header(answer(&server, StatusCode::CREATED, found)?, header::LOCATION, &url))
}

/// POST /acme/authz/{id}
pub(crate) async fn read_or_deactivate(
    State(server): State<Arc<AcmeServer>>,
    Id(id): Id<AuthorizationId>,
    signed: Signed,
) -> Result<Response, Refusal> {
    let mut found = server.own_authorization(&id, &signed.account.id).await?;
    if !signed.jws.payload.is_empty() {
        if signed.jws.payload_object()?.get("status").and_then(Value::as_str) != Some("deactivated") {
            return Err(Refusal::malformed("an authorization's status may only be changed to \"deactivated\""));
        }
        let order = found.order.as_ref().map_or_else(|| id.to_string(), ToString::to_string);
        found
            .apply(AuthorizationCommand::Deactivate, server.clock.now())
            .map_err(|_| Refusal::malformed("this authorization is neither pending nor valid"))?;
        // An order that replaces a certificate is outside the limits; one given up this way could be made again without end.
        server.admit_change(&signed.account.id).await?;
        let audit = server.audit(signed.actor(), "authorization.deactivate", id.as_str(), order);
        found = server.store.deactivate_authorization(&id, &audit).await?;
        // As the store counts.
        if found.has_validation_under_way() {
            server.limiter.failed(server.metrics(), &found.account, server.clock.now());
        }
    }
    answer(&server, StatusCode::OK, found)
}

/// POST /acme/chall/{authorization}/{method}
pub(crate) async fn challenge(
    State(server): State<Arc<AcmeServer>>,
    Ids(id, method): Ids<AuthorizationId, ChallengeMethod>,
    signed: Signed,
) -> Result<Response, Refusal> {
    let mut found = server.own_authorization(&id, &signed.account.id).await?;
    let status = found.challenge(method).ok_or_else(Refusal::not_found)?.status;
    if !signed.jws.payload.is_empty() {
        // RFC 8555 §7.5.1: an empty object, but for an attestation; what else stands in it is for challenges of another kind.
        signed.jws.payload_object()?;
        // One that was asked for before is told as it is.
        if status == ChallengeStatus::Pending {
            let answer = (method == ChallengeMethod::DeviceAttest01).then_some(&signed.text);
            if answer.is_some() {
                // What is no attestation at all is told at once, and the challenge stays open.
                read_answer(&signed.jws)?;
            }
            server.live_grant(&signed).await?;
            let now = server.clock.now();
            found
                .clone()
                .apply(AuthorizationCommand::Start(method), now)
                .map_err(|rejected| Refusal::malformed(format!("this challenge cannot be taken up: {rejected}")))?;
            server.admit_challenge(&signed.account.id, now).await?;
            let mut audit = server.audit(signed.actor(), "authorization.challenge", id.as_str(), id.as_str());
            audit.authority = Some(found.authority.clone());
            audit.detail = json!({ "method": method });
            let deadline = now.plus(server.config.validation.total);
            let by = TakeUp { thumbprint: signed.account.thumbprint.clone(), answer: answer.cloned() };
            found = server.store.start_challenge(&id, method, &by, now, deadline, &audit).await?;
        }
    }
    let challenge = found.challenge(method).ok_or_else(Refusal::not_found)?;
    let response = json(StatusCode::OK, &challenge_json(&server, &id, challenge));
    // §7.5.1: the way back; certbot needs it.
    let up = format!("<{}>;rel=\"up\"", server.authorization_url(&id));
    let response = with_header(response, header::LINK, &up);
    Ok(match challenge.status {
        ChallengeStatus::Pending | ChallengeStatus::Processing => with_header(response, header::RETRY_AFTER, RETRY_AFTER),
        ChallengeStatus::Valid | ChallengeStatus::Invalid => response,
    })
}

fn challenge_json(server: &AcmeServer, id: &AuthorizationId, challenge: &Challenge) -> Value {
    let mut body = json!({
        "type": challenge.method,
        "url": server.challenge_url(id, challenge.method),
        "status": challenge.status,
        "token": challenge.token,
    });
    if let Some(validated) = challenge.validated {
        body["validated"] = json!(validated.to_rfc3339());
    }
    if let Some(problem) = &challenge.error {
        body["error"] = problem_json(problem);
    }
    body
}

/// An authorization as clients see it.
fn answer(server: &AcmeServer, status: StatusCode, authorization: Authorization) -> Result<Response, Refusal> {
    let found = authorization.apply(AuthorizationCommand::Tick, server.clock.now()).map_err(|error| {
        tracing::error!(%error, "an authorization did not take a tick");
        Refusal::unavailable()
    })?;
    // §7.1.4: a wildcard's authorization shows the base name and says so.
    let value = found.identifier.value();
    let (base, wildcard) = value.strip_prefix("*.").map_or((value.as_str(), false), |base| (base, true));
    let mut body = json!({
        "identifier": { "type": found.identifier.kind(), "value": base },
        "status": found.status,
        "expires": found.expires.to_rfc3339(),
        "challenges": found.shown_challenges().map(|challenge| challenge_json(server, &found.id, challenge)).collect::<Vec<_>>(),
    });
    if wildcard {
        body["wildcard"] = json!(true);
    }
    let response = json(status, &body);
    Ok(if found.status == AuthorizationStatus::Pending { with_header(response, header::RETRY_AFTER, RETRY_AFTER) } else { response })
}
