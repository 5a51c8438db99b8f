//! Problem types of RFC 8555 §6.7, as values that cross the seam between worker and front end.

use serde::{Deserialize, Serialize};

/// The ACME error types that this CA uses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ProblemType {
    /// The account does not exist.
    AccountDoesNotExist,
    /// The certificate was revoked already.
    AlreadyRevoked,
    /// The certificate was replaced already (RFC 9773 §7.4).
    AlreadyReplaced,
    /// The order was canceled, and its certificate is no longer to be had (RFC 8739 §3.1.2).
    AutoRenewalCanceled,
    /// An order that is not valid, or does not renew itself, was to be canceled.
    AutoRenewalCancellationInvalid,
    /// The order has ended, and its certificate is no longer to be had (RFC 8739 §3.3).
    AutoRenewalExpired,
    /// A certificate of an order that renews itself was to be revoked.
    AutoRenewalRevocationNotSupported,
    /// What a device attested is unacceptable (draft-ietf-acme-device-attest).
    BadAttestationStatement,
    /// The CSR is unacceptable.
    BadCsr,
    /// The nonce was not accepted.
    BadNonce,
    /// The public key is not acceptable.
    BadPublicKey,
    /// The revocation reason is not acceptable.
    BadRevocationReason,
    /// The JWS algorithm is not supported.
    BadSignatureAlgorithm,
    /// Authority forbade issuance.
    Caa,
    /// Several errors; see the subproblems.
    Compound,
    /// The server could not connect to a validation target.
    Connection,
    /// A DNS query failed during validation.
    Dns,
    /// The external account binding is missing or wrong.
    ExternalAccountRequired,
    /// The answer does not meet the challenge.
    IncorrectResponse,
    /// The profile is not on offer (draft-ietf-acme-profiles).
    InvalidProfile,
    /// The contact is not acceptable.
    InvalidContact,
    /// The request is malformed.
    Malformed,
    /// The order is not ready to be finalized.
    OrderNotReady,
    /// Too many requests.
    RateLimited,
    /// The identifier will not be issued for.
    RejectedIdentifier,
    /// An internal error.
    ServerInternal,
    /// TLS failed during validation.
    Tls,
    /// Not authorized.
    Unauthorized,
    /// The contact URL's scheme is not supported.
    UnsupportedContact,
    /// The identifier's type is not supported.
    UnsupportedIdentifier,
    /// Something at another URL must be done first.
    UserActionRequired,
}

/// A problem that may be shown to a client: its detail never carries internal state.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Problem {
    /// The type.
    #[serde(rename = "type")]
    pub kind: ProblemType,
    /// What a person reads.
    pub detail: String,
}

impl Problem {
    /// A problem of `kind`.
    pub fn new(kind: ProblemType, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }
}

impl ProblemType {
    /// The last part of its URN, `urn:ietf:params:acme:error:…`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AccountDoesNotExist => "accountDoesNotExist",
            Self::AlreadyRevoked => "alreadyRevoked",
            Self::AlreadyReplaced => "alreadyReplaced",
            Self::AutoRenewalCanceled => "autoRenewalCanceled",
            Self::AutoRenewalCancellationInvalid => "autoRenewalCancellationInvalid",
            Self::AutoRenewalExpired => "autoRenewalExpired",
            Self::AutoRenewalRevocationNotSupported => "autoRenewalRevocationNotSupported",
            Self::BadAttestationStatement => "badAttestationStatement",
            Self::BadCsr => "badCSR",
            Self::BadNonce => "badNonce",
            Self::BadPublicKey => "badPublicKey",
            Self::BadRevocationReason => "badRevocationReason",
            Self::BadSignatureAlgorithm => "badSignatureAlgorithm",
            Self::Caa => "caa",
            Self::Compound => "compound",
            Self::Connection => "connection",
            Self::Dns => "dns",
            Self::ExternalAccountRequired => "externalAccountRequired",
            Self::IncorrectResponse => "incorrectResponse",
            Self::InvalidProfile => "invalidProfile",
            Self::InvalidContact => "invalidContact",
            Self::Malformed => "malformed",
            Self::OrderNotReady => "orderNotReady",
            Self::RateLimited => "rateLimited",
            Self::RejectedIdentifier => "rejectedIdentifier",
            Self::ServerInternal => "serverInternal",
            Self::Tls => "tls",
            Self::Unauthorized => "unauthorized",
            Self::UnsupportedContact => "unsupportedContact",
            Self::UnsupportedIdentifier => "unsupportedIdentifier",
            Self::UserActionRequired => "userActionRequired",
        }
    }
}
