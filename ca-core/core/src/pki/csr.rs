//! Certification requests (RFC 2986).
//!
//! From a request only the key is taken, and the names to compare them with the order's: nothing that a subscriber
//! asks for in extensions or attributes reaches a certificate.

use super::certificate::read_alt_name;
use super::possession::verify_possession;
use super::spki::{KeyError, KeyMaterial, key_material};
use super::verify::{Scheme, Sha2, verify_scheme};
use super::walk::{self, BIT_STRING, INTEGER, OID, ParseError, SEQUENCE, SET, Tlv, Walker};
use super::{AltName, Identifier, PublicKey, VerifyError, encode, oid};

/// Most bytes of a request.
const MAX_CSR: usize = 16 * 1024;
/// Most names in a request.
const MAX_NAMES: usize = 100;

/// Why a certification request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    /// Not a PKCS #10 request in DER.
    #[error("the CSR is not a PKCS #10 request in DER: {0}")]
    Malformed(#[from] ParseError),
    /// A key that is not handled.
    #[error("the CSR's key is refused: {0}")]
    Key(#[from] KeyError),
    /// A signature algorithm that is not handled, or not that of its key.
    #[error(
        "the CSR's signature algorithm is not handled or not that of its key (hint: SHA-2 with ECDSA or RSA PKCS#1, Ed25519, or pure ML-DSA-65 or ML-DSA-87)"
    )]
    Algorithm,
    /// No proof of possession.
    #[error("the CSR's signature does not verify with its own key")]
    Signature,
    /// A subject alternative name of a form that no certificate here carries.
    #[error(
        "the CSR asks for a subject alternative name of type {0}; only dNSName, iPAddress, uniformResourceIdentifier, rfc822Name, and PermanentIdentifier and HardwareModuleName as otherName are handled"
    )]
    NameType(&'static str),
    /// More names than are handled.
    #[error("the CSR has more than {MAX_NAMES} names")]
    TooManyNames,
    /// More than one common name, or one that is not text.
    #[error("the CSR's subject has more than one common name, or one that is not UTF-8, printable or IA5 text")]
    CommonName,
}

/// A certification request whose signature proved possession of its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Csr {
    public_key: PublicKey,
    alt_names: Vec<AltName>,
    identifiers: Vec<Identifier>,
    common_name: Option<String>,
    challenge: Option<String>,
    info: Vec<u8>,
}

impl Csr {
    /// Reads the DER of a request and verifies its signature.
    ///
    /// # Errors
    /// When it is too large or malformed, its key or algorithm is not handled, its signature does not verify, or it asks
    /// for a kind of name that is not handled.
    pub fn from_der(der: &[u8]) -> Result<Self, CsrError> {
        Self::read(der, verify_possession)
    }

    /// The same with the second library: a request that a ceremony's own key signed.
    ///
    /// # Errors
    /// As [`Csr::from_der`].
    pub fn from_own_der(der: &[u8]) -> Result<Self, CsrError> {
        Self::read(der, verify_scheme)
    }

    fn read(der: &[u8], verify: impl FnOnce(&KeyMaterial<'_>, Scheme, &[u8], &[u8]) -> Result<(), VerifyError>) -> Result<Self, CsrError> {
        if der.len() > MAX_CSR {
            return Err(ParseError::TooLarge.into());
        }
        let mut outer = Walker::single(der, SEQUENCE, "CertificationRequest")?.walk();
        let info = outer.expect(SEQUENCE, "certificationRequestInfo")?;
        let algorithm = outer.expect(SEQUENCE, "signatureAlgorithm")?;
        let signature = outer.expect(BIT_STRING, "signature")?.bit_string_octets("signature")?;
        outer.finish("CertificationRequest")?;

        let mut fields = info.walk();
        if fields.expect(INTEGER, "version")?.content != [0] {
            return Err(ParseError::Value("version").into());
        }
        let subject = fields.expect(SEQUENCE, "subject")?;
        let public_key = PublicKey::from_spki_der(fields.expect(SEQUENCE, "subjectPKInfo")?.whole.to_vec());
        // RFC 2986 §4.1: the attributes are there even when there are none; some tools leave them out.
        let attributes = fields.optional(0xa0)?;
        fields.finish("certificationRequestInfo")?;

        let scheme = read_scheme(&algorithm)?;
        verify(&key_material(&public_key)?, scheme, info.whole, signature).map_err(|e| match e {
            VerifyError::Key(key) => CsrError::Key(key),
            VerifyError::AlgorithmMismatch => CsrError::Algorithm,
            _ => CsrError::Signature,
        })?;
        let mut alt_names = attributes.map_or(Ok(Vec::new()), |a| requested_names(&a))?;
        alt_names.sort();
        alt_names.dedup();
        let identifiers = alt_names.iter().filter_map(AltName::identifier).collect();
        let challenge = attributes.map_or(Ok(None), |a| read_challenge(&a))?;
        Ok(Self { alt_names, identifiers, common_name: read_common_name(&subject)?, challenge, info: info.whole.to_vec(), public_key })
    }

    /// The CertificationRequestInfo: what the signature covers.
    pub fn info_der(&self) -> &[u8] {
        &self.info
    }

    /// Its challengePassword (RFC 2985 §5.4.1): here the digest of the statement that it goes with.
    pub fn challenge(&self) -> Option<&str> {
        self.challenge.as_deref()
    }

    /// The key that the requester holds.
    pub const fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The names of its subject alternative name, sorted, each once.
    pub fn alt_names(&self) -> &[AltName] {
        &self.alt_names
    }

    /// Those of them that an order may have: neither URIs nor mailboxes.
    pub fn identifiers(&self) -> &[Identifier] {
        &self.identifiers
    }

    /// The common name of its subject.
    pub fn common_name(&self) -> Option<&str> {
        self.common_name.as_deref()
    }
}

/// The scheme of a signature in a request; NULL parameters of RSA may be absent.
pub(super) fn read_scheme(algorithm: &Tlv<'_>) -> Result<Scheme, CsrError> {
    let mut fields = algorithm.walk();
    let oid = fields.expect(OID, "signatureAlgorithm")?;
    let parameters = &algorithm.content[oid.whole.len()..];
    match (oid.content, parameters) {
        // RFC 5758 §3.2
        ([0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, digest @ 2..=4], []) => Ok(Scheme::Ecdsa(sha2(digest - 2))),
        // RFC 4055 §5; NULL may be absent on the way in.
        ([0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, digest @ 0x0b..=0x0d], [] | [5, 0]) => Ok(Scheme::RsaPkcs1(sha2(digest - 0x0b))),
        ([0x2b, 0x65, 0x70], []) => Ok(Scheme::Ed25519),
        // RFC 9881 §2
        ([0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x12], []) => Ok(Scheme::MlDsa65),
        ([0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x13], []) => Ok(Scheme::MlDsa87),
        _ => Err(CsrError::Algorithm),
    }
}

const fn sha2(index: u8) -> Sha2 {
    match index {
        0 => Sha2::Sha256,
        1 => Sha2::Sha384,
        _ => Sha2::Sha512,
    }
}

fn requested_names(attributes: &Tlv<'_>) -> Result<Vec<AltName>, CsrError> {
    let mut walker = attributes.walk();
    let mut names = None;
    while !walker.is_empty() {
        let mut attribute = walker.expect(SEQUENCE, "attribute")?.walk();
        let kind = attribute.expect(OID, "attribute type")?;
        let values = attribute.expect(SET, "attribute values")?;
        attribute.finish("attribute")?;
        if kind.content != oid::EXTENSION_REQUEST.as_bytes() {
            continue;
        }
        // RFC 2985 §5.4.2: single-valued; a second request could hide names from a reader of the first.
        let extensions = Walker::single(values.content, SEQUENCE, "extensionRequest")?;
        if names.is_some() {
            return Err(ParseError::DuplicateExtension.into());
        }
        // An empty list asks for nothing: some tools write it.
        let requested = if extensions.content.is_empty() { Vec::new() } else { walk::read_extensions(&extensions)? };
        names = Some(match requested.iter().find(|e| e.oid == oid::SUBJECT_ALT_NAME.as_bytes()) {
            Some(extension) => read_names(extension.value)?,
            None => Vec::new(),
        });
    }
    Ok(names.unwrap_or_default())
}

/// The challenge; one that stands twice or is no text could say two things.
fn read_challenge(attributes: &Tlv<'_>) -> Result<Option<String>, CsrError> {
    let mut walker = attributes.walk();
    let mut found = None;
    while !walker.is_empty() {
        let mut attribute = walker.expect(SEQUENCE, "attribute")?.walk();
        let kind = attribute.expect(OID, "attribute type")?;
        let values = attribute.expect(SET, "attribute values")?;
        if kind.content != oid::CHALLENGE_PASSWORD.as_bytes() {
            continue;
        }
        let mut values = values.walk();
        let value = values.next()?;
        values.finish("challengePassword")?;
        let is_text = matches!(value.tag, walk::UTF8_STRING | walk::PRINTABLE_STRING);
        let text = std::str::from_utf8(value.content).ok().filter(|_| is_text && found.is_none());
        found = Some(text.ok_or(ParseError::Value("challengePassword"))?.to_owned());
    }
    Ok(found)
}

/// A CertificationRequestInfo (RFC 2986 §4.1) with one attribute, the challenge. Its first element is the INTEGER 0 and
/// its third the key, so it reads as no TBSCertificate (whose first is `[0]` or a serial number) and no TBSCertList.
pub(crate) fn request_info(subject_der: &[u8], key: &PublicKey, challenge: &str) -> Vec<u8> {
    let value = encode::tlv(SET, &encode::tlv(walk::PRINTABLE_STRING, challenge.as_bytes()));
    let attribute = encode::sequence(&[&encode::oid(oid::CHALLENGE_PASSWORD), &value]);
    encode::sequence(&[&encode::integer(0), subject_der, key.spki_der(), &encode::tlv(0xa0, &attribute)])
}

fn read_names(value: &[u8]) -> Result<Vec<AltName>, CsrError> {
    let mut walker = Walker::single(value, SEQUENCE, "subjectAltName")?.walk();
    let mut names = Vec::new();
    while !walker.is_empty() {
        let name = read_alt_name(&walker.next()?)?.map_err(|tag| CsrError::NameType(name_type(tag)))?;
        if names.len() == MAX_NAMES {
            return Err(CsrError::TooManyNames);
        }
        names.push(name);
    }
    Ok(names)
}

const fn name_type(tag: u8) -> &'static str {
    match tag {
        0xa0 => "otherName",
        0xa3 => "x400Address",
        0xa4 => "directoryName",
        0xa5 => "ediPartyName",
        0x88 => "registeredID",
        _ => "unknown",
    }
}

fn read_common_name(subject: &Tlv<'_>) -> Result<Option<String>, CsrError> {
    let mut found = None;
    let mut sets = subject.walk();
    while !sets.is_empty() {
        let mut attributes = sets.expect(SET, "relative distinguished name")?.walk();
        while !attributes.is_empty() {
            let mut pair = attributes.expect(SEQUENCE, "attribute")?.walk();
            let kind = pair.expect(OID, "attribute type")?;
            let value = pair.next()?;
            pair.finish("attribute")?;
            if kind.content != oid::COMMON_NAME.as_bytes() {
                continue;
            }
            let is_text = matches!(value.tag, walk::UTF8_STRING | walk::PRINTABLE_STRING | walk::IA5_STRING);
            let text = std::str::from_utf8(value.content).ok().filter(|_| is_text && found.is_none());
            found = Some(text.ok_or(CsrError::CommonName)?.to_owned());
        }
    }
    Ok(found)
}
