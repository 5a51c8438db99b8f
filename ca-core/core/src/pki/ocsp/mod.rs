//! OCSP messages (RFC 6960, RFC 5019, RFC 9654): requests and responses, DER in and out.
//!
//! Pure: who may say what about a serial number is the responder's business. Deliberately absent: signed requests
//! (a signature is skipped over), byName responders in what is built, archive cutoff and CRL references.

mod asn1;
mod request;
mod response;

pub use request::{CertId, HashAlgorithm, IssuerId, OcspRequest, build_request};
pub use response::{
    Answer, BasicResponse, CertStatus, ResponseData, ResponseStatus, assemble_response, build_response_data, error_response,
};

/// The largest request that is read, in octets.
pub const MAX_REQUEST_LEN: usize = 16 * 1024;
/// The most certificates that one request may ask about.
pub const MAX_CERT_IDS: usize = 32;
/// The longest nonce (RFC 9654 §2.1).
pub const MAX_NONCE_LEN: usize = 128;

/// Why bytes are not an OCSP message that is answered or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OcspError {
    /// Not the DER of the message.
    #[error("not the DER of an OCSP message: {0}")]
    Der(#[from] der::Error),
    /// Well-formed, but outside what the standards or this CA's bounds allow.
    #[error("the OCSP message is not acceptable: {0}")]
    Unacceptable(&'static str),
    /// The responder said that it failed.
    #[error("the OCSP responder answered {0:?}")]
    Status(ResponseStatus),
}
