//! A CRL taken apart and judged (RFC 5280 §5). Its entries are walked, never kept.

mod entries;
mod rules;

use const_oid::ObjectIdentifier;

use super::certificate::{CertificateView, Signature};
use super::element::{self, Place};
use super::extensions::{self, Extension, read_extensions};
use super::finding::Report;
use super::known::LIST;
use super::rule::{Check, Hits, Object, Rule};
use super::values;
use crate::pki::crl::MAX_CRL_LEN;
use crate::pki::oid;
use crate::pki::walk::{BIT_STRING, GENERALIZED_TIME, INTEGER, ParseError, SEQUENCE, Tlv, UTC_TIME, Walker};

pub(super) use entries::{ENTRY_RULES, Entry};
pub(super) use rules::RULES;

/// The to-be-signed part and room for the signature.
pub(super) const MAX_LEN: usize = MAX_CRL_LEN + 8192;

pub(super) static SIZE: Rule =
    Rule::reading("crl-size", "this linter's bound", "a CRL has at most 512 MiB: about ten million entries", Object::Crl);
pub(super) static STRUCTURE: Rule = Rule::reading(
    "crl-structure",
    "RFC 5280 §5.1",
    "the fields are those of a CertificateList, in their order, and nothing follows them",
    Object::Crl,
);
pub(super) static READING: &[&Rule] = &[&SIZE, &STRUCTURE, &entries::STRUCTURE, &entries::REPEATED, &entries::ORDER];

/// The fields of a CRL, or of its to-be-signed part alone.
pub(super) struct CrlView<'a> {
    tbs: Tlv<'a>,
    /// None where only the to-be-signed bytes are there.
    signature: Option<Signature<'a>>,
    version: Option<Tlv<'a>>,
    algorithm: Tlv<'a>,
    issuer: Tlv<'a>,
    this_update: Tlv<'a>,
    next_update: Option<Tlv<'a>>,
    /// The content of revokedCertificates.
    entries: Option<&'a [u8]>,
    has_extensions: bool,
    extensions: Vec<Extension<'a>>,
    /// cRLNumber and thisUpdate of the CRL before.
    previous: Option<(Option<&'a [u8]>, Tlv<'a>)>,
}

impl<'a> CrlView<'a> {
    pub(super) fn from_der(der: &'a [u8]) -> Result<Self, ParseError> {
        let mut whole = Walker::new(der);
        let mut fields = whole.expect_long(SEQUENCE, "CertificateList")?.walk();
        whole.finish("CertificateList")?;
        let tbs = fields.expect_long(SEQUENCE, "tbsCertList")?;
        let algorithm = fields.expect(SEQUENCE, "signatureAlgorithm")?;
        let value = fields.expect(BIT_STRING, "signatureValue")?;
        fields.finish("CertificateList")?;
        Self::read(tbs, Some(Signature { algorithm, value }))
    }

    pub(super) fn from_tbs(tbs: &'a [u8]) -> Result<Self, ParseError> {
        let mut whole = Walker::new(tbs);
        let element = whole.expect_long(SEQUENCE, "tbsCertList")?;
        whole.finish("tbsCertList")?;
        Self::read(element, None)
    }

    fn read(tbs: Tlv<'a>, signature: Option<Signature<'a>>) -> Result<Self, ParseError> {
        let mut fields = tbs.walk();
        let version = fields.optional(INTEGER)?;
        let algorithm = fields.expect(SEQUENCE, "signature")?;
        let issuer = fields.expect(SEQUENCE, "issuer")?;
        let this_update = fields.next()?;
        let next_update = if matches!(fields.peek(), Some(UTC_TIME | GENERALIZED_TIME)) { Some(fields.next()?) } else { None };
        let entries = match fields.peek() {
            Some(SEQUENCE) => Some(fields.expect_long(SEQUENCE, "revokedCertificates")?.content),
            _ => None,
        };
        let list = fields.optional(0xa0)?;
        fields.finish("tbsCertList")?;
        let extensions = match &list {
            Some(wrapper) => read_extensions(&Walker::single(wrapper.content, SEQUENCE, "crlExtensions")?)?,
            None => Vec::new(),
        };
        Ok(Self {
            tbs,
            signature,
            version,
            algorithm,
            issuer,
            this_update,
            next_update,
            entries,
            has_extensions: list.is_some(),
            extensions,
            previous: None,
        })
    }

    /// What can't be read says nothing about what follows it.
    pub(super) fn set_previous(&mut self, der: Option<&'a [u8]>) {
        let previous = der.filter(|der| der.len() <= MAX_LEN).and_then(|der| CrlView::from_der(der).ok());
        self.previous = previous.map(|p| (p.value(oid::CRL_NUMBER, values::number), p.this_update));
    }

    fn extension(&self, id: ObjectIdentifier) -> Option<Extension<'a>> {
        self.extensions.iter().find(|e| e.oid == id.as_bytes()).copied()
    }

    fn value<T>(&self, id: ObjectIdentifier, read: impl FnOnce(&'a [u8]) -> Result<T, ParseError>) -> Option<T> {
        self.extension(id).and_then(|e| read(e.value).ok())
    }

    fn authority_key_identifier(&self) -> Option<&'a [u8]> {
        self.value(oid::AUTHORITY_KEY_IDENTIFIER, values::authority_key).and_then(|a| a.key_identifier)
    }

    /// The issuer's name, and its key's identifier where it is there.
    pub(super) fn issuer_and_key(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        (self.issuer.whole.to_vec(), self.authority_key_identifier().map(<[u8]>::to_vec))
    }

    fn is_delta(&self) -> bool {
        self.extension(super::known::DELTA_CRL_INDICATOR).is_some()
    }

    /// Whether entries may be of several issuers.
    fn is_indirect(&self) -> bool {
        self.value(oid::ISSUING_DISTRIBUTION_POINT, values::issuing_point).is_some_and(|p| p.is_indirect)
    }
}

/// Judges what was read by every rule about CRLs.
pub(super) fn judge(view: &CrlView<'_>, issuer: Option<&CertificateView<'_>>, report: &mut Report) {
    let mut whole = true;
    let optional = [("tbsCertList.version", &view.version), ("tbsCertList.nextUpdate", &view.next_update)];
    for (field, element) in optional.into_iter().filter_map(|(field, element)| Some((field, element.as_ref()?))) {
        whole &= element::judge(element, Place::of(field), report);
    }
    for (field, element) in
        [("tbsCertList.signature", &view.algorithm), ("tbsCertList.issuer", &view.issuer), ("tbsCertList.thisUpdate", &view.this_update)]
    {
        whole &= element::judge(element, Place::of(field), report);
    }
    if let Some(signature) = &view.signature {
        whole &= element::judge(&signature.algorithm, Place::of("signatureAlgorithm"), report);
        whole &= element::judge(&signature.value, Place::of("signatureValue"), report);
    }
    const EXTENSIONS: Place<'_> = Place::of("tbsCertList.crlExtensions");
    extensions::judge_values(EXTENSIONS, &view.extensions, LIST, report);
    if view.has_extensions {
        extensions::judge(Object::Crl, EXTENSIONS, &view.extensions, report);
    }
    if whole {
        for rule in RULES {
            if let Check::Crl(check) = rule.check {
                check(view, issuer, &mut Hits { rule, report });
            }
        }
    }
    entries::judge(view, report);
}
