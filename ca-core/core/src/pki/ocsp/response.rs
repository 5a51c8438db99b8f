//! Responses: built in two steps around the signature, and read back.

use std::time::Duration;

use der::asn1::{AnyRef, BitStringRef, GeneralizedTime, Null, OctetStringRef};
use der::{Decode, Encode, Enumerated, Tag};

use super::request::key_octets;
use super::{CertId, HashAlgorithm, OcspError, asn1};
use crate::model::RevocationReason;
use crate::pki::verify::signature_algorithm_of;
use crate::pki::{PublicKey, SignatureAlgorithm, Timestamp, VerifyError, algorithm_identifier_der, verify_signature};

/// OCSPResponseStatus (RFC 6960 §4.2.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Enumerated)]
#[repr(u8)]
pub enum ResponseStatus {
    /// The response has valid confirmations.
    Successful = 0,
    /// Illegal confirmation request.
    MalformedRequest = 1,
    /// Internal error in issuer.
    InternalError = 2,
    /// Try again later.
    TryLater = 3,
    /// Must sign the request.
    SigRequired = 5,
    /// Request unauthorized: also what a responder says that has no authoritative record (RFC 5019 §2.2.3).
    Unauthorized = 6,
}

/// The DER of a response that carries a status and nothing else.
pub const fn error_response(status: ResponseStatus) -> [u8; 5] {
    [0x30, 3, 0x0a, 1, status as u8]
}

/// CertStatus.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CertStatus {
    /// Good.
    Good,
    /// Revoked.
    Revoked {
        /// When.
        at: Timestamp,
        /// Why; unspecified is left out of the encoding.
        reason: RevocationReason,
    },
    /// Unknown.
    Unknown,
}

/// What is said of one certificate: a SingleResponse.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// About which.
    pub cert_id: CertId,
    /// What.
    pub status: CertStatus,
    /// thisUpdate.
    pub this_update: Timestamp,
    /// nextUpdate.
    pub next_update: Timestamp,
}

/// What a responder signs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResponseData {
    /// producedAt.
    pub produced_at: Timestamp,
    /// The answers.
    pub answers: Vec<Answer>,
    /// The request's nonce.
    pub nonce: Option<Vec<u8>>,
    /// Whether a certificate that was never issued is answered as revoked (RFC 6960 §4.4.8).
    pub extended_revoke: bool,
}

/// The DER of a ResponseData whose responder is named by `key`: what is to be signed.
///
/// # Errors
/// When a time besides a revocation's is before 1970 or past 9999, or the key is no SubjectPublicKeyInfo.
pub fn build_response_data(data: &ResponseData, key: &PublicKey) -> Result<Vec<u8>, OcspError> {
    // RFC 6960 §4.2.1: KeyHash is the SHA-1 of the responder's public key.
    let key_hash = HashAlgorithm::Sha1.digest(&key_octets(key)?);
    let reasons = RevocationReason::ALL.map(RevocationReason::code);
    let mut responses = Vec::with_capacity(data.answers.len());
    for answer in &data.answers {
        let status = match answer.status {
            CertStatus::Good => asn1::Status::Good(Null),
            CertStatus::Unknown => asn1::Status::Unknown(Null),
            CertStatus::Revoked { at, reason } => {
                let code = reasons.iter().find(|code| **code == reason.code() && **code != 0);
                let reason = code.map(|code| AnyRef::new(Tag::Enumerated, std::slice::from_ref(code))).transpose()?;
                // Of a bad row, too, the answer is revoked: no answer would count as good with many clients.
                asn1::Status::Revoked(asn1::RevokedInfo { at: time(at.clamp(Timestamp::EPOCH, Timestamp::LAST))?, reason })
            }
        };
        responses.push(asn1::SingleResponse {
            cert_id: asn1::CertId::from_der(&answer.cert_id.der)?,
            status,
            this_update: time(answer.this_update)?,
            next_update: Some(time(answer.next_update)?),
            extensions: None,
        });
    }
    let nonce = data.nonce.as_deref().map(|n| AnyRef::new(Tag::OctetString, n).and_then(|n| n.to_der())).transpose()?;
    let mut extensions = Vec::new();
    if let Some(nonce) = &nonce {
        extensions.push(asn1::Extension { oid: asn1::NONCE, critical: false, value: OctetStringRef::new(nonce)? });
    }
    if data.extended_revoke {
        // The value is NULL; never critical.
        extensions.push(asn1::Extension { oid: asn1::EXTENDED_REVOKE, critical: false, value: OctetStringRef::new(&[0x05, 0x00])? });
    }
    let data = asn1::ResponseData {
        version: None,
        responder: asn1::ResponderId::ByKey(OctetStringRef::new(&key_hash)?),
        produced_at: time(data.produced_at)?,
        responses,
        extensions: (!extensions.is_empty()).then_some(extensions),
    };
    Ok(data.to_der()?)
}

/// The whole response: `data` from [`build_response_data`], its signature and the responder's certificate.
///
/// # Errors
/// When `data` or `certificate` is not DER.
pub fn assemble_response(data: &[u8], algorithm: SignatureAlgorithm, signature: &[u8], certificate: &[u8]) -> Result<Vec<u8>, OcspError> {
    let algorithm = algorithm_identifier_der(algorithm);
    let basic = asn1::BasicResponse {
        data: AnyRef::from_der(data)?,
        algorithm: AnyRef::from_der(&algorithm)?,
        signature: BitStringRef::from_bytes(signature)?,
        certificates: Some(vec![AnyRef::from_der(certificate)?]),
    };
    let basic = basic.to_der()?;
    let bytes = asn1::ResponseBytes { kind: asn1::BASIC, response: OctetStringRef::new(&basic)? };
    Ok(asn1::Response { status: ResponseStatus::Successful, bytes: Some(bytes) }.to_der()?)
}

/// A response read back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BasicResponse {
    /// What was signed, read.
    pub data: ResponseData,
    /// What was signed, as bytes.
    pub data_der: Vec<u8>,
    /// SHA-1 of the responder's key, where it is named so.
    pub responder_key_hash: Option<Vec<u8>>,
    /// How it is signed.
    pub algorithm: SignatureAlgorithm,
    /// The signature's octets.
    pub signature: Vec<u8>,
    /// The certificates that came along, DER.
    pub certificates: Vec<Vec<u8>>,
}

impl BasicResponse {
    /// Reads a response.
    ///
    /// # Errors
    /// When it is not DER, carries another status than successful, or lacks a nextUpdate.
    pub fn from_der(der: &[u8]) -> Result<Self, OcspError> {
        let response = asn1::Response::from_der(der)?;
        let bytes = match (response.status, response.bytes) {
            (ResponseStatus::Successful, Some(bytes)) if bytes.kind == asn1::BASIC => bytes,
            (ResponseStatus::Successful, _) => return Err(OcspError::Unacceptable("it is no basic response")),
            (status, _) => return Err(OcspError::Status(status)),
        };
        let basic = asn1::BasicResponse::from_der(bytes.response.as_bytes())?;
        let data_der = basic.data.to_der()?;
        let data = asn1::ResponseData::from_der(&data_der)?;
        let extensions = data.extensions.as_deref().unwrap_or_default();
        let nonce =
            extensions.iter().find(|e| e.oid == asn1::NONCE).map(|e| <&OctetStringRef>::from_der(e.value.as_bytes())).transpose()?;
        Ok(Self {
            responder_key_hash: match data.responder {
                asn1::ResponderId::ByKey(hash) => Some(hash.as_bytes().to_vec()),
                asn1::ResponderId::ByName(_) => None,
            },
            algorithm: signature_algorithm_of(&basic.algorithm)
                .ok_or(OcspError::Unacceptable("the signature algorithm is not supported"))?,
            signature: basic.signature.raw_bytes().to_vec(),
            certificates: basic.certificates.iter().flatten().map(Encode::to_der).collect::<Result<_, _>>()?,
            data: ResponseData {
                produced_at: from_time(data.produced_at),
                answers: data.responses.iter().map(read_answer).collect::<Result<_, _>>()?,
                nonce: nonce.map(|n| n.as_bytes().to_vec()),
                extended_revoke: extensions.iter().any(|e| e.oid == asn1::EXTENDED_REVOKE),
            },
            data_der,
        })
    }

    /// Whether `key` signed it, by the second library.
    ///
    /// # Errors
    /// When it did not.
    pub fn is_signed_by(&self, key: &PublicKey) -> Result<(), VerifyError> {
        verify_signature(key, self.algorithm, &self.data_der, &self.signature)
    }
}

fn read_answer(response: &asn1::SingleResponse<'_>) -> Result<Answer, OcspError> {
    let status = match &response.status {
        asn1::Status::Good(_) => CertStatus::Good,
        asn1::Status::Unknown(_) => CertStatus::Unknown,
        asn1::Status::Revoked(info) => {
            let reason = match info.reason.map(|r| (r.header().tag(), r.value())) {
                None => Some(RevocationReason::Unspecified),
                Some((Tag::Enumerated, [code])) => RevocationReason::from_code(*code),
                Some(_) => None,
            };
            CertStatus::Revoked { at: from_time(info.at), reason: reason.ok_or(OcspError::Unacceptable("the reason is not known"))? }
        }
    };
    Ok(Answer {
        cert_id: CertId::read(&response.cert_id)?,
        status,
        this_update: from_time(response.this_update),
        next_update: from_time(response.next_update.ok_or(OcspError::Unacceptable("it has no nextUpdate"))?),
    })
}

fn time(at: Timestamp) -> Result<GeneralizedTime, OcspError> {
    let seconds = u64::try_from(at.unix()).map_err(|_| OcspError::Unacceptable("a time is before 1970"))?;
    Ok(GeneralizedTime::from_unix_duration(Duration::from_secs(seconds))?)
}

fn from_time(time: GeneralizedTime) -> Timestamp {
    // GeneralizedTime ends with the year 9999.
    Timestamp::from_unix(i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX))
}
