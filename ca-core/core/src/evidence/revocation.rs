//! revokeCert requests (RFC 8555 §7.6): one reading for the front end, which answers, and for the store, which believes
//! nobody's word for whose request it is.
//!
//! What is authorized is the very certificate (lesson 14): by its own key, by the account that it was issued to, or by one
//! that has proven each of its identifiers. That a grant's pattern covers them authorizes nothing (ACME requirement A19).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::chain::path_of;
use super::jwk::Jwk;
use super::jws::{KeyRef, ParsedJws};
use crate::model::{Account, AccountStatus, Actor, CertificateRecord, CertificateState, Problem, ProblemType, RevocationReason};
use crate::pki::Certificate;

/// The path of revokeCert requests.
pub const REVOKE_CERT: &str = "/acme/revoke-cert";

/// The reasons that subscribers may give.
const ALLOWED: [RevocationReason; 5] = [
    RevocationReason::Unspecified,
    RevocationReason::KeyCompromise,
    RevocationReason::AffiliationChanged,
    RevocationReason::Superseded,
    RevocationReason::CessationOfOperation,
];

/// The payload of a revokeCert request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RevokeCertRequest {
    /// The certificate, DER.
    pub certificate: Vec<u8>,
    /// Why.
    pub reason: RevocationReason,
}

/// By what right a certificate is to be revoked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RevocationRight {
    /// The request is signed by the certificate's own key.
    Key,
    /// It is the account's own.
    Owner,
    /// The account must have proven each of the record's identifiers by a challenge, which only the store can tell.
    Proofs,
}

/// A request whose signature holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RevocationClaim {
    /// Who asks.
    pub actor: Actor,
    /// By what right.
    pub right: RevocationRight,
    /// Why.
    pub reason: RevocationReason,
}

fn malformed(detail: impl Into<String>) -> Problem {
    Problem::new(ProblemType::Malformed, detail)
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(ProblemType::Unauthorized, detail)
}

impl RevokeCertRequest {
    /// Reads the payload.
    ///
    /// # Errors
    /// When there is no certificate in it; `badRevocationReason` for a reason that is not a subscriber's to give.
    pub fn parse(jws: &ParsedJws) -> Result<Self, Problem> {
        let payload = jws.payload_object()?;
        let der = payload.get("certificate").and_then(Value::as_str).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        let certificate = der.ok_or_else(|| malformed("the payload has no `certificate` in unpadded base64url"))?;
        let refused = || Problem::new(ProblemType::BadRevocationReason, "`reason` is one of 0, 1, 3, 4 and 5");
        let reason = match payload.get("reason") {
            None | Some(Value::Null) => RevocationReason::Unspecified,
            Some(value) => {
                let code = value.as_u64().and_then(|code| u8::try_from(code).ok()).ok_or_else(refused)?;
                RevocationReason::from_code(code).filter(|reason| ALLOWED.contains(reason)).ok_or_else(refused)?
            }
        };
        Ok(Self { certificate, reason })
    }
}

/// Verifies the request `text` against the certificate on record; `account` is the one that signed it, none: a key did.
///
/// # Errors
/// When it was made for something else, the signature is wrong, or there is no right that could be proven.
pub fn verify(text: &str, record: &CertificateRecord, account: Option<&Account>) -> Result<RevocationClaim, Problem> {
    let jws = ParsedJws::parse(text)?;
    if path_of(&jws.protected.url) != Some(REVOKE_CERT) {
        return Err(malformed("the request was made for another URL"));
    }
    let request = RevokeCertRequest::parse(&jws)?;
    if record.state != CertificateState::Released || record.der != request.certificate {
        return Err(malformed("the request is about another certificate"));
    }
    let certificate = Certificate::from_der(&record.der).map_err(|e| malformed(e.to_string()))?;
    let (actor, right) = match (&jws.protected.key, account) {
        (KeyRef::Jwk(key), None) => {
            jws.verify(key)?;
            if key.public_key()? != *certificate.public_key() {
                return Err(unauthorized("the request is not signed by the certificate's key"));
            }
            (Actor::CertificateKey { spki_sha256: certificate.public_key().spki_sha256() }, RevocationRight::Key)
        }
        (KeyRef::Kid(kid), Some(account)) => {
            jws.verify(&Jwk::parse(&account.jwk)?)?;
            let same = path_of(kid).and_then(|path| path.strip_prefix("/acme/acct/")) == Some(account.id.as_str());
            if !same || account.status != AccountStatus::Valid {
                return Err(unauthorized("the request was signed for another account, or for one that is not valid"));
            }
            let right = if record.account.as_ref() == Some(&account.id) { RevocationRight::Owner } else { RevocationRight::Proofs };
            (Actor::Account { id: account.id.clone() }, right)
        }
        (KeyRef::Jwk(_), Some(_)) | (KeyRef::Kid(_), None) => return Err(malformed("the request is signed by another kind of key")),
    };
    // Names that no challenge proves can't be shown to be someone else's.
    let all_provable = !record.identifiers.is_empty() && certificate.alt_names().iter().all(|name| name.identifier().is_some());
    if right == RevocationRight::Proofs && !all_provable {
        return Err(unauthorized("this certificate belongs to another account"));
    }
    Ok(RevocationClaim { actor, right, reason: request.reason })
}
