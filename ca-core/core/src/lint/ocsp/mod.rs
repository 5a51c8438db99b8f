//! An OCSP response taken apart and judged (RFC 6960 §4.2).

mod responder;
mod rules;

use const_oid::ObjectIdentifier;

use super::certificate::{self, CertificateView, Signature};
use super::element::{self, ENUMERATED, Place};
use super::extensions::{self, Extension, read_extensions};
use super::finding::Report;
use super::known::{self, ENTRY, OCSP};
use super::rule::{Check, Hits, Object, Rule};
use crate::pki::walk::{BIT_STRING, GENERALIZED_TIME, INTEGER, OCTET_STRING, OID, ParseError, SEQUENCE, Tlv, Walker};

pub(super) use responder::{RULES as RESPONDER_RULES, Responder};
pub(super) use rules::RULES;

/// Most bytes of a response that is judged.
pub const MAX_RESPONSE_LEN: usize = 256 * 1024;
/// Most single responses.
const MAX_ANSWERS: usize = 1024;
/// Most certificates that come along.
const MAX_CERTIFICATES: usize = 8;

pub(super) static SIZE: Rule =
    Rule::reading("ocsp-size", "this linter's bound", "an OCSP response has at most 262,144 octets", Object::OcspResponse);
pub(super) static STRUCTURE: Rule = Rule::reading(
    "ocsp-structure",
    "RFC 6960 §4.2.1",
    "the fields are those of an OCSPResponse with a BasicOCSPResponse, in their order; at most 1024 answers and 8 certificates",
    Object::OcspResponse,
);
pub(super) static READING: &[&Rule] = &[&SIZE, &STRUCTURE];

/// A SingleResponse.
struct Answer<'a> {
    hash: Tlv<'a>,
    name_hash: &'a [u8],
    key_hash: &'a [u8],
    serial: Tlv<'a>,
    status: Tlv<'a>,
    this_update: Tlv<'a>,
    next_update: Option<Tlv<'a>>,
    has_extensions: bool,
    extensions: Vec<Extension<'a>>,
}

/// A ResponseData.
struct Data<'a> {
    whole: Tlv<'a>,
    version: Option<Tlv<'a>>,
    responder: Tlv<'a>,
    produced_at: Tlv<'a>,
    answers: Vec<Answer<'a>>,
    has_extensions: bool,
    extensions: Vec<Extension<'a>>,
}

/// A response, or its ResponseData alone.
pub(super) struct ResponseView<'a> {
    /// None where only the data is there.
    status: Option<Tlv<'a>>,
    /// responseType.
    kind: Option<&'a [u8]>,
    data: Option<Data<'a>>,
    signature: Option<Signature<'a>>,
    /// DER of those that came along.
    certificates: Vec<&'a [u8]>,
}

impl<'a> ResponseView<'a> {
    pub(super) fn from_der(der: &'a [u8]) -> Result<Self, ParseError> {
        let mut fields = Walker::single(der, SEQUENCE, "OCSPResponse")?.walk();
        let status = fields.expect(ENUMERATED, "responseStatus")?;
        let bytes = fields.optional(0xa0)?;
        fields.finish("OCSPResponse")?;
        let mut found = Self { status: Some(status), kind: None, data: None, signature: None, certificates: Vec::new() };
        let Some(bytes) = bytes else { return Ok(found) };
        let mut fields = Walker::single(bytes.content, SEQUENCE, "responseBytes")?.walk();
        let kind = fields.expect(OID, "responseType")?.content;
        let response = fields.expect(OCTET_STRING, "response")?;
        fields.finish("responseBytes")?;
        found.kind = Some(kind);
        if kind == known::OCSP_BASIC.as_bytes() {
            found.read_basic(response.content)?;
        }
        Ok(found)
    }

    pub(super) fn from_data(data: &'a [u8]) -> Result<Self, ParseError> {
        let data = Data::read(Walker::single(data, SEQUENCE, "tbsResponseData")?)?;
        Ok(Self { status: None, kind: None, data: Some(data), signature: None, certificates: Vec::new() })
    }

    fn read_basic(&mut self, der: &'a [u8]) -> Result<(), ParseError> {
        let mut fields = Walker::single(der, SEQUENCE, "BasicOCSPResponse")?.walk();
        self.data = Some(Data::read(fields.expect(SEQUENCE, "tbsResponseData")?)?);
        let algorithm = fields.expect(SEQUENCE, "signatureAlgorithm")?;
        let value = fields.expect(BIT_STRING, "signature")?;
        self.signature = Some(Signature { algorithm, value });
        if let Some(wrapper) = fields.optional(0xa0)? {
            let mut list = Walker::single(wrapper.content, SEQUENCE, "certs")?.walk();
            while !list.is_empty() {
                if self.certificates.len() == MAX_CERTIFICATES {
                    return Err(ParseError::TooLarge);
                }
                self.certificates.push(list.expect(SEQUENCE, "certs")?.whole);
            }
        }
        fields.finish("BasicOCSPResponse")
    }
}

impl<'a> Data<'a> {
    fn read(whole: Tlv<'a>) -> Result<Self, ParseError> {
        let mut fields = whole.walk();
        let version = fields.optional(0xa0)?;
        let responder = fields.next()?;
        let produced_at = fields.expect(GENERALIZED_TIME, "producedAt")?;
        let mut list = fields.expect(SEQUENCE, "responses")?.walk();
        let extensions = fields.optional(0xa1)?;
        fields.finish("tbsResponseData")?;
        let mut answers = Vec::with_capacity(1);
        while !list.is_empty() {
            if answers.len() == MAX_ANSWERS {
                return Err(ParseError::TooLarge);
            }
            answers.push(Answer::read(&list.expect(SEQUENCE, "SingleResponse")?)?);
        }
        let list = wrapped(extensions.as_ref())?;
        Ok(Self { whole, version, responder, produced_at, answers, has_extensions: extensions.is_some(), extensions: list })
    }

    fn extension(&self, id: ObjectIdentifier) -> Option<&Extension<'a>> {
        self.extensions.iter().find(|e| e.oid == id.as_bytes())
    }
}

impl<'a> Answer<'a> {
    fn read(element: &Tlv<'a>) -> Result<Self, ParseError> {
        let mut fields = element.walk();
        let mut id = fields.expect(SEQUENCE, "certID")?.walk();
        let hash = id.expect(SEQUENCE, "hashAlgorithm")?;
        let name_hash = id.expect(OCTET_STRING, "issuerNameHash")?.content;
        let key_hash = id.expect(OCTET_STRING, "issuerKeyHash")?.content;
        let serial = id.expect(INTEGER, "serialNumber")?;
        id.finish("certID")?;
        let status = fields.next()?;
        let this_update = fields.expect(GENERALIZED_TIME, "thisUpdate")?;
        let next_update = match fields.optional(0xa0)? {
            Some(wrapper) => Some(Walker::single(wrapper.content, GENERALIZED_TIME, "nextUpdate")?),
            None => None,
        };
        let extensions = fields.optional(0xa1)?;
        fields.finish("SingleResponse")?;
        let list = wrapped(extensions.as_ref())?;
        let has_extensions = extensions.is_some();
        Ok(Self { hash, name_hash, key_hash, serial, status, this_update, next_update, has_extensions, extensions: list })
    }
}

/// Extensions within a tag of their own.
fn wrapped<'a>(wrapper: Option<&Tlv<'a>>) -> Result<Vec<Extension<'a>>, ParseError> {
    wrapper.map_or(Ok(Vec::new()), |w| read_extensions(&Walker::single(w.content, SEQUENCE, "extensions")?))
}

/// Judges what was read by every rule about OCSP responses, and the certificates that came along by theirs.
pub(super) fn judge(view: &ResponseView<'_>, issuer: Option<&CertificateView<'_>>, report: &mut Report) {
    let mut whole = view.status.as_ref().is_none_or(|s| element::judge(s, Place::of("responseStatus"), report));
    if let Some(data) = &view.data {
        whole &= element::judge(&data.whole, Place::of("tbsResponseData"), report);
        const LIST: Place<'_> = Place::of("tbsResponseData.responseExtensions");
        extensions::judge_values(LIST, &data.extensions, OCSP, report);
        if data.has_extensions {
            extensions::judge(Object::OcspResponse, LIST, &data.extensions, report);
        }
        for (index, answer) in data.answers.iter().enumerate().filter(|(_, a)| a.has_extensions) {
            let place = Place::of("tbsResponseData.responses").at(index);
            // RFC 6960 §4.4.5: what a CRL's entry may have stands here too.
            extensions::judge_values(place, &answer.extensions, OCSP | ENTRY, report);
            extensions::judge(Object::OcspResponse, place, &answer.extensions, report);
        }
    }
    if let Some(signature) = &view.signature {
        whole &= element::judge(&signature.algorithm, Place::of("signatureAlgorithm"), report);
        whole &= element::judge(&signature.value, Place::of("signature"), report);
    }
    if !whole {
        return;
    }
    let certificates: Vec<_> = view.certificates.iter().map(|der| CertificateView::from_der(der)).collect();
    for (index, certificate) in certificates.iter().enumerate() {
        match certificate {
            Ok(certificate) => certificate::judge(certificate, None, report),
            Err(error) => certificate::STRUCTURE.hit(report, format!("certs[{index}]"), error.to_string()),
        }
    }
    let certificates: Vec<_> = certificates.into_iter().flatten().collect();
    let responder = Responder::of(view, &certificates, issuer);
    for rule in RULES.iter().chain(responder::RULES) {
        match (&rule.check, &responder) {
            (Check::Response(check), _) => check(view, issuer, &mut Hits { rule, report }),
            (Check::Responder(check), Some(responder)) => check(view, responder, &mut Hits { rule, report }),
            _ => {}
        }
    }
}
