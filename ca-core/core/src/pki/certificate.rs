//! Certificates read back (RFC 5280 §4.1).

use std::fmt;
use std::net::IpAddr;
use std::ops::Range;

use const_oid::ObjectIdentifier;

use super::name_text::name_text;
use super::walk::{self, BIT_STRING, INTEGER, ParseError, RawExtension, SEQUENCE, Tlv, Walker};
use super::{
    AltName, DnsName, EmailName, Identifier, PublicKey, SerialNumber, SignatureAlgorithm, Timestamp, UriName, VerifyError, device_name,
    oid, verify_signature,
};

/// Most bytes of a certificate.
const MAX_CERTIFICATE: usize = 64 * 1024;

/// A parsed version 3 certificate that owns its DER. Parsing says nothing about trust.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    tbs: Range<usize>,
    issuer: Range<usize>,
    subject: Range<usize>,
    signature: Range<usize>,
    serial: SerialNumber,
    algorithm: SignatureAlgorithm,
    not_before: Timestamp,
    not_after: Timestamp,
    public_key: PublicKey,
    subject_text: String,
    identifiers: Vec<Identifier>,
    alt_names: Vec<AltName>,
    key_identifier: Option<Vec<u8>>,
    authority_key_identifier: Option<Vec<u8>>,
    is_ca: bool,
}

impl Certificate {
    /// Reads the DER of one certificate.
    ///
    /// # Errors
    /// When it is too large, is not a version 3 certificate in DER, has an extension twice, or is signed with an
    /// algorithm that this CA does not handle.
    pub fn from_der(der: &[u8]) -> Result<Self, ParseError> {
        if der.len() > MAX_CERTIFICATE {
            return Err(ParseError::TooLarge);
        }
        let mut outer = Walker::single(der, SEQUENCE, "Certificate")?.walk();
        let tbs = outer.expect(SEQUENCE, "tbsCertificate")?;
        let identifier = outer.expect(SEQUENCE, "signatureAlgorithm")?;
        let signature = outer.expect(BIT_STRING, "signatureValue")?.bit_string_octets("signatureValue")?;
        outer.finish("Certificate")?;

        let fields = TbsFields::read(&tbs)?;
        // RFC 5280 §4.1.1.2: the outer algorithm is the inner one.
        if fields.algorithm.whole != identifier.whole {
            return Err(ParseError::Value("signatureAlgorithm"));
        }
        let algorithm = SignatureAlgorithm::from_identifier(identifier.whole).ok_or(ParseError::Algorithm)?;
        let extensions = fields.extensions.as_ref().map_or(Ok(Vec::new()), walk::read_extensions)?;
        let find = |oid: ObjectIdentifier| extensions.iter().find(|e| e.oid == oid.as_bytes());
        let alt_names = find(oid::SUBJECT_ALT_NAME).map_or(Ok(Vec::new()), |e| handled_names(e.value))?;
        let subject_text = name_text(&fields.subject)?;
        Ok(Self {
            tbs: position(der, tbs.whole),
            issuer: position(der, fields.issuer.whole),
            subject: position(der, fields.subject.whole),
            signature: position(der, signature),
            serial: SerialNumber::from_der_integer(fields.serial.content).map_err(|_| ParseError::Value("serialNumber"))?,
            algorithm,
            not_before: walk::read_time(&fields.not_before, "notBefore")?,
            not_after: walk::read_time(&fields.not_after, "notAfter")?,
            public_key: PublicKey::from_spki_der(fields.public_key.whole.to_vec()),
            subject_text,
            identifiers: alt_names.iter().filter_map(AltName::identifier).collect(),
            alt_names,
            key_identifier: find(oid::SUBJECT_KEY_IDENTIFIER).map(read_key_identifier).transpose()?,
            authority_key_identifier: find(oid::AUTHORITY_KEY_IDENTIFIER).map_or(Ok(None), read_authority_key_identifier)?,
            is_ca: may_sign_certificates(&extensions)?,
            der: der.to_vec(),
        })
    }

    /// The whole certificate.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The to-be-signed part: what the signature covers.
    pub fn tbs_der(&self) -> &[u8] {
        &self.der[self.tbs.clone()]
    }

    /// The serial number.
    pub const fn serial(&self) -> SerialNumber {
        self.serial
    }

    /// The subject's DER.
    pub fn subject_der(&self) -> &[u8] {
        &self.der[self.subject.clone()]
    }

    /// The issuer's DER.
    pub fn issuer_der(&self) -> &[u8] {
        &self.der[self.issuer.clone()]
    }

    /// The subject as RFC 4514 text; empty where the subject is.
    pub fn subject_text(&self) -> &str {
        &self.subject_text
    }

    /// The public key.
    pub const fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// notBefore.
    pub const fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// notAfter: the last second of the validity.
    pub const fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// The names of the subject alternative name that an order may have, sorted, each once: dns, ip and devices; other
    /// forms are passed over.
    pub fn identifiers(&self) -> &[Identifier] {
        &self.identifiers
    }

    /// The names of the subject alternative name, sorted, each once: dns, ip, URI, mailbox and devices; other
    /// forms are passed over.
    pub fn alt_names(&self) -> &[AltName] {
        &self.alt_names
    }

    /// The subject key identifier.
    pub fn key_identifier(&self) -> Option<&[u8]> {
        self.key_identifier.as_deref()
    }

    /// The key identifier of the authority key identifier.
    pub fn authority_key_identifier(&self) -> Option<&[u8]> {
        self.authority_key_identifier.as_deref()
    }

    /// Whether it may sign certificates: cA is true, and the key usage, where there is one, has keyCertSign.
    pub const fn is_ca(&self) -> bool {
        self.is_ca
    }

    /// The algorithm of its own signature.
    pub const fn signature_algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// The signature's octets.
    pub fn signature(&self) -> &[u8] {
        &self.der[self.signature.clone()]
    }

    /// Whether `issuer` issued this certificate: its name, its key identifier, its right to, and the signature, which
    /// the second library verifies. Validity in time and path constraints are not judged.
    ///
    /// # Errors
    /// Says which of these does not hold.
    pub fn is_signed_by(&self, issuer: &Self) -> Result<(), VerifyError> {
        let other_key = matches!((self.authority_key_identifier(), issuer.key_identifier()), (Some(a), Some(b)) if a != b);
        if self.issuer_der() != issuer.subject_der() || other_key {
            return Err(VerifyError::OtherIssuer);
        }
        if !issuer.is_ca {
            return Err(VerifyError::NotACa);
        }
        verify_signature(&issuer.public_key, self.algorithm, self.tbs_der(), self.signature())
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("serial", &self.serial).field("subject", &self.subject_text).finish_non_exhaustive()
    }
}

/// The fields of a TBSCertificate, as elements.
pub(crate) struct TbsFields<'a> {
    pub(crate) serial: Tlv<'a>,
    pub(crate) algorithm: Tlv<'a>,
    pub(crate) issuer: Tlv<'a>,
    pub(crate) not_before: Tlv<'a>,
    pub(crate) not_after: Tlv<'a>,
    pub(crate) subject: Tlv<'a>,
    pub(crate) public_key: Tlv<'a>,
    /// The SEQUENCE within `[3]`.
    pub(crate) extensions: Option<Tlv<'a>>,
}

impl<'a> TbsFields<'a> {
    /// Reads version 3 only; unique identifiers, which RFC 5280 §4.1.2.8 forbids CAs, are refused.
    pub(crate) fn read(tbs: &Tlv<'a>) -> Result<Self, ParseError> {
        let mut fields = tbs.walk();
        if fields.expect(0xa0, "version")?.content != [INTEGER, 1, 2] {
            return Err(ParseError::Value("version"));
        }
        let serial = fields.expect(INTEGER, "serialNumber")?;
        serial.positive_integer("serialNumber")?;
        let algorithm = fields.expect(SEQUENCE, "signature")?;
        let issuer = fields.expect(SEQUENCE, "issuer")?;
        let mut validity = fields.expect(SEQUENCE, "validity")?.walk();
        let (not_before, not_after) = (validity.next()?, validity.next()?);
        validity.finish("validity")?;
        let subject = fields.expect(SEQUENCE, "subject")?;
        let public_key = fields.expect(SEQUENCE, "subjectPublicKeyInfo")?;
        let extensions = match fields.optional(0xa3)? {
            Some(wrapper) => Some(Walker::single(wrapper.content, SEQUENCE, "extensions")?),
            None => None,
        };
        fields.finish("tbsCertificate")?;
        Ok(Self { serial, algorithm, issuer, not_before, not_after, subject, public_key, extensions })
    }
}

/// A GeneralName of a form that a certificate here may carry, or the tag of another.
pub(crate) fn read_alt_name(name: &Tlv<'_>) -> Result<Result<AltName, u8>, ParseError> {
    let text = |what| std::str::from_utf8(name.content).map_err(|_| ParseError::Value(what));
    match name.tag {
        0x81 => EmailName::parse(text("rfc822Name")?).map(|n| Ok(AltName::Email(n))).map_err(|_| ParseError::Value("rfc822Name")),
        0x86 => {
            let uri = UriName::parse(text("uniformResourceIdentifier")?);
            uri.map(|n| Ok(AltName::Uri(n))).map_err(|_| ParseError::Value("uniformResourceIdentifier"))
        }
        _ => Ok(read_general_name(name)?.map(AltName::from)),
    }
}

/// A GeneralName of a kind that an order may have, or the tag of another.
fn read_general_name(name: &Tlv<'_>) -> Result<Result<Identifier, u8>, ParseError> {
    match name.tag {
        0x82 => {
            let text = std::str::from_utf8(name.content).map_err(|_| ParseError::Value("dNSName"))?;
            DnsName::parse(text).map(|n| Ok(Identifier::Dns(n))).map_err(|_| ParseError::Value("dNSName"))
        }
        0x87 => match (<[u8; 4]>::try_from(name.content), <[u8; 16]>::try_from(name.content)) {
            (Ok(v4), _) => Ok(Ok(Identifier::Ip(IpAddr::from(v4)))),
            (_, Ok(v6)) => Ok(Ok(Identifier::Ip(IpAddr::from(v6)))),
            _ => Err(ParseError::Value("iPAddress")),
        },
        0xa0 => Ok(device_name::read_other_name(name)?.and_then(|name| name.identifier()).ok_or(name.tag)),
        other => Ok(Err(other)),
    }
}

/// Where `part` lies in `whole`, of which it is a slice.
fn position(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    start..start + part.len()
}

fn handled_names(value: &[u8]) -> Result<Vec<AltName>, ParseError> {
    let mut names = Walker::single(value, SEQUENCE, "subjectAltName")?.walk();
    let mut found = Vec::new();
    while !names.is_empty() {
        let element = names.next()?;
        let name = match (element.tag, read_alt_name(&element)) {
            // Those of other CAs need not be of the form that is issued here.
            (0x81 | 0x86 | 0xa0, Err(_)) => continue,
            (_, name) => name?,
        };
        if let Ok(name) = name {
            found.push(name);
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

fn read_key_identifier(extension: &RawExtension<'_>) -> Result<Vec<u8>, ParseError> {
    Ok(Walker::single(extension.value, walk::OCTET_STRING, "subjectKeyIdentifier")?.content.to_vec())
}

fn read_authority_key_identifier(extension: &RawExtension<'_>) -> Result<Option<Vec<u8>>, ParseError> {
    let mut fields = Walker::single(extension.value, SEQUENCE, "authorityKeyIdentifier")?.walk();
    Ok(fields.optional(0x80)?.map(|id| id.content.to_vec()))
}

fn may_sign_certificates(extensions: &[RawExtension<'_>]) -> Result<bool, ParseError> {
    let find = |oid: ObjectIdentifier| extensions.iter().find(|e| e.oid == oid.as_bytes());
    let Some(constraints) = find(oid::BASIC_CONSTRAINTS) else { return Ok(false) };
    let mut fields = Walker::single(constraints.value, SEQUENCE, "basicConstraints")?.walk();
    let is_ca = fields.optional(walk::BOOLEAN)?.map_or(Ok(false), |flag| flag.boolean("cA"))?;
    let key_cert_sign = match find(oid::KEY_USAGE) {
        None => true,
        Some(usage) => {
            let bits = Walker::single(usage.value, BIT_STRING, "keyUsage")?;
            bits.content.get(1).is_some_and(|b| b & 0x04 != 0)
        }
    };
    Ok(is_ca && key_cert_sign)
}
