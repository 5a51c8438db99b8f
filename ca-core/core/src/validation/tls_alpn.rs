//! The certificate that a server shows in a tls-alpn-01 handshake (RFC 8737 §3, RFC 8738 §6).

use std::net::IpAddr;

use crate::pki::walk::{BIT_STRING, OCTET_STRING, ParseError, SEQUENCE, Walker, read_extensions};
use crate::pki::{Identifier, PublicKey, TbsFields, oid, sha256};

/// Most bytes of such a certificate.
const MAX_CERTIFICATE: usize = 16 * 1024;

/// Why a certificate proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeCertificateError {
    /// It does not parse.
    #[error("the certificate does not parse: {0}")]
    Malformed(#[from] ParseError),
    /// It is for other names, or for more.
    #[error("the certificate's subject alternative names are not the identifier alone")]
    Names,
    /// The extension is missing: its exact OID counts (lesson 7).
    #[error("the certificate has no acmeIdentifier extension (1.3.6.1.5.5.7.1.31)")]
    NoExtension,
    /// The extension is not critical.
    #[error("the certificate's acmeIdentifier extension is not critical")]
    NotCritical,
    /// The extension is for another challenge or another account.
    #[error("the certificate's acmeIdentifier is not the digest of this challenge's key authorization")]
    Digest,
}

/// Checks the certificate and gives its public key, by which the handshake's signature must be.
///
/// # Errors
/// When it is not the one that the challenge asks for.
pub fn check_challenge_certificate(
    der: &[u8],
    identifier: &Identifier,
    key_authorization: &str,
) -> Result<PublicKey, ChallengeCertificateError> {
    if der.len() > MAX_CERTIFICATE {
        return Err(ParseError::TooLarge.into());
    }
    let mut outer = Walker::single(der, SEQUENCE, "Certificate")?.walk();
    let tbs = outer.expect(SEQUENCE, "tbsCertificate")?;
    outer.expect(SEQUENCE, "signatureAlgorithm")?;
    outer.expect(BIT_STRING, "signatureValue")?;
    outer.finish("Certificate")?;
    let fields = TbsFields::read(&tbs)?;
    let extensions = fields.extensions.as_ref().map_or(Ok(Vec::new()), read_extensions)?;
    let find = |oid: const_oid::ObjectIdentifier| extensions.iter().find(|e| e.oid == oid.as_bytes());

    let names = find(oid::SUBJECT_ALT_NAME).ok_or(ChallengeCertificateError::Names)?;
    let mut names = Walker::single(names.value, SEQUENCE, "subjectAltName")?.walk();
    let name = names.next()?;
    let same = match identifier {
        Identifier::Dns(dns) => name.tag == 0x82 && name.content.eq_ignore_ascii_case(dns.as_str().as_bytes()),
        Identifier::Ip(IpAddr::V4(address)) => name.tag == 0x87 && name.content == address.octets(),
        Identifier::Ip(IpAddr::V6(address)) => name.tag == 0x87 && name.content == address.octets(),
        // No name of a certificate here proves a device.
        Identifier::PermanentIdentifier(_) | Identifier::HardwareModule(_) => false,
    };
    // "no other entries"
    if !same || !names.is_empty() {
        return Err(ChallengeCertificateError::Names);
    }
    let proof = find(oid::ACME_IDENTIFIER).ok_or(ChallengeCertificateError::NoExtension)?;
    if !proof.critical {
        return Err(ChallengeCertificateError::NotCritical);
    }
    let digest = Walker::single(proof.value, OCTET_STRING, "acmeIdentifier")?;
    if digest.content != sha256(key_authorization.as_bytes()).0 {
        return Err(ChallengeCertificateError::Digest);
    }
    Ok(PublicKey::from_spki_der(fields.public_key.whole.to_vec()))
}
