//! Validation of challenges: jobs of the front end, and the evidence that they leave.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{AccountId, AuthorityName, AuthorizationId, ChallengeMethod, ChallengeToken, Fault, LeaseToken, Problem};
use crate::pki::{Identifier, Sha256Digest, Timestamp};

/// A client's request to take a challenge up.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TakeUp {
    /// The RFC 7638 thumbprint of the account's key that signed it.
    pub thumbprint: String,
    /// The answer, its JWS verbatim, where the method has one: what a device attested.
    pub answer: Option<String>,
}

impl TakeUp {
    /// One without an answer.
    pub fn by(thumbprint: impl Into<String>) -> Self {
        Self { thumbprint: thumbprint.into(), answer: None }
    }
}

/// A validation to be done, under a lease.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LeasedValidation {
    /// Of which authorization.
    pub authorization: AuthorizationId,
    /// By which method.
    pub method: ChallengeMethod,
    /// Whose it is.
    pub account: AccountId,
    /// The RFC 7638 thumbprint of the account's key when the challenge was taken up, which the proof must contain (lesson 8).
    pub thumbprint: String,
    /// At which authority it will count.
    pub authority: AuthorityName,
    /// For what.
    pub identifier: Identifier,
    /// What the proof must contain.
    pub token: ChallengeToken,
    /// The lease under which it may be worked on.
    pub lease: LeaseToken,
    /// The client's answer, its JWS verbatim, where the method has one: what a device attested.
    #[serde(default)]
    pub answer: Option<String>,
    /// How many attempts were made before.
    pub attempts: u32,
    /// Until when it may be tried again.
    pub deadline: Timestamp,
}

/// What one attempt saw: evidence, kept for those that succeed and for those that fail.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidationRecord {
    /// Whose authorization.
    pub account: AccountId,
    /// Which authorization.
    pub authorization: AuthorizationId,
    /// For what.
    pub identifier: Identifier,
    /// By which method.
    pub method: ChallengeMethod,
    /// The first attempt is 1.
    pub attempt: u32,
    /// When.
    pub at: Timestamp,
    /// The addresses that were connected to, in order, redirects included; none for dns-01.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// SHA-256 of the answer that decided: the HTTP body, the certificate, the matching TXT value, or the attestation
    /// object.
    #[serde(default)]
    pub answer_sha256: Option<Sha256Digest>,
    /// The CAA issuer names that were found to allow this CA, or that none forbids it; none: the policy asks for no
    /// check.
    #[serde(default)]
    pub caa: Option<String>,
    /// What a device attested: the worker judges it anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestation: Option<AttestationEvidence>,
    /// Why it failed; none: control was shown.
    #[serde(default)]
    pub problem: Option<Problem>,
    /// Whose doing a failure is; none: control was shown, or an older version made the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// Until when a success counts.
    pub valid_until: Timestamp,
}

/// An attestation as evidence.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttestationEvidence {
    /// The client's answer to the challenge, its JWS verbatim; left out in the audit trail.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub jws: String,
    /// The challenge's token.
    pub token: ChallengeToken,
    /// SHA-256 of the SubjectPublicKeyInfo that was attested.
    pub key_sha256: Sha256Digest,
}

impl ValidationRecord {
    /// The record for the audit trail: with the attestation's digest and key, without its bytes.
    #[must_use]
    pub fn for_audit(&self) -> Self {
        let mut told = self.clone();
        if let Some(attestation) = &mut told.attestation {
            attestation.jws.clear();
        }
        told
    }

    /// Whether it counts as a failure of its account: one of the client's, not what operators or officers changed or this CA
    /// failed at.
    pub fn counts_as_failure(&self) -> bool {
        self.problem.is_some() && self.fault.is_none_or(|fault| fault == Fault::Client)
    }

    /// The most addresses that a record holds: each redirect may have tried a few.
    pub const MAX_ADDRESSES: usize = 64;
}

/// How an attempt ends a lease.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "then", rename_all = "kebab-case")]
pub enum ValidationEnd {
    /// Control was shown, or the last attempt failed: the record says which.
    Decided,
    /// Another attempt follows.
    Again {
        /// When.
        at: Timestamp,
    },
}
