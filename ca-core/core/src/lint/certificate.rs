//! A certificate taken apart, as far as its outer shape allows; nothing is judged but that shape.

use const_oid::ObjectIdentifier;

use super::element::{self, Place};
use super::extensions::{self, Extension, read_extensions};
use super::finding::Report;
use super::known::CERT;
use super::rule::{Check, Hits, Object, Rule};
use super::values::{self, BasicConstraints};
use crate::pki::oid;
use crate::pki::walk::{BIT_STRING, INTEGER, ParseError, SEQUENCE, Tlv, Walker};

/// Most bytes of a certificate that is judged.
pub const MAX_CERTIFICATE_LEN: usize = 64 * 1024;

pub(super) static SIZE: Rule =
    Rule::reading("certificate-size", "this linter's bound", "a certificate has at most 65,536 octets", Object::Certificate);
pub(super) static STRUCTURE: Rule = Rule::reading(
    "certificate-structure",
    "RFC 5280 §4.1",
    "the fields are those of a Certificate, in their order, and nothing follows them",
    Object::Certificate,
);

pub(super) static ISSUER: Rule =
    Rule::reading("issuer-structure", "RFC 5280 §4.1", "the issuers' certificates that are given can be read; at most 16", Object::Any);

/// The part around the to-be-signed bytes.
pub(super) struct Signature<'a> {
    pub(super) algorithm: Tlv<'a>,
    pub(super) value: Tlv<'a>,
}

/// The fields of a certificate, or of its to-be-signed part alone.
pub(super) struct CertificateView<'a> {
    pub(super) tbs: Tlv<'a>,
    /// None where only the to-be-signed bytes are there.
    pub(super) signature: Option<Signature<'a>>,
    /// The content of `[0]`.
    pub(super) version: Option<&'a [u8]>,
    pub(super) serial: Tlv<'a>,
    pub(super) algorithm: Tlv<'a>,
    pub(super) issuer: Tlv<'a>,
    pub(super) not_before: Tlv<'a>,
    pub(super) not_after: Tlv<'a>,
    pub(super) subject: Tlv<'a>,
    pub(super) public_key: Tlv<'a>,
    pub(super) has_unique_identifiers: bool,
    /// Whether the field is there at all.
    pub(super) has_extensions: bool,
    pub(super) extensions: Vec<Extension<'a>>,
}

impl<'a> CertificateView<'a> {
    /// Reads a whole certificate.
    pub(super) fn from_der(der: &'a [u8]) -> Result<Self, ParseError> {
        let mut fields = Walker::single(der, SEQUENCE, "Certificate")?.walk();
        let tbs = fields.expect(SEQUENCE, "tbsCertificate")?;
        let algorithm = fields.expect(SEQUENCE, "signatureAlgorithm")?;
        let value = fields.expect(BIT_STRING, "signatureValue")?;
        fields.finish("Certificate")?;
        Self::read(tbs, Some(Signature { algorithm, value }))
    }

    /// Reads the to-be-signed part.
    pub(super) fn from_tbs(tbs: &'a [u8]) -> Result<Self, ParseError> {
        Self::read(Walker::single(tbs, SEQUENCE, "tbsCertificate")?, None)
    }

    fn read(tbs: Tlv<'a>, signature: Option<Signature<'a>>) -> Result<Self, ParseError> {
        let mut fields = tbs.walk();
        let version = fields.optional(0xa0)?.map(|wrapper| wrapper.content);
        let serial = fields.expect(INTEGER, "serialNumber")?;
        let algorithm = fields.expect(SEQUENCE, "signature")?;
        let issuer = fields.expect(SEQUENCE, "issuer")?;
        let mut validity = fields.expect(SEQUENCE, "validity")?.walk();
        let (not_before, not_after) = (validity.next()?, validity.next()?);
        validity.finish("validity")?;
        let subject = fields.expect(SEQUENCE, "subject")?;
        let public_key = fields.expect(SEQUENCE, "subjectPublicKeyInfo")?;
        let unique = [fields.optional(0x81)?, fields.optional(0x82)?];
        let list = fields.optional(0xa3)?;
        fields.finish("tbsCertificate")?;
        let extensions = match &list {
            Some(wrapper) => read_extensions(&Walker::single(wrapper.content, SEQUENCE, "extensions")?)?,
            None => Vec::new(),
        };
        Ok(Self {
            tbs,
            signature,
            version,
            serial,
            algorithm,
            issuer,
            not_before,
            not_after,
            subject,
            public_key,
            has_unique_identifiers: unique.iter().any(Option::is_some),
            has_extensions: list.is_some(),
            extensions,
        })
    }

    pub(super) fn extension(&self, id: ObjectIdentifier) -> Option<Extension<'a>> {
        self.extensions.iter().find(|e| e.oid == id.as_bytes()).copied()
    }

    /// An extension's value, read; none where it is missing, and where its own rule says that it can't be read.
    pub(super) fn value<T>(&self, id: ObjectIdentifier, read: impl FnOnce(&'a [u8]) -> Result<T, ParseError>) -> Option<T> {
        self.extension(id).and_then(|e| read(e.value).ok())
    }

    pub(super) fn basic_constraints(&self) -> Option<BasicConstraints> {
        self.value(oid::BASIC_CONSTRAINTS, values::basic_constraints)
    }

    /// Whether cA is true.
    pub(super) fn is_ca(&self) -> bool {
        self.basic_constraints().is_some_and(|b| b.ca)
    }

    /// The bits of the key usage: bit 0 is `1 << 0`.
    pub(super) fn key_usage(&self) -> Option<u16> {
        self.value(oid::KEY_USAGE, values::named_bits)
    }

    /// Whether the extended key usage has this purpose.
    pub(super) fn has_purpose(&self, purpose: ObjectIdentifier) -> bool {
        self.value(oid::EXTENDED_KEY_USAGE, values::object_identifiers).is_some_and(|list| list.contains(&purpose.as_bytes()))
    }

    pub(super) fn key_identifier(&self) -> Option<&'a [u8]> {
        self.value(oid::SUBJECT_KEY_IDENTIFIER, values::octets)
    }

    /// The keyIdentifier of the authorityKeyIdentifier.
    pub(super) fn authority_key_identifier(&self) -> Option<&'a [u8]> {
        self.value(oid::AUTHORITY_KEY_IDENTIFIER, values::authority_key).and_then(|a| a.key_identifier)
    }

    /// Whether issuer and subject are one name (RFC 5280 §3.2).
    pub(super) fn is_self_issued(&self) -> bool {
        self.issuer.whole == self.subject.whole
    }

    /// Self-issued, and by its own key as far as its key identifiers say.
    pub(super) fn is_self_signed(&self) -> bool {
        self.is_self_issued() && self.authority_key_identifier().is_none_or(|above| self.key_identifier() == Some(above))
    }
}

/// The certificates above one, the direct issuer first.
pub(super) struct Chain<'a> {
    pub(super) issuer: &'a CertificateView<'a>,
    /// Above that.
    pub(super) further: &'a [CertificateView<'a>],
}

impl<'a> Chain<'a> {
    pub(super) fn all(&self) -> impl Iterator<Item = &'a CertificateView<'a>> {
        std::iter::once(self.issuer).chain(self.further)
    }
}

/// Judges what was read by every rule about certificates.
pub(super) fn judge(view: &CertificateView<'_>, chain: Option<&Chain<'_>>, report: &mut Report) {
    let mut whole = view.version.is_none_or(|v| element::judge_single(v, Place::of("tbsCertificate.version"), report));
    for (field, element) in [
        ("tbsCertificate.serialNumber", &view.serial),
        ("tbsCertificate.signature", &view.algorithm),
        ("tbsCertificate.issuer", &view.issuer),
        ("tbsCertificate.validity.notBefore", &view.not_before),
        ("tbsCertificate.validity.notAfter", &view.not_after),
        ("tbsCertificate.subject", &view.subject),
        ("tbsCertificate.subjectPublicKeyInfo", &view.public_key),
    ] {
        whole &= element::judge(element, Place::of(field), report);
    }
    if let Some(signature) = &view.signature {
        whole &= element::judge(&signature.algorithm, Place::of("signatureAlgorithm"), report);
        whole &= element::judge(&signature.value, Place::of("signatureValue"), report);
    }
    const EXTENSIONS: Place<'_> = Place::of("tbsCertificate.extensions");
    extensions::judge_values(EXTENSIONS, &view.extensions, CERT, report);
    if view.has_extensions {
        extensions::judge(Object::Certificate, EXTENSIONS, &view.extensions, report);
    }
    // What can't be walked is no value of any type: the rules would only repeat that.
    if !whole {
        return;
    }
    for rule in super::rules() {
        match (&rule.check, chain) {
            (Check::Certificate(check), _) => check(view, &mut Hits { rule, report }),
            (Check::Issued(check), Some(chain)) => check(view, chain, &mut Hits { rule, report }),
            _ => {}
        }
    }
}
