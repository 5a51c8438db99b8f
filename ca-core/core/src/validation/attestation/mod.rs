//! device-attest-01 (draft-ietf-acme-device-attest §5): a WebAuthn attestation object, judged from values.
//!
//! - `cbor`: a bounded reader of the canonical form;
//! - `chain`: the certificates of a statement, up to a root that the officers signed;
//! - `revoked`: CRLs of whoever certifies devices, where the site has some;
//! - `apple`, `step`, `tpm`: one judge for each format, who says which key was attested, and of which device.
//!
//! The front end judges what a client sends, and the worker judges the same bytes again before it certifies.
//! Deliberately absent: roots of our own, fetching CRLs, `authData`, which the draft leaves out.

mod apple;
mod cbor;
mod chain;
mod revoked;
mod step;
mod tpm;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value as Json;

use crate::evidence::jws::ParsedJws;
use crate::model::{Fault, Problem, ProblemType};
use crate::pki::{Identifier, ParseError, PermanentIdentifier, PublicKey, Timestamp, VerifyError, sha256};
use crate::policy::{AttestationFormat, AttestationRoots};

use cbor::Cbor;
pub(crate) use chain::check_root;
pub use revoked::{AttestationCrlError, AttestationCrls};

/// Most octets of an attestation object.
pub const MAX_OBJECT: usize = 24 * 1024;

/// How many chains and how many CRLs this thread has verified.
#[cfg(test)]
pub(crate) fn verified() -> (u32, u32) {
    (chain::VERIFIED.with(std::cell::Cell::get), revoked::VERIFIED.with(std::cell::Cell::get))
}

/// Why an attestation is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttestationError {
    /// Not CBOR as it has to be.
    #[error("the attestation object is not canonical CBOR: {0}")]
    Cbor(&'static str),
    /// A member is missing or of another type.
    #[error("the attestation has no `{0}` of the right form")]
    Member(&'static str),
    /// A format that nobody judges here.
    #[error("attestations of the format `{0}` are not handled (hint: apple, step or tpm)")]
    UnknownFormat(String),
    /// A format that the officers gave no roots for.
    #[error("attestations of the format `{0}` are not taken for this identifier")]
    NotTaken(&'static str),
    /// A certificate does not parse.
    #[error("certificate {0} of the attestation cannot be read: {1}")]
    Certificate(usize, ParseError),
    /// A certificate breaks a rule.
    #[error("certificate {0} of the attestation {1}")]
    Rule(usize, &'static str),
    /// A signature on the way to the root.
    #[error("certificate {0} of the attestation is not by the next: {1}")]
    NotByNext(usize, VerifyError),
    /// The CRL of an issuer does not hold.
    #[error("certificate {0} of the attestation cannot be asked for: the CRL of its issuer is not by the issuer: {1}")]
    Crl(usize, VerifyError),
    /// The CRL of an issuer is not in force.
    #[error("certificate {0} of the attestation cannot be asked for: the CRL of its issuer is out of date (hint: tell the CA's operators)")]
    CrlOutOfDate(usize),
    /// One of the site's CRLs is not there, and nobody knows whose it is.
    #[error(
        "certificate {0} of the attestation cannot be asked for: a CRL of this CA's site cannot be read (hint: tell the CA's operators)"
    )]
    CrlUnreadable(usize),
    /// The chain does not end at a root.
    #[error("the attestation's certificates do not lead to a root that this CA knows")]
    NoRoot,
    /// The statement itself.
    #[error("{0}")]
    Statement(&'static str),
    /// A signature over the challenge.
    #[error("the attestation's signature does not hold: {0}")]
    Signature(VerifyError),
    /// It answers another challenge.
    #[error("the attestation is not of this challenge and this account's key")]
    OtherChallenge,
    /// It is about another device.
    #[error("the attestation is not about `{0}`")]
    OtherDevice(String),
}

impl AttestationError {
    /// Whose doing it is: this CA's, where a CRL is not as its site should have it; else that of whoever is named.
    pub const fn fault(&self, otherwise: Fault) -> Fault {
        match self {
            Self::Crl(..) | Self::CrlOutOfDate(_) | Self::CrlUnreadable(_) => Fault::Change,
            _ => otherwise,
        }
    }
}

/// What a format's judge found: the key, and what the device is called.
struct Attested {
    key: PublicKey,
    devices: Vec<Identifier>,
}

/// What an attestation has to show.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The device.
    pub identifier: &'a Identifier,
    /// The challenge's token and the thumbprint of the account's key.
    pub key_authorization: &'a str,
    /// The challenge's token.
    pub token: &'a str,
    /// The roots, by format.
    pub roots: &'a AttestationRoots,
    /// CRLs of whoever certifies devices.
    pub crls: &'a AttestationCrls,
    /// The time at which certificates have to be valid.
    pub now: Timestamp,
}

impl Claim<'_> {
    /// Judges an attestation object and gives the key that was attested.
    ///
    /// # Errors
    /// Says what does not hold.
    pub fn judge(&self, object: &[u8]) -> Result<PublicKey, AttestationError> {
        let value = cbor::read(object).map_err(AttestationError::Cbor)?;
        let name = value.get("fmt").and_then(Cbor::text).ok_or(AttestationError::Member("fmt"))?;
        let format = AttestationFormat::ALL.into_iter().find(|format| format.name() == name);
        let format = format.ok_or_else(|| AttestationError::UnknownFormat(name.chars().take(40).collect()))?;
        let statement = value.get("attStmt").filter(|s| s.is_map()).ok_or(AttestationError::Member("attStmt"))?;
        let roots = self.roots.of(format);
        if roots.is_empty() {
            return Err(AttestationError::NotTaken(format.name()));
        }
        let chain = chain::verify(&certificates(statement)?, roots, self.crls, self.now)?;
        let attested = match format {
            AttestationFormat::Apple => apple::judge(&chain, self)?,
            AttestationFormat::Step => step::judge(statement, &chain, self)?,
            AttestationFormat::Tpm => tpm::judge(statement, &chain, self)?,
        };
        if !attested.devices.contains(self.identifier) {
            return Err(AttestationError::OtherDevice(self.identifier.value()));
        }
        Ok(attested.key)
    }

    fn digest(&self) -> [u8; 32] {
        sha256(self.key_authorization.as_bytes()).0
    }
}

/// The device that a certificate calls by this text. The text is a serial number alone: one with a `/` would be read as one with
/// an assigner, whom the certificate does not name.
fn by_serial(text: &str) -> Option<Identifier> {
    PermanentIdentifier::parse(text).ok().filter(|_| !text.contains('/')).map(Identifier::PermanentIdentifier)
}

/// The certificates of a statement, the attested key's or the attesting key's first.
fn certificates<'a>(statement: &Cbor<'a>) -> Result<Vec<&'a [u8]>, AttestationError> {
    const X5C: AttestationError = AttestationError::Member("x5c");
    let list = statement.get("x5c").and_then(Cbor::array).ok_or(X5C)?;
    list.iter().map(|entry| entry.bytes().ok_or(X5C)).collect()
}

/// The attestation object in a client's answer to the challenge: `attObj`, base64url.
///
/// # Errors
/// `badAttestationStatement` when it is missing, empty, not base64url, or larger than [`MAX_OBJECT`].
pub fn read_answer(answer: &ParsedJws) -> Result<Vec<u8>, Problem> {
    let bad = |detail: String| Problem::new(ProblemType::BadAttestationStatement, detail);
    let payload = answer.payload_object()?;
    let text = payload.get("attObj").and_then(Json::as_str);
    let text =
        text.ok_or_else(|| bad("the answer has no `attObj` string (hint: the WebAuthn attestation object in base64url)".to_owned()))?;
    if text.len() > MAX_OBJECT / 3 * 4 {
        return Err(bad(format!("the attestation object has more than {MAX_OBJECT} octets")));
    }
    let object = URL_SAFE_NO_PAD.decode(text).map_err(|_| bad("`attObj` is not unpadded base64url".to_owned()))?;
    if object.is_empty() { Err(bad("`attObj` is empty".to_owned())) } else { Ok(object) }
}

impl From<AttestationError> for Problem {
    fn from(error: AttestationError) -> Self {
        Self::new(ProblemType::BadAttestationStatement, error.to_string())
    }
}
