//! Every error that a client may see (RFC 7807, RFC 8555 §6.7), and how inner errors map to them.
//!
//! What went wrong inside goes to the log with its cause; the client is told that it was internal and when to retry.

use axum::response::{IntoResponse, Response};
use ca_core::evidence::jws::JwsAlgorithm;
use ca_core::model::{Problem, ProblemType};
use ca_core::pki::Identifier;
use ca_core::ports::{KEY_CHANGED, StoreError};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::access::Told;

/// A refusal: a problem with what HTTP adds to it.
#[derive(Debug)]
pub(crate) struct Refusal(Box<Parts>);

#[derive(Debug)]
struct Parts {
    problem: Problem,
    status: StatusCode,
    /// Identifiers as JSON shows them, each with its problem.
    subproblems: Vec<(Value, Problem)>,
    instance: Option<String>,
    retry_after: Option<u32>,
    header: Option<(header::HeaderName, String)>,
}

impl Refusal {
    pub(crate) fn new(kind: ProblemType, detail: impl Into<String>) -> Self {
        Problem::new(kind, detail).into()
    }

    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(ProblemType::Malformed, detail)
    }

    pub(crate) fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(ProblemType::Unauthorized, detail)
    }

    /// There is nothing at this URL.
    pub(crate) fn not_found() -> Self {
        Self::malformed("there is nothing at this URL").with_status(StatusCode::NOT_FOUND)
    }

    /// The resource does not take this method.
    pub(crate) fn method_not_allowed() -> Self {
        Self::malformed("this resource does not take that method (hint: RFC 8555 §6.3, POST-as-GET)")
            .with_status(StatusCode::METHOD_NOT_ALLOWED)
    }

    /// The worker or the store is away for now.
    pub(crate) fn unavailable() -> Self {
        Self::new(ProblemType::ServerInternal, "the CA cannot do this right now; please try again")
            .with_status(StatusCode::SERVICE_UNAVAILABLE)
            .with_retry_after(10)
    }

    /// Bodies of requests take as much memory as they may (ACME requirement A23).
    pub(crate) fn busy() -> Self {
        Self::new(ProblemType::ServerInternal, "the CA has as many large requests as it takes at a time; please try again")
            .with_status(StatusCode::SERVICE_UNAVAILABLE)
            .with_retry_after(10)
    }

    /// The account has another key than the one that signed this request (RFC 8555 §7.3.5).
    pub(crate) fn key_changed() -> Self {
        Self::unauthorized(format!("{KEY_CHANGED} (hint: nothing was done; sign it again, with the new key)"))
    }

    fn internal() -> Self {
        Self::new(ProblemType::ServerInternal, "an internal error; it is in the CA's log")
    }

    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.0.status = status;
        self
    }

    pub(crate) fn with_retry_after(mut self, seconds: u32) -> Self {
        self.0.retry_after = Some(seconds);
        self
    }

    pub(crate) fn with_header(mut self, name: header::HeaderName, value: String) -> Self {
        self.0.header = Some((name, value));
        self
    }

    /// Where a person reads on (RFC 7807 §3.1).
    pub(crate) fn with_instance(mut self, url: &str) -> Self {
        self.0.instance = Some(url.to_owned());
        self
    }

    pub(crate) fn with_subproblems(mut self, subproblems: Vec<(Identifier, Problem)>) -> Self {
        self.0.subproblems = subproblems.into_iter().map(|(identifier, problem)| (json!(identifier), problem)).collect();
        self
    }

    /// An order's refusal, with what is wrong with each of its identifiers where that is why. Where they are refused for
    /// reasons of several types the refusal is of none of them (RFC 8555 §6.7.1).
    pub(crate) fn of_identifiers(problem: Problem, refused: Vec<(Value, Problem)>) -> Self {
        let mut refusal = match refused.as_slice() {
            [] | [_] => Self::from(problem),
            [(_, first), others @ ..] => {
                let kind = if others.iter().all(|(_, other)| other.kind == first.kind) { first.kind } else { ProblemType::Compound };
                Self::new(kind, format!("{} of the identifiers are refused", refused.len()))
            }
        };
        refusal.0.subproblems = refused;
        refusal
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        let status = status_of(problem.kind);
        Self(Box::new(Parts { problem, status, subproblems: Vec::new(), instance: None, retry_after: None, header: None }))
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(reason) => {
                tracing::warn!(%reason, "the store did not answer an ACME request");
                Self::unavailable()
            }
            StoreError::Conflict(reason) if reason == KEY_CHANGED => Self::key_changed(),
            StoreError::Conflict(_) => {
                Self::malformed("this was changed by another request meanwhile; please read it again").with_status(StatusCode::CONFLICT)
            }
            StoreError::NotFound(_) => Self::not_found(),
            StoreError::Fenced | StoreError::Damaged(_) => {
                tracing::error!(%error, "the store failed an ACME request");
                Self::internal()
            }
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let this = *self.0;
        let mut body = problem_json(&this.problem);
        body["status"] = this.status.as_u16().into();
        if this.problem.kind == ProblemType::BadSignatureAlgorithm {
            // RFC 8555 §6.2: the problem document must have an "algorithms" field.
            body["algorithms"] = json!(JwsAlgorithm::NAMES);
        }
        if let Some(instance) = &this.instance {
            body["instance"] = json!(instance);
        }
        if !this.subproblems.is_empty() {
            let one = |(identifier, problem): &(Value, Problem)| {
                let mut one = problem_json(problem);
                one["identifier"] = identifier.clone();
                one
            };
            body["subproblems"] = this.subproblems.iter().map(one).collect();
        }
        tracing::info!(kind = this.problem.kind.name(), status = this.status.as_u16(), detail = this.problem.detail, "refused");
        let content_type = (header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        let mut response = (this.status, [content_type], body.to_string()).into_response();
        response.extensions_mut().insert(Told(this.problem.kind));
        let headers = response.headers_mut();
        if let Some(seconds) = this.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some((name, value)) = this.header
            && let Ok(value) = HeaderValue::try_from(value)
        {
            headers.insert(name, value);
        }
        response
    }
}

/// A problem as a member of another object, for example of an order.
pub(crate) fn problem_json(problem: &Problem) -> Value {
    json!({ "type": format!("urn:ietf:params:acme:error:{}", problem.kind.name()), "detail": problem.detail })
}

const fn status_of(kind: ProblemType) -> StatusCode {
    match kind {
        ProblemType::AccountDoesNotExist
        | ProblemType::AlreadyRevoked
        // RFC 8739 §3.1.2.
        | ProblemType::AutoRenewalCancellationInvalid
        | ProblemType::BadAttestationStatement
        | ProblemType::BadCsr
        | ProblemType::BadNonce
        | ProblemType::BadPublicKey
        | ProblemType::BadRevocationReason
        | ProblemType::BadSignatureAlgorithm
        | ProblemType::Compound
        | ProblemType::Connection
        | ProblemType::Dns
        | ProblemType::IncorrectResponse
        | ProblemType::InvalidContact
        | ProblemType::InvalidProfile
        | ProblemType::Malformed
        | ProblemType::Tls
        | ProblemType::UnsupportedContact
        | ProblemType::UnsupportedIdentifier => StatusCode::BAD_REQUEST,
        // RFC 8555 §7.4: 403 (Forbidden) for orderNotReady; RFC 8739 §3.1.2 and §3.3 for these.
        ProblemType::AutoRenewalCanceled
        | ProblemType::AutoRenewalExpired
        | ProblemType::AutoRenewalRevocationNotSupported
        | ProblemType::Caa
        | ProblemType::ExternalAccountRequired
        | ProblemType::OrderNotReady
        | ProblemType::RejectedIdentifier
        | ProblemType::Unauthorized
        | ProblemType::UserActionRequired => StatusCode::FORBIDDEN,
        // RFC 9773 §7.4.
        ProblemType::AlreadyReplaced => StatusCode::CONFLICT,
        ProblemType::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        ProblemType::ServerInternal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
