//! From a row of the audit trail to a key's compromise: one reading for the worker, which revokes every other certificate
//! with the key, and for the auditor, who has nothing but the trail.
//!
//! A key's own word is a signature by it, and proves itself. An account's is a signature that whoever knows the account's
//! keys can check, and it reaches that account's certificates only: others with the same key are not its to end (ACME
//! requirement A19). Of operators and officers the row is what there is: only the worker writes such rows, after it verified
//! their statements.

use super::chain::path_of;
use super::jwk::Jwk;
use super::jws::{KeyRef, ParsedJws};
use super::revocation::{REVOKE_CERT, RevokeCertRequest};
use crate::model::{Account, AccountId, Actor, AuditEntry, CertificateName, KeyBlock, Outcome, Problem, RevocationReason};
use crate::pki::{Certificate, Sha256Digest, Timestamp};

/// On whose word a key is compromised.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Word {
    /// Its own: the request is signed by it, and was verified.
    Key,
    /// An operator's or the officers'.
    Operators,
    /// An account's: its own certificates only. The signature was not looked at.
    Account(AccountId),
}

/// What a row says of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Compromise {
    /// The certificate that it is about.
    pub certificate: CertificateName,
    /// The certificate's key, where its request has the certificate; operators name it by its number.
    pub spki_sha256: Option<Sha256Digest>,
    /// Who says so.
    pub word: Word,
    /// Since when the key is suspected.
    pub invalidity_date: Option<Timestamp>,
}

/// Why a row proves no compromise.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CompromiseError {
    /// It is about something else, or was not done.
    #[error("the row is no revocation for keyCompromise and no block of a key by itself")]
    Other,
    /// Its parts do not belong together.
    #[error("the row {0}")]
    Inconsistent(&'static str),
    /// The request in it does not hold.
    #[error("the request in the row does not hold: {0}")]
    Request(String),
}

impl From<Problem> for CompromiseError {
    fn from(problem: Problem) -> Self {
        Self::Request(problem.detail)
    }
}

impl Compromise {
    /// Reads an entry, and verifies the request in it where the key itself signed that.
    ///
    /// # Errors
    /// When it does not say that a key is compromised, or says it without the request that would show it.
    pub fn read(entry: &AuditEntry) -> Result<Self, CompromiseError> {
        let authority = entry.authority.clone().ok_or(CompromiseError::Other)?;
        let (is_revocation, is_block) = (entry.action == "certificate.revoke", entry.action == "key.block");
        if entry.outcome != Outcome::Done || !(is_revocation || is_block) {
            return Err(CompromiseError::Other);
        }
        let reason = entry.detail.get("reason").and_then(|reason| reason.as_str());
        if is_revocation && reason != Some(KeyBlock::REVOCATION.name()) {
            return Err(CompromiseError::Other);
        }
        let serial = if is_revocation { Some(entry.object.as_str()) } else { entry.detail.get("certificate").and_then(|c| c.as_str()) };
        let serial = serial.and_then(|text| text.parse().ok()).ok_or(CompromiseError::Inconsistent("names no certificate"))?;
        let certificate = CertificateName { authority, serial };
        let invalidity_date = entry.detail.get("invalidity_date").and_then(|date| date.as_str());
        let invalidity_date = invalidity_date.and_then(|date| Timestamp::parse_rfc3339(date).ok());
        let (subject, word) = match &entry.actor {
            Actor::Officers { .. } | Actor::Operator { .. } if is_revocation => (None, Word::Operators),
            Actor::CertificateKey { spki_sha256 } => {
                let (jws, subject) = request_of(entry)?;
                let KeyRef::Jwk(key) = &jws.protected.key else {
                    return Err(CompromiseError::Inconsistent("is by a key, and its request by an account"));
                };
                jws.verify(key)?;
                if key.public_key()? != *subject.public_key() || subject.public_key().spki_sha256() != *spki_sha256 {
                    return Err(CompromiseError::Inconsistent("is by another key than its certificate's"));
                }
                if is_block && entry.object != spki_sha256.to_string() {
                    return Err(CompromiseError::Inconsistent("blocks another key than its certificate's"));
                }
                (Some(subject), Word::Key)
            }
            Actor::Account { id } if is_revocation => {
                let (jws, subject) = request_of(entry)?;
                let KeyRef::Kid(kid) = &jws.protected.key else {
                    return Err(CompromiseError::Inconsistent("is by an account, and its request by a key"));
                };
                if path_of(kid).and_then(|path| path.strip_prefix("/acme/acct/")) != Some(id.as_str()) {
                    return Err(CompromiseError::Inconsistent("is by another account than its request"));
                }
                (Some(subject), Word::Account(id.clone()))
            }
            Actor::Officers { .. } | Actor::Operator { .. } | Actor::Account { .. } | Actor::System { .. } | Actor::Anonymous => {
                return Err(CompromiseError::Other);
            }
        };
        if subject.as_ref().is_some_and(|subject: &Certificate| subject.serial() != serial) {
            return Err(CompromiseError::Inconsistent("is about another certificate than its request"));
        }
        let spki_sha256 = subject.map(|subject| subject.public_key().spki_sha256());
        Ok(Self { certificate, spki_sha256, word, invalidity_date })
    }

    /// Verifies the request in an entry by an account's key.
    ///
    /// # Errors
    /// When there is none, or the key did not sign it.
    pub fn is_signed_by(entry: &AuditEntry, account: &Account) -> Result<(), CompromiseError> {
        let (jws, _) = request_of(entry)?;
        Ok(jws.verify(&Jwk::parse(&account.jwk)?)?)
    }
}

/// The revokeCert request for keyCompromise in an entry, and the certificate in it.
fn request_of(entry: &AuditEntry) -> Result<(ParsedJws, Certificate), CompromiseError> {
    let text = entry.detail.get("request").and_then(|request| request.as_str());
    let jws = ParsedJws::parse(text.ok_or(CompromiseError::Inconsistent("has no request"))?)?;
    if path_of(&jws.protected.url) != Some(REVOKE_CERT) {
        return Err(CompromiseError::Inconsistent("has a request for another URL"));
    }
    let request = RevokeCertRequest::parse(&jws)?;
    if request.reason != RevocationReason::KeyCompromise {
        return Err(CompromiseError::Inconsistent("has a request for another reason"));
    }
    let certificate = Certificate::from_der(&request.certificate).map_err(|e| CompromiseError::Request(e.to_string()))?;
    Ok((jws, certificate))
}
